"""One step of a run, as a pure function that `vmap` maps over runs and a loop over steps.

The task, the `Training` and the structure of the recipes are fixed; seeds, learning rates, weight decay and formats are
data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ...emulate.backends.jax_integers import JaxWords
from ...emulate.philox import fold_words
from ..optimizers.compensation import Momentum
from .jax_keeping import PLAIN, Keeping
from .training import DYNAMIC, Training, is_hidden_matrix

_FIRST_SCALE = 2.0**15
_GROWTH_STEPS = 200
_SMALLEST_SCALE = 2.0**-24
"""Of a loss scale: one that overflows still is divergence."""


class Member(NamedTuple):
    """What a run has of its own, as data.

    Fields:
        seed: (2,) uint32. rate, decay: () float32, the peak learning rate and the weight decay.
        formats: what its recipes have of their own; see `jax_recipes`.
    """

    seed: Any
    rate: Any
    decay: Any
    formats: Any


class State(NamedTuple):
    """What a run carries from step to step.

    Fields:
        parameters: a pytree of float32. optimizer: optax's, and what is kept of parameters in formats.
        scales: of recipes that keep any.
        first: () float32, the loss of the first step. ended: () int32, the step that ended the run, -1 before that.
        loss_scale: () float32. good: () int32, steps since it changed.
    """

    parameters: Any
    optimizer: Any
    scales: Any
    first: Any
    ended: Any
    loss_scale: Any
    good: Any


Loss = Callable[..., jax.Array]
"""(parameters, scales, batch, words, member, step) -> () float32."""

Prepare = Callable[[Any, Any, Any, Any], Any]
"""(batch, numbers of its samples, seed, step) -> the batch that is trained on."""

SHOWN = ("loss", "gradient_norm", "loss_scale")
"""Numbers of every step."""


def transformation(training: Training) -> optax.GradientTransformation:
    """The optimizer without its learning rate."""
    if training.optimizer == "sgd":
        return optax.trace(training.momentum)
    adam = optax.scale_by_adam(training.momentum, training.beta2, training.epsilon)
    if training.optimizer == "adamw":
        return adam
    from ..optimizers.jax_optimizers import scale_by_polar_express

    return optax.partition(
        {"muon": scale_by_polar_express(training.momentum, adjust="match_rms_adamw"), "adam": adam}, _muon_or_adam
    )


def _muon_or_adam(parameters: Any) -> Any:
    """Muon is for the matrices of hidden layers."""

    def kind(path: Any, p: Any) -> str:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return "muon" if is_hidden_matrix(name, p.ndim) else "adam"

    return jax.tree.map_with_path(kind, parameters)


def initial_state(parameters: Any, scales: Any, training: Training, keeping: Keeping = PLAIN) -> State:
    """The state of a run before its first step."""
    parameters, optimizer = keeping.begin(transformation(training), parameters)
    scale = _FIRST_SCALE if training.loss_scale == DYNAMIC else training.loss_scale or 1.0
    return State(
        parameters,
        optimizer,
        scales,
        jnp.float32(jnp.inf),
        jnp.int32(-1),
        jnp.float32(scale),
        jnp.int32(0),
    )


def noise_words(seed: Any, step: Any) -> Any:
    """(2,) uint32 random words of a step."""
    return jnp.stack([fold_words(JaxWords(), seed[0], step.astype(jnp.uint32)), seed[1]])


class Doing(NamedTuple):
    """What a program does in a step, besides the optimizer.

    Fields:
        loss: see `Loss`.
        advance: (scales, their gradient, learning rate over the loss scale) -> the scales of the next step.
        keeping: how the parameters are kept.
    """

    loss: Loss
    advance: Callable[..., Any]
    keeping: Keeping = PLAIN


def stepped(
    doing: Doing, training: Training, state: State, member: Member, batch: Any, step: Any, factor: Any
) -> tuple[State, dict[str, Any]]:
    """The state after a step, and its numbers; a run that has ended stays as it is.

    Args:
        step: () int32. factor: of the peak learning rate.
    """

    def scaled(parameters: Any, scales: Any) -> tuple[Any, Any]:
        value = doing.loss(parameters, scales, batch, noise_words(member.seed, step), member, step)
        return value * state.loss_scale, value

    (_, value), (gradient, of_scales) = jax.value_and_grad(scaled, (0, 1), has_aux=True, allow_int=True)(
        state.parameters, state.scales
    )
    gradient = jax.tree.map(lambda g: g / state.loss_scale, gradient)
    norm = optax.tree.norm(gradient)
    first = jnp.where(step == 0, value, state.first)
    good = jnp.isfinite(norm)
    bad_loss = ~jnp.isfinite(value)
    if training.diverged_above is not None:
        bad_loss |= value > training.diverged_above * first
    loss_scale, waited, hopeless = _next_scale(state, good, training)
    running = state.ended < 0
    ends = running & (bad_loss | hopeless)
    moves = running & ~ends & good
    parameters, optimizer = _updated(doing.keeping, training, state, member, gradient, norm, member.rate * factor)
    # step sizes are trained on the loss, largest magnitudes are those of the scaled backward pass
    scales = doing.advance(state.scales, of_scales, member.rate * factor / state.loss_scale)
    found = State(doing.keeping.bent(parameters, step + 1), optimizer, scales, first, state.ended, loss_scale, waited)
    kept = jax.tree.map(lambda new, old: jnp.where(moves, new, old), found, state)
    carried = {"first": first, "loss_scale": loss_scale, "good": waited}
    kept = kept._replace(
        ended=jnp.where(ends, step, state.ended),
        **{name: jnp.where(running, new, getattr(state, name)) for name, new in carried.items()},
    )
    shown = dict(zip(SHOWN, (value, norm, state.loss_scale)))
    return kept, {name: jnp.where(running, number, jnp.nan) for name, number in shown.items()}


def _next_scale(state: State, good: Any, training: Training) -> tuple[Any, Any, Any]:
    """The loss scale of the next step, how long it has been good, and whether the run is beyond help."""
    if training.loss_scale != DYNAMIC:
        return state.loss_scale, state.good, ~good
    waited = jnp.where(good, state.good + 1, 0)
    grows = waited >= _GROWTH_STEPS
    scale = jnp.where(good, jnp.where(grows, state.loss_scale * 2, state.loss_scale), state.loss_scale / 2)
    scale = jnp.minimum(scale, jnp.float32(2.0**24))
    return scale, jnp.where(grows, 0, waited), ~good & (scale < _SMALLEST_SCALE)


def _updated(
    keeping: Keeping, training: Training, state: State, member: Member, gradient: Any, norm: Any, rate: Any
) -> tuple[Any, Any]:
    """Parameters and the optimizer's state after a step."""
    if training.clip is not None:
        shrink = jnp.minimum(1.0, training.clip / jnp.maximum(norm, 1e-30))
        gradient = jax.tree.map(lambda g: g * shrink, gradient)
    own = transformation(training)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        decayed = jax.tree.map(lambda p: member.decay * p if p.ndim > 1 else jnp.zeros_like(p), params)
        if training.optimizer == "sgd":
            updates = jax.tree.map(jnp.add, updates, decayed)
        found, state = own.update(updates, state, params)
        if training.optimizer != "sgd":
            found = jax.tree.map(jnp.add, found, decayed)
        return jax.tree.map(lambda u: -rate * u, found), state

    def momentum(optimizer: Any, count: Any) -> Momentum:
        second = None if training.optimizer == "sgd" else (training.beta2, training.epsilon, count)
        return Momentum(rate, training.momentum, second=second)

    inner = optax.GradientTransformation(own.init, update)
    return keeping.step(inner, gradient, state.optimizer, state.parameters, member.seed, momentum)


def segment_of(
    doing: Doing,
    training: Training,
    prepare: Prepare,
    data: Any,
    state: State,
    member: Member,
    rows: Any,
    start: Any,
    factors: Any,
    count: Any,
) -> tuple[State, dict[str, Any]]:
    """Some steps of one run, as many as `count` says: one program for pieces of any length.

    Args:
        prepare: what becomes of a batch.
        data: arrays with the samples along the first axis. rows: (n, batch) int32, the samples of each step.
        start: () int32, the number of the first step. factors: (n,) float32 of the learning rate.
        count: () int32, at most n.

    Returns:
        The state, and (n,) numbers of each step by name, NaN from `count` on.
    """

    def one(k: Any, carry: tuple[State, dict[str, Any]]) -> tuple[State, dict[str, Any]]:
        state, curves = carry
        batch = prepare({name: array[rows[k]] for name, array in data.items()}, rows[k], member.seed, start + k)
        state, shown = stepped(doing, training, state, member, batch, start + k, factors[k])
        return state, {name: curve.at[k].set(shown[name]) for name, curve in curves.items()}

    nothing = jnp.full(factors.shape, jnp.nan, jnp.float32)
    return lax.fori_loop(0, count, one, (state, dict.fromkeys(SHOWN, nothing)))


def evaluated(evaluate: Callable[..., Any], data: Any, size: int, *arguments: Any) -> dict[str, Any]:
    """Means over the validation data, taken in batches.

    Args:
        evaluate: (batch, *arguments) -> sums over a batch and 'count'.
        size: samples of a batch; what is left over makes a smaller one.
    """
    count = next(iter(data.values())).shape[0]
    whole = count // size * size
    total: Any = None
    if whole:
        batches = {name: a[:whole].reshape(-1, size, *a.shape[1:]) for name, a in data.items()}
        total = jax.tree.map(lambda a: a.sum(0), lax.map(lambda batch: evaluate(batch, *arguments), batches))
    if whole < count:
        rest = evaluate({name: a[whole:] for name, a in data.items()}, *arguments)
        total = rest if total is None else jax.tree.map(jnp.add, total, rest)
    sums = dict(total)
    number = sums.pop("count")
    return {name: value / number for name, value in sums.items()}
