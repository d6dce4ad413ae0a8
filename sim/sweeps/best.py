"""Each format at its own best setting, chosen so that the choice does not flatter."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .bootstrap import Settings, interval_of
from .measured import Groups, Names, direction_of, groups, measured, names_of, notes, require, table_of

if TYPE_CHECKING:
    import pandas

_COLUMNS = ["metric", "chosen_by", "chosen_at", "estimate", "low", "high", "n", "diverged", "note"]


class _Chosen(NamedTuple):
    """The settings tried in one group, the one chosen, the mean that chose it, and the runs that measure it."""

    tried: list[int]
    setting: int
    value: float
    rows: np.ndarray


def best_of(
    runs: "pandas.DataFrame",
    metric: str,
    over: Names = "learning_rate",
    by: Names = "format",
    *,
    choose_by: str | None = None,
    holdout: bool = False,
    seed_column: str = "seed",
    confidence: float = 0.95,
    method: str = "bca",
    resamples: int = 9999,
    diverged: str = "error",
    direction: str | None = None,
    seed: int = 0,
) -> "pandas.DataFrame":
    """The best setting of each group, by the mean over seeds, and what it measures there.

    The best of many noisy means looks better than it is (the winner's curse). Either choose by another metric, such as
    the training loss, or hold seeds out: half of them choose, and the others are measured.

    Args:
        runs: a row per run; configuration and metrics in columns.
        metric: what is reported.
        over: the column, or columns, that make a setting.
        by: the column, or columns, that make a group.
        choose_by: the metric that chooses; None for `metric` itself.
        holdout: whether to choose on half of the seeds and to measure on the others, the same halves for all groups.
        seed_column: whose values are split.
        confidence, method, resamples, diverged, direction, seed: as in `intervals`; `diverged` is about the runs
            that are measured, `direction` about both metrics, and `seed` also splits the seeds.

    A setting with runs that diverged or are missing ranks behind all that have fewer of them.

    Returns:
        A DataFrame, a row per group: the columns of `by` and `over`, metric, chosen_by, chosen_at (the mean of that
        metric over the runs that chose), estimate, low, high, n, diverged, note (such as a best rate at the end of
        those tried: a wider grid may hold a better one).

    Raises:
        ValueError: as `intervals`; fewer than two seeds to hold out from; groups and settings of one column.

    Example:
        >>> import pandas
        >>> runs = pandas.DataFrame(
        ...     [(rate, seed, abs(rate - 0.1) + seed / 100) for rate in (0.03, 0.1, 0.3) for seed in range(3)],
        ...     columns=["learning_rate", "seed", "test_loss"],
        ... ).assign(format="e4m3")
        >>> best_of(runs, "test_loss", method="t").round(3)[["format", "learning_rate", "estimate", "low", "high"]]
          format  learning_rate  estimate    low   high
        0   e4m3            0.1      0.01 -0.015  0.035
    """
    settings = Settings(confidence, method, resamples, seed)
    require(runs, metric)
    found, chosen = _choose(
        runs, metric, names_of(over), names_of(by), choose_by, holdout, seed_column, direction, seed
    )
    kept = np.sort(np.concatenate([each.rows for each in chosen])) if chosen else np.empty(0, int)
    values = measured(runs.iloc[kept], metric, diverged, direction)
    position = dict(zip(kept.tolist(), range(len(kept))))
    rows = []
    for each in chosen:
        at = np.array([position[row] for row in each.rows], int)
        counted = values.values[at][np.isfinite(values.values[at])]
        interval = interval_of(counted, settings)
        same = not holdout and choose_by in (None, metric) and len(each.tried) > 1
        note = notes(
            interval.note,
            "chosen on the runs that measure it" if same else "",
            _at_the_end(runs, found, each, names_of(over)),
        )
        rows.append(
            {
                **interval._asdict(),
                "metric": metric,
                "chosen_by": choose_by or metric,
                "chosen_at": each.value,
                "n": len(counted),
                "diverged": int(values.diverged[at].sum()),
                "note": note,
            }
        )
    return table_of(found.labels.iloc[[each.setting for each in chosen]], rows, _COLUMNS)


def best_runs(
    runs: "pandas.DataFrame",
    metric: str,
    over: Names = "learning_rate",
    by: Names = "format",
    *,
    holdout: bool = False,
    seed_column: str = "seed",
    direction: str | None = None,
    seed: int = 0,
) -> "pandas.DataFrame":
    """The runs of each group at its best setting, for `compare`, `pareto_front` or a picture.

    Args:
        metric: that chooses.
        over, by, holdout, seed_column, direction, seed: as in `best_of`. With `holdout` only runs of seeds that did not
            choose are returned.

    Returns:
        Those rows of runs, in their order.

    Raises:
        ValueError: as `best_of`.
    """
    _, chosen = _choose(runs, metric, names_of(over), names_of(by), None, holdout, seed_column, direction, seed)
    return runs.iloc[np.sort(np.concatenate([each.rows for each in chosen])) if chosen else []]


def _choose(
    runs: "pandas.DataFrame",
    metric: str,
    over: tuple[str, ...],
    by: tuple[str, ...],
    choose_by: str | None,
    holdout: bool,
    seed_column: str,
    direction: str | None,
    seed: int,
) -> tuple[Groups, list[_Chosen]]:
    """Groups and settings as one kind of group, and the one chosen for each group."""
    if not over or set(over) & set(by):
        raise ValueError(f"expected settings over columns other than {by}, got {over}; pass e.g. over='learning_rate'")
    ranked = choose_by or metric
    require(runs, ranked, *by, *over)
    settings, outer = groups(runs, (*by, *over)), groups(runs, by)
    sign = 1 if direction_of(ranked, direction) == "minimize" else -1
    values = sign * measured(runs, ranked, "drop").values
    first = _selectors(runs, seed_column, seed) if holdout else np.ones(len(runs), bool)
    second = ~first if holdout else first
    chosen = []
    for members in outer.members:
        tried = list(dict.fromkeys(settings.numbers[members].tolist()))
        ranks = [_rank(values[rows][first[rows]]) for rows in (settings.members[each] for each in tried)]
        best = min(range(len(tried)), key=ranks.__getitem__)
        rows = settings.members[tried[best]]
        value = sign * ranks[best][1] if ranks[best][0] else np.nan
        chosen.append(_Chosen(tried, tried[best], value, rows[second[rows]]))
    return settings, chosen


def _rank(values: np.ndarray) -> tuple[int, float]:
    """What orders settings: first how many runs came through, then their mean."""
    finished = values[np.isfinite(values)]
    return -len(finished), float(finished.mean()) if len(finished) else np.inf


def _selectors(runs: "pandas.DataFrame", column: str, seed: int) -> np.ndarray:
    """Which runs choose: those of half of the seeds, the larger half if they are odd."""
    found = groups(runs, (column,))
    count = len(found.members)
    if len(runs) and count < 2:
        raise ValueError(f"expected two values of {column!r} or more to hold half out, got {count}; pass holdout=False")
    ascending = np.argsort(found.labels[column].astype(str).to_numpy(), kind="stable")  # whatever the order of rows
    choosing = ascending[np.random.default_rng(seed).permutation(count)[: (count + 1) // 2]]
    return np.isin(found.numbers, choosing)


def _at_the_end(runs: "pandas.DataFrame", found: Groups, chosen: _Chosen, over: tuple[str, ...]) -> str:
    """A note for each numeric setting that is the smallest or largest of three or more tried."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    best, tried = found.labels.iloc[chosen.setting], found.labels.iloc[chosen.tried]
    said = []
    for name in over:
        if is_numeric_dtype(runs[name]) and not is_bool_dtype(runs[name]) and tried[name].nunique() > 2:
            ends = {"lowest": tried[name].min(), "highest": tried[name].max()}
            said += [f"the {word} {name} tried" for word, end in ends.items() if best[name] == end]
    return notes(*said)
