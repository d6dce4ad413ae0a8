"""What a run of the trainer is made of, as plain data."""

from dataclasses import asdict, dataclass
from typing import Any

from ..formats.registry import Format


@dataclass(frozen=True, slots=True)
class Settings:
    """How the network is trained; part of a run's identity.

    Args:
        hidden: widths of the hidden layers.
        steps: optimizer steps.
        batch: samples a step.
        momentum: of SGD.
        width: runs trained side by side.
        version: raised whenever results of the trainer change.
    """

    hidden: tuple[int, ...] = (64, 64)
    steps: int = 300
    batch: int = 96
    momentum: float = 0.9
    width: int = 16
    version: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, got {getattr(self, name)}")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"expected hidden widths >= 1, got {self.hidden}")

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the store."""
        return {**asdict(self), "hidden": list(self.hidden)}


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a batch."""

    fmt: Format
    seed: int
    learning_rate: float
