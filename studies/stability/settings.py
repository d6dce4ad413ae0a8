"""What the study trains: tasks, learning rates, arithmetics and seeds of each scale, as data."""

from dataclasses import dataclass, replace
from math import log

from ...sim.training.training import Training
from ..study import FULL, QUICK
from .arithmetics import BF16, FLOAT32, SCALED, UNSCALED

RATE_STEPS = {"digits": 2.0, "text": 10**0.5}
"""The factor between neighbouring learning rates."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A task of the map and how it is trained.

    Args:
        options: of `halfulp.task`. width: of a decoder smaller than those with names; None takes the task's own model.
        training: steps, batch, optimizer. weight_decay: of all runs.
        rates: peak learning rates. best: the one at which float32 has the lowest mean final loss of these.
        chance: the loss of a uniform guess.
    """

    task: str
    options: tuple[tuple[str, object], ...]
    width: int | None
    training: Training
    weight_decay: float
    rates: tuple[float, ...]
    best: float
    chance: float


@dataclass(frozen=True, slots=True)
class Part:
    """What is trained on a task: names of arithmetics, how many seeds, and how much smaller gradients are made.

    Args:
        smaller: by name of a format, binades; trained at the best rate.
    """

    names: tuple[str, ...]
    seeds: int
    smaller: tuple[tuple[str, tuple[int, ...]], ...] = ()


def geometric(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Learning rates a factor apart, to four digits."""
    return tuple(float(f"{first * factor**k:.4g}") for k in range(count))


SETTINGS = {
    "digits": Setting(
        "digits", (("size", "xs"),), None, Training(steps=200, batch=64, width=32, evaluate_every=5), 0.0,
        geometric(2.0**-4, RATE_STEPS["digits"], 8), 0.5, log(10),
    ),
    "text": Setting(
        "text", (("context", 16), ("size", "50k"), ("valid_samples", 64)), 32,
        Training(steps=100, batch=8, optimizer="adamw", beta2=0.95, clip=1.0, warmup=10, width=16, evaluate_every=10),
        0.1, geometric(10**-2.5, RATE_STEPS["text"], 6), 10**-2, log(256),
    ),
}  # fmt: skip
_SOME = (FLOAT32, BF16, "E7M7", "E8M4", "E8M2", "E4M3", "E5M2", "MXFP8", "MXFP4")
_ALL = (FLOAT32, *UNSCALED, *SCALED)
_SMALLER = (("E7M7", (48, 52, 56, 60)),)
MAP = {
    QUICK: {"digits": Part(_ALL, 5, _SMALLER), "text": Part(_SOME, 5)},
    FULL: {"digits": Part(_ALL, 20, _SMALLER), "text": Part(_ALL, 10)},
}
"""By scale and task."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """The student-teacher proxy: sizes, learning rates, seeds."""

    width: int
    depth: int
    samples: int
    noise: float
    rates: tuple[float, ...]
    seeds: int
    training: Training


_PROXY = Training(steps=150, batch=64, optimizer="adamw", schedule="constant", width=5, evaluate_every=20)
PROXY = {
    QUICK: Proxy(64, 4, 8192, 0.005, (1e-3, 6.4e-2), 5, _PROXY),
    FULL: Proxy(64, 8, 8192, 0.005, (1e-3, 6.4e-2), 10, replace(_PROXY, steps=300)),
}
"""The paper's learning rate, and one at which float32 itself spikes in one of eight steps."""
