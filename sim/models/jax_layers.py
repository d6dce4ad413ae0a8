"""Layers of the models, as pure functions of their parameters.

Matrix products are plain `dot_general` and convolutions of parameters, or of a transposed view of them, so that a
program that quantizes them finds both. What has no parameter, as attention, has a name scope.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .constants import EPSILON, GROUPS

Layer = Mapping[str, Any]
"""Parameters of a layer."""


def linear(layer: Layer, x: jax.Array) -> jax.Array:
    """x W^T + b; x: (..., inputs), W: (outputs, inputs)."""
    y = x @ layer["weight"].T
    return y + layer["bias"] if "bias" in layer else y


def convolution(layer: Layer, x: jax.Array, stride: int = 1, direct: bool = False) -> jax.Array:
    """A convolution of (n, h, w, c) with a (o, c, k, k) kernel of odd k, padded by k // 2 on each side.

    It is a product of patches, in which the channels of a pixel lie side by side, and the kernel as (k k c, o): on a
    CPU XLA takes some thirty times as long for its own convolution inside of a compiled loop, and several times as
    long where runs are mapped. `direct` takes that one, with images as (n, c, h, w), as torch has them: what quantizes
    operands then sees images, along whose channels blocks run, and not patches.
    """
    weight = layer["weight"]
    outputs, channels, side, _ = weight.shape
    edge = side // 2
    if direct:
        images, padding, order = channels_first(x), [(edge, edge)] * 2, ("NCHW", "OIHW", "NCHW")
        y = lax.conv_general_dilated(images, weight, (stride, stride), padding, dimension_numbers=order)
        return channels_last(y) + layer["bias"]
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    # beside each other, then below: six slices, not nine, which XLA compiles in less time
    beside = jnp.concatenate([padded[:, :, j : j + width : stride] for j in range(side)], axis=-1)
    patches = jnp.concatenate([beside[:, i : i + height : stride] for i in range(side)], axis=-1)
    y = patches.reshape(-1, side * side * channels) @ weight.transpose(2, 3, 1, 0).reshape(-1, outputs)
    return y.reshape(*patches.shape[:-1], outputs) + layer["bias"]


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2 x 2 pixels of (n, h, w, c)."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def channels_last(x: jax.Array) -> jax.Array:
    """Images (n, c, h, w) as (n, h, w, c)."""
    return x.transpose(0, 2, 3, 1)


def channels_first(x: jax.Array) -> jax.Array:
    """Images (n, h, w, c) as (n, c, h, w)."""
    return x.transpose(0, 3, 1, 2)


def rms_norm(layer: Layer, x: jax.Array) -> jax.Array:
    """x over the root of its mean square, along the last axis (arXiv:1910.07467)."""
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON) * layer["weight"]


def layer_norm(layer: Layer, x: jax.Array) -> jax.Array:
    """Mean 0 and variance 1 along the last axis (arXiv:1607.06450)."""
    return _standardized(x, x, (-1,)) * layer["weight"] + layer["bias"]


def group_norm(layer: Layer, x: jax.Array) -> jax.Array:
    """Mean 0 and variance 1 over groups of channels of (n, h, w, c) (arXiv:1803.08494)."""
    c = x.shape[-1]
    groups = x.reshape(x.shape[0], -1, min(GROUPS, c), c // min(GROUPS, c))
    return _standardized(groups, groups, (1, 3)).reshape(x.shape) * layer["weight"] + layer["bias"]


def batch_norm(layer: Layer, x: jax.Array, rows: int | None = None) -> jax.Array:
    """Mean 0 and variance 1 of each channel of (n, ..., c) over the first `rows` samples, all by default."""
    return _standardized(x, x[:rows], tuple(range(x.ndim - 1))) * layer["weight"] + layer["bias"]


def _standardized(x: jax.Array, of: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    mean = jnp.mean(of, axes, keepdims=True)
    variance = jnp.mean((of - mean) ** 2, axes, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + EPSILON)


def rotated(x: jax.Array, tables: tuple[np.ndarray, np.ndarray]) -> jax.Array:
    """Pairs of elements of (..., length, width) turned by the angle of their position."""
    cosines, sines = tables
    first, second = jnp.split(x, 2, axis=-1)
    return x * cosines + jnp.concatenate([-second, first], axis=-1) * sines


def attention(
    layer: Layer,
    x: jax.Array,
    heads: int,
    causal: bool = False,
    rotary: tuple[np.ndarray, np.ndarray] | None = None,
) -> jax.Array:
    """Self-attention of (n, length, width): softmax(Q K^T / sqrt(d)) V of each head, then a linear layer."""
    n, length, width = x.shape

    def of_heads(name: str) -> jax.Array:
        return linear(layer[name], x).reshape(n, length, heads, width // heads).swapaxes(1, 2)

    q, k, v = (of_heads(name) for name in ("query", "key", "value"))
    if rotary is not None:
        q, k = rotated(q, rotary), rotated(k, rotary)
    scores = jnp.einsum("nhqd,nhkd->nhqk", q, k) * np.float32((width // heads) ** -0.5)
    if causal:
        scores = jnp.where(np.tril(np.ones((length, length), bool)), scores, -jnp.inf)
    values = jnp.einsum("nhqk,nhkd->nhqd", jax.nn.softmax(scores), v)
    return linear(layer["out"], values.swapaxes(1, 2).reshape(n, length, width))
