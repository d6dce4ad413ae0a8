"""What becomes of one operand of a product: the algorithm once, over floats of torch or JAX.

`torch.compile` traces all of it: names, numbers and arrays, no objects.
"""

import math
from typing import Any, NamedTuple

from ...emulate.quantize import quantize
from ...emulate.transforms import hadamard
from ..recipes.operands import Operand
from ..recipes.plan import transform_size
from .floats import Array, Floats, or_one, repeated, total, unless_tiny, vanishes
from .operand_scales import blocks_of, floor_scale, spread, std_scale

STREAMS = 16
"""Random streams of an operand: its elements, its scales."""
OPERANDS = 8
"""Places for the six operands of a product, before those of the next."""


class Noise(NamedTuple):
    """Where random words come from.

    Args:
        seed: two words. step: a word.
        stream: of elements; scales have the next one.
    """

    seed: Any
    step: Any
    stream: Any


def stream_of(of: Operand, call: Any) -> Any:
    """The stream of an operand in one of several products of a seed and step, each of which draws its own words."""
    return (of.stream + OPERANDS * call) * STREAMS


def rotated(t: Array, of: Operand, seed: Any, step: Any, inverse: bool = False) -> Array:
    """The operand after its transform, or before."""
    if not of.transform:
        return t
    return hadamard(t, of.transform, axis=of.axis, seed=seed, step=step, inverse=inverse)


def values_of(xp: Floats, t: Array, of: Operand, noise: Noise, state: Array | None) -> tuple[Array, Array | None]:
    """An operand as its product takes it, and the scale that was given to it, where one was.

    Args:
        t: the operand, already transformed.
        state: () the largest magnitude of earlier steps, or the step size that is learned.

    Returns:
        Values of the dtype of t, times the prescale; the scale has the dtype of `xp.wide`.
    """
    if of.prescale != 1.0:
        larger = xp.times(xp.wide(t), xp.number(of.prescale, xp.wide(t)))
        return _by_scale(xp, larger, t, of, noise, floor_scale(xp, t, of)), None
    if of.outliers:
        return _with_outliers(xp, t, of, noise, state)
    return _rounded(xp, t, of, noise, state)


def _rounded(xp: Floats, t: Array, of: Operand, noise: Noise, state: Array | None) -> tuple[Array, Array | None]:
    name = of.scaling[0]
    if name == "eden":
        return _unbiased(xp, t, of, noise), None
    if name == "std" or (name == "learned" and state is not None):
        scale = _given_scale(xp, t, of, state)
        return _by_scale(xp, xp.wide(t), t, of, noise, scale), scale
    amax = _delayed(xp, t, of, state) if name == "delayed" and state is not None else None
    return called(t, of, noise, amax=amax), None


def _given_scale(xp: Floats, t: Array, of: Operand, state: Any) -> Array:
    """The scale of each block, or a learned one of all."""
    if of.scaling[0] == "std":
        return std_scale(xp, t, of)
    return xp.number(abs(state), xp.wide(t)).reshape((1,) * len(t.shape))


def called(t: Array, of: Operand, noise: Noise, rounding: str = "", scale: Any = None, amax: Any = None) -> Array:
    """`quantize` with what the operand says."""
    return quantize(
        t,
        of.fmt,
        rounding=rounding or of.rounding or None,
        overflow=of.overflow or None,
        scale_rounding=of.scale_rounding or None,
        seed=noise.seed,
        step=noise.step,
        stream=noise.stream,
        axis=of.along or None,
        pad=of.pad and bool(of.block > 0 or of.follows),
        scale=scale,
        amax=amax,
        ste="identity",
    )


def _delayed(xp: Floats, t: Array, of: Operand, state: Array) -> Array:
    """The largest magnitude to go by: that of earlier steps, times 2**margin; that of t where there are none yet."""
    wide = xp.wide(t)
    own = xp.largest(wide, None)
    own = xp.where(xp.finite(own), own, 1.0)
    earlier = xp.times(xp.number(state, wide), xp.number(2.0 ** of.scaling[2], wide))
    return xp.where(xp.finite(earlier) & ~vanishes(xp, earlier), earlier, own)


def _by_scale(xp: Floats, wide: Array, like: Array, of: Operand, noise: Noise, scale: Array) -> Array:
    """Elements times scales, in the dtype of `like`: `quantize(..., scale=scale)` by the way of elements."""
    each = spread(xp, scale, wide, of)
    one = math.prod(scale.shape) == 1  # a learned one may vanish; those of blocks do not
    elements = quantize(
        xp.over(wide, or_one(xp, each) if one else each),
        of.element,
        rounding=of.rounding or None,
        overflow=of.overflow or None,
        seed=noise.seed,
        step=noise.step,
        stream=noise.stream,
        ste="identity",
    )
    return xp.delivered(xp.times(elements, each), like, of.overflow != "special")


def _with_outliers(xp: Floats, t: Array, of: Operand, noise: Noise, state: Array | None) -> tuple[Array, Array | None]:
    """What lies within the quantiles of a share on each side, by the nearest rank, rounded; and the rest as it is."""
    wide = xp.wide(t)
    keys = xp.ordered(wide)
    flat = keys.reshape(-1)
    rank = max(int(of.outliers * flat.shape[0]), 1)
    held = xp.clip(keys, xp.nth(flat, rank), xp.nth(flat, flat.shape[0] + 1 - rank))
    kept = xp.unordered(held, wide)
    values, scale = _rounded(xp, xp.delivered(kept, t, False), of, noise, state)
    own = xp.wide(values)
    found = xp.where(held == keys, own, xp.plus(own, xp.minus(wide, kept)))
    return xp.delivered(found, t, False), scale


_FP4, _E4M3, _EDEN_TOP = "fp4_e2m1", "ue4m3", 255.99


def _unbiased(xp: Floats, t: Array, of: Operand, noise: Noise) -> Array:
    """MS-EDEN: nearest elements, then scales corrected so that the product with x is unbiased, rounded at random.

    With x = u s S, elements q(u), scales s of blocks and S of the tensor, and sums over a group of blocks,
    the factor of s is sum (x x) / sum (x q(u) s S) = sum s^2 (u u) / sum s^2 (u q(u)).

    Source: arXiv:2601.22813; the largest element is 6 / (17/16 * shrink), groups are those of the transform.
    """
    goal = of.largest / (17 / 16 * of.scaling[1])
    parts, axis = blocks_of(xp.wide(t), of)
    tops = xp.largest(parts, (axis,))
    whole = xp.largest(tops, None)
    outer = or_one(xp, xp.over(whole, xp.number(_EDEN_TOP * goal, parts)))
    outer = xp.where(xp.finite(whole), outer, math.nan)
    s = xp.materialized(quantize(xp.over(tops, xp.times(outer, xp.number(goal, parts))), _E4M3))
    safe = xp.where(s > 0, s, 1.0)
    u = xp.materialized(xp.over(parts, xp.times(safe, outer)))
    elements = quantize(u, _FP4)
    group = max(transform_size(of.transform) // parts.shape[axis], 1)
    u, weight = unless_tiny(xp, u), (safe * safe).reshape((*parts.shape[:axis], *parts.shape[axis + 1 :]))
    xx, xq = (
        _over_groups(xp, xp.term(weight, total(xp, xp.term(u, other), axis)), axis - 1, group)
        for other in (u, elements)
    )
    factor = xp.where(xq > 0, xp.over(xx, xp.where(xq > 0, xq, 1.0)), 1.0)
    corrected = quantize(
        xp.times(s, factor.reshape(tuple(s.shape))),
        _E4M3,
        rounding="stochastic",
        seed=noise.seed,
        step=noise.step,
        stream=noise.stream + 1,
        ste="identity",
    )
    return xp.delivered(xp.times(elements, xp.times(corrected, outer)).reshape(tuple(t.shape)), t, True)


def _over_groups(xp: Floats, sums: Array, axis: int, group: int) -> Array:
    """Sums over groups of neighbouring blocks, for each of them; over all blocks where these are no whole groups."""
    shape = tuple(sums.shape)
    group = group if shape[axis] % group == 0 else shape[axis]
    split = sums.reshape((*shape[:axis], shape[axis] // group, group, *shape[axis + 1 :]))
    return repeated(xp, xp.materialized(total(xp, split, axis + 1)), axis, group)


def widely_linear(xp: Floats, weight: Array, fmt: str) -> Array:
    """A real matrix (2n, 2m) whose widely-linear complex parts are rounded to a complex format.

    It is `emulate.complexes.to_widely_linear` and back, in pairs of real arrays, which compilers know better.

    Source: arXiv:2508.05571, and Fairy2i for the view of a real matrix.
    """
    wide = xp.wide(weight)
    n, m = wide.shape[0] // 2, wide.shape[1] // 2
    a, b, c, d = wide[:n, :m], wide[:n, m:], wide[n:, :m], wide[n:, m:]
    half = xp.number(0.5, wide)
    u_re, u_im = quantize((xp.times(xp.plus(a, d), half), xp.times(xp.minus(c, b), half)), fmt)
    w_re, w_im = quantize((xp.times(xp.minus(a, d), half), xp.times(xp.plus(b, c), half)), fmt)
    top = xp.joined([xp.plus(u_re, w_re), xp.minus(w_im, u_im)], 1)
    bottom = xp.joined([xp.plus(u_im, w_im), xp.minus(u_re, w_re)], 1)
    return xp.delivered(xp.joined([top, bottom], 0), weight, False)
