"""Formats whose precision tapers off: posits, takums, HiFloat8, and logarithmic numbers.

A family is a function from a positive code to its value; signs, ties and specials follow from the family's row:

    posit       regime, `parameter` exponent bits, fraction; 10..0 is NaR
    takum       sign, direction, 3 regime bits, characteristic c, mantissa m: (1 + m) * 2**c; 10..0 is NaR
    takum_log   the same fields read as a logarithm: sqrt(e)**(c + m)
    hifloat8    a prefix of 2 to 4 bits tells how the other bits split into exponent and mantissa
    lns         sign, and log2 in two's complement with `parameter` fraction bits; its most negative code is zero

Codes of one more bit lie between the codes, and the value of the one between two neighbours is their tie point
(HiFloat8 has the arithmetic midpoint, and ties away from zero). Posits and takums never round a number to zero
or to NaR in the nearest modes, and turn infinities into NaR. Logarithms are irrational: a value is then the
nearest float64, and in a narrower dtype the number nearest to that.

Sources: Posit Standard (2022); arXiv:2404.18603 (takum); arXiv:2409.16626 (HiFloat8); arXiv:2106.13914 (LNS).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

from .dyadic import power

Infinite = Literal["nan", "infinity", "saturate"]

_DIGITS = Context(prec=60)  # of irrational values, before they are rounded to float64


def posit(code: int, bits: int, exponent_bits: int) -> Fraction:
    """Value of a positive posit code of any width."""
    body = code << 1 & (1 << bits) - 1  # the sign goes, the regime starts at the top
    first = body >> (bits - 1)
    flipped = ~body & (1 << bits) - 1 if first else body
    run = bits - flipped.bit_length()  # of equal bits; what was shifted in ends it at the latest
    run = min(run, bits - 1)
    regime = run - 1 if first else -run
    rest_bits = max(bits - 2 - run, 0)  # after sign, run and the bit that ends it
    rest = code & (1 << rest_bits) - 1
    shift = rest_bits - exponent_bits
    exponent = rest >> shift if shift >= 0 else rest << -shift
    fraction_bits = max(shift, 0)
    fraction = rest & (1 << fraction_bits) - 1
    scale = regime * (1 << exponent_bits) + exponent - fraction_bits
    return ((1 << fraction_bits) + fraction) * power(scale)


def _takum_logarithm(code: int, bits: int) -> Fraction:
    """c + m of a positive takum code."""
    if bits < 12:
        code, bits = code << (12 - bits), 12
    direction, regime = code >> (bits - 2) & 1, code >> (bits - 5) & 7
    r = regime if direction else 7 - regime
    p = bits - 5 - r
    c = code >> p & (1 << r) - 1
    characteristic = (1 << r) - 1 + c if direction else -(1 << (r + 1)) + 1 + c
    return characteristic + Fraction(code & (1 << p) - 1, 1 << p)


def takum(code: int, bits: int, parameter: int) -> Fraction:
    """Value of a positive linear takum code."""
    logarithm = _takum_logarithm(code, bits)
    c = logarithm.__floor__()
    return (1 + logarithm - c) * power(c)


def takum_log(code: int, bits: int, parameter: int) -> Fraction:
    """Value of a positive logarithmic takum code, exp((c + m) / 2), to 60 digits."""
    logarithm = _takum_logarithm(code, bits)
    c = logarithm.__floor__()
    return Fraction(_DIGITS.multiply(_root_of_e(Fraction(c)), _root_of_e(logarithm - c)))


def hifloat8(code: int, bits: int, parameter: int) -> Fraction:
    """Value of a positive HiFloat8 code."""
    if code >> 3 == 0:
        return power(code - 23)
    if code >> 3 == 1:
        return power(-3) * (8 + (code & 7))
    width = {0b11: 4, 0b10: 3, 0b01: 2}.get(code >> 5, 1)  # of the exponent with its sign; its leading one is implied
    mantissa_bits = 1 if width == 4 else 2 if width == 3 else 3
    exponent = code >> mantissa_bits & (1 << width) - 1
    sign, low = exponent >> (width - 1), exponent & (1 << (width - 1)) - 1
    magnitude = 1 << (width - 1) | low
    mantissa = (1 << mantissa_bits) + (code & (1 << mantissa_bits) - 1)
    return mantissa * power((-magnitude if sign else magnitude) - mantissa_bits)


def lns(code: int, bits: int, fraction_bits: int) -> Fraction:
    """Value of a positive logarithmic code, to 60 digits."""
    logarithm = code - (1 << (bits - 1)) if code >> (bits - 2) & 1 else code
    whole, part = divmod(logarithm, 1 << fraction_bits)
    if part == 0:
        return power(whole)
    return _root_of_two(Fraction(part, 1 << fraction_bits)) * power(whole)


@lru_cache(maxsize=8192)
def _root_of_e(exponent: Fraction) -> Decimal:
    """sqrt(e)**exponent"""
    return _DIGITS.exp(_DIGITS.divide(Decimal(exponent.numerator), Decimal(2 * exponent.denominator)))


@lru_cache(maxsize=8192)
def _root_of_two(exponent: Fraction) -> Fraction:
    """2**exponent"""
    return Fraction(
        _DIGITS.power(Decimal(2), _DIGITS.divide(Decimal(exponent.numerator), Decimal(exponent.denominator)))
    )


class Family(NamedTuple):
    """What the formats of a family have in common.

    Fields:
        positive: value of a positive code, from (code, bits, parameter).
        twos_complement: whether negation negates the code; otherwise it flips the top bit.
        midpoints: ties at arithmetic midpoints, away from zero; otherwise at the code of one more bit, to even.
        underflows: whether the nearest modes round small numbers to zero.
        rational: whether float64 holds the values.
        infinite: what infinities become.
        parameter_widens: by how much the parameter grows with a code of one more bit.
        widths: the widths there are.
    """

    positive: Callable[[int, int, int], Fraction]
    twos_complement: bool
    midpoints: bool
    underflows: bool
    rational: bool
    infinite: Infinite
    parameter_widens: int
    widths: range


FAMILIES = {
    "posit": Family(posit, True, False, False, True, "nan", 0, range(3, 17)),
    "takum": Family(takum, True, False, False, True, "nan", 0, range(3, 17)),
    "takum_log": Family(takum_log, True, False, False, False, "nan", 0, range(3, 17)),
    "hifloat8": Family(hifloat8, False, True, True, True, "infinity", 0, range(8, 9)),
    "lns": Family(lns, False, False, True, False, "saturate", 1, range(3, 17)),
}
"""The families by name."""

_HIFLOAT8_INFINITY = 0x6F


@dataclass(frozen=True, slots=True)
class TaperedFormat:
    """A format of one of the families above.

    Args:
        name: what reports call it; not part of its identity.
        family: a name of `FAMILIES`.
        bits: width of a code.
        parameter: exponent bits of a posit, fraction bits of a logarithm, otherwise 0.
        source: where it was read.

    Raises:
        ValueError: an unknown family, or a width or parameter it does not have.
    """

    name: str = field(compare=False)
    family: str
    bits: int
    parameter: int = 0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"{self.name}: expected a family among {', '.join(FAMILIES)}, got {self.family!r}")
        widths = FAMILIES[self.family].widths
        if self.bits not in widths:
            expected = f"{widths[0]} to {widths[-1]}" if len(widths) > 1 else str(widths[0])
            raise ValueError(f"{self.name}: {self.family} formats have {expected} bits, got {self.bits}")
        if self.family == "lns":
            low, high = max(self.bits - 11, 0), self.bits - 2  # magnitudes up to 2**512
        else:
            low, high = (0, 4) if self.family == "posit" else (0, 0)
        if not low <= self.parameter <= high:
            what = {"lns": "fraction bits", "posit": "exponent bits"}.get(self.family, "a parameter")
            raise ValueError(f"{self.name}: expected {what} of {low} to {high}, got {self.parameter}")

    @property
    def rules(self) -> Family:
        """The row of the family."""
        return FAMILIES[self.family]

    def value(self, code: int) -> Fraction | float:
        """Exact value of a code (the nearest float64 where it is irrational); nan, inf or -inf for specials.

        Raises:
            ValueError: a code outside 0 .. 2**bits - 1.
        """
        if not 0 <= code < 1 << self.bits:
            raise ValueError(f"{self.name}: expected a code of {self.bits} bits, got {code:#x}")
        return _values_by_code(self)[code]

    def positive_codes(self) -> list[int]:
        """Codes of the positive values, those ascending."""
        half = 1 << (self.bits - 1)
        if self.family == "lns":
            return [code % half for code in range(1 - half // 2, half // 2)]
        codes = [code for code in range(1, half) if code != self.infinity_code]
        return sorted(codes, key=self._positive) if self.family == "hifloat8" else codes

    def negated(self, code: int) -> int:
        """The code of the negative of a positive code's value."""
        return (1 << self.bits) - code if self.rules.twos_complement else code | 1 << (self.bits - 1)

    @property
    def zero_code(self) -> int:
        """Code of zero."""
        return 1 << (self.bits - 2) if self.family == "lns" else 0

    def _positive(self, code: int) -> Fraction:
        return self.rules.positive(code, self.bits, self.parameter)

    def between(self, code: int) -> Fraction:
        """Value of the code of one more bit that follows 2 * code."""
        return self.rules.positive(2 * code + 1, self.bits + 1, self.parameter + self.rules.parameter_widens)

    @property
    def max(self) -> Fraction:
        """Largest finite value."""
        return _as_held(self, self._positive(self.positive_codes()[-1]))

    @property
    def min(self) -> Fraction:
        """Most negative finite value."""
        return -self.max

    @property
    def min_positive(self) -> Fraction:
        """Smallest positive value."""
        return _as_held(self, self._positive(self.positive_codes()[0]))

    @property
    def precise_up_to(self) -> Fraction:
        """Where precision begins to taper off above one; the largest value of formats that do not taper."""
        match self.family:
            case "posit":
                return power(1 << self.parameter)
            case "hifloat8":
                return Fraction(16)
            case "lns":
                return self.max
            case _:
                return Fraction(2)

    @property
    def has_negative_zero(self) -> bool:
        """These formats have one zero."""
        return False

    @property
    def nan_code(self) -> int | None:
        """NaR of posits and takums, NaN of HiFloat8; logarithmic numbers have none."""
        return None if self.family == "lns" else 1 << (self.bits - 1)

    @property
    def infinity_code(self) -> int | None:
        """Code of +Inf, or None."""
        return _HIFLOAT8_INFINITY if self.rules.infinite == "infinity" else None

    @property
    def beyond(self) -> Fraction | None:
        """The value that would come after the largest, where overflow can give infinity."""
        return None if self.infinity_code is None else self._positive(self.infinity_code)

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format."""
        if self.family == "lns":
            return f"lns{self.bits}f{self.parameter}"
        if self.family == "hifloat8":
            return self.family
        exponent_bits = f"es{self.parameter}" if self.parameter != _parameter(self.family) else ""
        return f"{self.family}{self.bits}{exponent_bits}"


def _parameter(family: str) -> int:
    return 2 if family == "posit" else 0


def _as_held(fmt: TaperedFormat, value: Fraction) -> Fraction:
    return value if fmt.rules.rational else Fraction(float(value))


@lru_cache(maxsize=64)
def _values_by_code(fmt: TaperedFormat) -> tuple[Fraction | float, ...]:
    values: list[Fraction | float] = [float("nan")] * (1 << fmt.bits)
    values[fmt.zero_code] = Fraction(0)
    for code in fmt.positive_codes():
        value = _as_held(fmt, fmt._positive(code))  # pyright: ignore[reportPrivateUsage]
        values[code], values[fmt.negated(code)] = value, -value
    if fmt.infinity_code is not None:
        values[fmt.infinity_code], values[fmt.negated(fmt.infinity_code)] = float("inf"), float("-inf")
    return tuple(values)


def tapered(family: str, bits: int, parameter: int | None = None) -> TaperedFormat:
    """The format of a family; exponent bits of posits default to the standard's 2.

    Example:
        >>> tapered("posit", 8).max
        Fraction(16777216, 1)
    """
    fmt = TaperedFormat(family, family, bits, _parameter(family) if parameter is None else parameter, _SOURCES[family])
    return TaperedFormat(fmt.spec, family, bits, fmt.parameter, fmt.source)


_SOURCES = {
    "posit": "Posit Standard (2022)",
    "takum": "arXiv:2404.18603",
    "takum_log": "arXiv:2404.18603",
    "hifloat8": "arXiv:2409.16626",
    "lns": "logarithm in fixed point, cf. arXiv:2106.13914",
}

TAPERED = (
    *(tapered(family, bits) for family in ("posit", "takum", "takum_log") for bits in (8, 16)),
    tapered("hifloat8", 8),
    tapered("lns", 8, 3),
    tapered("lns", 16, 10),
)
"""The named formats of the families."""

TAPERED_ALIASES = {
    "hifloat8": ("hif8",),
    "takum8": ("takum_linear8",),
    "takum16": ("takum_linear16",),
    "lns8f3": ("lns8",),
    "lns16f10": ("lns16",),
}
"""Other names people type."""
