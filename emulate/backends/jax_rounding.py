"""The deterministic roundings of `kernels.round_to_grid` in JAX by fewer steps, a copy of `numba.rounded`.

Functions of many operations compile in two thirds of the time. Pinned bit for bit to NumPy's operations.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..layouts import Layout
from ..tables import Codebook, Grid, Mode
from . import cpu


class Short(NamedTuple):
    """The numbers it reads, named in `numba.Constants`; run-time data to a compiled program."""

    m_shift: Any
    low_shift: Any
    max_shift: Any
    implicit: Any
    parity: Any
    quantum: Any
    up_positive: Any
    up_negative: Any
    limit_positive: Any
    limit_negative: Any
    over_positive: Any
    over_negative: Any
    infinite_positive: Any
    infinite_negative: Any
    zero_sign: Any
    nearest: Any
    take: Any
    take_negative: Any
    take_odd: Any
    plus: Any
    plus_odd: Any
    smallest: Any


def short_of(table: Grid | Codebook, layout: Layout, mode: Mode, overflow: str | None) -> Short | None:
    """The numbers of a deterministic rounding; None where only the portable kernel knows the format."""
    p = None if isinstance(table, Codebook) else cpu.parameters(table, layout, mode, overflow, -1)
    return None if p is None else Short._make([*p[4:25], p[32]])


def rounded(layout: Layout, c: Short, u: jax.Array) -> jax.Array:
    """Numbers given by their bits, rounded; bits."""
    magnitude = u & layout.magnitude_mask
    shift = lax.clamp(c.m_shift, c.low_shift - (magnitude >> layout.mantissa_bits), c.max_shift)
    discarded = (jnp.ones_like(u) << shift) - 1
    odd = (((magnitude | c.implicit) ^ c.parity) >> shift) & 1
    negative = u < 0
    taken = c.take ^ jnp.where(negative, c.take_negative, 0) ^ (-odd & c.take_odd)
    one_more = discarded & 1 & (c.plus | (odd & c.plus_odd))
    near = (magnitude + ((discarded >> c.nearest) & taken) + one_more) & ~discarded
    first_up = jnp.where(negative, c.up_negative, c.up_positive)
    limit = jnp.where(negative, c.limit_negative, c.limit_positive)
    over = jnp.where(negative, c.over_negative, c.over_positive)
    infinite = jnp.where(negative, c.infinite_negative, c.infinite_positive)
    r = jnp.where(magnitude < c.quantum, jnp.where(magnitude >= first_up, c.smallest, 0), near)
    r = jnp.where(magnitude == layout.infinity, infinite, jnp.where(r > limit, over, r))
    sign = jnp.where(r == 0, (u ^ magnitude) & c.zero_sign, u ^ magnitude)
    return jnp.where(jnp.maximum(r, magnitude) > layout.infinity, layout.nan, r | sign)
