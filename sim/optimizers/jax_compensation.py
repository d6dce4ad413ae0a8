"""What ECO needs to know of an optax transformation, and whether that is SGD with momentum or Adam at all."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from .compensation import Momentum

_ADVICE = (
    "compensation 'eco' reads learning rate and momentum of SGD, Adam or AdamW from optax.inject_hyperparams; "
    "write optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9), or use rounding='stochastic'"
)
_TOLERANCE = 2e-3
"""Relative, of float32 and states in bfloat16; what is nearer than that to SGD or Adam is compensated as well."""


def _injected(state: Any) -> Iterator[dict[str, Any]]:
    """The hyperparameters of all `optax.inject_hyperparams` in a state."""
    if hasattr(state, "hyperparams"):
        yield state.hyperparams
    elif isinstance(state, tuple | list):
        for part in state:
            yield from _injected(part)
    elif isinstance(state, dict):
        yield from _injected(list(state.values()))


def momentum_of(state: Any, count: Any) -> Momentum:
    """What ECO needs to know.

    Args:
        count: the number of the step, from 1 on.

    Raises:
        ValueError: not `optax.inject_hyperparams` of SGD with momentum, Adam or AdamW.
    """
    found = list(_injected(state))
    if len(found) == 1 and "learning_rate" in found[0]:
        given = found[0]
        if {"b1", "b2", "eps"} <= set(given):
            return Momentum(given["learning_rate"], given["b1"], second=(given["b2"], given["eps"], count))
        if "momentum" in given:
            return Momentum(given["learning_rate"], given["momentum"])
    raise ValueError(_ADVICE)


def check_momentum(inner: Any, params: Any, places: Callable[[Any, Any], dict[tuple[str, int], int]]) -> None:
    """Raise where a change of the momentum does not change the next update as that of SGD and Adam does.

    The names of hyperparameters do not tell: RMSprop, LAMB, AMSGrad and Nesterov's momentum have the same. So two steps
    are done with a few elements of each parameter, the second one from two momenta. Where numbers are traced, or the
    learning rate is still 0, there is nothing to see.

    Args:
        places: of the states among the leaves of an optimizer's state, by name and number of the parameter.

    Raises:
        ValueError: as `momentum_of`; also another optimizer, Nesterov's step, or no momentum.
    """
    with jax.ensure_compile_time_eval():
        small = jax.tree.map(lambda p: jnp.full([min(n, 2) for n in jnp.shape(p)], 0.5, p.dtype), params)
        first, second = (jax.tree.map(lambda p, g=g: jnp.full_like(p, g), small) for g in (4, 0.5))
        _, state = inner.update(first, inner.init(small), small)
        name = "momentum" if momentum_of(state, 1).second is None else "exp_avg"
        found = [(number, place) for (known, number), place in places(state, small).items() if known == name]
        if not found:
            raise ValueError(_ADVICE)
        number, place = found[0]
        leaves, tree = jax.tree.flatten(state)
        moved = [*leaves[:place], leaves[place] + 1, *leaves[place + 1 :]]
        update, after = inner.update(second, state, small)
        other, _ = inner.update(second, jax.tree.unflatten(tree, moved), small)
        of = momentum_of(after, 2)
        change = -of.rate * of.decay * (moved[place] - leaves[place])
        if of.second is not None:
            decay, epsilon, count = of.second
            squares = jax.tree.leaves(after)[places(after, small)["exp_avg_sq", number]]
            change = change / (1 - of.decay**count) / (jnp.sqrt(squares / (1 - decay**count)) + epsilon)
        seen = jax.tree.leaves(other)[number] - jax.tree.leaves(update)[number]
        if any(isinstance(value, Tracer) for value in (seen, change)) or not of.rate:
            return
        if not of.decay:
            raise ValueError("compensation 'eco' is for optimizers with momentum, got one of 0; give it such as 0.9")
        if not jnp.allclose(seen, change, rtol=_TOLERANCE, atol=0):
            raise ValueError(
                "compensation 'eco' is for SGD with momentum, Adam and AdamW, without Nesterov's step and with nothing "
                "but the learning rate after them; use one of these, or give weights rounding='stochastic' instead"
            )
