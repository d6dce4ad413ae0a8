"""Formats given by a list of values: ternary, binary, NF4, powers of two, and any list of yours.

Rounding picks one of the two neighbouring values; outside the list the nearest end. There is no NaN and
no infinity. A tie at the arithmetic midpoint goes to the neighbour with the even code, or always to the
lower one, as the format says.

Sources: arXiv:2402.17764 (ternary); arXiv:2305.14314 appendix E (NF4).
"""

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from struct import pack, unpack
from typing import Literal


@dataclass(frozen=True, slots=True)
class CodebookFormat:
    """A format that is a table.

    Args:
        name: what reports call it; not part of its identity.
        values: the values, ascending, each a float64 held exactly.
        codes: the code of each value; 0, 1, 2, ... when left out. Neighbours must alternate in parity
            when ties go to the even code.
        bits: width of a code; as few as the codes need when left out.
        ties: "even", to the neighbour with the even code, or "lower".
        source: where the table was read.

    Raises:
        ValueError: values that are not finite and ascending, codes that repeat or do not fit.
    """

    name: str = field(compare=False)
    values: tuple[float, ...]
    codes: tuple[int, ...] = ()
    bits: int = 0
    ties: Literal["even", "lower"] = "even"
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        values = tuple(float(v) + 0.0 for v in self.values)  # + 0.0 turns -0.0 into 0.0
        if len(values) < 2 or not all(map(isfinite, values)):
            raise ValueError(f"{self.name}: expected two or more finite values, got {self.values!r:.80}")
        if any(a >= b for a, b in itertools.pairwise(values)):
            raise ValueError(f"{self.name}: expected ascending values without repeats; pass sorted(set(values))")
        codes = tuple(self.codes) or tuple(range(len(values)))
        bits = self.bits or max(codes).bit_length()
        if len(codes) != len(values) or len(set(codes)) != len(codes):
            raise ValueError(f"{self.name}: expected {len(values)} different codes, got {len(set(codes))}")
        if bits > 16 or min(codes) < 0 or max(codes) >> bits:
            raise ValueError(f"{self.name}: expected codes of at most {min(bits, 16)} bits, got {max(codes):#x}")
        if self.ties not in ("even", "lower"):
            raise ValueError(f"{self.name}: expected ties 'even' or 'lower', got {self.ties!r}")
        if self.ties == "even" and any((a ^ b) & 1 == 0 for a, b in itertools.pairwise(codes)):
            raise ValueError(f"{self.name}: neighbouring codes must alternate in parity; use ties='lower'")
        for name, value in (("values", values), ("codes", codes), ("bits", bits)):
            object.__setattr__(self, name, value)  # normalized once; the instance is frozen from here on

    def value(self, code: int) -> Fraction | float:
        """Exact value of a code; a code without a value gives the float nan.

        Raises:
            ValueError: a code outside 0 .. 2**bits - 1.
        """
        if not 0 <= code < 1 << self.bits:
            raise ValueError(f"{self.name}: expected a code of {self.bits} bits, got {code:#x}")
        return Fraction(self.values[self.codes.index(code)]) if code in self.codes else float("nan")

    @property
    def max(self) -> Fraction:
        """Largest value."""
        return Fraction(self.values[-1])

    @property
    def min(self) -> Fraction:
        """Smallest value."""
        return Fraction(self.values[0])

    @property
    def min_positive(self) -> Fraction | None:
        """Smallest positive value, None without one."""
        positive = [v for v in self.values if v > 0]
        return Fraction(positive[0]) if positive else None

    @property
    def has_negative_zero(self) -> bool:
        """Codebooks have one zero, or none."""
        return False

    @property
    def nan_code(self) -> int | None:
        """Codebooks have no NaN."""
        return None

    @property
    def infinity_code(self) -> int | None:
        """Codebooks have no infinity."""
        return None

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format: every value and code, in hexadecimal."""
        table = ",".join(f"{v.hex()}:{c:x}" for v, c in zip(self.values, self.codes))
        return f"codebook({self.bits},{self.ties},{table})"


def power_of_two(bits: int) -> CodebookFormat:
    """Zero and the signed powers of two from 1 downwards, in sign-magnitude codes of 2 to 8 bits.

    Magnitude code k > 0 is 2**(k - (2**(bits - 1) - 1)), so that the largest value is 1.

    Raises:
        ValueError: bits out of range.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"pow2 formats have 2 to 8 bits, got {bits}")
    top = (1 << (bits - 1)) - 1
    positive = [(2.0 ** (k - top), k) for k in range(1, top + 1)]
    negative = [(-value, 1 << (bits - 1) | code) for value, code in reversed(positive)]
    values, codes = zip(*negative, (0.0, 0), *positive)
    return CodebookFormat(f"pow2_{bits}", values, codes, bits, source="arXiv:1603.01025")


_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)

_NF2 = (-1.0, 0.0, 0.33791524171829224, 1.0)
# AF4 for blocks of 64, published with eight digits; the nearest float32, as weights are looked up in that dtype.
_AF4 = tuple(
    unpack("f", pack("f", value))[0]
    for value in (
        *(-1.0, -0.69441008, -0.51243739, -0.3736951, -0.25607552, -0.14982478, -0.04934812, 0.0),
        *(0.04273164, 0.12934483, 0.21961274, 0.31675666, 0.42563882, 0.55496234, 0.72424863, 1.0),
    )
)

CODEBOOKS = (
    # Two's complement: zero is the even code, so ties at +-1/2 go to zero; the tie of sign(0) goes to +1.
    CodebookFormat("ternary", (-1.0, 0.0, 1.0), (3, 0, 1), source="arXiv:2402.17764"),
    CodebookFormat("binary", (-1.0, 1.0), (1, 0), source="sign and magnitude one, sign(0) = +1"),
    CodebookFormat("nf4", _NF4, ties="lower", source="arXiv:2305.14314"),
    CodebookFormat("nf2", _NF2, ties="lower", source="arXiv:2311.12023"),
    CodebookFormat("af4", _AF4, ties="lower", source="arXiv:2306.06965"),
    *(power_of_two(bits) for bits in (3, 4)),
)
"""The named codebooks."""
