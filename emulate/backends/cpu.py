"""Drives flat CPU buffers through the compiled kernels, in threads, or through the portable ones."""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from ...formats.rounding import ROUNDINGS, Rounding
from .. import codebook_kernels, kernels
from ..codebook_tables import SPECIALS
from ..layouts import Layout
from ..philox import philox
from ..tables import Codebook, Grid, Mode, mode_of
from .integers import NumpyIntegers, NumpyWords

NEAREST_EVEN = ROUNDINGS["nearest_even"]
_PORTABLE_CHUNK = 1 << 16
_THREADED_FROM = 1 << 20  # elements, a third of a millisecond of work; starting the threads takes a tenth


Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Noise:
    """Where the elements of a buffer lie in the random stream.

    Args:
        key: (stream, step, seed low word, seed high word).
        row_starts: (r,) uint64, the logical index at which each of r equal rows of the buffer starts.
    """

    key: tuple[int, int, int, int]
    row_starts: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One kind of pass over buffers: values to values, or to codes. Compared by identity, to keep its worker."""

    table: Grid | Codebook
    layout: Layout
    rounding: Rounding
    overflow: str | None
    encode: bool = False
    nan_code: int = -1

    @property
    def mode(self) -> Mode:
        """The rounding as the kernels read it."""
        return mode_of(self.rounding, self.layout.work_width)


def run(job: Job, x: np.ndarray, out: np.ndarray, noise: Noise | None = None) -> None:
    """Write the results of x to out.

    Args:
        x: (n,) contiguous int16, int32 or int64, the bits of the layout.
        out: (n,) contiguous; the same bits dtype, or an unsigned one for codes. May be x itself.
        noise: where the elements lie in the random stream; for stochastic modes.
    """
    call = worker(job)
    if x.size < _THREADED_FROM:
        call(x, out, noise)
        return
    rows = noise.row_starts.size if noise else 1
    unit = x.size // rows if rows > 1 else 64  # rows stay whole where there is more than one
    share(lambda lo, hi: call(x[lo:hi], out[lo:hi], _noise_part(noise, lo, hi, rows, unit)), bounds(x.size, unit))


def flushes() -> bool:
    """Whether this thread's processor flushes subnormals, as `torch.set_flush_denormal` makes it do."""
    return bool(np.array([2.0**-126], np.float32) * np.float32(0.5) == 0)


def threads() -> int:
    """How many threads share large work: one for each processor of this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bounds(size: int, unit: int) -> list[int]:
    """Where the share of each thread begins, and the end: multiples of a unit."""
    if size < _THREADED_FROM:
        return [0, size]
    count = threads()
    return [size * k // count // unit * unit for k in range(count)] + [size]


def share(call: Callable[[int, int], Result], at: list[int]) -> list[Result]:
    """call(lo, hi) of every share between bounds that is not empty, each in a thread of its own."""
    return in_threads(lambda ends: call(*ends), [ends for ends in itertools.pairwise(at) if ends[0] < ends[1]])


def in_threads(call: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """call of every part, each in a thread of its own; a single one in this thread."""
    if len(parts) <= 1:
        return [call(part) for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:  # made anew: a pool kept across calls would not survive a fork
        return list(pool.map(call, parts))


def _noise_part(noise: Noise | None, lo: int, hi: int, rows: int, unit: int) -> Noise | None:
    if noise is None:
        return None
    if rows > 1:
        return Noise(noise.key, noise.row_starts[lo // unit : hi // unit])
    return Noise(noise.key, noise.row_starts + np.uint64(lo))


Worker = Callable[[np.ndarray, np.ndarray, Noise | None], None]


@lru_cache(maxsize=1024)
def worker(job: Job) -> Worker:
    """The call that does a job on one part of a buffer."""
    if isinstance(job.table, Codebook):
        return _portable(job) if job.rounding.stochastic else _compiled_codebook(job, job.table)
    p = parameters(job.table, job.layout, job.mode, job.overflow, job.nan_code)
    if p is None or (job.encode and fills_the_significand(job.table, job.layout)):
        return _portable(job)
    if job.rounding.stochastic:
        return _compiled_stochastic(job, p)
    return _compiled_codes(job, p) if job.encode else _compiled_deterministic(job, p)


def same_on_both_sides(p: np.ndarray) -> bool:
    """Whether limit, overflow and infinity are those of a signed format, the same for both signs."""
    return bool((p[12:18:2] == p[13:18:2]).all())


def _compiled_deterministic(job: Job, p: np.ndarray) -> Worker:
    from .numba import deterministic

    plain = _plain(job, p)
    return lambda x, out, noise: deterministic(x, out, p, plain, np.may_share_memory(x, out))


def _plain(job: Job, p: np.ndarray) -> Any:
    """What chooses the shorter program of nearest-even."""
    return p.dtype.type(0) if job.rounding == NEAREST_EVEN and same_on_both_sides(p) else None


def fills_the_significand(grid: Any, layout: Layout) -> bool:
    """Whether codes are integers as wide as the significand: the next power of two has no more bits to count with."""
    return bool(grid.twos_complement) and grid.code_bits > layout.mantissa_bits


def _compiled_codes(job: Job, p: np.ndarray) -> Worker:
    from .numba import deterministic_codes

    codes, plain = code_parameters(p, job.table, job.layout), _plain(job, p)
    return lambda x, out, noise: deterministic_codes(x, out, codes, plain)


def packed(job: Job, x: np.ndarray, bits: int) -> np.ndarray | None:
    """A dense stream of the codes of x (n,) in one pass, as `emulate.packing` defines it; None where that is not one.

    Args:
        bits: of a code, at most 8.
    """
    grid = isinstance(job.table, Grid) and not job.rounding.stochastic
    p = parameters(job.table, job.layout, job.mode, job.overflow, job.nan_code) if grid else None
    if p is None or bits > 8 or fills_the_significand(job.table, job.layout):
        return None
    from .numba import deterministic_packed

    codes, plain = code_parameters(p, job.table, job.layout), _plain(job, p)
    stream = np.empty(-(-x.size * bits // 8), np.uint8)

    def part(lo: int, hi: int) -> None:
        deterministic_packed(x[lo:hi], stream[lo // 8 * bits : -(-hi * bits // 8)], codes, plain, bits)

    share(part, bounds(x.size, 64))
    return stream


def _compiled_stochastic(job: Job, p: np.ndarray) -> Worker:
    from .numba import stochastic

    two = True if job.layout.words == 2 else None
    word_like = np.empty(0, np.uint64 if two else np.uint32)
    transform = word_transform(job.mode, word_like.dtype)

    def work(x: np.ndarray, out: np.ndarray, noise: Noise | None) -> None:
        if noise is None:
            raise ValueError("stochastic rounding needs random words")
        key, in_place = np.array(noise.key, np.uint64), np.may_share_memory(x, out)
        stochastic(x, out, p, job.encode, in_place, noise.row_starts, key, word_like, two, transform)

    return work


def _compiled_codebook(job: Job, book: Codebook) -> Worker:
    from .numba_lists import codebook

    p, thresholds = codebook_parameters(book, job.layout, job.mode)
    results = _results(job, book)
    return lambda x, out, noise: codebook(x, out, p, thresholds, results)


def codebook_parameters(book: Codebook, layout: Layout, mode: Mode) -> tuple[np.ndarray, np.ndarray]:
    """What the compiled search reads: (magnitude mask, infinity bits, index of the specials), and thresholds."""
    integer = np.int64 if layout.work_width == 64 else np.int32
    row = book.thresholds[mode.row]
    thresholds = np.full((1 << row.size.bit_length()) - 1, np.iinfo(integer).max, integer)
    thresholds[: row.size] = row
    return np.array([layout.magnitude_mask, layout.infinity, book.values.size - SPECIALS], integer), thresholds


def _results(job: Job, book: Codebook) -> np.ndarray:
    """What each index of a codebook stands for: values, or codes with NaN's put in."""
    if not job.encode:
        return book.values
    return np.where(book.codes < 0, book.codes.dtype.type(job.nan_code), book.codes)


def _portable(job: Job) -> Worker:
    """The kernels over NumPy, in chunks that bound their temporaries."""

    def work(x: np.ndarray, out: np.ndarray, noise: Noise | None) -> None:
        rows = noise.row_starts.size if noise else 1
        row_size = x.size // rows
        for row in range(rows):
            for lo in range(row * row_size, (row + 1) * row_size, _PORTABLE_CHUNK):
                hi = min(lo + _PORTABLE_CHUNK, (row + 1) * row_size)
                words = None
                if noise is not None:
                    first = int(noise.row_starts[row]) + lo - row * row_size
                    words = random_words(noise.key, first, hi - lo, job.layout)
                out[lo:hi] = portable(job, x[lo:hi], words)

    return work


def portable(job: Job, x: np.ndarray, words: np.ndarray | None) -> np.ndarray:
    """The portable kernel over one chunk of bits; the result is still in the kernel's integers."""
    xp = NumpyIntegers(job.layout.work_width)
    bits = x.astype(xp.dtype)
    if isinstance(job.table, Codebook):
        index = codebook_kernels.round_to_codebook(xp, job.layout, job.table, bits, job.mode, words)
        return _results(job, job.table)[index]
    result = kernels.round_to_grid(xp, job.layout, job.table, bits, job.mode, job.overflow, words)
    return kernels.encode_grid(xp, job.layout, job.table, result, job.nan_code) if job.encode else result


def random_words(key: tuple[int, int, int, int], first: int, count: int, layout: Layout) -> np.ndarray:
    """(count,) random words of consecutive elements, as signed integers of the kernel's width."""
    stream, step, low, high = (np.uint64(word) for word in key)
    start = first * layout.words
    blocks = np.arange(start >> 2, (start + count * layout.words + 3) >> 2, dtype=np.uint64)
    counter = (blocks & np.uint64(0xFFFFFFFF), blocks >> np.uint64(32), stream, step)
    words = np.stack(philox(NumpyWords(), counter, (low, high)), axis=-1).reshape(-1)
    words = words[start & 3 :][: count * layout.words]
    if layout.words == 1:
        return words.astype(np.uint32).view(np.int32)
    return (words[0::2] << np.uint64(32) | words[1::2]).view(np.int64)


def word_transform(mode: Mode, dtype: np.dtype) -> np.ndarray | None:
    """The word fields of a mode and whether lost fraction bits count; None where words stay as they are."""
    if mode.low_bits == 0 and not mode.equal:
        return None
    keep, sticky = mode.keep % (1 << 8 * dtype.itemsize), max(mode.equal, mode.take_odd)
    return np.array([keep, mode.half, mode.low_bits, mode.take_odd, mode.equal, sticky], dtype)


@lru_cache(maxsize=4096)
def parameters(grid: Grid, layout: Layout, mode: Mode, overflow: str | None, nan_code: int) -> np.ndarray | None:
    """What the compiled kernel reads, in its order; None where only the portable kernel serves.

    That is: wrapping, formats without zero, and formats whose normals reach below those of the dtype.
    """
    if overflow == "wrap" or not grid.zero or grid.min_field < 1:
        return None
    m = layout.mantissa_bits
    tiny_shift = m + grid.quantum_field
    flushes = grid.quantum_field == grid.min_field  # nothing lies between zero and the smallest normal
    low_shift = m - grid.mantissa_bits + grid.min_field if flushes else tiny_shift
    max_shift = min(m, low_shift - 1)
    no_mantissa = grid.mantissa_bits == 0
    xp = NumpyIntegers(layout.work_width)
    # a quantum that is a host subnormal leaves no number whose significand is cut off whole
    quantum = int(kernels.quantum_bits(xp, layout, grid)) if grid.quantum_field >= 1 else 0
    finite, infinite = kernels.overflow_results(xp, layout, grid, mode, overflow)
    sign = -1 << (layout.width - 1)
    signed_float = grid.max_negative > 0 and not grid.twos_complement
    values = [
        *(m, layout.magnitude_mask, layout.infinity, layout.nan),
        *(min(max(m - grid.mantissa_bits, 0), max_shift), low_shift, max_shift),
        *(0 if no_mantissa else 1 << m, (grid.min_field - 1 & 1) << m if no_mantissa else 0),
        *(quantum, *_first_up(layout, mode, quantum)),
        *(grid.max_positive, grid.max_negative, *finite, *infinite, sign if grid.negative_zero else 0),
        *_increment(mode),
        *(grid.min_field, grid.mantissa_bits if not grid.twos_complement else 0, grid.infinity_code, nan_code),
        *(_wrapped(1 << (grid.code_bits - 1)) if signed_float else 0, _wrapped((1 << grid.code_bits) - 1)),
        *(tiny_shift, quantum),
    ]
    return np.array(values, np.int64).astype(np.int64 if layout.work_width == 64 else np.int32)  # 32-bit codes wrap


def _wrapped(bits: int) -> int:
    """The signed integer of 64 bits."""
    return (bits + (1 << 63)) % (1 << 64) - (1 << 63)


def code_parameters(p: np.ndarray, grid: Any, layout: Layout) -> np.ndarray:
    """`parameters` for codes: what a magnitude may become as a code, NaN as a number that no code reaches."""
    xp, no_code = NumpyIntegers(layout.work_width), -2
    codes = p.copy()
    codes[12:18] = kernels.encode_grid(xp, layout, grid, p[12:18], no_code)  # limits, and what lies beyond them
    codes[32:] = kernels.encode_grid(xp, layout, grid, p[32:], no_code)
    codes[3], codes[18] = no_code, p[29] if grid.negative_zero else 0
    return codes


def _increment(mode: Mode) -> list[int]:
    """The increment of `formats.rounding` as masks: (discarded >> nearest) & taken, plus one bit."""
    even, odd, negative = mode.halves_even, mode.halves_odd, mode.halves_negative
    nearest = int(max(even, even + odd, even + negative) == 1)
    base = -int(even > 0)
    flips_negative, flips_odd = -int(negative != 0), -int(odd != 0)
    plus = 1 - mode.less_even if nearest else 0
    plus_odd = 1 if nearest and mode.less_odd else 0
    return [nearest, base, flips_negative, flips_odd, plus, plus_odd]


def _first_up(layout: Layout, mode: Mode, quantum: int) -> list[int]:
    """Smallest magnitude bits between 0 and the quantum that round up to it, for (positive, negative)."""
    exact_half = layout.number(quantum) / 2
    half = layout.floor(exact_half)
    half_missing = layout.number(half) != exact_half
    first = []
    for negative in (0, 1):
        halves = mode.halves_even + negative * mode.halves_negative
        past_half = half + (half_missing or mode.less_even + negative * mode.less_negative > 0)
        first.append({0: quantum, 1: past_half, 2: 1}[halves])
    return first
