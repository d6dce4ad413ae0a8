"""Runs as text: a table that fits a screen, and the facts of one run."""

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .filters import as_text
from .frames import FIRST, LAST

if TYPE_CHECKING:
    import pandas

    from .records import Row

KEY = 8
"""Characters of a key in a table."""
WIDEST = 32
"""Characters of a cell in a table that has to fit."""
_LATE = ({*FIRST[1:2], *LAST}, {"kind", "bits", "exponent_bits", "mantissa_bits"})
"""Columns that give way: first those of the run's circumstances, then those that the format says already."""
_BARS = "▁▂▃▄▅▆▇█"


class Cells(NamedTuple):
    """A column as it is printed."""

    texts: list[str]
    numbers: bool


class Plan(NamedTuple):
    """What is printed: columns in their order, and lines below about what is not."""

    columns: dict[str, Cells]
    notes: list[str]


def plan_table(shown: "pandas.DataFrame", every: "pandas.DataFrame", width: int | None) -> Plan:
    """The columns to print: those that differ between runs and fit the width, less important ones left out first.

    Args:
        shown: the rows that are printed.
        every: the rows they are some of.
        width: in characters; None for all columns in full.
    """
    cells = {str(name): _cells(str(name), shown.iloc[:, place], width) for place, name in enumerate(shown.columns)}
    if width is None:
        return Plan(cells, [])
    of_all: Any = every
    same = {name for name in cells if name != "key" and len(every) > 1 and is_constant(of_all[name])}
    order = sorted((name for name in cells if name not in same), key=lambda name: [name in late for late in _LATE])
    left, fit = width, set[str]()
    for name in order:
        left -= width_of(name, cells[name])
        if left < 0:
            break
        fit.add(name)
    notes = []
    shared = [f"{printable(name)}={cells[name].texts[0]}" for name in cells if name in same and any(cells[name].texts)]
    if shared:
        notes.append(f"the same in all: {', '.join(shared)}")
    hidden = [printable(name) for name in cells if name not in same and name not in fit]
    if hidden:
        notes.append(f"more columns, for --columns: {', '.join(hidden)}")
    return Plan({name: column for name, column in cells.items() if name in fit}, notes)


def width_of(name: str, cells: Cells) -> int:
    """Characters that a column takes on the screen, with its margin."""
    from rich.cells import cell_len

    return max(map(cell_len, (printable(name), *cells.texts))) + 2


def is_constant(column: "pandas.Series") -> bool:
    """Whether all cells are equal, or all empty."""
    cells = column.tolist()
    first = cells[0] if cells else None
    return all(cell is first or cell == first or (cell != cell and first != first) for cell in cells)


def _cells(name: str, column: "pandas.Series", width: int | None) -> Cells:
    texts = [f"{cell:.5g}" if isinstance(cell, float) and cell == cell else as_text(cell) for cell in column.tolist()]
    shown = map(printable, texts)
    if width is not None:
        shown = [text[:KEY] if name == "key" else _cut(text, WIDEST) for text in shown]
    return Cells(list(shown), column.dtype.kind in "iuf")


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def printable(text: str) -> str:
    """Text without characters that move the cursor, change colours or the direction of writing: they are escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in _UNSEEN else each for each in text
    )


_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def facts_of(row: "Row") -> dict[str, dict[str, str]]:
    """All that is kept of a run, by section and name."""
    names = ("status", "sweep", "started", "finished", "seconds", "attempts", "host", "revision")
    general = {"key": row.planned.key, **_texts({name: getattr(row, name) for name in names})}
    sections = {
        "": general,
        "configuration": _texts(row.planned.config),
        "metrics": _texts(row.metrics),
        "curves": {name: _curve(values) for name, values in row.curves.items()},
        "versions": _texts(row.versions),
        "error": {"error": row.error, "traceback": row.trace or ""} if row.error is not None else {},
    }
    kept = {title: {n: text for n, text in facts.items() if text} for title, facts in sections.items()}
    return {title: facts for title, facts in kept.items() if facts}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: "nan" if value != value else as_text(value) for name, value in values.items()}


def _curve(values: np.ndarray, width: int = 40) -> str:
    """A curve in one line: its course, first and last value, and how many there are."""
    if not len(values):
        return "empty"
    at = np.linspace(0, len(values) - 1, min(width, len(values))).round().astype(int)
    shown = np.asarray(values, float)[at]
    known = shown[np.isfinite(shown)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    level = (shown - low) / (high - low or 1) * (len(_BARS) - 1)
    course = "".join(_BARS[round(each)] if np.isfinite(each) else "?" for each in level)
    return f"{course} {values[0]:.5g} to {values[-1]:.5g}, {len(values):,} values"
