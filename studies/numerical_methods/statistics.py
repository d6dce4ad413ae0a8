"""Means and slopes of repeated experiments, with 95% intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..claims import Measured
from ..errors.samples import mean_of


class Estimate(NamedTuple):
    """A number with its 95% interval, from so many independent experiments."""

    value: float
    low: float
    high: float
    experiments: int

    def measured(self, note: str = "") -> Measured:
        """As a study reports it."""
        return Measured(self.value, self.low, self.high, self.experiments, note)


def mean(samples: Sequence[float] | np.ndarray) -> Estimate:
    """The mean with Student's interval."""
    found = mean_of(np.ravel(samples))
    return Estimate(found.value, found.low, found.high, np.size(samples))


def slope(x: Sequence[float] | np.ndarray, errors: np.ndarray, seed: int = 0, resamples: int = 1000) -> Estimate:
    """The power p of root-mean-square errors ~ x**p: a least-squares line through logarithms.

    Args:
        x: (k,) positive.
        errors: (k, m): of m experiments at each x, independent over both axes or paired along the second.
        seed, resamples: of the bootstrap over experiments, anew at each x.

    Returns:
        The power with the bootstrap's percentile interval; it holds its value always.
    """
    errors = np.asarray(errors, np.float64)
    rng = np.random.Generator(np.random.PCG64(seed))
    k, m = errors.shape
    drawn = rng.integers(m, size=(resamples, k, m))
    squares = np.take_along_axis(np.square(errors)[None], drawn, axis=-1).mean(axis=-1)
    centred = np.log(x) - np.log(x).mean()
    weights = centred / np.square(centred).sum()
    value = float(weights @ (np.log(np.square(errors).mean(axis=-1)) / 2))
    low, high = np.quantile((np.log(squares) / 2) @ weights, [0.025, 0.975])
    return Estimate(value, min(float(low), value), max(float(high), value), m)
