"""IEEE 754 arithmetic of numbers given by their bits, in integer arithmetic: to nearest, or to odd.

Scales need them, and hardware cannot be trusted with them: XLA flushes subnormals, turns x / s into x * (1 / s)
and fuses a * b + c. Here the hardware only estimates. The significands a, b of M + 1 bits are small enough for
an integer remainder modulo 2**width to be exact, so that it finds and mends the error of an estimate Q:

    a * b = Q * 2**k + R        0 <= R < 2**k             a * 2**M = Q * b + R        |R| <= b / 2

and Q with the sign of R decides the rounding, at any precision, to nearest with ties to even. Results below
the smallest normal underflow gradually.

Rounded to odd instead, a result keeps its truncated significand, whose last bit is set if anything was lost; past
the range it is the largest number, which is odd. What rounds it next, to at least two bits fewer, then rounds as if
it had seen the exact result. Sources: IEEE 754-2019 sections 4.3.1 and 7.5; Boldo and Melquiond, Emulation of a FMA
and correctly rounded sums: proved algorithms using rounding to odd, IEEE Transactions on Computers 57(4), 2008.
"""

from typing import NamedTuple

from .layouts import Layout
from .numbers import Array, Integers, take_apart, with_sign


def normalized(xp: Integers, layout: Layout, magnitude: Array) -> tuple[Array, Array]:
    """Significand shifted to exactly M + 1 bits, and the exponent field of its leading bit; (0, anything) for 0."""
    parts = take_apart(xp, layout, magnitude)
    up = xp.clip(parts.unit_field - parts.leading_field, 0, layout.mantissa_bits)
    return parts.significand << up, parts.leading_field


def settle(
    xp: Integers,
    target: Layout,
    significand: Array,
    tail: Array,
    unit_field: Array,
    surplus: Array,
    largest: bool,
    odd: bool = False,
) -> Array:
    """Magnitude bits of (significand + tail) * 2**(unit_field - bias - M) rounded once to the target dtype.

    Args:
        significand: M + 1 + surplus bits and possibly 2**(M + 1 + surplus); or 0.
        tail: what the significand lacks: -1/2 to 1/2 of a unit, no tie, or 0 to 1 where surplus > 0. Only its
            sign is read.
        unit_field: exponent field of a number whose last bit is the significand's.
        largest: what is too large becomes the largest finite number, otherwise infinity.
        odd: round to odd.
    """
    m = target.mantissa_bits
    drop = xp.clip(xp.maximum(1 - unit_field, surplus), 0, xp.width - 2)
    if odd:
        below = significand - xp.integer(tail < 0)
        kept = below >> drop
        kept = kept | xp.integer((tail != 0) | ((kept << drop) != below))
    else:
        half = ((drop * 0 + 1) << drop) >> 1
        up_on_tie = xp.integer((tail > 0) | ((tail == 0) & (((significand >> drop) & 1) == 1)))
        kept = (significand + xp.where(drop > 0, half - 1 + up_on_tie, 0)) >> drop
    field, top = unit_field + drop, (target.infinity >> m) - 1
    bits = ((xp.clip(field, 1, top) - 1) << m) + kept
    bits = xp.where((field > top) | (bits >= target.infinity), target.infinity - (largest or odd), bits)
    return xp.where(significand == 0, 0, bits)


def narrow(xp: Integers, layout: Layout, target: Layout, x: Array) -> Array:
    """Signed bits of x rounded to another dtype; what is too large, the bits of infinity too, becomes the largest."""
    magnitude = x & layout.magnitude_mask
    a, field = normalized(xp, layout, xp.minimum(magnitude, layout.infinity - 1))
    surplus = layout.mantissa_bits - target.mantissa_bits
    bits = settle(xp, target, a, a * 0, field + (target.bias - layout.bias - surplus), surplus, True)
    return with_sign(xp, target, xp.where(magnitude > layout.infinity, target.nan, bits), x < 0)


def multiply(
    xp: Integers,
    layout: Layout,
    x: Array,
    y: Array,
    *,
    target: Layout | None = None,
    largest: bool = False,
    odd: bool = False,
) -> Array:
    """x * y, rounded once.

    Args:
        x: (...) signed bits of any numbers.
        y: (...) bits of finite numbers that are not negative.
        target: dtype of the result; default that of the operands.
        largest: finite products beyond the range become the largest number instead of infinity.
        odd: round to odd.

    Returns:
        (...) signed bits. Infinities and NaN of x stay what they are.
    """
    target = target or layout
    m = layout.mantissa_bits
    magnitude = x & layout.magnitude_mask
    (a, a_field), (b, b_field) = normalized(xp, layout, magnitude), normalized(xp, layout, y)
    k = m - 3  # so that Q has three or four bits too many, and rounds below
    estimate = xp.to_integer(xp.to_float(a) * xp.to_float(b) * 2.0**-k)
    remainder = a * b - (estimate << k)
    quotient, tail = estimate + (remainder >> k), remainder & ((1 << k) - 1)
    field = a_field + b_field + (target.bias + target.mantissa_bits - 2 * layout.bias - 2 * m + k)
    surplus = xp.integer(quotient >= (1 << (2 * m + 1 - k))) + (2 * m - k - target.mantissa_bits)
    bits = settle(xp, target, quotient, tail, field, surplus, largest, odd)
    return _special(xp, layout, target, x, magnitude, bits)


def divide(
    xp: Integers,
    layout: Layout,
    x: Array,
    y: Array,
    *,
    exponent: Array = 0,
    largest: bool = False,
    odd: bool = False,
) -> Array:
    """x / y * 2**exponent, rounded once.

    Args:
        x: (...) signed bits of any numbers.
        y: (...) bits of positive finite numbers.
        exponent: (...) integers.
        largest: finite quotients beyond the range become the largest number instead of infinity.
        odd: round to odd.

    Returns:
        (...) signed bits. Infinities and NaN of x stay what they are.
    """
    m = layout.mantissa_bits
    magnitude = x & layout.magnitude_mask
    (a, a_field), (b, b_field) = normalized(xp, layout, magnitude), normalized(xp, layout, y)
    less = xp.integer(a < b)
    a = a << less
    estimate = xp.to_integer(xp.quotient(xp.to_float(a), xp.to_float(b)) * 2.0**m)
    remainder = (a << m) - estimate * b
    step = xp.integer(2 * remainder > b) - xp.integer(2 * remainder < -b)  # quotients of M + 1 bits never tie
    quotient, tail = estimate + step, remainder - step * b
    field = a_field - b_field - less + (layout.bias + exponent)
    bits = settle(xp, layout, quotient, tail, field, 0, largest, odd)
    return _special(xp, layout, layout, x, magnitude, bits)


def _special(xp: Integers, layout: Layout, target: Layout, x: Array, magnitude: Array, bits: Array) -> Array:
    """Infinities and NaN through, and the sign."""
    bits = xp.where(magnitude == layout.infinity, target.infinity, bits)
    bits = xp.where(magnitude > layout.infinity, target.nan, bits)
    return with_sign(xp, target, bits, x < 0)


class Term(NamedTuple):
    """A finite number: sign, significand of exactly M + 1 bits or 0, and the exponent field of its leading bit.

    The field may lie far outside of the dtype's range.
    """

    negative: Array
    significand: Array
    field: Array


def add(xp: Integers, layout: Layout, x: Array, y: Array, *, largest: bool = False, odd: bool = False) -> Array:
    """x + y of finite numbers, rounded once. A sum of zero is +0, unless both are -0."""
    mask = layout.magnitude_mask
    swap = (x & mask) < (y & mask)
    big, small = xp.where(swap, y, x), xp.where(swap, x, y)
    return _sum(
        xp, layout, _term(xp, layout, big), _term(xp, layout, small), largest, odd
    )  # fmt: skip


def _term(xp: Integers, layout: Layout, x: Array) -> Term:
    return Term(x < 0, *normalized(xp, layout, x & layout.magnitude_mask))


def _sum(xp: Integers, layout: Layout, big: Term, small: Term, largest: bool, odd: bool) -> Array:
    """Signed bits of a sum, the term of larger magnitude first.

    The smaller magnitude is moved under the larger one with three guard bits. Of what it loses there a
    difference takes one unit too much, so that in either case a positive tail is missing.
    """
    m, guard = layout.mantissa_bits, 3
    away = xp.where(small.significand == 0, 0, xp.clip(big.field - small.field, 0, m + guard + 1))
    wide = small.significand << guard
    moved = wide >> away
    lost = xp.integer((moved << away) != wide)
    total = (big.significand << guard) + xp.where(big.negative != small.negative, -moved - lost, moved)
    leading = xp.where(total < 16, xp.floor_log2(total), xp.floor_log2(total >> 4) + 4)
    up = xp.clip(m - leading, 0, m)
    surplus = xp.clip(leading - m, 0, guard + 1)
    bits = settle(xp, layout, total << up, lost, big.field - guard - up, surplus, largest, odd)
    return with_sign(xp, layout, bits, big.negative & ((total != 0) | small.negative))


def plus(xp: Integers, layout: Layout, x: Array, y: Array, *, odd: bool = False) -> Array:
    """x + y of any numbers, rounded once; infinities and NaN as in IEEE 754, NaN canonical."""
    mask, infinity = layout.magnitude_mask, layout.infinity
    x_magnitude, y_magnitude = x & mask, y & mask
    infinite_x, infinite_y = x_magnitude == infinity, y_magnitude == infinity
    undefined = (x_magnitude > infinity) | (y_magnitude > infinity) | (infinite_x & infinite_y & ((x ^ y) < 0))
    found = xp.where(infinite_x, x, xp.where(infinite_y, y, add(xp, layout, x, y, odd=odd)))
    return xp.where(undefined, layout.nan, found)


def minus(xp: Integers, layout: Layout, x: Array, y: Array, *, odd: bool = False) -> Array:
    """x - y of any numbers, rounded once, as `plus`."""
    return plus(xp, layout, x, negated(layout, y), odd=odd)


def negated(layout: Layout, x: Array) -> Array:
    """Bits of -x, sign-extended; NaN changes its sign too."""
    return x ^ (-1 << (layout.width - 1))


def times(xp: Integers, layout: Layout, x: Array, y: Array, *, odd: bool = False) -> Array:
    """x * y of any numbers, rounded once; infinities and NaN as in IEEE 754, NaN canonical."""
    infinity = layout.infinity
    a, b = x & layout.magnitude_mask, y & layout.magnitude_mask
    found = multiply(xp, layout, a, xp.minimum(b, infinity - 1), odd=odd)
    found = xp.where(b == infinity, infinity, found)
    found = xp.where(_undefined_product(layout, a, b), layout.nan, found)
    return with_sign(xp, layout, found, (x ^ y) < 0)


def _undefined_product(layout: Layout, a: Array, b: Array) -> Array:
    infinity = layout.infinity
    return (a > infinity) | (b > infinity) | ((a == infinity) & (b == 0)) | ((a == 0) & (b == infinity))


def over(xp: Integers, layout: Layout, x: Array, y: Array, *, odd: bool = False) -> Array:
    """x / y of any numbers, rounded once; zeros, infinities and NaN as in IEEE 754, NaN canonical."""
    infinity = layout.infinity
    a, b = x & layout.magnitude_mask, y & layout.magnitude_mask
    found = divide(xp, layout, a, xp.clip(b, 1, infinity - 1), odd=odd)
    found = xp.where(b == 0, infinity, xp.where(b == infinity, 0, found))
    undefined = (a > infinity) | (b > infinity) | ((a == b) & ((a == 0) | (a == infinity)))
    return with_sign(xp, layout, xp.where(undefined, layout.nan, found), (x ^ y) < 0)


def sqrt(xp: Integers, layout: Layout, x: Array, *, odd: bool = False) -> Array:
    """Square root of any numbers, rounded once; that of -0 is -0, of other negative numbers NaN.

    With an even exponent a * 2**M = Q * Q + R, -Q < R <= Q, again from an estimate.
    """
    m, infinity = layout.mantissa_bits, layout.infinity
    magnitude = x & layout.magnitude_mask
    a, field = normalized(xp, layout, magnitude)
    exponent = field - layout.bias
    a = a << (exponent & 1)
    quotient = xp.to_integer(_near_root(xp, xp.to_float(a) * 2.0**-m) * 2.0**m)
    for _ in range(2):
        rest = (a << m) - quotient * quotient
        quotient = quotient + xp.integer(rest > quotient) - xp.integer(rest <= -quotient)
    tail = (a << m) - quotient * quotient  # roots never tie
    bits = settle(xp, layout, quotient, tail, (exponent >> 1) + layout.bias, 0, False, odd)
    bits = xp.where(magnitude == infinity, infinity, xp.where(magnitude == 0, 0, bits))
    bits = xp.where((magnitude > infinity) | ((x < 0) & (magnitude > 0)), layout.nan, bits)
    return with_sign(xp, layout, bits, x < 0)


def _near_root(xp: Integers, x: Array) -> Array:
    """Square roots of floats 1 <= x < 4 to about a unit in the last place: from within 6%, Heron's method."""
    root = (x + 2.0) * (1 / 3)
    for _ in range(4 if xp.width == 64 else 3):
        root = (root + xp.quotient(x, root)) * 0.5
    return root


def fma(xp: Integers, layout: Layout, x: Array, y: Array, z: Array, *, odd: bool = False) -> Array:
    """x * y + z, rounded once, of any numbers x and y whose significands have at most (M + 1) // 2 bits.

    Their product then has M + 1 bits and is exact, however far its exponent lies outside of the range.
    """
    m, infinity, mask = layout.mantissa_bits, layout.infinity, layout.magnitude_mask
    high = (m + 1) // 2
    a, b, c = (_term(xp, layout, xp.where((v & mask) < infinity, v, 0)) for v in (x, y, z))
    product = (a.significand >> (m + 1 - high)) * (b.significand >> high)
    up = xp.integer(product < (1 << m))
    exact = Term(a.negative != b.negative, product << up, a.field + b.field - layout.bias + 1 - up)
    found = _sum(xp, layout, *_by_magnitude(xp, exact, c), False, odd)
    of_product = with_sign(xp, layout, xp.integer(x * 0 + infinity), (x ^ y) < 0)
    infinite = ((x & mask) == infinity) | ((y & mask) == infinity)
    infinite_z = (z & mask) == infinity
    undefined = _undefined_product(layout, x & mask, y & mask) | ((z & mask) > infinity)
    undefined = undefined | (infinite & infinite_z & ((of_product ^ z) < 0))
    found = xp.where(infinite, of_product, xp.where(infinite_z, z, found))
    return xp.where(undefined, layout.nan, found)


def _by_magnitude(xp: Integers, a: Term, b: Term) -> tuple[Term, Term]:
    """The larger term first."""
    smaller = (a.field < b.field) | ((a.field == b.field) & (a.significand < b.significand))
    swap = (a.significand == 0) | ((b.significand != 0) & smaller)
    return _chosen(xp, swap, b, a), _chosen(xp, swap, a, b)


def _chosen(xp: Integers, condition: Array, a: Term, b: Term) -> Term:
    negative = (condition & a.negative) | (~condition & b.negative)
    return Term(
        negative, xp.where(condition, a.significand, b.significand), xp.where(condition, a.field, b.field)
    )  # fmt: skip
