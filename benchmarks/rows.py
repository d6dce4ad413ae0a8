"""A row: one library doing one task. Here halfulp's own, and the copies; `peers` has everybody else's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import halfulp as hu
import numpy as np

from .arrays import array_of, as_numpy, as_tensor, jax_copy, jitted, two_thread_copy
from .tasks import JAX, LARGE, NUMPY, TORCH, Task, available
from .timing import Call

COPY, JAX_COPY, NUMBA_COPY = "copy by two threads", "JAX copy (x + 1), jit", "copy, Numba parallel"


@dataclass(frozen=True, slots=True)
class Row:
    """One library doing one task.

    Args:
        library: as it stands in the table.
        task: what it does.
        make: from the task and its input, a call that does it once, outputs made beforehand where the
            library can write into them.
        read: from what the call returns, the values to compare with the exact ones; None compares nothing.
        peer: whether the library is another than halfulp.
        largest: the largest size it is timed at.
        swept: whether it is timed at all sizes of the task.
        beside: sizes it is timed at besides, those of its peers.
        note: what a reader should know.
    """

    library: str
    task: Task
    make: Callable[[Task, np.ndarray], Call]
    read: Callable[[Any], np.ndarray] | None = as_numpy
    peer: bool = False
    largest: int = 1 << 26
    swept: bool = True
    beside: tuple[int, ...] = ()
    note: str = ""

    @property
    def in_jax(self) -> bool:
        """Whether it takes JAX arrays; the others all take NumPy's memory."""
        return "JAX" in self.library

    @property
    def compiled(self) -> bool:
        """Whether torch.compile has to compile it first, which takes seconds."""
        return "compiled" in self.library

    def sizes(self, wanted: Sequence[int] = ()) -> list[int]:
        """The sizes to time it at: those wanted, or the task's own, none above its largest."""
        least = 1 << 10 if "axis" in self.task.options else 1 << 6
        if wanted:
            return sorted({min(size, self.largest) for size in wanted if size >= least})
        own = [size for size in self.task.sizes if size <= self.largest] if self.swept else [self.main_size]
        return sorted({*own, *self.beside})

    @property
    def main_size(self) -> int:
        """The size of its line in the main table."""
        return min(self.largest, LARGE)

    def call(self, size: int) -> Call:
        """Its call on the array of that many elements."""
        return self.make(self.task, array_of(size, self.task.dtype))


def _numpy(task: Task, x: np.ndarray) -> Call:
    match task.operation:
        case "pack":
            return lambda: hu.pack(x, task.fmt, **task.options)
        case "unpack":
            packed = hu.pack(x, task.fmt, **task.options)
            return lambda: hu.unpack(packed)
        case "encode":
            codes = np.empty(x.shape, np.uint8)
            return lambda: hu.encode(x, task.fmt, out=codes, **task.options)
        case "quantize in place":  # only the first call changes anything; the others cost as much
            both = x.copy()
            return lambda: hu.quantize(both, task.fmt, out=both, **task.options)
    out = np.empty_like(x)
    return lambda: hu.quantize(x, task.fmt, out=out, **task.options)


def _torch(task: Task, x: np.ndarray) -> Call:
    import torch

    t = as_tensor(x)
    out = torch.empty_like(t)
    return lambda: hu.quantize(t, task.fmt, out=out, **task.options)


def _jax(task: Task, x: np.ndarray) -> Call:
    return jitted(lambda a: hu.quantize(a, task.fmt, **task.options))(x)


MAKERS: dict[str, Callable[[Task, np.ndarray], Call]] = {NUMPY: _numpy, TORCH: _torch, JAX: _jax}


def own_rows(tasks: Sequence[Task]) -> list[Row]:
    """halfulp's rows, and the copies that are rows themselves."""
    rows = [
        Row(library, task, MAKERS[library], read=hu.unpack if task.operation == "pack" else as_numpy)
        for task in tasks
        for library in task.libraries
    ]
    return rows + [Row(name, COPYING, make, None, swept=False) for name, make in _COPIES.items()]


def _numba_copy(_: Task, x: np.ndarray) -> Call:
    out = np.empty_like(x)
    copy, flat, flat_out = _parallel_copy(), x.reshape(-1), out.reshape(-1)
    return lambda: copy(flat, flat_out)


@lru_cache(maxsize=1)
def _parallel_copy() -> Callable[[np.ndarray, np.ndarray], None]:
    import numba

    @numba.njit(parallel=True)
    def copy(x, out):
        for k in numba.prange(x.size):
            out[k] = x[k]

    return copy


COPYING = Task("copy", "binary32")
_COPIES: dict[str, Callable[[Task, np.ndarray], Call]] = {
    COPY: lambda _, x: two_thread_copy(x),
    NUMBA_COPY: _numba_copy,
    JAX_COPY: lambda _, x: jax_copy(x),
}


def every_row(tasks: Sequence[Task] = (), peers: bool = True) -> list[Row]:
    """All rows of some tasks, or of all, in the order of the tasks."""
    from .peers import peer_rows

    tasks = tasks or available()
    rows = own_rows(tasks) + (peer_rows(tasks) if peers else [])
    order = [*(task.name for task in tasks), COPYING.name]
    return sorted(rows, key=lambda row: order.index(row.task.name))


def beside_peers(rows: Sequence[Row]) -> list[Row]:
    """The rows, halfulp's timed at the sizes of their peers as well, so that like is compared with like."""
    sizes: dict[tuple[str, bool], set[int]] = {}
    for row in rows:
        if row.peer:
            sizes.setdefault((row.task.name, row.in_jax), set()).add(row.main_size)
    return [row if row.peer else replace(row, beside=tuple(sizes.get((row.task.name, row.in_jax), ()))) for row in rows]


def row_named(library: str, task: str) -> Row:
    """The row of a library and a task.

    Raises:
        ValueError: no such row.
    """
    for row in every_row():
        if (row.library, row.task.name) == (library, task):
            return row
    raise ValueError(f"no row of {library!r} does {task!r}; benchmarks/tasks.py and peers.py have them all")
