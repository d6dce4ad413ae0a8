"""What a task is: data, a model for it, and what is minimized and reported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .augmentation import Augmentation

Params = Mapping[str, Any]
"""Parameters: a dict of dicts of arrays."""
Batch = Mapping[str, Any]
"""Samples: arrays by name, each with the samples along its first axis."""
Words = Any
"""(2,) uint32: what random numbers of a loss are drawn from."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Data, a model, and what is minimized and reported.

    Args:
        name, model, size: "digits", "mlp", "s".
        source: where the data is from.
        train, valid: arrays by name, each with the samples along its first axis.
        metric: the main one on validation data, one of those `evaluate` gives.
        higher_is_better: whether a larger metric is a better one.
        tokens_per_sample: tokens a sample predicts; 1 where samples are no text.
        bytes_per_token: of the validation text; 1 where samples are no text.
        parameters: how many numbers the parameters have.
        non_embedding: the same without tables of tokens and positions and without the head over tokens.
        init: seed -> first parameters, a dict of dicts of float32 NumPy arrays that depend on model and seed only.
        loss: (params, batch, words) -> () float32, the mean over samples, in nats where it is a likelihood; a pure
            function that JAX may trace, differentiate and map.
        evaluate: (params, batch, words) -> sums over samples by name, and 'count'; sums of several batches add.
        flops_per_sample: of a forward pass, two for each multiply-accumulate.
        description: the model as data, one of `sim.models`.
        objective: what is minimized, as data.
        augmentation: how trainers change images in every step, or None.

    Raises:
        ValueError: no data, or arrays of different lengths.
    """

    name: str
    model: str
    size: str
    source: str
    train: Mapping[str, np.ndarray]
    valid: Mapping[str, np.ndarray]
    metric: str
    higher_is_better: bool
    tokens_per_sample: int
    bytes_per_token: float
    parameters: int
    non_embedding: int
    init: Callable[[int], Params] = field(repr=False)
    loss: Callable[[Params, Batch, Words], Any] = field(repr=False)
    evaluate: Callable[[Params, Batch, Words], Mapping[str, Any]] = field(repr=False)
    flops_per_sample: float
    description: Any = None
    objective: Any = field(default=None, repr=False)
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        for part in ("train", "valid"):
            lengths = {name: len(array) for name, array in getattr(self, part).items()}
            if not lengths or len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
                raise ValueError(f"task {self.name}: expected {part} arrays of one length, 1 or more, got {lengths}")

    def __repr__(self) -> str:
        shapes = {part: {n: a.shape for n, a in getattr(self, part).items()} for part in ("train", "valid")}
        return (
            f"Task({self.name!r}, model={self.model!r}, size={self.size!r}, parameters={self.parameters}, "
            f"train={shapes['train']}, valid={shapes['valid']}, metric={self.metric!r})"
        )

    @property
    def samples(self) -> int:
        """How many there are to train on."""
        return len(next(iter(self.train.values())))

    def seen(self, steps: int, batch: int) -> tuple[int, int]:
        """Samples and tokens that so many steps of a batch see."""
        return steps * batch, steps * batch * self.tokens_per_sample
