"""Time calls in turn, so that a ratio compares calls made within milliseconds of each other.

The speed of a shared machine drifts by half within a minute, more than many differences worth knowing. So a row
is never timed alone: each repetition times the copies and then the row, the ratio is taken within the repetition,
and the row's ratio is the median of these. Quartiles say how far to trust it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]

SAMPLE_SECONDS = 1e-3
"""A sample lasts at least this long, some ten thousand ticks of the clock: short calls are repeated within it."""

SETTLE_SECONDS = 1e-2
"""A pause before a sample. OpenMP's threads, of torch or Numba, spin for some milliseconds after a call, on the cores
that the next call needs: without a pause the copy after such a row took half as long again, and flattered the row."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of samples."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """The spread of samples."""
        low, median, high = np.quantile(samples, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))


def ratios(seconds: Sequence[float], units: Sequence[float]) -> Spread:
    """The spread of the ratios within repetitions.

    Args:
        seconds: of the row, one a repetition.
        units: of the copy, in the same repetitions.
    """
    if len(seconds) != len(units):
        raise ValueError(f"expected as many samples as copies, got {len(seconds)} and {len(units)}")
    return Spread.of([a / b for a, b in zip(seconds, units)])


def once(call: Call, loops: int = 1) -> float:
    """Seconds a call takes, the mean over a loop."""
    began = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - began) / loops


def loops_of(call: Call) -> int:
    """How many calls make a sample that lasts long enough."""
    loops = 1
    while (seconds := loops * once(call, loops)) < SAMPLE_SECONDS:
        loops *= max(2, min(10, round(SAMPLE_SECONDS / max(seconds, 1e-9))))
    return loops


def sample(call: Call, loops: int, settle: float) -> float:
    """Seconds of a call after a pause; of short ones after a call that brings back what the caches held."""
    time.sleep(settle)
    if loops > 1:
        call()
    return once(call, loops)


def in_turn(
    calls: Mapping[str, Call], budget: float, least: int = 3, most: int = 41, settle: float = SETTLE_SECONDS
) -> dict[str, list[float]]:
    """Seconds of each call, in repetitions that run every call once, in order.

    Each call is made once before, to compile and to touch its memory.

    Args:
        calls: what to time, by name.
        budget: seconds after which no further repetition begins.
        least, most: repetitions whatever the budget, and at most.
        settle: seconds of pause before each sample; where all calls run in this thread none is needed.
    """
    for call in calls.values():
        call()
    loops = {name: loops_of(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    until = time.perf_counter() + budget
    for repetition in range(most):
        if repetition >= least and time.perf_counter() >= until:
            break
        for name, call in calls.items():
            seconds[name].append(sample(call, loops[name], settle))
    return seconds
