"""Damage of rounding weights, its powers of data and size, and the parameters that low precision leaves effective."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from ..claims import Measured
from ..errors.resampled import jackknife
from ..errors.samples import mean_of

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""


def damages(table: Table, **where: Any) -> np.ndarray:
    """(seeds, cells): loss after less loss before, in nats; cells in the order of size, data, bits, post.

    Args:
        table: a row per rounded model with size, parameters, bits, tokens, seed, post, before, after.
        where: columns and the value, or list of values, that is kept.

    Raises:
        ValueError: nothing is left, or cells without some seeds.
    """
    return _by_seed(_kept(table, where).assign(value=lambda kept: kept["after"] - kept["before"]))


def losses(table: Table, column: str, **where: Any) -> np.ndarray:
    """(seeds, cells): 'before' or 'after' in the same order; every cell must have one value a seed."""
    return _by_seed(_kept(table, where).assign(value=lambda kept: kept[column]))


def _kept(table: Table, where: dict[str, Any]) -> Table:
    kept = np.ones(len(table), bool)
    for name, value in where.items():
        kept &= table[name].isin(value if isinstance(value, list) else [value]).to_numpy()
    if not kept.any():
        raise ValueError(f"no model with {', '.join(f'{name} {value}' for name, value in where.items())}")
    return table[kept]


def _by_seed(table: Table) -> np.ndarray:
    wide = table.pivot(index="seed", columns=["parameters", "tokens", "bits", "post"], values="value")
    if wide.isna().to_numpy().any():
        raise ValueError("expected every seed in every cell; train all of a plan first")
    return wide.sort_index(axis=1).to_numpy(float)


def power(values: np.ndarray, spread: np.ndarray, at: Any) -> float:
    """g of values = c at^g by weighted least squares, from -5 to 5; single values may be negative by chance.

    Args:
        values, spread: (n,) numbers and their standard deviations. at: (n,) places above 0.

    Raises:
        ValueError: values whose best c is not positive: there is no power of them.
    """
    g, fitted = _fit(values, spread, at)
    if not (fitted > 0).all():
        raise ValueError(f"expected values above 0 for a power, got {values}; take more seeds")
    return g


def fitted_power(values: np.ndarray, spread: np.ndarray, at: Any) -> np.ndarray:
    """(n,) values of that power at its places."""
    return _fit(values, spread, at)[1]


def _fit(values: np.ndarray, spread: np.ndarray, at: Any) -> tuple[float, np.ndarray]:
    """g, and c at^g with the c that is best for it."""
    logs = np.log(np.asarray(at, float))
    logs, weights = logs - logs.mean(), np.asarray(spread, float) ** -2.0

    def fitted(g: float) -> np.ndarray:
        shape = np.exp(g * logs)
        return shape * (weights * values * shape).sum() / (weights * shape**2).sum()

    def error(g: float) -> float:
        return float((weights * (values - fitted(g)) ** 2).sum())

    tried = np.linspace(-5, 5, 41)  # the error may have several minima
    best = int(np.argmin([error(g) for g in tried]))
    ends = (tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)])
    found: Any = minimize_scalar(error, bounds=ends, method="bounded", options={"xatol": 1e-10})
    return float(found.x), fitted(found.x)


def log_damage(damage: np.ndarray) -> np.ndarray:
    """The log of mean damages.

    Raises:
        ValueError: damages that are not positive, which have none; measure them on more seeds or with fewer bits.
    """
    if not (damage > 0).all():
        raise ValueError(
            f"expected mean damages above 0, got {damage.min():.3g}; take more seeds, or leave out that bit"
        )
    return np.log(damage)


def share_of(loss: np.ndarray, reference: float, by_size: float) -> np.ndarray:
    """The share of parameters that stays effective: which float32 model, in size, has that loss.

        loss = reference + by_size * log(share)

    Args:
        loss: (n,) in low precision. reference: of float32, same size and data.
        by_size: slope of float32's loss over the log of the parameters; below 0.

    Raises:
        ValueError: a larger float32 model is not better, so that no size stands for a loss.
    """
    if not by_size < 0:
        raise ValueError(f"expected float32's loss to fall with size, got a slope of {by_size:.3g}; train longer")
    return np.exp((loss - reference) / by_size)


def sensitivity(bits: Sequence[int], share: np.ndarray) -> float:
    """gamma of share = 1 - exp(-bits / gamma) by least squares, from .1 to 20 bits."""
    at = np.asarray(bits, float)

    def error(log_gamma: float) -> float:
        return float(((1 - np.exp(-at / np.exp(log_gamma)) - share) ** 2).sum())

    found: Any = minimize_scalar(error, bounds=(np.log(0.1), np.log(20)), method="bounded", options={"xatol": 1e-10})
    return float(np.exp(found.x))


def interval(values: Any) -> Measured:
    """The mean over seeds, with its 95% interval by Student's distribution."""
    return mean_of(np.asarray(values, float))


def of_means(values: np.ndarray, statistic: Callable[[np.ndarray], float]) -> Measured:
    """A statistic of means over seeds, with its 95% interval by the jackknife.

    A single damage may be negative, its mean has a log.

    Args:
        values: (seeds, n). statistic: of (n,) means.
    """
    return jackknife(lambda kept: statistic(values[kept].mean(0)), len(values))
