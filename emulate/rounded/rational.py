"""Elementary operations in rational arithmetic, one number at a time: for formats as wide as float64 itself."""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from math import copysign, isfinite, isqrt
from typing import TYPE_CHECKING

import numpy as np

from ...formats.dyadic import power
from ...formats.exact import Exact, quantize_exact
from ...formats.listing import Listing, is_listed, listing

if TYPE_CHECKING:
    from .context import Arithmetic

SAME = Fraction(1, 1 << 49)
"""How far, relatively, the float64 of irrational values may take a result."""
_ROOT_BITS = 256
"""Bits of square roots before the sticky one, far beyond those of any format."""


def operate(
    name: str, arithmetic: "Arithmetic", operands: Sequence[np.ndarray], words: np.ndarray | None
) -> list[float]:
    """The operation of float64 numbers, rounded once.

    Args:
        operands: arrays of one shape.
        words: int64 random words, of stochastic rounding.
    """
    rows = zip(*(x.reshape(-1).tolist() for x in operands))
    drawn = [0] * operands[0].size if words is None else [int(word) & (1 << 64) - 1 for word in words]
    return [_one(name, arithmetic, row, word) for row, word in zip(rows, drawn)]


def _one(name: str, arithmetic: "Arithmetic", row: tuple[float, ...], word: int) -> float:
    found = exactly(name, row, arithmetic.rounding.name == "down")
    if isinstance(found, Fraction) and is_listed(arithmetic.fmt):
        found = _snapped(found, listing(arithmetic.fmt))  # pyright: ignore[reportArgumentType]
    result = quantize_exact(arithmetic.fmt, found, arithmetic.rounding, arithmetic.overflow, word, 64)
    return float(result)


def _snapped(x: Fraction, of: Listing) -> Fraction:
    """x, or the irrational value that all but equals it and is kept as the nearest float64; see `operations`."""
    if of.rational:
        return x
    above = min(bisect_left(of.values, x), len(of.values) - 1)
    for value in (of.values[max(above - 1, 0)], of.values[above]):
        if abs(x - value) <= SAME * abs(value):
            return value
    return x


def exactly(name: str, row: Sequence[float], down: bool = False) -> Exact:
    """The exact result of an operation: a Fraction, or a float that is zero, infinite or NaN.

    A square root that is irrational is one within 2**-250 of it, on the same side of every shorter number.

    Args:
        down: whether sums of zero are -0, as where results are rounded down.
    """
    if not all(map(isfinite, row)):
        with np.errstate(all="ignore"):
            return float(_special(name, [np.float64(x) for x in row]))
    numbers = [Fraction(x) for x in row]
    if name in ("add", "subtract", "fma"):
        last = -row[-1] if name == "subtract" else row[-1]
        first = row[0] * row[1] if name == "fma" else row[0]
        total = (numbers[0] * numbers[1] if name == "fma" else numbers[0]) + Fraction(last)
        return total or _zero_sum(_sign(row[:2]) if name == "fma" else copysign(1, first), copysign(1, last), down)
    if name == "multiply":
        return numbers[0] * numbers[1] or copysign(0.0, _sign(row))
    if name == "divide":
        if not numbers[1]:
            return float("nan") if not numbers[0] else copysign(float("inf"), _sign(row))
        return numbers[0] / numbers[1] or copysign(0.0, _sign(row))
    return _root(row[0], numbers[0])


def _zero_sum(a: float, b: float, down: bool) -> float:
    return copysign(0.0, a) if a == b else -0.0 if down else 0.0


def _sign(row: Sequence[float]) -> float:
    return copysign(1, row[0]) * copysign(1, row[1])


def _special(name: str, row: list[np.float64]) -> np.float64:
    """Of infinities and NaN, as IEEE 754 has it."""
    match name:
        case "fma":
            # a finite product cannot overflow here: only its sign matters beside an infinity
            product = row[0] * row[1] if not all(map(isfinite, row[:2])) else np.float64(0)
            return product + row[2]
        case "add":
            return row[0] + row[1]
        case "subtract":
            return row[0] - row[1]
        case "multiply":
            return row[0] * row[1]
        case "divide":
            return row[0] / row[1]
        case _:
            return np.sqrt(row[0])


def _root(x: float, number: Fraction) -> Exact:
    if x == 0:
        return x
    if x < 0:
        return float("nan")
    shift = 2 * _ROOT_BITS + 2 * (number.denominator.bit_length() // 2)
    scaled = number * power(shift)
    root = isqrt(scaled.numerator // scaled.denominator)
    sticky = 0 if Fraction(root) ** 2 == scaled else Fraction(1, 2)
    return (root + sticky) / power(shift // 2)
