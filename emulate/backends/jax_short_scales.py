"""Scales of blocks in JAX by few steps: the orders of `scales` that most formats take, pinned to them bit for bit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..layouts import FLOAT32
from ..scaled_tables import ScaledTable, Structure, takes_amax
from ..scales import BlockScales, Work
from ..statistics import Statistic, one
from .jax_fence import fenced
from .jax_integers import JaxIntegers
from .jax_rounding import Short, rounded
from .jax_significands import product, quotient

_ONE = one(FLOAT32)


class ScaleNumbers(NamedTuple):
    """What roundings to the formats of scales and of outer ones read; `outer` is None where there is none."""

    scale: Short
    outer: Short | None


def serves(structure: Structure) -> bool:
    """Whether the scales of a format are found here, unless a call rounds or brings them."""
    single = structure.outer is None
    plain = structure.order == "plain" and single and not structure.exponents and not structure.epsilon
    known = plain or (structure.order == "nvidia" and structure.encode == "reciprocal" and not single)
    return known and structure.searches == 1 and not structure.zero_point and not structure.micro


def short_scales(work: Work, table: ScaledTable, found: Statistic, numbers: ScaleNumbers) -> BlockScales:
    """The scales of every block; `scale` and `outer` are left out."""
    decode, zero = (_nvidia if work.structure.order == "nvidia" else _plain)(work, table, found, numbers)
    bad = found.top > FLOAT32.infinity if work.structure.order == "nvidia" else found.bad
    decode = jnp.where(zero | bad, _ONE, decode)
    encode = decode
    if work.structure.encode == "reciprocal":
        encode = jnp.where(zero, FLOAT32.infinity - 1, quotient(jnp.full_like(decode, _ONE), decode))
    return BlockScales(None, None, decode, encode, None, zero, bad)


def _plain(work: Work, table: ScaledTable, found: Statistic, numbers: ScaleNumbers) -> tuple[jax.Array, jax.Array]:
    """`scales.scales_of` with one level of scales that are rounded: D, and where it is zero."""
    if work.structure.inverse:
        ideal = product(found.value, jnp.asarray(table.inverse_goal))
    else:
        ideal = quotient(found.value, jnp.asarray(table.goal))
    s = rounded(FLOAT32, numbers.scale, product(ideal, jnp.asarray(table.factors[0])))
    s = jnp.where(s == 0, table.smallest, s)
    return s, found.zero & ~found.bad


def _nvidia(work: Work, table: ScaledTable, found: Statistic, numbers: ScaleNumbers) -> tuple[jax.Array, jax.Array]:
    """`scales._nvidia`: D, and where it is zero."""
    xp, groups = JaxIntegers(32), work.groups
    if groups is None or numbers.outer is None:
        raise ValueError("the order 'nvidia' needs an outer scale")
    top = jnp.where(found.top > FLOAT32.infinity, 0, found.top)
    whole = xp.largest(groups.split(xp, top), groups.block_axes)
    if takes_amax(work.structure):
        whole = jnp.where(whole * 0 + table.amax < 0, whole, table.amax)
    usable = (whole > 0) & (whole < FLOAT32.infinity)
    safe = jnp.where(usable, whole, _ONE)
    s_enc = jnp.where(usable, quotient(table.numerator + safe * 0, safe), _ONE)
    factor = product(s_enc, jnp.asarray(table.inverse_goal))
    outer = rounded(FLOAT32, numbers.outer, quotient(jnp.full_like(s_enc, _ONE), s_enc))
    factor, outer = fenced(factor, outer)

    def over_grid(a: jax.Array) -> jax.Array:
        wide = [n for pair in zip(groups.grid, groups.extents) for n in pair]
        return groups.join(jnp.broadcast_to(groups.spread(a), wide))

    # an infinity is beyond the largest scale, as the largest number times such a factor is
    s = rounded(FLOAT32, numbers.scale, product(jnp.minimum(top, FLOAT32.infinity - 1), over_grid(factor)))
    decode = product(s, over_grid(outer))
    return decode, decode == 0
