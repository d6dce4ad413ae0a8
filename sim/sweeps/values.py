"""Values of configurations and metrics: plain ones, as JSON that a store keeps and hashes.

JSON has no infinities and no NaN; they are written as {"$float": "nan"}, so that every reader of JSON takes the text,
and a caller's own table of that shape as {"$float": [value]}.
"""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

_FLOAT = "$float"
Curves = dict[str, np.ndarray]
"""(n,) numbers by name: a loss by step and the like."""


def dumps(value: Any, canonical: bool = False) -> str:
    """JSON of plain values without spaces, NaN and infinities as tables; canonical with names sorted."""
    try:
        text = json.dumps(value, sort_keys=canonical, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = _FLOAT
    if _FLOAT not in text:
        return text
    return json.dumps(_marked(value), sort_keys=canonical, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> Any:
    """What `dumps` wrote."""
    return json.loads(text, object_hook=_unmarked) if _FLOAT in text else json.loads(text)


def _marked(value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        return {_FLOAT: repr(value)}
    if isinstance(value, dict):
        marked = {name: _marked(each) for name, each in value.items()}
        return {_FLOAT: [marked[_FLOAT]]} if marked.keys() == {_FLOAT} else marked  # a table that looks like a mark
    return [_marked(each) for each in value] if isinstance(value, list) else value


def _unmarked(table: dict[str, Any]) -> Any:
    if table.keys() != {_FLOAT}:
        return table
    found = table[_FLOAT]
    return {_FLOAT: found[0]} if isinstance(found, list) else float(found)


def encodable(value: Any) -> Any:
    """Plain values with lone surrogates, which UTF-8 has not, written as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(name): encodable(each) for name, each in value.items()}
    return [encodable(each) for each in value] if isinstance(value, list) else value


def plain(value: Any, where: str) -> Any:
    """A value as str, int, float, bool, None, or lists and dicts of those.

    Scalars of any array library become numbers of Python, tuples lists.

    Args:
        where: what the value is of, for the message.

    Raises:
        TypeError: any other value.
    """
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):  # subclasses too: np.str_, np.float64, an enumeration of names
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        wrong = [name for name in value if not isinstance(name, str)]
        if wrong:
            raise TypeError(f"{where}: expected names as keys, got {wrong[0]!r}")
        return {str(name): plain(each, f"{where}.{name}") for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{k}]") for k, each in enumerate(value)]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        found = value.item()
        if type(found) in (str, int, float, bool):
            return found
        if hasattr(found, "__float__"):  # scalars of ml_dtypes
            return float(found)
    raise TypeError(
        f"{where}: expected text, numbers, truth values, None, lists or dicts of them, got {type(value).__name__}; "
        "pass the name of it, and look it up inside the run"
    )


def parted(metrics: Any) -> tuple[dict[str, Any], Curves]:
    """What a run returned, as metrics and curves.

    Args:
        metrics: numbers, strings, booleans and None by name; lists, tuples and arrays of numbers are curves.

    Raises:
        TypeError: anything else; the message names it.
    """
    if not isinstance(metrics, Mapping):
        raise TypeError(f"expected a dict of metrics such as {{'loss': 0.1}}, got {metrics!r:.80}")
    numbers: dict[str, Any] = {}
    curves: Curves = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"expected names of metrics, got {name!r}")
        if isinstance(value, list | tuple) or getattr(value, "shape", ()) != ():
            curves[name] = _curve(name, value)
            continue
        if not isinstance(value, str | int | float | None) and getattr(value, "shape", None) != ():
            raise TypeError(
                f"metric {name!r}: expected a number, a string, a bool, None or a list of numbers, got {value!r:.80}"
            )
        numbers[name] = plain(value, f"metric {name!r}")
    return numbers, curves


def _curve(name: str, value: Any) -> np.ndarray:
    try:
        found = np.asarray(value)
        if found.size == 0:
            found = found.astype(np.float64)
        kept = found if found.dtype in (np.float64, np.float32, np.int64) else found.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        kept = found = np.empty((0, 0), object)
    if kept.ndim != 1 or found.dtype.kind in "USOcM":
        raise TypeError(f"metric {name!r}: expected numbers along one axis, got {value!r:.80}")
    return kept


def counted(number: int, word: str) -> str:
    """A number of things in words: 1 run, 3 runs, 1,000 runs."""
    return f"{number:,} {word}{'s' * (number != 1)}"
