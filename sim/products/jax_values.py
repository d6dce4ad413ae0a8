"""Arrays that are rounded alone, outside of any product, in JAX: complex weights."""

from functools import partial

import jax

from .jax_floats import FLOATS
from .operand_values import widely_linear


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def complex_values(weight: jax.Array, fmt: str) -> jax.Array:
    """A real matrix (2n, 2m) with its complex parts in a complex format; gradients pass straight through.

    The view as complex parts is linear and is undone afterwards, so that straight through for the complex parts is
    straight through for the matrix. See `operand_values.widely_linear`.
    """
    return _at_once(weight, fmt)


@partial(jax.jit, static_argnums=1, inline=True)
def _at_once(weight: jax.Array, fmt: str) -> jax.Array:
    return widely_linear(FLOATS, weight, fmt)


complex_values.defvjp(lambda weight, fmt: (_at_once(weight, fmt), None), lambda fmt, _, e: (e,))
