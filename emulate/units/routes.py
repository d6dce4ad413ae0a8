"""Where and how the products and sums of a call are computed so that each is rounded once, as if it were exact.

Values are kept in a carrier, float32 or float64, in which products of the operands are exact. The sum of two numbers
in the carrier may be rounded again to the format where it is exact there; where both round to nearest and the carrier
has 2p + 2 bits for p of the format and of both numbers; or where it is to odd and the carrier has p + 2 bits (see
`rounded.context`). What the operands take is read off the data, so that float32 serves more often than their formats
promise; it decides about speed, never about a result.
"""

from dataclasses import dataclass

import numpy as np

from ...formats.floats import FLOATS, IEEE, FloatFormat
from ...formats.listing import is_listed
from ...formats.rounding import ROUNDINGS, Rounding
from ..backends import cpu
from ..layouts import FLOAT32, FLOAT64, Layout, fits
from ..rounded.context import Arithmetic, extent
from ..tables import Grid, mode_of, tabulate
from .span import Span, normal_only

NATIVE, ADDED, SHIFTED, GENERAL = range(4)
DIRECT, ODD, FUSED = range(3)
"""As in `backends.numba_units`."""

BINARY32 = FLOATS[0]
_NEAREST = ("nearest_even", "nearest_away", "nearest_zero")


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A compiled kernel and what it reads.

    Args:
        carrier: dtype of operands and sums.
        kind, total: which rounding and which sum, see `backends.numba_units`.
        rounds: whether products are rounded.
        negated: whether -a goes in and the negative of the result comes out: rounding down by rounding up, where
            sums of zero are -0.
        rounding: the one of the kernel: up, where down is asked for and operands are negated.
        cut: of the carrier's integers, see `cut_of`.
        parameters: of `cpu.parameters`.
    """

    carrier: Layout
    kind: int
    total: int
    rounds: bool
    negated: bool
    rounding: Rounding
    cut: np.ndarray
    parameters: np.ndarray


def route_for(arithmetic: Arithmetic, a: Span, b: Span, fma: bool, pairwise: bool, flushes: bool) -> Route | None:
    """The way of sums of products in a format; None where only single operations on arrays are exact.

    Args:
        a, b: what the operands take.
        flushes: whether the processor flushes subnormals.
    """
    native = _native(arithmetic, a, b, fma, pairwise, flushes)
    if native is not None or is_listed(arithmetic.fmt) or arithmetic.rounding.stochastic:
        return native
    for layout in (FLOAT32, FLOAT64):
        found = _in_carrier(arithmetic, a, b, fma, layout, flushes)
        if found is not None:
            return found
    return None


def carrier_of_binary(arithmetic: Arithmetic) -> Layout | None:
    """The dtype whose own operations are those of the arithmetic."""
    if arithmetic.native:
        return FLOAT64
    nearest = arithmetic.rounding.name == "nearest_even" and arithmetic.overflow == "special"
    return FLOAT32 if nearest and arithmetic.fmt == BINARY32 else None


def _native(arithmetic: Arithmetic, a: Span, b: Span, fma: bool, pairwise: bool, flushes: bool) -> Route | None:
    layout = carrier_of_binary(arithmetic)
    if layout is None or not all(x.inside(layout, flushes) for x in (a, b)):
        return None
    product = a * b
    if flushes and product.quantum < 1 - layout.bias:
        return None
    exact = product.inside(layout, flushes)
    if fma and pairwise and not exact:  # the sum of two products is no fused multiply-add
        return None
    nothing = np.zeros(40, np.int32 if layout is FLOAT32 else np.int64)
    return Route(
        layout, NATIVE, FUSED if fma and not exact else DIRECT, False, False, arithmetic.rounding, nothing, nothing
    )


def _in_carrier(arithmetic: Arithmetic, a: Span, b: Span, fma: bool, layout: Layout, flushes: bool) -> Route | None:
    fmt, normal = arithmetic.fmt, normal_only(flushes, layout)
    product, values = a * b, Span.of(extent(fmt))
    if not fits(fmt, layout) or not all(x.inside(layout, normal) for x in (a, b, product)):
        return None
    negated = arithmetic.rounding.name == "down" and fmt.has_negative_zero
    rounding = ROUNDINGS["up"] if negated else arithmetic.rounding
    p = _parameters(Arithmetic(fmt, rounding, arithmetic.overflow), layout)
    total = _sum_of(arithmetic, product, values, fma, layout, normal)
    if p is None or total is None:
        return None
    cut = cut_of(arithmetic, layout, p)
    kind = GENERAL if cut is None else ADDED if cut[3] else SHIFTED
    if kind == GENERAL:  # one program for all, as sums cost little beside the rest
        total = ODD if values.bits + 2 <= layout.mantissa_bits + 1 else total
    cut = np.zeros(10, p.dtype) if cut is None else cut
    rounds = not fma and not _holds(arithmetic, values, product)
    return Route(layout, kind, total, rounds, negated, rounding, cut, p)


def _sum_of(arithmetic: Arithmetic, product: Span, values: Span, fma: bool, layout: Layout, normal: bool) -> int | None:
    """How to add numbers of the format, products where `fma`, before rounding; None where the carrier will not do."""
    terms = values | product if fma else values
    total, bits = terms.total(2), layout.mantissa_bits + 1
    nearest = arithmetic.rounding.name in _NEAREST
    # beyond the carrier's range a sum is infinite, and the result that of an infinity
    beyond = nearest and arithmetic.overflow in ("special", "saturate") and values.top == layout.bias
    in_range = total.top <= layout.bias or (beyond and not (fma and product.top >= layout.bias))
    if not in_range or terms.quantum < (1 - layout.bias if normal else layout.quantum_exponent):
        return None
    if total.bits <= bits:
        return DIRECT
    if nearest and not fma and 2 * values.bits + 2 <= bits:
        return DIRECT
    return ODD if values.bits + 2 <= bits else None


def _holds(arithmetic: Arithmetic, values: Span, product: Span) -> bool:
    """Whether every product is a value of the format, so that rounding would not change it."""
    fmt = arithmetic.fmt
    keeps_infinities = arithmetic.overflow == "special" and fmt.infinity_code is not None
    inside = (
        (product.finite or keeps_infinities)
        and product.bits <= values.bits
        and product.quantum >= values.quantum
        and product.top < values.top
    )
    return inside and fmt.min < 0 and getattr(fmt, "subnormals", True)


def _parameters(arithmetic: Arithmetic, layout: Layout) -> np.ndarray | None:
    table = tabulate(arithmetic.fmt, layout, arithmetic.overflow)
    if not isinstance(table, Grid):
        return None
    mode = mode_of(arithmetic.rounding, layout.work_width)
    return cpu.parameters(table, layout, mode, arithmetic.overflow, -1)


def cut_of(arithmetic: Arithmetic, layout: Layout, p: np.ndarray) -> np.ndarray | None:
    """The short ways to round to nearest even: (exponent mask, least and largest exponent, what to raise it by, limit,
    what is beyond it, sign; how many bits to drop, half of them less one, mask of those kept). None where neither does.

    To raise by nothing stands for the second way: a format with the exponents of the carrier.
    """
    fmt, m = arithmetic.fmt, layout.mantissa_bits
    if not isinstance(fmt, FloatFormat) or arithmetic.rounding.name != "nearest_even":
        return None
    drop = m - fmt.mantissa_bits
    plain = fmt.signed and fmt.subnormals and fmt.mantissa_bits >= 1 and drop >= 1
    if not plain or not cpu.same_on_both_sides(p) or p[14] != p[16] or p[18] == 0:
        return None
    largest = max(extent(fmt).top, fmt.min_exponent)
    sign = -1 << (layout.width - 1)
    rest = (drop, (1 << (drop - 1)) - 1, ~((1 << drop) - 1))
    short = layout is FLOAT32 and fmt.specials == IEEE
    if short and arithmetic.overflow == "special" and fmt.bias == layout.bias and largest == layout.bias:
        return np.array([0, 0, 0, 0, 0, 0, sign, *rest], np.int64).astype(p.dtype)
    if largest + drop > layout.bias:
        return None
    low, high = (fmt.min_exponent + layout.bias) << m, (largest + layout.bias) << m
    return np.array([layout.infinity, low, high, drop << m, p[12], p[14], sign, *rest], np.int64).astype(p.dtype)
