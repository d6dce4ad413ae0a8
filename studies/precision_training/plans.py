"""What is trained: models of a few sizes, lengths and precisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...sim.models.leaves import count
from ...sim.models.sizes import Geometry, described
from ..study import FULL, QUICK

RATE = 0.003
"""The peak learning rate: of .003, .01 and .03 the best in float32 with the most data, of 13k and of 50k parameters."""
FLOAT = 32
"""Bits of float32 in tables."""
AWARE = (3, 4, 5, 6)
"""Bits of weights in training."""
CONTEXT = 64
_TRAINING = {"batch": 8, "optimizer": "adamw", "clip": 1.0, "warmup": 10}
TOKENS = CONTEXT * 8
"""Of a step."""


def check_of_seeds_and_lengths(seeds: int, lengths: Sequence[int]) -> None:
    """Raise a ValueError where there is no interval over seeds, or the first and last length are not the extremes."""
    if seeds < 2:
        raise ValueError(f"expected two seeds or more, for an interval, got {seeds}")
    if not lengths or list(lengths) != sorted(set(lengths)):
        raise ValueError(f"expected lengths in ascending order, in steps, got {tuple(lengths)}")


@dataclass(frozen=True, slots=True)
class Part:
    """Models of one size, which one compiled program trains for all of them.

    Args:
        size: of `halfulp.task("text")`. lengths: in steps.
        bits: of weights in training; None for float32. post: bits to which weights are rounded afterwards.
        seeds: how many. valid_samples: of as many contexts is the loss.

    Raises:
        ValueError: lengths that are not ascending, or none; fewer than two seeds.
    """

    size: str
    lengths: tuple[int, ...]
    bits: tuple[int | None, ...] = (None,)
    post: tuple[int, ...] = (2, 3, 4)
    seeds: int = 6
    valid_samples: int = 128

    def __post_init__(self) -> None:
        check_of_seeds_and_lengths(self.seeds, self.lengths)

    @property
    def config(self) -> dict[str, Any]:
        """What `jax_models.models` takes."""
        options = {"size": self.size, "context": CONTEXT, "valid_samples": self.valid_samples}
        chosen = {name: list(getattr(self, name)) for name in ("bits", "post", "lengths")}
        return {"options": options, **chosen, "seeds": self.seeds, "rate": RATE, "training": _TRAINING}

    @property
    def runs(self) -> int:
        """How many trainings it is."""
        return len(self.bits) * len(self.lengths) * self.seeds

    @property
    def parameters(self) -> int:
        """Of the model, without the table of embeddings and the head."""
        return count(described("llama", self.size, Geometry((CONTEXT,), 256, {"tied": False})).leaves, embeddings=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained at a scale.

    Args:
        parts: of several sizes and precisions.
        shared: the length in steps at which sizes are compared.
        aware: the size that is also trained with few bits of weights, at that length.
    """

    parts: tuple[Part, ...]
    shared: int
    aware: str


PLANS = {
    QUICK: Plan(
        (
            Part("13k", (64, 128, 256, 512)),
            Part("50k", (64, 128, 256, 512)),
            Part("100k", (256,)),
            Part("13k", (256,), AWARE),
        ),
        256,
        "13k",
    ),
    FULL: Plan(
        (
            Part("13k", (128, 256, 512, 1024, 2048, 4096), seeds=10, valid_samples=512),
            Part("50k", (128, 256, 512, 1024, 2048, 4096), seeds=10, valid_samples=512),
            Part("100k", (1024, 4096), seeds=10, valid_samples=512),
            Part("200k", (1024,), seeds=10, valid_samples=512),
            Part("50k", (1024,), AWARE, seeds=10, valid_samples=512),
        ),
        1024,
        "50k",
    ),
}
