"""Inputs that decide a format, and what the definition says they become."""

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from itertools import repeat

import ml_dtypes
import numpy as np
from halfulp.emulate.codebook_tables import rounded_listing
from halfulp.emulate.layouts import LAYOUTS, Layout, fits
from halfulp.formats import exact
from halfulp.formats.listing import Listing, listing
from halfulp.formats.registry import NAMED, Format
from halfulp.formats.rounding import DETERMINISTIC, ROUNDINGS, Rounding
from halfulp.formats.tapered import TaperedFormat

NARROW = [name for name, fmt in NAMED.items() if fmt.bits <= 10]
WIDE = [name for name, fmt in NAMED.items() if fmt.bits > 10]
MODES = [mode.name for mode in DETERMINISTIC]
FLOATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
SIGNED = {16: np.int16, 32: np.int32, 64: np.int64}


def special_bits(layout: Layout) -> list[int]:
    """Magnitudes: zero, the ends of the subnormals and normals, infinity, NaNs quiet and signalling."""
    one = 1 << layout.mantissa_bits
    return [0, 1, 2, one - 1, one, one + 1, layout.infinity - 1, layout.infinity, layout.infinity + 1, layout.nan]


def in_layout(fmt: Format, layout: Layout) -> Format | Listing:
    """The format as a dtype holds it: irrational values are the dtype's nearest numbers."""
    if isinstance(fmt, TaperedFormat) and not fmt.rules.rational:
        return rounded_listing(listing(fmt), layout)
    return fmt


def both_sides(fmt: Format, layout: Layout) -> np.ndarray:
    """Bits of every number next to, or at, an input where some rounding can change, and the specials.

    Rounding is monotone and constant in between, so these inputs decide all others.
    """
    magnitudes = set(special_bits(layout))
    for step in exact.steps(in_layout(fmt, layout)):
        below = layout.floor(abs(step))
        magnitudes |= {max(below - 1, 0), below, min(below + 1, layout.infinity)}
    return with_signs(sorted(magnitudes), layout)


def with_signs(magnitudes, layout: Layout) -> np.ndarray:
    """The magnitudes and their negatives as signed bits."""
    positive = np.array(magnitudes, np.int64)
    sign = np.int64(-1) << np.int64(layout.width - 1)
    return np.concatenate([positive, positive | sign]).astype(SIGNED[layout.width])


def stratified(layout: Layout, count: int, seed: int = 0) -> np.ndarray:
    """Bits spread evenly over all patterns of the dtype, with random low bits, and the specials."""
    rng = np.random.default_rng(seed)
    stride = (1 << layout.width) // count
    starts = np.arange(count, dtype=np.uint64) * np.uint64(stride)
    picks = starts + rng.integers(0, stride, count, dtype=np.uint64)
    unsigned = {16: np.uint16, 32: np.uint32, 64: np.uint64}[layout.width]
    return np.concatenate([picks.astype(unsigned).view(SIGNED[layout.width]), with_signs(special_bits(layout), layout)])


def value_of(bits: int, layout: Layout) -> exact.Exact:
    """The number with these signed bits."""
    magnitude = bits & layout.magnitude_mask
    if magnitude > layout.infinity:
        return float("nan")
    if magnitude == layout.infinity:
        return float("-inf") if bits < 0 else float("inf")
    number = layout.number(magnitude)
    if bits < 0:
        return -number if number else -0.0
    return number


def all_bits(values: Iterable[exact.Exact], layout: Layout) -> np.ndarray:
    """Signed bits of exact values the dtype holds; NaN is canonical."""
    numbers = np.array([float(value) for value in values]).astype(FLOATS[layout.name])
    bits = numbers.view(SIGNED[layout.width])
    return np.where((bits & layout.magnitude_mask) > layout.infinity, layout.nan, bits).astype(bits.dtype)


def bits_of(value: exact.Exact, layout: Layout) -> int:
    """As `all_bits`, of one value."""
    return int(all_bits([value], layout)[0])


def evaluate(
    fmt: Format,
    layout: Layout,
    mode: Rounding,
    overflow: str | None,
    bits: np.ndarray,
    words: Iterable[int] = repeat(0),
) -> np.ndarray:
    """Signed bits of the exact results, one evaluation an input.

    Args:
        words: the random word of each input, of the layout's work width.
    """
    held = in_layout(fmt, layout)
    values = (
        exact.quantize_exact(held, value_of(int(b), layout), mode, overflow, word, layout.work_width)
        for b, word in zip(bits, words)
    )
    return all_bits(values, layout)


@cache
def _staircase(fmt: Format | Listing, mode: str, overflow: str | None) -> exact.Staircase:
    return exact.staircase(fmt, ROUNDINGS[mode], overflow)


def _keys(bits: np.ndarray, layout: Layout) -> np.ndarray:
    """Integers in the order of the numbers; -0 comes just before +0."""
    bits = bits.astype(np.int64)
    magnitude = bits & layout.magnitude_mask
    return np.where(bits < 0, ~magnitude, magnitude)


def _first_key(point: Fraction, layout: Layout) -> tuple[int, bool]:
    """Key of the first number that is not below the point, and whether it is the point."""
    below = layout.floor(abs(point))
    exactly = layout.number(below) == abs(point)
    if point >= 0:
        return below + (not exactly), exactly
    return ~below, exactly  # towards zero, which for a negative point is upwards


def expected(fmt: Format, layout: Layout, mode: Rounding, overflow: str | None, bits: np.ndarray) -> np.ndarray:
    """Signed bits of the exact results of a deterministic mode: a fill between the steps of its staircase."""
    fmt = in_layout(fmt, layout)  # pyright: ignore[reportAssignmentType]
    stairs = _staircase(fmt, mode.name, overflow)
    first, exactly = zip(*(_first_key(point, layout) for point in stairs.points))
    first, exactly = np.array(first), np.array(exactly)
    at, between = all_bits(stairs.at, layout), all_bits(stairs.between, layout)
    keys = _keys(bits, layout)
    count = np.searchsorted(first, keys, side="right")
    last = np.maximum(count - 1, 0)
    on_point = (count > 0) & exactly[last] & (first[last] == keys)
    result = np.where(on_point, at[last], between[count])
    for special in (-0.0, float("inf"), float("-inf"), float("nan")):
        where = _is_special(bits, layout, special)
        result[where] = bits_of(exact.quantize_exact(fmt, special, mode, overflow), layout)
    return result.astype(SIGNED[layout.width])


def _is_special(bits: np.ndarray, layout: Layout, special: float) -> np.ndarray:
    if special != special:
        return (bits.astype(np.int64) & layout.magnitude_mask) > layout.infinity
    return bits == bits_of(special, layout)


def layouts_for(fmt: Format) -> list[Layout]:
    """The dtypes that hold the format's values."""
    return [layout for layout in LAYOUTS.values() if fits(fmt, layout)]


def explain(bits: np.ndarray, got: np.ndarray, want: np.ndarray, layout: Layout, limit: int = 5) -> str:
    """The first differences, readable."""
    wrong = np.flatnonzero(got != want)[:limit]
    rows = [
        f"x={float(value_of(int(bits[k]), layout)).hex()} got={float(value_of(int(got[k]), layout))} "
        f"want={float(value_of(int(want[k]), layout))}"
        for k in wrong
    ]
    return f"{np.count_nonzero(got != want)} of {len(bits)} differ: " + "; ".join(rows)
