"""Transform, or widen, and quantize CPU buffers piece by piece: a piece goes into scratch memory that stays in the
cache, and is rounded from there to where it belongs, by the compiled kernels of either.

What those do not cover is refused, and the whole transform goes through memory instead. Scales of a whole tensor take
a first pass that transforms for the largest magnitude alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

import numpy as np

from ..layouts import FLOAT32, Layout
from ..plan import Plan
from ..scaled_plan import ScaledPlan
from ..transform_kernels import TransformPlan
from . import cpu, cpu_scaled
from .cpu_transforms import PIECE, Compiled, Part
from .numpy import BITS, FLOATS, job_of
from .places import Place

SMALL_PIECE = 1 << 14
"""Elements of a piece where no Python runs between pieces."""
_MOST = 1 << 20
"""Elements of a piece, at most: what a thread may take of memory."""


@dataclass(frozen=True, slots=True)
class Rounder:
    """How pieces are rounded.

    Args:
        call: (bits of a piece, where its values go, logical index of its first element) to how many blocks were out
            of the kernel's reach.
        unit: elements that belong together.
        limit: largest magnitude of a value, where larger ones become it.
    """

    call: Callable[[np.ndarray, np.ndarray, int], int]
    unit: int
    limit: float | None = None


def quantize(
    x: np.ndarray,
    out: np.ndarray,
    transform: TransformPlan,
    negative: np.ndarray | None,
    plan: Plan | ScaledPlan,
    noise: cpu.Noise | None,
) -> bool:
    """Write the rounded transform of x to out, if the compiled kernels can; otherwise out holds anything.

    Args:
        x: row-major array of the transform's source dtype.
        out: row-major, of the plan's target dtype in the shape of x; x itself only for unscaled formats.
        negative: (size,) which signs are negative, or None.
        plan: of the rounding, whose source is the compute dtype of the transform.
        noise: where elements lie in the random stream; None for deterministic modes.
    """
    if not x.size or cpu.flushes() or (noise is not None and noise.row_starts.size != 1):
        return False
    compiled, cube = Compiled(transform, negative), x.reshape(transform.cube(x.shape))
    block = cube.shape[1] * cube.shape[2]

    def load(piece: np.ndarray, start: int) -> None:
        first, last = start // block, (start + piece.size) // block
        part = Part(first, last, 0, cube.shape[2])
        compiled.load(cube, piece.reshape(last - first, *cube.shape[1:]), part)

    run = _Run(cube, x.shape, out, transform.layout, load, compiled)
    if not run.fits(1):
        return False
    if isinstance(plan, ScaledPlan):
        return run.scaled(plan, noise)
    rounder = _unscaled(plan, transform, noise)
    return rounder is not None and run.rounded(rounder)


def quantize_widened(x: np.ndarray, out: np.ndarray, plan: ScaledPlan, noise: cpu.Noise | None) -> bool:
    """Write float16 or bfloat16 numbers, rounded in float32, to out, if the compiled kernels can.

    Args:
        x, out: row-major, of the plan's source and target dtypes; out may hold anything where this returns False.
        plan: of a format whose scales are powers of two, so that values are exact in float32 and rounded once.
        noise: where elements lie in the random stream; None for deterministic modes.
    """
    if not x.size or cpu.flushes() or (noise is not None and noise.row_starts.size != 1):
        return False
    bits = x.reshape(-1).view(BITS[16])

    def load(piece: np.ndarray, start: int) -> None:
        cpu_scaled.widened(bits[start : start + piece.size], plan.source, piece.view(BITS[32]))

    run = _Run(x.reshape(x.size, 1, 1), x.shape, out, FLOAT32, load, None)
    return run.scaled(cpu_scaled.from_float32(plan), noise)


class _Run:
    """One array on its way, by pieces.

    Args:
        cube: the array as (blocks of the transform, their size, neighbours).
        shape: of the array.
        out: where the values go.
        layout: dtype of pieces.
        load: (floats of a piece, index of its first element) fills a piece.
        transform: what loads it, if that is a compiled transform.
    """

    def __init__(
        self,
        cube: np.ndarray,
        shape: tuple[int, ...],
        out: np.ndarray,
        layout: Layout,
        load: Callable[[np.ndarray, int], None],
        transform: Compiled | None,
    ) -> None:
        self.cube, self.shape, self.out = cube, shape, out.reshape(-1)
        self.layout, self.load, self.transform = layout, load, transform
        self.block = cube.shape[1] * cube.shape[2]

    def fits(self, unit: int) -> bool:
        """Whether a piece can hold units of either kernel."""
        return lcm(unit, self.block) <= _MOST and self.cube.size % lcm(unit, self.block) == 0

    def pieces(self, unit: int, work: Callable[[np.ndarray, int], int]) -> list[int]:
        """work(bits of a transformed piece, index of its first element) of all pieces, in threads."""
        unit = lcm(unit, self.block)
        step = max(PIECE // unit, 1) * unit

        def share(lo: int, hi: int) -> list[int]:
            found = []
            scratch = np.empty(min(step, hi - lo), FLOATS[self.layout.name])
            for start in range(lo, hi, step):
                piece = scratch[: min(step, hi - start)]
                self.load(piece, start)
                found.append(work(piece.view(BITS[self.layout.width]), start))
            return found

        return [result for results in cpu.share(share, cpu.bounds(self.cube.size, unit)) for result in results]

    def rounded(self, rounder: Rounder) -> bool:
        """Round all pieces; whether that could be done."""
        if not self.fits(rounder.unit):
            return False
        floats = FLOATS[self.layout.name]
        if self.out.dtype == floats:
            target = self.out.view(BITS[self.layout.width])
            return not any(
                self.pieces(rounder.unit, lambda bits, at: rounder.call(bits, target[at : at + bits.size], at))
            )

        def narrowed(bits: np.ndarray, at: int) -> int:
            missed = rounder.call(bits, bits, at)
            values = bits.view(floats)
            if rounder.limit is not None:
                np.clip(values, -rounder.limit, rounder.limit, out=values)
            self.out[at : at + bits.size] = values
            return missed

        return not any(self.pieces(rounder.unit, narrowed))

    def scaled(self, plan: ScaledPlan, noise: cpu.Noise | None) -> bool:
        """Round to a scaled format in float32; whether that could be done."""
        limit = None
        if plan.target.width == 16 and plan.structure.shifts:  # then values are exact in float32, and rounded once
            limit, plan = float(plan.target.max), cpu_scaled.in_float32(plan)
        place = cpu_scaled.place_of(plan, self.shape)
        found = None if place is None else cpu_scaled.arguments(plan)
        if place is None or found is None:
            return False
        tops = np.empty(0, np.int32)
        whole = place.outer == 1 and place.columns == 1 and place.size > PIECE
        if found.nvidia or whole:
            highest = self.highest()
            if highest >= FLOAT32.infinity:
                return False
            tops = np.array([highest], np.int32) if whole else tops
            found = cpu_scaled.with_outer(found, plan, highest) if found.nvidia else found
        if found is None:
            return False
        direct = self.out.dtype == self.cube.dtype == np.float32 and place.columns == self.cube.shape[2]
        if self.transform is not None and direct and not tops.size:
            return self.in_one_pass(self.transform, found, place, noise)
        unit = 1 if tops.size else place.size_of_rows
        return self.rounded(Rounder(_by_blocks(found, place, tops, noise), unit, limit))

    def in_one_pass(self, transform: Compiled, found: cpu_scaled.Fused, place: Place, noise: cpu.Noise | None) -> bool:
        """As `rounded`, with a compiled loop over the pieces of each thread."""
        from .numba_transformed import transformed_columns, transformed_rows

        if not self.fits(place.size_of_rows):
            return False
        unit = lcm(place.size_of_rows, self.block)
        x, out, step = self.cube.reshape(-1), self.out.view(np.int32), max(SMALL_PIECE // unit, 1) * unit
        key, origin = cpu_scaled.random_start(noise)
        how, size = (*transform.arguments(place.columns), found.arguments, key), self.cube.shape[1]
        call, shape = transformed_rows, (size, place.size)
        if place.columns > 1:
            call, shape = transformed_columns, (size, place.rows, place.columns, place.run)

        def share(lo: int, hi: int) -> int:
            scratch = np.empty(min(step, hi - lo), np.float32)
            return int(call(x[lo:hi], out[lo:hi], scratch, shape, *how, origin + np.uint64(lo)))

        return not any(cpu.share(share, cpu.bounds(x.size, unit)))

    def highest(self) -> int:
        """The largest magnitude of the transform."""
        from .numba_bits import largest_magnitude

        mask = np.int32(FLOAT32.magnitude_mask)
        return max(self.pieces(1, lambda bits, _: int(largest_magnitude(bits, mask))))


def _unscaled(plan: Plan, transform: TransformPlan, noise: cpu.Noise | None) -> Rounder | None:
    if plan.source is not plan.layout or plan.layout is not transform.layout:
        return None
    if plan.target is not plan.layout and plan.target.width >= plan.layout.width:
        return None
    worker = cpu.worker(job_of(plan, None))

    def call(bits: np.ndarray, out: np.ndarray, at: int) -> int:
        worker(bits, out, None if noise is None else cpu.Noise(noise.key, noise.row_starts + np.uint64(at)))
        return 0

    return Rounder(call, 1)


def _by_blocks(
    found: cpu_scaled.Fused, place: Place, tops: np.ndarray, noise: cpu.Noise | None
) -> Callable[[np.ndarray, np.ndarray, int], int]:
    """The fused kernel on pieces of whole blocks."""
    from .numba_scaled import scaled_columns, scaled_rows

    key, origin = cpu_scaled.random_start(noise)
    rest = found.arguments

    def rows(bits: np.ndarray, out: np.ndarray, at: int) -> int:
        shape = (1, bits.size) if tops.size else (-1, place.size)
        bits, out = bits.reshape(shape), out.reshape(shape)
        return scaled_rows(bits, out, tops, *rest, key, origin + np.uint64(at), cpu_scaled.NOTHING, None)

    def columns(bits: np.ndarray, out: np.ndarray, at: int) -> int:
        shape = (-1, place.rows, place.columns)
        bits, out = bits.reshape(shape), out.reshape(shape)
        part = np.array([0, len(bits), 0, place.columns], np.int64)
        return scaled_columns(bits, out, part, place.run, *rest, key, origin + np.uint64(at))

    return columns if place.columns > 1 else rows
