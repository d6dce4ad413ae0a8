"""A function by its name in a sweep file."""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from ...formats.suggest import unknown

_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def load_function(name: str, folder: Path) -> Callable[[dict[str, Any]], Any]:
    """The function 'package.module:train'; modules beside the sweep file are found, as they are beside a script.

    Raises:
        ValueError: no such name, a module that cannot be imported, or what cannot be called with a configuration.
    """
    if not _FUNCTION.fullmatch(name):
        raise ValueError(f"expected function = 'package.module:train', got {name!r}")
    module_name, _, path = name.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # stays, since worker processes import the function by this path
    try:
        found: Any = import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"cannot import {module_name!r} for function = {name!r}: {type(error).__name__}: {error}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(unknown(f"function of {module_name}", path, _functions(found)))
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"expected a function that takes a configuration, {name} is {found!r:.80}")
    try:
        signature(found).bind({})
    except TypeError as error:
        raise ValueError(
            f"expected {name} to take one configuration, a dict; it is called as {path}(config)"
        ) from error
    return found


def _functions(module: Any) -> list[str]:
    return [name for name in dir(module) if not name.startswith("_") and callable(getattr(module, name))]
