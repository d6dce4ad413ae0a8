"""JAX as the namespace of `operand_values`.

XLA flushes subnormals, divides by way of reciprocals and fuses products into sums, so that whatever decides a bit goes
through the integer arithmetic of `emulate.arithmetic`; products of sums are hidden from the sums behind an integer
operation that only NaN would notice. Choices are made of bits, too: of the bits of a float that was just computed, LLVM
makes a test for zero a comparison of floats, to which a subnormal is zero.
"""

# ruff: noqa: D102 - the protocol in floats.py says what methods do

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...emulate import arithmetic
from ...emulate.backends import jax as backend
from ...emulate.backends.jax_ieee import bits_in
from ...emulate.backends.jax_integers import JaxIntegers
from ...emulate.layouts import FLOAT32, FLOAT64, LAYOUTS, Layout
from ...emulate.numbers import power_bits
from ...emulate.statistics import relative as relative_bits


class JaxFloats:
    """`floats.Floats` over arrays."""

    def wide(self, t: jax.Array) -> jax.Array:
        layout = FLOAT64 if t.dtype == np.float64 else FLOAT32
        return t if _layout(t) is layout else backend.floats(layout, bits_in(layout, t))

    def delivered(self, v: jax.Array, like: jax.Array, saturate: bool) -> jax.Array:
        source, target = _layout(v), _layout(like)
        if source is target and not saturate:
            return v
        xp, _, bits = _apart(v)
        found = arithmetic.narrow(xp, source, target, bits)
        if not saturate:
            infinite = (bits & source.magnitude_mask) == source.infinity
            found = xp.where(
                infinite,
                jnp.where(bits < 0, arithmetic.negated(target, found * 0 + target.infinity), target.infinity),
                found,
            )
        return backend.floats(target, found)

    def number(self, value: Any, like: jax.Array) -> jax.Array:
        if isinstance(value, jax.Array):
            return backend.floats(_layout(like), bits_in(_layout(like), value))
        return jnp.asarray(value, like.dtype)

    def where(self, condition: jax.Array, a: Any, b: Any) -> jax.Array:
        like = a if isinstance(a, jax.Array) else b
        a, b = (bits_in(_layout(like), x if isinstance(x, jax.Array) else self.number(x, like)) for x in (a, b))
        return backend.floats(_layout(like), jnp.where(condition, a, b))

    def plus(self, a: jax.Array, b: jax.Array) -> jax.Array:
        xp, layout, a, b = _apart(a, b)
        return backend.floats(layout, arithmetic.plus(xp, layout, a, b))

    def minus(self, a: jax.Array, b: jax.Array) -> jax.Array:
        xp, layout, a, b = _apart(a, b)
        return backend.floats(layout, arithmetic.minus(xp, layout, a, b))

    def times(self, a: jax.Array, b: jax.Array) -> jax.Array:
        xp, layout, a, b = _apart(a, b)
        return backend.floats(layout, arithmetic.times(xp, layout, a, b))

    def over(self, a: jax.Array, b: jax.Array) -> jax.Array:
        xp, layout, a, b = _apart(a, b)
        return backend.floats(layout, arithmetic.over(xp, layout, a, b))

    def root(self, a: jax.Array) -> jax.Array:
        xp, layout, a = _apart(a)
        return backend.floats(layout, arithmetic.sqrt(xp, layout, a))

    def term(self, a: jax.Array, b: jax.Array) -> jax.Array:
        _, layout, bits = _apart(a * b)
        return backend.floats(layout, jnp.minimum(bits, layout.infinity))

    def power_below(self, v: jax.Array) -> jax.Array:
        xp, layout, bits = _apart(v)
        return backend.floats(layout, power_bits(xp, layout, arithmetic.normalized(xp, layout, bits)[1]))

    def relative(self, t: jax.Array, top: jax.Array) -> jax.Array:
        xp, layout, bits, tops = _apart(t, top)
        return backend.floats(layout, relative_bits(xp, layout, bits, arithmetic.normalized(xp, layout, tops)[1], 60))

    def largest(self, t: jax.Array, axes: Sequence[int] | None) -> jax.Array:
        _, layout, bits = _apart(t)
        magnitude = bits & layout.magnitude_mask
        return backend.floats(
            layout, magnitude.max(axis=None if axes is None else tuple(axes), keepdims=axes is not None)
        )

    def at_most(self, t: jax.Array, limit: jax.Array) -> jax.Array:
        _, layout, a, b = _apart(t, limit)
        return ((a & layout.magnitude_mask) <= b) & (b <= layout.infinity)

    def finite(self, t: jax.Array) -> jax.Array:
        return jnp.isfinite(t)

    def materialized(self, t: jax.Array) -> jax.Array:
        # XLA on CPU fuses through barriers, but not through branches; which one is taken does not matter to a NaN
        first = lax.bitcast_convert_type(t.reshape(-1)[0], backend.SIGNED[_layout(t).width])
        return lax.cond(first == _layout(t).nan, jnp.abs, lambda t: t, t)

    def pad(self, t: jax.Array, axis: int, count: int) -> jax.Array:
        return jnp.pad(t, [(0, count if k == axis else 0) for k in range(t.ndim)])

    def broadcast(self, t: jax.Array, shape: Sequence[int]) -> jax.Array:
        return jnp.broadcast_to(t, tuple(shape))

    def sum(self, t: jax.Array, axes: Sequence[int]) -> jax.Array:
        return t.sum(axis=tuple(axes), keepdims=True)

    def joined(self, parts: Sequence[jax.Array], axis: int) -> jax.Array:
        return jnp.concatenate(list(parts), axis)

    def ordered(self, t: jax.Array) -> jax.Array:
        xp, layout, bits = _apart(t)
        return _flipped(layout, xp.where((bits & layout.magnitude_mask) > layout.infinity, layout.nan, bits))

    def unordered(self, keys: jax.Array, like: jax.Array) -> jax.Array:
        return backend.floats(_layout(like), _flipped(_layout(like), keys))

    def nth(self, keys: jax.Array, n: int) -> jax.Array:
        return lax.sort(keys)[n - 1]

    def clip(self, t: jax.Array, low: Any, high: Any) -> jax.Array:
        return jnp.clip(t, low, high)

    def cosh(self, t: jax.Array) -> jax.Array:
        return jnp.cosh(t)


def _layout(t: jax.Array) -> Layout:
    return LAYOUTS[backend.dtype_name(t)]


def _apart(*arrays: jax.Array) -> tuple[Any, ...]:
    """The namespace of integers, the layout, and the bits of arrays of one dtype, broadcast together."""
    layout = _layout(arrays[0])
    return JaxIntegers(layout.work_width), layout, *(bits_in(layout, a) for a in jnp.broadcast_arrays(*arrays))


def _flipped(layout: Layout, bits: jax.Array) -> jax.Array:
    """Negative numbers have their bits in the opposite order."""
    return bits ^ ((bits >> (layout.width - 1)) & layout.magnitude_mask)


FLOATS = JaxFloats()
"""The namespace."""
