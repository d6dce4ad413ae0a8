"""Error-free transformations: an operation of the carrier, and what its rounding to nearest left out.

    a + b = s + e       two_sum, six operations (Knuth 1969, TAOCP 4.2.2)
    a * b = p + e       two_product, seventeen (Dekker 1971), the factors split in halves (Veltkamp)
    a / b = q + r / b   r = a - q * b exactly
    sqrt(a) = s + r / 2s (nearly), r = a - s * s exactly

From the sign of the error, `to_odd` makes the result that rounding to odd gives, in which no tie and no inexactness
is lost: whatever rounds it next rounds as if it had seen the exact result. Written over an array namespace, for
NumPy and torch; every line is one IEEE operation, so no compiler may contract them.

Source: Boldo and Melquiond, Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd,
IEEE Transactions on Computers 57(4), 2008.
"""

from typing import Any, Protocol, TypeAlias

from ..layouts import Layout

Array: TypeAlias = Any
"""A float array of the carrier, of NumPy or torch."""


class Floats(Protocol):
    """What an array library supplies."""

    def bits(self, x: Array) -> Array:
        """The bits of floats as signed integers."""
        ...

    def floats(self, u: Array) -> Array:
        """The floats of bits."""
        ...

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        """Elementwise choice."""
        ...

    def sqrt(self, x: Array) -> Array:
        """The square root, rounded to nearest."""
        ...


def to_odd(xp: Floats, result: Array, error: Array) -> Array:
    """The result rounded to odd, from the one rounded to nearest and what it lacks.

    Of the two neighbours of an inexact result one is odd. Where the nearest one is not, it is the one on the side of
    the error, one step in magnitude away.

    Args:
        error: of the same sign as the exact result less the one given; NaN, of infinities, changes nothing.
    """
    u = xp.bits(result)
    inexact = (error > 0) | (error < 0)
    step = xp.where((error > 0) == (result > 0), u * 0 + 1, u * 0 - 1)
    return xp.floats(xp.where(inexact & ((u & 1) == 0), u + step, u))


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The sum to nearest, and its error."""
    s = a + b
    of_b = s - a
    return s, (a - (s - of_b)) + (b - of_b)


def split(a: Array, layout: Layout) -> tuple[Array, Array]:
    """A number as the sum of two of half the bits."""
    scaled = a * float((1 << -(-(layout.mantissa_bits + 1) // 2)) + 1)
    high = scaled - (scaled - a)
    return high, a - high


def two_product(a: Array, b: Array, layout: Layout) -> tuple[Array, Array]:
    """The product to nearest, and its error."""
    p = a * b
    (a_high, a_low), (b_high, b_low) = split(a, layout), split(b, layout)
    return p, a_low * b_low - (((p - a_high * b_high) - a_low * b_high) - a_high * b_low)


def add(xp: Floats, layout: Layout, a: Array, b: Array) -> Array:
    """a + b to odd."""
    return to_odd(xp, *two_sum(a, b))


def multiply(xp: Floats, layout: Layout, a: Array, b: Array) -> Array:
    """a * b to odd."""
    return to_odd(xp, *two_product(a, b, layout))


def divide(xp: Floats, layout: Layout, a: Array, b: Array) -> Array:
    """a / b to odd."""
    q = a / b
    p, error = two_product(q, b, layout)
    rest = (a - p) - error  # both differences are exact: p is within one unit of a
    return to_odd(xp, q, xp.where(b < 0, -rest, rest))


def sqrt(xp: Floats, layout: Layout, a: Array) -> Array:
    """Square root of a to odd."""
    s = xp.sqrt(a)
    p, error = two_product(s, s, layout)
    return to_odd(xp, s, (a - p) - error)


def fma(xp: Floats, layout: Layout, a: Array, b: Array, c: Array) -> Array:
    """a * b + c to odd."""
    high, low = two_product(a, b, layout)
    middle, lowest = two_sum(c, low)
    top, rest = two_sum(high, middle)
    inexact = to_odd(xp, *two_sum(top, to_odd(xp, *two_sum(lowest, rest))))
    # without an error of the product the sum of two has the right zero, and infinities
    return xp.where(((low > 0) | (low < 0)) & (c - c == 0), inexact, to_odd(xp, *two_sum(high, c)))
