"""JAX as the namespace of the portable kernels."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..philox import PlainLoop


class JaxIntegers:
    """`kernels.Integers` over int32 or int64 arrays."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.dtype = jnp.int64 if width == 64 else jnp.int32
        self._float = jnp.float64 if width == 64 else jnp.float32

    def where(self, condition, a, b):
        if isinstance(condition, bool | np.bool_):
            return a if condition else b
        return jnp.where(condition, self.integer(a), self.integer(b))

    def clip(self, a, low, high):
        return jnp.clip(a, low, high)

    def integer(self, a):
        return jnp.asarray(a).astype(self.dtype)

    def maximum(self, a, b):
        return jnp.maximum(a, b)

    def minimum(self, a, b):
        return jnp.minimum(a, b)

    def to_float(self, a):
        return a.astype(self._float)

    def quotient(self, a, b):
        # XLA turns a division by a broadcast number into a product, unless it cannot see it
        return a / lax.optimization_barrier(jnp.broadcast_to(b, a.shape))

    def to_integer(self, a):
        return a.astype(self.dtype)

    def floats(self, bits):
        return lax.bitcast_convert_type(bits, self._float)

    def bits(self, floats):
        return lax.bitcast_convert_type(floats, self.dtype)

    def shift_right_logical(self, a, n):
        return lax.shift_right_logical(a, jnp.asarray(n, self.dtype))

    def floor_log2(self, a):
        if self.width == 64:
            return (lax.bitcast_convert_type(a.astype(jnp.float64), jnp.int64) >> 52) - 1023
        return (lax.bitcast_convert_type(a.astype(jnp.float32), jnp.int32) >> 23) - 127

    def wide_product(self, a, b):
        a, b = a.astype(jnp.uint32), b.astype(jnp.uint32)
        return high_product(a, b).astype(self.dtype), (a * b).astype(self.dtype)

    def count_not_above(self, ascending, a):
        method = "compare_all" if ascending.shape[-1] <= 64 else "scan_unrolled"
        return jnp.searchsorted(ascending, a, side="right", method=method).astype(self.dtype)

    def take(self, table, index):
        return jnp.asarray(table)[index]

    def materialized(self, a):
        return lax.optimization_barrier(a)

    def wider(self):
        return JaxIntegers(64)

    def pad(self, a, widths):
        return jnp.pad(a, [(0, width) for width in widths])

    def transpose(self, a, axes):
        return a.transpose(axes)

    def broadcast(self, a, shape):
        return jnp.broadcast_to(a, shape)

    def largest(self, a, axes):
        return a.max(axis=tuple(axes))

    def count(self, a):
        return a.sum(axis=-1).astype(self.dtype)

    def sorted(self, a):
        return jnp.sort(a, axis=-1)

    def pick(self, a, index):
        return jnp.take_along_axis(a, index[..., None], axis=-1)[..., 0]

    def array(self, values):
        return jnp.asarray(values, self.dtype)

    def repeat(self, times, body, state):
        return lax.fori_loop(0, times, body, state)


def high_product(a: jax.Array, b: jax.Array | int) -> jax.Array:
    """High 32 bits of a product of uint32, from 16-bit halves: `lax.mulhi` does not lower inside shard_map."""
    a_low, a_high = a & 0xFFFF, a >> 16
    b_low, b_high = (jnp.uint32(b & 0xFFFF), jnp.uint32(b >> 16)) if isinstance(b, int) else (b & 0xFFFF, b >> 16)
    middle = a_high * b_low + (a_low * b_low >> 16)
    return a_high * b_high + (middle >> 16) + ((a_low * b_high + (middle & 0xFFFF)) >> 16)


class JaxWords(PlainLoop):
    """`philox.Words` over uint32 arrays."""

    def multiply(self, constant, a):
        return high_product(a, constant), a * jnp.uint32(constant)

    def add(self, a, b):
        return a + jnp.uint32(b)
