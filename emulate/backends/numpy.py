"""NumPy arrays, and anything NumPy reads: scalars, lists, objects with `__array__`."""

from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from ...formats.exact import encode_exact, quantize_exact
from ...formats.registry import Format
from ...formats.rounding import ROUNDINGS
from .. import codebook_kernels, kernels, numbers
from ..layouts import LAYOUTS, Layout
from ..philox import Shard, check_word, seed_words
from ..plan import Plan, Randomness
from ..tables import Codebook, Grid, tabulate
from . import cpu
from .integers import NumpyIntegers

FLOATS = {name: np.dtype(getattr(ml_dtypes, name, None) or name) for name in LAYOUTS}
BITS = {16: np.dtype(np.int16), 32: np.dtype(np.int32), 64: np.dtype(np.int64)}


def as_array(x: Any) -> np.ndarray:
    """x as a float array.

    Raises:
        TypeError: integers, objects, masked arrays and other things that are not real floats.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("expected a plain array, got a masked array; pass x.filled(value)")
    given_array = isinstance(x, np.ndarray | np.generic)
    array = np.asarray(x)
    if not given_array and array.dtype.kind in "iu":
        array = _python_integers(array)
    if array.dtype.kind in "iub":
        raise TypeError(f"expected floats, got {array.dtype} integers; convert with x.astype('float32')")
    if array.dtype == object:
        raise TypeError("expected floats, got an object array; convert with np.asarray(x, dtype='float64')")
    return array


def _python_integers(array: np.ndarray) -> np.ndarray:
    """Numbers typed without a decimal point, as float64 where that is exact."""
    as_float = array.astype(np.float64)
    if not np.array_equal(as_float.astype(array.dtype), array):
        raise TypeError("integers beyond 2**53 are not exact in float64; pass floats")
    return as_float


def dtype_name(x: np.ndarray) -> str:
    """The dtype's name, byte order aside."""
    return _native_name(x.dtype)


@lru_cache(maxsize=64)
def _native_name(dtype: np.dtype) -> str:
    return dtype.newbyteorder("=").name


def quantize(x: np.ndarray, plan: Plan, randomness: Randomness, out: np.ndarray | None) -> np.ndarray:
    """`emulate.quantize` on arrays."""
    dtype = x.dtype if plan.target is plan.source else FLOATS[plan.target.name]
    direct = out if dtype.isnative else None
    bits = quantize_bits(bits_of(x, plan.source), plan, _noise(x, plan, randomness), _view(direct, plan))
    return deliver(bits.view(FLOATS[plan.target.name]), out, dtype)


def quantize_bits(bits: np.ndarray, plan: Plan, noise: cpu.Noise | None, out: np.ndarray | None) -> np.ndarray:
    """Round numbers given by their bits; bits of the target dtype, in `out` if they can go there directly."""
    result = run(bits, plan, noise, BITS[plan.layout.width], out if plan.layout is plan.target else None)
    return result if plan.layout is plan.target else _convert(result, plan.layout, plan.target)


def bits_of(x: np.ndarray, source: Layout) -> np.ndarray:
    """Bits in native byte order."""
    if x.dtype.isnative:
        return x.view(BITS[source.width])
    return x.astype(x.dtype.newbyteorder("="), copy=False).view(BITS[source.width])


def _view(out: np.ndarray | None, plan: Plan) -> np.ndarray | None:
    return None if out is None else out.view(BITS[plan.target.width])


def _noise(x: np.ndarray, plan: Plan, randomness: Randomness) -> cpu.Noise | None:
    return noise_for(randomness, x.shape) if plan.rounding.stochastic else None


def in_range(bits: np.ndarray, plan: Plan, noise: cpu.Noise | None) -> np.ndarray:
    """Where |x| rounds to at most the largest value: the clip mask of the straight-through estimator."""
    if isinstance(plan.table, Codebook):
        return _in_codebook(bits, plan, plan.table)
    return ~_is_nan(quantize_bits(bits, marked(plan), noise, None), plan.layout)


@lru_cache(maxsize=1024)
def marked(plan: Plan) -> Plan:
    """The plan by which what rounds past the largest value becomes NaN."""
    return replace(plan, overflow=kernels.MARK, target=plan.layout)


def _in_codebook(bits: np.ndarray, plan: Plan, book: Codebook) -> np.ndarray:
    xp = NumpyIntegers(plan.layout.work_width)
    bits = bits if plan.layout is plan.source else _convert(bits, plan.source, plan.layout)
    keys = codebook_kernels.key_of(xp, plan.layout, bits.reshape(-1).astype(xp.dtype)).reshape(bits.shape)
    return (keys >= book.ends[0]) & (keys <= book.ends[1])


def _is_nan(bits: np.ndarray, layout: Layout) -> np.ndarray:
    """NaN by its bits: a float comparison warns about signalling ones."""
    return (bits & layout.magnitude_mask) > layout.infinity


def encode(x: np.ndarray, plan: Plan, randomness: Randomness, nan: float | None, out: np.ndarray | None) -> np.ndarray:
    """`emulate.encode` on arrays."""
    noise = _noise(x, plan, randomness)
    codes = encode_bits(bits_of(x, plan.source), plan, noise, nan, out)
    return deliver(codes, out, codes.dtype)


def encode_bits(
    bits: np.ndarray, plan: Plan, noise: cpu.Noise | None, nan: float | None, out: np.ndarray | None
) -> np.ndarray:
    """Codes of numbers given by their bits, in `out` if they can go there directly."""
    fmt: Any = plan.fmt
    return run(bits, plan, noise, code_dtype(fmt.bits), out, nan_code_for(bits, plan, noise, nan))


def nan_code_for(bits: np.ndarray, plan: Plan, noise: cpu.Noise | None, nan: float | None) -> int:
    """The code of NaN among the codes of numbers given by their bits.

    Raises:
        ValueError: NaN in a format without a code for it, where `nan` names no other number.
    """
    fmt: Any = plan.fmt
    nan_code = nan_code_of(fmt, nan)
    if nan_code < 0:
        refuse_nan(_has_nan(*_values_if_special(bits, plan, noise)), fmt.name)
    return nan_code


def _has_nan(bits: np.ndarray, layout: Layout) -> bool:
    """Whether there is a NaN, by the largest magnitude: no array of booleans."""
    if not bits.size:
        return False
    if not bits.flags.c_contiguous:
        return bool(_is_nan(bits, layout).any())
    from .numba_bits import largest_magnitude

    mask, flat = bits.dtype.type(layout.magnitude_mask), bits.reshape(-1)
    tops = cpu.share(lambda lo, hi: int(largest_magnitude(flat[lo:hi], mask)), cpu.bounds(flat.size, 64))
    return max(tops) > layout.infinity


def nan_code_of(fmt: Format, nan: float | None) -> int:
    """What NaN is encoded as: the code of the number that stands for it, the format's own, or -1."""
    if nan is not None:
        return encode_number(fmt, nan)
    return -1 if fmt.nan_code is None else fmt.nan_code


def _values_if_special(bits: np.ndarray, plan: Plan, noise: cpu.Noise | None) -> tuple[np.ndarray, Layout]:
    """What decides whether there is a NaN to encode: the input, or the result where overflow makes NaN."""
    if not makes_nan(plan):
        return bits, plan.source
    return quantize_bits(bits, replace(plan, target=plan.layout), noise, None), plan.layout


def makes_nan(plan: Plan) -> bool:
    """Whether overflow may give NaN."""
    return plan.overflow in ("special", "wrap")


def encode_number(fmt: Format, value: float) -> int:
    """Code of the format's value nearest to a finite number."""
    if value != value:
        raise ValueError(f"nan= says which number stands for NaN in {fmt.name}, got NaN itself; pass nan=0.0")
    return encode_exact(fmt, quantize_exact(fmt, float(value), ROUNDINGS["nearest_even"], "saturate"))


def refuse_nan(found: bool, name: str) -> None:
    """Raise where NaN met a format without a code for it."""
    if found:
        raise ValueError(f"{name} has no code for NaN; pass nan=0.0 to encode NaN as zero, or use a format with NaN")


def code_dtype(bits: int) -> np.dtype:
    """The narrowest unsigned dtype that holds a code.

    Raises:
        ValueError: codes of 64 bits, which are the bits of float64.
    """
    if bits > 32:
        raise ValueError(f"codes of {bits} bits are the bits of float64 themselves; use x.view('uint64')")
    return np.dtype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)


def decode(codes: np.ndarray, fmt: Format, target: Layout, out: np.ndarray | None) -> np.ndarray:
    """`emulate.decode` on arrays."""
    bits = decode_checked(codes, fmt, target)
    return deliver(bits.view(FLOATS[target.name]), out, FLOATS[target.name])


def decode_checked(codes: np.ndarray, fmt: Format, target: Layout) -> np.ndarray:
    """Bits of the values of codes.

    Raises:
        ValueError: a code out of range.
    """
    check_codes(codes, fmt)
    if fmt.bits <= 16:
        return decoding_table(fmt, target)[codes]
    return _decode_grid(codes.reshape(-1), fmt, target).reshape(codes.shape)


def _decode_grid(codes: np.ndarray, fmt: Format, target: Layout) -> np.ndarray:
    xp = NumpyIntegers(target.work_width)
    return kernels.decode_grid(xp, target, grid_of(fmt, target), codes.astype(xp.dtype)).astype(BITS[target.width])


def check_codes(codes: np.ndarray, fmt: Format) -> None:
    """Raise for codes out of range."""
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >> fmt.bits):
        raise ValueError(f"expected codes of {fmt.bits} bits for {fmt.name}, got {codes.min()} to {codes.max()}")


def grid_of(fmt: Format, layout: Layout) -> Grid:
    """The grid of a format wider than a decoding table; codebooks never are."""
    table = tabulate(fmt, layout)
    if not isinstance(table, Grid):
        raise TypeError(f"{fmt.name}: expected a float or integer format")
    return table


@lru_cache(maxsize=256)
def decoding_table(fmt: Format, target: Layout) -> np.ndarray:
    """(2**bits,) bits of every code's value."""
    codes = np.arange(1 << fmt.bits, dtype=np.uint32)
    book = tabulate(fmt, target, "propagate")
    if isinstance(book, Grid):
        table = _decode_grid(codes, fmt, target)
    else:
        table = np.full(codes.shape, target.nan, BITS[target.width])
        coded = book.codes >= 0
        table[book.codes[coded]] = book.values[coded]
    table.flags.writeable = False  # shared by every call
    return table


def run(
    bits: np.ndarray,
    plan: Plan,
    noise: cpu.Noise | None,
    dtype: np.dtype,
    out: np.ndarray | None,
    nan_code: int | None = None,
) -> np.ndarray:
    """The kernel over bits of any strides.

    Args:
        bits: bits of the source dtype.
        dtype: of the result, bits of the compute dtype or codes.
        out: where the result goes if it can go there directly; the caller looks whether it did.
        nan_code: given for codes.
    """
    if plan.layout is not plan.source:
        bits = _convert(bits, plan.source, plan.layout)
    job = job_of(plan, nan_code)
    if bits.flags.c_contiguous and bits.size and (out is None or (out.flags.c_contiguous and _apart(out, bits))):
        target = np.empty(bits.shape, dtype) if out is None else out
        cpu.run(job, bits.reshape(-1), target.reshape(-1), noise)
        return target
    order = tuple(range(bits.ndim)) if noise else _memory_order(bits)  # random bits count in logical order
    source = bits.transpose(order)
    source = source if source.flags.c_contiguous else source.copy(order="C")
    target = _same_place(out, source, order)
    if target is None:
        target = np.empty(source.shape, dtype)
    if bits.size:
        cpu.run(job, source.reshape(-1), target.reshape(-1), noise)
    return target.transpose(np.argsort(order))


@lru_cache(maxsize=1024)
def job_of(plan: Plan, nan_code: int | None) -> cpu.Job:
    """The pass of a plan: to values where `nan_code` is None, else to codes."""
    rounding: Any = plan.rounding  # traced ones are for JAX
    return cpu.Job(plan.table, plan.layout, rounding, plan.overflow, nan_code is not None, nan_code or 0)


def _memory_order(a: np.ndarray) -> tuple[int, ...]:
    """The axes from the slowest to the fastest in memory."""
    return tuple(sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis])))


def _same_place(out: np.ndarray | None, source: np.ndarray, order: tuple[int, ...]) -> np.ndarray | None:
    """`out` in the order of `source` if the kernel can write there: dense, and apart from the input or right on it."""
    if out is None:
        return None
    target = out.transpose(order)
    return target if target.flags.c_contiguous and _apart(target, source) else None


def _apart(target: np.ndarray, source: np.ndarray) -> bool:
    """Whether a kernel that reads each element before it writes it can go from one to the other."""
    if not np.may_share_memory(target, source):
        return True
    return target.dtype.itemsize == source.dtype.itemsize and _address(target) == _address(source)


def _address(a: np.ndarray) -> int:
    return a.ctypes.data


def _convert(bits: np.ndarray, source: Layout, target: Layout) -> np.ndarray:
    """Bits of the same numbers in another dtype, by integer arithmetic: casts may flush subnormals."""
    xp = NumpyIntegers(max(source.work_width, target.work_width))
    flat = bits.reshape(-1).astype(xp.dtype)
    return numbers.convert(xp, source, target, flat).astype(BITS[target.width]).reshape(bits.shape)


def deliver(result: np.ndarray, out: np.ndarray | None, dtype: np.dtype) -> np.ndarray:
    """The result in `out`, or in the byte order asked for."""
    if out is None:
        return result if result.dtype == dtype else result.astype(dtype)
    if result.base is not out and (_address(out) != _address(result) or out.strides != result.strides):
        np.copyto(out, result)
    return out


def noise_for(randomness: Randomness, shape: tuple[int, ...]) -> cpu.Noise:
    """Key and row starts of an array of that shape."""
    key = (
        check_word("stream", int(randomness.stream)),
        check_word("step", int(randomness.step)),
        *seed_pair(randomness.seed),
    )
    return cpu.Noise(key, row_starts(randomness.offset, shape))


def seed_pair(seed: Any) -> tuple[int, int]:
    """Low and high word of a seed: an integer below 2**64, or two words."""
    words = np.asarray(seed)
    if words.ndim == 0:
        return seed_words(int(seed))
    if words.shape != (2,) or words.dtype.kind not in "iu":
        raise ValueError(f"expected a seed of one integer or two uint32 words, got {words.dtype}{words.shape}")
    return check_word("seed words", int(words[0])), check_word("seed words", int(words[1]))


def row_starts(offset: Any, shape: tuple[int, ...]) -> np.ndarray:
    """(r,) uint64 logical index of each row of an array of that shape, rows being its longest consecutive runs."""
    if not isinstance(offset, Shard):
        return np.array([int(offset)], np.uint64)
    offset.check(shape)
    strides, axis = offset.strides(), len(shape)
    while axis > 0 and prod(shape[axis:]) == prod(offset.global_shape[axis:]):
        axis -= 1  # every axis behind `axis` is whole, so one step along it continues the run
    starts = np.array([sum(s * d for s, d in zip(map(int, offset.start), strides))], np.uint64)
    for length, stride in zip(shape[:axis], strides[:axis]):
        starts = (starts[:, None] + np.arange(length, dtype=np.uint64) * np.uint64(stride)).reshape(-1)
    return starts


def code_dtype_name(fmt: Format) -> str:
    """Name of the codes' dtype."""
    return code_dtype(fmt.bits).name


def as_codes(codes: Any) -> np.ndarray:
    """Codes as an integer array.

    Raises:
        TypeError: anything but integers.
    """
    array = np.asarray(codes)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"expected integer codes, got {array.dtype}; encode makes them")
    return array if array.size else array.astype(np.uint8)


def check_out(out: Any, like: np.ndarray, dtype: str) -> None:
    """Raise unless `out` can take the result.

    Raises:
        TypeError: no NumPy array, or another dtype.
        ValueError: another shape, or read-only.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected a NumPy array, got {type(out).__name__}")
    if dtype_name(out) != dtype:
        raise TypeError(f"out: expected dtype {dtype}, got {out.dtype}; pass np.empty(x.shape, {dtype!r})")
    if out.shape != like.shape:
        raise ValueError(f"out: expected shape {like.shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out: the array is read-only; pass a writable one, or out=None")
