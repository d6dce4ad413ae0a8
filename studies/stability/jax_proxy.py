"""The student-teacher proxy of arXiv:2506.20752: a residual perceptron that learns what another one computes.

    x_0 = x,   x_{k+1} = x_k + down_k relu(up_k norm_k(x_k)),   k < depth

The student normalizes layers, the teacher does not. What is multiplied with in a normalization, its affine weights,
may be rounded to MX blocks like the matrices are.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.quantize import quantize
from ...sim.models.jax_layers import layer_norm, linear
from ...sim.models.leaves import Leaves, count, initial, inside, joined, matrix_numbers, norm
from ...sim.models.leaves import linear as linear_leaves
from ...sim.tasks.task import Task
from .clamping import FORMAT, clamped_share

_HIDDEN = 4
"""Hidden units for each one of the width."""
_TEACHER = 1000
"""Seed of the teacher's weights; those of students and data are others."""


def leaves_of(width: int, depth: int) -> Leaves:
    """Parameters of the student; the teacher has the same without using its norms."""

    def layer(k: int) -> Leaves:
        up = linear_leaves("up", width, _HIDDEN * width, 2**0.5, bias=False)
        down = linear_leaves("down", _HIDDEN * width, width, (2 * depth) ** -0.5, bias=False)
        return inside(f"layers.{k}", {**norm("norm", width), **up, **down})

    return joined(layer(k) for k in range(depth))


def student(params: Any, x: jax.Array, quantized_norms: bool) -> jax.Array:
    """(n, width) outputs of (n, width) inputs; gradients pass the rounding of norms straight through."""
    for layer in params["layers"].values():
        own = layer["norm"]
        if quantized_norms:
            own = {**own, "weight": quantize(own["weight"], FORMAT, axis=0, ste="identity")}
        x = x + linear(layer["down"], jax.nn.relu(linear(layer["up"], layer_norm(own, x))))
    return x


def teacher(params: Any, x: np.ndarray) -> np.ndarray:
    """(n, width) float32 outputs, without normalization, of root mean square 1."""
    found = x.astype(float)
    for layer in params["layers"].values():
        found = found + np.maximum(found @ layer["up"]["weight"].T, 0) @ layer["down"]["weight"].T
    return (found / np.sqrt((found**2).mean())).astype(np.float32)


def proxy(width: int, depth: int, samples: int, noise: float, quantized_norms: bool) -> Task:
    """The task: standard normal inputs, the teacher's outputs with noise on those to train on, squared error.

    Args:
        width: a multiple of 32. depth: residual layers. samples: of which a tenth validates.
        noise: standard deviation of what is added to targets, whose own is 1.
        quantized_norms: whether the affine weights of norms are rounded to MX blocks.

    Raises:
        ValueError: a width that blocks do not divide.
    """
    if width % 32:
        raise ValueError(f"expected a width that is a multiple of 32, of which MX blocks are, got {width}")
    leaves = leaves_of(width, depth)
    rng = np.random.default_rng([_TEACHER, width, depth])
    x = rng.standard_normal((samples, width)).astype(np.float32)
    y = teacher(initial(leaves, _TEACHER), x)
    first = samples // 10
    noisy = y[first:] + noise * rng.standard_normal((samples - first, width)).astype(np.float32)
    errors = partial(_errors, quantized_norms)

    def evaluate(params: Any, batch: Any, words: Any) -> dict[str, jax.Array]:
        found, number = errors(params, batch), jnp.float32(len(batch["x"]))
        shares = jnp.stack([clamped_share(jnp, layer["norm"]["weight"]) for layer in params["layers"].values()])
        return {"loss": found.sum(), "clamped": shares.mean() * number, "count": number}

    return Task(
        name="proxy",
        model="residual",
        size=f"{depth} x {width}" + (", norms in MX" if quantized_norms else ""),
        source=f"teacher {depth} x {width}, noise {noise:g}",
        train={"x": x[first:], "y": noisy.astype(np.float32)},
        valid={"x": x[:first], "y": y[:first]},
        metric="loss",
        higher_is_better=False,
        tokens_per_sample=1,
        bytes_per_token=1.0,
        parameters=count(leaves),
        non_embedding=count(leaves),
        init=partial(initial, leaves),
        loss=lambda params, batch, words: errors(params, batch).mean(),
        evaluate=evaluate,
        flops_per_sample=2.0 * matrix_numbers(leaves),
    )


def _errors(quantized_norms: bool, params: Any, batch: Any) -> jax.Array:
    """(n,) squared errors, means over outputs."""
    return jnp.mean((student(params, batch["x"], quantized_norms) - batch["y"]) ** 2, axis=-1)
