"""What bounds a row: arithmetic, or the bytes it moves.

Compute is the time an element takes in one thread on arrays that stay in the L2 cache: the slope between two sizes,
so that the overhead of a call drops out. The floor of memory is the time of the bytes the row must move at the speed
of the two-thread copy of a large array. A row can be no faster than the larger of compute over cores and floor.
"""

from dataclasses import dataclass

from .arrays import array_of, two_thread_copy
from .machine import cores
from .rows import Row
from .tasks import LARGE
from .timing import Spread, in_turn

IN_CACHE = (1 << 13, 1 << 15)
"""Elements: at most 128 KiB of float32 in and as much out."""

_EXPLAINED = 1.2


@dataclass(frozen=True, slots=True)
class Bound:
    """Nanoseconds an element.

    Args:
        compute: in one thread, in the L2 cache.
        memory: of its bytes at the speed of the copy.
        streaming: measured at the large size, in all threads.
        overhead: microseconds of a call, whatever the size.
        cores: threads that share the work.
    """

    name: str
    compute: float
    memory: float
    streaming: float
    overhead: float
    cores: int

    @property
    def text(self) -> str:
        """The verdict in a few lines."""
        shared = self.compute / self.cores
        kind = "compute-bound" if shared > self.memory else "memory-bound"
        times = self.streaming / max(shared, self.memory)
        if self.streaming > _EXPLAINED * (shared + self.memory):
            kind += " at best: even one after the other, arithmetic and memory do not explain its time"
        return (
            f"{self.name}: {kind}\n"
            f"  compute     {self.compute:7.3f} ns/element in L2, one thread; {shared:.3f} on {self.cores} cores\n"
            f"  memory      {self.memory:7.3f} ns/element, its bytes at the speed of the copy\n"
            f"  streaming   {self.streaming:7.3f} ns/element at 2^24, {times:.2f} times the larger of both\n"
            f"  overhead    {self.overhead:7.2f} us a call"
        )


def bound_of(row: Row, budget: float = 1.0) -> Bound:
    """Measure what bounds a row."""
    small, large = IN_CACHE
    cached = in_turn({"small": row.call(small), "large": row.call(large)}, budget, least=9, most=401, settle=0)
    at = {name: 1e9 * Spread.of(samples).low for name, samples in cached.items()}
    compute = (at["large"] - at["small"]) / (large - small)
    x = array_of(LARGE, row.task.dtype)
    streamed = in_turn({"copy": two_thread_copy(x), "row": row.call(LARGE)}, budget, most=41)
    copy, streaming = (1e9 * Spread.of(streamed[name]).median / LARGE for name in ("copy", "row"))
    share = row.task.bytes_per_element / (2 * x.itemsize)
    overhead = (at["small"] - compute * small) / 1e3
    return Bound(f"{row.task.name}, {row.library}", compute, copy * share, streaming, overhead, cores())
