"""Which factor matters: main effects and interactions of a factorial sweep, and their shares of the variance."""

from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .bootstrap import Settings, bootstrapped, few, times_drawn
from .factorial import Design, Interactions, Term, design
from .measured import Names, groups, measured, names_of, notes, require

if TYPE_CHECKING:
    import pandas

_EFFECTS = [
    *("factor", "level", "estimate", "low", "high", "n", "mean"),
    *("difference", "difference_low", "difference_high", "partial_eta2", "note"),
]
_ROUNDING = 64 * np.finfo(float).eps
"""Relative to the metric, errors that come from float64 and not from runs."""
_ANOVA = ["term", "df", "sum_of_squares", "mean_square", "f", "p", "partial_eta2", "share"]


class _Fit(NamedTuple):
    """Least squares: coefficients (p,), the inverse of X'X, the residual sum of squares and its degrees of freedom."""

    coefficients: np.ndarray
    inverse: np.ndarray
    residual: float
    df: int


class _Model(NamedTuple):
    """Runs that count, their metric, the model and its fit."""

    runs: Any
    y: np.ndarray
    design: Design
    fit: _Fit
    note: str


def effects(
    runs: "pandas.DataFrame",
    metric: str,
    factors: Names,
    *,
    interactions: Interactions = 2,
    cluster: str | None = "seed",
    confidence: float = 0.95,
    method: str = "t",
    resamples: int = 1999,
    diverged: str = "error",
    direction: str | None = None,
    seed: int = 0,
) -> "pandas.DataFrame":
    """Main effects and interactions of factors on a metric, by least squares in a factorial design.

    The effects of a factor sum to zero over its levels: each is the mean of a level less the mean of all. Designs may
    be full, fractional or unbalanced, as long as they tell the effects apart.

    Args:
        runs: a row per run. Levels of numbers, such as learning rates, are categories too.
        factors: the columns that were varied; 'seed' may be one, as a block.
        interactions: up to how many factors interact, 1 for main effects only; or which, [("format", "rounding")].
        cluster: the column whose values are drawn as one by the bootstrap: runs of one seed are alike.
        method: 't', for independent errors of one variance; 'bca' or 'percentile', the bootstrap over clusters, of
            which each must have run all that tells the effects apart.
        confidence, resamples, diverged, direction, seed: as in `intervals`.

    Returns:
        A DataFrame, a row per level of each factor and per combination of levels of each interaction: factor ('format',
        'format:rounding'), level ('e4m3', 'e4m3:stochastic'), estimate (the effect), low, high, n (runs of that level),
        mean (fitted, of the level), difference, difference_low, difference_high (of factors of two levels, in the row
        of the high one: the contrast high - low of textbooks; NaN elsewhere), partial_eta2 (as in `anova`), note.

    Raises:
        ValueError: as `intervals`; a factor of one level; effects that are aliased, with their names; clusters too
            small for the bootstrap.

    Example:
        >>> import pandas
        >>> losses = [1.0, 5.0, 2.0, 8.0, 1.5, 5.5, 2.5, 8.3]
        >>> runs = pandas.DataFrame({"a": [0, 1, 0, 1] * 2, "b": [0, 0, 1, 1] * 2, "loss": losses})
        >>> found = effects(runs, "loss", ["a", "b"])
        >>> found[found.difference.notna()].round(2)[["factor", "difference", "difference_low", "difference_high"]]
          factor  difference  difference_low  difference_high
        1      a        4.95            4.31             5.59
        3      b        1.95            1.31             2.59
        7    a:b        0.95            0.31             1.59
    """
    settings = Settings(confidence, method, resamples, seed)
    model = _fitted(runs, metric, factors, interactions, diverged, direction)
    shares = {row["term"]: row["partial_eta2"] for row in _sums(model)}
    lows, highs, note = _student(model, settings) if method == "t" else _resampled(model, settings, cluster)
    rows, start = [], 0
    fitted: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for term in model.design.terms:
        estimates = term.contrasts @ model.fit.coefficients[term.columns]
        own = slice(start, start + len(estimates))
        start += len(estimates)
        for cell, *values in zip(model.design.cells(term), estimates, lows[own], highs[own]):
            fitted[term.factors, cell] = float(values[0])
            rows.append(_row(model.design, term, cell, values, fitted, float(model.fit.coefficients[0])))
            rows[-1].update(partial_eta2=shares[model.design.name(term)], note=notes(model.note, note))
    import pandas

    return pandas.DataFrame(rows, columns=_EFFECTS)


def anova(
    runs: "pandas.DataFrame",
    metric: str,
    factors: Names,
    *,
    interactions: Interactions = 2,
    diverged: str = "error",
    direction: str | None = None,
) -> "pandas.DataFrame":
    """How much of the variance each factor and interaction explains: analysis of variance of type II.

    The sum of squares of a term is what it takes off the residual of the model of all terms that do not contain it
    (Langsrud, Statistics and Computing 13, 2003); in a balanced design all types agree.

    Args:
        runs, metric, factors, interactions, diverged, direction: as in `effects`.

    Returns:
        A DataFrame, a row per term and a last one 'residual': term, df, sum_of_squares, mean_square, f, p,
        partial_eta2 (sum of squares over itself plus the residual's), share (over the total about the mean; in an
        unbalanced design shares need not add up to 1).

    Raises:
        ValueError: as `effects`.
    """
    import pandas

    return pandas.DataFrame(_sums(_fitted(runs, metric, factors, interactions, diverged, direction)), columns=_ANOVA)


def _fitted(
    runs: "pandas.DataFrame", metric: str, factors: Names, interactions: Interactions, diverged: str, direction: Any
) -> _Model:
    require(runs, metric, *names_of(factors))
    values = measured(runs, metric, diverged, direction)
    counted = np.isfinite(values.values)
    if not counted.any():
        raise ValueError(f"no runs to fit: none of {len(runs)} has a finite {metric!r}; check the runs that diverged")
    kept: Any = runs[counted]
    found = design(kept, names_of(factors), interactions)
    y = values.values[counted]
    lost = int(values.diverged.sum())
    word = "left out" if diverged == "drop" else "given the worst value"
    note = f"{lost} of {len(runs)} runs diverged, {word}" if lost else ""
    return _Model(kept, y, found, _least_squares(found, found.matrix, y), note)


def _least_squares(of: Design, matrix: np.ndarray, y: np.ndarray) -> _Fit:
    """The fit of (n,) values, by the mean of each cell with the root of its runs as its weight."""
    weights = np.sqrt(of.counts)
    q, r = np.linalg.qr(matrix * weights[:, None])
    inverse = np.linalg.inv(r)
    middle = np.median(y)  # so that effects of a constant are 0 and not its rounding
    means = np.bincount(of.cell_of, y - middle) / of.counts
    coefficients = inverse @ (q.T @ (means * weights))
    residual = float(np.square(y - middle - (matrix @ coefficients)[of.cell_of]).sum())
    coefficients[0] += middle
    if residual <= len(y) * (_ROUNDING * np.abs(y).max()) ** 2:
        residual = 0.0
    return _Fit(coefficients, inverse @ inverse.T, residual, len(y) - matrix.shape[1])


def _row(of: Design, term: Term, cell: tuple[int, ...], values: Any, fitted: Any, mean: float) -> dict[str, Any]:
    """One level of a term; `fitted` holds the effects of the terms before it."""
    inside = (of.codes[:, term.factors] == cell).all(1)
    two_levels = all(len(of.levels[factor]) == 2 for factor in term.factors)
    # Twice the effect is the difference between the halves of a 2^k design in which the product of signs is + and -.
    high = two_levels and all(level == 1 for level in cell)
    own = dict(zip(term.factors, cell))
    parts = [part for size in range(1, len(cell) + 1) for part in combinations(term.factors, size)]
    summands = [fitted.get((part, tuple(own[factor] for factor in part)), 0.0) for part in parts]
    return {
        "factor": of.name(term),
        "level": ":".join(str(of.levels[factor][level]) for factor, level in zip(term.factors, cell)),
        **dict(zip(("estimate", "low", "high"), map(float, values))),
        "n": int(of.counts[inside].sum()),
        "mean": mean + sum(summands),
        **{
            name: 2 * float(value) if high else np.nan
            for name, value in zip(("difference", "difference_low", "difference_high"), values)
        },
    }


def _student(model: _Model, settings: Settings) -> tuple[np.ndarray, np.ndarray, str]:
    """The ends of Student's t intervals of every level of every term, and a note; NaN without degrees of freedom."""
    from scipy import stats

    fit = model.fit
    effect = np.concatenate([term.contrasts @ fit.coefficients[term.columns] for term in model.design.terms])
    parts = [
        np.einsum("lc,cd,ld->l", term.contrasts, fit.inverse[term.columns, term.columns], term.contrasts)
        for term in model.design.terms
    ]
    if not fit.df:
        undefined = np.full(len(effect), np.nan)
        return undefined, undefined, "as many effects as runs: no interval"
    quantile = stats.t.ppf((1 + settings.confidence) / 2, fit.df)
    half = quantile * np.sqrt(np.concatenate(parts) * fit.residual / fit.df)
    return effect - half, effect + half, ""


def _resampled(model: _Model, settings: Settings, cluster: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """The same of the bootstrap, from clusters drawn with replacement."""
    x, y = model.design.matrix[model.design.cell_of], model.y
    members = groups(model.runs, (cluster,)).members if cluster else []
    count = len(members)
    short = [m for m in members if len(m) < x.shape[1] or np.linalg.matrix_rank(x[m]) < x.shape[1]]
    if count < 2 or short:
        raise ValueError(
            f"expected two values of cluster={cluster!r} or more, each with runs that tell all effects apart, got "
            f"{count}, of which {len(short)} do not; pass another cluster, fewer interactions, or method='t'"
        )
    squares = np.stack([x[m].T @ x[m] for m in members])
    products = np.stack([x[m].T @ y[m] for m in members])

    def levels(drawn: np.ndarray, axis: int) -> np.ndarray:
        """(levels, ...) effects, of clusters drawn (..., count): least squares from sums over clusters."""
        times = times_drawn(drawn, count)
        left, right = np.tensordot(times, squares, 1), np.tensordot(times, products, 1)
        fitted = np.linalg.solve(left, right[..., None])[..., 0]
        return np.concatenate([np.moveaxis(fitted[..., t.columns] @ t.contrasts.T, -1, 0) for t in model.design.terms])

    low, high, note = bootstrapped(levels, np.arange(count), settings)
    return low, high, notes(note, few(count, "cluster", settings))


def _sums(model: _Model) -> list[dict[str, Any]]:
    """The rows of `anova`."""
    from scipy import stats

    of, fit = model.design, model.fit
    total = float(np.square(model.y - model.y.mean()).sum())
    error = fit.residual / fit.df if fit.df else np.nan
    rows = []
    for term in of.terms:
        above = [other for other in of.terms if set(other.factors) > set(term.factors)]
        with_term = _least_squares(of, of.without(above), model.y).residual if above else fit.residual
        squares = max(_least_squares(of, of.without([*above, term]), model.y).residual - with_term, 0.0)
        df = term.contrasts.shape[1]
        f = squares / df / error if error > 0 else np.nan
        rows.append(
            {
                "term": of.name(term),
                "df": df,
                "sum_of_squares": squares,
                "mean_square": squares / df,
                "f": f,
                "p": float(stats.f.sf(f, df, fit.df)) if f == f else np.nan,
                "partial_eta2": squares / (squares + fit.residual) if fit.df and squares + fit.residual else np.nan,
                "share": squares / total if total else np.nan,
            }
        )
    last = {"term": "residual", "df": fit.df, "sum_of_squares": fit.residual, "mean_square": error}
    rest = {"f": np.nan, "p": np.nan, "partial_eta2": np.nan, "share": fit.residual / total if total else np.nan}
    return [*rows, {**last, **rest}]
