"""Train a whole grid of runs in one compiled program for each structure of recipes.

Runs of one structure go through `vmap` side by side, in chunks of a fixed width of which short ones are padded, and
through `scan` over steps. A run does not depend on its place in a chunk or on its neighbours: seeds, learning rates and
formats are data, and at one width XLA does the same for every member.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.philox import seed_words
from ..tasks.order import data_order
from ..tasks.task import Task
from .checkpoints import fingerprint_of, load_checkpoint, save_checkpoint
from .jax_probes import probed, weights_of
from .jax_recipes import Group, after_step_of, grouped, loss_of, measures_of, scales_of
from .jax_step import Doing, Member, State, evaluated, initial_state, segment_of
from .training import EVALUATED, Run, Trained, Training, rate_factors, width_for

Report = Callable[[int, int], None]
"""Called with (finished steps of all runs, all steps)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Runs that are trained side by side.

    Args:
        group: their structure. numbers: their places in the list of all runs. width: with padding.
    """

    group: Group
    numbers: tuple[int, ...]
    width: int


class Trainer:
    """A task, how it is trained, and the compiled programs, one for each structure of recipes.

    Args:
        task: what is trained.
        training: how.
        checkpoints: a folder for checkpoints, from which a training that was stopped goes on; None keeps none.

    Raises:
        ValueError: a batch larger than the data.
    """

    def __init__(self, task: Task, training: Training | None = None, checkpoints: str | Path | None = None) -> None:
        self.task, self.training = task, training or Training()
        self.checkpoints = None if checkpoints is None else Path(checkpoints)
        self.samples = next(iter(task.train.values())).shape[0]
        self.training.check_batch(task.name, self.samples)
        self.width = width_for(self.training, task.flops_per_sample)
        self.fingerprint = fingerprint_of(task)
        self._programs: dict[Any, Program] = {}
        self._train = {name: jnp.asarray(a) for name, a in task.train.items()}
        self._valid = {name: jnp.asarray(a) for name, a in task.valid.items()}

    @property
    def compiled(self) -> int:
        """How many times a training step was compiled."""
        return sum(program.compiled for program in self._programs.values())

    def chunks(self, runs: Sequence[Run]) -> list[Chunk]:
        """The runs in chunks, in the order in which they are trained."""
        groups = grouped([run.rules for run in runs])
        return [
            Chunk(group, tuple(numbers[start : start + self.width]), self.width)
            for group, numbers in groups
            for start in range(0, len(numbers), self.width)
        ]

    def train(
        self, runs: Iterable[Run], *, report: Report | None = None, keep_parameters: bool = False
    ) -> list[Trained]:
        """Train runs.

        Args:
            runs: of any recipes.
            report: called as steps are finished.
            keep_parameters: whether results hold the trained parameters.

        Returns:
            What became of each run, in the order given.

        Raises:
            ValueError: no runs, or rules that do not suit the model.
            CheckpointError: checkpoints that cannot be read or written.
        """
        listed = list(runs)
        if not listed:
            raise ValueError("nothing to train; pass at least one Run")
        found: dict[int, Trained] = {}
        chunks, total, done = self.chunks(listed), len(listed) * self.training.steps, 0
        for chunk in chunks:
            members = [listed[number] for number in chunk.numbers]
            size = len(members)
            started = done

            def tell(steps: int, started: int = started, size: int = size) -> None:
                if report is not None:
                    report(started + size * min(steps, self.training.steps), total)

            found |= dict(zip(chunk.numbers, self.train_chunk(chunk, members, tell, keep_parameters)))
            done += size * self.training.steps
        for chunk in chunks:  # finished ones were kept until here, so that they are not trained again
            members = [listed[number] for number in chunk.numbers]
            if (path := self._checkpoint_of(chunk, _padded(chunk, members))) is not None:
                path.unlink(missing_ok=True)
        return [found[number] for number in range(len(listed))]

    def train_chunk(
        self, chunk: Chunk, runs: Sequence[Run], report: Callable[[int], None] | None = None, keep: bool = False
    ) -> list[Trained]:
        """Train the runs of one chunk; see `train`. The caller removes the checkpoint of what is finished."""
        if chunk.group.key not in self._programs:
            self._programs[chunk.group.key] = Program(self.task, self.training, chunk.group)
        program = self._programs[chunk.group.key]
        padded = _padded(chunk, runs)
        member = _members(chunk.group, padded)
        state = program.begin(self._train, padded)
        history = _History(self.training)
        start, path = 0, self._checkpoint_of(chunk, padded)
        kept = None if path is None else load_checkpoint(path, self._key(chunk, padded))
        if kept is not None:
            start, state = kept[0], _restored(state, history, kept[1])
            if start == self.training.steps and report is not None:
                report(start)
        orders = np.stack(
            [data_order(run.seed, self.samples, self.training.steps, self.training.batch) for run in padded]
        )
        for first in range(start, self.training.steps, self.training.segment):
            rows, factors = _piece(orders, self.training, first)
            state, curves = program.segment(self._train, state, member, rows, jnp.int32(first), factors)
            history.add({name: np.asarray(curve) for name, curve in curves.items()})
            done = min(first + self.training.segment, self.training.steps)
            self._look(program, state, member, history, done)
            if path is not None and (done % self.training.checkpoint_every == 0 or done == self.training.steps):
                arrays = [*(np.asarray(leaf) for leaf in jax.tree.leaves(state)), *history.arrays()]
                save_checkpoint(path, self._key(chunk, padded), done, arrays)
            if report is not None:
                report(done)
        return [history.result(run, state, k, keep) for k, run in enumerate(runs)]

    def _look(self, program: "Program", state: State, member: Member, history: "_History", done: int) -> None:
        """Evaluate and probe after some steps, where it is time."""
        every, last = self.training.evaluate_every, done == self.training.steps
        if last or (every is not None and done % every == 0):
            measured = program.evaluate(self._valid, state, member, jnp.int32(done))
            history.evaluations.append((done, {name: np.asarray(value) for name, value in measured.items()}))
        every = self.training.probe_every
        if every is not None and (last or done % every == 0):
            found = program.probe(state, member)
            history.probes.append((done, {name: np.asarray(value) for name, value in found.items()}))

    def _checkpoint_of(self, chunk: Chunk, runs: Sequence[Run]) -> Path | None:
        if self.checkpoints is None:
            return None
        return self.checkpoints / f"{self._key(chunk, runs)[:24]}.npz"

    def _key(self, chunk: Chunk, runs: Sequence[Run]) -> str:
        """What a checkpoint belongs to: everything that decides its numbers, and when some are recorded."""
        task, how = self.task, self.training
        about = {
            "task": [task.name, task.model, task.size, task.source, self.fingerprint],
            "training": {**how.as_dict(), "probe_every": how.probe_every, "segment": how.segment},
            "program": repr(chunk.group.key),
            "width": chunk.width,
            "runs": [run.as_dict() for run in runs],
        }
        return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _padded(chunk: Chunk, runs: Sequence[Run]) -> list[Run]:
    """The runs of a chunk, the last one repeated up to its width."""
    return [*runs, *[runs[-1]] * (chunk.width - len(runs))]


def _members(group: Group, runs: Sequence[Run]) -> Member:
    """What each run has of its own, stacked."""
    return Member(
        jnp.asarray(np.array([seed_words(run.seed) for run in runs], np.uint32)),
        jnp.asarray([run.learning_rate for run in runs], jnp.float32),
        jnp.asarray([run.weight_decay for run in runs], jnp.float32),
        group.data([run.rules for run in runs]),
    )


def _piece(orders: np.ndarray, training: Training, first: int) -> tuple[jax.Array, jax.Array]:
    """(width, segment, batch) sample numbers and (segment,) factors from a step on; the last piece is filled up."""
    rows, factors = (
        orders[:, first : first + training.segment],
        rate_factors(training)[first : first + training.segment],
    )
    missing = training.segment - factors.size
    rows = np.pad(rows, ((0, 0), (0, missing), (0, 0)))
    return jnp.asarray(rows), jnp.asarray(np.pad(factors, (0, missing)))


class Program:
    """The compiled functions of one structure, for a task and a training."""

    def __init__(self, task: Task, training: Training, group: Group) -> None:
        self._task, self._training, self._scales = task, training, scales_of(task, group)
        after = after_step_of(group, task.init(0))
        step = partial(segment_of, Doing(*loss_of(task, group), after), training)
        self.compiled = 0

        def segment(*arguments: Any) -> tuple[State, dict[str, Any]]:
            self.compiled += 1  # when it is traced, which is when it will be compiled
            return jax.vmap(step, in_axes=(None, 0, 0, 0, None, None))(*arguments)

        self.segment = jax.jit(segment, donate_argnums=1)
        measures = partial(evaluated, measures_of(task, group))
        size = min(EVALUATED, next(iter(task.valid.values())).shape[0])

        def evaluate(data: Any, state: State, member: Member, step: Any) -> Any:
            return measures(data, size, state.parameters, state.scales, member, step)

        self.evaluate = jax.jit(jax.vmap(evaluate, in_axes=(None, 0, 0, None)))
        weights = () if training.probe_every is None else weights_of(task, group, training.batch)
        self.probe = jax.jit(jax.vmap(partial(probed, weights)))

    def begin(self, data: Any, runs: Sequence[Run]) -> State:
        """The states of runs before their first step, stacked."""
        each = [self._task.init(run.seed) for run in runs]
        parameters = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *each)
        batch = {name: a[: self._training.batch] for name, a in data.items()}
        scales = [self._scales(p, batch) for p in each]
        scales = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scales)
        return jax.vmap(lambda p, s: initial_state(p, s, self._training))(parameters, scales)


class _History:
    """What the runs of a chunk leave behind as they are trained."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.curves: list[dict[str, np.ndarray]] = []
        self.evaluations: list[tuple[int, dict[str, np.ndarray]]] = []
        self.probes: list[tuple[int, dict[str, np.ndarray]]] = []

    def add(self, curves: dict[str, np.ndarray]) -> None:
        self.curves.append(curves)

    def arrays(self) -> list[np.ndarray]:
        """Everything as arrays, for a checkpoint; names and steps are those of JSON."""
        marks = json.dumps(
            {
                "curves": [list(each) for each in self.curves],
                "evaluations": [[step, list(each)] for step, each in self.evaluations],
                "probes": [[step, list(each)] for step, each in self.probes],
            }
        )
        values = [a for each in self.curves for a in each.values()]
        values += [a for _, each in (*self.evaluations, *self.probes) for a in each.values()]
        return [np.array(marks), *values]

    def restore(self, arrays: Sequence[np.ndarray]) -> None:
        """Put back what `arrays` returned."""
        marks, rest = json.loads(str(arrays[0])), iter(arrays[1:])
        self.curves = [{name: next(rest) for name in names} for names in marks["curves"]]
        self.evaluations = [(step, {name: next(rest) for name in names}) for step, names in marks["evaluations"]]
        self.probes = [(step, {name: next(rest) for name in names}) for step, names in marks["probes"]]

    def result(self, run: Run, state: State, k: int, keep: bool) -> Trained:
        """What became of member k."""
        ended = int(np.asarray(state.ended)[k])
        steps = self._training.steps
        curves = {name: np.concatenate([each[name][k] for each in self.curves])[:steps] for name in self.curves[0]}
        if self._training.loss_scale is None:
            del curves["loss_scale"]
        last = self.evaluations[-1][1]
        return Trained(
            run,
            {name: float(value[k]) for name, value in last.items()},
            None if ended < 0 else ended,
            curves,
            _by_name(self.evaluations, k),
            _by_name(self.probes, k),
            jax.tree.map(lambda a: np.asarray(a[k]), state.parameters) if keep else None,
        )


def _by_name(rows: list[tuple[int, dict[str, np.ndarray]]], k: int) -> dict[str, np.ndarray]:
    if not rows:
        return {}
    found = {name: np.array([each[name][k] for _, each in rows]) for name in rows[0][1]}
    return {"step": np.array([step for step, _ in rows]), **found}


def _restored(state: State, history: _History, arrays: list[np.ndarray]) -> State:
    """The state and the history of a checkpoint."""
    leaves, structure = jax.tree.flatten(state)
    history.restore(arrays[len(leaves) :])
    return jax.tree.unflatten(structure, [jnp.asarray(a) for a in arrays[: len(leaves)]])
