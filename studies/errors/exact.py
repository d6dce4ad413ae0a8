"""Errors of quantizers of random numbers by integration: no sampling, of any list of values, nearest or at random.

A quantizer of real numbers is a list of values q_i and of the edges t_i at which it goes from one to the next. With
the density p and its partial moments M_k(t), the integral of x^k p from 0 to t,

    E (Q(x) - x)^2 = sum over cells of  dM_2 - 2 q dM_1 + q^2 dM_0

and rounding at random between a and b costs (x - a)(b - x), whose integral is the same three moments. Where a block
of B numbers shares a scale that follows its largest magnitude m, the others are independent draws below m, so that

    E sum (Q(x) - x)^2 = E_m [e(m) + (B - 1) G(m) / F(m)]

with e the error at m, G the integral of the error up to m, F the share below m; m has the distribution F^B.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from ...formats.exact import numbers
from ...formats.floats import FloatFormat
from ...formats.listing import is_listed, listing
from ...formats.scaled import ScaledFormat
from .densities import Array, Density

FAR = 1e30
"""Stands for infinity: its square is finite, and no density that is used has anything beyond."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A quantizer: ascending values (n,), and the edges (n - 1,) between them."""

    values: Array
    edges: Array


@lru_cache(maxsize=256)
def cells_of(fmt: Any) -> Cells:
    """The values of an unscaled format, and where rounding to nearest goes from one to the next."""
    values = np.array([float(value) for value in numbers(fmt)])
    ties = [float(tie) for tie in listing(fmt).ties] if is_listed(fmt) else (values[:-1] + values[1:]) / 2
    return Cells(values, np.array(ties, float))


def uniform_cells(count: int) -> Cells:
    """So many evenly spaced values from -1 to 1."""
    values = np.linspace(-1, 1, count)
    return Cells(values, (values[:-1] + values[1:]) / 2)


class Moments(NamedTuple):
    """Integrals over |x| up to a limit: of (Q(x) - x)^2, of Q(x) x, of Q(x)^2 and of x^2."""

    error: Array
    cross: Array
    square: Array
    power: Array


def moments_of(cells: Cells, density: Density, scale: Any, limit: Any = FAR, stochastic: bool = False) -> Moments:
    """Of a quantizer whose values and edges are multiplied by a scale.

    Args:
        scale, limit: numbers or arrays that broadcast.
        stochastic: rounding at random between neighbours, in proportion; beyond the ends it saturates.
    """
    scale, limit = (np.asarray(each, float)[..., None] for each in np.broadcast_arrays(scale, limit))
    cuts = cells.values if stochastic else cells.edges
    cuts = np.clip(np.concatenate([np.broadcast_to(-FAR, scale.shape), scale * cuts, limit], axis=-1), -limit, limit)
    m0, m1, m2 = (np.diff(each, axis=-1) for each in density.moments(cuts))
    if not stochastic:
        q = scale * cells.values
        cross, square = (q * m1).sum(-1), (q * q * m0).sum(-1)
    else:
        q = scale * np.concatenate([cells.values[:1], cells.values, cells.values[-1:]])
        low, high = q[..., :-1], q[..., 1:]
        # E Q(x) is x between two values, and E Q(x)^2 = (a + b) x - a b.
        inside = low < high
        cross = np.where(inside, m2, low * m1).sum(-1)
        square = np.where(inside, (low + high) * m1 - low * high * m0, low * low * m0).sum(-1)
    power = m2.sum(-1)
    return Moments(power - 2 * cross + square, cross, square, power)


def error_at(cells: Cells, x: Array, scale: Array, stochastic: bool = False) -> tuple[Array, Array]:
    """The expected (Q(x) - x)^2 and Q(x) x at single numbers."""
    y = x / scale
    if not stochastic:
        q = cells.values[np.searchsorted(cells.edges, y)] * scale
        return (q - x) ** 2, q * x
    place = np.clip(np.searchsorted(cells.values, y), 1, len(cells.values) - 1)
    low, high = cells.values[place - 1] * scale, cells.values[place] * scale
    inside = np.clip(x, low, high)
    return (inside - low) * (high - inside) + (x - inside) ** 2, inside * x


def best_scale(
    cells: Cells, density: Density, stochastic: bool = False, top: float | None = None
) -> tuple[float, float]:
    """The scale at which the mean squared error is least, and that error.

    Args:
        top: a value that belongs at a few standard deviations; by default the largest.


    The error is continuous at the edges, so that only the values count in its derivative: rounding to nearest is at
    an extremum where E Q(x) x = E Q(x)^2. Formats of a wide range have one in each binade; the lowest on a fine grid is
    refined.
    """
    top = float(np.abs(cells.values).max()) if top is None else top
    tried = np.exp(np.linspace(np.log(0.4), np.log(2.0**9), 300)) / top
    error = moments_of(cells, density, tried, stochastic=stochastic).error
    start = int(np.argmin(error))
    if stochastic or not 0 < start < len(tried) - 1:
        return float(tried[start]), float(error[start])

    def slope(scale: float) -> float:
        found = moments_of(cells, density, scale)
        return float(found.square - found.cross)

    low, high = float(tried[start - 1]), float(tried[start + 1])
    if slope(low) >= 0 or slope(high) <= 0:
        return float(tried[start]), float(error[start])
    best: Any = brentq(slope, low, high, xtol=1e-13)
    return best, float(moments_of(cells, density, best).error)


class Rounded(NamedTuple):
    """What a quantizer does to numbers of variance 1.

    Args:
        error: E (Q(x) - x)^2. shrinkage: 1 - E Q(x) x, the share by which Q(x) is shorter along x.
    """

    error: float
    shrinkage: float

    @property
    def decibels(self) -> float:
        """Signal over noise."""
        return float(-10 * np.log10(self.error))


def static(cells: Cells, density: Density, scale: float, stochastic: bool = False) -> Rounded:
    """One scale for all, whatever is drawn."""
    found = moments_of(cells, density, scale, stochastic=stochastic)
    return Rounded(float(found.error), 1 - float(found.cross))


def blocked(fmt: ScaledFormat, density: Density, *, deviation: float = 1.0, stochastic: bool = False) -> Rounded:
    """Blocks of independent draws whose scale follows their largest magnitude; relative to the variance.

    Args:
        fmt: blocks of a size, scales in binary32 (taken as exact) or in a format, no outer scale, no search.
        deviation: standard deviation of the data, which matters where scales are not exact.

    Raises:
        ValueError: another kind of format.
    """
    rule = fmt.rule
    plain = fmt.outer is None and fmt.order == "plain" and not fmt.epsilon and not fmt.zero_point
    if not fmt.block_size or not plain or rule.statistic != "absmax" or rule.search:
        raise ValueError(f"{fmt.name}: expected blocks of a size with one scale of the largest magnitude each")
    cells, size = cells_of(fmt.element), fmt.block_size
    if isinstance(fmt.scale, FloatFormat) and fmt.scale.mantissa_bits >= 23:
        return _with_exact_scales(cells, density, size, float(fmt.goal), stochastic)
    return stepped(cells, density, size, scale_steps(fmt), deviation=deviation, stochastic=stochastic)


def stepped(
    cells: Cells,
    density: Density,
    size: int,
    steps: tuple[Array, Array],
    *,
    deviation: float = 1.0,
    stochastic: bool = False,
) -> Rounded:
    """The same of any steps: largest magnitudes, ascending from 0, from which on a scale is used, and those scales."""
    starts, scales = steps
    starts, scales = np.append(starts, FAR) / deviation, scales / deviation
    low, high = (moments_of(cells, density, scales, limit, stochastic) for limit in (starts[:-1], starts[1:]))
    shares = 2 * density.moments(starts)[0]
    below, above = (share ** (size - 1) for share in (shares[:-1], shares[1:]))
    error, cross = (float((end * above - start * below).sum()) for start, end in zip(low[:2], high[:2]))
    return Rounded(error, 1 - cross)


def scale_steps(fmt: ScaledFormat) -> tuple[Array, Array]:
    """Largest magnitudes, ascending from 0, from which on a scale is used, and those scales."""
    if fmt.rule.power_of_two:
        powers = np.arange(-100, 101)
        goal = float(fmt.goal)
        first = {"floor": 2.0 ** np.floor(np.log2(goal)), "tetrajet": goal / 2}[fmt.rule.fit]
        return np.append(0.0, first * 2.0 ** powers[1:]), 2.0**powers
    values = np.array([float(value) for value in numbers(fmt.scale) if value > 0])
    return np.append(0.0, (values[:-1] + values[1:]) / 2 * float(fmt.goal)), values


@lru_cache(maxsize=64)
def of_largest(density: Density, size: int) -> tuple[Array, Array, Array]:
    """Nodes m of the largest of so many magnitudes, the share of numbers below each, and weights that sum to 1."""
    logs = np.linspace(-4.0, np.log(density.far), 220)
    largest = np.exp(logs)
    share = 2 * density.moments(largest)[0]
    weight = size * share ** (size - 1) * 2 * density.at(largest) * largest * (logs[1] - logs[0])
    used = weight > 1e-15
    return largest[used], share[used], weight[used]


def _with_exact_scales(cells: Cells, density: Density, size: int, goal: float, stochastic: bool) -> Rounded:
    """The trapezoidal rule in log m, which is exponentially exact for a smooth density that vanishes at both ends."""
    largest, share, weight = of_largest(density, size)
    scale = largest / goal
    rest = moments_of(cells, density, scale, largest, stochastic)
    own = error_at(cells, largest, scale, stochastic)
    error, cross = (
        float((weight * (at + (size - 1) * up_to / share)).sum()) / size for at, up_to in zip(own, rest[:2])
    )
    return Rounded(error, 1 - cross)


def usage(cells: Cells, density: Density, size: int) -> Array:
    """How often each value is taken, (n,), where the largest magnitude of a block becomes 1."""
    largest, share, weight = of_largest(density, size)
    cuts = np.concatenate([[-1.0], cells.edges, [1.0]]) * largest[:, None]
    inside = np.diff(density.moments(cuts)[0], axis=-1) / share[:, None]
    found = (size - 1) / size * (weight[:, None] * inside).sum(0)
    found[[0, -1]] += 0.5 / size
    return found


def lloyd_max(count: int, density: Density, iterations: int = 20_000) -> tuple[Cells, float]:
    """The values of least mean squared error (J. Max, 1960; S. P. Lloyd, 1982), and that error.

    Each value becomes the mean of its cell, each edge the middle of two values, until nothing moves.
    """
    step = 4 / count
    values = (np.arange(count) - (count - 1) / 2) * step
    for _ in range(iterations):
        edges = (values[:-1] + values[1:]) / 2
        cuts = np.concatenate([[-FAR], edges, [FAR]])
        mass, sums, _ = (np.diff(each) for each in density.moments(cuts))
        moved, values = values, sums / mass
        if np.abs(moved - values).max() < 1e-9:
            break
    found = Cells(values, (values[:-1] + values[1:]) / 2)
    return found, float(moments_of(found, density, 1.0).error)
