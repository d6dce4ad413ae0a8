"""The definition: every rounding of every format in rational arithmetic.

Nothing here is shared with the kernels; they are tested against this file. Two steps, always in this order:

1. `round_exact` rounds on the format's grid with unbounded exponent (a list of values has no grid beyond its
   ends, or one more value where overflow can give infinity).
2. `quantize_exact` then handles overflow, zeros, NaN and infinities.

`staircase` evaluates a deterministic mode once at and between the inputs where its result can change, so that
expected arrays over millions of inputs are fills.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from math import copysign, inf, isfinite, isinf, isnan, nan
from typing import Any

from .dyadic import floor_log2, power
from .floats import FloatFormat
from .integers import IntFormat
from .listing import Listing, is_listed, listing
from .registry import Format
from .rounding import Rounding

Exact = Fraction | float
"""A number, or one of the floats nan, inf, -inf and -0.0."""

OVERFLOWS = ("saturate", "propagate", "special", "wrap")
"""What a result beyond the largest value becomes; see `quantize_exact`."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Two neighbouring values of a grid with below <= x <= above.

    Args:
        even: which of the two is even.
        tie: where the nearest modes divide the gap; None for the midpoint.
        tie_to: where nearest-even takes a tie; None for the even one.
    """

    below: Fraction
    above: Fraction
    even: Fraction
    tie: Fraction | None = None
    tie_to: Fraction | None = None

    @property
    def ends(self) -> tuple[Fraction, Fraction]:
        """Both neighbours."""
        return self.below, self.above


def float_gap(fmt: FloatFormat, x: Fraction) -> Gap:
    """The gap of the float grid, exponent unbounded above, that holds x >= 0.

    Codes count the values, so the even neighbour is the one with the even code (for P = 1 formats the
    parity of the exponent field, as in P3109). A format without subnormals has the gap from zero to its
    smallest normal, zero being even; a format without zero has nothing below its smallest value.
    """
    if x < power(fmt.min_exponent):
        spacing = power(fmt.quantum_exponent)
        count = x // spacing
        below_code = int(count)
    else:
        exponent = floor_log2(x)
        spacing = power(exponent - fmt.mantissa_bits)
        count = x // spacing
        below_code = (
            int(count) + ((exponent - fmt.min_exponent) << fmt.mantissa_bits) - ((not fmt.zero) << fmt.mantissa_bits)
        )
    below, above = count * spacing, (count + 1) * spacing
    return Gap(below, above, above if below_code & 1 else below)


def int_gap(fmt: IntFormat, x: Fraction) -> Gap:
    """The gap of the unbounded mid-tread integer grid that holds x."""
    integer = x // fmt.step
    below = fmt.number(integer)
    above = below + fmt.step
    return Gap(below, above, above if integer & 1 else below)


def listed_gap(of: Listing, x: Fraction) -> Gap:
    """The gap of the list that holds x, for min <= x < max, and where there is a value beyond up to that."""
    if of.beyond is not None and (x >= of.max or x < of.min):
        gap = Gap(of.max, of.beyond, of.max, tie_to=of.beyond)
        return gap if x > 0 else Gap(-of.beyond, -of.max, -of.max, tie_to=-of.beyond)
    i = bisect_right(of.values, x) - 1
    below, above = of.values[i], of.values[i + 1]
    tie_to, even = (below if low else above for low in (of.tie_below[i], of.even_below[i]))
    return Gap(below, above, even, of.ties[i], tie_to)


def as_listing(fmt: "Format | Listing") -> Listing | None:
    """The list of a format that is one; lists themselves stand for what a dtype holds of irrational values."""
    return fmt if isinstance(fmt, Listing) else listing(fmt) if is_listed(fmt) else None  # pyright: ignore


def round_exact(fmt: Format | Listing, x: Fraction, rounding: Rounding, word: int = 0, word_bits: int = 32) -> Fraction:
    """Round x on the format's grid with unbounded exponent.

    Floats and mid-tread integers round their magnitude, so that results are sign-symmetric in every mode
    that does not look at the sign; lists of values round on the signed axis.

    Args:
        word: the random word of a stochastic mode, of `word_bits` bits.
    """
    if (of := as_listing(fmt)) is not None:
        lowest, highest = (of.min, of.max) if of.beyond is None else (-of.beyond, of.beyond)
        if x <= lowest or x >= highest:
            return lowest if x <= lowest else highest
        return _choose(listed_gap(of, x), x, rounding, _fixed_point_share, word, word_bits)
    gap = _grid_gap(fmt, abs(x))
    if x < 0 and rounding.name in ("up", "down"):
        gap = Gap(-gap.above, -gap.below, -gap.even)
        return _choose(gap, x, rounding, _share, word, word_bits)
    result = _choose(gap, abs(x), rounding, _share, word, word_bits)
    return -result if x < 0 else result


def _grid_gap(fmt: Any, x: Fraction) -> Gap:
    return int_gap(fmt, x) if isinstance(fmt, IntFormat) else float_gap(fmt, x)


def _choose(gap: Gap, x: Fraction, rounding: Rounding, share, word: int, word_bits: int) -> Fraction:
    below, above = gap.below, gap.above
    if x in (below, above):
        return x
    match rounding.name:
        case "up":
            return above
        case "down":
            return below
        case "toward_zero" | "away":
            if below == -above:  # a gap around zero has no side nearer to zero; the sign of x decides
                return above if x >= 0 else below
            return min(gap.ends, key=abs) if rounding.name == "toward_zero" else max(gap.ends, key=abs)
        case "to_odd":
            return above if gap.even is below else below
        case "stochastic":
            return above if _carries(share(gap, x), rounding, word, word_bits) else below
        case "stochastic_equal":
            return above if word >> (word_bits - 1) else below
        case _:
            return _nearest(gap, x, rounding)


def _nearest(gap: Gap, x: Fraction, rounding: Rounding) -> Fraction:
    tie = (gap.below + gap.above) / 2 if gap.tie is None else gap.tie
    if x != tie:
        return gap.below if x < tie else gap.above
    if rounding.name == "nearest_even":
        return gap.even if gap.tie_to is None else gap.tie_to
    if gap.below == -gap.above:
        return gap.above
    return max(gap.ends, key=abs) if rounding.name == "nearest_away" else min(gap.ends, key=abs)


def _share(gap: Gap, x: Fraction) -> Fraction:
    """How far x lies from `below` to `above`, 0 <= share < 1."""
    return (x - gap.below) / (gap.above - gap.below)


def _fixed_point_share(gap: Gap, x: Fraction) -> Fraction:
    """As `_share`, with both distances cut to multiples of 2**-29 of the gap's leading power of two.

    Gaps of lists are no powers of two, so the kernels divide in fixed point; the probability is off by
    less than 2**-28.
    """
    unit = power(floor_log2(gap.above - gap.below) - 29)
    spacing = (gap.above - gap.below) // unit
    return Fraction(x // unit - gap.below // unit, spacing)


def _carries(share: Fraction, rounding: Rounding, word: int, word_bits: int) -> bool:
    """Whether the random bits carry past the gap; P3109 v4.0, variants A, B and C, on the top bits of the word."""
    bits = rounding.bits or word_bits
    r = word >> (word_bits - bits)
    scale = 1 << bits
    match rounding.variant:
        case "A":
            return share * scale // 1 + r >= scale
        case "B":
            return share * 2 * scale // 1 + 2 * r + 1 >= 2 * scale
        case _:
            return round(share * scale) + r >= scale  # round() of a Fraction takes ties to even


@lru_cache(maxsize=1024)
def ends(fmt: Format) -> tuple[Fraction, Fraction]:
    """Smallest and largest finite value."""
    return fmt.min, fmt.max


def default_overflow(fmt: Format | Listing) -> str:
    """'saturate' for integers, lists of values and floats of fewer than 15 bits, 'special' for wider floats."""
    return "special" if isinstance(fmt, FloatFormat) and fmt.bits >= 15 else "saturate"


def quantize_exact(
    fmt: Format | Listing,
    x: Exact,
    rounding: Rounding,
    overflow: str | None = None,
    word: int = 0,
    word_bits: int = 32,
) -> Exact:
    """The value of the format that x becomes.

    A rounded value beyond the largest becomes, by `overflow`,

    - saturate: the largest value, infinities too;
    - propagate: the largest value, but infinities stay where the format has them;
    - special: Inf, or NaN where there is no Inf (the largest value in P3109's finite domains); a finite input
      whose rounding points inwards (toward_zero, to_odd, down above zero, up below zero) gives the largest value;
    - wrap: integers modulo 2**bits; infinities become NaN.

    None means `default_overflow`. NaN stays NaN. -0.0 stays where the format has it. Unsigned formats
    turn negatives into 0; formats without zero turn values <= 0 into NaN and smaller ones into their
    smallest. Codebooks, posits, takums and logarithms only saturate; posits and takums make infinities NaR.
    """
    overflow = overflow or default_overflow(fmt)
    negative = copysign(1.0, x) < 0 if isinstance(x, float) else x < 0
    if isinstance(x, float) and isnan(x):
        return nan
    if isinstance(x, float) and isinf(x):
        return _infinite(fmt, negative, overflow)
    x = Fraction(x)
    if isinstance(fmt, FloatFormat) and not fmt.zero and x <= 0:
        return nan
    rounded = round_exact(fmt, x, rounding, word, word_bits)
    if isinstance(fmt, IntFormat) and overflow == "wrap":
        integer = int(rounded / fmt.step)
        return fmt.number((integer - fmt.low) % (1 << fmt.bits) + fmt.low)
    smallest, largest = ends(fmt)
    if negative and smallest >= 0:
        return smallest
    if rounded > largest or rounded < smallest:
        if isinstance(fmt, FloatFormat) and not fmt.zero and rounded < smallest:
            return smallest
        return _overflowed(fmt, negative, overflow, rounding)
    return -0.0 if rounded == 0 and negative and fmt.has_negative_zero else rounded


def _overflowed(fmt: Format | Listing, negative: bool, overflow: str, rounding: Rounding) -> Exact:
    if overflow != "special" or rounding.inward(negative) or _clamps(fmt):
        return fmt.min if negative else fmt.max
    return copysign(inf, -1 if negative else 1) if fmt.infinity_code is not None else nan


def _infinite(fmt: Format | Listing, negative: bool, overflow: str) -> Exact:
    if (of := as_listing(fmt)) is not None and of.infinite == "nan":
        return nan
    if negative and isinstance(fmt, FloatFormat) and not fmt.zero:
        return nan
    if negative and fmt.min >= 0 and overflow != "wrap":
        return fmt.min
    if overflow == "wrap":
        return nan
    if fmt.infinity_code is not None and overflow != "saturate":
        return copysign(inf, -1 if negative else 1)
    return nan if overflow == "special" and not _clamps(fmt) else fmt.min if negative else fmt.max


def _clamps(fmt: Format | Listing) -> bool:
    return isinstance(fmt, FloatFormat) and fmt.specials.clamps


def encode_exact(fmt: Any, value: Exact) -> int:
    """The code of a value that `quantize_exact` gave.

    Raises:
        ValueError: a value the format has no code for.
    """
    if isinstance(value, float) and not isfinite(value):
        code = fmt.nan_code if isnan(value) else fmt.infinity_code
        if code is not None:
            return code | (_sign_bit(fmt) if value == -inf else 0)
        raise ValueError(f"{fmt.name} has no code for {value}")
    if (of := as_listing(fmt)) is not None:
        i = bisect_left(of.values, Fraction(value))
        if i == len(of.values) or of.values[i] != value:
            raise ValueError(f"{of.name} has no code for {value}")
        return of.codes[i]
    if isinstance(fmt, IntFormat):
        return fmt.code(int((Fraction(value) - fmt.number(0)) / fmt.step))
    negative = copysign(1.0, value) < 0 if isinstance(value, float) else value < 0
    magnitude = abs(Fraction(value))
    if magnitude < power(fmt.min_exponent):
        code = magnitude / power(fmt.min_exponent - fmt.mantissa_bits)
    else:
        exponent = floor_log2(magnitude)
        field = exponent - fmt.min_exponent + (1 if fmt.zero else 0)
        significand = magnitude / power(exponent - fmt.mantissa_bits)
        code = significand + ((field - 1) << fmt.mantissa_bits)
    return int(code) | (_sign_bit(fmt) if negative else 0)


def _sign_bit(fmt: Format) -> int:
    return 1 << (fmt.bits - 1) if not isinstance(fmt, FloatFormat) or fmt.signed else 0


def numbers(fmt: Any) -> list[Fraction]:
    """Every finite value of a format once, ascending."""
    if (of := as_listing(fmt)) is not None:
        return list(of.values)
    if isinstance(fmt, IntFormat):
        return [fmt.number(i) for i in range(fmt.low, fmt.high + 1)]
    magnitudes = sorted({fmt.magnitude(code) for code in range(fmt.max_code + 1)})
    return ([-m for m in reversed(magnitudes) if m] if fmt.signed else []) + magnitudes


def steps(fmt: Format | Listing) -> Iterator[Fraction]:
    """Every input at which some deterministic rounding of the format can change its result, ascending.

    Values, the ties between them, and past each end the value and the tie that would come next
    (where overflow begins). Between two of these the result is constant in every deterministic mode.
    """
    if (of := as_listing(fmt)) is not None:
        yield from _listed_steps(of)
        return
    values = numbers(fmt)
    beyond = _grid_gap(fmt, fmt.max).above
    values = [*values, beyond]
    values = [-beyond if fmt.min == -fmt.max else _next_below(fmt), *values]
    last: Fraction | None = None
    for value in values:
        if last is not None:
            yield (last + value) / 2
        yield value
        last = value


def _listed_steps(of: Listing) -> Iterator[Fraction]:
    outer = [] if of.beyond is None else [(of.max + of.beyond) / 2, of.beyond]
    points = {*of.values, *of.ties, *outer, *(-point for point in outer)}
    yield from sorted(points)


def _next_below(fmt: Any) -> Fraction:
    step = fmt.step if isinstance(fmt, IntFormat) else power(fmt.quantum_exponent)
    return fmt.min - step


@dataclass(frozen=True, slots=True)
class Staircase:
    """What a deterministic mode makes of every finite input.

    Args:
        points: ascending inputs where the result can change.
        at: the result at each point.
        between: the results before the first point, between neighbours, and after the last.
    """

    points: tuple[Fraction, ...]
    at: tuple[Exact, ...]
    between: tuple[Exact, ...]


def staircase(fmt: Format | Listing, rounding: Rounding, overflow: str | None = None) -> Staircase:
    """The whole of a deterministic mode (not of 'wrap', which never ends)."""
    points = tuple(steps(fmt))
    inner = [(a + b) / 2 for a, b in itertools.pairwise(points)]
    between = [2 * points[0] - points[1], *inner, 2 * points[-1] - points[-2]]
    evaluate = partial(quantize_exact, fmt, rounding=rounding, overflow=overflow)
    return Staircase(points, tuple(map(evaluate, points)), tuple(map(evaluate, between)))
