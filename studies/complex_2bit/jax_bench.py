"""Train runs of a task whose products are given by a function: one compiled program, choices are data.

Steps, optimizer, order of samples, first values and evaluation are those of `halfulp.train`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.philox import seed_words
from ...sim.models.jax_losses import functions
from ...sim.models.leaves import count, initial
from ...sim.tasks.order import data_order
from ...sim.tasks.task import Task
from ...sim.training.jax_augmentation import prepared
from ...sim.training.jax_step import Doing, Member, State, evaluated, initial_state, segment_of
from ...sim.training.training import EVALUATED, Training, rate_factors

Choice = Mapping[str, Any]
"""Numbers by name: what a run has of its own."""


class Ended(NamedTuple):
    """What became of a run: means over the validation data, whether it diverged, its parameters as NumPy arrays."""

    metrics: dict[str, float]
    diverged: bool
    parameters: Any


def _nothing(parameters: Any, choice: Any, step: Any) -> Any:
    return jnp.float32(0)


def _same(state: State) -> State:
    return state


class Bench:
    """A task and its program.

    Args:
        task: what is trained.
        training: how; its `width` and its periods do nothing here.
        seen: (parameters, choice, step) -> parameters as the model takes them, with `Coded` weights.
        penalty: (parameters, choice, step) -> () float32, added to the loss that is minimized.

    Raises:
        ValueError: a batch larger than the data.
    """

    def __init__(
        self, task: Task, training: Training, seen: Callable[..., Any], penalty: Callable[..., Any] = _nothing
    ) -> None:
        training.check_batch(task.name, task.samples)
        self.task, self.training = task, training
        self._train = {name: jnp.asarray(a) for name, a in task.train.items()}
        self._valid = {name: jnp.asarray(a) for name, a in task.valid.items()}
        size = min(EVALUATED, len(next(iter(task.valid.values()))))

        def loss(parameters: Any, scales: Any, batch: Any, words: Any, member: Member, step: Any) -> jax.Array:
            value = task.loss(seen(parameters, member.formats, step), batch, words)
            return value + penalty(parameters, member.formats, step)

        def measures(batch: Any, parameters: Any, member: Member) -> Any:
            return task.evaluate(seen(parameters, member.formats, training.steps), batch, member.seed)

        doing = Doing(loss, lambda scales, gradient, rate: scales)
        self._segment = jax.jit(partial(segment_of, doing, training, partial(prepared, task)))
        self._evaluate = jax.jit(lambda data, *given: evaluated(measures, data, size, *given))

    def run(
        self,
        seed: int,
        rate: float,
        choice: Choice,
        parameters: Any = None,
        pause: int | None = None,
        paused: Callable[[State], State] = _same,
    ) -> Ended:
        """Train one run.

        Args:
            seed: of first values, the order of samples and random words. rate: the peak learning rate.
            choice: numbers, which may differ between runs of one program.
            parameters: first values; the task's by default.
            pause: the step before which the state becomes what `paused` makes of it.
        """
        words = jnp.asarray(np.array(seed_words(seed), np.uint32))
        numbers = {name: jnp.asarray(value) for name, value in choice.items()}
        member = Member(words, jnp.float32(rate), jnp.float32(0), numbers)
        first = jax.tree.map(jnp.asarray, self.task.init(seed) if parameters is None else parameters)
        state = initial_state(first, {}, self.training)
        rows = jnp.asarray(data_order(seed, self.task.samples, self.training.steps, self.training.batch))
        factors = jnp.asarray(rate_factors(self.training))
        for begin, end in _pieces(self.training.steps, pause):
            state = paused(state) if begin else state
            turned = (jnp.roll(rows, -begin, 0), jnp.int32(begin), jnp.roll(factors, -begin), jnp.int32(end - begin))
            state, _ = self._segment(self._train, state, member, *turned)
        metrics = self._evaluate(self._valid, state.parameters, member)
        found = {name: float(value) for name, value in metrics.items()}
        return Ended(found, int(state.ended) >= 0, jax.tree.map(np.asarray, state.parameters))


def _pieces(steps: int, pause: int | None) -> list[tuple[int, int]]:
    return [(0, steps)] if pause is None or not 0 < pause < steps else [(0, pause), (pause, steps)]


def resized(task: Task, description: Any) -> Task:
    """A task with another model for its data."""
    made = functions(description, task.objective)
    leaves = description.leaves
    return replace(
        task,
        size=f"{task.size}, hidden {description.hidden}",
        parameters=count(leaves),
        non_embedding=count(leaves, embeddings=False),
        init=partial(initial, leaves),
        loss=made.loss,
        evaluate=made.evaluate,
        flops_per_sample=description.flops,
        description=description,
    )
