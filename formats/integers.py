"""Integer and fixed-point formats.

A code is a two's-complement (or unsigned) integer i of `bits` bits; its value is

    i * 2**exponent              mid-tread, with zero
    (i + 1/2) * 2**exponent      mid-rise, without zero

Sources: OCP Microscaling Formats v1.0 (INT8 as i * 2**-6); arXiv:2307.00331 (StatsQ, mid-rise).
"""

from dataclasses import dataclass, field
from fractions import Fraction

from .dyadic import power


@dataclass(frozen=True, slots=True)
class IntFormat:
    """An integer format with a fixed-point exponent.

    Args:
        name: what reports call it; not part of its identity.
        bits: width of a code, 1 to 32 (16 at most when mid_rise).
        signed: two's complement, or unsigned.
        narrow: drop the most negative code, which makes a signed range symmetric.
        mid_rise: values sit half a step off zero.
        exponent: log2 of the step.
        source: where the row was read.

    Raises:
        ValueError: options that contradict each other.
    """

    name: str = field(compare=False)
    bits: int
    signed: bool = True
    narrow: bool = False
    mid_rise: bool = False
    exponent: int = 0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        limit = 16 if self.mid_rise else 32
        if not 1 <= self.bits <= limit:
            raise ValueError(f"{self.name}: expected 1 to {limit} bits, got {self.bits}")
        if self.narrow and (self.mid_rise or not self.signed):
            raise ValueError(f"{self.name}: narrow drops the most negative code of a signed mid-tread range")
        if self.narrow and self.bits == 1:
            raise ValueError(f"{self.name}: a narrow 1-bit integer holds only zero; use 2 bits, or mid_rise")
        if not -1000 <= self.exponent <= 1000:
            raise ValueError(f"{self.name}: expected an exponent from -1000 to 1000, got {self.exponent}")

    @property
    def low(self) -> int:
        """Smallest integer."""
        return (-(1 << (self.bits - 1)) + self.narrow) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def step(self) -> Fraction:
        """Distance between neighbouring values."""
        return power(self.exponent)

    def number(self, integer: int) -> Fraction:
        """The value of an integer, codes and range not looked at."""
        return (integer + power(-1) if self.mid_rise else integer) * self.step

    def code(self, integer: int) -> int:
        """The code of an integer: its low `bits` bits."""
        return integer & ((1 << self.bits) - 1)

    def value(self, code: int) -> Fraction | float:
        """Exact value of a code. The code that `narrow` drops has no value and gives the float nan.

        Raises:
            ValueError: a code outside 0 .. 2**bits - 1.
        """
        if not 0 <= code < 1 << self.bits:
            raise ValueError(f"{self.name}: expected a code of {self.bits} bits, got {code:#x}")
        negative = self.signed and code >> (self.bits - 1)
        integer = code - (1 << self.bits) if negative else code
        return self.number(integer) if integer >= self.low else float("nan")

    @property
    def max(self) -> Fraction:
        """Largest value."""
        return self.number(self.high)

    @property
    def min(self) -> Fraction:
        """Smallest value."""
        return self.number(self.low)

    @property
    def min_positive(self) -> Fraction:
        """Smallest positive value."""
        return self.step / 2 if self.mid_rise else self.step

    @property
    def has_negative_zero(self) -> bool:
        """Integers have one zero, or none."""
        return False

    @property
    def nan_code(self) -> int | None:
        """Integers have no NaN."""
        return None

    @property
    def infinity_code(self) -> int | None:
        """Integers have no infinity."""
        return None

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format."""
        tail = "_narrow" if self.narrow else "_midrise" if self.mid_rise else ""
        return f"{'' if self.signed else 'u'}int{self.bits}{tail}{f'@{self.exponent}' if self.exponent else ''}"


_TWOS = "two's complement"
INTEGERS = (
    *(IntFormat(f"int{bits}", bits, source=_TWOS) for bits in range(2, 17)),
    *(IntFormat(f"uint{bits}", bits, signed=False, source="unsigned binary") for bits in range(2, 9)),
)
"""The named integer formats. Any other is parsed: int8_narrow, int4_midrise, int8@-4 (steps of 2**-4)."""
