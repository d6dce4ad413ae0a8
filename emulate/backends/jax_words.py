"""The random words of an array, as a JAX primitive.

`vmap` must give members that share a seed streams of their own, and only a primitive sees the batching.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from ..philox import fold_words, philox, row_major_strides
from .jax_integers import JaxWords, high_product


@dataclass(frozen=True, slots=True)
class Place:
    """The static half of where an array lies: the shape of the larger one if a Shard was given."""

    global_shape: tuple[int, ...] | None
    words: int


def _index_words(
    start: jax.Array, shape: tuple[int, ...], global_shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Low and high word of the logical index of every element of a Shard."""
    low = high = jnp.zeros(shape, jnp.uint32)
    for axis, stride in enumerate(row_major_strides(global_shape)):
        along = lax.broadcasted_iota(jnp.uint32, shape, axis) + start[axis]
        part_low, part_high = along * jnp.uint32(stride & 0xFFFFFFFF), along * jnp.uint32(stride >> 32)
        part_high = part_high + high_product(along, stride & 0xFFFFFFFF)
        low, high = _add_words(low, high, part_low, part_high)
    return low, high


def _add_words(low, high, other_low, other_high):
    total = low + other_low
    return total, high + other_high + (total < low).astype(jnp.uint32)


def _consecutive_index(start: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Low and high word of the logical index of every element, from `start` (low, high) on in row-major order."""
    local = lax.iota(jnp.uint32, int(np.prod(shape))).reshape(shape)
    return _add_words(local, jnp.zeros_like(local), start[0], start[1])


def random_words(key: jax.Array, start: jax.Array, shape: tuple[int, ...], place: Place) -> jax.Array:
    """(words, *shape) uint32: the words of each element, first one first."""
    if place.global_shape is None:
        low, high = _consecutive_index(start, shape)
    else:
        low, high = _index_words(start, shape, place.global_shape)
    return jnp.stack([_word_at(key, *_times(low, high, place.words, part)) for part in range(place.words)])


def _times(low, high, words: int, part: int):
    return (low, high) if words == 1 else ((low << 1) | part, (high << 1) | (low >> 31))


def _word_at(key, low, high):
    """The word of each index. Every element computes the whole block of four words and picks its own: in one fused
    loop that takes a sixth of the time of computing each block once and moving it through memory."""
    counter = ((low >> 2) | (high << 30), high >> 2, key[0], key[1])
    w0, w1, w2, w3 = philox(JaxWords(), counter, (key[2], key[3]))
    return jnp.where(low & 2, jnp.where(low & 1, w3, w2), jnp.where(low & 1, w1, w0))


def _words_impl(x, key, start, *, place: Place):
    """x: (*batch, *shape), key: (*batch, 4), start: (*batch, n). Returns (*batch, words, *shape) uint32."""
    batch = key.ndim - 1
    words = partial(random_words, shape=x.shape[batch:], place=place)
    for _ in range(batch):
        words = jax.vmap(words)
    return words(key, start)


words_p = Primitive("halfulp_random_words")
words_p.def_impl(_words_impl)
mlir.register_lowering(words_p, mlir.lower_fun(_words_impl, multiple_results=False))


@words_p.def_abstract_eval
def _(x, key, start, *, place):
    batch = key.ndim - 1
    return x.update(shape=(*x.shape[:batch], place.words, *x.shape[batch:]), dtype=np.dtype(np.uint32))


def _words_batch(arguments, dims, *, place):
    """A mapped key is used as it is; a key shared by mapped arrays is folded with the member's index."""
    size = next(a.shape[d] for a, d in zip(arguments, dims) if d is not None)
    x, key, start = (
        jnp.broadcast_to(a[None], (size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(arguments, dims)
    )
    if dims[1] is None and dims[0] is not None:
        member = lax.broadcasted_iota(jnp.uint32, key.shape[:-1], 0)
        key = key.at[..., 0].set(fold_words(JaxWords(), key[..., 0], member))
    return words_p.bind(x, key, start, place=place), 0


batching.primitive_batchers[words_p] = _words_batch
