"""Floats of torch or JAX as one namespace, and what is made of it alone: sums in a stated order, scales of blocks.

Operations are those of IEEE 754, float32 (float64 for float64 arrays) rounded once, with gradual underflow, so that
algorithms over them give the same bits in both frameworks. Sums that decide bits are by halves: the second half of the
terms, zeros up to a power of two, is added to the first until one is left. `torch.compile` traces all of it.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

Array: TypeAlias = Any
"""An array of a framework."""


class Floats(Protocol):
    """What a framework supplies: operations of its floats, each rounded once, subnormals kept."""

    def wide(self, t: Array) -> Array:
        """The same numbers in the dtype that scales are computed in: float32, or float64."""
        ...

    def delivered(self, v: Array, like: Array, saturate: bool) -> Array:
        """v rounded once to the dtype of `like`: finite numbers stay finite; where `saturate`, infinities do not."""
        ...

    def number(self, value: Any, like: Array) -> Array:
        """() of the dtype of `like`."""
        ...

    def where(self, condition: Array, a: Array, b: Any) -> Array:
        """Elementwise choice; b may be a number."""
        ...

    def plus(self, a: Array, b: Array) -> Array:
        """a + b."""
        ...

    def minus(self, a: Array, b: Array) -> Array:
        """a - b."""
        ...

    def times(self, a: Array, b: Array) -> Array:
        """a * b."""
        ...

    def over(self, a: Array, b: Array) -> Array:
        """a / b."""
        ...

    def root(self, a: Array) -> Array:
        """Square root."""
        ...

    def term(self, a: Array, b: Array) -> Array:
        """a * b >= 0 of a sum: what is normal or zero is all that counts, and no compiler may fuse it with the sum."""
        ...

    def relative(self, t: Array, top: Array) -> Array:
        """t over the largest power of two that is not above top > 0, exactly; 0 below 2**-60."""
        ...

    def power_below(self, v: Array) -> Array:
        """The largest power of two that is not above v > 0."""
        ...

    def largest(self, t: Array, axes: Sequence[int] | None) -> Array:
        """The largest magnitude, NaN where there is one: of all, or over axes, which stay as 1."""
        ...

    def at_most(self, t: Array, limit: Array) -> Array:
        """Where |t| <= limit, for limits >= 0."""
        ...

    def finite(self, t: Array) -> Array:
        """Where numbers are finite."""
        ...

    def materialized(self, t: Array) -> Array:
        """t, computed once: a compiler must not compute it again for each sum that reads it."""
        ...

    def pad(self, t: Array, axis: int, count: int) -> Array:
        """Zeros at the end of an axis."""
        ...

    def broadcast(self, t: Array, shape: Sequence[int]) -> Array:
        """t repeated along axes of length 1."""
        ...

    def sum(self, t: Array, axes: Sequence[int]) -> Array:
        """Sum in any order over axes, which stay as 1."""
        ...

    def joined(self, parts: Sequence[Array], axis: int) -> Array:
        """Arrays side by side."""
        ...

    def ordered(self, t: Array) -> Array:
        """Integers in the order of the numbers of t, NaN last."""
        ...

    def unordered(self, keys: Array, like: Array) -> Array:
        """The numbers of such integers."""
        ...

    def nth(self, keys: Array, n: int) -> Array:
        """The n-th smallest of (k,) integers, from 1 on."""
        ...

    def clip(self, t: Array, low: Any, high: Any) -> Array:
        """t between two ends; None for no end."""
        ...

    def cosh(self, t: Array) -> Array:
        """Hyperbolic cosine."""
        ...


def vanishes(xp: Floats, t: Array) -> Array:
    """Where numbers are zero, or the smallest there is: LLVM makes of a test for zero one that flushes subnormals."""
    return xp.at_most(t, xp.number(2.0**-1074 if t.dtype.itemsize == 8 else 2.0**-149, t))


def or_one(xp: Floats, t: Array) -> Array:
    """1 in the place of what vanishes."""
    return xp.where(vanishes(xp, t), 1.0, t)


def total(xp: Floats, t: Array, axis: int) -> Array:
    """Sum over an axis, by halves."""
    size, before = 1, (slice(None),) * axis
    while size < t.shape[axis]:
        size *= 2
    if size > t.shape[axis]:
        t = xp.pad(t, axis, size - t.shape[axis])
    while size > 1:
        size //= 2
        t = t[(*before, slice(None, size))] + t[(*before, slice(size, None))]
    return t[(*before, 0)]


def unless_tiny(xp: Floats, t: Array) -> Array:
    """0 in the place of magnitudes below 2**-60, beside numbers near 1."""
    return xp.where(xp.at_most(t, xp.number(2.0**-60, t)), 0.0, t)


def repeated(xp: Floats, t: Array, axis: int, times: int) -> Array:
    """Each element of t repeated along an axis."""
    before, after = tuple(t.shape[: axis + 1]), tuple(t.shape[axis + 1 :])
    wide = xp.broadcast(t.reshape((*before, 1, *after)), (*before, times, *after))
    return wide.reshape((*before[:-1], before[-1] * times, *after))
