"""Random numbers of a loss, from the counter-based words of the library: the same in JAX and torch."""

from math import prod
from typing import Any

from ...emulate.philox import Words, philox

NOISE = 1
"""The stream of noise; times are drawn from stream 0, steps of the sampler from those after it."""


def uniform(xp: Any, arithmetic: Words, words: Any, stream: Any, shape: tuple[int, ...]) -> Any:
    """float32 numbers between 0 and 1, neither included, odd multiples of 2**-24.

    Args:
        xp: numpy or jax.numpy. arithmetic: on words, in the dtype of `words`.
        words: two words, the key. stream: a word; those of different streams are independent.
    """
    count = prod(shape)
    block = xp.arange(-(-count // 4), dtype=words[0].dtype)
    zero = xp.zeros_like(block)
    four = philox(arithmetic, (block, zero, zero + stream, zero), (words[0], words[1]))
    bits = xp.stack(xp.broadcast_arrays(*four), axis=-1).reshape(-1)[:count].reshape(shape)
    # 23 bits and a half fit in the 24 of float32
    return ((bits >> 9).astype(xp.float32) + xp.float32(0.5)) * xp.float32(2.0**-23)
