"""Products and quotients of positive float32 in JAX, rounded once at every magnitude, by few steps.

Significands are floats from 1 to 2, far from the ends of the range, where XLA's operations are those of IEEE 754; their
exponents are put back afterwards. That is exact but for subnormal results, for which a rounding to 24 bits would come
before the last one: the sign of its error decides ties then. The errors are exact, because halves of significands have
12 bits, so that no product of two halves is rounded and none can be contracted with a sum.

Source: Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18, 1971.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..layouts import FLOAT32

M, BIAS = FLOAT32.mantissa_bits, FLOAT32.bias
FRACTION, LEADING = (1 << M) - 1, 1 << M
HALF = 12
"""Bits of half a significand."""


def extended(magnitude: jax.Array) -> jax.Array:
    """Bits of magnitudes with subnormals as normal numbers, whose exponent fields are below 1."""
    # subnormals are integers, whose floats have these bits but for an exponent
    of_integer = lax.bitcast_convert_type(magnitude.astype(jnp.float32), jnp.int32)
    return jnp.where(magnitude < LEADING, of_integer - ((BIAS + M - 1) << M), magnitude)


def apart(positive: Any) -> tuple[jax.Array, jax.Array]:
    """Bits of significands, whose exponent field is 1, and exponents."""
    bits = extended(jnp.asarray(positive, jnp.int32))
    return (bits & FRACTION) | LEADING, (bits >> M) - BIAS


def as_floats(significand: jax.Array) -> jax.Array:
    """Significands as floats from 1 to 2, behind a barrier that keeps XLA from making products of quotients."""
    bits = (significand & FRACTION) | (BIAS << M)
    return lax.optimization_barrier(lax.bitcast_convert_type(bits, jnp.float32))


def halves(significand: jax.Array) -> list[jax.Array]:
    """A significand as a float, its upper half, and its lower one."""
    whole, high = as_floats(significand), as_floats(significand & -(1 << HALF))
    return [whole, high, whole - high]


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Bits of a * b, the largest number instead of infinity; 0 where one of them is.

    Args:
        a, b: bits of finite numbers that are not negative.
    """
    (x, i), (y, j) = apart(a), apart(b)
    p, error = _exact_product(halves(x), halves(y))
    return jnp.where((a == 0) | (b == 0), 0, raised(_bits(p), i + j, error))


def quotient(a: jax.Array, b: jax.Array) -> jax.Array:
    """Bits of a / b, the largest number instead of infinity.

    Args:
        a, b: bits of positive finite numbers; b has the shape of a, or is one number.
    """
    # of the shape of a, members of a map included: XLA makes a product of a quotient by what is broadcast
    (x, i), (y, j) = apart(a), apart(b + a * 0)
    numerator, divisor = as_floats(x), halves(y)
    found = numerator / divisor[0]
    high = lax.bitcast_convert_type(_bits(found) & -(1 << HALF), jnp.float32)
    p, error = _exact_product([found, high, found - high], divisor)
    return raised(_bits(found), i - j, (numerator - p) - error)


def _exact_product(a: list[jax.Array], b: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """A product rounded once, and what it lacks."""
    (whole, high, low), (other, other_high, other_low) = a, b
    found = whole * other
    return found, low * other_low - (((found - high * other_high) - low * other_high) - high * other_low)


def raised(magnitude: jax.Array, exponent: jax.Array, error: jax.Array | None) -> jax.Array:
    """Bits of normal numbers times 2**exponent rounded once; the largest number instead of infinity.

    Args:
        magnitude: bits of numbers from 2**-80 to 2**90.
        error: what the numbers lack; None where nothing is lost below the smallest normal number.
    """
    room, up = room_and_rise(exponent)
    return risen(magnitude, room, up, error)


def room_and_rise(exponent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Largest bits that times 2**exponent are finite, and the exponent as it is added to bits.

    From 2**-180 down everything is zero, from 2**130 up the largest number.
    """
    exponent = jnp.clip(exponent, -180, 130)
    return (jnp.clip(254 - exponent, 0, 255) << M) + FRACTION, exponent << M


def risen(magnitude: jax.Array, room: jax.Array, up: jax.Array, error: jax.Array | None) -> jax.Array:
    """`raised` with what `room_and_rise` says."""
    magnitude = jnp.minimum(magnitude, room)
    normal = magnitude + up
    drop = jnp.clip(1 - (normal >> M), 0, 27)
    significand = (magnitude & FRACTION) | LEADING
    if error is None:
        return jnp.where(normal >= LEADING, normal, significand >> drop)
    twice = (significand << 1) + (error > 0).astype(jnp.int32) - (error < 0).astype(jnp.int32)
    half = (jnp.ones_like(drop) << drop) - 1
    below = (twice + half + ((twice >> (drop + 1)) & 1)) >> (drop + 1)
    return jnp.where(normal >= LEADING, normal, below)


def _bits(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, jnp.int32)
