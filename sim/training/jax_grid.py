"""Train a whole grid of runs in one compiled program for each structure of recipes.

Runs of one structure go through `vmap` side by side, in chunks of a fixed width of which short ones are padded, and
through a loop over steps. A run does not depend on its place in a chunk or on its neighbours: seeds, learning rates and
formats are data, and at one width XLA does the same for every member.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.philox import seed_words
from ..optimizers.storage import Storage
from ..tasks.order import data_order
from ..tasks.task import Task
from .checkpoints import fingerprint_of, load_checkpoint, save_checkpoint
from .history import History
from .jax_augmentation import prepared
from .jax_keeping import Keeping, shapes_of
from .jax_operand_probes import limits_for
from .jax_probes import Probes
from .jax_recipes import Group, grouped, loss_of, measures_of, scales_of
from .jax_step import Doing, Member, State, evaluated, initial_state, segment_of
from .keeping import check_compensation, kept_parameters
from .training import DYNAMIC, EVALUATED, Run, Trained, Training, rate_factors, width_for

_USUAL = Training()
_AS_DATA = ("steps", "warmup", "schedule", "final", "evaluate_every", "checkpoint_every")
"""Settings of a training of which its programs know nothing."""
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
        any_version: whether it goes on from those of other versions of halfulp, JAX and optax.
        programs: those of other trainers of the task, with which they are shared: how many steps there are, how
            the learning rate changes and the loss scale are data to them.

    Raises:
        ValueError: a batch larger than the data.
    """

    def __init__(
        self,
        task: Task,
        training: Training | None = None,
        checkpoints: str | Path | None = None,
        any_version: bool = False,
        programs: "dict[Any, Program] | None" = None,
    ) -> None:
        self.any_version = any_version
        self.task, self.training = task, training or Training()
        self.checkpoints = None if checkpoints is None else Path(checkpoints)
        self.samples = next(iter(task.train.values())).shape[0]
        self.training.check_batch(task.name, self.samples)
        self.width = width_for(self.training, task.flops_per_sample)
        self.fingerprint = fingerprint_of(task)
        self._programs: dict[Any, Program] = {} if programs is None else programs
        self._shaping = _shaping(self.training)
        self._train = {name: jnp.asarray(a) for name, a in task.train.items()}
        self._valid = {name: jnp.asarray(a) for name, a in task.valid.items()}

    @property
    def compiled(self) -> int:
        """How many times a training step was compiled."""
        return sum(program.compiled for program in self._programs.values())

    def chunks(self, runs: Sequence[Run]) -> list[Chunk]:
        """The runs in chunks, in the order in which they are trained."""
        return [
            Chunk(group, tuple(numbers[start : start + self.width]), self.width)
            for group, numbers in groups_of(runs)
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
        key = (self._shaping, chunk.group.key)
        if key not in self._programs:
            self._programs[key] = Program(self.task, self.training, chunk.group, runs[0].storage)
        program = self._programs[key]
        padded = _padded(chunk, runs)
        member = _members(chunk.group, padded)
        state = program.begin(self._train, padded, self.training)
        history = History(self.training)
        start, path = 0, self._checkpoint_of(chunk, padded)
        kept = None if path is None else load_checkpoint(path, self._key(chunk, padded), self.any_version)
        if kept is not None:
            start, state = kept[0], _restored(state, history, kept[1])
            if start == self.training.steps and report is not None:
                report(start)
        steps, batch = self.training.steps + 1, self.training.batch  # a probe after the last step sees one more batch
        orders = np.stack([data_order(run.seed, self.samples, steps, batch) for run in padded])
        limits = limits_for(chunk.group, [run.rules for run in padded]) if self.training.probe_operands else {}
        for first, count in self.training.pieces:
            done = first + count
            if first < start:
                continue
            piece = _piece(orders, self.training, first, count)
            state, curves = program.segment(self._train, state, member, *piece)
            history.add(curves, count)
            self._look(program, state, member, history, done, (jnp.asarray(orders[:, done]), limits))
            if path is not None and (done % self.training.checkpoint_every == 0 or done == self.training.steps):
                arrays = [*(np.asarray(leaf) for leaf in jax.tree.leaves(state)), *history.arrays()]
                save_checkpoint(path, self._key(chunk, padded), done, arrays)
            if report is not None:
                report(done)
        ended, last = np.asarray(state.ended), state.parameters if keep else None
        parameters = [jax.tree.map(lambda a, k=k: np.asarray(a[k]), last) for k in range(len(runs))]
        return [history.result(run, k, int(ended[k]), parameters[k]) for k, run in enumerate(runs)]

    def _look(self, program: "Program", state: State, member: Member, history: History, done: int, probed: Any) -> None:
        """Evaluate and probe after some steps, where it is time."""
        every, last = self.training.evaluate_every, done == self.training.steps
        if last or (every is not None and done % every == 0):
            measured = program.evaluate(self._valid, state, member, jnp.int32(done))
            history.evaluated(done, measured)
        every = self.training.probe_every
        if every is not None and (last or done % every == 0):
            history.probed(done, program.probe(self._train, state, member, *probed, jnp.int32(done)))

    def _checkpoint_of(self, chunk: Chunk, runs: Sequence[Run]) -> Path | None:
        if self.checkpoints is None:
            return None
        return self.checkpoints / f"{self._key(chunk, runs)[:24]}.npz"

    def _key(self, chunk: Chunk, runs: Sequence[Run]) -> str:
        """What a checkpoint belongs to: everything that decides its numbers, and when some are recorded."""
        task, how = self.task, self.training
        about = {
            "task": [task.name, task.model, task.size, task.source, self.fingerprint],
            "training": {**how.as_dict(), "recorded": [how.probe_every, how.probe_operands], "longest": how.longest},
            "program": repr(chunk.group.key),
            "width": chunk.width,
            "runs": [run.as_dict() for run in runs],
        }
        return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _shaping(training: Training) -> Training:
    """What of a training shapes its programs: all but steps, rates over them, loss scales, when to look."""
    usual = {name: getattr(_USUAL, name) for name in _AS_DATA}
    probes = None if training.probe_every is None else 1
    return replace(training, **usual, probe_every=probes, loss_scale=_dynamic(training))


def _dynamic(training: Training) -> str | None:
    """Whether the loss scale follows overflows: one that does not is data."""
    return DYNAMIC if training.loss_scale == DYNAMIC else None


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


def groups_of(runs: Sequence[Run]) -> list[tuple[Group, list[int]]]:
    """The programs that runs need, and the numbers of the runs of each, in the order of first appearance.

    See `jax_recipes.grouped`; formats in which parameters and the optimizer's states are kept are part of a program.
    """
    apart: dict[Any, list[int]] = {}
    for number, run in enumerate(runs):
        said = tuple((rule.recipe.master, rule.recipe.optimizer_state) for rule in run.rules)
        plain = run.storage is None and not any(any(each) for each in said)
        apart.setdefault(None if plain else (run.storage, said), []).append(number)
    found = []
    for kept, mine in apart.items():
        for group, numbers in grouped([runs[number].rules for number in mine]):
            own = group if kept is None else replace(group, key=(group.key, kept))
            found.append((own, [mine[k] for k in numbers]))
    return sorted(found, key=lambda entry: entry[1][0])


def _piece(orders: np.ndarray, training: Training, first: int, count: int) -> tuple[Any, ...]:
    """Arguments of the program for some steps: samples, the first step, factors of the rate, and how many there are.

    (width, n, batch) sample numbers and (n,) factors are filled up to the longest piece.
    """
    missing = training.longest - count
    rows = np.pad(orders[:, first : first + count], ((0, 0), (0, missing), (0, 0)))
    factors = np.pad(rate_factors(training)[first : first + count], (0, missing))
    return jnp.asarray(rows), jnp.int32(first), jnp.asarray(factors), jnp.int32(count)


class Program:
    """The compiled functions of one structure, for a task and a training."""

    def __init__(self, task: Task, training: Training, group: Group, storage: Storage | None = None) -> None:
        check_compensation(storage, training.optimizer, training.momentum)
        self._task, self._training, self._scales = task, training, scales_of(task, group)
        self._keeping = Keeping(kept_parameters(group.rules, storage, shapes_of(task.init(0))))
        doing, prepare = Doing(*loss_of(task, group), self._keeping), partial(prepared, task)
        step = partial(segment_of, doing, training, prepare)
        self.compiled = 0

        def segment(*arguments: Any) -> tuple[State, dict[str, Any]]:
            self.compiled += 1  # when it is traced, which is when it will be compiled
            return jax.vmap(step, in_axes=(None, 0, 0, 0, None, None, None))(*arguments)

        self.segment = jax.jit(segment, donate_argnums=1)
        measures = partial(evaluated, measures_of(task, group))
        size = min(EVALUATED, next(iter(task.valid.values())).shape[0])

        def evaluate(data: Any, state: State, member: Member, step: Any) -> Any:
            return measures(data, size, state.parameters, state.scales, member, step)

        self.evaluate = jax.jit(jax.vmap(evaluate, in_axes=(None, 0, 0, None)))
        self.probe = jax.jit(jax.vmap(Probes(task, training, group, prepare), in_axes=(None, 0, 0, 0, 0, None)))

    def begin(self, data: Any, runs: Sequence[Run], training: Training | None = None) -> State:
        """The states of runs before their first step, stacked; `training` is whose loss scale they begin with."""
        each = [self._task.init(run.seed) for run in runs]
        parameters = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *each)
        batch = {name: a[: self._training.batch] for name, a in data.items()}
        scales = [self._scales(p, batch) for p in each]
        scales = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scales)
        found = jax.vmap(lambda p, s: initial_state(p, s, training or self._training, self._keeping))(
            parameters, scales
        )
        return jax.tree.map(lambda a: jnp.array(a, copy=True), found)  # donated, and none may be so twice


def _restored(state: State, history: History, arrays: list[np.ndarray]) -> State:
    """The state and the history of a checkpoint."""
    leaves, structure = jax.tree.flatten(state)
    history.restore(arrays[len(leaves) :])
    return jax.tree.unflatten(structure, [jnp.asarray(a) for a in arrays[: len(leaves)]])
