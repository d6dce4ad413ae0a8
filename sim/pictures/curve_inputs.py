"""Curves out of what trainings leave: results of `halfulp.train`, a row for each step, or a row for each run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...formats.suggest import unknown
from ..training.training import Trained
from .runs import check_columns, numbers_of


class Curve(NamedTuple):
    """One run: the group it belongs to, (n,) steps ascending, (n,) values, and whether it ended by diverging."""

    group: str
    steps: np.ndarray
    values: np.ndarray
    diverged: bool


def curves_of(source: Any, metric: str, by: Sequence[str], step: str) -> list[Curve]:
    """The curves of all runs.

    Args:
        source: see `plot_curves`.

    Raises:
        TypeError, ValueError: what holds no curves.
    """
    if isinstance(source, Mapping):
        return [curve for name, runs in source.items() for curve in _of_runs(runs, metric, str(name))]
    if hasattr(source, "groupby"):
        return _of_steps(source, metric, by, step) if step in source.columns else _of_rows(source, metric, by)
    if isinstance(source, Trained) or (isinstance(source, Sequence) and all(isinstance(k, Trained) for k in source)):
        runs = [source] if isinstance(source, Trained) else list(source)
        rates = {run.run.learning_rate for run in runs}
        return [_of_trained(run, metric, _recipe(run, len(rates) > 1)) for run in runs]
    raise TypeError(
        "expected a DataFrame, results of hu.train, or a mapping of names to lists of them or of arrays, "
        f"got {type(source).__name__}"
    )


def _recipe(run: Trained, rates: bool) -> str:
    name = " + ".join(dict.fromkeys(rule.recipe.name if rule.recipe else "none" for rule in run.run.rules))
    return f"{name}, rate {run.run.learning_rate:g}" if rates else name


def _of_trained(run: Trained, metric: str, group: str) -> Curve:
    """A curve of every step, or one of the evaluations."""
    if metric in run.curves:
        values = np.asarray(run.curves[metric], np.float64)
        return _curve(group, np.arange(len(values)), values, run.diverged)
    if metric in run.evaluations and metric != "step":
        steps, values = np.asarray(run.evaluations["step"]), np.asarray(run.evaluations[metric], np.float64)
        return _curve(group, steps, values, run.diverged)
    raise ValueError(unknown("curve", metric, [*run.curves, *(name for name in run.evaluations if name != "step")]))


def _of_runs(runs: Any, metric: str, group: str) -> list[Curve]:
    if isinstance(runs, Trained):
        return [_of_trained(runs, metric, group)]
    if not isinstance(runs, Iterable) or isinstance(runs, str):
        raise TypeError(f"expected a list of runs or arrays for {group!r}, got {type(runs).__name__}")
    runs = list(runs)
    if runs and np.ndim(runs[0]) == 0 and not isinstance(runs[0], Trained):
        runs = [runs]
    return [
        _of_trained(run, metric, group) if isinstance(run, Trained) else _of_array(run, group, None) for run in runs
    ]


def _of_array(values: Any, group: str, diverged: bool | None) -> Curve:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"expected a curve of shape (steps,) for {group!r}, got {array.shape}")
    return _curve(group, np.arange(len(array)), array, diverged)


def _curve(group: str, steps: np.ndarray, values: np.ndarray, diverged: bool | None) -> Curve:
    """Cut off what follows the last finite value; a run with such a tail diverged, unless it is known not to have."""
    finite = np.flatnonzero(np.isfinite(values))
    kept = finite[-1] + 1 if len(finite) else 0
    values = np.where(np.isfinite(values[:kept]), values[:kept], np.nan)
    return Curve(group, steps[:kept], values, kept < len(steps) if diverged is None else bool(diverged))


def _grouped(frame: Any, by: Sequence[str]) -> Iterable[tuple[str, Any]]:
    rates = "learning_rate" in frame.columns and "learning_rate" not in by
    for name, rows in frame.groupby(list(by), sort=False, dropna=False):
        if rates and rows["learning_rate"].nunique() > 1:
            found = ", ".join(f"{rate:g}" for rate in rows["learning_rate"].unique()[:4])
            wanted = [*by, "learning_rate"]
            raise ValueError(f"{name[0]} has several learning rates ({found}); pass by={wanted}, or the runs of one")
        yield ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in name), rows


def _of_rows(frame: Any, metric: str, by: Sequence[str]) -> list[Curve]:
    """A row for each run, its curve an array in the column of that name or in a mapping in the column 'curves'."""
    column = metric if metric in frame.columns else "curves" if "curves" in frame.columns else metric
    check_columns(frame, (column, *by))
    found = []
    for name, rows in _grouped(frame, by):
        for _, row in rows.iterrows():
            values = row[column]
            if isinstance(values, Mapping):
                if metric not in values:
                    raise ValueError(unknown("curve", metric, map(str, values)))
                values = values[metric]
            if np.isscalar(values):
                raise ValueError(
                    f"expected arrays in the column {column!r}, got {values!r}; "
                    "for a row for each step name its column with step="
                )
            found.append(_of_array(values, name, bool(row["diverged"]) if "diverged" in frame.columns else None))
    return found


def _of_steps(frame: Any, metric: str, by: Sequence[str], step: str) -> list[Curve]:
    """A row for each step of each run; runs of a group are told apart by the column 'seed'."""
    check_columns(frame, (metric, step, *by))
    frame = frame.assign(**{metric: numbers_of(frame, metric), step: numbers_of(frame, step)})
    found = []
    for name, rows in _grouped(frame, by):
        for seed, run in rows.groupby("seed", sort=False) if "seed" in frame.columns else [("", rows)]:
            ordered = run.sort_values(step)
            if ordered[step].duplicated().any():
                twice = ordered[step][ordered[step].duplicated()].iloc[0]
                raise ValueError(
                    f"step {twice:g} occurs twice in {name}, seed {seed}; pass by= the columns that tell runs apart"
                )
            lost = bool(ordered["diverged"].any()) if "diverged" in frame.columns else None
            found.append(_curve(name, ordered[step].to_numpy(), ordered[metric].to_numpy(), lost))
    return found
