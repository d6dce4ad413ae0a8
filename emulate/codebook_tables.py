"""Lists of values as the integers the kernels read, for one host dtype; built in vectors, as lists can be long."""

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import nextafter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..formats.dyadic import floor_log2, power
from ..formats.listing import Listing, listing
from ..formats.rounding import DETERMINISTIC
from .layouts import Layout, floats_of, floor_bits, rounded_bits

Int: TypeAlias = Any
"""A Python int, or an integer array where the format is traced."""

SPECIALS = 3
"""Entries at the end of `Codebook.values` and `codes`: what +Inf, -Inf and NaN become."""


class Codebook(NamedTuple):
    """A list of n values over one host dtype.

    Keys order the host numbers as integers: the bits of x >= 0, and ~bits of the magnitude below zero.

    Fields:
        values: (n + 3,) host bits, sign included; then what +Inf, -Inf and NaN become.
        codes: (n + 3,) their codes; -1 for NaN, for which the caller has a code or none.
        keys: (n,) keys of the values, infinities at the ends as the numbers from which on they are certain.
        ends: (2,) keys of the smallest and the largest finite value.
        thresholds: (8, n - 1) per deterministic mode the first key that rounds to the upper neighbour.
        unit_field, spacing, low: (n - 1,) the gaps in fixed point for stochastic modes: unit
            2**(unit_field - bias), gap width and lower value in units, the latter modulo 2**32.
    """

    values: Int
    codes: Int
    keys: Int
    ends: Int
    thresholds: Int
    unit_field: Int
    spacing: Int
    low: Int


@lru_cache(maxsize=512)
def rounded_listing(of: Listing, layout: Layout) -> Listing:
    """The list as a dtype holds it: irrational values become the nearest numbers of the dtype."""
    bits, exact = rounded_bits(layout, np.abs(floats_of(of)))
    if exact.all():
        return of
    values = [layout.number(int(b)) * (1 if value >= 0 else -1) for b, value in zip(bits, of.values)]
    return replace(of, values=tuple(values))


@lru_cache(maxsize=512)
def tabulate_listing(fmt: Any, layout: Layout, overflow: str) -> Codebook:
    """The kernel's integers of a listed format whose values the dtype holds."""
    of = listing(fmt)
    numbers = floats_of(of)
    sign = -1 << (layout.width - 1)
    magnitudes, _ = rounded_bits(layout, np.abs(numbers))
    values = np.where(numbers < 0, magnitudes | sign, magnitudes)
    keys = np.where(numbers < 0, ~magnitudes, magnitudes)
    ends = keys[[0, -1]]
    codes = np.array(of.codes, np.int64)
    ties, tie_exact = _tie_keys(layout, of.ties)
    tie_below, even_below = np.array(of.tie_below), np.array(of.even_below)
    if overflow == "special" and of.beyond is not None:
        values, keys, codes = _with_infinities(of, layout, values, keys, codes, sign)
        middle, exact = _tie_keys(layout, (-(of.max + of.beyond) / 2, (of.max + of.beyond) / 2))
        ties, tie_exact = np.insert(middle, 1, ties), np.insert(exact, 1, tie_exact)
        tie_below = np.concatenate([[True], tie_below, [False]])
        even_below = np.concatenate([[False], even_below, [True]])
    thresholds = _thresholds(keys, ties, tie_exact, tie_below, even_below)
    if len(keys) > len(of.values):
        thresholds = _closed_inwards(layout, thresholds)
    unit_field, spacing, low = _fixed_point(layout, _numbers(layout, keys))
    integer = np.int64 if layout.work_width == 64 else np.int32
    special_values, special_codes = _specials(of, layout, overflow, values, codes, sign)
    return Codebook(
        values=np.concatenate([values, special_values]).astype(integer),
        codes=np.concatenate([codes, special_codes]).astype(integer),
        keys=keys.astype(integer),
        ends=ends.astype(integer),
        thresholds=thresholds.astype(integer),
        unit_field=unit_field.astype(integer),
        spacing=spacing.astype(integer),
        low=low.astype(np.uint32).view(np.int32).astype(integer),
    )


def _with_infinities(of: Listing, layout: Layout, values, keys, codes, sign: int):
    """The list with infinities at its ends, whose keys are those of the first numbers past all rounding."""
    beyond = layout.exactly(of.beyond)  # pyright: ignore[reportArgumentType]
    if beyond is None:
        raise ValueError(f"{of.name}: overflow cannot be told in {layout.name}; convert the input to float32")

    def with_ends(first: int | None, array: np.ndarray, last: int | None) -> np.ndarray:
        return np.concatenate([np.array([first]), array, np.array([last])])

    values = with_ends(layout.infinity | sign, values, layout.infinity)
    return values, with_ends(~beyond, keys, beyond), with_ends(of.negative_infinity_code, codes, of.infinity_code)


def _specials(of: Listing, layout: Layout, overflow: str, values, codes, sign: int) -> tuple[list[int], list[int]]:
    """What +Inf, -Inf and NaN become, and the codes."""
    if of.infinite == "nan":
        return [layout.nan] * SPECIALS, [-1] * SPECIALS
    if of.infinite == "infinity" and overflow != "saturate":
        codes_of_both = [of.infinity_code, of.negative_infinity_code, -1]
        return [layout.infinity, layout.infinity | sign, layout.nan], codes_of_both  # pyright: ignore[reportReturnType]
    return [int(values[-1]), int(values[0]), layout.nan], [int(codes[-1]), int(codes[0]), -1]


def _tie_keys(layout: Layout, ties: tuple[Fraction, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the largest host numbers not above the ties, and which equal them."""
    floors = np.array([_float_below(abs(tie)) for tie in ties])
    bits, rest, _ = floor_bits(layout, floors)
    exact = (rest == 0) & np.array([abs(tie) == floor for tie, floor in zip(ties, floors.tolist())])
    exact &= floors <= float(layout.max)
    negative = np.array([tie < 0 for tie in ties])
    return np.where(negative, ~np.where(exact, bits, bits + 1), bits), exact


def _float_below(value: Fraction) -> float:
    """The largest float64 that is not above a value >= 0."""
    near = float(value)
    return nextafter(near, 0.0) if near > value else near


def _thresholds(
    keys: np.ndarray, ties: np.ndarray, exact: np.ndarray, tie_below: np.ndarray, even_below: np.ndarray
) -> np.ndarray:
    """(8, n - 1) first keys that round up, one row a deterministic mode."""
    first, last = keys[:-1] + 1, keys[1:]  # up for all between; up for none
    tie_up, tie_down = ties + ~exact, ties + 1
    below, above = (np.where(k < 0, ~k, k) for k in (keys[:-1], keys[1:]))
    outward, level = above > below, above == below
    rows = {
        "nearest_even": np.where(tie_below, tie_down, tie_up),
        "nearest_away": np.where(outward | level, tie_up, tie_down),
        "nearest_zero": np.where(~outward, tie_up, tie_down),
        "toward_zero": np.where(level, 0, np.where(outward, last, first)),
        "away": np.where(level, 0, np.where(outward, first, last)),
        "up": first,
        "down": last,
        "to_odd": np.where(even_below, first, last),
    }
    return np.array([np.clip(rows[mode.name], first, last) for mode in DETERMINISTIC])


def _closed_inwards(layout: Layout, thresholds: np.ndarray) -> np.ndarray:
    """Thresholds whose outermost gaps lead to infinity: no finite number crosses them where the mode points inwards."""
    closed = thresholds.copy()
    for row, mode in enumerate(DETERMINISTIC):
        if mode.inward(negative=False):
            closed[row, -1] = layout.infinity
        if mode.inward(negative=True):
            closed[row, 0] = ~layout.infinity + 1
    return closed


def _numbers(layout: Layout, keys: np.ndarray) -> np.ndarray:
    """(n,) float64 numbers of keys."""
    bits = np.where(keys < 0, ~keys, keys)
    field = bits >> layout.mantissa_bits
    one = 1 << layout.mantissa_bits
    significand = (bits & (one - 1)) + np.where(field > 0, one, 0)
    unit = np.maximum(field, 1) - layout.bias - layout.mantissa_bits
    return np.ldexp(significand.astype(np.float64), unit) * np.where(keys < 0, -1.0, 1.0)


def _fixed_point(layout: Layout, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit field, width and lower end modulo 2**32 of every gap, in units of 2**-29 of its leading power of two."""
    below, above = values[:-1], values[1:]
    gap = above - below
    taken = gap - above
    error = (above - (gap - taken)) + (-below - taken)  # of the subtraction, exactly
    exponent = np.frexp(gap)[1].astype(np.int64) - 1 - 29  # so that distance + spacing stays below 2**31
    spacing = np.floor(np.ldexp(gap, -exponent)).astype(np.int64)
    low = np.mod(np.floor(np.ldexp(below, -exponent)), 2.0**32).astype(np.int64)
    for k in np.flatnonzero(error):
        lower, width = Fraction(below[k]), Fraction(above[k]) - Fraction(below[k])
        exponent[k] = floor_log2(width) - 29
        unit = power(int(exponent[k]))
        spacing[k], low[k] = width // unit, lower // unit & 0xFFFFFFFF
    return exponent + layout.bias, spacing, low
