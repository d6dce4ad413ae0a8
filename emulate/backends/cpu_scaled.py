"""Drives flat CPU buffers through the fused kernel of scaled formats, where that is exact.

The fused kernel multiplies and divides floats; each result is the same single IEEE operation as in the portable
kernels. Where they differ, past the ends of the exponent range or where subnormals are flushed, or where the
fused kernel knows no such structure, `fused` says so and the portable kernels run.
"""

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...formats.rounding import ROUNDINGS, STOCHASTIC
from ...formats.scaled import ScaledFormat
from ..layouts import FLOAT32
from ..scaled_plan import ScaledPlan
from ..scaled_tables import ScaledTable
from ..scales import Work, power_scales
from ..tables import Grid, mode_of
from . import cpu
from .integers import NumpyIntegers
from .numpy import FLOATS

_MODES = ("nearest_even", "nearest_away", "nearest_zero", "toward_zero")
_MOST = 1 << 22
"""Elements of a block, at most, that one thread handles."""
_POWERS = 512


@dataclass(frozen=True, slots=True)
class Fused:
    """The arguments of the fused kernel besides buffers; see `numba_scaled.scaled_rows`."""

    p: np.ndarray
    plain: Any
    book: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    sp: np.ndarray
    how: np.ndarray
    numbers: np.ndarray
    powers: np.ndarray
    nvidia: bool


def fused(
    bits: np.ndarray, plan: ScaledPlan, work: Work, noise: cpu.Noise | None, out: np.ndarray | None
) -> np.ndarray | None:
    """Bits of the values where the fused kernel gives them exactly, else None.

    Args:
        bits: of float32 numbers, any strides; of 16-bit ones where scales are powers of two, so that the values are
            exact in float32 and rounded once on their way back.
        noise: where elements lie in the random stream; None for deterministic modes.
        out: where they go if they can go there directly; the caller looks whether they did.
    """
    if plan.source.width == 16 and plan.structure.shifts and plan.target in (plan.source, FLOAT32):
        return _narrow(bits, plan, work, noise)
    place = _place(bits, plan, work)
    found = None if place is None else _arguments(plan)
    if place is None or found is None or not bits.flags.c_contiguous or _flushes():
        return None
    if noise is not None and noise.row_starts.size != 1:  # a slice of a larger array
        return None
    x = bits.reshape(-1)
    tops = np.empty(0, np.int32)
    if found.nvidia or place.size > _MOST:
        highest = _largest(x)
        if highest >= FLOAT32.infinity:
            return None
        if found.nvidia:
            found = _with_outer(found, plan, highest)
            if found is None:
                return None
        if place.size > _MOST:
            tops = np.array([highest], np.int32)
    direct = out is not None and out.flags.c_contiguous and not np.may_share_memory(out, x)  # x must survive a miss
    target = out.reshape(-1) if direct and out is not None else np.empty_like(x)
    random = _random(noise)
    if place.columns > 1:
        missed = _columns(found, x, target, place, random)
    else:
        missed = _rows(found, x, target, place.size, tops, random)
    return target.reshape(bits.shape) if missed == 0 else None


def _narrow(bits: np.ndarray, plan: ScaledPlan, work: Work, noise: cpu.Noise | None) -> np.ndarray | None:
    """`fused` of float16 and bfloat16 by way of float32; results beyond the dtype become its largest number."""
    dtype = FLOATS[plan.source.name]
    with np.errstate(invalid="ignore"):  # signalling NaN
        wide = np.ascontiguousarray(bits).view(dtype).astype(np.float32)
    found = fused(wide.view(np.int32), replace(plan, source=FLOAT32, target=FLOAT32), work, noise, None)
    if found is None or plan.target is FLOAT32:
        return found
    largest = np.float32(plan.target.max)
    return np.clip(found.view(np.float32), -largest, largest).astype(dtype).view(bits.dtype)


@dataclass(frozen=True, slots=True)
class _Place:
    """How blocks lie in memory: an array (outer, rows, columns), each block `rows` rows of `run` neighbours.

    With one column a block is `rows` consecutive elements.
    """

    outer: int
    rows: int
    columns: int
    run: int

    @property
    def size(self) -> int:
        """Elements of a block."""
        return self.rows * self.run


def _place(bits: np.ndarray, plan: ScaledPlan, work: Work) -> _Place | None:
    """Where the blocks of a float32 array lie; None for other dtypes and for blocks that lie otherwise."""
    view = work.view
    if not (plan.source is plan.layout is plan.target is FLOAT32) or any(view.padding) or not view.extents:
        return None
    lengths, extents = view.lengths, view.extents
    wide = [axis for axis, extent in enumerate(extents) if extent > 1] or [len(lengths) - 1]
    first = wide[0]
    if all(extents[axis] == lengths[axis] for axis in range(first + 1, len(lengths))):
        found = _Place(bits.size // view.block_size, view.block_size, 1, 1)
        return found if found.rows <= _MOST or found.outer == 1 else None
    if any(axis not in (first, len(lengths) - 1) for axis in wide):
        return None
    run = extents[-1] if first < len(lengths) - 1 else 1
    columns = prod(lengths[first + 1 :])
    return _Place(bits.size // (extents[first] * columns), extents[first], columns, run)


def _flushes() -> bool:
    """Whether this thread's processor flushes subnormals, as `torch.set_flush_denormal` makes it do."""
    return bool(np.array([2.0**-126], np.float32) * np.float32(0.5) == 0)


def _arguments(plan: ScaledPlan) -> Fused | None:
    if plan.scale_rounding is not None or plan.overflow != "saturate":
        return None
    if plan.rounding.name not in _MODES and plan.rounding != STOCHASTIC:
        return None
    if not isinstance(plan.fmt, ScaledFormat):
        return None
    if plan.rounding.stochastic and not isinstance(plan.table.element, Grid):
        return None
    return _cached(plan.fmt, plan.rounding.name)


@lru_cache(maxsize=256)
def _cached(fmt: Any, rounding: str) -> Fused | None:
    from ..scaled_tables import structure_of, tabulate_scaled

    structure, table = structure_of(fmt), tabulate_scaled(fmt, FLOAT32)
    nvidia = structure.order == "nvidia"
    supported = structure.statistic == "absmax" and structure.searches == 1 and not structure.zero_point
    supported &= not structure.epsilon and not structure.micro and (nvidia or (structure.outer is None))
    supported &= structure.order in ("plain", "nvidia")
    mode, book = mode_of(ROUNDINGS[rounding], 32), None
    if not supported:
        return None
    if isinstance(table.element, Grid):
        p = cpu.parameters(table.element, FLOAT32, mode, "saturate", -1)
    else:
        p = np.array([FLOAT32.mantissa_bits, FLOAT32.magnitude_mask, FLOAT32.infinity, FLOAT32.nan], np.int32)
        book = (*cpu.codebook_parameters(table.element, FLOAT32, mode), table.element.values)
    scale_mode = ROUNDINGS["up" if structure.inverse else "nearest_even"]
    sp = cpu.parameters(table.scale, FLOAT32, mode_of(scale_mode, 32), "saturate", -1)
    one_bit = table.scale.mantissa_bits == 0 and not table.scale.twos_complement
    linear = structure.exponents or (structure.inverse and one_bit)
    if p is None or (sp is None and not linear) or (linear and book is not None):
        return None
    return Fused(
        p,
        p.dtype.type(0) if rounding == "nearest_even" and book is None and cpu.same_on_both_sides(p) else None,
        book,
        p if sp is None else sp,
        _how(table, structure, linear, nvidia),
        _numbers(table, structure),
        _powers(table),
        nvidia,
    )


def _how(table: ScaledTable, structure: Any, linear: bool, nvidia: bool) -> np.ndarray:
    low, high = _safe_range(table, structure, linear)
    add, threshold, emax = (table.fit.add, table.fit.threshold, table.fit.emax) if structure.exponents else (0, 0, 0)
    divides = structure.encode == "divide" and not structure.shifts
    multiplies = nvidia or structure.inverse
    values = [linear, add, threshold, emax, divides, low, high, multiplies, nvidia]
    return np.array([int(value) for value in values], np.int32)


def _safe_range(table: ScaledTable, structure: Any, linear: bool) -> tuple[int, int]:
    """Largest magnitudes of blocks between which no result leaves the normal range."""
    m, bias = FLOAT32.mantissa_bits, FLOAT32.bias
    grid: Any = table.element
    reach = (int(grid.max_positive) >> m) - int(grid.quantum_field) + 2 if linear else 0  # binades of the element
    lowest = max(bias - 126 + reach + 2, 1) if linear else 32
    return lowest << m, (bias + 118) << m


def _numbers(table: ScaledTable, structure: Any) -> np.ndarray:
    goal = 0 if structure.exponents else table.inverse_goal if structure.inverse else table.goal
    one = FLOAT32.bias << FLOAT32.mantissa_bits
    bits = [goal, one, table.smallest, FLOAT32.infinity - 1, FLOAT32.nan]
    return np.array([int(b) for b in bits], np.int32).view(np.float32)


def _powers(table: ScaledTable) -> np.ndarray:
    """The scale that each power of two becomes, host exponent field zero in the middle."""
    fields = np.arange(_POWERS, dtype=np.int32) - _POWERS // 2
    return power_scales(NumpyIntegers(32), FLOAT32, table, fields).astype(np.int32).view(np.float32)


def _with_outer(found: Fused, plan: ScaledPlan, highest: int) -> Fused | None:
    """The arguments with the factor and the outer scale of the tensor, of NVIDIA's order; None near the ends."""
    field = highest >> FLOAT32.mantissa_bits
    if highest == 0 or not 40 <= field <= 220:
        return None
    table, f = plan.table, np.float32
    if table.outer is None or table.outer.mantissa_bits != FLOAT32.mantissa_bits:
        return None
    numerator, inverse, top = np.array([table.numerator, table.inverse_goal, highest], np.int32).view(f)
    s_enc = numerator / top
    numbers = found.numbers.copy()
    numbers[0], numbers[1] = s_enc * inverse, f(1) / s_enc
    return Fused(found.p, found.plain, found.book, found.sp, found.how, numbers, found.powers, True)


def _largest(x: np.ndarray) -> int:
    from .numba_scaled import largest_magnitude

    mask = np.int32(FLOAT32.magnitude_mask)
    return max(cpu.in_threads(lambda part: int(largest_magnitude(part, mask)), cpu.bounds(x.size, 64), x))


def _random(noise: cpu.Noise | None) -> tuple[Any, np.uint64]:
    """The key and the first logical index, as the kernels take them."""
    if noise is None:
        return None, np.uint64(0)
    return np.array(noise.key, np.uint64), np.uint64(noise.row_starts[0])


def _rest(found: Fused) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
    return found.p, found.plain, found.book, found.sp, found.how, found.numbers, found.powers


def _rows(
    found: Fused, x: np.ndarray, out: np.ndarray, size: int, tops: np.ndarray, random: tuple[Any, np.uint64]
) -> int:
    """How many blocks of consecutive elements were out of reach."""
    from .numba_scaled import scaled_rows

    at = cpu.bounds(x.size, 64 if tops.size else size)

    def rows(share: np.ndarray) -> int:
        lo, hi = at[int(share[0])], at[int(share[0]) + 1]
        if lo == hi:
            return 0
        shape = (1, hi - lo) if tops.size else ((hi - lo) // size, size)
        first = random[1] + np.uint64(lo)
        return scaled_rows(x[lo:hi].reshape(shape), out[lo:hi].reshape(shape), tops, *_rest(found), random[0], first)

    return sum(cpu.in_threads(rows, list(range(len(at))), np.arange(len(at) - 1)))


def _columns(found: Fused, x: np.ndarray, out: np.ndarray, place: _Place, random: tuple[Any, np.uint64]) -> int:
    """How many blocks across rows were out of reach; threads share the outer index, or the columns of a single one."""
    from .numba_scaled import scaled_columns

    shape = (place.outer, place.rows, place.columns)
    cube, target = x.reshape(shape), out.reshape(shape)
    many = len(cpu.bounds(x.size, 1)) - 1
    parts = [(k * place.outer // many, (k + 1) * place.outer // many, 0, place.columns) for k in range(many)]
    if place.outer < many:
        groups = place.columns // place.run
        edges = [k * groups // many * place.run for k in range(many + 1)]
        parts = [(0, place.outer, lo, hi) for lo, hi in itertools.pairwise(edges)]

    def part(index: np.ndarray) -> int:
        lo_outer, hi_outer, lo, hi = parts[int(index[0])]
        if lo_outer == hi_outer or lo == hi:
            return 0
        at = np.array([lo_outer, hi_outer, lo, hi], np.int64)
        return scaled_columns(cube, target, at, place.run, *_rest(found), *random)

    return sum(cpu.in_threads(part, list(range(many + 1)), np.arange(many)))
