"""Sums, differences and host arithmetic of residual stacks in JAX.

XLA flushes subnormals, so that sums are integer arithmetic on bits; derivatives are those of a sum. What runs on
the host is a callback, and gradients pass straight through it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..arithmetic import add
from ..layouts import LAYOUTS
from ..traced import format_data
from . import jax as plain
from .jax_integers import JaxIntegers


def _bits(a: jax.Array) -> jax.Array:
    layout = LAYOUTS[a.dtype.name]
    return lax.bitcast_convert_type(a, plain.SIGNED[layout.width]).astype(JaxIntegers(layout.work_width).dtype)


@partial(jax.jit, inline=True)
def _exact_sum(a: jax.Array, b: jax.Array) -> jax.Array:
    layout = LAYOUTS[a.dtype.name]
    finite = (_bits(a) & layout.magnitude_mask < layout.infinity) & (_bits(b) & layout.magnitude_mask < layout.infinity)
    x, y = (jnp.where(finite, _bits(part), 0) for part in (a, b))
    exact = add(JaxIntegers(layout.work_width), layout, x, y)
    return jnp.where(finite, plain.floats(layout, exact), a + b)


@jax.custom_jvp
def added(a: jax.Array, b: jax.Array) -> jax.Array:
    """a + b, rounded once, with gradual underflow."""
    return _exact_sum(a, b)


@added.defjvp
def _(primals, tangents):
    return added(*primals), tangents[0] + tangents[1]


@jax.custom_jvp
def subtracted(a: jax.Array, b: jax.Array) -> jax.Array:
    """a - b, rounded once, with gradual underflow."""
    return _exact_sum(a, -b)


@subtracted.defjvp
def _(primals, tangents):
    return subtracted(*primals), tangents[0] - tangents[1]


def to_host(x: jax.Array) -> np.ndarray:
    """As a NumPy array."""
    return np.asarray(x)


def from_host(values: np.ndarray, like: jax.Array) -> jax.Array:
    """A NumPy array as a JAX array."""
    return jnp.asarray(values)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def on_host(x: jax.Array, call: Callable[[np.ndarray], np.ndarray]) -> jax.Array:
    """call(x) as a JAX array, also inside jit."""
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda host: call(np.asarray(host)), shape, x, vmap_method="sequential")


@on_host.defjvp
def _(call, primals, tangents):
    return on_host(primals[0], call), tangents[0]


def joined(parts: list[jax.Array], axis: int) -> jax.Array:
    """Arrays side by side."""
    return jnp.concatenate(parts, axis)


def mapped(call: Callable, x: jax.Array, formats: Sequence[Any], axis: int) -> jax.Array:
    """call(slice, format) for each slice along an axis and its format, in one program."""
    data = format_data(list(formats), x.dtype)
    return jax.vmap(call, (axis, 0), axis)(x, data)
