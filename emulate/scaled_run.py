"""One scaled quantization over whole arrays, for any backend: split, find scales, round elements, join."""

from functools import lru_cache
from typing import Any

from . import numbers
from .kernels import encode_grid
from .layouts import Layout
from .numbers import Array, Arrays, from_integer, with_sign
from .scaled_kernels import Rounding, block_scales, decoded_values, element_values, spread
from .scaled_plan import ScaledPlan
from .scaled_tables import ScaledTable
from .scales import BlockScales, Draw, Work, combined, given_scales
from .tables import Mode
from .views import grouped, view_of


@lru_cache(maxsize=1024)
def work_of(plan: ScaledPlan, shape: tuple[int, ...]) -> Work:
    """What is static for an array of that shape.

    Raises:
        ValueError: blocks that do not fit the shape.
    """
    view = view_of(plan.structure.blocks, shape, plan.pad, plan.name)
    outer = plan.structure.outer
    groups = None if outer is None else grouped(view, outer, plan.name)
    return Work(plan.layout, plan.structure, view, groups)


def load(xp: Arrays, plan: ScaledPlan, bits: Array) -> Array:
    """Source bits as bits of the compute dtype, sign-extended."""
    return bits if plan.layout is plan.source else numbers.convert(xp, plan.source, plan.layout, bits)


def scales_for(
    xp: Arrays, work: Work, table: ScaledTable, bits: Array, nearest: Mode, draw: Draw | None, given: Any
) -> BlockScales:
    """Scales of the data, or those given as (decode bits, zero points, micro exponents) over the grid."""
    if given is not None:
        return given_scales(xp, work, table, *given)
    return block_scales(xp, work, table, bits, nearest, draw)


def quantized(
    xp: Arrays, plan: ScaledPlan, work: Work, table: ScaledTable, bits: Array, scales: BlockScales, rounding: Rounding
) -> Array:
    """Target bits of the values, in the shape of the array."""
    return work.view.join(element_values(xp, work, plan.target, table, bits, spread(xp, work, table, scales), rounding))


def scale_codes(xp: Arrays, work: Work, table: ScaledTable, scales: BlockScales, nan_code: int) -> tuple[Array, Array]:
    """Codes of the scales and of the outer ones, the latter None where there are none."""
    codes = encode_grid(xp, work.layout, table.scale, scales.scale, nan_code)
    if table.outer is None:
        return codes, None
    return codes, encode_grid(xp, work.layout, table.outer, scales.outer, -1)


def used_scales(xp: Arrays, work: Work, scales: BlockScales) -> Array:
    """Bits of D over the grid: zero where it is, NaN for blocks that are NaN."""
    return xp.where(scales.bad, work.layout.nan, xp.where(scales.zero, 0, scales.decode))


def decoded(
    xp: Arrays, work: Work, table: ScaledTable, target: Layout, elements: Array, s: Array, outer: Array, micro: tuple
) -> Array:
    """Target bits of the values of elements, given by the bits of their own values in the shape of the array.

    Args:
        s, outer: bits of the scales and of the outer ones.
    """
    scales = given_scales(xp, work, table, combined(xp, work, s, outer), None, micro)
    split = work.view.split(xp, elements)
    return work.view.join(decoded_values(xp, work, target, split, spread(xp, work, table, scales)))


def integers_as_floats(xp: Arrays, layout: Layout, integers: Array) -> Array:
    """Signed bits of integers below 2**24 (2**53 at width 64)."""
    negative = integers < 0
    magnitude = from_integer(xp, layout, xp.where(negative, -integers, integers), layout.bias)
    return with_sign(xp, layout, magnitude, negative)
