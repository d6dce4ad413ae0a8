"""Where successive operations take their random words from."""

from typing import Any

from ..philox import seed_words
from ..plan import Randomness

STREAM = 0x61726974
"""The stream of arithmetic: 'arit' in ASCII."""


class Draws:
    """A seed and a count of operations: each stochastically rounded operation is one step of the stream.

    The only thing about rounded arrays that changes: every operation advances it. Arrays made from others share it,
    so that no two operations of a computation see the same bits; the same program draws the same bits again.

    Args:
        seed: an integer below 2**64.
        step: how many operations came before.
    """

    def __init__(self, seed: int, step: int = 0) -> None:
        seed_words(int(seed))
        self.seed = int(seed)
        self.step = int(step)

    def __repr__(self) -> str:
        return f"Draws(seed={self.seed}, step={self.step})"

    def take(self, count: int = 1) -> int:
        """The first of the steps of the next `count` operations."""
        first = self.step
        self.step = first + count
        return first

    def at(self, step: int) -> Randomness:
        """The random words of one operation."""
        return Randomness(self.seed, step & 0xFFFFFFFF, (STREAM + (step >> 32)) & 0xFFFFFFFF, 0)

    def next(self) -> Randomness:
        """The random words of the next operation."""
        return self.at(self.take())


def draws_for(stochastic: bool, seed: Any, name: str) -> Draws | None:
    """The draws of a computation; None where no rounding is random.

    Raises:
        ValueError: a stochastic rounding without a seed.
        TypeError: a seed that is no integer.
    """
    if isinstance(seed, Draws):
        return seed if stochastic else None
    if not stochastic:
        return None
    if seed is None:
        raise ValueError(f"{name}: stochastic rounding needs seed=, e.g. seed=0")
    if not hasattr(seed, "__index__"):
        raise TypeError(f"{name}: expected an integer seed, got {type(seed).__name__}")
    return Draws(int(seed))
