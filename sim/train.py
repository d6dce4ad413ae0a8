"""Train a small network in many formats at once: one compiled program, formats, seeds and rates as data.

Every linear layer computes with fake-quantized operands in all three of its products:

    forward   y  = Q(x) Q(w)
    backward  dx = Q(dy) Q(w)^T        dw = Q(x)^T Q(dy)

Q scales a whole tensor so that its largest magnitude meets the format's largest value, rounds to nearest
even, and scales back:  s = absmax / max,  Q(t) = round(t / s) * s,  each a single float32 operation, which is
what `e3m2_per_tensor` means. Formats whose range is that of float32 (a largest value of 2**100 and more) need
no scale. Weights, gradients and the optimizer (SGD with momentum, cosine schedule) stay in float32.

The width of a batch of runs is fixed and short batches are padded, because XLA may sum in another order at
another width: so a run does not depend on its place or its neighbours.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..emulate.quantize import quantize
from ..emulate.traced import format_data
from ..formats.listing import is_listed
from ..formats.registry import Format
from ..formats.scaled import ScaledFormat
from ..formats.scaled_registry import per
from .settings import Member, Settings
from .tasks.data import Classification

_UNSCALED_FROM = 2.0**100


def with_scale(fmt: Format) -> Format | ScaledFormat:
    """The format as the trainer uses it: with a scale per tensor, or alone where its range is that of float32."""
    return fmt if fmt.max >= _UNSCALED_FROM else per(fmt, "tensor")


def program_of(fmt: Format) -> str:
    """Formats of one kind share a compiled program: with scales, with scales of a table, or without."""
    if fmt.max >= _UNSCALED_FROM:
        return "unscaled"
    return "table" if is_listed(fmt) else "grid"


def fake_quantized(x: jax.Array, fmt: Any) -> jax.Array:
    """Q of this module; gradients pass."""
    return quantize(x, fmt, ste="identity")


@jax.custom_vjp
def linear(x: jax.Array, w: jax.Array, fmt: Any) -> jax.Array:
    """x @ w with fake-quantized operands, forward and backward; x: (n, i), w: (i, o)."""
    return fake_quantized(x, fmt) @ fake_quantized(w, fmt)


def _linear_forward(x, w, fmt):
    xq, wq = fake_quantized(x, fmt), fake_quantized(w, fmt)
    return xq @ wq, (xq, wq, fmt)


def _linear_backward(kept, dy):
    xq, wq, fmt = kept
    dyq = fake_quantized(dy, fmt)
    return dyq @ wq.T, xq.T @ dyq, None


linear.defvjp(_linear_forward, _linear_backward)


def _forward(params, x: jax.Array, fmt: Any) -> jax.Array:
    for k, (w, b) in enumerate(params):
        x = linear(x, w, fmt) + b
        x = jax.nn.relu(x) if k + 1 < len(params) else x
    return x


def _loss(params, x, y, fmt) -> jax.Array:
    logits = jax.nn.log_softmax(_forward(params, x, fmt))
    return -jnp.mean(jnp.take_along_axis(logits, y[:, None], axis=1))


def _initial(seed: int, sizes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """He-normal weights and zero biases, drawn on the host so that they do not depend on the batch."""
    rng = np.random.default_rng([seed, 0])
    return [
        ((rng.standard_normal((i, o)) * np.sqrt(2 / i)).astype(np.float32), np.zeros(o, np.float32))
        for i, o in itertools.pairwise(sizes)
    ]


def _order(seed: int, samples: int, settings: Settings) -> np.ndarray:
    """(steps, batch) sample numbers: every epoch a permutation of its own."""
    rng = np.random.default_rng([seed, 1])
    needed = settings.steps * settings.batch
    epochs = [rng.permutation(samples) for _ in range(-(-needed // samples))]
    return np.concatenate(epochs)[:needed].reshape(settings.steps, settings.batch).astype(np.int32)


def _train_one(data, settings: Settings, fmt, params, order, learning_rate) -> dict[str, jax.Array]:
    train_x, train_y, test_x, test_y = data

    def step(state, inputs):
        params, velocity = state
        rows, k = inputs
        loss, gradient = jax.value_and_grad(_loss)(params, train_x[rows], train_y[rows], fmt)
        rate = learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * k / settings.steps))
        velocity = jax.tree.map(lambda v, g: settings.momentum * v + g, velocity, gradient)
        return (jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity), loss

    start = (params, jax.tree.map(jnp.zeros_like, params))
    (params, _), losses = lax.scan(step, start, (order, jnp.arange(settings.steps)))
    logits = _forward(params, test_x, fmt)
    return {
        "test_accuracy": jnp.mean(jnp.argmax(logits, axis=1) == test_y),
        "test_loss": _loss(params, test_x, test_y, fmt),
        "train_loss": jnp.mean(losses[-20:]),
        "finite": jnp.all(jnp.isfinite(losses)) & jnp.all(jnp.isfinite(logits)),
    }


@partial(jax.jit, static_argnums=1)
def _train_batch(data, settings: Settings, fmt, params, order, learning_rate):
    train = partial(_train_one, data, settings)
    return jax.vmap(train)(fmt, params, order, learning_rate)


def train_batch(task: Classification, settings: Settings, members: Sequence[Member]) -> list[dict[str, float | bool]]:
    """Train up to `settings.width` runs side by side.

    Args:
        members: the runs; all with formats of one kind, see `program_of`.

    Returns:
        Per run test_accuracy (a fraction), test_loss and train_loss (nats; the latter over the last 20
        steps), and diverged, whether some loss or logit was not finite.

    Raises:
        ValueError: no runs or more than the width, or formats of several kinds.
    """
    if not 1 <= len(members) <= settings.width:
        raise ValueError(f"expected 1 to {settings.width} runs, got {len(members)}")
    padded = [*members, *[members[-1]] * (settings.width - len(members))]
    sizes = [task.train_x.shape[1], *settings.hidden, task.classes]
    initial = [_initial(member.seed, sizes) for member in padded]
    metrics = _train_batch(
        tuple(jnp.asarray(a) for a in (task.train_x, task.train_y, task.test_x, task.test_y)),
        settings,
        format_data([with_scale(member.fmt) for member in padded]),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *initial),
        jnp.stack([_order(member.seed, len(task.train_y), settings) for member in padded]),
        jnp.array([member.learning_rate for member in padded], jnp.float32),
    )
    host = {name: np.asarray(values) for name, values in metrics.items()}
    return [_row(host, k) for k in range(len(members))]


def _row(metrics: dict[str, np.ndarray], k: int) -> dict[str, float | bool]:
    numbers = {name: float(values[k]) for name, values in metrics.items() if name != "finite"}
    return {**numbers, "diverged": not bool(metrics["finite"][k])}
