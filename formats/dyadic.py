"""Powers of two, exactly."""

from fractions import Fraction
from functools import cache


@cache
def power(exponent: int) -> Fraction:
    """2**exponent."""
    return Fraction(2) ** exponent


def floor_log2(x: Fraction) -> int:
    """Largest k with 2**k <= x, for x > 0."""
    k = x.numerator.bit_length() - x.denominator.bit_length()
    return k if power(k) <= x else k - 1
