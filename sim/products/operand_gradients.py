"""The gradient of an operand from that of its values: the estimators once, over floats of torch or JAX."""

import math

from ..recipes.operands import Operand
from .floats import Array, Floats, or_one, vanishes
from .operand_scales import blocks_of, spread
from .operand_values import Noise, called


def reads_values(of: Operand, scale: Array | None) -> bool:
    """Whether the gradient estimator reads the operand and what it became."""
    name = of.gradient[0]
    straight = name == "identity" or (name == "default" and of.follows and scale is None)
    return bool(of.fmt) and not straight


def estimated(
    xp: Floats, gradient: Array, t: Array, values: Array, scale: Array | None, of: Operand, noise: Noise
) -> Array:
    """The gradient of an operand from that of its values, in the dtype of the latter.

    Args:
        t: the operand that was rounded.
        values: what it became.
        scale: the scale that was given, or None.
    """
    if not reads_values(of, scale):
        return gradient
    name, wide, g = of.gradient[0], xp.wide(t), xp.wide(gradient)
    if name in ("default", "clip", "lsq"):
        clips = scale is not None or not of.follows
        return xp.where(_inside(xp, wide, scale, of), gradient, 0.0) if clips else gradient
    slope = None
    if name not in ("absmax", "absmax_full"):
        low, high = (xp.wide(called(t, of, noise, rounding=side, scale=scale)) for side in ("down", "up"))
        width = xp.minus(high, low)
        share = xp.where(vanishes(xp, width), 0.0, xp.over(xp.minus(wide, low), or_one(xp, width)))
        slope = _slope(xp, name, of, share)
    found = _through_the_scale(xp, g, wide, xp.wide(values), slope, of) if of.through_scale else g * slope
    return xp.delivered(found, gradient, False)


def _inside(xp: Floats, wide: Array, scale: Array | None, of: Operand) -> Array:
    """Where magnitudes are at most that of the largest element, times the scale where there is one."""
    largest = xp.number(of.largest, wide)
    return xp.at_most(wide, largest if scale is None else spread(xp, xp.times(scale, largest), wide, of))


def _slope(xp: Floats, name: str, of: Operand, share: Array) -> Array:
    """The derivative of a smooth step between two values, by the share of the way from one to the other."""
    away = 2 * share - 1
    if name == "dge":
        power, limit = of.gradient[1], of.gradient[2]
        return xp.clip(xp.clip(abs(away), 1e-12, None) ** (1 / power - 1) / power, None, limit)
    if name == "spline":
        sharpness = of.gradient[1]
        return sharpness / xp.cosh(sharpness * away) ** 2 / math.tanh(sharpness)
    width = of.gradient[1]
    return xp.where(abs(share - 0.5) <= width / 2, xp.number(1 / width, share), 0.0)


def _through_the_scale(xp: Floats, g: Array, t: Array, values: Array, slope: Array | None, of: Operand) -> Array:
    """With the slope of the step, and through the scale at the largest element of each block.

    With s = amax / largest and x^ = s q(x / s), of which q' is the slope, or None for 1:

        d x^_j / d x_i = [i = j] q'_j + [i is the largest] sign(x_i) (x^_j - q'_j x_j) / amax
    """
    parts, own, axes = t, g if slope is None else g * slope, tuple(range(len(t.shape)))
    error = xp.minus(values, t if slope is None else slope * t)
    if of.block >= 0:
        (parts, axis), (g, _), (own, _), (error, _) = (blocks_of(each, of) for each in (t, g, own, error))
        axes = (axis,)
    amax = xp.largest(parts, axes)
    divisor = or_one(xp, amax)
    largest = xp.at_most(amax, abs(parts)) & ~vanishes(xp, amax)
    count = xp.sum(xp.where(largest, xp.number(1.0, t), 0.0), axes)
    first = xp.where(largest, xp.over(parts, divisor), 0.0) / xp.clip(count, 1.0, None)
    of_scale = g * xp.over(error, divisor)
    through = first * (xp.sum(of_scale, axes) if of.through_scale == 2 else of_scale)
    return (own + through).reshape(tuple(t.shape))


def step_gradient(xp: Floats, gradient: Array, t: Array, values: Array, scale: Array, of: Operand) -> Array:
    """() the gradient of a learned step size s: sum g * (q - x/s inside, q outside) / sqrt(n * largest), q = x^ / s.

    Source: arXiv:1902.08153, 2.1 and 2.2.
    """
    wide = xp.wide(t)
    error = xp.minus(xp.wide(values), xp.where(_inside(xp, wide, scale, of), wide, 0.0))
    slope = xp.where(vanishes(xp, scale), 0.0, xp.over(error, or_one(xp, scale)))
    count = math.prod(t.shape) * of.largest
    return xp.sum(xp.wide(gradient) * slope, tuple(range(len(t.shape)))).reshape(()) / count**0.5
