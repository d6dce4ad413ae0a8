"""A batch as it is trained on, in a compiled program."""

from typing import Any

import jax.numpy as jnp

from ...emulate.backends.jax_integers import JaxWords
from ..tasks.augmentation import augmented, shifts
from ..tasks.task import Task


def prepared(task: Task, batch: Any, samples: Any, seed: Any, step: Any) -> Any:
    """The batch with its images changed as the task says.

    Args:
        samples: (n,) int32 numbers of its samples. seed: (2,) uint32. step: () int32.
    """
    how = task.augmentation
    if how is None:
        return batch
    found = shifts(JaxWords(), how, seed, step.astype(jnp.uint32), samples.astype(jnp.uint32))
    return {**batch, "x": augmented(jnp, batch["x"], how, *(each.astype(jnp.int32) for each in found))}
