"""Compare runs with a baseline, pair by pair: runs of one seed see the same data, and their difference varies less."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...formats.suggest import unknown
from .bootstrap import Settings, interval_of
from .measured import Measured, Names, direction_of, groups, measured, names_of, notes, require, table_of
from .values import counted

if TYPE_CHECKING:
    import pandas

_COLUMNS = [
    *("metric", "baseline", "mean", "baseline_mean", "estimate", "low", "high", "ratio", "ratio_low", "ratio_high"),
    *("n", "unpaired", "diverged", "wilcoxon_p", "wilcoxon_holm", "t_p", "t_holm", "effect_size", "verdict", "note"),
]
_TIED = 1e-12
"""Differences that differ by less, relative to the values, tie: it is the rounding of float64."""
_EXACT_UP_TO = 50
"""Differences of which the signed-rank test counts all signs."""


class _Pairs(NamedTuple):
    """Values (n,) of a level and of the baseline, of the runs that share a key."""

    level: np.ndarray
    baseline: np.ndarray
    units: np.ndarray
    unpaired: int
    diverged: int


def compare(
    runs: "pandas.DataFrame",
    metric: str,
    factor: str = "format",
    baseline: Any = "binary32",
    pairs: Names = ("seed", "learning_rate"),
    *,
    unit: str | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
    method: str = "bca",
    resamples: int = 9999,
    diverged: str = "error",
    direction: str | None = None,
    seed: int = 0,
) -> "pandas.DataFrame":
    """Paired differences of a metric between each level of a factor and a baseline.

    Args:
        runs: a row per run; configuration and metrics in columns.
        factor: the column whose values are compared, and `baseline`, the one they are compared with.
        pairs: the columns that two runs share to be a pair. One run for each level and pair.
        unit: one of `pairs`, such as 'seed', over whose values runs are independent: differences are averaged over the
            pairs of each unit first, and n counts units. None takes each pair as independent.
        margin: of the metric; smaller differences do not matter.
        confidence, method, resamples, diverged, direction, seed: as in `intervals`. A pair counts if both runs do.

    Returns:
        A DataFrame, a row per level but the baseline: the factor, metric, baseline, mean and baseline_mean (over shared
        pairs), estimate, low, high (of the mean difference, level minus baseline), ratio, ratio_low, ratio_high (the
        geometric mean of level / baseline; NaN unless all values are positive), n (pairs or units), unpaired (runs
        without a partner, of either side), diverged (pairs with a run that did), wilcoxon_p (signed-rank test), t_p
        (paired t test), wilcoxon_holm, t_holm (both after Holm, Scand. J. Statist. 6, 1979, over the levels),
        effect_size (Cohen's d_z: mean over standard deviation of the differences), verdict, note.

        The verdict reads the interval: 'better' or 'worse' where it lies beyond the margin, 'equivalent' where it lies
        within (of a margin above 0), else 'inconclusive'. It is not corrected for the number of levels.

    Raises:
        ValueError: a column or baseline that is not there, no pairs at all, several runs of one level in one pair, runs
            that diverged under 'error', a metric whose better direction cannot be read off its name.

    Example:
        >>> import pandas
        >>> losses = {"binary32": [0.20, 0.24, 0.21, 0.23], "e2m1": [0.31, 0.36, 0.31, 0.35]}
        >>> runs = pandas.DataFrame(
        ...     [(f, seed, loss) for f in losses for seed, loss in enumerate(losses[f])],
        ...     columns=["format", "seed", "test_loss"],
        ... )
        >>> found = compare(runs, "test_loss", pairs="seed", method="t")
        >>> found.round(3)[["format", "estimate", "low", "high", "n", "verdict"]]
          format  estimate    low   high  n verdict
        0   e2m1     0.112  0.097  0.128  4   worse
    """
    settings = Settings(confidence, method, resamples, seed)
    shared = names_of(pairs)
    _check(runs, metric, factor, shared, unit, margin)
    sign = 1 if direction_of(metric, direction) == "maximize" else -1
    levels = groups(runs, (factor,))
    names = list(levels.labels[factor])
    if not len(runs):
        return table_of(levels.labels, [], _COLUMNS)
    if baseline not in names:
        raise ValueError(f"{unknown(factor, str(baseline), map(str, names))} pass the one to compare with as baseline=")
    values = measured(runs, metric, diverged, direction)
    keys, units = groups(runs, shared).numbers, groups(runs, (unit,) if unit else shared).numbers
    for name, members in zip(names, levels.members):
        _one_run_each(runs, name, members, keys[members], shared)
    base = levels.members[names.index(baseline)]
    rows, places = [], []
    for place, members in enumerate(levels.members):
        if names[place] != baseline:
            found = _paired(values, keys, units, members, base)
            row = _row(found, settings, "unit" if unit else "pair")
            verdict = _verdict(sign * row["low"], sign * row["high"], margin)
            rows.append({"metric": metric, "baseline": baseline, **row, "verdict": verdict})
            places.append(place)
    if rows and not any(row["shared"] for row in rows):
        raise ValueError(
            f"no run shares {' and '.join(shared)} with one of {baseline!r}; pass as pairs= the columns that both "
            "sides have in common, e.g. pairs='seed', or run the same seeds"
        )
    for test in ("wilcoxon", "t"):
        for row, p in zip(rows, holm([row[f"{test}_p"] for row in rows])):
            row[f"{test}_holm"] = p
    return table_of(levels.labels.iloc[places], rows, _COLUMNS)


def _check(runs: Any, metric: str, factor: str, shared: tuple[str, ...], unit: str | None, margin: float) -> None:
    require(runs, metric, factor)
    absent = [name for name in shared if name not in runs.columns]
    if absent:
        raise ValueError(f"{unknown('column', absent[0], map(str, runs.columns))} pass the columns of a pair as pairs=")
    if not shared or factor in shared:
        raise ValueError(f"expected pairs of columns other than {factor!r}, got {shared}; pass e.g. pairs='seed'")
    if unit is not None and unit not in shared:
        raise ValueError(f"expected a unit among the pairs {shared}, got {unit!r}; pass unit={shared[0]!r}")
    if not margin >= 0:
        raise ValueError(f"expected a margin of 0 or more, got {margin}; it is a distance in units of {metric!r}")


def _one_run_each(runs: Any, name: Any, members: np.ndarray, keys: np.ndarray, shared: tuple[str, ...]) -> None:
    twice = np.flatnonzero(np.bincount(keys) > 1)
    if not len(twice):
        return
    clashing = runs.iloc[members[keys == twice[0]]]
    values = ", ".join(f"{column}={clashing[column].iloc[0]}" for column in shared)
    # a configuration has few values over many runs; what has a value of its own in each is a result
    repeated = [c for c in runs.columns if runs[c].map(repr).nunique() * 2 <= len(runs)]
    differing = [c for c in repeated if c != "diverged" and clashing[c].map(repr).nunique() > 1]
    advice = f"they differ in {differing[0]!r}: add it to pairs=" if differing else "drop duplicates first"
    raise ValueError(f"expected one run of {name!r} for each pair, got {len(clashing)} with {values}; {advice}")


def _paired(values: Measured, keys: np.ndarray, units: np.ndarray, level: np.ndarray, base: np.ndarray) -> _Pairs:
    _, one, other = np.intersect1d(keys[level], keys[base], assume_unique=True, return_indices=True)
    one, other = level[one], base[other]
    a, b = values.values[one], values.values[other]
    counted = np.isfinite(a) & np.isfinite(b)
    lost = int((values.diverged[one] | values.diverged[other]).sum())
    return _Pairs(a[counted], b[counted], units[one][counted], len(level) + len(base) - 2 * len(one), lost)


def _row(found: _Pairs, settings: Settings, what: str) -> dict[str, Any]:
    """Everything about one level but its verdict."""
    a, b, *_ = found
    differences = _by_unit(_cleaned(a - b, a, b), found.units)
    interval = interval_of(differences, settings, what=what)
    positive = len(a) > 0 and min(a.min(), b.min()) > 0
    logs = _by_unit(np.log(a / b), found.units) if positive else np.empty(0)
    ratio = interval_of(logs, settings, what=what)
    return {
        **interval._asdict(),
        **{name: float(np.exp(end)) for name, end in zip(("ratio", "ratio_low", "ratio_high"), ratio[:3])},
        "mean": float(_by_unit(a, found.units).mean()) if len(a) else np.nan,
        "baseline_mean": float(_by_unit(b, found.units).mean()) if len(b) else np.nan,
        "n": len(differences),
        "shared": len(a) + found.diverged,
        "unpaired": found.unpaired,
        "diverged": found.diverged,
        **_tests(differences, float(np.abs([a, b]).max(initial=0))),
        "note": notes(interval.note, f"{counted(found.unpaired, 'run')} unpaired" if found.unpaired else ""),
    }


def _cleaned(differences: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Differences that are equal up to the rounding of float64, as equal: their spread is no spread of runs."""
    if not len(differences):
        return differences
    largest = np.maximum(np.abs(a), np.abs(b)).max()
    if np.ptp(differences) <= _TIED * largest:
        return np.full_like(differences, np.median(differences))
    return differences


def _by_unit(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The mean over the pairs of each unit."""
    _, numbers, counts = np.unique(units, return_inverse=True, return_counts=True)
    return values if (counts == 1).all() else np.bincount(numbers, values) / counts


def _tests(differences: np.ndarray, largest: float) -> dict[str, float]:
    """P values of both tests against no difference, two-sided, and Cohen's d_z; NaN where undefined.

    Args:
        largest: magnitude of the values whose differences these are.
    """
    n = len(differences)
    if n < 2:
        return {"wilcoxon_p": np.nan, "t_p": np.nan, "effect_size": np.nan}
    from scipy import stats

    mean, spread = differences.mean(), differences.std(ddof=1)
    if np.ptp(differences) == 0:  # the t statistic is 0 / 0 or infinite, and neither is evidence
        effect, t_p = (0.0, np.nan) if mean == 0 else (float(np.copysign(np.inf, mean)), np.nan)
    else:
        effect, t_p = float(mean / spread), float(2 * stats.t.sf(abs(mean / spread) * np.sqrt(n), n - 1))
    # differences that float64 tells apart and runs do not are ties
    whole = np.round(differences / (_TIED * largest)) if largest else differences
    return {"wilcoxon_p": _signed_rank(whole), "t_p": t_p, "effect_size": effect}


def _signed_rank(differences: np.ndarray) -> float:
    """P of Wilcoxon's signed-rank test, two-sided, without zeros: exact up to 50, whatever the ties, else asymptotic.

    Given the ranks r_i of |d_i|, means where they tie, each sign is equally likely: the sum of the ranks of positive
    differences has the generating function prod (1 + z^r_i) / 2, here of 2 r_i, which are integers.
    """
    from scipy import stats

    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    if len(differences) > _EXACT_UP_TO:
        tested: Any = stats.wilcoxon(differences)
        return float(tested.pvalue)
    ranks = np.round(2 * stats.rankdata(np.abs(differences))).astype(int)
    chances = np.zeros(ranks.sum() + 1)
    chances[0] = 1
    for rank in ranks:
        chances[rank:] = chances[rank:] / 2 + chances[:-rank] / 2
        chances[:rank] /= 2
    seen = ranks[differences > 0].sum()
    return float(min(1.0, 2 * min(chances[: seen + 1].sum(), chances[seen:].sum())))


def holm(p_values: Any) -> np.ndarray:
    """Holm's step-down adjustment of (m,) p values; NaN stay, and do not count."""
    p = np.asarray(p_values, float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    ascending = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(p[ascending] * factors), 1)
    return adjusted


def _verdict(one: float, other: float, margin: float) -> str:
    """Of an interval in which larger is better."""
    low, high = min(one, other), max(one, other)
    if low > margin:
        return "better"
    if high < -margin:
        return "worse"
    return "equivalent" if -margin < low and high < margin else "inconclusive"
