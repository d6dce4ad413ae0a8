"""Scaled formats of NumPy arrays: the portable kernels, element passes in tiles that bound their temporaries."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ...formats.rounding import ROUNDINGS
from ...formats.scaled import ScaledFormat
from ..encoded import Amax, Encoded, Scales
from ..kernels import encode_grid
from ..layouts import Layout
from ..philox import Shard, fold_stream
from ..plan import Randomness
from ..scaled_kernels import Rounding, Spread, element_codes, element_values, in_range, spread
from ..scaled_plan import Options, ScaledPlan, make_scaled_plan, untraced
from ..scaled_run import decoded, integers_as_floats, load, scale_codes, scales_for, used_scales, work_of
from ..scales import Draw, Work
from ..tables import mode_of
from . import cpu
from . import numpy as plain
from .cpu_codes import fused_codes
from .cpu_scaled import fused
from .cpu_transformed import quantize_widened
from .integers import NumpyIntegers
from .numpy_given import Given, given_bits

_TILE = 1 << 16

SCALE_MEMBER = 0xFFFFFFFF
"""Scales draw from the stream of the elements folded with this."""


def quantize(x: np.ndarray, plan: ScaledPlan, randomness: Randomness, given: Any, out: np.ndarray | None) -> np.ndarray:
    """`emulate.quantize` on arrays."""
    dtype = x.dtype if plan.target is plan.source else plain.FLOATS[plan.target.name]
    noise, scales = noises(plan, randomness, x.shape), given_bits(plan, given, x.shape)
    target = None if out is None or not out.dtype.isnative else out.view(plain.BITS[plan.target.width])
    bits = quantize_bits(plain.bits_of(x, plan.source), plan, noise, scales, target)
    return plain.deliver(bits.view(plain.FLOATS[plan.target.name]), out, dtype)


Noises = tuple[cpu.Noise | None, cpu.Noise | None]
"""Where elements and scales lie in their random streams; None for deterministic modes."""


def noises(plan: ScaledPlan, randomness: Randomness, shape: tuple[int, ...]) -> Noises:
    """The noise of elements and of scales."""
    elements = plain.noise_for(randomness, shape) if plan.rounding.stochastic else None
    if not plan.random_scales:
        return elements, None
    return elements, plain.noise_for(scale_randomness(plan, randomness, shape), work_of(plan, shape).view.grid)


def scale_randomness(plan: ScaledPlan, randomness: Randomness, shape: tuple[int, ...]) -> Randomness:
    """The randomness of the grid of scales: a stream of its own, and the place of the grid in the whole grid."""
    stream = fold_stream(int(randomness.stream), SCALE_MEMBER)
    return randomness._replace(stream=stream, offset=grid_offset(plan, randomness.offset, shape))


def grid_offset(plan: ScaledPlan, offset: Any, shape: tuple[int, ...]) -> Any:
    """The place of the grid of scales of a slice in that of the larger array.

    Raises:
        ValueError: a place that is no `Shard`, or does not begin at a block.
    """
    if isinstance(offset, int | np.integer) and int(offset) == 0:
        return 0
    if not isinstance(offset, Shard):
        raise ValueError("stochastic scales of a slice need its place as hu.Shard(start, global_shape), got an offset")
    blocks = plan.structure.blocks
    extents = blocks.extents(offset.global_shape)
    if blocks.flat or any(s % b for s, b in zip(offset.start, extents)):
        raise ValueError(f"{plan.name}: {offset} does not begin at a block of {blocks.spec}")
    start = tuple(s // b for s, b in zip(offset.start, extents))
    return Shard(start, blocks.grid(offset.global_shape))


class Pass:
    """One array on its way through the kernels."""

    def __init__(self, bits: np.ndarray, plan: ScaledPlan, noise: Noises, given: Given) -> None:
        self.plan, self.table = plan, plan.table
        if isinstance(given, Amax):
            self.table, given = self.table._replace(amax=given.value), None
        self.work = work_of(plan, bits.shape)
        self.xp = NumpyIntegers(plan.layout.work_width)
        self.noise, self.shape = noise[0], bits.shape
        self.bits = self.work.view.split(self.xp, self._loaded(bits))
        self.nearest = mode_of(ROUNDINGS["nearest_even"], plan.layout.work_width)
        draw = self._draw(noise[1])
        with np.errstate(over="ignore", invalid="ignore"):  # squared errors of a search may overflow
            self.scales = scales_for(self.xp, self.work, self.table, self.bits, self.nearest, draw, given)

    def _loaded(self, bits: np.ndarray) -> np.ndarray:
        """Contiguous bits of the compute dtype."""
        flat = np.ascontiguousarray(bits).reshape(-1).astype(self.xp.dtype)
        return load(self.xp, self.plan, flat)

    def _draw(self, noise: cpu.Noise | None) -> Draw | None:
        if self.plan.scale_rounding is None:
            return None
        words = None if noise is None else words_of(noise, self.work.view.grid, self.plan.layout)
        return Draw(mode_of(self.plan.scale_rounding, self.plan.layout.work_width), words)

    def run(self, kernel: Callable, dtype: np.dtype, *more: Any) -> np.ndarray:
        """An element kernel over tiles; in the shape of the array."""
        words = None
        if self.noise is not None:
            words = self.work.view.split(self.xp, words_of(self.noise, self.shape, self.plan.layout).reshape(-1))
        scales = spread(self.xp, self.work, self.table, self.scales)
        result = np.empty(self.bits.shape, dtype)
        for tile in _tiles(self.bits.shape, _TILE):
            part = Spread(*(None if a is None else _part(a, tile) for a in scales))
            rounding = Rounding(self.plan.mode, self.plan.overflow, None if words is None else words[tile])
            result[tile] = kernel(self.xp, self.work, *more, self.table, self.bits[tile], part, rounding)
        return self.work.view.join(result)


def _part(a: np.ndarray, tile: tuple[slice, ...]) -> np.ndarray:
    """What of an array belongs to a tile of the one it broadcasts to."""
    return a[tuple(slice(None) if n == 1 else s for n, s in zip(a.shape, tile))]


def words_of(noise: cpu.Noise, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    """Random words of every element."""
    rows = [
        cpu.random_words(noise.key, int(start), prod(shape) // noise.row_starts.size, layout)
        for start in noise.row_starts
    ]
    return np.concatenate(rows).reshape(shape)


def _tiles(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Slices that cut an array into tiles of at most `most` elements, or of one element of each leading axis."""
    axis = 0
    while axis < len(shape) and prod(shape[axis + 1 :]) > most:
        axis += 1
    if axis >= len(shape):
        yield ()
        return
    step = max(most // max(prod(shape[axis + 1 :]), 1), 1)
    for index in np.ndindex(*shape[:axis]):
        leading = tuple(slice(k, k + 1) for k in index)
        for start in range(0, shape[axis], step):
            yield (*leading, slice(start, start + step))


def quantize_bits(
    bits: np.ndarray, plan: ScaledPlan, noise: Noises, given: Given, out: np.ndarray | None = None
) -> np.ndarray:
    """Round numbers given by their bits; bits of the target dtype, in `out` if they can go there directly."""
    dtype = plain.BITS[plan.target.width]
    if not bits.size:
        work_of(plan, bits.shape)  # an empty array of a wrong shape is wrong all the same
        return np.empty(bits.shape, dtype)

    if not isinstance(given, tuple) and noise[1] is None:
        found = _compiled(bits, plan, noise[0], out, -1 if given is None else given.value)
        if found is not None:
            return found
    if given is None and noise[1] is None and (pieces := _pieces(bits.shape, plan, noise[0])) is not None:
        return _by_pieces(bits, plan, noise[0], pieces, out)

    return Pass(bits, plan, noise, given).run(_values, dtype, plan.target)


def _compiled(
    bits: np.ndarray, plan: ScaledPlan, noise: cpu.Noise | None, out: np.ndarray | None, amax: int
) -> np.ndarray | None:
    """Bits of the values by compiled kernels, None where they are not exact; 16-bit numbers by way of float32."""
    if plan.source.width == 32:
        return fused(bits, plan, noise, out, amax)
    exact = plan.source.width == 16 and plan.structure.shifts and plan.target.width <= 32
    if not exact or amax >= 0 or not bits.flags.c_contiguous:
        return None
    direct = out is not None and out.flags.c_contiguous and not np.may_share_memory(out, bits)
    target = out if direct and out is not None else np.empty(bits.shape, plain.BITS[plan.target.width])
    x, y = bits.view(plain.FLOATS[plan.source.name]), target.view(plain.FLOATS[plan.target.name])
    return target if quantize_widened(x, y, plan, noise) else None


def _pieces(shape: tuple[int, ...], plan: ScaledPlan, noise: cpu.Noise | None) -> list[int] | None:
    """Where pieces of whole blocks begin along the first axis, and the end; None where blocks do not lie in pieces."""
    view = work_of(plan, shape).view
    if plan.structure.outer is not None or view.lengths != shape or (noise is not None and noise.row_starts.size > 1):
        return None
    unit = view.extents[0]
    step = -(-max(_TILE // max(prod(shape[1:]), 1), 1) // unit) * unit
    return None if step >= shape[0] else [*range(0, shape[0], step), shape[0]]


def _by_pieces(
    bits: np.ndarray, plan: ScaledPlan, noise: cpu.Noise | None, at: list[int], out: np.ndarray | None
) -> np.ndarray:
    """Bits of the values by the portable kernels, in pieces that bound their temporaries; in `out` if it is apart."""
    width = prod(bits.shape[1:])
    if out is None or np.may_share_memory(out, bits):
        out = np.empty(bits.shape, plain.BITS[plan.target.width])
    target = out

    def part(k: int) -> None:
        lo, hi = at[k], at[k + 1]
        here = None if noise is None else cpu.Noise(noise.key, noise.row_starts + np.uint64(lo * width))
        target[lo:hi] = Pass(bits[lo:hi], plan, (here, None), None).run(_values, target.dtype, plan.target)

    with ThreadPoolExecutor(cpu.threads()) as pool:
        for done in [pool.submit(part, k) for k in range(len(at) - 1)]:
            done.result()
    return target


def _values(xp, work, target, table, part, scales, rounding):
    return element_values(xp, work, target, table, part, scales, rounding)


def in_range_bits(bits: np.ndarray, plan: ScaledPlan, noise: Noises, given: Given) -> np.ndarray:
    """Where scaled magnitudes round to at most the largest element."""
    if not bits.size:
        return np.empty(bits.shape, bool)
    return Pass(bits, plan, noise, given).run(in_range, np.dtype(bool))


def find_scales(x: np.ndarray, plan: ScaledPlan, randomness: Randomness) -> Scales:
    """`emulate.scales` on arrays."""
    return scales_of_bits(plain.bits_of(x, plan.source), noises(plan, randomness, x.shape), plan)


def scales_of_bits(bits: np.ndarray, noise: Noises, plan: ScaledPlan) -> Scales:
    """The scales of numbers given by their bits."""
    _require_elements(bits)
    run = Pass(bits, plan, (None, noise[1]), None)
    decode = used_scales(run.xp, run.work, run.scales).view(plain.FLOATS[plan.layout.name])
    offset = None if run.scales.offset is None else run.scales.offset.astype(np.int32)
    return Scales(decode, offset, tuple(bits.astype(np.uint8) for bits in run.scales.micro))


def _require_elements(bits: np.ndarray) -> None:
    if not bits.size:
        raise ValueError(f"expected an array with elements, got shape {bits.shape}; an empty one has no scales")


def encode(x: np.ndarray, plan: ScaledPlan, randomness: Randomness, nan: float | None) -> Encoded:
    """`emulate.encode` on arrays."""
    return encode_bits(plain.bits_of(x, plan.source), noises(plan, randomness, x.shape), plan, nan)


def encode_bits(bits: np.ndarray, noise: Noises, plan: ScaledPlan, nan: float | None) -> Encoded:
    """Codes of numbers given by their bits."""
    _require_elements(bits)
    fmt = untraced(plan)
    nan_code, bad_code, scale_nan = nan_codes(fmt, nan)
    if (found := fused_codes(bits, plan)) is not None:
        return _encoded(bits, plan, found)
    run = Pass(bits, plan, noise, None)
    codes = run.run(partial(_codes, nan_code=nan_code, bad_code=bad_code), plain.BITS[plan.layout.width])
    plain.refuse_nan(bool((codes < 0).any()), fmt.name)
    scales, outer = scale_codes(run.xp, run.work, run.table, run.scales, scale_nan)
    zero_points = run.scales.offset
    return Encoded(
        fmt,
        bits.shape,
        plan.source.name,
        codes.astype(plain.code_dtype(fmt.element.bits)),
        scales.astype(plain.code_dtype(fmt.scale.bits)),
        None if outer is None or fmt.outer is None else outer.astype(plain.code_dtype(fmt.outer.scale.bits)),
        None if zero_points is None else zero_points.astype(plain.code_dtype(fmt.element.bits)),
        tuple(bits.astype(np.uint8) for bits in run.scales.micro),
    )


def _encoded(bits: np.ndarray, plan: ScaledPlan, found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Encoded:
    """What the fused kernel found, none of it NaN, as codes."""
    fmt, work, xp = untraced(plan), work_of(plan, bits.shape), NumpyIntegers(plan.layout.work_width)
    elements, s, outer = found
    scales = encode_grid(xp, plan.layout, plan.table.scale, s, -1).astype(plain.code_dtype(fmt.scale.bits))
    wide = None
    if fmt.outer is not None and work.groups is not None:
        codes = encode_grid(xp, plan.layout, plan.table.outer, outer, -1)  # pyright: ignore[reportArgumentType]
        wide = codes.astype(plain.code_dtype(fmt.outer.scale.bits)).reshape(work.groups.grid)
    return Encoded(fmt, bits.shape, plan.source.name, elements, scales.reshape(work.view.grid), wide)


def _codes(xp, work, table, bits, scales, rounding, nan_code, bad_code):
    return element_codes(xp, work, table, bits, scales, rounding, nan_code, bad_code)


def nan_codes(fmt: ScaledFormat, nan: float | None) -> tuple[int, int, int]:
    """Codes of NaN elements, of the elements of blocks that are NaN, and of NaN scales; -1 where there is none.

    A block is marked by its scale where that has a NaN, and then its elements need none.
    """
    element, scale = fmt.element.nan_code, fmt.scale.nan_code
    if nan is not None and element is None:
        element = plain.encode_number(fmt.element, nan)
    fallback = 0 if scale is not None else -1
    return -1 if element is None else element, fallback if element is None else element, 0 if scale is None else scale


def decode(encoded: Encoded, target: Layout, out: np.ndarray | None) -> np.ndarray:
    """`emulate.decode` of codes of a scaled format."""
    bits = decode_bits(encoded, target)
    return plain.deliver(bits.view(plain.FLOATS[target.name]), out, plain.FLOATS[target.name])


def decode_bits(encoded: Encoded, target: Layout) -> np.ndarray:
    """Target bits of the values of codes in NumPy arrays."""
    plan = decoding_plan(encoded, target)
    fmt, layout = untraced(plan), plan.layout
    if not encoded.elements.size:
        return np.empty(encoded.shape, plain.BITS[target.width])
    work, xp = work_of(plan, tuple(encoded.shape)), NumpyIntegers(layout.work_width)

    def values(codes: np.ndarray, part: Any) -> np.ndarray:
        return plain.decode_checked(codes, part, layout).astype(xp.dtype)

    if fmt.zero_point:
        plain.check_codes(encoded.elements, fmt.element)
        split = np.broadcast_to(work.view.spread(encoded.zero_points.astype(xp.dtype)), split_shape(work))
        elements = integers_as_floats(xp, layout, encoded.elements.astype(xp.dtype) - work.view.join(split))
    else:
        elements = values(encoded.elements, fmt.element)
    s = values(encoded.scales, fmt.scale)
    outer = values(encoded.outer, fmt.outer.scale) if fmt.outer else None
    levels = tuple(bits.astype(xp.dtype) for bits in encoded.micro)
    return decoded(xp, work, plan.table, target, elements, s, outer, levels).astype(plain.BITS[target.width])


def split_shape(work: Work) -> list[int]:
    """Shape of the split array."""
    return [n for pair in zip(work.view.grid, work.view.extents) for n in pair]


def decoding_plan(encoded: Encoded, target: Layout) -> ScaledPlan:
    """The plan by whose layout codes are decoded: that of an input of the encoded dtype.

    Raises:
        ValueError: codes of shapes that do not go together.
    """
    fmt: Any = encoded.fmt
    plan = make_scaled_plan(fmt, encoded.dtype, Options(out_dtype=target.name, pad=True, given=True))
    check_shapes(encoded, work_of(plan, tuple(encoded.shape)))
    return plan


def check_shapes(encoded: Encoded, work: Work) -> None:
    """Raise unless every array has the shape that the format and the array's shape ask for."""
    fmt: Any = encoded.fmt
    grid, shape = work.view.grid, tuple(encoded.shape)
    expected = {"elements": shape, "scales": grid}
    expected |= {"outer": work.groups.grid} if work.groups is not None else {}
    expected |= {"zero_points": grid} if fmt.zero_point else {}
    expected |= {f"micro{k}": (*grid, fmt.block_size // size) for k, size in enumerate(fmt.micro)}
    found = {name: tuple(array.shape) for name, array in encoded.arrays.items()}
    if found != expected and prod(shape):
        raise ValueError(f"{fmt.name}: expected arrays of shapes {expected} for an array of shape {shape}, got {found}")
