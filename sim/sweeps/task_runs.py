"""Runs of a task: configurations as runs of the grid trainer, several a job, side by side in one program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from ...formats.catalogue import format as any_format
from ...formats.codebooks import CodebookFormat
from ...formats.floats import FloatFormat
from ...formats.integers import IntFormat
from ...formats.residual import ResidualFormat
from ...formats.scaled import ScaledFormat
from ...formats.suggest import unknown
from ...formats.tapered import TaperedFormat
from ..recipes.published import recipe as any_recipe
from ..recipes.published import uniform
from ..recipes.recipe import OPERANDS, Recipe
from ..tasks.task import Task
from ..training.training import Run, Trained, Training
from .driver import Job
from .executors import SweepError
from .outcomes import Outcome, outcomes_of
from .provenance import versions
from .records import Planned
from .values import Curves, dumps, loads, plain

OF_RUNS = ("format", "recipe", "rounding", "seed", "learning_rate", "weight_decay")
"""What each run of a grid may have of its own."""
OF_TRAINING = tuple(each.name for each in fields(Training) if each.name != "version")
"""What may be swept beside it; runs that differ in one of these have compiled programs of their own."""
COLUMNS = [
    *("task", "format", "kind", "bits", "exponent_bits", "mantissa_bits", "seed", "learning_rate"),
    *("test_accuracy", "test_loss", "train_loss", "diverged"),
]
"""What tables of a sweep of formats on a classification task have, beside the columns of every sweep."""
_KINDS = {
    FloatFormat: "float",
    IntFormat: "integer",
    CodebookFormat: "codebook",
    TaperedFormat: "tapered",
    ScaledFormat: "scaled",
    ResidualFormat: "residual",
}
_LAST = 20
"""Steps over whose losses the training loss is the mean."""


@dataclass(frozen=True, slots=True)
class Member:
    """A configuration as what the trainer takes, and as what tables show."""

    run: Run
    training: Training
    shown: dict[str, Any]


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
            self._trainers[training] = Trainer(self._task, training)
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


def member_of(config: Mapping[str, Any], base: Training) -> Member:
    """What a configuration means.

    Args:
        config: any of `OF_RUNS`, of which format and recipe exclude each other, and fields of `Training`.
        base: the training of what it does not say.

    Raises:
        ValueError: other names, format and recipe at once, values that are out of range.
    """
    for name in config:
        if name not in (*OF_RUNS, *OF_TRAINING):
            raise ValueError(unknown("parameter of a task", str(name), (*OF_RUNS, *OF_TRAINING)))
    recipe, facts = _recipe(config)
    run = Run(
        recipe,
        config.get("seed", 0),
        _number(config, "learning_rate", 0.1),
        _number(config, "weight_decay", 0.0),
    )
    swept = {name: config[name] for name in OF_TRAINING if name in config}
    training = replace(base, **swept)
    own = {"weight_decay": run.weight_decay} if "weight_decay" in config else {}
    usual = asdict(Training())
    shown = {name: value for name, value in asdict(training).items() if name in OF_TRAINING and (
        name in swept or name == "steps" or value != usual[name])}  # fmt: skip
    return Member(run, training, {**facts, "seed": run.seed, "learning_rate": run.learning_rate, **own, **shown})


def _number(config: Mapping[str, Any], name: str, usual: float) -> float:
    value = config.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number for {name}, got {value!r}")
    return float(value)


def _recipe(config: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a configuration, and what tables say of it."""
    if "format" in config and "recipe" in config:
        raise ValueError(
            f"expected a format or a recipe, got format={config['format']!r} and recipe={config['recipe']!r}; leave "
            "one out, or give each its own configurations"
        )
    if "format" in config:
        found, facts = uniform(config["format"]), format_facts(config["format"])
    else:
        found = any_recipe(config.get("recipe", "identity"))
        facts = {"recipe": found.name}
    if config.get("rounding") is None:
        return found, facts if "rounding" not in config else {**facts, "rounding": None}
    return _rounded(found, config["rounding"]), {**facts, "rounding": config["rounding"]}


def _rounded(recipe: Recipe, rounding: str) -> Recipe:
    """A recipe with another rounding of elements, of every operand that is rounded to a format of its own."""
    changed = {name: getattr(recipe, name) for name in OPERANDS if getattr(recipe, name).fmt is not None}
    return recipe.with_(
        name=f"{recipe.name}, {rounding}",
        **{name: replace(of, rounding=rounding) for name, of in changed.items()},
        schedule=tuple((step, _rounded(later, rounding)) for step, later in recipe.schedule),
    )


def format_facts(fmt: Any) -> dict[str, Any]:
    """What tables say of a format: its name, kind ('float', 'integer', 'codebook', 'tapered', 'scaled', ...) and bits.

    Bits of a format with scales are those of an element with its share of the scales of a block.
    """
    found: Any = any_format(fmt)
    is_float = isinstance(found, FloatFormat)
    shares = isinstance(found, ScaledFormat | ResidualFormat)
    return {
        "format": found.name,
        "kind": _KINDS.get(type(found), "other"),
        "bits": found.bits_per_element() if shares else found.bits,
        "exponent_bits": found.exponent_bits if is_float else None,
        "mantissa_bits": found.mantissa_bits if is_float else None,
    }


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
