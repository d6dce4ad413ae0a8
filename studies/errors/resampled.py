"""Statistics over seeds: intervals by leaving out one seed at a time, and slopes of lines of least squares."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..claims import Measured
from .samples import mean_of


def jackknife(statistic: Callable[[np.ndarray], float], n: int) -> Measured:
    """A statistic of n independent seeds with its 95% interval, by leaving out one at a time.

    With T of all seeds and T_i of those without seed i, the interval has the width of Student's of the pseudo-values
    n T - (n - 1) T_i (Tukey, Ann. Math. Statist. 29, 1958), around T. Of a mean it is Student's interval.

    Args:
        statistic: of the numbers of the seeds that are kept, (n,) or (n - 1,) integers, ascending.
        n: seeds, at least 2.

    Raises:
        ValueError: fewer than two seeds, which have no interval.

    Example:
        >>> x = np.array([1.0, 2.0, 6.0])
        >>> jackknife(lambda kept: x[kept].mean(), 3).value
        3.0
    """
    if n < 2:
        raise ValueError(f"expected two seeds or more, of which one is left out; got {n}")
    seeds = np.arange(n)
    whole = float(statistic(seeds))
    without = np.array([statistic(np.delete(seeds, k)) for k in range(n)], float)
    pseudo = mean_of(n * whole - (n - 1) * without)
    shift = whole - pseudo.value
    return replace(pseudo, value=whole, low=pseudo.low + shift, high=pseudo.high + shift)


def slope(x: Any, y: Any) -> Any:
    """The slope of y over x by least squares, of each line on its own.

    Args:
        x: (n,) places. y: (..., n) values there.

    Returns:
        (...) slopes.

    Raises:
        ValueError: fewer than two different places, or another number of values.

    Example:
        >>> slope([1, 2, 3], [[0, 2, 4], [1, 1, 1]]).tolist()
        [2.0, 0.0]
    """
    at, values = np.asarray(x, float), np.asarray(y, float)
    if len(np.unique(at)) < 2:
        raise ValueError(f"a slope needs two different places or more, got {at.tolist()}")
    if values.shape[-1:] != at.shape:
        raise ValueError(f"expected {len(at)} values, one a place, got an array of {values.shape}")
    centred = at - at.mean()
    return values @ centred / (centred @ centred)


def best_on_others(values: np.ndarray) -> np.ndarray:
    """(seeds,) of (seeds, kinds), less being better: the value of the kind that is best by the mean of all other seeds.

    So that no seed judges what it chose itself, by which the least of several means is too low.

    Raises:
        ValueError: a single seed.
    """
    count = len(values)
    if count < 2:
        raise ValueError("expected two seeds or more, of which one judges what the others chose; got one")
    others = (values.sum(0) - values) / (count - 1)
    return values[np.arange(count), others.argmin(1)]
