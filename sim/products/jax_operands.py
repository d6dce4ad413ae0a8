"""Quantize one operand of a product in JAX, and estimate the gradient through it: `operand_values` over arrays."""

from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ...emulate.backends import jax as backend
from ...emulate.backends import jax_scaled
from ...emulate.backends.jax_float_scales import Near
from ...emulate.plan import Randomness
from ...emulate.scaled_plan import Options, plan_for
from ...emulate.scaled_tables import TracedScaled
from ...emulate.tables import TracedFormat, TracedRounding
from ..recipes.operands import Operand
from . import operand_gradients, operand_scales, operand_values
from .jax_floats import FLOATS
from .operand_values import Noise, called, stream_of, values_of

Spec: TypeAlias = tuple[Any, ...]
"""An `Operand` as a plain tuple."""


class OperandData(NamedTuple):
    """What of an operand is data, so that one program serves a grid of recipes; see `jax_recipe_data`.

    Fields:
        fmt: its format. nearest, random: its deterministic and its stochastic rounding; None where no recipe of the
            grid has one.
        at_random: () bool, which of the two; None where there is one only.
        turned: () bool, whether it is transformed; None where all or none are.
        limit: () float32, the magnitude up to which gradients pass; None where all of them do.
        near, near_random: of both roundings, what `jax_float_scales` reads; None where that does not serve.
    """

    fmt: TracedScaled | TracedFormat
    nearest: TracedRounding | None
    random: TracedRounding | None
    at_random: Any
    turned: Any
    limit: Any
    near: Near | None = None
    near_random: Near | None = None


def rotated(
    t: jax.Array, spec: Spec, seed: Any, step: Any, inverse: bool = False, data: OperandData | None = None
) -> jax.Array:
    """The operand after its transform, or before."""
    found = operand_values.rotated(t, Operand(*spec), seed, step, inverse)
    return found if data is None or data.turned is None else jnp.where(data.turned, found, t)


def quantized(
    t: jax.Array,
    spec: Spec,
    seed: Any,
    step: Any,
    state: jax.Array | None = None,
    call: Any = 0,
    data: OperandData | None = None,
) -> tuple[jax.Array, jax.Array | None]:
    """An operand as its product takes it, and the scale that was given to it, where one was.

    Args:
        t: the operand, already transformed.
        seed: (2,) uint32; step: () uint32.
        state: () the largest magnitude of earlier steps, or the step size that is learned.
        call: which of several products of one seed and step, so that each draws its own random words.
        data: what is data, in the place of the format and the rounding.

    Returns:
        Values of the dtype of t, times the prescale.
    """
    of = Operand(*spec)
    if not of.fmt:
        return t, None
    noise = Noise(seed, step, stream_of(of, jnp.asarray(call).astype(jnp.uint32)))
    of = of._replace(stream=0, gradient=(), quantized=False)  # what values do not depend on
    if data is not None:
        return _by_data(of, t, noise, data._replace(turned=None, limit=None)), None
    plain = of.scaling[0] in ("format", "delayed") and of.prescale == 1.0 and not of.outliers
    return values_of(FLOATS, t, of, noise, state) if plain else _at_once(of, t, noise, state)


@partial(jax.jit, static_argnums=0)
def _by_data(of: Operand, t: jax.Array, noise: Noise, data: OperandData) -> jax.Array:
    """`quantize` with a format and a rounding that are data; traced once for all operands of a kind and a shape."""
    modes = [(data.random, data.near_random), (data.nearest, data.near)]
    either = [_called_near(t, of, mode, noise, data.fmt, near) for mode, near in modes if mode is not None]
    return either[0] if data.at_random is None else jnp.where(data.at_random, *either)


def _called_near(
    t: jax.Array, of: Operand, mode: TracedRounding, noise: Noise, fmt: Any, near: Near | None
) -> jax.Array:
    """`called`, by few steps where these are known."""
    shifts = isinstance(fmt, TracedScaled) and fmt.structure.shifts
    if near is None or not (t.dtype == np.float32 or (shifts and t.dtype.itemsize == 2)):
        return called(t, of._replace(fmt=fmt, rounding=mode), noise)  # pyright: ignore[reportArgumentType]
    pad = of.pad and bool(of.block > 0 or of.follows)
    options = Options(mode, of.scale_rounding or None, axis=of.along or None, ste="identity", pad=pad)
    plan: Any = plan_for(fmt, backend.dtype_name(t), options)
    return jax_scaled.quantize(t, plan, Randomness(*noise), None, None, near)


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
    return _first_size(Operand(*spec).largest, t)


@partial(jax.jit, static_argnums=0, inline=True)
def _first_size(largest: float, t: jax.Array) -> jax.Array:
    return operand_scales.first_size(FLOATS, t, largest)


def reads_values(of: Operand, scale: jax.Array | None, data: OperandData | None = None) -> bool:
    """Whether the gradient estimator reads the operand and what it became."""
    return operand_gradients.reads_values(of, scale) if data is None else data.limit is not None


def estimated(
    gradient: jax.Array,
    t: jax.Array,
    values: jax.Array,
    scale: jax.Array | None,
    spec: Spec,
    seed: Any,
    step: Any,
    data: OperandData | None = None,
) -> jax.Array:
    """The gradient of an operand from that of its values.

    Args:
        gradient: of the values.
        t: the operand that was rounded.
        values: what it became.
        scale: the scale that was given, or None.
        data: what is data, in the place of the estimator.
    """
    if data is not None:
        return gradient if data.limit is None else jnp.where(jnp.abs(t) <= data.limit, gradient, 0)
    noise = Noise(seed, step, 0)  # what rounds up or down draws nothing
    return operand_gradients.estimated(FLOATS, gradient, t, values, scale, Operand(*spec), noise)


def step_gradient(gradient: jax.Array, t: jax.Array, values: jax.Array, scale: jax.Array, spec: Spec) -> jax.Array:
    """() the gradient of a learned step size."""
    return operand_gradients.step_gradient(FLOATS, gradient, t, values, scale, Operand(*spec))
