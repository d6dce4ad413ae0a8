"""An array seen as blocks: (g0, b0, g1, b1, ...) with g blocks of b elements along each axis.

Broadcasting a grid of scales (g0, 1, g1, 1, ...) against it gives each element the scale of its block. Where the
last block of an axis is ragged the array is padded with zeros, which the results leave out again.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..formats.blocks import Blocks
from ..formats.scaled import TENSOR
from .numbers import Arrays


@dataclass(frozen=True, slots=True)
class View:
    """How an array of some shape splits into blocks.

    Args:
        shape: of the array.
        lengths: of the axes that are split; the flattened length for flat blocks.
        extents: of a block along each of them.
    """

    shape: tuple[int, ...]
    lengths: tuple[int, ...]
    extents: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Blocks along each axis: the shape of the scales."""
        return tuple(-(-length // extent) for length, extent in zip(self.lengths, self.extents))

    @property
    def block_size(self) -> int:
        """Elements of a whole block."""
        return prod(self.extents)

    @property
    def padding(self) -> tuple[int, ...]:
        """Zeros to add at the end of each axis."""
        return tuple(g * b - n for g, b, n in zip(self.grid, self.extents, self.lengths))

    @property
    def block_axes(self) -> tuple[int, ...]:
        """Axes of the split array that run inside blocks."""
        return tuple(range(1, 2 * len(self.grid), 2))

    def split(self, xp: Arrays, a: Any) -> Any:
        """(g0, b0, g1, b1, ...) of an array of `shape`."""
        a = a.reshape(self.lengths)
        if any(self.padding):
            a = xp.pad(a, self.padding)
        return a.reshape([n for pair in zip(self.grid, self.extents) for n in pair])

    def join(self, a: Any) -> Any:
        """Back from `split`."""
        a = a.reshape([g * b for g, b in zip(self.grid, self.extents)])
        return a[tuple(slice(n) for n in self.lengths)].reshape(self.shape)

    def spread(self, a: Any) -> Any:
        """(g0, 1, g1, 1, ...) of an array over the grid."""
        return a.reshape([n for g in self.grid for n in (g, 1)])

    def rows(self, xp: Arrays, a: Any) -> Any:
        """(g0, g1, ..., block size) of a split array: each block in one row, in row-major order."""
        depth = len(self.grid)
        order = [*range(0, 2 * depth, 2), *range(1, 2 * depth, 2)]
        return xp.transpose(a, order).reshape(*self.grid, self.block_size)

    def unrows(self, xp: Arrays, a: Any) -> Any:
        """Back from `rows` to (g0, b0, g1, b1, ...)."""
        depth = len(self.grid)
        order = [k // 2 + depth * (k % 2) for k in range(2 * depth)]
        return xp.transpose(a.reshape(*self.grid, *self.extents), order)

    def inside(self, xp: Arrays) -> Any:
        """Whether an element of the split array is one of the array, and no padding; broadcasts to it."""
        found = np.ones((1,) * (2 * len(self.grid)), bool)
        for axis, (g, b, n, missing) in enumerate(zip(self.grid, self.extents, self.lengths, self.padding)):
            if missing:
                along = (np.arange(g * b) < n).reshape(
                    [m for k in range(len(self.grid)) for m in ((g, b) if k == axis else (1, 1))]
                )
                found = found & along
        return xp.array(found) == 1

    def counts(self) -> np.ndarray:
        """How many elements of the array each block has: over the grid, or one number for all."""
        found = np.ones((1,) * len(self.grid), np.int64)
        for axis, (b, n, missing) in enumerate(zip(self.extents, self.lengths, self.padding)):
            along = np.minimum(b, n - b * np.arange(self.grid[axis])) if missing else np.array([b])
            found = found * along.reshape([-1 if k == axis else 1 for k in range(len(self.grid))])
        return found


def view_of(blocks: Blocks, shape: tuple[int, ...], pad: bool, name: str) -> View:
    """The view of an array of that shape.

    Raises:
        ValueError: an axis the array does not have, or a last block that is not whole where pad is False.
    """
    extents = blocks.extents(shape)
    lengths = (prod(shape),) if blocks.flat else shape
    view = View(shape, lengths, extents) if lengths else View(shape, (1,), (1,))
    if any(view.padding) and not pad:
        axis = next(k for k, missing in enumerate(view.padding) if missing)
        whole = view.lengths[axis] + view.padding[axis]
        where = "the flattened array" if blocks.flat else f"axis {axis - len(shape)}"
        raise ValueError(
            f"{name} needs {where} to be a multiple of {extents[axis]}, got shape {shape}; "
            f"pad to {whole} or pass pad=True"
        )
    return view


def grouped(view: View, blocks: Blocks, name: str) -> View:
    """The view of the grid of scales by which an outer scale groups them.

    Raises:
        ValueError: groups that do not consist of whole blocks.
    """
    inner, outer = view.extents, blocks.extents(view.shape)
    flattened = len(view.lengths) == 1
    if blocks.flat and not flattened:
        raise ValueError(f"{name}: flat groups need flat blocks; group by axes instead")
    if blocks == TENSOR:
        outer = tuple(max(n, 1) for n in view.lengths)
    elif flattened and len(view.shape) != 1 and not blocks.flat:
        raise ValueError(f"{name}: flat blocks need flat groups or one for the whole tensor, got {blocks.spec}")
    if any(o % i and o < n for o, i, n in zip(outer, inner, view.lengths)):
        raise ValueError(f"{name}: an outer group consists of whole blocks, got {outer} around {inner}")
    return View(view.grid, view.grid, tuple(-(-o // i) for o, i in zip(outer, inner)))
