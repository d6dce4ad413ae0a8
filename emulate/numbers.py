"""Numbers taken apart and put together in integer arithmetic, over an array namespace.

Notation of all kernels, for a host dtype with M mantissa bits (`Layout`):

    |x| = S * 2**(max(E, 1) - bias - M)       E exponent field, S < 2**(M + 1) significand
    n   = exponent field of the leading bit   E for normals, below 1 for host subnormals

Bits are signed integers of xp.width = 32 (64 for float64), sign-extended from the host's width.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from .layouts import Layout
from .tables import Mode

Array: TypeAlias = Any
"""An integer or boolean array of the backend, or a scalar of it."""


class Integers(Protocol):
    """What a backend supplies, for one integer width."""

    width: int

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        """Elementwise choice."""
        ...

    def clip(self, a: Array, low: Array, high: Array) -> Array:
        """Clamp to low..high."""
        ...

    def integer(self, a: Array) -> Array:
        """Booleans or integers as integers of `width`."""
        ...

    def maximum(self, a: Array, b: Array) -> Array:
        """The larger one; a is an array, b may be a number."""
        ...

    def minimum(self, a: Array, b: Array) -> Array:
        """The smaller one; a is an array, b may be a number."""
        ...

    def to_float(self, a: Array) -> Array:
        """Integers below 2**25 (2**54 at width 64) as floats of `width`, exact where the dtype holds them."""
        ...

    def quotient(self, a: Array, b: Array) -> Array:
        """a / b of floats, to within one unit in the last place."""
        ...

    def to_integer(self, a: Array) -> Array:
        """Floats of `width` truncated to integers."""
        ...

    def floats(self, bits: Array) -> Array:
        """Bits of float32 (float64 at width 64) as floats."""
        ...

    def bits(self, floats: Array) -> Array:
        """Floats of `width` as their bits."""
        ...

    def shift_right_logical(self, a: Array, n: Array) -> Array:
        """Shift in zeros, 0 <= n < width."""
        ...

    def floor_log2(self, a: Array) -> Array:
        """Position of the leading one of 1 <= a < 2**53 (2**24 at width 32); anything for 0."""
        ...

    def wide_product(self, a: Array, b: Array) -> tuple[Array, Array]:
        """High and low 32 bits of the product of two unsigned 32-bit patterns, as such patterns."""
        ...

    def count_not_above(self, ascending: Array, a: Array) -> Array:
        """How many of `ascending` are <= a, elementwise over a."""
        ...

    def take(self, table: Array, index: Array) -> Array:
        """table[index]."""
        ...


class Arrays(Integers, Protocol):
    """What scaled formats need besides: shapes and reductions."""

    def materialized(self, a: Array) -> Array:
        """a, computed once: a compiler must not compute it again for each element that reads it."""
        ...

    def wider(self) -> "Arrays":
        """The namespace of width 64."""
        ...

    def pad(self, a: Array, widths: Sequence[int]) -> Array:
        """Zeros at the end of each axis."""
        ...

    def transpose(self, a: Array, axes: Sequence[int]) -> Array:
        """Axes in another order."""
        ...

    def broadcast(self, a: Array, shape: Sequence[int]) -> Array:
        """a repeated along axes of length 1."""
        ...

    def largest(self, a: Array, axes: Sequence[int]) -> Array:
        """Maximum over axes, which go away."""
        ...

    def count(self, a: Array) -> Array:
        """Sum of zeros and ones over the last axis."""
        ...

    def sorted(self, a: Array) -> Array:
        """Ascending along the last axis."""
        ...

    def pick(self, a: Array, index: Array) -> Array:
        """a[..., index[...]]: one element of each row of the last axis."""
        ...

    def array(self, values: Any) -> Array:
        """NumPy integers as an array of the backend."""
        ...

    def repeat(self, times: int, body: Callable[[Array, Any], Any], state: Any) -> Any:
        """state = body(k, state) for k = 0, 1, ..., times - 1."""
        ...


class Parts(NamedTuple):
    """A number taken apart; see the notation above."""

    negative: Array
    magnitude: Array
    significand: Array
    unit_field: Array
    leading_field: Array


def take_apart(xp: Integers, layout: Layout, bits: Array) -> Parts:
    """Sign, magnitude bits, S, max(E, 1) and n of numbers given by their bits."""
    magnitude = bits & layout.magnitude_mask
    field = magnitude >> layout.mantissa_bits
    fraction = magnitude & ((1 << layout.mantissa_bits) - 1)
    normal = field > 0
    significand = fraction | xp.where(normal, xp.integer(field * 0 + (1 << layout.mantissa_bits)), field * 0)
    leading = xp.where(normal, field, xp.floor_log2(fraction) + (1 - layout.mantissa_bits))
    return Parts(bits < 0, magnitude, significand, xp.where(normal, field, field * 0 + 1), leading)


def unsigned_above(xp: Integers, a: Array, b: Array) -> Array:
    """a > b, both read as unsigned patterns."""
    lowest = -1 << (xp.width - 1)
    return (a ^ lowest) > (b ^ lowest)


def with_sign(xp: Integers, layout: Layout, magnitude: Array, negative: Array) -> Array:
    """Set the sign bit, sign-extended; NaN stays positive."""
    sign = xp.integer(negative & (magnitude <= layout.infinity)) * (-1 << (layout.width - 1))
    return magnitude | sign


def _shift_both(xp: Integers, a: Array, left: Array) -> Array:
    """a << left, or a >> -left where left is negative; zero once everything is shifted out."""
    top = xp.width - 1
    return a << xp.clip(left, 0, top) >> xp.clip(-left, 0, top)


def from_integer(xp: Integers, layout: Layout, count: Array, unit_field: Array) -> Array:
    """Magnitude bits of count * 2**(unit_field - bias) for count >= 0, where the dtype holds that number."""
    m = layout.mantissa_bits
    leading = xp.floor_log2(count)
    field = leading + unit_field
    normal = (field << m) + (_shift_both(xp, count, m - leading) & ((1 << m) - 1))
    subnormal = _shift_both(xp, count, unit_field + (m - 1) + count * 0)
    return xp.where(count == 0, count, xp.where(field >= 1, normal, subnormal))


def count_of(xp: Integers, layout: Layout, bits: Array, unit_field: Array) -> Array:
    """floor(|x| / 2**(unit_field - bias)) modulo 2**32, for numbers given by their bits."""
    parts = take_apart(xp, layout, bits)
    up = parts.unit_field - layout.mantissa_bits - unit_field
    left = xp.where(up > 31, 0, parts.significand << xp.clip(up, 0, 31))
    return left >> xp.clip(-up, 0, layout.mantissa_bits + 1)


def power_bits(xp: Integers, layout: Layout, field: Array) -> Array:
    """Bits of 2**(field - bias); of the smallest subnormal where that is smaller still."""
    m = layout.mantissa_bits
    subnormal = xp.integer(field * 0 + 1) << xp.clip(m + xp.integer(field) - 1, 0, m)
    return xp.where(xp.integer(field) >= 1, xp.integer(field) << m, subnormal)


def convert(xp: Integers, source: Layout, target: Layout, bits: Array) -> Array:
    """Bits of the same numbers in another dtype that holds them; NaN becomes canonical.

    Args:
        bits: (...) source bits, sign-extended to an xp.width that holds both dtypes.
    """
    parts = take_apart(xp, source, bits)
    unit = parts.unit_field + (target.bias - source.bias - source.mantissa_bits)
    magnitude = from_integer(xp, target, parts.significand, unit)
    magnitude = xp.where(parts.magnitude == source.infinity, target.infinity, magnitude)
    magnitude = xp.where(parts.magnitude > source.infinity, target.nan, magnitude)
    return with_sign(xp, target, magnitude, parts.negative)


def prepare_words(xp: Integers, mode: Mode, words: Array) -> Array:
    """Random words whose sum with the discarded fraction, in units of 2**-width, decides by its carry.

    Few-bit variants keep the top N bits R: A adds R, B adds R + 1/2, and C adds R + 1/2 less one unit when
    R is odd, so that a fraction halfway between multiples of 2**-N goes to the even one. 50/50 rounding
    adds all ones or nothing.
    """
    few = half_words(mode, words) - odd_words(mode, words)
    all_or_nothing = words >> (xp.width - 1)
    return xp.where((words * 0 + mode.equal) == 1, all_or_nothing, few)


def half_words(mode: Mode, words: Array) -> Array:
    """The kept bits R, plus a half of the last one in the variants B and C."""
    return (words & mode.keep) | mode.half


def odd_words(mode: Mode, words: Array) -> Array:
    """1 where R is odd, in variant C."""
    return (words >> mode.low_bits) & mode.take_odd
