"""Dense streams of bits in NumPy, in chunks that bound the temporaries."""

import ml_dtypes
import numpy as np

from ...formats.registry import Format
from ..packing import group_of, overlaps
from .numpy import code_dtype

_CHUNK = 1 << 14  # groups


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
    flat = np.ascontiguousarray(codes).reshape(-1)
    if bits in (8, 16, 32):
        return flat.astype(f"<u{bits // 8}").view(np.uint8)
    per_group, width = group_of(bits)
    groups = -(-flat.size // per_group)
    stream = np.empty((groups, width), np.uint8)
    padded = np.zeros(groups * per_group, np.uint16)
    padded[: flat.size] = flat
    for start in range(0, groups, _CHUNK):
        part = padded[start * per_group : (start + _CHUNK) * per_group].reshape(-1, per_group).astype(np.uint32)
        found = np.zeros((len(part), width), np.uint32)
        for k, j, shift in overlaps(bits):
            found[:, j] |= part[:, k] << np.uint32(shift) if shift >= 0 else part[:, k] >> np.uint32(-shift)
        stream[start : start + _CHUNK] = found & np.uint32(0xFF)
    return stream.reshape(-1)[: -(-flat.size * bits // 8)]


def unpack(stream: np.ndarray, bits: int, count: int) -> np.ndarray:
    """(count,) codes.

    Raises:
        ValueError: last bits that are not zero.
    """
    dtype = code_dtype(bits)
    if bits in (8, 16, 32):
        return np.ascontiguousarray(stream).view(f"<u{bits // 8}").astype(dtype)
    per_group, width = group_of(bits)
    groups = -(-count // per_group)
    codes = np.empty((groups, per_group), dtype)
    padded = np.zeros(groups * width, np.uint8)
    padded[: stream.size] = stream
    mask = np.uint32((1 << bits) - 1)
    for start in range(0, groups, _CHUNK):
        part = padded[start * width : (start + _CHUNK) * width].reshape(-1, width).astype(np.uint32)
        found = np.zeros((len(part), per_group), np.uint32)
        for k, j, shift in overlaps(bits):
            found[:, k] |= part[:, j] >> np.uint32(shift) if shift >= 0 else part[:, j] << np.uint32(-shift)
        codes[start : start + _CHUNK] = found & mask
    flat = codes.reshape(-1)
    if flat[count:].any() or (count * bits % 8 and int(stream[-1]) >> (count * bits % 8)):
        raise ValueError("the last bits of the stream are not zero; it holds more codes, or is damaged")
    return flat[:count]


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
