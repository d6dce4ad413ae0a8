"""Tasks whose evaluation also measures the sharpness in the space of the last token's logits."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ...sim.models.jax_losses import forward, functions
from ...sim.models.leaves import count, initial
from ...sim.models.transformers import Llama
from ...sim.tasks.task import Task
from .boxes import BOXES, half_sides, largest_rise


def watched(task: Task) -> Task:
    """A task of classes or tokens that reports, beside its loss, `last_loss` and the rises of it in each box.

    The last token is the one that the whole context predicts; of images it is the label. Logits are those of the
    quantized forward pass where a run has one.
    """

    def evaluate(params: Any, batch: Any, words: Any) -> dict[str, jax.Array]:
        if "tokens" in batch:
            inputs, labels = batch["tokens"][:, :-1].astype(jnp.int32), batch["tokens"][:, 1:].astype(jnp.int32)
        else:
            inputs, labels = batch["x"], batch["y"]
        logits = forward(task.description, task.objective, params, inputs)
        losses = _cross_entropy(logits, labels)
        last, label, of_last = (logits[:, -1], labels[:, -1], losses[:, -1]) if losses.ndim > 1 else (
            logits, labels, losses)  # fmt: skip
        rises = {f"rise_{box}": largest_rise(jnp, last, label, half_sides(jnp, last, box)).sum() for box in BOXES}
        per_sample = losses.mean(tuple(range(1, losses.ndim)))
        return {"loss": per_sample.sum(), "last_loss": of_last.sum(), **rises, "count": jnp.float32(len(label))}

    return replace(task, name=f"{task.name}_watched", evaluate=evaluate, metric="loss", higher_is_better=False)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)
    return -chosen[..., 0]


def smaller(task: Task, width: int) -> Task:
    """A task of text with a decoder of one layer of that width and one head, smaller than those that have names."""
    sample = task.train["tokens"].shape[1]
    hidden = -(-8 * width // 96) * 32  # 8/3 of the width, up to a multiple of the blocks of scaled formats
    model = Llama(task.description.vocabulary, sample - 1, width, 1, 1, hidden)
    made = functions(model, task.objective)
    return replace(
        task,
        size=f"width {width}",
        parameters=count(model.leaves),
        non_embedding=count(model.leaves, embeddings=False),
        init=partial(initial, model.leaves),
        loss=made.loss,
        evaluate=made.evaluate,
        flops_per_sample=model.flops,
        description=model,
    )
