"""Sweep files: a whole sweep in TOML, checked before anything runs."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...formats.suggest import unknown
from ..tasks.loading import TASKS
from ..tasks.loading import task as any_task
from ..training.training import Training
from .designs import DESIGNS, list_all
from .designs import random as drawn
from .halving import Halving, halving
from .named_function import load_function
from .parameters import Range
from .space import Space, space
from .task_members import MAY_BE_NONE
from .task_space import check_configurations, training_of

KEYS = {
    "name": str,
    "task": str,
    "task_options": dict,
    "function": str,
    "store": str,
    "executor": str,
    "workers": int,
    "retries": int,
    "rerun_failed": bool,
    "training": dict,
    "space": dict,
    "design": dict,
    "exclude": list,
    "runs": list,
}
"""What a sweep file may say."""
_DESIGN = {"kind": str, "n": int, "seed": int}
_HALVING = {
    **_DESIGN,
    **dict.fromkeys(("metric", "direction", "resource"), str),
    **dict.fromkeys(("low", "high"), float),
    **dict.fromkeys(("factor", "brackets"), int),
}
_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false", dict: "a table", list: "a list"}
_EXECUTORS = "'processes' or 'dask://HOST:PORT'"
_SAMPLED = 200
"""Configurations of an infinite space that are checked before halving draws its own."""


@dataclass(frozen=True, slots=True)
class SweepFile:
    """What a sweep file says; `read_sweep_file` makes one.

    Args:
        path: the file.
        name: of the sweep; by default the file's name without its ending.
        task: the name of a built-in task, or None where there is a function. task_options: of `halfulp.task`.
        function: the function that is swept, or None where there is a task.
        training: of a task's runs.
        space: what is run.
        store: the SQLite file of results. executor, workers, retries, rerun_failed: as `halfulp.sweep` takes them.
    """

    path: Path
    name: str
    task: str | None
    task_options: Mapping[str, Any]
    function: Callable[[dict[str, Any]], Any] | None
    training: Training | None
    space: Space | Halving
    store: Path | None = None
    executor: str | None = None
    workers: int | None = None
    retries: int = 0
    rerun_failed: bool = False

    @property
    def task_or_function(self) -> Any:
        """What `halfulp.sweep` takes first."""
        return self.task if self.function is None else self.function


def read_sweep_file(path: str | Path) -> SweepFile:
    """Read a sweep file and check all that it says; the data of a task are read and a function is imported.

    Args:
        path: a TOML file; `docs/spaces.md` says what is in it. Paths in it are relative to its folder, and a function
            may be in a module beside it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: anything that is wrong in it; the message begins with the path, and has the line of malformed TOML.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise FileNotFoundError(f"expected a sweep file, {path} {what}; docs/spaces.md shows one")
    with _within(str(path)):
        found = tomllib.loads(path.read_bytes().decode())
        _check_keys(found, KEYS, "key")
        return _read(path, found)


@contextmanager
def _within(where: str) -> Iterator[None]:
    """Errors as ValueErrors that say where they are."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise ValueError(f"{where}: {error}") from error


def _check_keys(table: Mapping[str, Any], kinds: Mapping[str, type], what: str) -> None:
    for key, value in table.items():
        if key not in kinds:
            raise ValueError(unknown(what, key, kinds))
        kind = kinds[key]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"expected {_WORDS[kind]} for {key}, got {value!r}")


def _read(path: Path, found: dict[str, Any]) -> SweepFile:
    folder = path.resolve().parent
    task, function = found.get("task"), found.get("function")
    if (task is None) == (function is None):
        both = "got both; leave one out" if task is not None else "got neither; write task = 'digits', for example"
        raise ValueError(f"expected a task or a function, {both}")
    if function is not None:
        for key in ("training", "task_options"):
            if key in found:
                raise ValueError(f"[{key}] is for built-in tasks; give what the function needs as values in [space]")
    elif task not in TASKS:
        raise ValueError(unknown("task", str(task), TASKS))
    else:
        found = _without_none(found)
    options = {"store": _store(found, folder), **_options(found)}
    what = _space(found)
    training = None
    if task is not None:
        with _within("[training]"):
            training = training_of(found.get("training", {}))
        _check_task_space(what, training, found.get("training", {}))
    elif isinstance(what, Space):
        what.configurations()
    called = None if function is None else load_function(function, folder)
    task_options = {} if task is None else _task_options(task, found.get("task_options", {}), folder, training)
    name = found.get("name", path.stem)
    return SweepFile(path, name, task, task_options, called, training, what, **options)


def _options(found: Mapping[str, Any]) -> dict[str, Any]:
    """How the sweep runs."""
    executor = found.get("executor")
    if executor is not None and executor != "processes" and not re.fullmatch(r"dask://[^:/]+:\d+", executor):
        raise ValueError(f"expected {_EXECUTORS} for executor, got {executor!r}; leave it out to run in this process")
    for name, least in (("workers", 1), ("retries", 0)):
        if found.get(name, least) < least:
            raise ValueError(f"expected {name} >= {least}, got {found[name]}")
    if "workers" in found and executor not in (None, "processes"):
        raise ValueError("workers is for executor = 'processes'; a Dask cluster has workers of its own")
    return {name: found[name] for name in ("executor", "workers", "retries", "rerun_failed") if name in found}


def _store(found: Mapping[str, Any], folder: Path) -> Path | None:
    if "store" not in found:
        return None
    store = folder / Path(found["store"]).expanduser()
    if store.is_dir():
        raise ValueError(f"expected a file for store, {store} is a folder; name a file in it, such as runs.sqlite")
    return store


def _space(found: Mapping[str, Any]) -> Space | Halving:
    """What [space], [design], exclude and [[runs]] say."""
    exclude, design = found.get("exclude", []), found.get("design", {})
    if "runs" in found:
        for key in ("space", "design"):
            if key in found:
                raise ValueError(f"expected [[runs]] or [{key}], got both; leave one out")
        with _within("[[runs]]"):
            return space(found["runs"], exclude=exclude)
    if not found.get("space"):
        raise ValueError(
            "nothing to run; list values in [space], such as format = ['e[2-5]m[0-3]'], or runs in [[runs]]"
        )
    if design.get("kind") == "halving":
        with _within("[design]"):
            _check_keys(design, _HALVING, "key")
            missing = [name for name in ("low", "high") if name not in design]
            if missing:
                raise ValueError(f"halving needs {' and '.join(missing)}, the least and the most of its resource")
        with _within("[space]"):
            return halving(found["space"], exclude=exclude, **{k: v for k, v in design.items() if k != "kind"})
    with _within("[design]"):
        _check_keys(design, _DESIGN, "key")
        if design.get("kind", "grid") not in DESIGNS:
            raise ValueError(unknown("design", design["kind"], (*DESIGNS, "halving")))
    with _within("[space]"):
        chosen = {"design" if name == "kind" else name: value for name, value in design.items()}
        return space(found["space"], exclude=exclude, **chosen)


def _check_task_space(what: Space | Halving, training: Training, table: Mapping[str, Any]) -> None:
    with _within("[[runs]]" if isinstance(what, Space) and what.rows else "[space]"):
        names = what.names if isinstance(what, Space) else (*what.space.names, what.resource)
        twice = [name for name in names if name in table]
        if twice:
            raise ValueError(f"{twice[0]} is in [training] as well; leave one of them out")
        check_configurations(_samples(what), training)


def _samples(what: Space | Halving) -> list[dict[str, Any]]:
    """The configurations; of halving those it may draw, with its least and most resource."""
    if isinstance(what, Space):
        return what.configurations()
    parameters, exclusions = what.space.parameters, what.space.exclude
    rows = list_all(parameters, exclusions, 10_000) or drawn(parameters, exclusions, seed=0, n=_SAMPLED)
    bounds = [
        {each.name: bound} for each in parameters if isinstance(each.domain, Range)
        for bound in (each.domain.low, each.domain.high)
    ]  # fmt: skip
    resources = (what.rungs[0].resource, what.rungs[-1].resource)
    return [*({**row, what.resource: resource} for row in rows for resource in resources), *bounds]


def _task_options(name: str, options: Mapping[str, Any], folder: Path, training: Training | None) -> dict[str, Any]:
    """The options with paths made absolute; the task is made once to check them and its data."""
    found = dict(options)
    with _within("[task_options]"):
        if "name" in found:
            raise ValueError("the name of the task is the key task, above all tables")
        if "path" in found:
            if not isinstance(found["path"], str):
                raise TypeError(f"expected text for path, got {found['path']!r}")
            data = folder / Path(found["path"]).expanduser()
            if not data.exists():
                raise ValueError(f"no data at {data}; paths are relative to the folder of the sweep file")
            found["path"] = str(data)
        made = any_task(name, **found)
    if training is not None:
        with _within("[training]"):
            training.check_batch(name, made.samples)
    return found


def _without_none(found: Mapping[str, Any]) -> dict[str, Any]:
    """The file with None in place of 'none', where a setting of a task may be None; TOML itself has no word for it."""

    def replaced(value: Any) -> Any:
        if isinstance(value, list):
            return [replaced(each) for each in value]
        if isinstance(value, dict):
            given = {key: replaced(each) if key == "values" else each for key, each in value.items()}
            return {**given, "when": table(given["when"])} if "when" in given else given
        return None if value == "none" else value

    def table(given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: replaced(value) if name in MAY_BE_NONE else value for name, value in given.items()}

    changed = {key: table(found[key]) for key in ("training", "space") if key in found}
    changed |= {key: [table(each) for each in found[key]] for key in ("exclude", "runs") if key in found}
    return {**found, **changed}
