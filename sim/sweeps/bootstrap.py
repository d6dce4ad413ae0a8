"""Means of runs with their intervals, by the bootstrap or by Student's t.

Between seeds a run varies, and a mean of a few seeds with it. Which interval to trust: of 600 samples of normal
numbers, the share whose 95% interval holds the mean,

    runs          3     5     10    20
    bca          73%   84%   90%   92%
    percentile   75%   84%   90%   92%
    t            95%   95%   96%   95%

The bootstrap (Efron, "Better Bootstrap Confidence Intervals", JASA 82, 1987) assumes no distribution but sees only the
spread of the runs at hand; below ten runs the note says so.
"""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .measured import Names, choice, groups, measured, names_of, notes, require, table_of
from .values import counted

if TYPE_CHECKING:
    import pandas

METHODS = ("bca", "percentile", "t")
STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}
Statistic = str | Callable[..., Any]
FEW = 10
"""Runs below which bootstrap intervals are clearly too narrow."""
_AT_ONCE = 10**7
"""Resampled numbers in memory."""


class Interval(NamedTuple):
    """An estimate with its confidence interval, and what to know about it."""

    estimate: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """How intervals are made.

    Args:
        confidence: the share of intervals that shall hold the true value, in (0, 1).
        method: 'bca' (bias-corrected and accelerated), 'percentile' or 't'.
        resamples: of the bootstrap.
        seed: of the resamples.
    """

    confidence: float = 0.95
    method: str = "bca"
    resamples: int = 9999
    seed: int = 0

    def __post_init__(self) -> None:
        choice("method", self.method, METHODS)
        if not 0 < self.confidence < 1:
            raise ValueError(f"expected a confidence between 0 and 1, got {self.confidence}; pass e.g. confidence=.95")
        if self.resamples < 99:
            raise ValueError(f"expected 99 resamples or more, got {self.resamples}; pass e.g. resamples=9999")


def intervals(
    runs: "pandas.DataFrame",
    metric: Names,
    by: Names = ("format",),
    *,
    statistic: Statistic = "mean",
    confidence: float = 0.95,
    method: str = "bca",
    resamples: int = 9999,
    diverged: str = "error",
    direction: str | None = None,
    seed: int = 0,
) -> "pandas.DataFrame":
    """The mean of metrics over the runs of each group, with confidence intervals.

    Args:
        runs: a row per run; configuration and metrics in columns.
        metric: a column, or several.
        by: the columns whose values make a group; () for all runs as one.
        statistic: 'mean', 'median', or a function of the (n,) values of a group; faster if it also takes an axis.
        confidence: in (0, 1).
        method: 'bca' or 'percentile', by the bootstrap; 't', for means only, which is right for few runs that are
            close to normal.
        resamples: of the bootstrap.
        diverged: runs whose metric is not finite, or whose column `diverged` is true: 'error', 'drop', or 'worst',
            which gives them the worst value of any run that did not diverge.
        direction: 'minimize' or 'maximize', for 'worst'; None reads it off the metric's name.
        seed: of the resamples. A group's interval depends on its own runs only.

    Returns:
        A DataFrame, a row per group and metric: the columns of `by`, metric, estimate, low, high, n (runs counted),
        diverged (how many did, counted or not), note (why low and high are NaN, or what to mind).

    Raises:
        ValueError: a column that is not there, a metric that is no number, runs that diverged under 'error'.

    Example:
        >>> import pandas
        >>> runs = pandas.DataFrame({"format": ["e4m3"] * 4, "seed": range(4), "test_loss": [0.21, 0.25, 0.22, 0.24]})
        >>> intervals(runs, "test_loss", method="t").round(3)[["format", "estimate", "low", "high", "n"]]
          format  estimate    low   high  n
        0   e4m3      0.23  0.201  0.259  4
    """
    settings = Settings(confidence, method, resamples, seed)
    require(runs, *names_of(metric))
    found = groups(runs, names_of(by))
    rows, places = [], []
    by_metric = [(name, measured(runs, name, diverged, direction)) for name in names_of(metric)]
    for group, members in enumerate(found.members):
        for name, values in by_metric:
            counted = values.values[members][np.isfinite(values.values[members])]
            interval = interval_of(counted, settings, statistic)
            count = {"n": len(counted), "diverged": int(values.diverged[members].sum())}
            rows.append({"metric": name, **interval._asdict(), **count})
            places.append(group)
    columns = ["metric", "estimate", "low", "high", "n", "diverged", "note"]
    return table_of(found.labels.iloc[places], rows, columns)


def interval_of(sample: np.ndarray, settings: Settings, statistic: Statistic = "mean", what: str = "run") -> Interval:
    """The interval of a statistic of independent values.

    Args:
        sample: (n,) float64.
        what: the values are of; for the note.

    Returns:
        NaN as low and high where n < 2. Where all values are equal, the estimate itself.
    """
    function = _function(statistic, settings)
    n = len(sample)
    if not n:
        return Interval(np.nan, np.nan, np.nan, f"no {what}s")
    estimate = float(function(sample))
    if n == 1:
        return Interval(estimate, np.nan, np.nan, f"one {what}: no interval")
    if sample.min() == sample.max():
        return Interval(estimate, estimate, estimate, f"all {n} {what}s are equal")
    if settings.method == "t":
        from scipy import stats

        half = stats.t.ppf((1 + settings.confidence) / 2, n - 1) * sample.std(ddof=1) / np.sqrt(n)
        return Interval(estimate, float(estimate - half), float(estimate + half))
    low, high, note = bootstrapped(function, sample, settings, _takes_axis(function))
    return Interval(estimate, float(low), float(high), notes(note, few(n, what, settings)))


def few(n: int, what: str, settings: Settings) -> str:
    """The note on intervals of few values."""
    return f"{counted(n, what)}: {settings.method} is too narrow" if n < FEW and settings.method != "t" else ""


def bootstrapped(
    function: Callable[..., Any], sample: np.ndarray, settings: Settings, takes_axis: bool = True
) -> tuple[Any, Any, str]:
    """The ends of a bootstrap interval, and a note.

    Args:
        function: of (n,) values; with an axis, of (..., n), and then it may return several statistics in front.
    """
    from scipy import stats

    bootstrap: Any = stats.bootstrap

    def ends(method: str, **more: Any) -> Any:
        return bootstrap(
            (sample,),
            function,
            method=method,
            confidence_level=settings.confidence,
            batch=max(1, _AT_ONCE // len(sample)),
            vectorized=takes_axis,
            random_state=np.random.default_rng(settings.seed),
            **more,
        )

    with warnings.catch_warnings():
        # what it warns of is seen in its result
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = ends({"bca": "BCa"}.get(settings.method, settings.method), n_resamples=settings.resamples)
        low, high = result.confidence_interval
        undefined = ~(np.isfinite(low) & np.isfinite(high))
        if not undefined.any() or settings.method == "percentile":
            return low, high, ""
        simple = ends("percentile", n_resamples=0, bootstrap_result=result).confidence_interval
    low, high = (np.where(undefined, other, own) for own, other in zip((low, high), simple))
    return low, high, "bca is undefined here: percentile"


def times_drawn(drawn: np.ndarray, count: int) -> np.ndarray:
    """How often each of `count` units is among the last axis of (..., m) numbers: (..., count) float64."""
    rows = drawn.reshape(-1, drawn.shape[-1])
    places = rows + count * np.arange(len(rows))[:, None]
    return np.bincount(places.reshape(-1), minlength=count * len(rows)).reshape(*drawn.shape[:-1], count).astype(float)


def _function(statistic: Statistic, settings: Settings) -> Callable[..., Any]:
    if settings.method == "t" and statistic != "mean":
        raise ValueError(f"method 't' is for means, got statistic {statistic!r}; pass method='bca'")
    if callable(statistic):
        return statistic
    choice("statistic", statistic, list(STATISTICS))
    return STATISTICS[statistic]


def _takes_axis(function: Callable[..., Any]) -> bool:
    try:
        return "axis" in inspect.signature(function).parameters
    except ValueError:  # of built-in functions such as max
        return False
