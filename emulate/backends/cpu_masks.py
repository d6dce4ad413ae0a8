"""Clip masks of CPU buffers: one bit an element, the first in the lowest bit of its byte.

A deterministic rounding is monotone, so that the elements in range are those up to a largest magnitude of each
sign. What random words decide is rounded again, piece by piece.
"""

from functools import lru_cache

import numpy as np

from ..layouts import Layout
from ..plan import Plan
from ..tables import Codebook
from . import cpu
from . import numpy as plain

_PIECE = 1 << 16


def packed(bits: np.ndarray, plan: Plan, noise: cpu.Noise | None) -> np.ndarray:
    """(ceil(n / 8),) uint8: where |x| rounds to at most the largest value, in row-major order.

    Args:
        bits: (...) bits of the source dtype.
        noise: where the elements lie in the random stream; None for deterministic modes.
    """
    flat = np.ascontiguousarray(bits).reshape(-1)
    if noise is None or isinstance(plan.table, Codebook):  # whose ends clip whatever is drawn
        ends = limits(plan)
        if ends is None:
            return np.packbits(plain.in_range(flat, plan, None), bitorder="little")
        return _in_threads(flat, lambda part, out, lo: _within(part, out, plan.source, *ends))
    if noise.row_starts.size > 1:
        return np.packbits(plain.in_range(bits, plan, noise).reshape(-1), bitorder="little")
    return _in_threads(flat, lambda part, out, lo: _rounded(part, out, plan, noise, lo))


def unpacked(mask: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool of a packed mask."""
    return np.unpackbits(mask, count=count, bitorder="little").view(bool)


def _in_threads(flat: np.ndarray, work) -> np.ndarray:
    """A packed mask filled by work(part of the buffer, its bytes, where the part begins)."""
    out = np.empty(-(-flat.size // 8), np.uint8)
    cpu.share(lambda lo, hi: work(flat[lo:hi], out[lo // 8 : -(-hi // 8)], lo), cpu.bounds(flat.size, 64))
    return out


def _within(part: np.ndarray, out: np.ndarray, layout: Layout, positive: int, negative: int) -> None:
    from .numba_bits import within

    i = part.dtype.type
    within(part, out, i(layout.magnitude_mask), i(positive), i(negative))


def _rounded(part: np.ndarray, out: np.ndarray, plan: Plan, noise: cpu.Noise, start: int) -> None:
    """The mask of a part by rounding it: what leaves the range becomes NaN."""
    marked = plain.marked(plan)
    for lo in range(0, part.size, _PIECE):
        piece = part[lo : lo + _PIECE]
        here = cpu.Noise(noise.key, noise.row_starts + np.uint64(start + lo))
        found = plain.quantize_bits(piece, marked, here, None)
        finite = marked.target.infinity
        _within(found, out[lo // 8 : -(-(lo + piece.size) // 8)], marked.target, finite, finite)


@lru_cache(maxsize=1024)
def limits(plan: Plan) -> tuple[int, int] | None:
    """The largest magnitude bits that a deterministic plan keeps in range, of either sign.

    None where zero itself is out of range: lists of values of one sign.
    """
    i = plain.BITS[plan.source.width].type
    signs = np.array([0, -1 << (plan.source.width - 1)], np.int64).astype(i)
    if not plain.in_range(signs, plan, None).all():
        return None
    low, high = np.full(2, -1, np.int64), np.full(2, plan.source.infinity + 1, np.int64)
    while (high - low > 1).any():
        middle = np.maximum(low + (high - low) // 2, 0)  # without overflow
        passes = plain.in_range(middle.astype(i) | signs, plan, None)
        low, high = np.where(passes, middle, low), np.where(passes, high, middle)
    return int(low[0]), int(low[1])
