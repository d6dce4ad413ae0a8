"""Scales of blocks that are found by other rules than those of formats, over floats of torch or JAX."""

import math

from ..recipes.operands import Operand
from .floats import Array, Floats, or_one, repeated, total, unless_tiny


def blocks_of(t: Array, of: Operand) -> tuple[Array, int]:
    """(..., blocks, size, ...) of the operand along its axis, and the axis of the sizes."""
    axis, shape = of.axis % len(t.shape), tuple(t.shape)
    size = of.block or shape[axis]
    return t.reshape((*shape[:axis], shape[axis] // size, size, *shape[axis + 1 :])), axis + 1


def spread(xp: Floats, scale: Array, t: Array, of: Operand) -> Array:
    """The scale of each element of t; one scale as it is."""
    axis = of.axis % len(t.shape)
    if math.prod(scale.shape) == 1:
        return scale
    return repeated(xp, scale, axis, t.shape[axis] // scale.shape[axis])


def std_scale(xp: Floats, t: Array, of: Operand) -> Array:
    """2**round(log2(factor * std / largest + 1e-8)) of each block; NaN where a block is not finite.

    The deviation is taken of the block over the power of two below its largest magnitude, where no square underflows.

    Source: arXiv:2505.14669. Its reference code takes the floor of the logarithm; the errors in its table are those of
    the nearest power, which clips less.
    """
    parts, axis = blocks_of(xp.wide(t), of)
    top = xp.largest(parts, (axis,))
    good = xp.finite(top)
    safe = or_one(xp, xp.where(good, top, 1.0))
    r = xp.relative(parts, safe)
    count = xp.number(parts.shape[axis], parts)
    mean = unless_tiny(xp, xp.over(total(xp, r, axis), count))
    away = unless_tiny(xp, r - mean.reshape(top.shape))
    deviation = xp.root(xp.over(total(xp, xp.term(away, away), axis), count))
    scaled = xp.times(
        xp.times(deviation, xp.number(of.scaling[1] / of.largest, r)), xp.power_below(safe).reshape(deviation.shape)
    )
    ideal = xp.times(xp.plus(scaled, xp.number(1e-8, r)), xp.number(2**0.5, r))
    return xp.where(good.reshape(ideal.shape), xp.power_below(ideal), math.nan)


def floor_scale(xp: Floats, t: Array, of: Operand) -> Array:
    """2**(floor(log2 amax) - emax) of each block, as OCP's rule has it, of an operand before its prescale."""
    parts, axis = blocks_of(xp.wide(t), of)
    top = xp.largest(parts, (axis,))
    least = xp.number(2.0**-120, top)
    power = xp.power_below(xp.where(xp.at_most(top, least), least, xp.where(xp.finite(top), top, 1.0)))
    found = xp.times(power, xp.number(2.0 ** -int(math.log2(of.largest)), top))
    return xp.where(xp.finite(top), found, math.nan).reshape((*parts.shape[:axis], *parts.shape[axis + 1 :]))


def first_size(xp: Floats, t: Array, largest: float) -> Array:
    """() the step size to begin with: 2 * mean |t| / sqrt(largest); 0 of an operand that is zero or not finite.

    Args:
        largest: element of the format.

    Source: arXiv:1902.08153, 2.1.
    """
    wide = xp.wide(t).reshape(-1)
    top = xp.largest(wide, None)
    good = xp.finite(top)
    safe = or_one(xp, xp.where(good, top, 1.0))
    mean = xp.over(total(xp, abs(xp.relative(wide, safe)), 0), xp.number(wide.shape[0], wide))
    size = xp.times(xp.times(mean, xp.number(2 / max(largest, 1.0) ** 0.5, wide)), xp.power_below(safe))
    return xp.where(good, size, 0.0)
