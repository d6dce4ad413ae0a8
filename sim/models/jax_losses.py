"""What a task minimizes and what it reports, in JAX: pure functions of parameters, a batch and random words.

A loss is the mean over samples. An evaluation gives sums over samples and their count, so that those of batches add.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .feedforward import Cnn, Mlp, Vgg
from .jax_denoisers import noisy, predicted
from .jax_feedforward import cnn, mlp, vgg
from .jax_transformers import llama, vit
from .objective import Objective
from .transformers import Llama, Vit

Batch = Mapping[str, jax.Array]
_FORWARD: dict[type, Callable[..., jax.Array]] = {Mlp: mlp, Cnn: cnn, Vgg: vgg, Vit: vit, Llama: llama}


class Functions(NamedTuple):
    """The two functions of a task: (params, batch, words) -> mean loss, and -> sums."""

    loss: Callable[..., jax.Array]
    evaluate: Callable[..., dict[str, jax.Array]]


def functions(model: Any, objective: Objective) -> Functions:
    """Loss and evaluation of a model with an objective."""
    found = {"squares": _squares, "classes": _classes, "noise": _noise, "tokens": _tokens}[objective.kind]
    each = partial(found, model, objective)

    def loss(params: Any, batch: Batch, words: Any) -> jax.Array:
        return jnp.mean(each(params, batch, words, evaluating=False)["loss"])

    def evaluate(params: Any, batch: Batch, words: Any) -> dict[str, jax.Array]:
        sums = {name: jnp.sum(values) for name, values in each(params, batch, words, evaluating=True).items()}
        return {**sums, "count": jnp.float32(next(iter(batch.values())).shape[0])}

    return Functions(loss, evaluate)


def forward(model: Any, objective: Objective, params: Any, x: jax.Array, evaluating: bool = True) -> jax.Array:
    """What a model of classes, squares or tokens computes from the inputs of a batch, as the data has them."""
    inputs = pixels(objective, x) if objective.kind == "classes" else x
    if not (evaluating and isinstance(model, Vgg)):
        return _FORWARD[type(model)](model, params, inputs)
    reference = pixels(objective, jnp.asarray(objective.reference))
    rows = reference.shape[0]
    return vgg(model, params, jnp.concatenate([reference, inputs]), rows)[rows:]


def pixels(objective: Objective, x: jax.Array) -> jax.Array:
    """Images as float32, with mean 0 and deviation 1 a channel where the objective says so."""
    x = x.astype(jnp.float32)
    if objective.mean is None:
        return x
    mean, deviation = (np.asarray(a, np.float32)[:, None, None] for a in (objective.mean, objective.deviation))
    return (x - mean) / deviation


def _squares(model: Any, objective: Objective, params: Any, batch: Batch, words: Any, evaluating: bool) -> Any:
    error = forward(model, objective, params, batch["x"])[:, 0] - batch["y"]
    squares = error * error
    return {"loss": squares, "r2": 1 - squares / np.float32(objective.variance)} if evaluating else {"loss": squares}


def _classes(model: Any, objective: Objective, params: Any, batch: Batch, words: Any, evaluating: bool) -> Any:
    logits, labels = forward(model, objective, params, batch["x"], evaluating), batch["y"]
    losses = _cross_entropy(logits, labels)
    if not evaluating:
        return {"loss": losses}
    return {"loss": losses, "accuracy": (jnp.argmax(logits, -1) == labels).astype(jnp.float32)}


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    # a comparison, not an index: its gradient needs no scatter, which takes a tenth of a step of a language model
    chosen = jnp.where(jnp.arange(logits.shape[-1]) == labels[..., None], logits, 0)
    return jax.nn.logsumexp(logits, axis=-1) - chosen.sum(-1)


def _noise(model: Any, objective: Objective, params: Any, batch: Batch, words: Any, evaluating: bool) -> Any:
    mixed, noise, time = noisy(words, batch["x"])
    return {"loss": jnp.mean((predicted(model, params, mixed, time) - noise) ** 2, axis=(1, 2, 3))}


def _tokens(model: Any, objective: Objective, params: Any, batch: Batch, words: Any, evaluating: bool) -> Any:
    tokens = batch["tokens"].astype(jnp.int32)
    logits = forward(model, objective, params, tokens[:, :-1])
    losses = jnp.mean(_cross_entropy(logits, tokens[:, 1:]), axis=1)
    bits = losses * np.float32(1 / (np.log(2) * objective.bytes_per_token))
    return {"loss": losses, "bits_per_byte": bits} if evaluating else {"loss": losses}
