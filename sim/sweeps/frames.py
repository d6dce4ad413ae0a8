"""The runs of a store as a table."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats.suggest import unknown
from .values import Curves, encodable, loads

if TYPE_CHECKING:
    import pandas

FIRST = ("key", "sweep", "status")
LAST = ("seconds", "finished", "attempts", "halfulp", "revision", "error")
"""The columns of every table, before and after those of configurations and metrics."""


def frame_of(
    rows: Sequence[tuple[Any, ...]],
    where: Mapping[str, Any] | None = None,
    sweep: str | None = None,
    keys: Collection[str] | None = None,
    curves: Callable[[Collection[str]], dict[str, Curves]] | None = None,
) -> "pandas.DataFrame":
    """The table of `Store.frame`.

    Args:
        rows: key, sweep, status, config, metrics, seconds, finished, attempts, versions, revision, error; config,
            metrics and versions as JSON.
        where, sweep, keys: as there.
        curves: those of some keys, or None.
    """
    import pandas

    chosen = _chosen(rows, sweep, keys)
    names = (*FIRST, "config", "metrics", "seconds", "finished", "attempts", "versions", "revision", "error")
    by_name: dict[str, Any] = dict(zip(names, zip(*chosen))) if chosen else dict.fromkeys(names, ())
    texts = by_name["versions"]
    versions = {text: loads(text).get("halfulp", "") for text in set(texts)}
    by_name["halfulp"] = [versions[text] for text in texts]
    parts = {"config": _columns(by_name["config"]), "metric": _columns(by_name["metrics"])}
    if curves is not None:
        drawn = curves(by_name["key"])
        mine = [drawn.get(key, {}) for key in by_name["key"]]
        parts["curve"] = {name: [each.get(name) for each in mine] for name in _names(mine)}
    columns = {name: by_name[name] for name in FIRST}
    columns |= _apart(parts)
    columns |= {name: by_name[name] for name in LAST}
    found = pandas.DataFrame(columns)
    return found if where is None else _filtered(found, where)


def _chosen(rows: Sequence[tuple[Any, ...]], sweep: str | None, keys: Collection[str] | None) -> list[tuple[Any, ...]]:
    chosen = list(rows)
    if keys is not None:
        by_key = {row[0]: row for row in rows}
        chosen = [by_key[key] for key in dict.fromkeys(keys) if key in by_key]
    if sweep is None:
        return chosen
    names = list(dict.fromkeys(row[1] for row in rows))
    if sweep not in names:
        raise ValueError(unknown("sweep", sweep, names) if names else f"no sweep {sweep!r} in an empty store")
    return [row for row in chosen if row[1] == sweep]


def _columns(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Lists by name of tables in JSON; reading them as one text takes half the time."""
    joined = ",".join(texts)
    tables = loads(f"[{joined}]")
    if "\\ud" in joined:  # surrogates, of which pandas takes pairs only
        tables = encodable(tables)
    return {name: [table.get(name) for table in tables] for name in _names(tables)}


def _names(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """All names, in the order in which they appear."""
    shapes = dict.fromkeys(tuple(table) for table in tables)
    return list(dict.fromkeys(name for shape in shapes for name in shape))


def _apart(parts: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """The columns of all parts; a name that is not one part's alone gets the part's name before it, until it is."""
    counts = Counter([*FIRST, *LAST, *(name for part in parts.values() for name in part)])
    found: dict[str, list[Any]] = {}
    for part, columns in parts.items():
        for name, values in columns.items():
            shown = name if counts[name] == 1 else f"{part}.{name}"
            while shown != name and (shown in counts or shown in found):
                shown = f"{part}.{shown}"
            found[shown] = values
    return found


def _filtered(table: Any, where: Mapping[str, Any]) -> "pandas.DataFrame":
    chosen = np.ones(len(table), bool)
    for name, value in where.items():
        if name not in table.columns:
            raise ValueError(unknown("column", name, map(str, table.columns)))
        values = value if isinstance(value, list | tuple | set) else [value]
        chosen &= table[name].isin(list(values))
    return table[chosen].reset_index(drop=True)
