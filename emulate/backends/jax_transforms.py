"""Hadamard transforms of JAX arrays, as a linear primitive: under jit, grad, jvp and vmap.

XLA on CPU flushes subnormals and may fuse a product into a sum that follows. So sums are floating-point only where
no sum and no product can leave the normal range, which one look at the largest and smallest magnitudes decides, and
integer arithmetic elsewhere. A primitive keeps that decision under `vmap`, where `lax.cond` alone would take both
branches.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..layouts import FLOAT32, Layout
from ..numbers import convert
from ..plan import Randomness
from ..transform_kernels import TransformPlan, delivered, transformed
from . import jax as plain
from .jax_integers import JaxIntegers
from .jax_words import Place, random_words


def negative_signs(randomness: Randomness, size: int) -> jax.Array:
    """(size,) bool, which signs are negative."""
    return _negative_signs(plain.key_of(randomness), size)


@partial(jax.jit, static_argnums=1)
def _negative_signs(key: jax.Array, size: int) -> jax.Array:
    """Of a key; one function of a program for all operands that are transformed."""
    return random_words(key, jnp.zeros(2, jnp.uint32), (size,), Place(None, FLOAT32.words))[0] >> 31 == 1


def signs(randomness: Randomness | None, size: int) -> jax.Array:
    """(size,) float32 of +-1."""
    if randomness is None:
        return jnp.ones(size, jnp.float32)
    return jnp.where(negative_signs(randomness, size), jnp.float32(-1), jnp.float32(1))


def hadamard(x: jax.Array, plan: TransformPlan, randomness: Randomness | None, out: None) -> jax.Array:
    """`emulate.transforms.hadamard` on JAX arrays."""
    plain.require_x64(plan.layout, plan.target)
    if not x.size:
        return jnp.zeros(x.shape, plan.target.name)
    negative = jnp.zeros(plan.size, bool) if randomness is None else negative_signs(randomness, plan.size)
    return _hadamard_jit(plan, x, negative)


@partial(jax.jit, static_argnums=0)
def _hadamard_jit(plan: TransformPlan, x: jax.Array, negative: jax.Array) -> jax.Array:
    return hadamard_p.bind(x, negative, plan=plan)


def _computed(x: jax.Array, negative: jax.Array, *, plan: TransformPlan) -> jax.Array:
    """The transform of x, any leading axes before those of the plan. Both branches take and give floats, which XLA
    passes on without a copy."""
    layout = plan.layout
    xp = JaxIntegers(layout.work_width)
    if plan.source is not layout:
        bits = lax.bitcast_convert_type(x, plain.SIGNED[plan.source.width]).astype(xp.dtype)
        x = plain.floats(layout, convert(xp, plan.source, layout, bits))
    flips = jnp.where(negative, xp.dtype(-1 << (xp.width - 1)), xp.dtype(0))
    low, high = _safe_range(layout)
    magnitude = xp.bits(x) & layout.magnitude_mask
    safe = jnp.all((magnitude <= high) & ((magnitude >= low) | (magnitude == 0)))
    inner = TransformPlan(plan.hadamard, plan.axis, plan.inverse, layout, layout, layout)
    result = lax.cond(safe, partial(_in_floats, xp, inner), partial(_in_integers, xp, inner), x, flips)
    return result if plan.target is layout else plain.floats(plan.target, delivered(xp, plan, xp.bits(result)))


def _safe_range(layout: Layout) -> tuple[int, int]:
    """Magnitude bits between which, zeros aside, no sum or product of a transform is subnormal or infinite.

    Every sum is a multiple of the smallest summand's last bit, and the product at most 6 binades below it.
    """
    m = layout.mantissa_bits
    return (m + 8) << m, ((layout.infinity >> m) - 14) << m


def _in_integers(xp: JaxIntegers, plan: TransformPlan, x: jax.Array, flips: jax.Array) -> jax.Array:
    return xp.floats(transformed(xp, plan, xp.bits(x), flips))


def _in_floats(xp: JaxIntegers, plan: TransformPlan, x: jax.Array, flips: jax.Array) -> jax.Array:
    """`transform_kernels.transformed` in floating-point arithmetic."""
    shape, (blocks, size, inner) = x.shape, plan.cube(x.shape)
    bits, signs = xp.bits(x).reshape(blocks, size, inner), flips.reshape(1, size, 1)
    x = xp.floats(bits if plan.inverse else bits ^ signs)
    for half in (1 << k for k in range(size.bit_length() - 1)):
        pairs = x.reshape(-1, 2, half * inner)
        a, b = pairs[:, 0], pairs[:, 1]
        x = jnp.stack([a + b, a - b], axis=1)
    found = xp.bits(x * xp.floats(xp.dtype(plan.scale_bits))).reshape(blocks, size, inner)
    return xp.floats(found ^ signs if plan.inverse else found).reshape(shape)


hadamard_p = Primitive("halfulp_hadamard")
hadamard_p.def_impl(_computed)
mlir.register_lowering(hadamard_p, mlir.lower_fun(_computed, multiple_results=False))


@hadamard_p.def_abstract_eval
def _(x, negative, *, plan):
    return x.update(dtype=np.dtype(plan.target.name))


def _jvp(primals, tangents, *, plan):
    x, negative = primals
    tangent = ad.instantiate_zeros(tangents[0])
    return hadamard_p.bind(x, negative, plan=plan), hadamard_p.bind(tangent, negative, plan=plan)


def _transpose(cotangent, x, negative, *, plan):
    if type(cotangent) is ad.Zero:
        return ad.Zero(x.aval), None
    return hadamard_p.bind(cotangent, negative, plan=plan.transposed), None


ad.primitive_jvps[hadamard_p] = _jvp
ad.primitive_transposes[hadamard_p] = _transpose


def _batch(arguments, dims, *, plan):
    """The axis counts from the end, so that a mapped axis goes first. Mapped signs are a loop."""
    (x, negative), (x_dim, sign_dim) = arguments, dims
    if sign_dim is None:
        return hadamard_p.bind(jnp.moveaxis(x, x_dim, 0), negative, plan=plan), 0
    size = negative.shape[sign_dim]
    x = jnp.broadcast_to(x[None], (size, *x.shape)) if x_dim is None else jnp.moveaxis(x, x_dim, 0)
    return lax.map(lambda pair: hadamard_p.bind(*pair, plan=plan), (x, jnp.moveaxis(negative, sign_dim, 0))), 0


batching.primitive_batchers[hadamard_p] = _batch
