"""What recipes with delayed or learned scales carry from step to step, as a pytree that passes through `jax.grad`.

    {"history": {name: (*loops, 6, steps)}, "sizes": {name: (*loops, 2)}}

A product reads the largest of its history; the gradient of a history holds, in its first column, the largest
magnitudes that this step has seen, rather than a derivative. Products inside of `lax.scan` have a row for each turn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..products.jax_shards import largest_of_shards
from .jax_rules import Row

State = dict[str, dict[str, Any]]


def shapes_of(rows: Sequence[Row]) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes of the state; empty for recipes that keep nothing."""
    history = {row.slot: (*row.product.loops, 6, row.history) for row in rows if row.history}
    sizes = {row.slot: (*row.product.loops, 2) for row in rows if row.learns}
    return {kind: of for kind, of in (("history", history), ("sizes", sizes)) if of}


def zeros(shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> State:
    """A state in which nothing was seen."""
    return {kind: {slot: jnp.zeros(shape, jnp.float32) for slot, shape in of.items()} for kind, of in shapes.items()}


def check(state: Any, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> None:
    """Raise unless a state is one of this function.

    Raises:
        ValueError: none where one is needed, or that of another function.
    """
    if state is None and not shapes:
        return
    names = ", ".join(list(dict.fromkeys(slot for of in shapes.values() for slot in of))[:3])
    if not state and shapes:
        raise ValueError(
            f"the recipe of {names} keeps scales from step to step; make a state with state = q.init(*args), pass it "
            "as q(*args, state=state), and go on with state = q.advance(state, gradient_of_state)"
        )
    found = _shapes(state)
    if found != {kind: dict(of) for kind, of in shapes.items()}:
        raise ValueError(
            f"the state is of another function, of other rules or of other shapes: expected {_shown(shapes)}, got "
            f"{_shown(found)}; make it with q.init(*args)"
        )


def _shapes(state: Any) -> dict[str, Any]:
    if not isinstance(state, Mapping) or not all(isinstance(of, Mapping) for of in state.values()):
        raise ValueError(f"expected a state as q.init(*args) makes it, got {type(state).__name__}")
    return {kind: {slot: tuple(np.shape(x)) for slot, x in of.items()} for kind, of in state.items()}


def _shown(shapes: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [f"{kind}[{slot!r}] {shape}" for kind, of in shapes.items() for slot, shape in of.items()]
    return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "") if parts else "nothing"


def advance(state: State, gradient: State, rate: float | None) -> State:
    """The state of the next step: largest magnitudes of this one enter the histories.

    Args:
        rate: of plain gradient descent on step sizes; None leaves them as they are.

    Raises:
        ValueError: a gradient of another structure.
    """
    if jax.tree.structure(state) != jax.tree.structure(gradient):
        raise ValueError(
            "the gradient has another structure than the state; take both gradients at once: "
            "jax.grad(lambda params, state: q(params, x, state=state), argnums=(0, 1))"
        )
    found = {kind: dict(of) for kind, of in state.items()}
    for slot, history in state.get("history", {}).items():
        found["history"][slot] = jnp.concatenate([gradient["history"][slot][..., :1], history[..., :-1]], -1)
    if rate is not None:
        for slot, size in state.get("sizes", {}).items():
            found["sizes"][slot] = size - rate * gradient["sizes"][slot]
    return found


# ---------------------------------------------------------------- inside of a step


@jax.custom_vjp
def largest_of(history: jax.Array, probe: jax.Array) -> jax.Array:
    """(6,) largest magnitudes of a (6, steps) history; the gradient is put into its first column.

    Args:
        history: of a product.
        probe: a number of its operands. Members of a vmap, or shards, that share a history then have gradients of
            their own, of which the largest counts; otherwise JAX would sum them.
    """
    largest = history.max(-1)
    return jnp.where(jnp.isnan(probe), largest, largest)


def _read(history: jax.Array, probe: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return largest_of(history, probe), (history, probe)


def _seen(saved: tuple[jax.Array, jax.Array], seen: jax.Array) -> tuple[jax.Array, jax.Array]:
    history, probe = saved
    seen = largest_of_shards(_over_members(seen, history), history)
    return jnp.zeros_like(history).at[..., 0].set(seen), jnp.zeros_like(probe)


largest_of.defvjp(_read, _seen)


@jax.custom_batching.custom_vmap
def _over_members(seen: jax.Array, history: jax.Array) -> jax.Array:
    """The largest magnitudes of all members that share a history."""
    return seen


@_over_members.def_vmap
def _(size: int, batched: Sequence[bool], seen: jax.Array, history: jax.Array) -> tuple[jax.Array, bool]:
    if not batched[1]:
        return _over_members(seen.max(0) if batched[0] else seen, history), False
    return _over_members(seen if batched[0] else jnp.broadcast_to(seen, (size, *seen.shape)), history), True


def probe_of(*arrays: jax.Array) -> jax.Array:
    """A number of some arrays."""
    return lax.stop_gradient(jnp.stack([x.reshape(-1)[0].astype(jnp.float32) for x in arrays]).sum())


@jax.custom_vjp
def with_first(result: jax.Array, sizes: jax.Array, first: jax.Array) -> jax.Array:
    """A product whose step sizes have those to begin with for a gradient."""
    return result


with_first.defvjp(lambda y, sizes, first: (y, first), lambda first, e: (e, first, jnp.zeros_like(first)))
