"""What a multiplier takes of a format: the widths that costs of arithmetic depend on."""

from functools import lru_cache
from typing import Any, NamedTuple

from ...emulate.rounded.context import extent
from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format
from ...formats.codebooks import ChannelCodebooks
from ...formats.complexes import ComplexFormat
from ...formats.dyadic import floor_log2, power
from ...formats.floats import FloatFormat
from ...formats.integers import IntFormat
from ...formats.listing import is_listed, listing
from ...formats.registry import Format
from ...formats.residual import ResidualFormat
from ...formats.scaled import ScaledFormat

DECODED = "bfloat16"
"""What elements of a table are decoded to where their values are no short numbers (NF4), as QLoRA does."""
_WIDEST = 8
"""Significant bits of a table's values that a multiplier takes as they are."""


class Factor(NamedTuple):
    """One side of a multiplier.

    Args:
        name: of the format that is multiplied.
        integer: whether it is an integer in two's complement; otherwise a sign, an exponent and a significand.
        width: bits of the integer, or of the significand with its leading one.
        exponent: bits of the exponent field; 0 of an integer.
        stored: bits of an element in memory, scales aside.
    """

    name: str
    integer: bool
    width: int
    exponent: int
    stored: int

    @property
    def span(self) -> int:
        """Bits of a fixed-point number that holds every value: r of an integer, 2**e + m of a minifloat."""
        return self.width if self.integer else (1 << self.exponent) + self.width - 1


def factors_of(fmt: "str | AnyFormat") -> tuple[Factor, ...]:
    """What is multiplied: one factor, or one for each stage of a sum of formats.

    A scaled format multiplies its elements. Minifloats of at most one exponent bit are integers (E1My is the grid of
    INT(y + 2)). Codebooks and tapered formats are decoded to the narrowest of an integer and a minifloat that holds
    their values; those whose values take more than 8 significant bits, such as NF4, to bfloat16. Complex units
    1, i, -1, -i multiply like integers of 2 bits, one for each real weight.

    Args:
        fmt: a format or its name.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> factors_of("mxfp4")
        (Factor(name='fp4_e2m1', integer=False, width=2, exponent=2, stored=4),)
    """
    return _factors(any_format(fmt))


@lru_cache(maxsize=512)
def _factors(fmt: Any) -> tuple[Factor, ...]:
    if isinstance(fmt, ResidualFormat):
        return tuple(factor for stage in fmt.open for factor in _factors(stage))
    if isinstance(fmt, ScaledFormat):
        return _factors(fmt.element)
    if isinstance(fmt, ComplexFormat):
        return (Factor(fmt.name, True, 2, 0, 2),) * fmt.stages
    if isinstance(fmt, ChannelCodebooks):
        return (max((_factors(book)[0] for book in fmt.books), key=lambda factor: (factor.width, factor.exponent)),)
    if isinstance(fmt, IntFormat):
        return (Factor(fmt.name, True, fmt.bits, 0, fmt.bits),)
    if isinstance(fmt, FloatFormat):
        if fmt.exponent_bits <= 1:
            return (Factor(fmt.name, True, fmt.bits, 0, fmt.bits),)
        return (Factor(fmt.name, False, fmt.mantissa_bits + 1, fmt.exponent_bits, fmt.bits),)
    return (_listed(fmt),)


class Span(NamedTuple):
    """What the values of a format take: integers below 2**precision times powers of two.

    Args:
        precision: significant bits.
        quantum: every value is a multiple of 2**quantum.
        top: magnitudes are below 2**(top + 1).
        bottom: log2 of the smallest magnitude, rounded down.
    """

    precision: int
    quantum: int
    top: int
    bottom: int


@lru_cache(maxsize=512)
def span_of(fmt: Format) -> Span | None:
    """The span of the values of an unscaled format, without the ties between them; None where they are irrational."""
    if is_listed(fmt):
        of = listing(fmt)  # pyright: ignore[reportArgumentType]
        values = [abs(value) for value in of.values if value]
        tops, quanta = [floor_log2(value) for value in values], [_quantum(value) for value in values]
        precision = max(top - quantum + 1 for top, quantum in zip(tops, quanta))
        return Span(precision, min(quanta), max(tops), min(tops)) if of.rational else None
    found = extent(fmt)
    return Span(found.precision, found.quantum, found.top, floor_log2(fmt.min_positive or power(found.quantum)))


def _listed(fmt: Any) -> Factor:
    """A table or a tapered format, by its values."""
    of = span_of(fmt)
    if of is None or of.precision > _WIDEST:
        return _factors(any_format(DECODED))[0]._replace(stored=fmt.bits)
    whole = of.top - of.quantum + 1 + (fmt.min < 0)
    exponent = (of.top - of.bottom).bit_length()
    if whole <= of.precision + exponent + 1:
        return Factor(fmt.name, True, whole, 0, fmt.bits)
    return Factor(fmt.name, False, of.precision, exponent, fmt.bits)


def _quantum(value: Any) -> int:
    """The exponent of the largest power of two that divides a dyadic number."""
    n, d = value.numerator, value.denominator
    return (n & -n).bit_length() - 1 if d == 1 else 1 - d.bit_length()
