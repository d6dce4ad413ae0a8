"""Elementary operations of every pair of values, by integers as long as they need to be.

Exact results of + - * and fma are Python integers in units of a power of two; the result of a rounding is looked up in
its staircase. Quotients are compared one by one where they differ.
"""

from fractions import Fraction
from math import copysign, inf, isqrt, nan

import numpy as np
from halfulp.formats.exact import quantize_exact, staircase
from halfulp.formats.rounding import ROUNDINGS


class Steps:
    """A deterministic rounding of a format, for arrays of integers in units of 2**-shift.

    Args:
        overflow: as in `formats.exact`.
    """

    def __init__(self, fmt, rounding, overflow=None, shift=0):
        stairs = staircase(fmt, ROUNDINGS[rounding], overflow)
        self.shift = max([shift, *(point.denominator.bit_length() - 1 for point in stairs.points)])
        scale = 1 << self.shift
        self.points = np.array([int(point * scale) for point in stairs.points], object)
        self.at = np.array([float(value) for value in stairs.at])
        self.between = np.array([float(value) for value in stairs.between])

    def __call__(self, exact):
        """What integers (n,), in units of 2**-shift, are rounded to; that of zero is positive."""
        index = np.searchsorted(self.points, exact)
        inside = np.minimum(index, self.points.size - 1)
        return np.where(self.points[inside] == exact, self.at[inside], self.between[index])


def integers(values, shift):
    """Float values as Python integers in units of 2**-shift."""
    found = {value: Fraction(value) * (1 << shift) for value in set(values.tolist())}
    assert all(number.denominator == 1 for number in found.values())
    return np.array([int(found[value]) for value in values.tolist()], object)


def shift_of(values):
    """The shift at which all values are integers."""
    return max(Fraction(value).denominator.bit_length() - 1 for value in set(values.tolist()))


def zero_signs(name, rows, down):
    """The sign bit of a result that is exactly zero."""
    negative = [np.signbit(row) for row in rows]
    if name in ("multiply", "divide"):
        return negative[0] ^ negative[1]
    first = negative[0] ^ negative[1] if name == "fma" else negative[0]
    last = ~negative[-1] if name == "subtract" else negative[-1]
    return np.where(first == last, first, down)


def expected(name, fmt, rounding, rows, overflow=None, stairs=None):
    """The exactly rounded results of finite operands.

    Args:
        name: add, subtract, multiply, divide, sqrt or fma.
        rows: float64 arrays (n,).
        stairs: `Steps` to use again, of a shift that is large enough.
    """
    if name in ("divide", "sqrt"):
        return _one_by_one(name, fmt, rounding, rows, overflow)
    shift = shift_of(np.concatenate(rows))
    x, y, *z = (integers(row, shift) for row in rows)
    stairs = stairs or Steps(fmt, rounding, overflow, 2 * shift)
    up = stairs.shift - shift
    if name == "add":
        exact = (x + y) << up
    elif name == "subtract":
        exact = (x - y) << up
    elif name == "multiply":
        exact = (x * y) << (up - shift)
    else:
        exact = ((x * y) << (up - shift)) + (z[0] << up)
    found = stairs(exact)
    return _signed(fmt, found, exact == 0, exact < 0, zero_signs(name, rows, rounding == "down"))


def _signed(fmt, found, is_zero, is_negative, zero_negative):
    """The sign of results that are zero."""
    negative = np.where(is_zero, zero_negative, is_negative).astype(bool)
    return np.where((found == 0) & negative & fmt.has_negative_zero, -0.0, np.where(found == 0, 0.0, found))


def _one_by_one(name, fmt, rounding, rows, overflow):
    """Quotients of short numbers are equal where their float64 are, and so are roots."""
    if name == "sqrt":
        keys = rows[0]
    else:
        with np.errstate(all="ignore"):
            keys = rows[0] / rows[1]
    _, first, inverse = np.unique(keys.view(np.int64), return_index=True, return_inverse=True)
    values = [_one(name, fmt, rounding, [float(row[k]) for row in rows], overflow) for k in first]
    return np.array(values)[inverse.reshape(-1)]


def _one(name, fmt, rounding, row, overflow):
    if name == "sqrt":
        exact = row[0] if row[0] == 0 else nan if row[0] < 0 else _root(Fraction(row[0]))
    elif row[1] == 0:
        exact = copysign(inf, copysign(1, row[0]) * copysign(1, row[1])) if row[0] else nan
    else:
        exact = Fraction(row[0]) / Fraction(row[1])
        if exact == 0:
            exact = copysign(0.0, copysign(1, row[0]) * copysign(1, row[1]))
    return float(quantize_exact(fmt, exact, ROUNDINGS[rounding], overflow))


def _root(x):
    """A number that lies on the same side of every short one as the square root, and is equal to it if it is short."""
    scale = 4**400
    root = isqrt(int(x * scale))
    exact = Fraction(root * root) == x * scale
    return Fraction(2 * root + (not exact), 2) / 2**400
