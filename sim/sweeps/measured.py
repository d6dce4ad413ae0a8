"""What statistics read in a table of runs: its columns, its groups, and which runs diverged."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...formats.suggest import unknown

if TYPE_CHECKING:
    import pandas

Names = str | Iterable[str]
"""One column or several."""
DIRECTIONS = ("minimize", "maximize")
POLICIES = ("error", "drop", "worst")
_MORE_IS_BETTER = {"accuracy", "auc", "f1", "psnr", "r2", "score", "sqnr"}
_LESS_IS_BETTER = {
    *("loss", "error", "perplexity", "mse", "mae", "rmse", "distance", "divergence", "diverged"),
    *("bits", "bytes", "seconds", "time", "latency", "energy", "joules", "area", "cost", "operations"),
}


class Measured(NamedTuple):
    """A metric of n runs.

    Args:
        values: (n,) float64; NaN where a run does not count.
        diverged: (n,) bool, which runs did.
    """

    values: np.ndarray
    diverged: np.ndarray


class Groups(NamedTuple):
    """Runs that agree in some columns.

    Args:
        labels: a DataFrame of those columns, a row per group, in the order of the first run of each.
        members: the numbers of the runs of each group.
        numbers: (n,) which group each run is in.
    """

    labels: Any
    members: list[np.ndarray]
    numbers: np.ndarray


def names_of(given: Names) -> tuple[str, ...]:
    """Columns as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given)


def require(runs: Any, *columns: str) -> None:
    """Raise unless runs is a DataFrame that has the columns, each once."""
    import pandas

    if not isinstance(runs, pandas.DataFrame):
        raise TypeError(
            f"expected a DataFrame with a row per run, got {type(runs).__name__}; pass what hu.sweep returns"
        )
    for column in columns:
        if column not in runs.columns:
            raise ValueError(unknown("column", str(column), map(str, runs.columns)))
        if not isinstance(runs[column], pandas.Series):
            raise ValueError(f"expected one column {column!r}, got {runs[column].shape[1]}; rename the others")


def choice(kind: str, name: Any, known: Sequence[str]) -> None:
    """Raise unless name is one of the known."""
    if name not in known:
        raise ValueError(unknown(kind, str(name), known))


def direction_of(metric: str, direction: str | None) -> str:
    """'minimize' or 'maximize': what was given, or what the words of the metric's name mean."""
    if direction is not None:
        choice("direction", direction, DIRECTIONS)
        return direction
    words = set(metric.lower().split("_"))
    if words & _MORE_IS_BETTER:
        return "maximize"
    if words & _LESS_IS_BETTER:
        return "minimize"
    raise ValueError(f"is less of {metric!r} better, or more? pass direction='minimize' or direction='maximize'")


def measured(runs: "pandas.DataFrame", metric: str, diverged: str, direction: str | None = None) -> Measured:
    """The values of a metric under a policy for runs that diverged.

    A run diverged if its metric is not finite, or if the table has a column `diverged` that is true.

    Args:
        diverged: 'error' raises; 'drop' leaves them out; 'worst' gives them the worst value of the runs of the table
            that did not diverge (NaN if all did).
        direction: which values are worse; needed by 'worst' only.

    Raises:
        ValueError: an unknown column or policy; a metric that is no number; runs that diverged, under 'error'.
    """
    choice("policy for diverged runs", diverged, POLICIES)
    require(runs, metric)
    values = numbers(runs, metric)
    lost = ~np.isfinite(values)
    if "diverged" in runs.columns and metric != "diverged":
        # of runs that failed it may be missing, and then the metric is
        lost |= np.array([each is not None and each == each and bool(each) for each in runs["diverged"]], bool)
    if not lost.any():
        return Measured(values, lost)
    if diverged == "error":
        raise ValueError(
            f"{lost.sum()} of {len(lost)} runs diverged (first: row {np.flatnonzero(lost)[0]}); pass diverged='drop' "
            "to leave them out or diverged='worst' to give them the worst value of the others"
        )
    worst = np.nan
    if diverged == "worst" and not lost.all():
        worst = values[~lost].max() if direction_of(metric, direction) == "minimize" else values[~lost].min()
    return Measured(np.where(lost, worst, values), lost)


def numbers(runs: "pandas.DataFrame", metric: str) -> np.ndarray:
    """(n,) float64 of a column; NaN where it is missing."""
    import pandas

    column: Any = runs[metric]
    try:
        return np.array(pandas.Series(pandas.to_numeric(column)).to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers in column {metric!r}, got {error}; pass another metric") from error


def groups(runs: "pandas.DataFrame", by: Sequence[str]) -> Groups:
    """Groups of runs that agree in the columns of `by`; missing values agree with one another."""
    import pandas

    require(runs, *by)
    if not len(runs) or not by:
        labels = runs[list(by)].iloc[:1].reset_index(drop=True)
        return Groups(labels, [np.arange(len(runs))] if len(runs) else [], np.zeros(len(runs), int))
    codes = [pandas.factorize(_hashable(runs[column]), use_na_sentinel=False)[0] for column in by]
    _, first, inverse = np.unique(np.stack(codes, 1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    numbers = np.argsort(order)[inverse.reshape(-1)]
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    return Groups(runs[list(by)].iloc[first[order]].reset_index(drop=True), members, numbers)


def _hashable(column: Any) -> Any:
    """Lists and dictionaries, of which configurations may consist, as their texts."""
    return column.map(lambda each: repr(each) if isinstance(each, (list, dict, set, np.ndarray)) else each)


def table_of(labels: Any, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> "pandas.DataFrame":
    """The columns of groups beside what was found for each, a row per group."""
    import pandas

    clash = [name for name in labels.columns if name in columns]
    if clash:
        raise ValueError(f"a column of the runs is called {clash[0]!r}, as one of the result is; rename it")
    found = pandas.DataFrame(list(rows), columns=list(columns))
    return pandas.concat([labels.reset_index(drop=True), found], axis=1)


def notes(*each: str) -> str:
    """Several notes as one."""
    return "; ".join(filter(None, each))
