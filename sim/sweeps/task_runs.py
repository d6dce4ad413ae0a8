"""Runs of a task: configurations as runs of the grid trainer, several a job, side by side in one program."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from ..tasks.task import Task
from ..training.training import Run, Trained, Training
from .driver import Job
from .executors import SweepError
from .outcomes import Outcome, outcomes_of
from .provenance import versions
from .records import Planned
from .task_members import Member, member_of
from .values import Curves, dumps, loads, plain

COLUMNS = [
    *("task", "format", "kind", "bits", "exponent_bits", "mantissa_bits", "seed", "learning_rate"),
    *("test_accuracy", "test_loss", "train_loss", "diverged"),
]
"""What tables of a sweep of formats on a classification task have, beside the columns of every sweep."""
_LAST = 20
"""Steps over whose losses the training loss is the mean."""


class TaskRuns:
    """What a sweep of a task runs.

    Args:
        task: of `halfulp.task`, or its name.
        options: of `halfulp.task`, where it is a name.
        training: what configurations do not say.
        remote: whether jobs leave this process.

    Raises:
        ValueError: an unknown task; a task that workers elsewhere could not make.
        ModuleNotFoundError: JAX is missing.
    """

    file: Path | None = Path(__file__).parents[2] / "__init__.py"  # whose commit is that of halfulp

    def __init__(
        self, task: "str | Task", options: Mapping[str, Any] | None, training: Training | None, remote: bool
    ) -> None:
        _require_jax()
        if isinstance(task, Task) and options:
            raise ValueError(f"task_options are for a task by its name; give them to hu.task({task.name!r}, ...)")
        if isinstance(task, Task) and remote:
            raise ValueError(
                f"worker processes make the task themselves; pass its name, {task.name!r}, and what hu.task takes as "
                "task_options={...}"
            )
        self._options = dumps(plain(dict(options or {}), "task_options"), canonical=True)
        self._task = task if isinstance(task, Task) else _made(task, self._options)
        self.name = self._task.name
        self._base, self._remote = training or Training(), remote
        self._trainers: dict[Training, Any] = {}
        self._programs: dict[Any, Any] = {}
        self._members: list[Member] = []
        self._groups: list[Any] = []

    def plan(self, configs: Sequence[Mapping[str, Any]]) -> list[Planned]:
        """The runs of some configurations.

        Raises:
            ValueError: names that cannot be swept, unknown formats and recipes, settings out of range.
        """
        self._members = [member_of(config, self._base) for config in configs]
        self._groups = [None] * len(self._members)
        by_training: dict[Training, list[int]] = {}
        for number, member in enumerate(self._members):
            by_training.setdefault(member.training, []).append(number)
        for training, numbers in by_training.items():
            for chunk in self._trainer(training).chunks([self._members[number].run for number in numbers]):
                for place in chunk.numbers:
                    self._groups[numbers[place]] = chunk.group
        names: dict[int, str] = {}
        for group in self._groups:
            if id(group) not in names:
                names[id(group)] = sha256(repr(group.key).encode()).hexdigest()[:16]
        return [self._planned(*each, names[id(each[1])]) for each in zip(self._members, self._groups)]

    def _trainer(self, training: Training) -> Any:
        from ..training.jax_grid import Trainer

        if training not in self._trainers:
            self._trainers[training] = Trainer(self._task, training, programs=self._programs)
        return self._trainers[training]

    def _planned(self, member: Member, group: Any, program: str) -> Planned:
        """Everything that decides the result; the program among it, since XLA may sum in another order."""
        task, trainer = self._task, self._trainer(member.training)
        identity = {
            "task": task.name,
            "model": [task.model, task.size, task.parameters],
            "source": task.source,
            "data": trainer.fingerprint,
            "run": member.run.as_dict(),
            "training": {**member.training.as_dict(), "width": trainer.width},
            "program": program,
        }
        code = {name: versions()[name] for name in ("halfulp", "jax", "jaxlib")}
        shown = {"task": task.name, "model": task.model, "size": task.size, **member.shown}
        return Planned(identity, code, shown)

    def jobs(self, numbers: Sequence[int]) -> Iterator[Job]:
        """Jobs of those runs of the last plan, each as full as can be in one program."""
        from ..training.jax_grid import Chunk

        by_program: dict[Any, list[int]] = {}
        for number in numbers:
            by_program.setdefault((self._members[number].training, id(self._groups[number])), []).append(number)
        for (training, _), mine in by_program.items():
            trainer, group = self._trainer(training), self._groups[mine[0]]
            for start in range(0, len(mine), trainer.width):
                some = tuple(mine[start : start + trainer.width])
                runs = [self._members[number].run for number in some]
                chunk = Chunk(group, tuple(range(len(runs))), trainer.width)
                if self._remote:
                    about = (self.name, self._options, training, trainer.fingerprint)
                    yield Job(some, train_elsewhere, (*about, chunk, runs))
                else:
                    yield Job(some, train_here, (trainer, chunk, runs))


def train_here(trainer: Any, chunk: Any, runs: Sequence[Run]) -> list[Outcome]:
    """Train a chunk."""
    return outcomes_of(lambda: [results_of(each) for each in trainer.train_chunk(chunk, runs)], len(runs))


def train_elsewhere(
    name: str, options: str, training: Training, fingerprint: str, chunk: Any, runs: Sequence[Run]
) -> list[Outcome]:
    """Train a chunk in a process that makes the task itself; its trainers and programs are kept for the next chunk."""

    def train() -> list[tuple[dict[str, Any], Curves]]:
        trainer = _trainer(name, options, training)
        if trainer.fingerprint != fingerprint:
            raise SweepError(f"the data of the task {name} differ here from those where the sweep was started")
        return [results_of(each) for each in trainer.train_chunk(chunk, runs)]

    return outcomes_of(train, len(runs))


def _made(name: str, options: str) -> Task:
    from ..tasks.loading import task

    return task(name, **loads(options))


_made_once = cache(_made)


@cache
def _trainer(name: str, options: str, training: Training) -> Any:
    from ..training.jax_grid import Trainer

    return Trainer(_made_once(name, options), training)


def _require_jax() -> None:
    try:
        import_module("jax")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("sweeps of tasks train in JAX; pip install 'halfulp[sim]'") from error


def results_of(of: Trained) -> tuple[dict[str, Any], Curves]:
    """The metrics of a run, those on validation data as test_NAME, and its curves."""
    metrics = {f"test_{name}": float(value) for name, value in sorted(of.metrics.items())}
    train_loss = float(of.curves["loss"][-_LAST:].mean())
    metrics |= {"train_loss": train_loss, "diverged": of.diverged, "diverged_at": of.diverged_at}
    curves = dict(of.curves)
    for kind, arrays in (("evaluated", of.evaluations), ("probed", of.probes)):
        if len(arrays.get("step", ())) > (kind == "evaluated"):  # one evaluation, at the end, is the metrics
            curves |= {f"{kind}.{name}": array for name, array in arrays.items()}
    return metrics, curves
