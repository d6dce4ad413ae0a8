"""Whole computations with every operation rounded, as data: what is computed, by whom, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .timing import Call, Spread

OWN, PEER = "halfulp", "Pychop"
TIMES_PYCHOP, GIGAFLOPS_PER_CORE = 50.0, 0.5
"""What rounded computations are to reach: times the speed of Pychop, and matrix products on each core."""


@dataclass(frozen=True, slots=True)
class Computation:
    """What is computed, of numbers in a format, every operation rounded.

    Args:
        kind: the textbook's loop.
        fmt: the format.
        flops: operations of a problem of size n.
        inputs: (n, random) -> float64 arrays.
    """

    kind: str
    fmt: str
    flops: Callable[[int], float]
    inputs: Callable[[int, np.random.Generator], tuple[np.ndarray, ...]]

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return f"{self.kind}, {self.fmt}"


@dataclass(frozen=True, slots=True)
class Way:
    """One library's way to a computation.

    Args:
        library: as it stands in the table.
        make: (computation, inputs) -> a call.
        size: of the problem.
        note: what a reader should know.
    """

    library: str
    make: Callable[..., Call]
    size: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way to one computation, timed.

    Args:
        seconds: of a call; None where it failed.
        differs: share of results other than those of the textbook loop; None where nothing is rounded.
        error: why there is no time.
    """

    computation: Computation
    way: Way
    seconds: Spread | None = None
    differs: float | None = None
    error: str = ""

    @property
    def gigaflops(self) -> float | None:
        """Operations a second, in thousands of millions."""
        if self.seconds is None:
            return None
        return self.computation.flops(self.way.size) / self.seconds.median / 1e9

    @property
    def note(self) -> str:
        """What a reader should know."""
        differs = f"differs in {100 * self.differs:.2g}% of values" if self.differs else ""
        return self.error or "; ".join(text for text in (differs, self.way.note) if text)


def fastest(outcomes: Sequence[Outcome], computation: str, library: str) -> float | None:
    """The highest rate of the ways whose library's name begins so."""
    rates = [o.gigaflops for o in outcomes if o.computation.name == computation and o.way.library.startswith(library)]
    return max((rate for rate in rates if rate), default=None)


def reached(outcomes: Sequence[Outcome], cores: int) -> list[tuple[str, float, float, str]]:
    """(what, at least, found, unit) of every target that was measured."""
    found = []
    for name, kind in {o.computation.name: o.computation.kind for o in outcomes}.items():
        own, theirs = (fastest(outcomes, name, library) for library in (OWN, PEER))
        if own and theirs:
            found.append((f"{name}, against Pychop", TIMES_PYCHOP, own / theirs, "times"))
        if own and kind == "gemm":
            found.append((f"{name}, a core", GIGAFLOPS_PER_CORE, own / cores, "Gflop/s"))
    return found


STEPS = 2.0
"""Steps of the plain model that a step of the wrapped multilayer perceptron in MXFP8 may take on a CPU."""


@dataclass(frozen=True, slots=True)
class Training:
    """One model trained one way, timed against the plain model, eager and compiled apart.

    Args:
        model: as it stands in the table.
        library: who quantizes.
        seconds: of a step: forward, backward, SGD. None where it failed.
        ratio: in steps of the plain model, compiled where this one is.
        error: why there is no time.
    """

    model: str
    library: str
    seconds: Spread | None = None
    ratio: Spread | None = None
    error: str = ""
