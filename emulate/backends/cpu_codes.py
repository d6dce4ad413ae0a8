"""Drives the fused kernel of scaled formats to codes: those of elements while their scales are at hand."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ..layouts import FLOAT32, Layout
from ..scaled_plan import ScaledPlan, untraced
from . import cpu
from .cpu_scaled import MOST, Fused, arguments, in_float32, largest, place_of, rounded_rows, widened, with_outer
from .numpy import code_dtype

_PIECE = 1 << 16
_NOT_RANDOM = (None, np.uint64(0))


def fused_codes(bits: np.ndarray, plan: ScaledPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Codes of blocks of consecutive elements where the fused kernel gives them exactly, else None.

    Args:
        bits: of float32, float16 or bfloat16 numbers, to be rounded deterministically.

    Returns:
        Codes in the shape of the array; bits of the scales, one a block, and of the outer one, (1,) or empty.
    """
    place = place_of(in_float32(plan), bits.shape) if plan.source.width <= 32 else None
    found = None if place is None else code_arguments(plan)
    if place is None or found is None or place.columns > 1 or not bits.flags.c_contiguous or cpu.flushes():
        return None
    x, tops = bits.reshape(-1), np.empty(0, np.int32)
    if found.nvidia or place.size > MOST:
        highest = largest(x, plan.source)
        found = with_outer(found, plan, highest) if found.nvidia else found
        tops = np.array([highest], np.int32) if place.size > MOST else tops
        if highest >= FLOAT32.infinity or found is None:
            return None
    codes, scales = np.empty(x.size, code_dtype(untraced(plan).element.bits)), np.empty(place.outer, np.float32)
    rows = rounded_rows if plan.source is FLOAT32 else partial(_widened_rows, plan.source)
    if rows(found, x, codes, place.size, tops, _NOT_RANDOM, scales):
        return None
    zero = 0 if plan.table.scale.zero else plan.table.smallest
    s = np.where(scales < 0, np.int32(zero), scales.view(np.int32))
    return codes.reshape(bits.shape), s, found.numbers[1:2].view(np.int32)[: found.nvidia]


@lru_cache(maxsize=1024)
def code_arguments(plan: ScaledPlan) -> Fused | None:
    """`arguments` for codes of elements on a grid; None for other elements and random ones."""
    found, element = arguments(plan), plan.table.element
    if found is None or found.book is not None or plan.draws:
        return None
    return replace(found, p=cpu.code_parameters(found.p, element, FLOAT32))


def _widened_rows(
    layout: Layout,
    found: Fused,
    x: np.ndarray,
    out: np.ndarray,
    size: int,
    tops: np.ndarray,
    random: tuple[Any, np.uint64],
    kept: np.ndarray,
) -> int:
    """`rounded_rows` to codes of 16-bit numbers, by pieces that are widened into scratch memory."""
    unit = 64 if tops.size else size
    step = max(_PIECE // unit, 1) * unit

    def pieces(lo: int, hi: int) -> int:
        missed, scratch = 0, np.empty(min(step, hi - lo), np.int32)
        for start in range(lo, hi, step):
            stop = min(start + step, hi)
            piece = widened(x[start:stop], layout, scratch[: stop - start])
            keep = kept if tops.size else kept[start // size : stop // size]
            missed += rounded_rows(found, piece, out[start:stop], size, tops, random, keep)
        return missed

    return sum(cpu.share(pieces, cpu.bounds(x.size, unit)))
