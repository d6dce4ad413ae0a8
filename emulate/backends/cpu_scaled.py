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

from ...formats.rounding import ROUNDINGS, STOCHASTIC, Rounding
from ...formats.scaled import ScaledFormat
from ..layouts import BFLOAT16, FLOAT32, Layout
from ..scaled_plan import ScaledPlan
from ..scaled_run import work_of
from ..scaled_tables import ScaledTable
from ..scales import power_scales
from ..tables import Grid, mode_of
from . import cpu
from .integers import NumpyIntegers
from .places import Place, place_in

_MODES = ("nearest_even", "nearest_away", "nearest_zero", "toward_zero")
MOST = 1 << 22
"""Elements of a block, at most, that one thread handles."""
_POWERS = 512
NOTHING = np.empty(0, np.float32)
"""Where scales are not kept."""


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

    @property
    def arguments(self) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
        """In the order of the kernels."""
        return self.p, self.plain, self.book, self.sp, self.how, self.numbers, self.powers


def fused(
    bits: np.ndarray, plan: ScaledPlan, noise: cpu.Noise | None, out: np.ndarray | None, amax: int = -1
) -> np.ndarray | None:
    """Bits of the values where the fused kernel gives them exactly, else None.

    Args:
        bits: of float32 numbers, any strides.
        noise: where elements lie in the random stream; None for deterministic modes.
        out: where they go if they can go there directly; the caller looks whether they did.
        amax: bits of the largest magnitude to go by in place of that of the data, or -1.
    """
    place = place_of(plan, bits.shape)
    found = None if place is None else arguments(plan)
    if place is None or found is None or not bits.flags.c_contiguous or cpu.flushes() or amax == 0:
        return None
    if noise is not None and noise.row_starts.size != 1:  # a slice of a larger array
        return None
    x = bits.reshape(-1)
    tops = np.empty(0, np.int32)
    if found.nvidia or place.size > MOST or amax >= 0:
        highest = largest(x, FLOAT32)
        if highest >= FLOAT32.infinity:
            return None
        highest = highest if amax < 0 else amax
        if found.nvidia:
            found = with_outer(found, plan, highest)
            if found is None:
                return None
        if place.size > MOST or (amax >= 0 and not found.nvidia):
            tops = np.array([highest], np.int32)
    direct = out is not None and out.flags.c_contiguous and not np.may_share_memory(out, x)  # x must survive a miss
    target = out.reshape(-1) if direct and out is not None else np.empty_like(x)
    random = random_start(noise)
    if place.columns > 1:
        missed = _columns(found, x, target, place, random)
    else:
        missed = rounded_rows(found, x, target, place.size, tops, random, NOTHING)
    return target.reshape(bits.shape) if missed == 0 else None


@lru_cache(maxsize=1024)
def in_float32(plan: ScaledPlan) -> ScaledPlan:
    """The plan from float32 to float32."""
    return replace(plan, source=FLOAT32, target=FLOAT32)


@lru_cache(maxsize=1024)
def from_float32(plan: ScaledPlan) -> ScaledPlan:
    """The plan from float32."""
    return replace(plan, source=FLOAT32)


@lru_cache(maxsize=1024)
def place_of(plan: ScaledPlan, shape: tuple[int, ...]) -> Place | None:
    """Where the blocks of a float32 array lie; None for other dtypes and for blocks that lie otherwise."""
    if not (plan.source is plan.layout is plan.target is FLOAT32):
        return None
    found = place_in(work_of(plan, shape).view, prod(shape))
    reachable = found is None or found.columns > 1 or found.rows <= MOST or found.outer == 1
    return found if reachable else None


@lru_cache(maxsize=1024)
def arguments(plan: ScaledPlan) -> Fused | None:
    """What the fused kernel needs to know of a plan; None where it does not know such a format or rounding."""
    if plan.scale_rounding is not None or plan.overflow != "saturate":
        return None
    if plan.rounding.name not in _MODES and plan.rounding != STOCHASTIC:
        return None
    if not isinstance(plan.fmt, ScaledFormat):
        return None
    if plan.rounding.stochastic and not isinstance(plan.table.element, Grid):
        return None
    return arguments_of(plan.fmt, plan.rounding)


@lru_cache(maxsize=256)
def arguments_of(fmt: Any, rounding: Rounding) -> Fused | None:
    """What the fused kernels read of a format and the rounding of its elements; None where they know no such thing."""
    from ..scaled_tables import structure_of, tabulate_scaled

    structure, table = structure_of(fmt), tabulate_scaled(fmt, FLOAT32)
    nvidia = structure.order == "nvidia"
    supported = structure.statistic == "absmax" and structure.searches == 1 and not structure.zero_point
    supported &= not structure.epsilon and not structure.micro and (nvidia or (structure.outer is None))
    supported &= structure.order in ("plain", "nvidia")
    mode, book = mode_of(rounding, 32), None
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
    if structure.shifts and book is None and p[9] == 0:  # a quantum below the normal numbers has no bits to move
        return None
    return Fused(
        p,
        p.dtype.type(0) if rounding == cpu.NEAREST_EVEN and book is None and cpu.same_on_both_sides(p) else None,
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
    shifts = linear and structure.shifts
    values = [linear, add, threshold, emax, divides, low, high, multiplies, nvidia, shifts]
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


def with_outer(found: Fused, plan: ScaledPlan, highest: int) -> Fused | None:
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
    return replace(found, numbers=numbers)


def largest(x: np.ndarray, layout: Layout) -> int:
    """float32 bits of the largest magnitude of numbers given by their bits."""
    from .numba_bits import largest_magnitude

    mask = x.dtype.type(layout.magnitude_mask)
    top = max(cpu.share(lambda lo, hi: int(largest_magnitude(x[lo:hi], mask)), cpu.bounds(x.size, 64)))
    return top if layout is FLOAT32 else int(widened(np.array([top], x.dtype), layout)[0])


def widened(bits: np.ndarray, layout: Layout, out: np.ndarray | None = None) -> np.ndarray:
    """float32 bits of float16 or bfloat16 numbers given by theirs."""
    out = np.empty(bits.shape, np.int32) if out is None else out
    if layout is BFLOAT16:  # the upper half of float32
        np.left_shift(bits.view(np.uint16), 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        with np.errstate(invalid="ignore"):  # signalling NaN
            out.view(np.float32)[:] = bits.view(np.float16)
    return out


def random_start(noise: cpu.Noise | None) -> tuple[Any, np.uint64]:
    """The key and the first logical index, as the kernels take them."""
    if noise is None:
        return None, np.uint64(0)
    return np.array(noise.key, np.uint64), np.uint64(noise.row_starts[0])


def rounded_rows(
    found: Fused,
    x: np.ndarray,
    out: np.ndarray,
    size: int,
    tops: np.ndarray,
    random: tuple[Any, np.uint64],
    kept: np.ndarray,
) -> int:
    """Round blocks of consecutive elements, to codes where scales are kept; how many blocks were out of reach."""
    from .numba_scaled import scaled_rows

    coded = True if kept.size else None

    def rows(lo: int, hi: int) -> int:
        shape = (1, hi - lo) if tops.size else ((hi - lo) // size, size)
        keep = kept if tops.size else kept[lo // size : hi // size]
        part, target, first = x[lo:hi].reshape(shape), out[lo:hi].reshape(shape), random[1] + np.uint64(lo)
        return scaled_rows(part, target, tops, *found.arguments, random[0], first, keep, coded)

    return sum(cpu.share(rows, cpu.bounds(x.size, 64 if tops.size else size)))


def _columns(found: Fused, x: np.ndarray, out: np.ndarray, place: Place, random: tuple[Any, np.uint64]) -> int:
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

    def part(ends: tuple[int, int, int, int]) -> int:
        return scaled_columns(cube, target, np.array(ends, np.int64), place.run, *found.arguments, *random)

    return sum(cpu.in_threads(part, parts))
