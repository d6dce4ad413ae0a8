"""What parameters may be: plain data that JSON keeps, compared by what it means, and ranges inside names."""

import json
import re
from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any

import numpy as np

from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format

Configuration = dict[str, Any]
"""What one run is given: values by the names of parameters."""

_RANGE = re.compile(r"\[(\d+)-(\d+)\]")
_FORMATS = re.compile(r"(?:^|_)(?:formats?|fmts?|recipes?)$")


def plain(value: Any, where: str) -> Any:
    """The value as JSON keeps it: numbers of any library as Python's, tuples and arrays as lists, formats as names.

    Args:
        where: what the value is of, for the message.

    Raises:
        TypeError: what JSON cannot keep. ValueError: a number that is not finite.
    """
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):  # subclasses too: np.str_, np.float64, an enumeration of names
        if isinstance(value, kind):
            found = kind(value)
            if isinstance(found, float) and not isfinite(found):
                raise ValueError(f"{where}: expected finite numbers, got {found}")
            return found
    if isinstance(value, list | tuple | range):
        return [plain(each, f"{where}[{k}]") for k, each in enumerate(value)]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{where}: expected names as keys, got {name!r}")
        return {str(name): plain(each, f"{where}.{name}") for name, each in value.items()}
    if isinstance(value, AnyFormat):
        return _name_of(value)
    if isinstance(value, np.ndarray) and value.shape:
        return plain(value.tolist(), where)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        found = value.item()
        return plain(found if isinstance(found, str | int | float) else float(found), where)  # scalars of ml_dtypes
    raise TypeError(
        f"{where}: expected text, numbers, truth values, None, lists or dicts of them, got {value!r:.80}; "
        "pass the name of it, and look it up inside the run"
    )


def _name_of(fmt: Any) -> str:
    """The name of a format where the name leads back to it, otherwise all of its settings as text."""
    try:
        return fmt.name if any_format(fmt.name) == fmt else fmt.spec
    except ValueError:
        return fmt.spec


def identity(value: Any) -> Hashable:
    """Equal for plain values that mean the same: 1 is 1.0, but not True, and the order of keys does not matter."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", *map(identity, value))
    if isinstance(value, dict):
        return ("dict", frozenset((name, identity(each)) for name, each in value.items()))
    return value


def without_repeats(values: Iterable[Any]) -> tuple[Any, ...]:
    """The first of every group of values that mean the same, in order."""
    first: dict[Hashable, Any] = {}
    for value in values:
        first.setdefault(identity(value), value)
    return tuple(first.values())


def shown(value: Any) -> str:
    """A value as people type it."""
    return json.dumps(value)


def closest(value: Any, known: Iterable[Any]) -> str:
    """Which of the known values is near one that is none of them, or the first few of them."""
    listed = list(known)
    if _is_number(value) and any(map(_is_number, listed)):
        return f"closest: {shown(min(filter(_is_number, listed), key=lambda each: abs(each - value)))}"
    texts = [each for each in listed if isinstance(each, str)]
    near = get_close_matches(value, texts, n=1, cutoff=0.5) if isinstance(value, str) else []
    if near:
        return f"closest: {shown(near[0])}"
    return f"known: {', '.join(map(shown, listed[:10]))}{', ...' if len(listed) > 10 else ''}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def names_formats(parameter: str) -> bool:
    """Whether values of a parameter are names of formats or recipes, by the parameter's own name.

    Example:
        >>> [name for name in ("format", "weight_fmt", "recipe", "file", "information") if names_formats(name)]
        ['format', 'weight_fmt', 'recipe']
    """
    return _FORMATS.search(parameter) is not None


def expand_names(names: str | Iterable[Any]) -> list[Any]:
    """Names in which [a-b] stands for the numbers a to b, one by one; what is no text stays as it is.

    Raises:
        ValueError: a range that descends.

    Example:
        >>> expand_names(["e[2-3]m[0-1]", "int4"])
        ['e2m0', 'e2m1', 'e3m0', 'e3m1', 'int4']
    """
    if not isinstance(names, str):
        return [full for name in names for full in (expand_names(name) if isinstance(name, str) else [name])]
    found = _RANGE.search(names)
    if not found:
        return [names]
    low, high = int(found[1]), int(found[2])
    if low > high:
        raise ValueError(f"expected an ascending range, got {found[0]} in {names!r}; write [{high}-{low}]")
    before, after = names[: found.start()], names[found.end() :]
    return [full for k in range(low, high + 1) for full in expand_names(f"{before}{k}{after}")]
