"""An arithmetic: the format, rounding and overflow that every operation ends with, and where it is computed.

The exact result of an operation first becomes a number of the *carrier*, float32 or float64, then one of the format.
The two roundings give what a single one would give if the first is to nearest, the second to nearest too, and the
carrier has P >= 2p + 2 bits for p of the format (Figueroa 1995, for + - * / and square roots); or if the first is to
odd, whatever the second, where P >= p + 2 (Boldo and Melquiond 2008). Neither may leave the carrier's normal range,
so that float32 carries formats of short range only, and formats of nearly the range of float64 are computed in
rational arithmetic. So are integers that wrap, where exact results need more bits than float64 has. Stochastic
rounding to p bits sees the 53 - p bits of float64 beyond them, the last of which says that more follow.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ...formats.codebooks import ChannelCodebooks
from ...formats.complexes import ComplexFormat
from ...formats.dyadic import floor_log2
from ...formats.exact import default_overflow
from ...formats.floats import BINARY64, BINARY64_NAMES, FloatFormat
from ...formats.listing import is_listed, listing
from ...formats.registry import Format, plain_format
from ...formats.residual import ResidualFormat
from ...formats.rounding import Rounding
from ...formats.rounding import rounding as named_rounding
from ...formats.scaled import ScaledFormat
from ..layouts import FLOAT32, FLOAT64, Layout, fits
from ..plan import Plan
from ..scaled_plan import Options, plan_for

_IRRATIONAL = 51
"""Bits of values that are irrational and kept as the nearest float64: between two neighbours of a tie it is one
rounding of float64 that decides."""
_NEAREST = ("nearest_even", "nearest_away", "nearest_zero")


@dataclass(frozen=True, slots=True)
class Extent:
    """What the numbers of a format take: integers below 2**precision times powers of two.

    Args:
        precision: significant bits of a value, of a tie between two where the format is a list.
        quantum: every value is a multiple of 2**quantum.
        top: magnitudes are below 2**(top + 1).
    """

    precision: int
    quantum: int
    top: int

    @property
    def wrapped(self) -> int:
        """Bits from the top of the largest product or quotient down to the quantum, all of which wrapping reads."""
        product = max(2 * self.top + 3, self.top + 2) - min(self.quantum, 2 * self.quantum)
        return max(product, self.top - 2 * self.quantum + 2)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What every operation ends with; made by `arithmetic`.

    Args:
        fmt: an unscaled format.
        rounding: of every result.
        overflow: what a result beyond the largest value becomes, as in `halfulp.quantize`.
    """

    fmt: Format
    rounding: Rounding
    overflow: str

    def __repr__(self) -> str:
        details = "" if self.rounding.name == "nearest_even" else f", rounding={self.rounding.spec!r}"
        details += "" if self.overflow == default_overflow(self.fmt) else f", overflow={self.overflow!r}"
        return f"{self.fmt.name}{details}"

    @property
    def carrier(self) -> Layout:
        """The dtype in which values are kept and operations computed."""
        return _carrier(self)

    @property
    def native(self) -> bool:
        """Whether the carrier's own operations are those of the format."""
        return self.fmt == BINARY64 and self.rounding.name == "nearest_even" and self.overflow == "special"

    @property
    def direct(self) -> bool:
        """Whether the carrier's own + - * / and square root may come before the rounding to the format."""
        return self.native or (self.rounding.name in _NEAREST and self.within(self.carrier) and not is_listed(self.fmt))

    @property
    def rational(self) -> bool:
        """Whether only rational arithmetic is exact: results may lie beyond float64, or need more than its bits."""
        of = extent(self.fmt)
        needed = max(of.precision + (self.rounding.bits or 0), of.wrapped if self.overflow == "wrap" else 0) + 2
        return not self.native and not (_in_range(of, FLOAT64) and needed <= _bits(FLOAT64))

    def within(self, carrier: Layout) -> bool:
        """Whether + - * / and square roots, rounded to nearest in a carrier, round to nearest as if they were exact."""
        of = extent(self.fmt)
        fixed = getattr(self.fmt, "exponent", 0)  # multiples of a step: quotients come near ties by that much more
        needed = max(2 * (of.precision + abs(fixed)), of.wrapped if self.overflow == "wrap" else 0) + 2
        return _in_range(of, carrier) and needed <= _bits(carrier)

    @property
    def plan(self) -> Plan:
        """The rounding of the carrier's numbers to the format."""
        return plan_from(self, self.carrier.name)


def arithmetic(
    fmt: "str | Format | Arithmetic", rounding: str | Rounding | None = None, overflow: str | None = None
) -> Arithmetic:
    """The arithmetic of a format.

    Args:
        fmt: an unscaled format or its name, also binary64; or an `Arithmetic`, whose rounding and overflow hold
            where none is given.
        rounding: as in `halfulp.quantize`; default nearest_even.
        overflow: as in `halfulp.quantize`; default that of the format.

    Raises:
        ValueError: an unknown name; options that do not go with the format; values beyond float64.
        TypeError: scaled, complex and other formats that are more than a set of numbers.
    """
    if isinstance(fmt, Arithmetic):
        rounding = fmt.rounding if rounding is None else rounding
        overflow = fmt.overflow if overflow is None else overflow
        fmt = fmt.fmt
    resolved = resolve(fmt)
    mode = named_rounding("nearest_even" if rounding is None else rounding)
    if not fits(resolved, FLOAT64):
        raise ValueError(f"values of {resolved.name} are beyond float64; use halfulp.formats.exact")
    plan = plan_for(resolved, "float64", Options(mode, None, overflow))
    return Arithmetic(resolved, mode, str(plan.overflow))


def resolve(fmt: Any) -> Format:
    """The unscaled format of that name, binary64 too."""
    from ...formats.catalogue import format as any_format

    if isinstance(fmt, str) and fmt.strip().lower() in BINARY64_NAMES:
        return BINARY64
    found = any_format(fmt)
    if isinstance(found, ScaledFormat | ComplexFormat | ResidualFormat | ChannelCodebooks):
        raise TypeError(
            f"{found.name} is more than a set of numbers; arithmetic takes an unscaled format such as "
            "'fp16' or 'fp8_e4m3'"
        )
    return plain_format(found)


@lru_cache(maxsize=1024)
def plan_from(arithmetic: Arithmetic, source: str) -> Plan:
    """The rounding of numbers of a dtype to the format, as numbers of the carrier."""
    return _plan(arithmetic, source, arithmetic.carrier.name)


@lru_cache(maxsize=1024)
def in_dtype(arithmetic: Arithmetic, source: str) -> Plan:
    """The rounding of numbers of a dtype to the format, as numbers of that dtype."""
    return _plan(arithmetic, source, source)


def _plan(arithmetic: Arithmetic, source: str, target: str) -> Plan:
    options = Options(arithmetic.rounding, None, arithmetic.overflow, target)
    plan = plan_for(arithmetic.fmt, source, options)
    if not isinstance(plan, Plan):
        raise TypeError(f"{arithmetic.fmt.name}: expected an unscaled format")
    return plan


@lru_cache(maxsize=1024)
def _carrier(arithmetic: Arithmetic) -> Layout:
    if arithmetic.rounding.stochastic:  # random bits meet the bits that the carrier has beyond the format's
        return FLOAT64
    return FLOAT32 if arithmetic.within(FLOAT32) and fits(arithmetic.fmt, FLOAT32) else FLOAT64


def _bits(layout: Layout) -> int:
    return layout.mantissa_bits + 1


def _in_range(of: Extent, layout: Layout) -> bool:
    """Whether sums, products, quotients, roots, and the errors of their roundings, are normal numbers of a dtype."""
    lowest = 2 * min(of.quantum, 0) - max(of.top, 0) - _bits(layout)
    highest = max(2 * of.top + 2, of.top - of.quantum + 2)
    return lowest >= 1 - layout.bias and highest < layout.bias


@lru_cache(maxsize=1024)
def extent(fmt: Format) -> Extent:
    """What the numbers of a format take."""
    if is_listed(fmt):
        of = listing(fmt)  # pyright: ignore[reportArgumentType]
        numbers = [abs(value) for value in (*of.values, *of.ties) if value]
        quantum = min((_quantum(value) for value in numbers), default=0)
        precision = max((_precision(value) for value in numbers), default=1) if of.rational else _IRRATIONAL
        return Extent(precision, quantum, max(map(floor_log2, numbers), default=0))
    top = floor_log2(max(fmt.max, -fmt.min, Fraction(1, 1 << 1074)))
    if isinstance(fmt, FloatFormat):
        return Extent(fmt.mantissa_bits + 1, min(fmt.quantum_exponent, fmt.min_exponent - fmt.mantissa_bits), top)
    quantum = _quantum(Fraction(fmt.step))  # pyright: ignore[reportAttributeAccessIssue]
    return Extent(top - quantum + 1, quantum, top)


def _quantum(value: Fraction) -> int:
    """The exponent of the largest power of two that divides a dyadic number."""
    n, d = value.numerator, value.denominator
    return (n & -n).bit_length() - 1 if d == 1 else 1 - d.bit_length()


def _precision(value: Fraction) -> int:
    return floor_log2(value) - _quantum(value) + 1
