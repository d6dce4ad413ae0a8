"""Formats given by a list of values: ternary, binary, NF4, powers of two, and any list of yours.

Rounding picks one of the two neighbouring values; outside the list the nearest end. There is no NaN and
no infinity. A tie at the arithmetic midpoint goes to the neighbour with the even code, always to the lower
one, or to the one farther from zero, as the format says.

Sources: arXiv:2402.17764 (ternary); arXiv:2305.14314 appendix E (NF4); arXiv:1909.13144 (APoT).
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite, prod
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
        ties: "even", to the neighbour with the even code, "lower", or "away" from zero.
        source: where the table was read.

    Raises:
        ValueError: values that are not finite and ascending, codes that repeat or do not fit.
    """

    name: str = field(compare=False)
    values: tuple[float, ...]
    codes: tuple[int, ...] = ()
    bits: int = 0
    ties: Literal["even", "lower", "away"] = "even"
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
        if self.ties not in ("even", "lower", "away"):
            raise ValueError(f"{self.name}: expected ties 'even', 'lower' or 'away', got {self.ties!r}")
        if self.ties == "even" and any((a ^ b) & 1 == 0 for a, b in itertools.pairwise(codes)):
            raise ValueError(f"{self.name}: neighbouring codes must alternate in parity; use ties='lower' or 'away'")
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


def additive_powers_of_two(bits: int) -> CodebookFormat:
    """APoT: zero and signed sums of distinct powers of two, in sign-magnitude codes of 2 to 9 bits.

    The bits - 1 magnitude bits are fields of two bits, the first field the lowest, and an odd bit above them. A
    field is 0 for nothing and k for its k-th power. Powers are dealt out from 1/2 downwards: two rounds over the
    fields, one to the odd bit, one more round. The paper's levels are these times a scale.

    Raises:
        ValueError: bits out of range.

    Source: arXiv:1909.13144, equation 5 with k = 2.
    """
    if not 2 <= bits <= 9:
        raise ValueError(f"apot formats have 2 to 9 bits, got {bits}")
    pairs, odd = divmod(bits - 1, 2)
    order = [*range(pairs), *range(pairs), *[pairs] * odd, *range(pairs)]
    terms: list[list[float]] = [[0.0] for _ in range(pairs + odd)]
    for place, term in enumerate(order):
        terms[term].append(2.0 ** -(place + 1))
    magnitudes = [(0.0, 0)]
    for shift, term in enumerate(terms):
        magnitudes = [(a + b, code | k << 2 * shift) for a, code in magnitudes for k, b in enumerate(term)]
    positive = sorted(magnitudes)[1:]
    negative = [(-value, 1 << (bits - 1) | code) for value, code in reversed(positive)]
    values, codes = zip(*negative, (0.0, 0), *positive)
    return CodebookFormat(f"apot_{bits}", values, codes, bits, "away", source="arXiv:1909.13144")


def codebook(values: Iterable[float], name: str = "codebook", codes: Iterable[int] = ()) -> CodebookFormat:
    """A format of your own values, in any order; ties go to the lower value.

    Args:
        values: finite numbers; repeated ones count once. Without `codes` they are numbered in ascending order.
        codes: a code for each value, where the order of the values matters.

    Raises:
        ValueError: fewer than two different values, values that are not finite, or codes that do not fit them.

    Example:
        >>> codebook([0.0, -1.0, 3.5, 0.25]).values
        (-1.0, 0.0, 0.25, 3.5)
    """
    numbers, given = [float(value) for value in values], [int(code) for code in codes]
    if not given:
        return CodebookFormat(name, tuple(sorted(set(numbers))), ties="lower", source="given as a table")
    if len(given) != len(numbers):
        raise ValueError(f"{name}: expected a code for each of {len(numbers)} values, got {len(given)} codes")
    pairs = sorted(zip(numbers, given))
    ordered = tuple(value for value, _ in pairs), tuple(code for _, code in pairs)
    return CodebookFormat(name, *ordered, ties="lower", source="given as a table")


@dataclass(frozen=True, slots=True)
class ChannelCodebooks:
    """A codebook for each index along an axis; made by `hu.learn_codebook(..., axis=)`.

    Args:
        name: what reports call it; not part of its identity.
        books: one codebook a channel, all of the same width.
        axis: the axis that the channels are on.
        source: where they come from.

    Raises:
        ValueError: no codebooks, or codebooks of different widths.
    """

    name: str = field(compare=False)
    books: tuple[CodebookFormat, ...]
    axis: int = 0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        widths = {book.bits for book in self.books}
        if len(widths) != 1:
            raise ValueError(f"{self.name}: expected codebooks of one width, got widths {sorted(widths)}")

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.books[0].bits

    def bits_per_element(self, shape: tuple[int, ...] | None = None) -> float:
        """Storage bits of an element with its share of the tables, 32 bits a value.

        Args:
            shape: of the array; without it the tables count as nothing.
        """
        values = sum(len(book.values) for book in self.books)
        return self.bits + (32 * values / max(prod(shape), 1) if shape is not None else 0.0)

    @property
    def nan_code(self) -> int | None:
        """Codebooks have no NaN."""
        return None

    @property
    def spec(self) -> str:
        """A name that `hu.format` parses back to an equal format: every book."""
        return f"channels({self.axis};" + ";".join(book.spec for book in self.books) + ")"


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
    *(additive_powers_of_two(bits) for bits in (4, 5)),
)
"""The named codebooks."""
