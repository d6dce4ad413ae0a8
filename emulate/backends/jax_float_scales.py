"""Elements of scaled formats in JAX by few steps: one float product or quotient, exact at every magnitude.

The portable kernels compute x / D and q * D in integers, and round on grids that are moved by the scale of a block.
Here powers of two are taken off first, which is integer arithmetic on exponents,

    D = d * 2**j, 1 <= d < 2        x / D = (x * 2**-j) / d        q * D = (q * d) * 2**j

so that the floats in between lie far from the ends of the range, where XLA flushes and its operations are those of
IEEE 754, and every element is rounded on one grid. That serves roundings under which what is far smaller than the
smallest element becomes zero: to nearest, towards zero and at random with 32 bits; and formats of moderate range.

q * d is rounded to 24 bits. Where q * D is a subnormal that would be a rounding before the last one: its error, exact
because the halves of d have 12 bits, decides ties then. Pinned bit for bit to NumPy's kernels.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...formats.listing import is_listed
from ...formats.rounding import ROUNDINGS, STOCHASTIC, Rounding
from ...formats.scaled import ScaledFormat
from ..arithmetic import narrow
from ..layouts import FLOAT32, Layout
from ..scaled_plan import ScaledPlan
from ..scaled_tables import ScaledTable, Structure, tabulate_scaled
from ..scales import BlockScales, Work
from ..statistics import Statistic
from ..tables import Grid, Mode, mode_of
from .jax_fence import fenced
from .jax_integers import JaxIntegers
from .jax_rounding import Short, short_of
from .jax_short_scales import ScaleNumbers
from .jax_short_scales import serves as serves_scales
from .jax_significands import BIAS, FRACTION, HALF, LEADING, M, apart, as_floats, extended, halves, risen, room_and_rise

_MODES = ("nearest_even", "nearest_away", "nearest_zero", "toward_zero")
_SMALLEST, _LARGEST = -60, 80
"""Powers of two between which elements lie."""
_CEILING = 90
"""Quotients beyond 2**90 saturate all the same."""
_FLOOR = -120
"""Exponent field below which nothing matters: times 2**149, the most there is, it is below 2**-37 of any element."""
_SIGN = -1 << 31


class Near(NamedTuple):
    """What is read of a format and a rounding.

    Fields:
        element: of elements. scales: of their scales, or None where `jax_short_scales` does not find them.
    """

    element: Short
    scales: ScaleNumbers | None


def near_for(plan: ScaledPlan) -> Near | None:
    """Of a format and a rounding that are no data; None where the kernel does not serve."""
    exact = plan.target is FLOAT32 or (plan.structure.shifts and plan.target.width == 16)
    if not exact or plan.layout is not FLOAT32 or plan.overflow != "saturate":
        return None
    if not isinstance(plan.fmt, ScaledFormat) or not isinstance(plan.rounding, Rounding):
        return None
    return near_of(plan.fmt, plan.structure, plan.rounding)


@lru_cache(maxsize=1024)
def near_of(fmt: ScaledFormat, structure: Structure, rounding: Rounding) -> Near | None:
    """Of a format over float32 and a rounding of its elements; None where the kernel does not serve."""
    if is_listed(fmt.element) or structure.zero_point or structure.micro:
        return None
    if rounding.name not in _MODES and rounding != STOCHASTIC:
        return None
    table = tabulate_scaled(fmt, FLOAT32)
    grid: Any = table.element
    largest = max(grid.max_positive, grid.max_negative) >> M
    lowest, highest = grid.quantum_field - BIAS, largest - BIAS
    precision = min(grid.mantissa_bits, largest - grid.quantum_field) + 1
    if lowest < _SMALLEST or highest >= _LARGEST or not (structure.shifts or precision <= HALF):
        return None
    element = _short(grid, mode_of(rounding, FLOAT32.work_width))
    return None if element is None else Near(element, _scale_numbers(structure, table))


def _scale_numbers(structure: Structure, table: ScaledTable) -> ScaleNumbers | None:
    nearest = mode_of(ROUNDINGS["nearest_even"], FLOAT32.work_width)
    scale, outer = _short(table.scale, table.mode), None if table.outer is None else _short(table.outer, nearest)
    if not serves_scales(structure) or scale is None or (outer is None and table.outer is not None):
        return None
    return ScaleNumbers(scale, outer)


def _short(grid: Grid, mode: Mode) -> Short | None:
    found = short_of(grid, FLOAT32, mode, "saturate")
    return None if found is None else Short(*(np.asarray(number, np.int32) for number in found))


class Factors(NamedTuple):
    """What blocks multiply and divide by, over the grid; see above.

    Fields:
        j: exponents of decoding scales. bad: whether every value is NaN.
        move: what is added to exponents of elements first.
        ceiling: exponent fields beyond which elements saturate, or 0 where none is to be left.
        d, e: bits of the significands of decoding and encoding scales as numbers from 1 to 2; None where all are 1.
        zero: whether values are zero.
    """

    j: jax.Array
    bad: jax.Array
    move: jax.Array
    ceiling: jax.Array
    d: jax.Array | None = None
    e: jax.Array | None = None
    zero: jax.Array | None = None


def powers_of_two(work: Work) -> bool:
    """Whether scales are exponents that `power_factors` finds, unless a call rounds or brings them."""
    structure = work.structure
    return structure.shifts and structure.exponents and structure.searches == 1


def power_factors(table: ScaledTable, found: Statistic) -> Factors:
    """Of scales that are powers of two: those of the rule, between the smallest scale and the largest.

    Args:
        found: the statistics of blocks.
    """
    fraction, exponent = apart(found.value)
    raised = fraction + table.fit.add
    carry = (raised >= (2 << M)).astype(jnp.int32)
    above = (((raised >> carry) & FRACTION) > table.fit.threshold).astype(jnp.int32)
    lowest, highest = (apart(limit)[1] for limit in (table.smallest, table.scale.max_positive))
    j = jnp.clip(exponent + carry + above - table.fit.emax, lowest, highest)
    j = jnp.where(found.zero, lowest, j)  # where a largest magnitude of zero was given, the smallest scale
    return Factors(j, found.bad, -j, _ceiling(-j))


def factors(work: Work, scales: BlockScales) -> Factors:
    """Of any scales."""
    if work.structure.shifts:
        j = apart(scales.decode)[1]
        return Factors(j, scales.bad, -j, _ceiling(-j))
    by_product = work.structure.encode == "reciprocal"
    decode = jnp.where(scales.bad, -1, jnp.where(scales.zero, 0, scales.decode))
    encode = scales.encode
    decode, encode = fenced(decode, encode) if by_product or work.structure.epsilon else fenced(decode) * 2
    bad, zero = decode < 0, decode == 0
    d, j = apart(jnp.maximum(decode, 1))
    e, exponent = apart(jnp.maximum(encode, 1))
    move = exponent if by_product else -exponent
    ceiling = _ceiling(move) if by_product else jnp.where(zero, 0, _ceiling(move))
    return Factors(j, bad, move, ceiling, d, e, zero)


def _ceiling(move: jax.Array) -> jax.Array:
    return jnp.clip(_CEILING + BIAS - move, 0, 255)


def values(work: Work, target: Layout, c: Short, bits: jax.Array, of: Factors, words: jax.Array | None) -> jax.Array:
    """Target bits of the values, over the split array.

    Args:
        c: of `near_of`.
        bits: (g0, b0, g1, b1, ...) int32 of float32, split.
        of: the factors of blocks.
        words: random words against the split array; their presence makes the rounding stochastic.
    """
    xp, spread = JaxIntegers(32), work.view.spread
    magnitude, sign, negative = bits & FLOAT32.magnitude_mask, bits & _SIGN, bits < 0
    t = _scaled(xp, work, magnitude, of)
    q = _at_random(c, t, words) if words is not None else _rounded(c, t)
    q = jnp.minimum(q, jnp.where(negative, c.limit_negative, c.limit_positive))
    room, up = (spread(part) for part in room_and_rise(of.j))
    if of.d is None:
        found = risen(q, room, up, None)
    else:
        found = _times(xp, q, [spread(part) for part in halves(of.d)], room, up)
    if of.zero is not None:
        zero = spread(of.zero)
        found = jnp.where(zero, 0, found)
        if work.structure.encode != "reciprocal":  # a quotient by zero is zero; only infinities saturate
            q = jnp.where(zero & (magnitude < FLOAT32.infinity), 0, q)
    found = jnp.where(q == 0, sign & c.zero_sign, found | sign)
    found = jnp.where(magnitude > spread(jnp.where(of.bad, -1, FLOAT32.infinity)), FLOAT32.nan, found)
    return found if target is FLOAT32 else narrow(xp, FLOAT32, target, found)


def _scaled(xp: JaxIntegers, work: Work, magnitude: jax.Array, of: Factors) -> jax.Array:
    """Bits of |x| / D, or |x| * fl(1 / D), rounded once; below 2**-60 and beyond 2**80 only of about that size."""
    spread = work.view.spread
    kept = jnp.clip(extended(magnitude), _FLOOR << M, spread(of.ceiling << M))
    t = jnp.maximum(kept + spread(of.move << M), 0)
    if of.e is None:
        return t
    factor = jnp.broadcast_to(spread(as_floats(of.e)), t.shape)
    if work.structure.encode == "reciprocal":
        return xp.bits(xp.floats(t) * factor)
    return xp.bits(xp.quotient(xp.floats(t), factor))


def _rounded(c: Short, t: jax.Array) -> jax.Array:
    """`jax_rounding.rounded` of magnitudes, under roundings that do not look at signs."""
    shift = lax.clamp(c.m_shift, c.low_shift - (t >> M), c.max_shift)
    discarded = (jnp.ones_like(t) << shift) - 1
    odd = (((t | c.implicit) ^ c.parity) >> shift) & 1
    one_more = discarded & 1 & (c.plus | (odd & c.plus_odd))
    near = (t + ((discarded >> c.nearest) & c.take) + one_more) & ~discarded
    return jnp.where(t < c.quantum, jnp.where(t >= c.up_positive, c.smallest, 0), near)


def _at_random(c: Short, t: jax.Array, words: jax.Array) -> jax.Array:
    """Up where the 32 bits behind the last one of the result carry with those of the word."""
    field = t >> M
    below = t < c.quantum
    shift = lax.clamp(c.m_shift, c.low_shift - field, c.max_shift)
    lost = jnp.where(below, jnp.minimum((c.quantum >> M) + M - field, 63), shift)
    significand = (t & FRACTION) | LEADING
    left = significand << jnp.clip(31 - lost, 0, 31) << 1
    right = significand >> jnp.clip(lost - 32, 0, 31)
    fraction = jnp.where(lost <= 31, left, right)
    up = (fraction ^ _SIGN) > (~words ^ _SIGN)  # unsigned
    one = jnp.ones_like(t) << shift
    near = (t & ~(one - 1)) + jnp.where(up, one, 0)
    return jnp.where(below, jnp.where(up, c.smallest, 0), near)


def _times(xp: JaxIntegers, q: jax.Array, d: list[jax.Array], room: jax.Array, up: jax.Array) -> jax.Array:
    """Bits of q * d * 2**j rounded once; the largest number instead of infinity."""
    element, (whole, high, low) = xp.floats(q), d
    product = element * whole
    error = element * low - (product - element * high)
    return risen(xp.bits(product), room, up, error)
