# ruff: noqa: D102 (the protocol says what the methods do)
"""The functions of `spaces` in JAX, also traced."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


class JaxSpace:
    """The functions of `spaces.Space` in JAX."""

    xp = jnp

    def pad(self, a: Any, widths: Sequence[int]) -> Any:
        return jnp.pad(a, [(0, width) for width in widths])

    def given(self, numbers: Any, like: Any) -> Any:
        return jnp.asarray(numbers, dtype=like.dtype)

    def wide(self, a: Any) -> Any:
        return a if a.dtype in (jnp.float32, jnp.float64) else a.astype(jnp.float32)

    def narrow(self, a: Any) -> Any:
        largest = jnp.finfo(jnp.float32).max
        return a if a.dtype == jnp.float32 else jnp.clip(a, -largest, largest).astype(jnp.float32)

    def bits(self, a: Any) -> Any:
        return jax.lax.bitcast_convert_type(a, jnp.int32)

    def floats(self, bits: Any) -> Any:
        return jax.lax.bitcast_convert_type(jnp.asarray(bits, jnp.int32), jnp.float32)

    def largest(self, a: Any, axes: tuple[int, ...] | None = None) -> Any:
        return jnp.abs(a).max(axis=axes)

    def dot(self, a: Any, b: Any) -> Any:
        return (a * b).sum()

    def count_nonzero(self, a: Any) -> Any:
        return jnp.count_nonzero(a)

    def bincount(self, indices: Any, length: int) -> Any:
        return jnp.zeros(length, jnp.int32).at[indices].add(1)

    def first(self, a: Any) -> Any:
        return jnp.argmax(a)

    def zeros(self, length: int, like: Any) -> Any:
        return jnp.zeros(length, jnp.int32)


SPACE = JaxSpace()
