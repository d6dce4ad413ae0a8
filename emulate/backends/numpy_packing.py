"""Dense streams of bits in NumPy."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ...formats.registry import Format
from ..layouts import Layout
from ..plan import Plan
from . import cpu
from . import numpy as numpy_backend
from .numpy import FLOATS, code_dtype, decoding_table


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """(ceil(n * bits / 8),) uint8 of codes of any shape.

    Raises:
        TypeError: anything but integers.
        ValueError: a code that needs more bits.
    """
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu":
        raise TypeError(f"expected integer codes, got {codes.dtype}; encode makes them")
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >> bits):
        raise ValueError(f"expected codes of {bits} bits, got {codes.min()} to {codes.max()}")
    flat = np.ascontiguousarray(codes).reshape(-1).astype(code_dtype(bits), copy=False)
    if bits in (8, 16, 32):
        return flat.astype(f"<u{bits // 8}").view(np.uint8)
    stream = np.empty(-(-flat.size * bits // 8), np.uint8)
    _by_parts(flat, stream, bits, _pack_part)
    return stream


def stream_of(x: np.ndarray, plan: Plan, nan: float | None) -> np.ndarray | None:
    """The stream of the codes of x without an array of codes; None where the two steps are as good.

    Raises:
        ValueError: as `encode`.
    """
    return stream_of_bits(numpy_backend.bits_of(x, plan.source), plan, nan)


def stream_of_bits(bits: np.ndarray, plan: Plan, nan: float | None) -> np.ndarray | None:
    """As `stream_of`, of numbers given by their bits."""
    fmt: Any = plan.fmt
    if not bits.flags.c_contiguous or not bits.size or plan.layout is not plan.source:
        return None
    nan_code = numpy_backend.nan_code_for(bits, plan, None, nan)
    return cpu.packed(numpy_backend.job_of(plan, nan_code), bits.reshape(-1), fmt.bits)


def _by_parts(codes: np.ndarray, stream: np.ndarray, bits: int, work: Callable) -> None:
    """work(codes, bytes, bits) of the parts that threads share."""

    def part(lo: int, hi: int) -> None:
        work(codes[lo:hi], stream[lo // 8 * bits : -(-hi * bits // 8)], bits)

    cpu.share(part, cpu.bounds(codes.size, 64))


def _pack_part(codes: np.ndarray, stream: np.ndarray, bits: int) -> None:
    from .numba import pack as compiled

    whole = codes.size // 8 * 8
    compiled(codes[:whole], stream[: whole // 8 * bits], bits)
    if whole < codes.size:
        rest = np.zeros(8, codes.dtype)
        rest[: codes.size - whole] = codes[whole:]
        compiled(rest, stream[whole // 8 * bits :], bits)


def _unpack_part(codes: np.ndarray, stream: np.ndarray, bits: int) -> None:
    from .numba_bits import unpack as compiled

    compiled(stream, codes, bits)


def unpack(stream: np.ndarray, bits: int, count: int) -> np.ndarray:
    """(count,) codes.

    Raises:
        ValueError: last bits that are not zero.
    """
    dtype = code_dtype(bits)
    if bits in (8, 16, 32):
        return np.ascontiguousarray(stream).view(f"<u{bits // 8}").astype(dtype)
    _refuse_rest(stream, bits, count)
    codes = np.empty(count, dtype)
    _by_parts(codes, np.ascontiguousarray(stream), bits, _unpack_part)
    return codes


def values_of(stream: np.ndarray, fmt: Format, target: Layout, count: int) -> np.ndarray:
    """(count,) values of the codes of a dense stream, without an array of codes.

    Args:
        fmt: of at most 8 bits.

    Raises:
        ValueError: last bits that are not zero.
    """
    from .numba_bits import unpack_values

    _refuse_rest(stream, fmt.bits, count)
    values, table = np.empty(count, FLOATS[target.name]), decoding_table(fmt, target)

    def part(values: np.ndarray, stream: np.ndarray, bits: int) -> None:
        unpack_values(stream, values.view(table.dtype), table, bits)

    _by_parts(values, np.ascontiguousarray(stream), fmt.bits, part)
    return values


def _refuse_rest(stream: np.ndarray, bits: int, count: int) -> None:
    if count * bits % 8 and int(stream[-1]) >> (count * bits % 8):
        raise ValueError("the last bits of the stream are not zero; it holds more codes, or is damaged")


def as_dtype(codes: np.ndarray, fmt: Format, dtypes: dict[str, str]) -> np.ndarray:
    """Codes as an array of ml_dtypes.

    Raises:
        ValueError: a format without a dtype.
    """
    if fmt.name not in dtypes:
        raise ValueError(f"there is no dtype for {fmt.name}; there is for {', '.join(dtypes)}")
    dtype = np.dtype(getattr(ml_dtypes, dtypes[fmt.name], dtypes[fmt.name]))
    return np.ascontiguousarray(codes).view(dtype)


def on_host(a: np.ndarray) -> np.ndarray:
    """A contiguous NumPy array of the same numbers."""
    return np.asarray(a, order="C")


def from_host(a: np.ndarray) -> np.ndarray:
    """Back again."""
    return a
