"""What pictures read off a table of runs: columns, diverged runs, the best setting, means and their spread."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...formats.suggest import unknown
from ..sweeps.measured import measured, require

SPREADS = ("confidence", "range", "deviation", "quartiles", "none")
"""Over seeds: the 95% interval of the mean by Student's t, smallest to largest, one standard deviation to either side,
the middle half, nothing."""
SPREAD_WORDS = {
    "confidence": "95% interval",
    "range": "smallest to largest",
    "deviation": "standard deviation",
    "quartiles": "quartiles",
    "none": "",
}


class Group(NamedTuple):
    """The runs of one format, or whatever they are grouped by.

    Args:
        name: of the group, one value or a tuple.
        mean, low, high: of the runs that did not diverge; NaN where none is left or where there is no spread.
        runs, diverged: how many.
        first: the first row, for what all runs of the group share.
    """

    name: Any
    mean: float
    low: float
    high: float
    runs: int
    diverged: int
    first: Any


def check_columns(frame: Any, columns: Iterable[str], what: str = "runs") -> None:
    """Raise unless a DataFrame has rows and columns.

    Raises:
        TypeError: no DataFrame.
        ValueError: a missing column, with the closest there is; no rows.
    """
    require(frame, *columns)
    if not len(frame):
        raise ValueError(f"there are no {what} to draw; the table is empty")


def numbers_of(frame: Any, column: str) -> np.ndarray:
    """A column as float64, NaN where it is missing or infinite.

    Raises:
        ValueError: a column that is not of numbers.
    """
    return measured(frame[[column]], column, "drop").values


def at_best(runs: Any, by: Sequence[str] = ("format",), over: str = "learning_rate", select: str = "train_loss") -> Any:
    """The runs of each group at its best setting: that of the lowest mean of `select`, where a run without a finite
    one counts as infinite. The training loss chooses by default, so that no test data does.

    Args:
        by: columns that make a group. over: the column of the setting; all runs are kept where there is none.

    Raises:
        ValueError: several settings and no column `select`.
    """
    if over not in runs.columns or over in by or runs[over].nunique(dropna=False) <= 1:
        return runs
    if select not in runs.columns:
        raise ValueError(
            f"the runs have {runs[over].nunique()} values of {over!r} and no column {select!r} to choose by; "
            f"pass select=, or only the runs to draw"
        )
    table: Any = runs.reset_index(drop=True)
    score, keys = numbers_of(table, select), [*by, over]
    table = table.assign(_score=np.where(np.isfinite(score), score, np.inf))
    means = table.groupby(keys, sort=False, dropna=False)["_score"].transform("mean")
    lowest = means.groupby([table[column] for column in by], sort=False, dropna=False).transform("min")
    candidates = table[means == lowest]
    first = candidates.groupby(list(by), sort=False, dropna=False)[over].transform(lambda settings: settings.iloc[0])
    return candidates[(candidates[over] == first) | (candidates[over].isna() & first.isna())].drop(columns="_score")


def groups_of(runs: Any, by: Sequence[str], metric: str, factor: float = 1.0, spread: str = "none") -> list[Group]:
    """The groups in the order in which they occur, with the metric's mean and spread times `factor`."""
    values, lost = measured(runs, metric, "drop")
    values, found = factor * values, []
    for name, rows in runs.reset_index(drop=True).groupby(list(by), sort=False, dropna=False):
        chosen = rows.index.to_numpy()
        kept = values[chosen][~lost[chosen]]
        low, high = spread_of(kept[:, None], spread)
        mean = float(kept.mean()) if len(kept) else np.nan
        name = name[0] if isinstance(name, tuple) and len(name) == 1 else name
        found.append(Group(name, mean, low[0], high[0], len(rows), int(lost[chosen].sum()), rows.iloc[0]))
    return found


def check_spread(spread: str) -> None:
    """Raise a ValueError unless it is one of `SPREADS`."""
    if spread not in SPREADS:
        raise ValueError(unknown("spread", str(spread), SPREADS))


def spread_of(values: np.ndarray, spread: str) -> tuple[np.ndarray, np.ndarray]:
    """Low and high of each column, over what is not NaN; NaN with fewer than two values.

    Args:
        values: (runs, columns).
    """
    count = np.isfinite(values).sum(0)
    low, high = np.full((2, values.shape[1]), np.nan)
    some = count >= 2
    if spread == "none" or not some.any():
        return low, high
    shown = values[:, some]
    if spread in ("range", "quartiles"):
        low[some], high[some] = np.nanquantile(shown, (0, 1) if spread == "range" else (0.25, 0.75), axis=0)
        return low, high
    mean, deviation = np.nanmean(shown, 0), np.nanstd(shown, 0, ddof=1)
    if spread == "confidence":
        from scipy.special import stdtrit

        deviation = stdtrit(count[some] - 1, 0.975) * deviation / np.sqrt(count[some])
    low[some], high[some] = mean - deviation, mean + deviation
    return low, high
