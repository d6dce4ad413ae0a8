"""Scaled formats as the integers their kernels read.

What decides the shape of the computation is a `Structure`, one compiled program each; what only decides numbers
is a `ScaledTable`, run-time data, so that MX formats of any element, or a grid of minifloats with per-tensor
scales, share a program.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import Any, NamedTuple

import numpy as np

from ..formats.blocks import Blocks
from ..formats.dyadic import floor_log2, power
from ..formats.floats import FloatFormat
from ..formats.integers import IntFormat
from ..formats.listing import is_listed
from ..formats.rounding import ROUNDINGS
from ..formats.scaled import TENSOR, Element, ScaledFormat
from .layouts import Layout
from .tables import Codebook, Grid, Int, Mode, mode_of, stack, tabulate


@dataclass(frozen=True, slots=True)
class Structure:
    """What one program is for.

    Args:
        blocks, outer: granularities of the two levels; outer is None for a single one.
        statistic, percentile: what the numbers of a block are reduced to.
        exponents: whether the rule gives exponents, or numbers to round.
        inverse: whether the statistic is multiplied with fl(1 / target) instead of divided by the target.
        encode, order, zero_point, epsilon, micro: as in `ScaledFormat`, epsilon only whether there is one.
        searches: how many scales are tried; 1 for no search.
        shifts: all scales are powers of two, so elements round on a shifted grid and nothing is divided.
    """

    blocks: Blocks
    outer: Blocks | None
    statistic: str
    percentile: float | None
    exponents: bool
    inverse: bool
    encode: str
    order: str
    zero_point: bool
    epsilon: bool
    micro: tuple[int, ...]
    searches: int
    shifts: bool


class Fit(NamedTuple):
    """How a statistic becomes an exponent: floor(log2(a + add)), one more where its fraction is above the threshold.

    With a the significand of M + 1 bits and its fraction in units of 2**-M; then `emax` is subtracted.
    """

    add: Int
    threshold: Int
    emax: Int


class ScaledTable(NamedTuple):
    """The numbers of a scaled format over one host dtype; all but tables are bits of positive host numbers.

    Fields:
        element, scale, outer: the three formats; outer is None where the structure has none.
        fit: how exponents come about.
        mode: how a scale is rounded.
        goal, inverse_goal: target and fl(1 / target).
        scale_goal: what the largest scale of a group becomes.
        numerator: target * scale_goal.
        smallest: the smallest positive scale.
        epsilon, static: numbers of the rule, or of 1 where it has none.
        factors: (n,) of a search.
        levels: codes of an asymmetric element less one, as an integer.
        amax: the largest magnitude of the tensor where the caller knows it, else -1.
    """

    element: Grid | Codebook
    scale: Grid
    outer: Grid | None
    fit: Fit
    mode: Mode
    goal: Int
    inverse_goal: Int
    scale_goal: Int
    numerator: Int
    smallest: Int
    epsilon: Int
    static: Int
    factors: Int
    levels: Int
    amax: Int = -1


@dataclass(frozen=True, slots=True)
class TracedScaled:
    """A scaled format as data, which JAX may trace and map over; made by `hu.format_data`.

    Args:
        table: the kernel's integers, with a leading axis where several formats are stacked.
        layout: name of the float dtype the kernels compute in.
        structure: what the stacked formats have in common.
        rounding: of the elements where a call names none.
    """

    table: ScaledTable
    layout: str
    structure: Structure
    rounding: str


def stack_scaled(tables: Sequence[ScaledTable]) -> ScaledTable:
    """One table whose every field has a leading axis, for `vmap` over formats of one structure."""
    columns = dict(zip(ScaledTable._fields, zip(*tables)))
    tabular = {name: columns.pop(name) for name in ("element", "scale", "outer", "fit", "mode")}
    found: dict[str, Any] = {name: np.array(column) for name, column in columns.items()}
    found |= {name: stack(tabular[name]) for name in ("element", "scale")}
    found["outer"] = None if tabular["outer"][0] is None else stack(tabular["outer"])
    found |= {name: type(tabular[name][0])(*map(np.array, zip(*tabular[name]))) for name in ("fit", "mode")}
    return ScaledTable(**found)


def takes_amax(structure: Structure) -> bool:
    """Whether there is one scale for the tensor, at some level, that follows the largest magnitude."""
    whole = structure.blocks if structure.outer is None else structure.outer
    return whole == TENSOR and structure.statistic == "absmax" and not structure.zero_point


def structure_of(fmt: ScaledFormat) -> Structure:
    """The program a format runs."""
    grid = not is_listed(fmt.element)
    return Structure(
        fmt.blocks,
        fmt.outer.blocks if fmt.outer else None,
        fmt.rule.statistic,
        fmt.rule.parameter if fmt.rule.statistic == "percentile" else None,
        fmt.rule.power_of_two,
        fmt.rule.fit == "rceil",
        fmt.encode,
        fmt.order,
        fmt.zero_point,
        fmt.epsilon > 0,
        fmt.micro,
        max(len(fmt.rule.search), 1),
        fmt.power_of_two_scales and grid,
    )


@lru_cache(maxsize=512)
def tabulate_scaled(fmt: ScaledFormat, layout: Layout) -> ScaledTable:
    """The kernel's integers for a format whose elements and scales fit the host dtype."""
    scale = _grid(fmt.scale, layout)
    goal = nearest_bits(layout, fmt.goal)
    numerator = nearest_bits(layout, fmt.goal * fmt.scale_target)
    smallest = fmt.scale.min_positive
    static = fmt.rule.parameter if fmt.rule.statistic == "static" else None
    integer = np.int64 if layout.work_width == 64 else np.int32
    return ScaledTable(
        element=tabulate(fmt.element, layout),
        scale=scale,
        outer=_grid(fmt.outer.scale, layout) if fmt.outer else None,
        fit=_fit(fmt, layout),
        mode=mode_of(ROUNDINGS["up" if fmt.rule.fit == "rceil" else "nearest_even"], layout.work_width),
        goal=goal,
        inverse_goal=nearest_bits(layout, 1 / layout.number(goal)),
        scale_goal=nearest_bits(layout, fmt.scale_target),
        numerator=numerator,
        smallest=nearest_bits(layout, smallest),
        epsilon=nearest_bits(layout, Fraction(fmt.epsilon or 1)),
        static=nearest_bits(layout, Fraction(static or 1)),
        factors=np.array([nearest_bits(layout, Fraction(f)) for f in fmt.rule.search or (1.0,)], integer),
        levels=(1 << fmt.element.bits) - 1 if fmt.zero_point else 0,
    )


def _grid(fmt: FloatFormat | IntFormat, layout: Layout) -> Grid:
    table = tabulate(fmt, layout)
    if not isinstance(table, Grid):
        raise TypeError(f"{fmt.name}: expected a float or integer format")
    return table


def nearest_bits(layout: Layout, value: Fraction) -> int:
    """Bits of the host number nearest to a positive value, ties to even; at least the smallest subnormal."""
    below = layout.floor(value)
    if below + 1 >= layout.infinity:
        return below
    down, up = value - layout.number(below), layout.number(below + 1) - value
    nearest = below + (up < down or (up == down and below % 2))
    return max(nearest, 1)


def _fit(fmt: ScaledFormat, layout: Layout) -> Fit:
    m = layout.mantissa_bits
    never = 2 << m
    goal = fmt.goal
    emax = floor_log2(goal)
    match fmt.rule.fit:
        case "ceil":
            return Fit(0, 0, emax)
        case "even":
            dropped = m - mantissa_bits(fmt.element)
            return Fit(1 << (dropped - 1) if dropped > 0 else 0, never, emax)
        case "tetrajet":
            return Fit(0, _fraction(goal, m), emax)
        case "nearest_log2":
            # 2**k is nearest in the logarithm up to goal * sqrt(2) * 2**k
            root = Fraction(isqrt((2 * goal * goal * power(2 * m + 8)).__floor__()), power(m + 4).numerator)
            return Fit(0, _fraction(root, m), floor_log2(root))
        case _:
            return Fit(0, never, emax)


def _fraction(value: Fraction, m: int) -> int:
    """floor of the fraction of the significand, in units of 2**-m."""
    return int((value / power(floor_log2(value)) - 1) * power(m))


def mantissa_bits(element: Element) -> int:
    """Fraction bits of the element's largest binade."""
    if isinstance(element, FloatFormat):
        return element.mantissa_bits
    if isinstance(element, IntFormat):
        return floor_log2(element.max) - element.exponent
    raise TypeError(f"{element.name}: a codebook has no mantissa bits")
