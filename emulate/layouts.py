"""How the host dtypes store a number: the integers every kernel reads from and writes to."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from ..formats.codebooks import ChannelCodebooks
from ..formats.dyadic import power
from ..formats.floats import FloatFormat
from ..formats.integers import IntFormat
from ..formats.listing import Listing, is_listed, listing
from ..formats.registry import Format


@dataclass(frozen=True, slots=True)
class Layout:
    """A host dtype: sign | exponent field E | fraction, |x| = S * 2**(max(E, 1) - bias - mantissa_bits).

    Args:
        name: dtype name.
        width: bits of storage, 16, 32 or 64.
        mantissa_bits: stored fraction bits.
        bias: exponent bias.
    """

    name: str
    width: int
    mantissa_bits: int
    bias: int

    @property
    def work_width(self) -> int:
        """Width of the integers the kernels compute in: 64 for float64, otherwise 32."""
        return max(self.width, 32)

    @property
    def words(self) -> int:
        """Random 32-bit words an element takes: two for float64, otherwise one."""
        return self.work_width // 32

    @property
    def magnitude_mask(self) -> int:
        """All bits but the sign."""
        return (1 << (self.width - 1)) - 1

    @property
    def infinity(self) -> int:
        """Bits of +Inf."""
        return self.magnitude_mask >> self.mantissa_bits << self.mantissa_bits

    @property
    def nan(self) -> int:
        """Bits of the canonical NaN: positive and quiet, no payload."""
        return self.infinity | 1 << (self.mantissa_bits - 1)

    @property
    def max(self) -> Fraction:
        """Largest finite number."""
        return self.number(self.infinity - 1)

    @property
    def quantum_exponent(self) -> int:
        """log2 of the smallest subnormal."""
        return 1 - self.bias - self.mantissa_bits

    def number(self, magnitude: int) -> Fraction:
        """The number with these magnitude bits."""
        field, fraction = divmod(magnitude, 1 << self.mantissa_bits)
        significand = fraction | (1 << self.mantissa_bits if field else 0)
        return significand * power(max(field, 1) - self.bias - self.mantissa_bits)

    def floor(self, magnitude: Fraction) -> int:
        """Bits of the largest number that is not above `magnitude` >= 0; past the range, of the largest."""
        if magnitude > self.max:
            return self.infinity - 1
        units = magnitude / power(self.quantum_exponent)
        significand = units.numerator // units.denominator
        drop = max(significand.bit_length() - self.mantissa_bits - 1, 0)
        return (drop << self.mantissa_bits) + (significand >> drop)

    def exactly(self, value: Fraction) -> int | None:
        """Magnitude bits of |value|, None where this dtype does not hold it."""
        bits = self.floor(abs(value))
        return bits if self.number(bits) == abs(value) else None


FLOAT16 = Layout("float16", 16, 10, 15)
BFLOAT16 = Layout("bfloat16", 16, 7, 127)
FLOAT32 = Layout("float32", 32, 23, 127)
FLOAT64 = Layout("float64", 64, 52, 1023)
LAYOUTS = {layout.name: layout for layout in (FLOAT16, BFLOAT16, FLOAT32, FLOAT64)}
"""The host dtypes by name."""


def floor_bits(layout: Layout, magnitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Host bits of the largest numbers not above (n,) float64 magnitudes, and what is left of them.

    Integer arithmetic, so that no flushed subnormal can touch a table.

    Returns:
        bits; the rest below them in units of the last place times 2**drop; drop.
    """
    bits = magnitudes.view(np.int64)
    field = bits >> 52
    significand = np.where(field > 0, bits & ((1 << 52) - 1) | 1 << 52, bits)
    exponent = np.maximum(field, 1) - (1023 + 52)
    quantum = layout.quantum_exponent
    unit = np.maximum(np.where(field > 0, field - 1023, -1023) - layout.mantissa_bits, quantum)
    drop = np.clip(unit - exponent, 0, 62)
    kept = significand >> drop
    found = kept + ((unit - quantum) << layout.mantissa_bits)
    return np.minimum(found, layout.infinity - 1), significand - (kept << drop), drop


def rounded_bits(layout: Layout, magnitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Host bits nearest to (n,) float64 magnitudes, ties to even, infinity past the range; and which are exact."""
    bits, rest, drop = floor_bits(layout, magnitudes)
    half = np.left_shift(np.int64(1), np.maximum(drop, 1)) >> 1
    up = (drop > 0) & ((rest > half) | ((rest == half) & (bits & 1 == 1)))
    beyond = magnitudes > float(layout.max)
    return np.where(beyond, layout.infinity, bits + up), (rest == 0) & ~beyond


@lru_cache(maxsize=256)
def floats_of(of: Listing) -> np.ndarray:
    """(n,) float64 values of a list."""
    return np.array([float(value) for value in of.values])


@lru_cache(maxsize=512)
def listing_fits(of: Listing, layout: Layout) -> bool:
    """Whether a dtype holds the values of a list: exactly, or where they are irrational finite and apart."""
    bits, exact = rounded_bits(layout, np.abs(floats_of(of)))
    if of.rational:
        return bool(exact.all())
    keys = np.where(floats_of(of) < 0, ~bits, bits)
    return bool((bits < layout.infinity).all() and (keys[1:] > keys[:-1]).all())


def fits(fmt: Format | ChannelCodebooks, layout: Layout) -> bool:
    """Whether every finite value of the format is a number of the host dtype; irrational ones are rounded to it."""
    if isinstance(fmt, ChannelCodebooks):
        return all(fits(book, layout) for book in fmt.books)
    if isinstance(fmt, FloatFormat):
        spacing, precise = power(fmt.min_exponent - fmt.mantissa_bits), fmt.mantissa_bits <= layout.mantissa_bits
    elif isinstance(fmt, IntFormat) and not is_listed(fmt):
        spacing, precise = fmt.step, False
    else:
        return listing_fits(listing(fmt), layout)
    largest = max(fmt.max, -fmt.min)
    precise = precise or largest / spacing <= 1 << (layout.mantissa_bits + 1)  # every multiple up to there is held
    return precise and largest <= layout.max and spacing >= power(layout.quantum_exponent)


def require_fit(fmt: Format, layout: Layout, what: str = "values") -> None:
    """Raise where the dtype does not hold the format's values.

    Raises:
        ValueError: names the dtypes that would.
    """
    if fits(fmt, layout):
        return
    able = [other.name for other in LAYOUTS.values() if fits(fmt, other)]
    if not able:
        raise ValueError(
            f"{what} of {fmt.name} fit no dtype up to float64; use a narrower format, or halfulp.formats.exact"
        )
    raise ValueError(
        f"{what} of {fmt.name} do not fit {layout.name}; pass out_dtype={able[0]!r} "
        f"({' or '.join(able)} would hold them) or convert the input first"
    )
