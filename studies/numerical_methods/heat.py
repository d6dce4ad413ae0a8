"""The heat equation in low precision: rounding to nearest stops it, stochastic rounding does not.

u_t = u_xx + pi**2 sin(pi x) on (0, 1), u = 1 at both ends and at the beginning; its limit is 1 + sin(pi x). Euler's
method on a grid of spacing 1/K with dt = 1 / (4 K**2), in the form u + rnd(dt * slope), whose slope is computed in
float64 and rounded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...emulate import linalg
from .statistics import Estimate, slope

RATIO = 0.25
"""dt K**2."""
END = 0.5
"""When errors are measured."""


@dataclass(frozen=True, slots=True)
class Heat:
    """What a run came to.

    Args:
        path: (steps + 1, runs, K - 1) states at inner points.
        exact: (K - 1,) the last state of the same scheme in float64.
    """

    path: np.ndarray
    exact: np.ndarray

    @property
    def cells(self) -> int:
        """K."""
        return self.path.shape[-1] + 1

    @property
    def error(self) -> np.ndarray:
        """(runs,) root-mean-square errors at the end, over points."""
        return np.sqrt(np.square(self.path[-1] - self.exact).mean(axis=-1))

    @property
    def stagnates_after(self) -> float:
        """The share of steps after which nothing moves any more."""
        moved = np.flatnonzero((self.path[1:] != self.path[:-1]).any(axis=(1, 2)))
        return (int(moved[-1]) + 1 if moved.size else 0) / (len(self.path) - 1)


def heat(cells: int, fmt: str, rounding: str = "nearest_even", runs: int = 1) -> Heat:
    """Solve it.

    Args:
        cells: K. fmt, rounding: of every operation on the state.
        runs: independent ones, for stochastic rounding.
    """
    source = np.square(np.pi / cells) * np.sin(np.pi * np.arange(1, cells) / cells)

    def change(u: np.ndarray) -> np.ndarray:
        """dx**2 times the slope, so that the method's step is dt K**2."""
        whole = np.pad(u, [(0, 0)] * (u.ndim - 1) + [(1, 1)], constant_values=1.0)
        return whole[..., :-2] - 2 * u + whole[..., 2:] + source

    steps = round(END * cells**2 / RATIO)
    exact = np.ones(cells - 1)
    for _ in range(steps):
        exact = exact + RATIO * change(exact)
    seed = 0 if rounding == "stochastic" else None
    start = np.ones((runs, cells - 1))
    found = linalg.euler(
        lambda _, u: change(u.values), start, fmt, step=RATIO, steps=steps, rounding=rounding, seed=seed
    )
    return Heat(np.asarray(found.y), exact)


def time_steps(cells: Sequence[int]) -> np.ndarray:
    """dt of grids."""
    return RATIO / np.square(np.array(cells, np.float64))


def growth(runs: Sequence[Heat]) -> Estimate:
    """The power of 1/dt with which errors grow."""
    return slope(1 / time_steps([each.cells for each in runs]), np.stack([each.error for each in runs]))
