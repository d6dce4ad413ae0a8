"""Where results come from: versions of packages, Git commits, and the source of functions."""

import dis
import inspect
import platform
import subprocess
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from .records import digest
from .values import plain

_PACKAGES = ("numpy", "jax", "jaxlib", "torch", "scikit-learn")
_PATIENCE = 10
"""Seconds for Git to answer."""


@cache
def versions() -> dict[str, str]:
    """Of Python, halfulp and the packages that results may depend on, those that are installed."""
    from ... import __version__

    found = {"halfulp": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def function_name(function: Callable[..., Any]) -> str:
    """'module:name' of a function or of the function of a `functools.partial`; the same in a script and imported.

    Raises:
        TypeError: what is neither.
    """
    inner = _unwrapped(function)
    module = inner.__module__
    if module == "__main__":
        file = inner.__globals__.get("__file__")
        module = Path(file).stem if file else module
    return f"{module}:{inner.__qualname__}"


def function_file(function: Callable[..., Any]) -> Path | None:
    """The file a function is from; None where it has none."""
    path = Path(_unwrapped(function).__code__.co_filename)
    return path if path.is_file() else None


def _unwrapped(function: Callable[..., Any]) -> FunctionType:
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    if not isinstance(inner, FunctionType):
        raise TypeError(
            f"expected a function or a functools.partial of one, got {function!r:.80}; write def train(config): ... "
            "around it"
        )
    return inner


def source_hash(function: Callable[..., Any]) -> str:
    """What tells one version of a function from another: its source, its partial arguments, what it closes over, its
    defaults, and of its own module the functions it names and the constants it reads.

    Functions of other modules are not looked at; the Git commit of a run tells those apart.

    Raises:
        TypeError: partial arguments or variables around it that are no plain values, which cannot be told apart.
    """
    return digest(_described(function, ()))[:16]


def _described(function: Callable[..., Any], around: tuple[Any, ...]) -> list[Any]:
    if isinstance(function, partial):
        given = plain([list(function.args), function.keywords], f"{function_name(function)}: arguments of the partial")
        return [given, _described(function.func, around)]
    inner = _unwrapped(function)
    around = (*around, inner)
    return [_source(inner), _closure(function, inner, around), _read(inner, around)]


def _read(function: FunctionType, around: tuple[Any, ...]) -> dict[str, Any]:
    """Defaults, constants and functions of its module that a function reads; what it also writes is no constant."""
    named = _defaults(function)
    read, written = _globals(function.__code__)
    for name in sorted(read - written):
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            if value not in around:
                named[name] = [_source(value), _read(value, (*around, value))]
        elif _is_constant(value) and not name.startswith("__"):
            named[name] = plain(value, name)
    return named


def _defaults(function: FunctionType) -> dict[str, Any]:
    """The defaults of arguments that are constants; others are told apart by the source only."""
    count = len(function.__defaults__ or ())
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    found = dict(zip(positional[len(positional) - count :], function.__defaults__ or ()))
    found |= function.__kwdefaults__ or {}
    return {f"{name}=": plain(value, name) for name, value in found.items() if _is_constant(value)}


def _is_constant(value: Any) -> bool:
    """Whether a value is data that nothing can change."""
    return isinstance(value, bool | int | float | str) or (isinstance(value, tuple) and all(map(_is_constant, value)))


def _globals(code: CodeType) -> tuple[set[str], set[str]]:
    """The global names that code reads, and those that it writes."""
    read, written = set[str](), set[str]()
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(each.argval)
        elif each.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            written.add(each.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more_read, more_written = _globals(inner)
            read, written = read | more_read, written | more_written
    return read, written


def _source(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed in, or made by exec
        return sha256(repr(_code(function.__code__)).encode()).hexdigest()


def _code(code: CodeType) -> tuple[Any, ...]:
    """Bytecode and constants, without the addresses that nested code objects show."""
    constants = tuple(_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts)
    return code.co_code, code.co_names, constants


def _closure(function: Callable[..., Any], inner: FunctionType, around: tuple[Any, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for outer in dict.fromkeys((function, inner)):
        cells = zip(getattr(outer, "__code__", inner.__code__).co_freevars, getattr(outer, "__closure__", None) or ())
        for name, cell in cells:
            found[name] = _cell(function, name, cell.cell_contents, around)
    return found


def _cell(function: Callable[..., Any], name: str, value: Any, around: tuple[Any, ...]) -> Any:
    if isinstance(value, FunctionType):
        return None if value in around else _described(value, around)
    try:
        return plain(value, name)
    except TypeError as error:
        raise TypeError(
            f"{function_name(function)} closes over {name!r}, of type {type(value).__name__}, which a store cannot "
            "tell from another one; make it inside of the function, or sweep without a store"
        ) from error


def revision_of(path: Path | None) -> str:
    """The Git commit of a file's repository, with '-dirty' where tracked files had changed.

    Returns:
        '' where the file is not in Git, or Git is not there.
    """
    if path is None or _git(path, "ls-files", "--error-unmatch", "--", path.name) is None:
        return ""
    commit, changed = _git(path, "rev-parse", "HEAD"), _git(path, "status", "--porcelain", "--untracked-files=no")
    return "" if commit is None else commit + ("-dirty" if changed else "")


def _git(path: Path, *arguments: str) -> str | None:
    """What Git says in a file's folder; None where it fails."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(path.resolve().parent), *arguments], capture_output=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
