"""What rounding the weights of trained models does to their loss."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...sim.tasks.task import Task
from ...sim.training.jax_grid import groups_of
from ...sim.training.jax_recipes import measures_of
from ...sim.training.jax_step import Member, evaluated
from ...sim.training.training import EVALUATED, Run
from .weights import rules_of_bits


class Losses:
    """Validation losses of parameters with their weights in several precisions, in one compiled program.

    Args:
        task: whose validation data are read.
        bits: of the weights; None stands for float32.

    Raises:
        ValueError: no bits; precisions that do not share a program.
    """

    def __init__(self, task: Task, bits: Sequence[int]) -> None:
        rules = [Run(rules_of_bits(each)).rules for each in bits]
        groups = groups_of([Run(each) for each in rules])
        if len(groups) != 1:
            raise ValueError(f"expected bits that share a program, got {tuple(bits)}")
        group, count = groups[0][0], len(rules)
        size = min(EVALUATED, next(iter(task.valid.values())).shape[0])
        measures, valid = measures_of(task, group), {name: jnp.asarray(a) for name, a in task.valid.items()}
        words = jnp.zeros((count, 2), jnp.uint32)
        self._members = Member(words, jnp.zeros(count), jnp.zeros(count), group.data(rules))

        def loss(parameters: Any, member: Member) -> Any:
            return evaluated(measures, valid, size, parameters, {}, member, jnp.int32(0))["loss"]

        self._losses = jax.jit(jax.vmap(partial(loss), in_axes=(None, 0)))

    def __call__(self, parameters: Any) -> np.ndarray:
        """(bits,) float64 losses in nats, in the order of the bits.

        Args:
            parameters: of one model, a dict of dicts of float32 arrays.
        """
        return np.asarray(self._losses(parameters, self._members), np.float64)
