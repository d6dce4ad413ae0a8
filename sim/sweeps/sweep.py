"""Run a task or a function in every configuration of a space; resume where a sweep stopped."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..tasks.task import Task
from ..training.training import Training
from .driver import Driver, Ended, Job
from .executors import SweepError, Workers, open_workers, sends_names
from .function_runs import FunctionRuns
from .progress import Progress, Report
from .provenance import revision_of, versions
from .records import FAILED, FINISHED, Planned, Row, timestamp
from .space import Space, expand_names
from .space import space as any_space
from .store import Store
from .task_runs import COLUMNS as COLUMNS
from .task_runs import TaskRuns
from .values import counted

if TYPE_CHECKING:
    import pandas

_SEEDS = 3
_RATE = 0.1
Function = Callable[[dict[str, Any]], Any]


class Subject(Protocol):
    """What is swept: `TaskRuns` and `FunctionRuns`."""

    name: str
    file: Path | None

    def plan(self, configs: Sequence[Mapping[str, Any]]) -> list[Planned]:
        """The runs of some configurations."""
        ...

    def jobs(self, numbers: Sequence[int]) -> Iterator[Job]:
        """Jobs of those runs of the last plan."""
        ...


def sweep(
    task: "str | Task | Function" = "digits",
    space: Any = None,
    *,
    formats: Iterable[Any] | None = None,
    seeds: int | Sequence[int] | None = None,
    learning_rates: Sequence[float] | None = None,
    training: Training | None = None,
    task_options: Mapping[str, Any] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    executor: Any = None,
    workers: int | None = None,
    retries: int = 0,
    rerun_failed: bool = False,
    progress: bool | Report = True,
) -> "pandas.DataFrame":
    """Run a task, or a function of yours, in every configuration of a space.

    A task trains side by side in compiled programs, in every combination of formats or recipes, roundings, seeds,
    learning rates and settings of `Training`. In a format, weights, activations and gradients of every linear layer are
    rounded to it, each tensor scaled so that its largest magnitude meets the format's largest value (see `uniform`).

    Args:
        task: of `halfulp.task`, or its name; or a function that takes a configuration (a dict) and returns metrics (a
            dict of numbers, strings, booleans and None; lists of numbers are curves).
        space: what to run: a dict of lists, of which every combination is run; a list of configurations; a
            `halfulp.space` or a `halfulp.halving`. Of a task: any of format, recipe, rounding, storage, seed,
            learning_rate, weight_decay and the fields of `Training`. A format may be a range, such as 'e[1-5]m[0-4]';
            'binary32' is the unquantized reference.
        formats, seeds, learning_rates: in place of a space, the usual one of a task: formats or their names, how many
            seeds or which (3), and peak learning rates (0.1). Seeds may also be added to a dict.
        training: how a task is trained, where configurations do not say.
        task_options: what `halfulp.task` takes, where `task` is a name.
        store: SQLite file that keeps every run that ends. A sweep that was killed goes on from there, and runs that
            are in it are not run again; those of another version of halfulp, or of a function whose source changed,
            are not taken for it. None keeps results in memory.
        name: of the sweep, in the store; that of the task or function by default.
        executor: where runs run: None for this process, 'processes' for spawned ones, 'dask://HOST:PORT', or any
            `concurrent.futures.Executor`.
        workers: how many processes; one a core by default.
        retries: how often a run that failed is tried again.
        rerun_failed: whether runs that failed in an earlier sweep are run again.
        progress: a progress bar with the time left, or a function called with (finished, all).

    Returns:
        A row per run, in the order asked for; see `Store.frame`. A run that failed has status 'failed' and an error.
        Rows of a task have task, model, size, what was swept (of a format also kind, bits, exponent_bits and
        mantissa_bits), test_NAME for each metric on validation data, train_loss (the mean of the last 20 steps),
        diverged and diverged_at.

    Raises:
        ValueError: an unknown task, format or setting, or nothing to run.
        TypeError: a function that workers cannot import, or that a store could not tell from another.
        StoreError: a store that cannot be read or written.
        SweepError: workers that are gone. What finished is in the store, and the same call goes on.
        KeyboardInterrupt: after Ctrl-C, likewise.

    Example:
        >>> def train(config):
        ...     return {"loss": (config["x"] - 1) ** 2}
        >>> sweep(train, {"x": [0, 1, 2]}, progress=False)[["x", "loss"]].values.tolist()
        [[0, 1], [1, 0], [2, 1]]
    """
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise ValueError(f"expected retries >= 0, got {retries!r}")
    remote = executor is not None or workers is not None
    of_function = callable(task) and not isinstance(task, Task)
    if of_function:
        _refuse_for_functions(
            training=training, task_options=task_options, formats=formats, learning_rates=learning_rates
        )
        subject: Subject = FunctionRuns(cast(Function, task), sends_names(executor, workers), store is not None)
    elif isinstance(task, str | Task):
        subject = TaskRuns(task, task_options, training, remote)
    else:
        raise TypeError(f"expected a task, its name or a function, got {task!r:.80}")
    chosen = _space(space, formats, seeds, learning_rates, of_function)
    with (
        Store(store) as results,
        Progress(progress, name or subject.name) as shown,
        open_workers(executor, workers) as pool,
    ):
        running = _Sweep(subject, results, pool, shown, name or subject.name, retries, rerun_failed)
        keys = running.halve(chosen) if hasattr(chosen, "tell") else running.run(chosen.configurations())
        shown.summarize(len(set(keys)))
        return results.frame(keys=keys)


def frame(results: Store, keys: Sequence[str] | None = None) -> "pandas.DataFrame":
    """The runs of a store as a table.

    Args:
        keys: which runs, in which order; None for all.
    """
    return results.frame(keys=keys)


def _refuse_for_functions(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is for tasks; put it into the space, as a list of values")


def _space(given: Any, formats: Any, seeds: Any, rates: Any, of_function: bool) -> Any:
    """A space, or what asks and tells."""
    numbers = list(range(seeds)) if isinstance(seeds, int) else None if seeds is None else [int(seed) for seed in seeds]
    if given is None and of_function:
        raise ValueError("nothing to run; pass a space, such as {'x': [0, 1]}")
    if given is not None:
        if formats is not None or rates is not None:
            raise ValueError("formats and learning_rates stand in place of a space; put them into it")
        if numbers is None:
            return given if hasattr(given, "tell") else any_space(given)
        if not isinstance(given, Mapping) or "seed" in given:
            raise ValueError(f"the space says which seeds; leave out seeds={seeds!r}")
        return any_space({**given, "seed": numbers})
    return _usual(formats, [*range(_SEEDS)] if numbers is None else numbers, [_RATE] if rates is None else rates)


def _usual(formats: Any, seeds: Sequence[int], rates: Sequence[float]) -> Space:
    """Every format with every seed and rate, in that order."""
    if formats is None:
        raise ValueError("nothing to run; pass a space or formats, such as formats=['e4m3', 'int8']")
    if isinstance(formats, str):
        raise ValueError(f"expected a list of formats, got the string {formats!r}; pass [{formats!r}]")
    names = expand_names(list(formats))
    rows = [
        {"format": fmt, "seed": seed, "learning_rate": float(rate)} for fmt in names for seed in seeds for rate in rates
    ]
    if not rows:
        raise ValueError("nothing to run; pass at least one format, one seed and one learning rate")
    return any_space(rows)


class _Sweep:
    """One sweep under way."""

    def __init__(
        self, subject: Subject, results: Store, pool: Workers, shown: Progress, name: str, retries: int, again: bool
    ) -> None:
        self._subject, self._results, self._pool, self._shown = subject, results, pool, shown
        self._name, self._retries, self._again = name, retries, again
        self._revision = revision_of(subject.file) if results.path is not None else ""
        self._total, self._done = 0, set[str]()

    def halve(self, halving: Any) -> list[str]:
        """Run what successive halving asks for, rung by rung; the keys of all runs."""
        keys: list[str] = []
        self._total = halving.total  # at most
        while asked := halving.ask():
            mine = self.run([config for _, config in asked])
            known = self._results.known(mine)
            for (number, _), key in zip(asked, mine):
                ended = known.get(key)
                halving.tell(number, ended.metrics if ended is not None and ended.status == FINISHED else None)
            keys += mine
        return keys

    def run(self, configs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Run what is not in the store; the keys of all configurations."""
        planned = self._subject.plan(configs)
        keys = [each.key for each in planned]
        first = {key: number for number, key in reversed(list(enumerate(keys)))}
        self._total = max(self._total, len(self._done | set(keys)))
        pending = self._pending(planned, first)
        self._shown.update(len(self._done), self._total)

        def settle(ended: list[Ended]) -> None:
            rows = [
                self._row(planned[number], outcome, each.job.attempt)
                for each in ended
                for number, outcome in zip(each.job.numbers, each.outcomes)
            ]
            if rows:
                self._results.add(rows)
                self._report(rows)

        try:
            Driver(self._pool, self._retries, settle, self._shown.say).run(self._subject.jobs(pending))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._stopped()) from None
        return keys

    def _pending(self, planned: Sequence[Planned], first: Mapping[str, int]) -> list[int]:
        """The runs that are still to run; says what the store has that does not count."""
        statuses = self._results.statuses(first)
        finished = {key for key, status in statuses.items() if status == FINISHED}
        failed = {key for key, status in statuses.items() if status == FAILED} - self._done
        if failed and not self._again:
            self._shown.say(f"{counted(len(failed), 'run')} failed before; rerun_failed=True runs what failed again")
        skipped = finished if self._again else finished | failed
        self._done |= skipped
        for code, count in self._results.of_other_code(planned).items():
            self._shown.warn(f"{_other(dict(code), planned[0].code, count)} in {self._results.path}, not reused")
        return sorted(number for key, number in first.items() if key not in skipped)

    def _row(self, planned: Planned, outcome: Any, attempts: int) -> Row:
        of = outcome
        if of.versions["halfulp"] != versions()["halfulp"]:
            raise SweepError(
                f"{of.host} has halfulp {of.versions['halfulp']}, this process {versions()['halfulp']}; install the "
                "same everywhere"
            )
        return Row(
            planned, self._name, of.metrics, of.curves, of.error, of.trace, of.versions, self._revision, of.host,
            timestamp(of.started), timestamp(of.finished), of.seconds, attempts,
        )  # fmt: skip

    def _report(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.error is not None and row.planned.key not in self._done:
                self._shown.failed(row.planned.config, row.error)
        self._done |= {row.planned.key for row in rows}
        self._shown.update(len(self._done), self._total)

    def _stopped(self) -> str:
        kept = "pass store= to keep them" if self._results.path is None else f"in {self._results.path}"
        return (
            f"stopped; {len(self._done)} of {self._total} runs are finished ({kept}); the same call goes on from there"
        )


def _other(code: Mapping[str, str], mine: Mapping[str, str], count: int) -> str:
    """What runs of other code are, in words."""
    changed = [name for name in mine if code.get(name) != mine[name]]
    words = ["another source of the function" if name == "source" else f"{name} {code.get(name)}" for name in changed]
    return f"{counted(count, 'run')} of {' and '.join(words)}"
