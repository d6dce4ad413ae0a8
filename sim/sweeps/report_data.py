"""Runs as the data of a page: small, exact, and safe inside a script element."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .filters import as_text, natural

if TYPE_CHECKING:
    import pandas

LONGEST_TEXT = 2000
"""Characters of a text that the page keeps."""
KEY_CHARACTERS = 12
"""Of a key's 64; the chance that two of 100,000 agree in them is 1 in 56,000."""
MOST_POINTS = 400
"""Of a curve on the page; longer ones keep the first, smallest, largest and last of each of equal parts."""
MOST_CURVES = 2000
"""Runs whose curves the page keeps."""
MOST_NATURAL = 10_000
"""Distinct texts that are sorted with int4 before int16; more, as keys and dates are, by their characters."""
MOST_CHOICES, LONGEST_CHOICE = 32, 60
"""Values of a column, and characters of the longest, that the page lists to choose from."""
_TIMES = {"key", "seconds", "started", "finished"}
_LATE = {*_TIMES, "sweep", "halfulp", "revision", "attempts"}
_SAID = {"kind", "exponent_bits", "mantissa_bits"}
"""Columns that the table hides at first: circumstances, and what the format says already."""
_RESULTS = {"status", "diverged", "error"}

Curves = Mapping[int, Mapping[str, np.ndarray]]
"""By row of a table and by name: (n,) numbers, one a step."""


def script_json(data: Any) -> str:
    """Data as JSON in ASCII that cannot end, or open anything within, a script element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page_data(runs: "pandas.DataFrame", curves: Curves) -> dict[str, Any]:
    """What the page's script reads: every column as its distinct values in order and a code for every run."""
    columns = [_column(str(name), runs.iloc[:, place]) for place, name in enumerate(runs.columns)]
    if all(not column["shown"] for column in columns):
        columns = [{**column, "shown": True} for column in columns]
    return {
        "rows": len(runs),
        "columns": columns,
        "bad": [["status", "failed"], ["diverged", "true"]],
        "curves": _curves(curves, len(runs)),
    }


def _column(name: str, cells: "pandas.Series") -> dict[str, Any]:
    if cells.dtype.kind in "iuf" and _exact_in_double(cells):
        values, codes = np.unique(cells.to_numpy(float), return_inverse=True)
        known = int(np.count_nonzero(values == values))
        values, codes = values[:known], np.minimum(codes, known)
        stored: dict[str, Any] = {"kind": "number", "values": _base64(values, "<f8")}
        longest = 0
    else:
        values, codes = _texts(name, cells)
        known = len(values)
        stored = {"kind": "text", "values": values}
        longest = max(map(len, values), default=0)
    empty = bool((codes == known).any())
    constant = known + empty <= 1
    repeats = stored["kind"] == "text" or known <= max(len(cells) // 4, 4)
    width = 1 if known < 2**8 else 2 if known < 2**16 else 4
    return {
        "name": name,
        **stored,
        "codes": _base64(codes, f"<u{width}"),
        "width": width,
        "empty": empty,
        "constant": constant,
        "shown": name == "key" or not (constant or name in _LATE | _SAID),
        "choices": repeats and known <= MOST_CHOICES and longest <= LONGEST_CHOICE and name not in _TIMES,
        "label": repeats and not constant and name not in _LATE | _SAID | _RESULTS,
    }


def _exact_in_double(cells: "pandas.Series") -> bool:
    return cells.dtype.kind == "f" or not len(cells) or max(abs(int(cells.min())), abs(int(cells.max()))) <= 2**53


def _texts(name: str, cells: "pandas.Series") -> tuple[list[str], np.ndarray]:
    """Distinct texts in order and the code of every cell, the number of texts where it is empty."""
    from pandas import factorize

    longest = KEY_CHARACTERS if name == "key" else LONGEST_TEXT
    if cells.dtype == object:
        cells = cells.map(as_text)
    codes, kinds = factorize(cells)  # an empty cell has the code -1
    texts = [_shortened(as_text(kind), longest) for kind in kinds.tolist()]
    known = [k for k, text in enumerate(texts) if text]
    if len(known) <= MOST_NATURAL:
        known.sort(key=lambda k: natural(texts[k]))
    else:
        known.sort(key=texts.__getitem__)
    rank = np.full(len(texts) + 1, len(known))
    rank[known] = np.arange(len(known))
    return [texts[k] for k in known], rank[codes]


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return text[:longest] if longest == KEY_CHARACTERS else f"{text[:longest]}… ({len(text)} characters)"


def _base64(values: Any, dtype: str) -> str:
    return b64encode(np.asarray(values).astype(dtype).tobytes()).decode("ascii")


def _curves(curves: Curves, total: int) -> dict[str, Any] | None:
    rows = sorted(curves)[:MOST_CURVES]
    if not rows:
        return None
    names = sorted(dict.fromkeys(name for row in rows for name in curves[row]), key=lambda name: "loss" not in name)
    values = [np.asarray(each, float) for row in rows for each in curves[row].values()]
    notes = ["Choose runs in the table's first column."]
    if any(len(each) > MOST_POINTS for each in values):
        notes.append(f"Curves of more than {MOST_POINTS} steps are thinned; their peaks are kept.")
    if total > MOST_CURVES:
        notes.append(f"The page holds the curves of the first {MOST_CURVES:,} runs only.")
    return {
        "names": names,
        "rows": rows,
        "runs": [{name: _curve(each) for name, each in curves[row].items()} for row in rows],
        "note": " ".join(notes),
        "log": all((each[np.isfinite(each)] > 0).all() for each in values),
    }


def _curve(values: np.ndarray) -> dict[str, str]:
    y = np.asarray(values, float)
    x = _thinned(y)
    largest = float(np.finfo(np.float32).max)
    return {"x": _base64(x, "<u4"), "y": _base64(np.where(np.isinf(y), y, np.clip(y, -largest, largest))[x], "<f4")}


def _thinned(y: np.ndarray) -> Sequence[int] | np.ndarray:
    """Steps whose points draw nearly the same line."""
    if len(y) <= MOST_POINTS:
        return np.arange(len(y))
    chosen: set[int] = set()
    for part in np.array_split(np.arange(len(y)), MOST_POINTS // 4):
        known = part[np.isfinite(y[part])]
        lost = part[~np.isfinite(y[part])]
        chosen.update((int(part[0]), int(part[-1])), map(int, lost[:1]))
        if len(known):
            chosen.update((int(known[y[known].argmin()]), int(known[y[known].argmax()])))
    return sorted(chosen)
