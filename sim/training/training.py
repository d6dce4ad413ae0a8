"""How a task is trained, as data: what shapes the compiled program, and what each run of a grid has of its own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...formats.suggest import unknown
from ..optimizers.storages import storage as any_storage
from ..recipes.rules import Rule, rules_of
from .keeping import check_keeping

OPTIMIZERS = ("sgd", "adamw", "muon")
"""Of the trainer. Muon is for matrices of hidden layers; embeddings, heads, vectors and convolutions take Adam."""

SCHEDULES = ("cosine", "linear", "constant", "wsd")
"""Learning rates after the warm-up: half a cosine, a line, the peak, or (wsd) the peak and a line in the last fifth."""

DYNAMIC = "dynamic"
"""The loss scale that follows overflows."""
_RECORDING = ("checkpoint_every", "probe_every", "probe_operands")
"""What does not change results."""
EVALUATED = 512
"""Samples of a batch of validation data."""
_WIDEST = 32
"""Runs side by side at most: from there on small networks gain nothing."""
_WORTHWHILE = 2e8
"""Multiply-accumulates of a step beyond which a second run side by side saves no time (two cores)."""


@dataclass(frozen=True, slots=True)
class Training:
    """How runs are trained; part of a run's identity.

    Args:
        steps: optimizer steps. batch: samples a step.
        optimizer: one of `OPTIMIZERS`. SGD takes weight decay as a part of the gradient, the others apart from it.
        momentum: of SGD and Muon, and Adam's beta1. beta2, epsilon: Adam's.
        schedule: one of `SCHEDULES`, from the run's learning rate down to `final` times it.
        warmup: steps in which the rate rises in a line from 0.
        clip: the norm of all gradients that is not exceeded, or None.
        loss_scale: what the loss is multiplied with before the backward pass and gradients divided by, a power of two;
            'dynamic' halves it and skips the step when a gradient is not finite, and doubles it after 200 good steps.
        diverged_above: a run ends when its loss is that many times its first one; None for no such end, since runs in
            few bits may recover. A loss or gradient that is not finite ends it always.
        evaluate_every: steps between evaluations on the validation data; None only after the last step.
        probe_every: steps between probes of weights, or None; in JAX.
        probe_operands: whether these are of every operand of every product as well, by a program of its own, which
            takes a few times as long to compile as that of training.
        checkpoint_every: steps between checkpoints, where they are asked for.
        width: runs trained side by side; None chooses by the size of the model. It is part of what a run is, because
            XLA sums in another order at another width.
        version: raised whenever results of the trainer change.

    Raises:
        ValueError: numbers out of range, unknown names.
    """

    steps: int = 300
    batch: int = 96
    optimizer: str = "sgd"
    momentum: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    schedule: str = "cosine"
    warmup: int = 0
    final: float = 0.0
    clip: float | None = None
    loss_scale: float | str | None = None
    diverged_above: float | None = None
    evaluate_every: int | None = None
    probe_every: int | None = None
    probe_operands: bool = False
    checkpoint_every: int = 100
    width: int | None = None
    version: int = 2

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(unknown("optimizer", str(self.optimizer), OPTIMIZERS))
        if self.schedule not in SCHEDULES:
            raise ValueError(unknown("schedule", str(self.schedule), SCHEDULES))
        for name in ("steps", "batch", "width", "evaluate_every", "probe_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"expected {name} >= 1, got {value!r}")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"expected a warm-up shorter than the {self.steps} steps, got {self.warmup}")
        for name, low, high in (("momentum", 0, 1), ("beta2", 0, 1), ("final", 0, 1 + 1e-9)):
            if not low <= getattr(self, name) < high:
                raise ValueError(f"expected {name} from {low} to 1, got {getattr(self, name)}")
        if not 0 <= self.epsilon < float("inf"):
            raise ValueError(f"expected epsilon >= 0, got {self.epsilon}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(
                f"expected clip > 0, the largest norm of the gradients, got {self.clip}; None clips nothing"
            )
        if self.diverged_above is not None and not self.diverged_above > 1:
            raise ValueError(f"expected diverged_above > 1 times the first loss, got {self.diverged_above}")
        if self.probe_operands and self.probe_every is None:
            raise ValueError(
                "probe_operands goes with probe_every, the steps between probes; give that too, such as 50"
            )
        _check_loss_scale(self.loss_scale)

    def check_batch(self, task: str, samples: int) -> None:
        """Raise a ValueError where a task has fewer samples than a batch."""
        if self.batch > samples:
            raise ValueError(
                f"{task} has {samples} samples to train on, got a batch of {self.batch}; give Training a smaller batch"
            )

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """(first step, steps) of each call of the compiled program, from evaluation, probe or checkpoint to another.

        It takes pieces of any length up to that of the longest, so that periods need not divide each other.
        """
        periods = [n for n in (self.evaluate_every, self.probe_every, self.checkpoint_every) if n is not None]
        ends = sorted({step for every in periods for step in range(every, self.steps, every)} | {self.steps})
        return [(first, end - first) for first, end in zip([0, *ends], ends)]

    @property
    def longest(self) -> int:
        """Steps of the longest piece."""
        return max(count for _, count in self.pieces)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the store; what does not change results is left out."""
        return {name: value for name, value in asdict(self).items() if name not in _RECORDING}


def _check_loss_scale(scale: float | str | None) -> None:
    if scale is None or scale == DYNAMIC:
        return
    if isinstance(scale, str):
        raise ValueError(unknown("loss_scale", scale, (DYNAMIC,)))
    if not scale > 0 or np.frexp(scale)[0] != 0.5:
        raise ValueError(f"expected a power of two for loss_scale, or 'dynamic', got {scale}")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a grid: what its program takes as data, and its rules, which may be data too.

    Args:
        rules: a recipe, its name, or ordered rules, as `halfulp.quantize_` takes them. A recipe's `master` and
            `optimizer_state` are the formats in which the weights of the layers it matches and the optimizer's states
            of them are kept, rounded stochastically and to nearest (`Storage.from_recipe`).
        seed: of initial values, the order of samples, and random words.
        learning_rate: the peak of the schedule.
        weight_decay: of weights with two and more axes.
        storage: how all parameters and states are kept, as `halfulp.low_precision` takes it: a `Storage`, its name or a
            table; None for what recipes say.

    Raises:
        ValueError: numbers out of range; unknown names; rules and a storage that do not go together.
    """

    rules: Any = "identity"
    seed: int = 0
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    storage: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", rules_of(self.rules))
        if self.storage is not None:
            object.__setattr__(self, "storage", any_storage(self.storage))
        check_keeping(self.rules, self.storage)
        for name in ("seed", "learning_rate", "weight_decay"):
            if isinstance(getattr(self, name), np.number):
                object.__setattr__(self, name, getattr(self, name).item())
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 1 << 64:
            raise ValueError(f"expected a seed from 0 to 2**64 - 1, got {self.seed!r}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"expected a positive learning rate, got {self.learning_rate}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"expected a weight decay >= 0, got {self.weight_decay}")

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the store."""
        from ..recipes.recipe import to_table

        rules: tuple[Rule, ...] = self.rules
        kept = {} if self.storage is None else {"storage": self.storage.to_table()}
        return {
            "rules": [[rule.pattern, to_table(rule.recipe)] for rule in rules],
            "seed": self.seed,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            **kept,
        }


@dataclass(frozen=True, slots=True)
class Trained:
    """What became of a run.

    Args:
        run: the run.
        metrics: on the validation data after the last step; means over samples.
        diverged_at: the step whose loss or gradient ended the run, or None; its weights are those before that step.
        curves: (steps,) float32 by name: 'loss' in nats and 'gradient_norm' of each step, NaN after the end;
            'loss_scale' where it is dynamic.
        evaluations: 'step' and each metric at every evaluation, as arrays.
        probes: 'step' and statistics at every probe, as arrays; empty without probes, and in torch. By parameter
            'NAME.rms' and 'NAME.largest', and 'NAME.sqnr_db' of weights in a format. With `probe_operands` also what
            the step of that number (the first is 0) does to operands: 'LAYER.OPERAND.sqnr_db', '.saturated_percent' and
            '.underflow_percent', as in `halfulp.tensor_statistics`, with operands such as 'fprop_x' and 'dgrad_e'. Not
            of recipes with a schedule or complex weights, of delayed or learned scales, nor of backward products of
            convolutions that are no products of patches.
        parameters: the trained parameters as NumPy arrays, where they were asked for.
    """

    run: Run
    metrics: Mapping[str, float]
    diverged_at: int | None
    curves: Mapping[str, np.ndarray]
    evaluations: Mapping[str, np.ndarray] = field(default_factory=dict)
    probes: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Any = None

    @property
    def diverged(self) -> bool:
        """Whether it ended before its last step."""
        return self.diverged_at is not None


def is_hidden_matrix(name: str, axes: int) -> bool:
    """Whether Muon is for a parameter: a matrix that is no embedding and no head.

    Args:
        name: its path, such as 'layers.0.up.weight'. axes: how many it has.
    """
    return axes == 2 and not any(word in name for word in ("embed", "head"))


def rate_factors(training: Training) -> np.ndarray:
    """(steps,) float32: by what the peak learning rate is multiplied at each step."""
    steps, k = training.steps, np.arange(training.steps)
    decay = training.final + (1 - training.final) * _decay(training, (k - training.warmup) / (steps - training.warmup))
    rising = (k + 1) / (training.warmup + 1)
    return np.where(k < training.warmup, rising, decay).astype(np.float32)


def _decay(training: Training, done: np.ndarray) -> np.ndarray:
    """From 1 to 0, by the share of the steps that are done."""
    if training.schedule == "cosine":
        return 0.5 * (1 + np.cos(np.pi * done))
    if training.schedule == "linear":
        return 1 - done
    if training.schedule == "constant":
        return np.ones_like(done)
    return np.minimum(1, (1 - done) / 0.2)


def width_for(training: Training, flops_per_sample: float) -> int:
    """Runs side by side: a power of two, as many as save time for a model of that size."""
    if training.width is not None:
        return training.width
    affordable = _WORTHWHILE / max(flops_per_sample * training.batch / 2, 1)
    width = 1
    while width * 2 <= min(affordable, _WIDEST):
        width *= 2
    return width
