"""Runs of a store as a table, read and never written."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .filters import Condition, filter_runs
from .records import FAILED, Row
from .store import Store

if TYPE_CHECKING:
    import pandas


class Contents(NamedTuple):
    """What a report takes from a store.

    Args:
        runs: a row a run.
        curves: by row and name, (n,) numbers.
        versions: of packages, those of the first run of each version and revision of halfulp.
    """

    runs: "pandas.DataFrame"
    curves: dict[int, dict[str, np.ndarray]]
    versions: dict[str, list[str]]


def read_runs(
    store: str | Path, where: str | Condition | Iterable[str | Condition] = (), *, curves: bool = False
) -> "pandas.DataFrame":
    """The runs of a store that meet conditions.

    Args:
        store: the file of a sweep.
        where: conditions such as 'format=e4m3', 'test_loss<0.5', 'format~e[45]m*'; see `filter_runs`.
        curves: whether to read curves too, a column each, with an array in each row.

    Returns:
        The table of `Store.frame`: a row a run, in the order of writing.

    Raises:
        ValueError: an unknown column, or a condition that does not fit its column.
        StoreError: no store there, a file that is none, or a damaged one.

    >>> read_runs("no.sqlite")
    Traceback (most recent call last):
    halfulp.sim.sweeps.store.StoreError: no store at no.sqlite; halfulp sweep makes one
    """
    with Store(store, read_only=True) as results:
        return filter_runs(results.frame(curves=curves), where).reset_index(drop=True)


def read_run(store: str | Path, key: str) -> Row:
    """One run with all that is kept of it.

    Args:
        key: the run's key, or enough of its first characters.

    Raises:
        ValueError: no run or several of that key.
        StoreError: as `read_runs`.
    """
    with Store(store, read_only=True) as results:
        keys = results.frame()["key"].tolist()
        found = [each for each in keys if key and each.startswith(key.lower())]
        if not found:
            raise ValueError(f"none of the {len(keys):,} runs has the key {key!r}; halfulp runs {store} lists them")
        if len(found) > 1:
            longer = ", ".join(each[: len(key) + 4] for each in found[:3])
            raise ValueError(f"{len(found):,} runs have keys that begin with {key!r}: {longer}, ...; pass more of it")
        return results.rows(found)[0]


def read_contents(store: str | Path, where: str | Condition | Iterable[str | Condition], most_curves: int) -> Contents:
    """The runs that meet conditions, with the curves of the first ones that finished.

    Args:
        most_curves: of how many runs.

    Raises:
        ValueError, StoreError: as `read_runs`.
    """
    with Store(store, read_only=True) as results:
        runs = filter_runs(results.frame(), where).reset_index(drop=True)
        finished = np.flatnonzero(~failed_of(runs))[:most_curves]
        keys = runs["key"].iloc[finished].tolist()
        curves = results.curves(keys)
        firsts: Any = runs.drop_duplicates(["halfulp", "revision"])
        rows = results.rows(firsts["key"].tolist(), curves=False) if len(firsts) else []
    versions: dict[str, set[str]] = {}
    for package, version in (pair for row in rows for pair in row.versions.items()):
        versions.setdefault(package, set()).add(version)
    return Contents(
        runs,
        {int(row): curves[key] for row, key in zip(finished, keys) if key in curves},
        {package: sorted(versions[package]) for package in sorted(versions)},
    )


def contents_of(runs: "pandas.DataFrame", where: str | Condition | Iterable[str | Condition]) -> Contents:
    """The same of a table; columns of arrays are curves."""
    found: Any = filter_runs(runs, where).reset_index(drop=True)
    names = [name for name in found.columns if found[name].dtype == object and _are_curves(found[name].tolist())]
    curves: dict[int, dict[str, np.ndarray]] = {}
    for name in names:
        for row, cell in enumerate(found[name].tolist()):
            if cell is not None:
                curves.setdefault(row, {})[str(name)] = cell
    return Contents(found.drop(columns=names), curves, {})


def _are_curves(cells: list[Any]) -> bool:
    known = [cell for cell in cells if cell is not None]
    return bool(known) and all(isinstance(cell, np.ndarray) and cell.ndim == 1 for cell in known)


def failed_of(runs: "pandas.DataFrame") -> np.ndarray:
    """(n,) bools: which runs failed."""
    return (runs["status"] == FAILED).to_numpy(bool) if "status" in runs else np.zeros(len(runs), bool)


def diverged_of(runs: "pandas.DataFrame") -> np.ndarray:
    """(n,) bools: which runs are said to have diverged."""
    if "diverged" not in runs:
        return np.zeros(len(runs), bool)
    return np.array([cell is not None and bool(cell == True) for cell in runs["diverged"].tolist()], bool)  # noqa: E712
