"""From statistics to scales, one function for each order of operations.

Everything works on bits of positive host numbers over the grid of scales, in the IEEE arithmetic of
`arithmetic`, one rounding an operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..formats.rounding import ROUNDINGS
from .arithmetic import add, divide, multiply, normalized
from .kernels import round_to_grid
from .layouts import LAYOUTS, Layout
from .numbers import Array, Arrays, convert, count_of, power_bits
from .scaled_tables import ScaledTable, Structure, takes_amax
from .statistics import Statistic, one
from .tables import Grid, Mode, mode_of
from .views import View


@dataclass(frozen=True, slots=True)
class Work:
    """What is static about one pass: dtypes, structure and shapes.

    Args:
        layout: dtype the kernels compute in.
        structure: of the format.
        view: the array as blocks.
        groups: the grid of scales as groups that share an outer scale; None for a single level.
    """

    layout: Layout
    structure: Structure
    view: View
    groups: View | None


class Draw(NamedTuple):
    """How scales are rounded if not as the format says: a mode, and random words over the grid or None."""

    mode: Mode
    words: Array


class BlockScales(NamedTuple):
    """Of each block: arrays over the grid of scales, but `outer` over that of the groups.

    Fields:
        scale: bits of the scale s, a value of its format; NaN where `bad`.
        outer: bits of the outer scale S, or None.
        decode: bits of D, positive and finite; those of 1 where `zero` or `bad`.
        encode: bits of what elements are divided by, or multiplied with; finite and not zero.
        offset: zero points, integers; or None.
        zero: whether D is zero.
        bad: whether every value of the block is NaN.
        micro: exponent bits of nested sub-blocks (g0, ..., gk, n), n to a block, in its order; or ().
    """

    scale: Array
    outer: Array
    decode: Array
    encode: Array
    offset: Array
    zero: Array
    bad: Array
    micro: tuple[Array, ...] = ()


Search = Callable[[Callable[[Array], BlockScales], Array], BlockScales]
"""Picks among the scales that a function makes of each factor; see `scaled_kernels.search`."""


def scales_of(
    xp: Arrays, work: Work, table: ScaledTable, bits: Array, found: Statistic, draw: Draw | None, search: Search
) -> BlockScales:
    """The scales of every block.

    Args:
        bits: (g0, b0, g1, b1, ...) split input.
        found: its statistics.
        draw: another rounding of the scales.
        search: what to do where several scales are tried.
    """
    if work.structure.order == "nvidia":
        return _nvidia(xp, work, table, found, draw)
    if work.structure.order == "hif4":
        return _hif4(xp, work, table, bits, found, draw)
    ideal, outer = _fit(xp, work, table, found, draw), None
    if work.groups is not None:
        outer = _outer(xp, work, work.groups, table, ideal, ~(found.zero | found.bad), draw)
        ideal = divide(xp, work.layout, ideal, _over_grid(xp, work, _safe(xp, work, outer)), largest=True)

    def with_factor(factor: Array) -> BlockScales:
        wanted = multiply(xp, work.layout, ideal, factor + ideal * 0, largest=True)
        s = _rounded(xp, work, table, wanted, draw)
        return _assembled(xp, work, table, found, xp.where(s == 0, table.smallest, s), outer)

    return search(with_factor, ideal) if work.structure.searches > 1 else with_factor(table.factors[0])


def combined(xp: Arrays, work: Work, s: Array, outer: Array) -> Array:
    """Bits of D = s * S, NaN where s is; s itself where there is no outer scale."""
    if outer is None:
        return s
    wide = _over_grid(xp, work, outer)
    product = multiply(xp, work.layout, s, _safe(xp, work, wide), largest=True)
    return xp.where((wide == 0) & (product < work.layout.infinity), 0, product)


def given_scales(
    xp: Arrays, work: Work, table: ScaledTable, decode: Array, offset: Array, micro: tuple[Array, ...]
) -> BlockScales:
    """Scales that the caller brings: bits of D over the grid. Blocks of negative, infinite and NaN scales are NaN."""
    layout = work.layout
    bad = (decode < 0) | (decode >= layout.infinity)
    decode = xp.where(bad, one(layout), decode)
    zero = decode == 0
    encode = add(xp, layout, decode, table.epsilon + decode * 0) if work.structure.epsilon else decode
    decode, encode = _safe(xp, work, decode), _safe(xp, work, encode)
    if work.structure.encode == "reciprocal":
        encode = divide(xp, layout, one(layout) + decode * 0, encode, largest=True)
        encode = xp.where(zero, layout.infinity - 1, encode)
    if work.structure.order == "hif4":
        encode = _in_bfloat16(xp, layout, encode, one(layout) + encode * 0)
    return BlockScales(decode, None, decode, encode, offset, zero, bad, micro)


def _safe(xp: Arrays, work: Work, bits: Array) -> Array:
    """Ones in the place of zeros."""
    return xp.where(bits == 0, one(work.layout), bits)


def _fit(xp: Arrays, work: Work, table: ScaledTable, found: Statistic, draw: Draw | None) -> Array:
    """The ideal scale; its exponent by the rule's linear form, or a quotient or product to be rounded."""
    layout, value = work.layout, found.value
    if work.structure.zero_point:
        value = add(xp, layout, value, found.low, largest=True)
    elif work.structure.exponents and draw is None:
        a, field = normalized(xp, layout, value)
        raised = a + table.fit.add
        carry = xp.integer(raised >= (2 << layout.mantissa_bits))
        fraction = (raised >> carry) - (1 << layout.mantissa_bits)
        above = xp.integer(fraction > table.fit.threshold)
        last = layout.infinity >> layout.mantissa_bits  # infinity, which rounds to the largest scale
        return power_bits(xp, layout, xp.clip(field + carry + above - table.fit.emax, -layout.mantissa_bits, last))
    if work.structure.inverse and draw is None:
        return multiply(xp, layout, value, table.inverse_goal + value * 0, largest=True)
    return divide(xp, layout, value, table.goal + value * 0, largest=True)


def _rounded(xp: Arrays, work: Work, table: ScaledTable, ideal: Array, draw: Draw | None) -> Array:
    mode, words = (table.mode, None) if draw is None else draw
    return round_to_grid(xp, work.layout, table.scale, _nonzero(xp, table.scale, ideal), mode, "saturate", words)


def power_scales(xp: Arrays, layout: Layout, table: ScaledTable, fields: Array) -> Array:
    """Bits of the scales that ideal powers of two 2**(field - bias) become."""
    last = layout.infinity >> layout.mantissa_bits  # infinity, which rounds to the largest scale
    ideal = _nonzero(xp, table.scale, power_bits(xp, layout, xp.clip(fields, -layout.mantissa_bits, last)))
    s = round_to_grid(xp, layout, table.scale, ideal, table.mode, "saturate")
    return xp.where(s == 0, table.smallest, s)


def _nonzero(xp: Arrays, grid: Grid, ideal: Array) -> Array:
    """An ideal scale that underflowed is still positive where the format has no zero to round to."""
    return xp.where((ideal == 0) & ((ideal * 0 + grid.zero) == 0), 1, ideal)


def _nearest(xp: Arrays, layout: Layout, grid: Grid, bits: Array) -> Array:
    mode = mode_of(ROUNDINGS["nearest_even"], layout.work_width)
    return round_to_grid(xp, layout, grid, _nonzero(xp, grid, bits), mode, "saturate")


def _outer(
    xp: Arrays, work: Work, groups: View, table: ScaledTable, ideal: Array, alive: Array, draw: Draw | None
) -> Array:
    """S: the largest ideal scale of a group over `scale_goal`, in the outer format; 0 where there is none."""
    if table.outer is None:
        raise ValueError("a single level of scales has no outer one")
    top = xp.largest(groups.split(xp, xp.where(alive, ideal, 0)), groups.block_axes)
    if takes_amax(work.structure):
        top = xp.where(top * 0 + table.amax < 0, top, _ideal_of_amax(xp, work, table, top, draw))
    quotient = divide(xp, work.layout, _safe(xp, work, top), table.scale_goal + top * 0, largest=True)
    return xp.where(top == 0, 0, _nearest(xp, work.layout, table.outer, quotient))


def _ideal_of_amax(xp: Arrays, work: Work, table: ScaledTable, like: Array, draw: Draw | None) -> Array:
    """The ideal scale of a block whose largest magnitude is the given one; 0 for 0."""
    amax = xp.maximum(like * 0 + table.amax, 0)
    never = amax < 0
    found = Statistic(_safe(xp, work, amax), amax, amax * 0, never, never)
    return xp.where(amax == 0, 0, _fit(xp, work, table, found, draw))


def _over_grid(xp: Arrays, work: Work, outer: Array) -> Array:
    """An array over the groups repeated over the grid of scales."""
    if work.groups is None:
        return outer
    shape = [n for pair in zip(work.groups.grid, work.groups.extents) for n in pair]
    return work.groups.join(xp.broadcast(work.groups.spread(outer), shape))


def _assembled(xp: Arrays, work: Work, table: ScaledTable, found: Statistic, s: Array, outer: Array) -> BlockScales:
    """D, what elements are divided by, zero points, and the answers for blocks that are zero or bad."""
    layout, has_zero = work.layout, (s * 0 + table.scale.zero) == 1
    s = xp.where(found.zero & has_zero, 0, xp.where(found.zero, table.smallest, s))
    decode = s if outer is None else multiply(xp, layout, s, _safe(xp, work, _over_grid(xp, work, outer)), largest=True)
    decode = xp.where(found.bad, one(layout), decode)
    encode = add(xp, layout, decode, table.epsilon + decode * 0) if work.structure.epsilon else decode
    zero, decode, encode = decode == 0, _safe(xp, work, decode), _safe(xp, work, encode)
    offset = _zero_point(xp, layout, table, found.low, decode) if work.structure.zero_point else None
    if work.structure.encode == "reciprocal":
        encode = divide(xp, layout, one(layout) + decode * 0, encode, largest=True)
        encode = xp.where(zero, layout.infinity - 1, encode)
    return BlockScales(xp.where(found.bad, layout.nan, s), outer, decode, encode, offset, zero, found.bad)


def _zero_point(xp: Arrays, layout: Layout, table: ScaledTable, low: Array, decode: Array) -> Array:
    """round(-min / D), clipped to the codes."""
    quotient = divide(xp, layout, low, decode, largest=True)
    levels = _nearest(xp, layout, table.element._replace(max_negative=0), quotient)  # pyright: ignore
    return count_of(xp, layout, levels, layout.bias)


def _nvidia(xp: Arrays, work: Work, table: ScaledTable, found: Statistic, draw: Draw | None) -> BlockScales:
    """NVFP4: S_enc = target * 448 / amax of the tensor, s = E4M3(amax * (S_enc * fl(1 / target))),

    D = s * fl(1 / S_enc), and elements are x * min(fl(1 / D), largest). An amax of zero or infinity gives
    S_enc = 1, too large an S_enc becomes the largest number. A block whose s is zero is zero. Blocks with
    infinities saturate; blocks with NaN are NaN and do not count for the tensor.

    Source: arXiv:2509.25149, appendix C; Transformer Engine's quantize_nvfp4.
    """
    layout = work.layout
    if work.groups is None:
        raise ValueError("the order 'nvidia' needs an outer scale")
    bad = found.top > layout.infinity
    top = xp.where(bad, 0, found.top)
    whole = xp.largest(work.groups.split(xp, top), work.groups.block_axes)
    if takes_amax(work.structure):
        whole = xp.where(whole * 0 + table.amax < 0, whole, table.amax)
    usable = (whole > 0) & (whole < layout.infinity)
    safe = xp.where(usable, whole, one(layout))
    s_enc = xp.where(usable, divide(xp, layout, table.numerator + whole * 0, safe, largest=True), one(layout))
    factor = multiply(xp, layout, s_enc, table.inverse_goal + s_enc * 0, largest=True)
    s = multiply(xp, layout, top, _over_grid(xp, work, factor))
    s = _rounded(xp, work, table, s, draw)
    outer = divide(xp, layout, one(layout) + s_enc * 0, s_enc)
    outer = outer if table.outer is None else _nearest(xp, layout, table.outer, outer)
    decode = multiply(xp, layout, s, _over_grid(xp, work, outer), largest=True)
    zero = decode == 0
    decode = xp.where(zero | bad, one(layout), decode)
    encode = divide(xp, layout, one(layout) + decode * 0, decode, largest=True)
    encode = xp.where(zero, layout.infinity - 1, encode)
    return BlockScales(xp.where(bad, layout.nan, s), outer, decode, encode, None, zero, bad)


def _hif4(xp: Arrays, work: Work, table: ScaledTable, bits: Array, found: Statistic, draw: Draw | None) -> BlockScales:
    """HiF4: s = E6M2(bf16(amax * bf16(1 / 7))), r = bf16(1 / s); a sub-block of 8 is doubled where its

    amax * r >= 4, then one of 4 where amax * r / (1 or 2) >= 2. D = s * those, elements are x * (r / those).

    Source: arXiv:2602.11287.
    """
    layout = work.layout
    seventh = convert(xp, LAYOUTS["bfloat16"], layout, xp.array([0x3E12]))  # bf16(1 / 7)
    wanted = _in_bfloat16(xp, layout, found.value, seventh + found.value * 0)
    s = _rounded(xp, work, table, _safe(xp, work, wanted), draw)
    s = xp.where(found.zero | (wanted == 0), table.smallest, xp.where(found.bad, one(layout), s))
    whole = divide(xp, layout, one(layout) + s * 0, s)
    reciprocal = _in_bfloat16(xp, layout, whole, one(layout) + s * 0)
    magnitude = work.view.rows(xp, bits & layout.magnitude_mask)
    micro, spent = [], reciprocal[..., None]
    for size, threshold in zip(work.structure.micro, (4.0, 2.0)):
        parts = magnitude.reshape(*magnitude.shape[:-1], -1, size)
        top = xp.largest(parts, (parts.ndim - 1,))
        spent = _repeated(xp, spent, top.shape)
        scaled = multiply(xp, layout, xp.where(found.bad[..., None], 0, top), spent)
        doubled = xp.integer(scaled >= _power(layout, threshold))
        micro.append(doubled)
        spent = spent - (doubled << layout.mantissa_bits)  # halved: far from the smallest normal
    false = found.bad & False
    return BlockScales(xp.where(found.bad, layout.nan, s), None, s, reciprocal, None, false, found.bad, tuple(micro))


def _in_bfloat16(xp: Arrays, layout: Layout, x: Array, y: Array) -> Array:
    """x * y rounded once to bfloat16, as bits of the compute dtype."""
    bfloat = LAYOUTS["bfloat16"]
    return convert(xp, bfloat, layout, multiply(xp, layout, x, y, target=bfloat))


def _power(layout: Layout, value: float) -> int:
    return (layout.bias + int(value).bit_length() - 1) << layout.mantissa_bits


def _repeated(xp: Arrays, a: Array, shape: tuple[int, ...]) -> Array:
    """a (..., n) with each element repeated along the last axis to fill the shape."""
    times = shape[-1] // a.shape[-1]
    return xp.broadcast(a[..., None], (*a.shape, times)).reshape(shape)
