"""Quantize one operand of a product in JAX, and estimate the gradient through it: `operand_values` over arrays."""

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from . import operand_gradients, operand_scales, operand_values
from .jax_floats import FLOATS
from .operand_gradients import reads_values as reads_values
from .operand_values import Noise, stream_of, values_of
from .operands import Operand

Spec: TypeAlias = tuple[Any, ...]
"""An `Operand` as a plain tuple."""


def rotated(t: jax.Array, spec: Spec, seed: Any, step: Any, inverse: bool = False) -> jax.Array:
    """The operand after its transform, or before."""
    return operand_values.rotated(t, Operand(*spec), seed, step, inverse)


def quantized(
    t: jax.Array, spec: Spec, seed: Any, step: Any, state: jax.Array | None = None, call: Any = 0
) -> tuple[jax.Array, jax.Array | None]:
    """An operand as its product takes it, and the scale that was given to it, where one was.

    Args:
        t: the operand, already transformed.
        seed: (2,) uint32; step: () uint32.
        state: () the largest magnitude of earlier steps, or the step size that is learned.
        call: which of several products of one seed and step, so that each draws its own random words.

    Returns:
        Values of the dtype of t, times the prescale.
    """
    of = Operand(*spec)
    if not of.fmt:
        return t, None
    noise = Noise(seed, step, stream_of(of, jnp.asarray(call).astype(jnp.uint32)))
    of = of._replace(stream=0, gradient=())
    plain = of.scaling[0] in ("format", "delayed") and of.prescale == 1.0 and not of.outliers
    return values_of(FLOATS, t, of, noise, state) if plain else _at_once(of, t, noise, state)


@partial(jax.jit, static_argnums=0, inline=True)
def _at_once(of: Operand, t: jax.Array, noise: Noise, state: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """Many operations as one program, where no program is being traced; `quantize` alone is one already."""
    return values_of(FLOATS, t, of, noise, state)


def largest_of(t: jax.Array) -> jax.Array:
    """() float32 largest magnitude; 0 where it is not finite: a step that overflowed must not spoil those after it."""
    top = FLOATS.wide(FLOATS.largest(t, None)).astype(jnp.float32)
    return jnp.where(jnp.isfinite(top), top, 0.0)


def first_size(t: jax.Array, spec: Spec) -> jax.Array:
    """() the step size to begin with."""
    return operand_scales.first_size(FLOATS, t, Operand(*spec))


def estimated(
    gradient: jax.Array, t: jax.Array, values: jax.Array, scale: jax.Array | None, spec: Spec, seed: Any, step: Any
) -> jax.Array:
    """The gradient of an operand from that of its values.

    Args:
        gradient: of the values.
        t: the operand that was rounded.
        values: what it became.
        scale: the scale that was given, or None.
    """
    noise = Noise(seed, step, 0)  # what rounds up or down draws nothing
    return operand_gradients.estimated(FLOATS, gradient, t, values, scale, Operand(*spec), noise)


def step_gradient(gradient: jax.Array, t: jax.Array, values: jax.Array, scale: jax.Array, spec: Spec) -> jax.Array:
    """() the gradient of a learned step size."""
    return operand_gradients.step_gradient(FLOATS, gradient, t, values, scale, Operand(*spec))
