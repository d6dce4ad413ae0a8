"""One batch of matrix products as the kernels take it: tiles, panels and threads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..backends import cpu
from ..backends.numpy import FLOATS
from ..layouts import Layout

COLUMNS = 128
"""Columns of a panel."""
NARROW = 16
"""Fewer columns than this are done as rows of the transposed product where there are more rows."""
PANELS = 8
"""Panels of a tile."""
TILE = 1 << 15
"""Results of a tile: with the sums of a chunk they stay in the second cache."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Matrix products of a batch.

    Args:
        a: (batch, m, k) float32 or float64.
        b: (batch, k, n) of the same dtype.
    """

    a: np.ndarray
    b: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result."""
        return self.a.shape[0], self.a.shape[1], self.b.shape[2]

    @property
    def products(self) -> int:
        """Products of a sum."""
        return self.a.shape[2]

    @property
    def transposed(self) -> "Problem":
        """The product of the transposed factors in the other order: the same products and sums."""
        return Problem(self.b.transpose(0, 2, 1), self.a.transpose(0, 2, 1))

    @property
    def narrow(self) -> bool:
        """Whether the transposed product has the longer rows."""
        _, m, n = self.shape
        return n < NARROW and n < m


@dataclass(frozen=True, slots=True)
class Tile:
    """Some rows and columns of one product.

    Args:
        a: (rows, k) contiguous.
        panels: (panels, k, columns) of b, filled up with zeros.
        index: which product of the batch.
        rows, columns: the part of the result.
        start: row-major index in the whole result of the first element.
    """

    a: np.ndarray
    panels: np.ndarray
    index: int
    rows: slice
    columns: slice
    start: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(panels, rows, columns of one) of the results."""
        return self.panels.shape[0], self.a.shape[0], self.panels.shape[2]

    @property
    def rows_and_columns(self) -> tuple[int, int]:
        """Shape of the results."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def at(self, first: int, last: int) -> np.ndarray:
        """What kernels do: all panels, all rows, the products from the first to before the last."""
        return np.array([0, self.shape[0], 0, self.shape[1], first, last])

    def joined(self, out: np.ndarray) -> np.ndarray:
        """(rows, columns) results without their panels."""
        flat = out.transpose(1, 0, 2).reshape(self.shape[1], -1)
        return np.ascontiguousarray(flat[:, : self.rows_and_columns[1]])

    def split(self, found: np.ndarray) -> np.ndarray:
        """(rows, columns) results in panels."""
        return panels_of(found, found.dtype, self.shape[2])


def panels_of(b: np.ndarray, dtype: np.dtype, width: int | None = None) -> np.ndarray:
    """(panels, k, columns) of (k, n), the last one filled up with zeros."""
    k, n = b.shape
    width = min(COLUMNS, -(-n // NARROW) * NARROW) if width is None else width
    count = -(-n // width)
    if count * width == n:
        return np.require(b.reshape(k, count, width).transpose(1, 0, 2), dtype, ("C", "W"))
    panels = np.zeros((count, k, width), dtype)
    for q in range(count):
        part = b[:, q * width : (q + 1) * width]
        panels[q, :, : part.shape[1]] = part
    return panels


Work = Callable[[Tile], np.ndarray]
"""What gives the (rows, columns) results of a tile."""


def solve(problem: Problem, dtype: np.dtype, work: Work, result: np.dtype, whole_rows: bool = False) -> np.ndarray:
    """(batch, m, n) of `work` on every tile, in threads where there is enough to do.

    Args:
        dtype: of the carrier, for a and b.
        result: the dtype of results.
        whole_rows: whether each tile has all columns.
    """
    batch, m, n = problem.shape
    out = np.empty((batch, m, n), result)
    if not out.size:
        return out
    across = n if whole_rows else COLUMNS * PANELS
    down = max(min(TILE // min(across, n), m), 1)
    count = cpu.threads() if out.size * problem.products >= cpu._THREADED_FROM else 1
    corners = [(top, left) for left in range(0, n, across) for top in range(0, m, down)]

    def one(index: int, top: int, left: int, panels: np.ndarray) -> None:
        rows, columns = slice(top, min(top + down, m)), slice(left, min(left + across, n))
        part = panels[left // panels.shape[2] : -(-columns.stop // panels.shape[2])]
        a = np.require(problem.a[index, rows], dtype, ("C", "W"))  # a read-only array would be compiled for anew
        with np.errstate(all="ignore"):
            out[index, rows, columns] = work(Tile(a, part, index, rows, columns, (index * m + top) * n + left))

    def some(index: int, part: list[tuple[int, int]], panels: np.ndarray) -> None:
        for top, left in part:
            one(index, top, left, panels)

    if batch >= 2 * count:
        shares = [range(batch)[k::count] for k in range(count)]
        cpu.in_threads(lambda at: [some(k, corners, panels_of(problem.b[k], dtype)) for k in at], shares)
        return out
    for index in range(batch):
        panels = panels_of(problem.b[index], dtype)
        shares = [corners[k::count] for k in range(min(count, len(corners)))]
        cpu.in_threads(lambda part, index=index, panels=panels: some(index, part, panels), shares)
    return out


def chunks(products: int, chunk: int) -> Iterator[tuple[int, int]]:
    """First and last product of every chunk."""
    return ((first, min(first + chunk, products)) for first in range(0, products, chunk))


def dtype_of(layout: Layout) -> np.dtype:
    """The NumPy dtype of a carrier."""
    return FLOATS[layout.name]
