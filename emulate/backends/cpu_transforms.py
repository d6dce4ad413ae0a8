"""Drives the Hadamard transform over CPU buffers: compiled, in threads, by pieces that stay in the cache.

Where the processor flushes subnormals the portable transform runs instead, in integer arithmetic.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..transform_kernels import TransformPlan, transformed
from . import cpu
from .integers import NumpyIntegers
from .numpy import BITS, FLOATS

PIECE = 1 << 16
"""Elements of a piece: what goes through scratch memory at a time, if a block is no longer."""


@dataclass(frozen=True, slots=True)
class Part:
    """Blocks lo to hi of a cube (blocks, size, columns), and of each the columns left to right."""

    lo: int
    hi: int
    left: int
    right: int

    @property
    def index(self) -> tuple[slice, slice, slice]:
        """Of the cube."""
        return slice(self.lo, self.hi), slice(None), slice(self.left, self.right)

    def split(self, most: int) -> Iterator["Part"]:
        """Parts of at most `most` columns, counted over all blocks."""
        columns = self.right - self.left
        width, step = max(min(most, columns), 1), max(most // max(columns, 1), 1)
        for lo in range(self.lo, self.hi, step):
            for left in range(self.left, self.right, width):
                yield Part(lo, min(lo + step, self.hi), left, min(left + width, self.right))


def transform(x: np.ndarray, out: np.ndarray, plan: TransformPlan, negative: np.ndarray | None) -> None:
    """Write the transform of x to out.

    Args:
        x: row-major array of the source dtype.
        out: row-major, of the target dtype in the shape of x; may be x itself.
        negative: (size,) which signs are negative, or None.
    """
    shape = plan.cube(x.shape)
    if not x.size:
        return
    cube, target = x.reshape(shape), out.reshape(shape)
    if cpu.flushes():
        in_integers(cube, target, plan, negative)
        return
    direct = plan.source is plan.layout is plan.target
    call = Compiled(plan, negative)

    def work(part: Part) -> None:
        if direct:
            call(cube, target, part)
            return
        for piece in part.split(max(PIECE // plan.size, 1)):
            scratch = np.empty(cube[piece.index].shape, FLOATS[plan.layout.name])
            call.load(cube, scratch, piece)
            store(scratch, target[piece.index])

    cpu.in_threads(work, _shares(shape))


def _shares(shape: tuple[int, int, int]) -> list[Part]:
    """A part of a cube for each thread: of its blocks, or of the columns where blocks are too few."""
    blocks, _, columns = shape
    count = len(cpu.bounds(prod(shape), 1)) - 1
    by_columns = blocks < count <= columns
    ends = itertools.pairwise((columns if by_columns else blocks) * k // count for k in range(count + 1))
    return [Part(0, blocks, *share) if by_columns else Part(*share, 0, columns) for share in ends]


class Compiled:
    """The compiled transform of one plan, over cubes."""

    def __init__(self, plan: TransformPlan, negative: np.ndarray | None) -> None:
        floats = FLOATS[plan.layout.name].type
        self.plan, self.floats = plan, floats
        self.signs = None if negative is None else np.where(negative, floats(-1), floats(1))
        self.numbers = floats(plan.hadamard.scale), floats(np.nan)

    def arguments(self, columns: int) -> tuple[Any, Any, Any, Any]:
        """Signs, inverse, scale and NaN as the kernel for that many columns takes them."""
        from .numba_transforms import TILE

        signs = self.signs
        if signs is not None and columns == 1:
            signs = np.tile(signs, max(TILE // signs.size, 1))
        return signs, self.plan.inverse, *self.numbers

    def __call__(self, x: np.ndarray, out: np.ndarray, part: Part) -> None:
        """Transform a part of x, row-major in the compute dtype, to the same part of out, likewise."""
        from .numba_transforms import transform_columns, transform_rows

        x, out, rest = x[part.lo : part.hi], out[part.lo : part.hi], self.arguments(x.shape[2])
        if x.shape[2] == 1:
            transform_rows(x.reshape(-1), out.reshape(-1), self.plan.size, *rest)
        else:
            transform_columns(x, out, part.left, part.right, *rest)

    def load(self, x: np.ndarray, scratch: np.ndarray, part: Part) -> None:
        """Transform a part of x, row-major in the source dtype, to scratch memory of the part's shape."""
        whole = Part(0, scratch.shape[0], 0, scratch.shape[2])
        if self.plan.source is self.plan.layout and scratch.shape[2] == x.shape[2]:
            self(x[part.lo : part.hi], scratch, whole)
            return
        with np.errstate(invalid="ignore"):  # signalling NaN
            scratch[...] = x[part.index]
        self(scratch, scratch, whole)


def store(values: np.ndarray, out: np.ndarray) -> None:
    """Round values once to the dtype of out, out of range to infinity."""
    with np.errstate(over="ignore", under="ignore"):
        out[...] = values


def in_integers(x: np.ndarray, out: np.ndarray, plan: TransformPlan, negative: np.ndarray | None) -> None:
    """The portable transform of a cube, by pieces that bound its temporaries."""
    xp = NumpyIntegers(plan.layout.work_width)
    flips = None if negative is None else np.where(negative, -1 << (xp.width - 1), 0).astype(xp.dtype)
    flat = TransformPlan(plan.hadamard, -2, plan.inverse, plan.source, plan.layout, plan.target)
    bits, target = x.view(BITS[plan.source.width]), out.view(BITS[plan.target.width])
    for piece in Part(0, x.shape[0], 0, x.shape[2]).split(max(PIECE // plan.size, 1)):
        target[piece.index] = transformed(xp, flat, bits[piece.index].astype(xp.dtype), flips)
