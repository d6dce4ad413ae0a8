"""Formats as lists of their values: what rounding needs of codebooks, tapered formats and mid-rise integers."""

import itertools
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from .codebooks import CodebookFormat
from .integers import IntFormat
from .tapered import TaperedFormat


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The values of a format, and where inputs between two of them go. Gap i lies between values i and i + 1.

    Args:
        name: what messages call it.
        values: ascending.
        codes: the code of each value.
        ties: (n - 1) the tie point of each gap in the nearest modes; an end of the gap where they never take that end.
        tie_below: (n - 1) whether nearest-even takes a tie downwards.
        even_below: (n - 1) whether the lower neighbour is the even one, for to-odd.
        nan_code, infinity_code, negative_infinity_code: codes of the specials; None without them.
        infinite: what infinities become: 'saturate', 'nan' or 'infinity'.
        beyond: the value that would come after the largest where overflow can give infinity; its negative
            comes before the smallest. The tie point is the midpoint.
        rational: whether the values are those of the format, or the nearest float64 of irrational ones.
    """

    name: str
    values: tuple[Fraction, ...]
    codes: tuple[int, ...]
    ties: tuple[Fraction, ...]
    tie_below: tuple[bool, ...]
    even_below: tuple[bool, ...]
    nan_code: int | None = None
    infinity_code: int | None = None
    negative_infinity_code: int | None = None
    infinite: str = "saturate"
    beyond: Fraction | None = None
    rational: bool = True

    @property
    def max(self) -> Fraction:
        """Largest value."""
        return self.values[-1]

    @property
    def min(self) -> Fraction:
        """Smallest value."""
        return self.values[0]

    @property
    def has_negative_zero(self) -> bool:
        """Lists have one zero, or none."""
        return False


Listed = CodebookFormat | TaperedFormat
"""Formats that are lists whatever their parameters are; mid-rise integers are lists too."""


def is_listed(fmt: object) -> bool:
    """Whether a format is rounded as a list of values."""
    return isinstance(fmt, CodebookFormat | TaperedFormat) or (isinstance(fmt, IntFormat) and fmt.mid_rise)


@lru_cache(maxsize=256)
def listing(fmt: CodebookFormat | TaperedFormat | IntFormat) -> Listing:
    """The list of a format's values.

    Raises:
        TypeError: floats and mid-tread integers, which are rounded on a grid.
    """
    if isinstance(fmt, TaperedFormat):
        return _of_tapered(fmt)
    if isinstance(fmt, CodebookFormat):
        return _of_table(fmt.name, [Fraction(value) for value in fmt.values], fmt.codes, fmt.ties)
    if not is_listed(fmt):
        raise TypeError(f"{fmt.name}: expected a format that is a list of values")
    integers = range(fmt.low, fmt.high + 1)
    return _of_table(fmt.name, [fmt.number(i) for i in integers], tuple(map(fmt.code, integers)), "even")


def _of_table(name: str, values: list[Fraction], codes: tuple[int, ...], ties: str) -> Listing:
    even = tuple(ties == "lower" or code % 2 == 0 for code in codes[:-1])
    away = tuple(abs(below) > abs(above) for below, above in itertools.pairwise(values))
    return Listing(name, tuple(values), codes, _midpoints(values), away if ties == "away" else even, even)


def _midpoints(values: list[Fraction]) -> tuple[Fraction, ...]:
    return tuple((below + above) / 2 for below, above in itertools.pairwise(values))


def _of_tapered(fmt: TaperedFormat) -> Listing:
    codes, rules = fmt.positive_codes(), fmt.rules
    positive = [fmt.value(code) for code in codes]
    if rules.midpoints:
        ties = [positive[0] / 2, *_midpoints(positive)]  # pyright: ignore
    else:
        first = fmt.between(fmt.zero_code) if rules.underflows else Fraction(0)
        ties = [first, *map(fmt.between, codes[:-1])]
    even = [code % 2 == 0 for code in (fmt.zero_code, *codes)]
    return Listing(
        fmt.name,
        (*(-value for value in reversed(positive)), Fraction(0), *positive),  # pyright: ignore
        (*map(fmt.negated, reversed(codes)), fmt.zero_code, *codes),
        (*(-tie for tie in reversed(ties)), *ties),
        (*reversed([not e for e in _tie_inwards(rules.midpoints, even)]), *_tie_inwards(rules.midpoints, even)),
        (*reversed(even[1:]), *even[:-1]),
        fmt.nan_code,
        fmt.infinity_code,
        None if fmt.infinity_code is None else fmt.negated(fmt.infinity_code),
        rules.infinite,
        fmt.beyond,
        rules.rational,
    )


def _tie_inwards(away: bool, even: list[bool]) -> list[bool]:
    """Whether each positive gap's tie goes to the neighbour nearer to zero."""
    return [not away and e for e in even[:-1]]
