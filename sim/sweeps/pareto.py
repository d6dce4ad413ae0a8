"""Which formats are on the front of cost and quality, and how sure that is over seeds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .bootstrap import Settings, few, times_drawn
from .measured import Measured, Names, direction_of, groups, measured, names_of, notes, numbers, require, table_of

if TYPE_CHECKING:
    import pandas

_AT_ONCE = 10**7
"""Comparisons in memory."""


def pareto_front(
    runs: "pandas.DataFrame",
    cost: Names = "bits",
    metric: Names = "test_loss",
    by: Names = "format",
    *,
    directions: Mapping[str, str] | None = None,
    unit: str | None = "seed",
    confidence: float = 0.95,
    resamples: int = 1999,
    diverged: str = "error",
    seed: int = 0,
) -> "pandas.DataFrame":
    """The groups that no other beats in everything, by their means, and how often they stay so over resampled seeds.

    A group is off the front if another is at least as good in every objective and better in one. Two groups of equal
    means are both on it.

    Args:
        runs: a row per run, of each format at one setting (see `best_runs`).
        cost: the column, or columns, of costs; less is better.
        metric: the column, or columns, of what is bought with it.
        by: the column, or columns, that make a group.
        directions: 'minimize' or 'maximize' of any of these columns; others are read off the metric's name.
        unit: the column whose values are drawn with replacement, the same for all groups, since runs of one seed are
            alike; None draws the runs of each group on their own.
        confidence: of the intervals of metrics, by percentiles of the same resamples.
        resamples: how many.
        diverged: as in `intervals`; a group of which no run counts is never on the front.
        seed: of the resamples.

    Returns:
        A DataFrame, a row per group: the columns of `by`; for each cost its mean; for each metric METRIC, METRIC_low
        and METRIC_high; on_front; probability (of being on the front: its share of the resamples that have runs of
        the group; NaN of one unit); n (runs), diverged, note.

    Raises:
        ValueError: as `intervals`; a direction for a column that is no objective.

    Example:
        >>> import pandas
        >>> losses = [("a", 4, 0.5), ("b", 6, 0.6), ("c", 8, 0.3)]
        >>> runs = pandas.DataFrame(
        ...     [(name, bits, seed, loss + seed / 50) for name, bits, loss in losses for seed in range(3)],
        ...     columns=["format", "bits", "seed", "test_loss"],
        ... )
        >>> pareto_front(runs)[["format", "bits", "test_loss", "on_front", "probability"]].round(3)
          format  bits  test_loss  on_front  probability
        0      a   4.0       0.52      True          1.0
        1      b   6.0       0.62     False          0.0
        2      c   8.0       0.32      True          1.0
    """
    costs, metrics, grouping = names_of(cost), names_of(metric), names_of(by)
    objectives = (*costs, *metrics)
    if not costs or not metrics:
        raise ValueError(f"expected a cost and a metric, got {costs} and {metrics}; pass e.g. cost='bits'")
    if len(set(objectives)) < len(objectives):
        raise ValueError(f"expected each objective once, got {objectives}; a metric is no cost of its own")
    require(runs, *objectives, *grouping, *((unit,) if unit else ()))
    settings = Settings(confidence, "percentile", resamples, seed)
    signs = _signs(costs, metrics, dict(directions or {}))
    found = groups(runs, grouping)
    each = [_costs(runs, name) for name in costs]  # those of a run that diverged are what they are
    each += [measured(runs, name, diverged, "minimize" if signs[name] > 0 else "maximize") for name in metrics]
    values = np.stack([one.values for one in each], 1)
    values[~np.isfinite(values).all(1)] = np.nan
    lost = np.logical_or.reduce([one.diverged for one in each])
    units = groups(runs, (unit,)).numbers if unit else _within(found.members, len(runs))
    order = np.array(list(signs.values()))
    rows = _rows(values, found.members, units, order, unit is not None, settings)
    table = []
    for members, row in zip(found.members, rows):
        named: dict[str, Any] = {}
        for name, mean, low, high in zip(objectives, row["means"], row["low"], row["high"]):
            named |= {name: mean} if name in costs else {name: mean, f"{name}_low": low, f"{name}_high": high}
        table.append({**named, **row, "diverged": int(lost[members].sum())})
    names = [(name,) if name in costs else (name, f"{name}_low", f"{name}_high") for name in objectives]
    return table_of(found.labels, table, [*sum(names, ()), "on_front", "probability", "n", "diverged", "note"])


def on_front(points: np.ndarray) -> np.ndarray:
    """(..., n) which of (..., n, objectives) points, less being better, no other dominates; NaN never are.

    A point dominates another that it equals or beats in every objective and beats in one; equal points do not.

    Example:
        >>> on_front(np.array([[1.0, 5.0], [2.0, 3.0], [2.0, 4.0]])).tolist()
        [True, True, False]
    """
    no_worse = np.ones((*points.shape[:-1], points.shape[-2]), bool)
    better = np.zeros_like(no_worse)
    for objective in np.moveaxis(points, -1, 0):
        other, own = objective[..., :, None], objective[..., None, :]
        no_worse &= other <= own
        better |= other < own
    dominated: np.ndarray = np.any(no_worse & better, axis=-2)
    return ~dominated & np.isfinite(points).all(-1)


def _signs(costs: tuple[str, ...], metrics: tuple[str, ...], directions: dict[str, str]) -> dict[str, int]:
    """1 of an objective of which less is better, else -1."""
    foreign = [name for name in directions if name not in (*costs, *metrics)]
    if foreign:
        raise ValueError(f"a direction for {foreign[0]!r}, but the objectives are {(*costs, *metrics)}")
    defaults = dict.fromkeys(costs, "minimize")
    chosen = {name: direction_of(name, directions.get(name, defaults.get(name))) for name in (*costs, *metrics)}
    return {name: 1 if direction == "minimize" else -1 for name, direction in chosen.items()}


def _costs(runs: "pandas.DataFrame", name: str) -> Measured:
    values = numbers(runs, name)
    absent = np.flatnonzero(~np.isfinite(values))
    if len(absent):
        raise ValueError(
            f"expected a finite {name!r} of every run, got {values[absent[0]]} in row {absent[0]}; fill it in"
        )
    return Measured(values, np.zeros(len(values), bool))


def _within(members: list[np.ndarray], n: int) -> np.ndarray:
    """The number of each run within its group."""
    numbers = np.zeros(n, int)
    for each in members:
        numbers[each] = np.arange(len(each))
    return numbers


def _rows(
    values: np.ndarray, members: list[np.ndarray], units: np.ndarray, signs: np.ndarray, joint: bool, settings: Settings
) -> list[dict[str, Any]]:
    """What is found for each group.

    Args:
        values: (n, objectives).
        members: the runs of each group.
        units: (n,) what is drawn with replacement.
        joint: whether all groups share what is drawn.
    """
    total = int(units.max()) + 1 if len(units) else 0
    shape = (len(members), total, values.shape[1])
    sums, counts, constant = np.zeros(shape), np.zeros(shape[:2]), np.full((shape[0], shape[2]), np.nan)
    for group, own in enumerate(members):
        counted = own[np.isfinite(values[own]).all(1)]
        np.add.at(sums[group], units[counted], values[counted])
        np.add.at(counts[group], units[counted], 1)
        if len(counted):
            lowest, largest = values[counted].min(0), values[counted].max(0)
            constant[group] = np.where(lowest == largest, lowest, np.nan)
    # a mean of equal values may differ from them in the last bit, and equal costs must tie
    exactly = np.isfinite(constant)
    means = np.where(exactly, constant, _ratio(sums.sum(1), counts.sum(1)))
    drawn = _drawn_means(sums, counts, joint, settings)
    drawn = np.where(exactly & np.isfinite(drawn), constant, drawn)
    front, share = on_front(means * signs), _shares(drawn * signs)
    tail = (1 - settings.confidence) / 2
    rows = []
    for group in range(len(members)):
        present = int((counts[group] > 0).sum())
        seen = drawn[:, group][np.isfinite(drawn[:, group]).all(1)]
        low, high = np.quantile(seen, [tail, 1 - tail], axis=0) if present > 1 else np.full((2, len(signs)), np.nan)
        alone = total < 2 if joint else present < 2
        row = {"means": means[group], "low": low, "high": high, "on_front": bool(front[group])}
        row |= {"probability": np.nan if alone else float(share[group]), "n": int(counts[group].sum())}
        rows.append({**row, "note": _note(present, total if joint else present, settings)})
    return rows


def _note(present: int, total: int, settings: Settings) -> str:
    if not present:
        return "no runs"
    partial = f"{present} of {total} units" if present < total else ""
    return notes("one unit: no interval" if present == 1 else few(present, "unit", settings), partial)


def _drawn_means(sums: np.ndarray, counts: np.ndarray, joint: bool, settings: Settings) -> np.ndarray:
    """(resamples, groups, objectives) means over units drawn with replacement; NaN where none of a group was."""
    random, resamples = np.random.default_rng(settings.seed), settings.resamples
    total = counts.shape[1]
    if joint and total:
        times = times_drawn(random.integers(0, total, (resamples, total)), total)
        return _ratio(np.einsum("ru,guk->rgk", times, sums), times @ counts.T)
    drawn = np.full((resamples, *sums.shape[::2]), np.nan)
    for group in range(len(sums)):
        present = np.flatnonzero(counts[group])
        if len(present):
            times = times_drawn(random.integers(0, len(present), (resamples, len(present))), len(present))
            drawn[:, group] = _ratio(times @ sums[group, present], times @ counts[group, present])
    return drawn


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return sums / np.where(counts > 0, counts, np.nan)[..., None]


def _shares(points: np.ndarray) -> np.ndarray:
    """(groups,) how often each is on the front of (resamples, groups, objectives) points, of those it is among."""
    resamples, count, _ = points.shape
    step = max(1, _AT_ONCE // max(1, count * count))
    on = np.zeros(count)
    for start in range(0, resamples, step):
        on += on_front(points[start : start + step]).sum(0)
    present = np.isfinite(points).all(-1).sum(0)
    return on / np.maximum(present, 1)
