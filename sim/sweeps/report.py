"""A report of runs: one HTML file with a table to sort and filter, pictures, curves and provenance."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .filters import Condition, as_text
from .reading import Contents, contents_of, diverged_of, failed_of, read_contents
from .report_data import MOST_CURVES, page_data
from .report_page import Tile, render
from .report_pictures import pictures_of
from .values import counted

if TYPE_CHECKING:
    import pandas

_LISTED = 8
"""Versions or revisions that are named; of more, the most frequent."""


def report(
    runs: "str | Path | pandas.DataFrame",
    out: str | Path,
    *,
    where: str | Condition | Iterable[str | Condition] = (),
    title: str | None = None,
    pictures: bool = True,
) -> Path:
    """Write one HTML file about runs that needs nothing but a browser: no network, no other file.

    It holds a table to sort, filter and page through, made for up to 100,000 runs, the pictures that the runs'
    columns allow, the curves of chosen runs where the store has any, and where the runs come from: versions,
    revisions, dates, and how many failed or diverged.

    Args:
        runs: a store that a sweep wrote, or a table with a row a run; columns of arrays are curves.
        out: the file, ending in .html, its folder made where missing; one that is there is replaced.
        where: conditions on the runs, such as 'format=e4m3' or 'test_loss<0.5'; see `filter_runs`.
        title: of the page; the store's name without one.
        pictures: whether to draw.

    Returns:
        The file.

    Raises:
        TypeError: neither a store nor a DataFrame.
        ValueError: another suffix, or a condition that does not fit.
        StoreError: no store there, a file that is none, or a damaged one.
        OSError: a place that cannot be written.
    """
    out = _page_path(out)
    conditions = [where] if isinstance(where, str | Condition) else list(where)
    if isinstance(runs, str | Path):
        source = Path(runs)
        contents = read_contents(source, conditions, MOST_CURVES)
    elif hasattr(runs, "groupby") and hasattr(runs, "columns"):
        source = None
        contents = contents_of(runs, conditions)
    else:
        raise TypeError(f"expected the path of a store or a pandas DataFrame of runs, got {type(runs).__name__}")
    page = render(
        title or (f"Runs of {source.name}" if source else "Runs"),
        _tiles(contents.runs),
        pictures_of(contents.runs) if pictures and len(contents.runs) else [],
        _provenance(contents, source, conditions),
        page_data(contents.runs, contents.curves),
    )
    return _write(page, out)


def _page_path(out: str | Path) -> Path:
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected a file ending in .html, got {str(out)!r}; pass {str(path.with_suffix('.html'))!r}")
    return path


def _tiles(table: Any) -> list[Tile]:
    failed, diverged = int(failed_of(table).sum()), int(diverged_of(table).sum())
    tiles = [Tile(f"{len(table):,}", "run" if len(table) == 1 else "runs")]
    if failed:
        tiles.append(Tile(f"{failed:,}", "failed", bad=True))
    if diverged:
        tiles.append(Tile(f"{diverged:,}", "diverged", bad=True))
    for column in ("sweep", "task", "format", "recipe", "seed"):
        kinds = table[column].astype(str).nunique() if column in table else 0
        if kinds > 1:
            tiles.append(Tile(f"{kinds:,}", f"{column}s"))
    return tiles


def _provenance(contents: Contents, store: Path | None, where: Iterable[str | Condition]) -> dict[str, str]:
    from ... import __version__

    table: Any = contents.runs
    facts = {}
    if store is not None:
        facts["store"] = f"{store.name} ({store.stat().st_size / 1e6:,.2f} MB)"
    conditions = [str(condition) for condition in where]
    if conditions:
        facts["only runs with"] = "\n".join(conditions)
    facts["runs"] = f"{len(table):,}"
    facts["failed"] = f"{int(failed_of(table).sum()):,}"
    facts["diverged"] = f"{int(diverged_of(table).sum()):,}"
    dates = table["finished"].dropna() if "finished" in table else []
    if len(dates):
        facts["finished"] = f"{as_text(min(dates))} to {as_text(max(dates))}"
    if "seconds" in table and table["seconds"].notna().any():
        facts["time of all runs"] = _duration(float(table["seconds"].sum()))
    for column, name in (("halfulp", "made by halfulp"), ("revision", "revisions")):
        if column in table and table[column].notna().any():
            facts[name] = _counts(table[column])
    if contents.versions:
        listed = (f"{name} {' and '.join(of)}" for name, of in contents.versions.items() if name != "halfulp")
        facts["packages"] = ", ".join(listed)
    facts["report"] = f"halfulp {__version__}, {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return facts


def _counts(column: Any) -> str:
    """Each value with its number of runs, the most frequent first."""
    counts = column.dropna().map(as_text).value_counts()
    lines = [f"{value} ({counted(count, 'run')})" if len(counts) > 1 else str(value) for value, count in counts.items()]
    more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "\n".join(lines[:_LISTED] + more)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def _write(page: str, out: Path) -> Path:
    """All of the file or, where that fails, what was there before."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.write_text(page, "utf-8", newline="\n")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out
