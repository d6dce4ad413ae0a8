"""What the numbers of a block are reduced to: order-independent where it can be, in a stated order where not.

Maxima and order statistics are taken of bits as integers, so nothing depends on the order. A mean adds float32
(float64 for float64 input) by halves: the block, padded with zeros to a power of two, has its second half added
to its first until one number is left. Before that it is scaled by the power of two of its largest magnitude, and
magnitudes below 2**-100 of that count as zero, so that no sum overflows or is subnormal.
"""

from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from .arithmetic import divide, normalized
from .layouts import Layout
from .numbers import Array, Arrays, with_sign
from .scaled_tables import ScaledTable, Structure, nearest_bits, takes_amax
from .views import View

SMALLEST_TERM = 100
"""Terms of a mean below 2**-100 of the largest count as zero."""


class Statistic(NamedTuple):
    """Of each block; all over the grid of scales.

    Fields:
        value: positive finite bits; those of 1 where `zero` or `bad`.
        top: bits of the largest magnitude, infinities and NaN included.
        low: bits of minus the smallest number of the range, for zero points.
        zero: whether the statistic is zero.
        bad: whether the block holds NaN or, where scales follow the data, an infinity.
    """

    value: Array
    top: Array
    low: Array
    zero: Array
    bad: Array


def one(layout: Layout) -> int:
    """Bits of 1."""
    return layout.bias << layout.mantissa_bits


def statistic(
    xp: Arrays, layout: Layout, structure: Structure, table: ScaledTable, view: View, bits: Array
) -> Statistic:
    """The statistic of every block.

    Args:
        bits: (g0, b0, g1, b1, ...) split input.

    Returns:
        Arrays over the grid.
    """
    magnitude = bits & layout.magnitude_mask
    top = xp.largest(magnitude, view.block_axes)
    if structure.statistic == "static":
        never = top < 0
        return Statistic(top * 0 + table.static, top, top * 0, never, never)
    if structure.outer is None and takes_amax(structure):
        top = xp.where((top >= layout.infinity) | (top * 0 + table.amax < 0), top, table.amax)
    bad = top >= layout.infinity
    low = top * 0
    if structure.zero_point:
        low = xp.largest(xp.where(bits < 0, magnitude, 0), view.block_axes)
        high = xp.largest(xp.where(bits < 0, 0, magnitude), view.block_axes)
        high = xp.where(bad | (top == 0), one(layout), high)
        return Statistic(high, top, xp.where(bad, 0, low), top == 0, bad)
    value = top
    if structure.statistic == "mean":
        value = _mean(xp, layout, view, magnitude, xp.where(bad, one(layout), top))
    elif structure.statistic == "percentile":
        value = _percentile(xp, view, magnitude, structure.percentile or 100.0)
    zero = (value == 0) & ~bad
    return Statistic(xp.where(zero | bad, one(layout), value), top, low, zero, bad)


def relative(xp: Arrays, layout: Layout, bits: Array, field: Array, smallest: int) -> Array:
    """Bits of x * 2**-(field - bias), zero where that is below 2**-smallest; exact."""
    magnitude = bits & layout.magnitude_mask
    a, own = normalized(xp, layout, magnitude)
    moved = own - field + layout.bias
    scaled = ((moved - 1) << layout.mantissa_bits) + a
    return with_sign(xp, layout, xp.where((a == 0) | (moved < layout.bias - smallest), 0, scaled), bits < 0)


def total(xp: Arrays, floats: Any) -> Any:
    """Sum over the last axis, by halves."""
    n = floats.shape[-1]
    size = 1 << max(n - 1, 0).bit_length()
    if size > n:
        floats = xp.pad(floats, [*[0] * (floats.ndim - 1), size - n])
    while size > 1:
        size //= 2
        floats = floats[..., :size] + floats[..., size:]
    return floats[..., 0]


def _mean(xp: Arrays, layout: Layout, view: View, magnitude: Array, top: Array) -> Array:
    """Mean magnitude: the sum by halves divided by the count, which is rounded to the dtype where it is huge."""
    _, field = normalized(xp, layout, top)
    rows = relative(xp, layout, view.rows(xp, magnitude), field[..., None], SMALLEST_TERM)
    sums = xp.bits(total(xp, xp.floats(rows)))
    counts = xp.array(np.vectorize(lambda n: nearest_bits(layout, Fraction(int(n))), otypes=[np.int64])(view.counts()))
    return divide(xp, layout, sums, counts, exponent=field - layout.bias)


def _percentile(xp: Arrays, view: View, magnitude: Array, percent: float) -> Array:
    """The ceil(percent / 100 * n)-th smallest magnitude; padding, first in order, is not counted."""
    ordered = xp.sorted(view.rows(xp, magnitude))
    counts = view.counts()
    share = Fraction(repr(percent)) / 100  # as it was written: in floats, 7 / 100 * 100 is more than 7
    rank = np.vectorize(lambda n: max(ceil(share * int(n)), 1), otypes=[np.int64])(counts)
    return xp.pick(ordered, xp.broadcast(xp.array(view.block_size - counts + rank - 1), view.grid))
