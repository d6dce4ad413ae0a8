"""The Hadamard transform once, over bits in an array namespace, and what it is asked for.

A block x of `size` elements takes its signs, then log2(size) stages of butterflies with half-distances
h = 1, 2, 4, ..., size / 2,

    x[j], x[j + h] = x[j] + x[j + h], x[j] - x[j + h]        where bit h of j is 0

each sum one IEEE operation with gradual underflow, then one multiplication by 1 / sqrt(size) rounded to the
compute dtype. The inverse takes its signs last. NaN are canonical.

Stages run in a geometry that stays the same: each adds neighbours, writes the sums into the first half and the
differences into the second. The bit of an index that a stage consumed becomes the highest, so that after log2(size)
stages every bit is back in its place, and the sums are those above.

Source: M. C. Pease, An adaptation of the fast Fourier transform for parallel processing, JACM 15 (1968).
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..formats.transform import Hadamard
from .arithmetic import multiply, plus
from .layouts import LAYOUTS, Layout
from .numbers import Array, Arrays, convert


@dataclass(frozen=True, slots=True)
class TransformPlan:
    """One transform, all names resolved.

    Args:
        hadamard: size and kind of signs.
        axis: it runs along, counted from the end: -1, -2, ...
        inverse: signs last.
        source: dtype of the input.
        layout: dtype it computes in, float64 for float64 and otherwise float32.
        target: dtype of the result, to which numbers of `layout` are rounded once more.
    """

    hadamard: Hadamard
    axis: int
    inverse: bool
    source: Layout
    layout: Layout
    target: Layout

    @property
    def size(self) -> int:
        """Elements of a block."""
        return self.hadamard.size

    @property
    def scale_bits(self) -> int:
        """Bits of 1 / sqrt(size) in the compute dtype."""
        wide, narrow = np.float64(self.hadamard.scale), np.float32(self.hadamard.scale)
        return int(wide.view(np.int64) if self.layout.width == 64 else narrow.view(np.int32))

    @property
    def transposed(self) -> "TransformPlan":
        """The transposed linear map, which takes gradients of the result to those of the input."""
        return TransformPlan(self.hadamard, self.axis, not self.inverse, self.target, self.layout, self.source)

    def cube(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(blocks, size, neighbours): the row-major array of that shape with blocks along the middle axis."""
        inner = prod(shape[len(shape) + self.axis + 1 :])
        return prod(shape) // (self.size * inner) if inner else 0, self.size, inner


def make_transform_plan(
    hadamard: Hadamard, shape: tuple[int, ...], axis: int, inverse: bool, source: Layout, target: Layout
) -> TransformPlan:
    """Check axis and shape.

    Raises:
        ValueError: an axis the array does not have, or one that does not consist of whole blocks.
        TypeError: an axis that is no integer.
    """
    if not isinstance(axis, int):
        raise TypeError(f"{hadamard.spec} runs along one axis, got axis={axis!r}")
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{hadamard.spec} needs axis {axis}, got an array of shape {shape}")
    if length := shape[axis] % hadamard.size:
        whole = shape[axis] - length + hadamard.size
        raise ValueError(
            f"{hadamard.spec} needs axis {axis} to be a multiple of {hadamard.size}, got shape {shape}; "
            f"pad the array to {whole} or take a smaller transform"
        )
    layout = LAYOUTS["float64" if source.width == 64 else "float32"]
    return TransformPlan(hadamard, axis if axis < 0 else axis - len(shape), inverse, source, layout, target)


def transformed(xp: Arrays, plan: TransformPlan, bits: Array, flips: Array) -> Array:
    """Signed bits of the transform in the target dtype.

    Args:
        bits: bits of the source dtype, in any shape with whole blocks.
        flips: (size,) sign bits to flip, as integers of xp.width, or None.
    """
    layout, shape = plan.layout, tuple(bits.shape)
    blocks, size, inner = plan.cube(shape)
    x = bits if plan.source is layout else convert(xp, plan.source, layout, bits)
    x = x.reshape(blocks, size, inner)
    if flips is not None and not plan.inverse:
        x = x ^ flips.reshape(1, size, 1)
    lowest = -1 << (xp.width - 1)
    differences = xp.array(np.array([0, lowest])).reshape(1, 1, 2, 1)

    def stage(_: Any, x: Array) -> Array:
        pairs = x.reshape(blocks, size // 2, 2, inner)
        results = plus(xp, layout, pairs[:, :, :1], pairs[:, :, 1:] ^ differences)
        return xp.transpose(results, (0, 2, 1, 3)).reshape(blocks, size, inner)

    x = xp.repeat(size.bit_length() - 1, stage, x)
    x = multiply(xp, layout, x, plan.scale_bits + x * 0)
    if flips is not None and plan.inverse:
        x = xp.where((x & layout.magnitude_mask) > layout.infinity, x, x ^ flips.reshape(1, size, 1))
    return delivered(xp, plan, x).reshape(shape)


def delivered(xp: Arrays, plan: TransformPlan, bits: Array) -> Array:
    """Bits of the compute dtype in the target dtype, rounded where that is narrower."""
    layout, target = plan.layout, plan.target
    if target is layout:
        return bits
    if target.width > layout.width:
        return convert(xp.wider(), layout, target, xp.wider().integer(bits))
    return multiply(xp, layout, bits, (layout.bias << layout.mantissa_bits) + bits * 0, target=target)
