"""optax transformations whose weights, gradients and states are kept in formats; see `update_rules`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from .compensation import Momentum
from .jax_compensation import check_momentum, momentum_of
from .jax_muon import muon as muon
from .jax_muon import scale_by_polar_express as scale_by_polar_express
from .namespace import Plain
from .storage import ALIASES, Storage
from .update_rules import Held, Tensor, begin, check_fit, check_state, check_states, end, first, nothing_covered

_BITS = {4: jnp.int32, 8: jnp.int64}
_NARROW = {"float16": (5, 10), "bfloat16": (8, 7)}


class Memory(NamedTuple):
    """What is remembered of one parameter.

    Fields:
        values: master, averages and sums by name, as far as there are any, and 'rest': what the parameter lacks of the
            stored weights, which is 0 but for what `settle` says.
    """

    values: dict[str, jax.Array]


class LowPrecisionState(NamedTuple):
    """The state of a transformation made by `halfulp.low_precision`.

    Fields:
        inner: of the wrapped transformation.
        steps: () int32, how many were done.
        memory: a `Memory` in place of each parameter.
    """

    inner: Any
    steps: jax.Array
    memory: Any


class Jax(Plain):
    """JAX as a namespace. XLA fuses a * b + c, also where the product is a call's last operation: so the bits of
    products pass through an exclusive or with a zero that is only known at run time.

    Args:
        zero: () int32, which is 0.
    """

    def __init__(self, zero: Any) -> None:
        super().__init__(jnp)
        self._zero = zero

    def product(self, a: Any, b: Any) -> Any:
        """See `namespace.Arrays`."""
        return self.settled(a * b)

    def settled(self, a: Any) -> Any:
        """See `namespace.Arrays`."""
        kind = _BITS[a.dtype.itemsize]
        bits = lax.bitcast_convert_type(a, kind) ^ self._zero.astype(kind)
        return lax.bitcast_convert_type(bits, a.dtype)


def _wide(p: Any) -> Any:
    return p.astype(jnp.float64 if p.dtype == jnp.float64 else jnp.float32)


def _narrowed(a: Any, dtype: Any) -> Any:
    """What a conversion to the dtype and back leaves; XLA may leave out the two conversions."""
    bits = _NARROW.get(jnp.dtype(dtype).name)
    return a if bits is None else lax.reduce_precision(a, *bits)


def _as_kept(state: Any) -> Any:
    """A state in float32 or float64, with the values it has in its own dtype."""
    return _narrowed(_wide(state), state.dtype)


def _tensors(storage: Storage, seed: int, params: Any) -> list[Tensor | None]:
    """What is fixed of each parameter; None where it is left alone."""
    leaves = jax.tree.leaves(params)

    def real(p: Any) -> bool:
        return hasattr(p, "dtype") and jnp.issubdtype(p.dtype, jnp.floating) and storage.covers(tuple(p.shape))

    found = [Tensor(storage, seed, str(k)) if real(p) else None for k, p in enumerate(leaves)]
    if not any(found):
        raise ValueError(nothing_covered(storage, [jnp.shape(p) for p in leaves]))
    return found


class Wrapped(NamedTuple):
    """A transformation and how what it keeps is stored.

    Fields:
        inner: optax's.
        tensors: parameters -> what is fixed of each of their leaves, None where it is left alone.
        momentum: (inner state, number of the step from 1 on) -> what ECO needs to know; None reads it in the state.
    """

    inner: Any
    tensors: Callable[[Any], list[Tensor | None]]
    momentum: Callable[[Any, Any], Momentum] | None = None

    def init(self, params: Any) -> LowPrecisionState:
        """The state before the first step."""
        tensors, (leaves, tree) = self.tensors(params), jax.tree.flatten(params)
        xp = Jax(jnp.zeros((), jnp.int32))
        work, memory = list(leaves), [{} for _ in leaves]
        for k, tensor in enumerate(tensors):
            if tensor is None:
                continue
            wide = _wide(leaves[k])
            check_fit(tensor, jnp.dtype(leaves[k].dtype).name, wide.dtype.name)
            held = first(xp, tensor, wide)
            work[k], memory[k] = held.updated, {**held.memory, **_rest(tensor.storage, held.weights, wide)}
        inner = self.inner.init(jax.tree.unflatten(tree, work))
        if self.momentum is None and _compensates(tensors):
            check_momentum(self.inner, jax.tree.unflatten(tree, work), _places)
        return LowPrecisionState(inner, jnp.zeros((), jnp.int32), jax.tree.unflatten(tree, map(Memory, memory)))

    def update(self, updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, LowPrecisionState]:
        """The updates that lead to the stored weights, and the state after the step."""
        if params is None:
            raise ValueError("the stored weights depend on the parameters; call update(gradients, state, params)")
        tensors, (leaves, tree) = self.tensors(params), jax.tree.flatten(params)
        gradients, given = jax.tree.flatten(updates)
        if given != tree:
            raise ValueError(f"expected gradients for {tree}, got {given}; pass the parameters they are of")
        xp = Jax(state.steps >> 31)  # a zero that XLA does not know
        memory = [own.values for own in jax.tree.leaves(state.memory, is_leaf=_is_memory)]
        held = [_held(tensor, p, own) for tensor, p, own in zip(tensors, leaves, memory)]
        work = list(leaves)
        for k, (tensor, at) in enumerate(zip(tensors, held)):
            if tensor is not None:
                gradient = gradients[k].astype(at.weights.dtype)
                gradients[k], held[k] = begin(xp, tensor, gradient, at, state.steps)
                work[k] = at.updated
        trees = (jax.tree.unflatten(tree, part) for part in (gradients, work))
        gradients, before = trees
        moves, inner = self.inner.update(gradients, state.inner, before, **extra)
        moves = jax.tree.leaves(moves)
        after = [w + move.astype(w.dtype) if at else None for w, move, at in zip(work, moves, held)]
        ended, inner = self._ended(xp, tensors, held, after, state, inner, params)
        for k, (tensor, at) in enumerate(zip(tensors, ended)):
            if tensor is not None and at is not None:
                moves[k], rest = _difference(tensor.storage, moves[k], leaves[k], at.weights)
                memory[k] = {**at.memory, **rest}
        moves, memory = (jax.tree.unflatten(tree, part) for part in (moves, map(Memory, memory)))
        return moves, LowPrecisionState(inner, state.steps + 1, memory)

    def _ended(
        self, xp: Jax, tensors: Any, held: Any, after: Any, state: LowPrecisionState, inner: Any, params: Any
    ) -> tuple[list[Held | None], Any]:
        """What is kept of each parameter after the step, and the state of the wrapped transformation."""
        places = _places(inner, params)
        for storage in {tensor.storage for tensor in tensors if tensor is not None}:
            check_states(storage, {name for name, _ in places}, "this transformation")
        momentum = (self.momentum or momentum_of)(inner, state.steps + 1) if _compensates(tensors) else None
        (new, tree), old = jax.tree.flatten(inner), jax.tree.leaves(state.inner)
        found: list[Held | None] = [None] * len(held)
        for k, tensor in enumerate(tensors):
            if tensor is None:
                continue
            mine = {name: place for (name, leaf), place in places.items() if leaf == k}
            for name, place in mine.items():
                check_state(tensor, name, new[place].dtype.name)
            states = {name: (_as_kept(old[place]), _as_kept(new[place])) for name, place in mine.items()}
            of = momentum if tensor.storage.compensation else None
            found[k], kept = end(xp, tensor, held[k], after[k], states, state.steps, of)
            for name, place in mine.items():
                new[place] = kept[name].astype(new[place].dtype)
        return found, jax.tree.unflatten(tree, new)


def low_precision(inner: Any, storage: Storage, seed: int) -> optax.GradientTransformationExtraArgs:
    """See `optimizers.low_precision`."""
    wrapped = Wrapped(optax.with_extra_args_support(inner), partial(_tensors, storage, seed))
    return optax.GradientTransformationExtraArgs(wrapped.init, wrapped.update)


def _compensates(tensors: Any) -> bool:
    return any(tensor is not None and tensor.storage.compensation for tensor in tensors)


def _rest(storage: Storage, weights: Any, landed: Any) -> dict[str, Any]:
    return {} if storage.weights is None else {"rest": weights - landed}


def _held(tensor: Tensor | None, p: Any, memory: dict[str, Any]) -> Any:
    """What is kept of a parameter: its exact weights and the rest of its memory."""
    if tensor is None:
        return None
    own = dict(memory)
    rest = own.pop("rest", None)
    return Held(_wide(p) if rest is None else _wide(p) + rest, own)


def _difference(storage: Storage, update: Any, p: Any, weights: Any) -> tuple[Any, dict[str, Any]]:
    """The update that leads from p to the weights, and what it misses them by: 0 wherever a float can lead there."""
    if storage.weights is None and storage.master is None and storage.after_step is None:
        return update, {}
    start = _wide(p)
    delta = weights - start
    landed = _narrowed(start + delta, p.dtype)
    again = delta + (weights - landed)
    better = _narrowed(start + again, p.dtype) == weights
    delta = jnp.where(better, again, delta)
    return delta, _rest(storage, weights, _narrowed(start + delta, p.dtype))


def _is_memory(node: Any) -> bool:
    return isinstance(node, Memory)


def settle(params: Any, state: Any) -> tuple[Any, Any]:
    """See `optimizers.settle`."""
    places = {jax.tree_util.keystr(path): k for k, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(params))}
    leaves, tree = jax.tree.flatten(params)
    nodes, state_tree = jax.tree.flatten(state, is_leaf=lambda node: isinstance(node, LowPrecisionState))
    if not any(isinstance(node, LowPrecisionState) for node in nodes):
        raise TypeError("expected params and the state of a transformation that hu.low_precision made, in this order")

    def added(path: Any, own: Memory) -> Memory:
        rest = own.values.get("rest")
        if rest is None:
            return own
        place = places[jax.tree_util.keystr(path)]
        leaves[place] = (_wide(leaves[place]) + rest).astype(leaves[place].dtype)
        return Memory({**own.values, "rest": jnp.zeros_like(rest)})

    for k, node in enumerate(nodes):
        if isinstance(node, LowPrecisionState):
            memory = jax.tree_util.tree_map_with_path(added, node.memory, is_leaf=_is_memory)
            nodes[k] = node._replace(memory=memory)
    return jax.tree.unflatten(tree, leaves), jax.tree.unflatten(state_tree, nodes)


def _places(state: Any, params: Any) -> dict[tuple[str, int], int]:
    """Where states of the parameters are among the leaves of an optimizer's state, by name and number of the parameter.

    A leaf belongs to the parameter whose path ends its own, and whose shape it has; before that path comes its name.

    Others of the same name are called 'momentum#2' and so on.
    """
    paths = [(jax.tree_util.keystr(path), jnp.shape(p)) for path, p in jax.tree_util.tree_leaves_with_path(params)]
    numbers = {of: k for k, of in enumerate(paths)}
    found: dict[tuple[str, int], int] = {}
    for place, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(state)):
        if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)):
            continue
        for k in range(1, len(path) + 1):
            number = numbers.get((jax.tree_util.keystr(path[k:]), jnp.shape(leaf)))
            if number is not None:
                name = str(getattr(path[k - 1], "name", getattr(path[k - 1], "key", "")))
                name, again = ALIASES.get(name, name), 1
                key = name, number
                while key in found:
                    again += 1
                    key = f"{name}#{again}", number
                found[key] = place
                break
    return found
