"""Whether two metrics, or two tasks, put formats in the same order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .bootstrap import Settings, bootstrapped, few, times_drawn
from .measured import Names, choice, direction_of, groups, measured, names_of, notes, require
from .values import counted

if TYPE_CHECKING:
    import pandas

_COLUMNS = ["a", "b", "method", "estimate", "low", "high", "p", "n", "diverged", "note"]
_PAIRS_AT_ONCE = 4 * 10**6
"""Numbers of the matrices of signs in memory: their side is the square root."""


def rank_correlation(
    runs: "pandas.DataFrame",
    a: Any,
    b: Any,
    *,
    of: Names = (),
    across: str | None = None,
    metric: str | None = None,
    methods: Sequence[str] = ("spearman", "kendall"),
    confidence: float = 0.95,
    method: str = "bca",
    resamples: int = 9999,
    diverged: str = "error",
    direction: str | None = None,
    seed: int = 0,
) -> "pandas.DataFrame":
    """Rank correlation of two metrics, or of one metric between two tasks, with bootstrap intervals.

    Args:
        runs: a row per run.
        a, b: two metrics, such as a proxy and the real one; with `across`, two values of that column.
        of: the columns of what is ranked, such as 'format': means over the runs of each are correlated, and they are
            what the bootstrap draws. () correlates the runs themselves.
        across, metric: the column of which a and b are values, such as 'task', and the metric; needs `of`.
        methods: 'spearman', 'kendall' (tau-b).
        method: 'bca' or 'percentile'.
        confidence, resamples, diverged, direction, seed: as in `intervals`. Both of a and b must count; with 'worst', a
            direction applies to both.

    Returns:
        A DataFrame, a row per method: a, b, method, estimate, low, high, p (against no association; exact for Kendall
        of few values without ties, else asymptotic), n (values correlated), diverged (runs that did), note. NaN where
        n < 3 or where all values of a or b are equal. In the bootstrap a resample of equal values counts as 0.

    Raises:
        ValueError: as `intervals`; `across` without `of` or `metric`, a value it does not have.

    Example:
        >>> import pandas
        >>> runs = pandas.DataFrame({"sqnr_db": [31, 25, 19, 14, 12, 8], "test_accuracy": [98, 97, 97.5, 95, 91, 80]})
        >>> rank_correlation(runs, "sqnr_db", "test_accuracy").round(2)[["method", "estimate", "n"]]
             method  estimate  n
        0  spearman      0.94  6
        1   kendall      0.87  6
    """
    import pandas

    settings = Settings(confidence, method, resamples, seed)
    choice("method", method, ("bca", "percentile"))
    for each in methods:
        choice("rank correlation", each, ("spearman", "kendall"))
    ranked = names_of(of)
    if across is None:
        x, y, lost = _two_metrics(runs, a, b, ranked, diverged, direction)
    else:
        if not ranked or metric is None:
            raise ValueError("across= compares one metric: pass metric='test_loss' and of='format', or leave it out")
        table, lost = _means(runs, metric, ranked, across, diverged, direction, [a, b])
        x, y = table[:, 0], table[:, 1]
    both = np.isfinite(x) & np.isfinite(y)
    left = f"{(~both).sum()} of {len(both)} lack a or b" if not both.all() else ""
    rows = [_row(x[both], y[both], each, settings) for each in methods]
    for each in rows:
        each.update(a=a, b=b, diverged=lost, note=notes(each["note"], left))
    return pandas.DataFrame(rows, columns=_COLUMNS)


def rank_table(
    runs: "pandas.DataFrame",
    metric: str,
    of: str = "format",
    across: str = "task",
    *,
    diverged: str = "error",
    direction: str | None = None,
) -> "pandas.DataFrame":
    """The rank of each format in each task, by the mean of a metric over runs.

    Args:
        runs: a row per run.
        of: the column of what is ranked.
        across: the column whose values rank.
        diverged, direction: as in `intervals`; the direction says which end is rank 1.

    Returns:
        A DataFrame, a row per value of `of`, by mean rank: that column, a column of ranks for each value of `across` (1
        is the best, ties share their mean rank, NaN without runs), mean_rank. Its `attrs["kendall_w"]` is Kendall's
        coefficient of concordance, 1 if all agree and 0 if none do, of what all have ranked, corrected for ties
        (Kendall and Gibbons, "Rank Correlation Methods", 1990); NaN of fewer than two.

    Raises:
        ValueError: as `intervals`.
    """
    from scipy import stats

    require(runs, metric, of, across)
    sign = 1 if direction_of(metric, direction) == "minimize" else -1
    columns = groups(runs, (across,)).labels[across].tolist()
    table, _ = _means(runs, metric, (of,), across, diverged, direction, columns)
    ranks = stats.rankdata(sign * table, axis=0, nan_policy="omit") if table.size else table
    found: Any = groups(runs, (of,)).labels
    for number, name in enumerate(columns):
        found[name] = ranks[:, number]
    ranked = np.isfinite(ranks)
    found["mean_rank"] = np.where(ranked, ranks, 0).sum(1) / np.where(ranked.any(1), ranked.sum(1), np.nan)
    found = found.sort_values("mean_rank", kind="stable", ignore_index=True)
    found.attrs["kendall_w"] = _concordance(table[np.isfinite(table).all(1)])
    return found


def _two_metrics(
    runs: "pandas.DataFrame", a: str, b: str, of: tuple[str, ...], diverged: str, direction: str | None
) -> tuple[np.ndarray, np.ndarray, int]:
    require(runs, a, b, *of)
    one, other = (measured(runs, name, diverged, direction) for name in (a, b))
    lost = int((one.diverged | other.diverged).sum())
    if not of:
        return one.values, other.values, lost
    counted = np.isfinite(one.values) & np.isfinite(other.values)
    means = [
        [each.values[members][counted[members]].mean() if counted[members].any() else np.nan for each in (one, other)]
        for members in groups(runs, of).members
    ]
    table = np.array(means, float).reshape(-1, 2)
    return table[:, 0], table[:, 1], lost


def _means(
    runs: "pandas.DataFrame",
    metric: str,
    of: tuple[str, ...],
    across: str,
    diverged: str,
    direction: str | None,
    columns: Sequence[Any],
) -> tuple[np.ndarray, int]:
    """(groups of `of`, columns) means over runs, NaN where there are none, and how many runs diverged."""
    require(runs, metric, across, *of)
    among = groups(runs, (across,))
    known = among.labels[across].tolist()
    for column in columns:
        if column not in known:
            raise ValueError(f"{across!r} has no {column!r}; it has {', '.join(map(str, known))}")
    values = measured(runs, metric, diverged, direction)
    rows = groups(runs, of)
    counted = np.isfinite(values.values)
    place = rows.numbers * max(1, len(known)) + among.numbers
    cells = len(rows.members) * len(known)
    counts = np.bincount(place[counted], minlength=cells)
    sums = np.bincount(place[counted], values.values[counted], minlength=cells)
    table = (sums / np.where(counts, counts, np.nan)).reshape(len(rows.members), len(known))
    chosen = [known.index(column) for column in columns]
    return table[:, chosen], int(values.diverged[np.isin(among.numbers, chosen)].sum())


def _row(x: np.ndarray, y: np.ndarray, name: str, settings: Settings) -> dict[str, Any]:
    from scipy import stats

    n = len(x)
    row: dict[str, Any] = {"method": name, "estimate": np.nan, "low": np.nan, "high": np.nan, "p": np.nan, "n": n}
    if n < 3:
        return {**row, "note": f"{counted(n, 'value')}: no correlation"}
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return {**row, "note": "all values of one are equal: no order"}
    if name == "kendall" and n * n > _PAIRS_AT_ONCE:
        raise ValueError(f"expected up to {int(_PAIRS_AT_ONCE**0.5)} values, got {n}; pass of= or methods=['spearman']")
    tested: Any = stats.spearmanr(x, y) if name == "spearman" else stats.kendalltau(x, y)
    statistic = _spearman(x, y) if name == "spearman" else _kendall(x, y)
    low, high, note = bootstrapped(statistic, np.arange(n), settings)
    ends = {"estimate": float(tested.statistic), "low": float(low), "high": float(high), "p": float(tested.pvalue)}
    return {**row, **ends, "note": notes(note, few(n, "value", settings))}


def _spearman(x: np.ndarray, y: np.ndarray) -> Any:
    """Of (..., n) numbers of pairs: Pearson's correlation of their ranks."""
    from scipy import stats

    def statistic(drawn: np.ndarray, axis: int) -> np.ndarray:
        a, b = (stats.rankdata(each[drawn], axis=-1) - (drawn.shape[-1] + 1) / 2 for each in (x, y))
        return _ratio((a * b).sum(-1), (a * a).sum(-1), (b * b).sum(-1))

    return statistic


def _kendall(x: np.ndarray, y: np.ndarray) -> Any:
    """Of (..., n) numbers of pairs: tau-b.

    With S_ij = sign(x_i - x_j), T likewise of y and w_i how often pair i was drawn, tau-b is
    w'(S T)w / sqrt(w'(S S)w w'(T T)w), products of matrices element by element.
    """
    s, t = (np.sign(each[:, None] - each[None, :]) for each in (x, y))

    def statistic(drawn: np.ndarray, axis: int) -> np.ndarray:
        times = times_drawn(drawn, len(x))
        return _ratio(*(((times @ product) * times).sum(-1) for product in (s * t, s * s, t * t)))

    return statistic


def _ratio(both: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A correlation from its sums; 0 where either has no order."""
    scale = np.sqrt(one * other)
    return np.where(scale > 0, both / np.where(scale > 0, scale, 1), 0.0)


def _concordance(table: np.ndarray) -> float:
    """Kendall's W of (items, judges) values: 12 S / (m^2 (n^3 - n) - m sum of (t^3 - t) over ties)."""
    from scipy import stats

    items, judges = table.shape
    if items < 2 or judges < 2:
        return np.nan
    sums = stats.rankdata(table, axis=0).sum(1)
    ties = sum(float((c**3 - c).sum()) for c in (np.unique(column, return_counts=True)[1] for column in table.T))
    below = judges**2 * (items**3 - items) - judges * ties
    return 12 * float(np.square(sums - sums.mean()).sum()) / below if below else np.nan
