"""IEEE 754 multiplication, division and addition of numbers given by their bits, in integer arithmetic.

Scales need them, and hardware cannot be trusted with them: XLA flushes subnormals, turns x / s into x * (1 / s)
and fuses a * b + c. Here the hardware only estimates. The significands a, b of M + 1 bits are small enough for
an integer remainder modulo 2**width to be exact, so that it finds and mends the error of an estimate Q:

    a * b = Q * 2**k + R        0 <= R < 2**k             a * 2**M = Q * b + R        |R| <= b / 2

and Q with the sign of R decides the rounding, at any precision, to nearest with ties to even. Results below
the smallest normal underflow gradually. Source: IEEE 754-2019 sections 4.3.1 and 7.5.
"""

from .layouts import Layout
from .numbers import Array, Integers, take_apart, with_sign


def normalized(xp: Integers, layout: Layout, magnitude: Array) -> tuple[Array, Array]:
    """Significand shifted to exactly M + 1 bits, and the exponent field of its leading bit; (0, anything) for 0."""
    parts = take_apart(xp, layout, magnitude)
    up = xp.clip(parts.unit_field - parts.leading_field, 0, layout.mantissa_bits)
    return parts.significand << up, parts.leading_field


def settle(
    xp: Integers, target: Layout, significand: Array, tail: Array, unit_field: Array, surplus: Array, largest: bool
) -> Array:
    """Magnitude bits of (significand + tail) * 2**(unit_field - bias - M) rounded once to the target dtype.

    Args:
        significand: M + 1 + surplus bits and possibly 2**(M + 1 + surplus); or 0.
        tail: what the significand lacks: -1/2 to 1/2 of a unit, no tie, or 0 to 1 where surplus > 0. Only its
            sign is read.
        unit_field: exponent field of a number whose last bit is the significand's.
        largest: what is too large becomes the largest finite number, otherwise infinity.
    """
    m = target.mantissa_bits
    drop = xp.clip(xp.maximum(1 - unit_field, surplus), 0, xp.width - 2)
    half = ((drop * 0 + 1) << drop) >> 1
    odd = (significand >> drop) & 1
    up_on_tie = xp.integer((tail > 0) | ((tail == 0) & (odd == 1)))
    increment = xp.where(drop > 0, half - 1 + up_on_tie, 0)
    field, top = unit_field + drop, (target.infinity >> m) - 1
    bits = ((xp.clip(field, 1, top) - 1) << m) + ((significand + increment) >> drop)
    bits = xp.where((field > top) | (bits >= target.infinity), target.infinity - largest, bits)
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
) -> Array:
    """x * y, rounded once.

    Args:
        x: (...) signed bits of any numbers.
        y: (...) bits of positive finite numbers.
        target: dtype of the result; default that of the operands.
        largest: finite products beyond the range become the largest number instead of infinity.

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
    bits = settle(xp, target, quotient, tail, field, surplus, largest)
    return _special(xp, layout, target, x, magnitude, bits)


def divide(xp: Integers, layout: Layout, x: Array, y: Array, *, exponent: Array = 0, largest: bool = False) -> Array:
    """x / y * 2**exponent, rounded once.

    Args:
        x: (...) signed bits of any numbers.
        y: (...) bits of positive finite numbers.
        exponent: (...) integers.
        largest: finite quotients beyond the range become the largest number instead of infinity.

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
    bits = settle(xp, layout, quotient, tail, field, 0, largest)
    return _special(xp, layout, layout, x, magnitude, bits)


def _special(xp: Integers, layout: Layout, target: Layout, x: Array, magnitude: Array, bits: Array) -> Array:
    """Infinities and NaN through, and the sign."""
    bits = xp.where(magnitude == layout.infinity, target.infinity, bits)
    bits = xp.where(magnitude > layout.infinity, target.nan, bits)
    return with_sign(xp, target, bits, x < 0)


def add(xp: Integers, layout: Layout, x: Array, y: Array, *, largest: bool = False) -> Array:
    """x + y of finite numbers, rounded once. A sum of zero is +0, unless both are -0.

    The smaller magnitude is moved under the larger one with three guard bits. Of what it loses there a
    difference takes one unit too much, so that in either case a positive tail is missing.
    """
    m, guard, mask = layout.mantissa_bits, 3, layout.magnitude_mask
    swap = (x & mask) < (y & mask)
    big, small = xp.where(swap, y, x), xp.where(swap, x, y)
    (a, a_field), (b, b_field) = normalized(xp, layout, big & mask), normalized(xp, layout, small & mask)
    away = xp.where(b == 0, 0, xp.clip(a_field - b_field, 0, m + guard + 1))
    wide = b << guard
    moved = wide >> away
    lost = xp.integer((moved << away) != wide)
    total = (a << guard) + xp.where((big ^ small) < 0, -moved - lost, moved)
    leading = xp.where(total < 16, xp.floor_log2(total), xp.floor_log2(total >> 4) + 4)
    up = xp.clip(m - leading, 0, m)
    bits = settle(
        xp, layout, total << up, lost, a_field - guard - up, xp.clip(leading - m, 0, guard + 1), largest
    )  # fmt: skip
    negative = xp.where(total == 0, xp.integer((big < 0) & (small < 0)), xp.integer(big < 0)) == 1
    return with_sign(xp, layout, bits, negative)


def plus(xp: Integers, layout: Layout, x: Array, y: Array) -> Array:
    """x + y of any numbers, rounded once; infinities and NaN as in IEEE 754, NaN canonical."""
    mask, infinity = layout.magnitude_mask, layout.infinity
    x_magnitude, y_magnitude = x & mask, y & mask
    infinite_x, infinite_y = x_magnitude == infinity, y_magnitude == infinity
    undefined = (x_magnitude > infinity) | (y_magnitude > infinity) | (infinite_x & infinite_y & ((x ^ y) < 0))
    found = xp.where(infinite_x, x, xp.where(infinite_y, y, add(xp, layout, x, y)))
    return xp.where(undefined, layout.nan, found)
