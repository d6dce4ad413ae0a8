"""Train a task in every combination of formats, seeds and learning rates; resume where a sweep stopped."""

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...formats.catalogue import format as any_format
from ...formats.codebooks import CodebookFormat
from ...formats.floats import FloatFormat
from ...formats.integers import IntFormat
from ...formats.registry import Format
from ...formats.registry import plain_format as named_format
from ...formats.suggest import unknown
from ...formats.tapered import TaperedFormat
from ..recipes.published import uniform
from ..tasks.task import Task
from ..training.training import Run, Trained, Training
from .store import Row, Store, key_of

if TYPE_CHECKING:
    import pandas

Report = Callable[[int, int], None]
"""Called with (finished runs, all runs) whenever that changes."""
_LAST = 20
"""Steps over whose losses the training loss is the mean."""


def sweep(
    task: "str | Task" = "digits",
    *,
    formats: Iterable[str | Format],
    seeds: int | Sequence[int] = 3,
    learning_rates: Sequence[float] = (0.1,),
    training: Training | None = None,
    store: str | Path | None = None,
    progress: bool | Report = True,
) -> "pandas.DataFrame":
    """Train a task in every format, with every seed and learning rate.

    Weights, activations and gradients of every linear layer are rounded to the format, each tensor scaled
    so that its largest magnitude meets the format's largest value (see `uniform`).

    Args:
        task: of `halfulp.task`, or the name of a classification task; 'digits' is scikit-learn's handwritten digits.
        formats: formats or names, also ranges such as 'e[1-5]m[0-4]'. 'binary32' is the unquantized
            reference.
        seeds: how many seeds, or the seeds.
        learning_rates: peak rates of the schedule.
        training: how runs are trained; steps, batch, optimizer.
        store: SQLite file that keeps every finished run. A sweep that was killed goes on from there, and
            runs that are in it are not run again. None keeps results in memory.
        progress: a progress bar, or a function called with (finished, all).

    Returns:
        A row per run, in the order asked for: task, format, kind, bits, exponent_bits, mantissa_bits,
        seed, learning_rate, test_accuracy, test_loss, train_loss, diverged.

    Raises:
        ValueError: an unknown task or format, a task that is no classification, or nothing to run.
        StoreError: a store that cannot be read or written.
    """
    _require_jax()
    from ..training.jax_grid import Trainer

    found = _task(task)
    trainer = Trainer(found, training)
    members = _members(formats, seeds, learning_rates)
    chunks = trainer.chunks([run for _, run in members])
    configs = _configs(trainer, members, chunks)
    keys = [key_of(config) for config in configs]
    with Store(store) as results:
        finished = results.finished(keys)
        total = len(set(keys))
        with _reporter(progress, found.name) as report:
            report(len(finished), total)
            for chunk in _pending(chunks, keys, finished, trainer.width):
                trained = trainer.train_chunk(chunk, [members[number][1] for number in chunk.numbers])
                results.add(_rows(configs, chunk.numbers, trained))
                report(len(results.finished(keys)), total)
        return frame(results, keys)


def _task(task: "str | Task") -> Task:
    from ..tasks.loading import TASKS
    from ..tasks.loading import task as any_task

    if isinstance(task, str):
        if task not in TASKS:
            raise ValueError(unknown("task", task, TASKS))
        task = any_task(task)
    if task.metric != "accuracy":
        raise ValueError(f"expected a classification task such as 'digits', got {task.name}, measured by {task.metric}")
    return task


def _pending(chunks: Sequence[Any], keys: Sequence[str], finished: set[str], width: int) -> Iterable[Any]:
    """The chunks of what is still to run, each run once, as full as they can be in one program."""
    from ..training.jax_grid import Chunk

    by_group: dict[Any, list[int]] = {}
    seen: set[str] = set(finished)
    for chunk in chunks:
        for number in chunk.numbers:
            key: Any = keys[number]
            if key not in seen:
                seen.add(key)
                by_group.setdefault(chunk.group, []).append(number)
    for group, numbers in by_group.items():
        for start in range(0, len(numbers), width):
            yield Chunk(group, tuple(numbers[start : start + width]), width)


def _require_jax() -> None:
    try:
        import_module("jax")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("sweeps train in JAX; pip install 'halfulp[sim]'") from error


def _members(formats, seeds: int | Sequence[int], learning_rates: Sequence[float]) -> list[tuple[Format, Run]]:
    """The format of each run, and the run."""
    if isinstance(formats, str):
        raise ValueError(f"expected a list of formats, got the string {formats!r}; pass [{formats!r}]")
    resolved = expand_formats(formats)
    seed_list = range(seeds) if isinstance(seeds, int) else seeds
    members = [
        (fmt, Run(uniform(fmt), int(seed), float(rate)))
        for fmt, seed, rate in product(resolved, seed_list, learning_rates)
    ]
    if not members:
        raise ValueError("nothing to run; pass at least one format, one seed and one learning rate")
    return members


def expand_formats(formats: Iterable[str | Format]) -> list[Format]:
    """Formats of names in which [a-b] stands for the numbers a to b, e.g. 'e[1-5]m[0-4]' or 'int[2-8]'.

    Raises:
        ValueError: an unknown name, or a format that brings scales of its own.
    """
    names: list[str | Format] = []
    for item in formats:
        names.extend(_expand(item) if isinstance(item, str) else [item])
    found = [any_format(name) for name in names]
    for fmt in found:
        if not isinstance(fmt, Format):
            raise ValueError(f"sweeps give each tensor a scale of its own; expected a format without, got {fmt.name}")
    return found


def _expand(name: str) -> list[str]:
    found = re.search(r"\[(\d+)-(\d+)\]", name)
    if not found:
        return [name]
    low, high = int(found[1]), int(found[2])
    if low > high:
        raise ValueError(f"expected an ascending range, got {found[0]} in {name!r}; write [{high}-{low}]")
    return [
        full for k in range(low, high + 1) for full in _expand(name[: found.start()] + str(k) + name[found.end() :])
    ]


def _configs(trainer: Any, members: Sequence[tuple[Format, Run]], chunks: Sequence[Any]) -> list[dict[str, Any]]:
    """Everything that decides the result of each run; the program among it, since XLA may sum in another order."""
    task = trainer.task
    programs = {
        number: sha256(repr(chunk.group.key).encode()).hexdigest()[:16] for chunk in chunks for number in chunk.numbers
    }
    return [
        {
            "task": task.name,
            "model": [task.model, task.size, task.parameters],
            "source": task.source,
            "data": trainer.fingerprint,
            "format": fmt.spec,
            "name": fmt.name,
            "seed": run.seed,
            "learning_rate": run.learning_rate,
            "training": {**trainer.training.as_dict(), "width": trainer.width},
            "program": programs[number],
        }
        for number, (fmt, run) in enumerate(members)
    ]


def _rows(configs: Sequence[dict[str, Any]], numbers: Sequence[int], trained: Sequence[Trained]) -> list[Row]:
    return [Row(configs[number], _metrics(each), _versions()) for number, each in zip(numbers, trained)]


def _metrics(of: Trained) -> dict[str, Any]:
    losses = of.curves["loss"][-_LAST:]
    return {
        "test_accuracy": of.metrics["accuracy"],
        "test_loss": of.metrics["loss"],
        "train_loss": float(losses.mean()),
        "diverged": of.diverged,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in ("halfulp", "jax", "jaxlib", "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def frame(results: Store, keys: Sequence[str] | None = None) -> "pandas.DataFrame":
    """The runs of a store as a table.

    Args:
        keys: which runs, in which order; None for all.
    """
    import pandas

    rows = dict(results.rows())
    chosen = list(dict.fromkeys(keys)) if keys is not None else list(rows)
    return pandas.DataFrame([_table_row(rows[key]) for key in chosen], columns=COLUMNS)


COLUMNS = [
    *("task", "format", "kind", "bits", "exponent_bits", "mantissa_bits", "seed", "learning_rate"),
    *("test_accuracy", "test_loss", "train_loss", "diverged"),
]
"""The columns of a sweep's table."""


_KINDS = {FloatFormat: "float", IntFormat: "integer", CodebookFormat: "codebook", TaperedFormat: "tapered"}


def _table_row(row: Row) -> dict[str, Any]:
    fmt = named_format(row.config["format"])
    is_float = isinstance(fmt, FloatFormat)
    return {
        "task": row.config["task"],
        "format": row.config["name"],
        "kind": _KINDS[type(fmt)],
        "bits": fmt.bits,
        "exponent_bits": fmt.exponent_bits if is_float else None,
        "mantissa_bits": fmt.mantissa_bits if is_float else None,
        "seed": row.config["seed"],
        "learning_rate": row.config["learning_rate"],
        **row.metrics,
    }


class _reporter:  # noqa: N801  a context manager, used like a function
    """A progress bar with the time left, the caller's own function, or nothing."""

    def __init__(self, progress: bool | Report, title: str) -> None:
        self._progress, self._title, self._bar = progress, title, None

    def __enter__(self) -> Report:
        if callable(self._progress):
            return self._progress
        if not self._progress:
            return lambda done, total: None
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar.start()
        line = self._bar.add_task(f"training {self._title}", total=None)
        return lambda done, total: self._bar.update(line, completed=done, total=total)  # pyright: ignore

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
