"""Sums over a tensor and what rounding made of it, over NumPy, torch and JAX: what statistics are made of.

Calls of one layer are pooled by adding their sums. Squares are summed of x * 2**-power, with the power of the largest
magnitude, so that none overflows or vanishes.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...emulate.dispatch import library_of
from ...emulate.encoded import Scales
from ...emulate.quantize import decode, encode, quantize, scales
from ...emulate.views import View, view_of
from ...formats.blocks import Blocks
from ...formats.codebooks import ChannelCodebooks
from ...formats.complexes import ComplexFormat
from ...formats.residual import ResidualFormat
from ...formats.scaled import TENSOR, ScaledFormat
from .spaces import Space

BINS = 255
"""Exponents of scales that are told apart, from -127 to 127; smaller ones count as -127."""
LOWEST = -127
"""The exponent of the first bin."""
_LARGEST_POWER = 120
"""Powers that elements are divided by stay within this, where 2**-power is a normal float32."""


class Sums(NamedTuple):
    """Of x and its values q, squares in units of 4**power.

    Args:
        count: elements. power: see the module. signal: of x^2. noise: of (x - q)^2. saturated, underflow, zeros:
            elements. amax: the largest magnitude. blocks: (255,) by exponent of the scale, or None without scales.
    """

    count: Any
    power: Any
    signal: Any
    noise: Any
    saturated: Any
    underflow: Any
    zeros: Any
    amax: Any
    blocks: Any


class GradientSums(NamedTuple):
    """Of a gradient g and a reference r.

    Args:
        count, amax: elements, and the largest magnitude, of r.
        power: see the module.
        reference, own, product, noise: of r^2, g^2, g r and (g - r)^2, in units of 4**power.
    """

    count: Any
    amax: Any
    power: Any
    reference: Any
    own: Any
    product: Any
    noise: Any


class Grid(NamedTuple):
    """The scales of a tensor: how it splits into blocks, the scale of each, and the largest magnitude where known."""

    view: View
    decode: Any
    amax: Any = None


def grid_of(
    space: Space, x: Any, fmt: Any, axis: Any, given: Any = None, scale_rounding: Any = None, random: Any = None
) -> Grid | None:
    """The scales that `quantize` finds or is given; None where there are none, or not one that elements have alone.

    Args:
        x: of one or more elements.
        given: as `scale` of `quantize`.
        random: seed, step and stream by name, for scales that are rounded at random.
    """
    if not isinstance(fmt, ScaledFormat) or fmt.micro:
        return None
    fmt = fmt if axis is None else fmt.along(axis)
    view = view_of(fmt.blocks, tuple(x.shape), True, fmt.name)
    if given is not None:
        found = given.decode if isinstance(given, Scales) else space.given(given, space.wide(x))
        return Grid(view, found.reshape(view.grid))
    options = {"scale_rounding": scale_rounding, "pad": True, **(random or {})}
    small, largest = _of_largest(fmt), space.largest(_split(space, view, x), view.block_axes)
    found = scales(x, fmt, **options).decode if small is None else _scales_of(largest, small, options)
    return Grid(view, space.xp.where(largest == 0, 0.0, space.wide(found)), space.wide(largest).max())


def _split(space: Any, view: View, x: Any) -> Any:
    """See `View.split`, which needs no more than `pad` of a space."""
    return view.split(space, x)


def _scales_of(largest: Any, fmt: ScaledFormat, options: dict[str, Any]) -> Any:
    """`scales(...).decode`, where kernels are compiled by way of codes, which is several times as fast."""
    if library_of(largest) == "jax":
        return scales(largest, fmt, **options).decode
    try:
        codes = encode(largest, fmt, nan=0.0, **options)
    except ValueError:  # NaN, for which the codes of these scales have no place
        return scales(largest, fmt, **options).decode
    found = decode(codes.scales, fmt.scale)
    return found if codes.outer is None or fmt.outer is None else found * decode(codes.outer, fmt.outer.scale)


@lru_cache(maxsize=256)
def _of_largest(fmt: ScaledFormat) -> ScaledFormat | None:
    """The format of an array of the largest magnitude of each block, which has the same scales and is much smaller.

    None where scales depend on more than the largest magnitudes.
    """
    single = fmt.outer is None or fmt.outer.blocks == TENSOR
    if fmt.rule.statistic != "absmax" or fmt.rule.search or fmt.zero_point or not single:
        return None
    own = fmt.blocks
    return replace(fmt, blocks=Blocks(tuple(min(size, 1) for size in own.sizes), own.axes, own.rest, own.flat))


@lru_cache(maxsize=256)
def limits_of(fmt: Any) -> tuple[float, float] | None:
    """Elements below the first or above the second number are cut off; None where the format has no such limits.

    Half of the step between the last two values lies between a limit and the last value.
    """
    if isinstance(fmt, ScaledFormat):
        return None if fmt.micro else limits_of(fmt.element)
    if isinstance(fmt, ResidualFormat | ComplexFormat | ChannelCodebooks):
        return None
    low, high = float(fmt.min), float(fmt.max)
    above = float(quantize(np.nextafter(low, np.inf), fmt, rounding="up"))
    below = float(quantize(np.nextafter(high, -np.inf), fmt, rounding="down"))
    return low - (above - low) / 2, high + (high - below) / 2


def sums_of(space: Space, x: Any, values: Any, fmt: Any, grid: Grid | None) -> Sums:
    """The sums of a tensor and what it became.

    Args:
        x, values: of one shape, and one or more elements.
        fmt: of the values; None where there is no saying what it cuts off.
        grid: its scales.
    """
    x, values = space.wide(x), space.wide(values)
    amax = space.largest(x)
    power, factor = _power(space, space.xp.maximum(amax, space.largest(values)))
    signal, noise = x * factor, (x - values) * factor
    count = int(np.prod(x.shape))
    zeros, lost = count - space.count_nonzero(x), count - space.count_nonzero(values)
    return Sums(
        count,
        power,
        space.dot(signal, signal),
        space.dot(noise, noise),
        _saturated(space, x, amax, fmt, grid),
        space.xp.clip(lost - zeros, 0, None),  # formats without a zero make none, and lose those there are
        zeros,
        amax,
        None if grid is None else exponents_of_scales(space, grid.decode),
    )


def _power(space: Space, amax: Any) -> tuple[Any, Any]:
    """floor(log2 amax) within limits, and 2**-power as float32."""
    field = (space.bits(space.narrow(amax)) >> 23) & 255
    power = space.xp.clip(field + LOWEST, -_LARGEST_POWER, _LARGEST_POWER)
    return power, space.floats((-LOWEST - power) << 23)


def _saturated(space: Space, x: Any, amax: Any, fmt: Any, grid: Grid | None) -> Any:
    """How many elements are cut off; NaN where that cannot be told."""
    scaled = isinstance(fmt, ScaledFormat)
    none = amax * 0
    if scaled and fmt.zero_point:
        return none  # the range of a block is mapped to all codes
    limits = None if fmt is None else limits_of(fmt)
    if limits is None or (scaled and grid is None):
        return none * np.nan
    parts, unit = x, none + 1
    if grid is not None:
        parts, unit = _split(space, grid.view, x), grid.view.spread(space.wide(grid.decode))
    low, high = limits
    if low == -high:
        return none + space.count_nonzero(space.xp.abs(parts) > unit * high)
    return none + space.count_nonzero(parts > unit * high) + space.count_nonzero(parts < unit * low)


def exponents_of_scales(space: Space, decode: Any) -> Any:
    """(255,) how many scales have each exponent; those that are zero or NaN have none."""
    bits = space.bits(space.narrow(decode).reshape(-1)) & 0x7FFFFFFF
    counted = (bits > 0) & (bits < BINS << 23)
    return space.bincount(space.xp.where(counted, bits >> 23, BINS), BINS + 1)[:BINS]


def gradient_sums(space: Space, g: Any, reference: Any) -> GradientSums:
    """The sums of a gradient and its reference, of one shape."""
    g, reference = space.wide(g), space.wide(reference)
    amax = space.largest(reference)
    power, factor = _power(space, space.xp.maximum(space.largest(g), amax))
    own, exact, noise = g * factor, reference * factor, (g - reference) * factor
    count = int(np.prod(g.shape))
    return GradientSums(
        count, amax, power, space.dot(exact, exact), space.dot(own, own), space.dot(own, exact), space.dot(noise, noise)
    )
