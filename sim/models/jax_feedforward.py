"""Perceptrons and convolutional networks in JAX."""

import jax

from .feedforward import Cnn, Mlp, Vgg
from .jax_layers import Layer, batch_norm, channels_first, channels_last, convolution, group_norm, linear, max_pool


def mlp(model: Mlp, params: Layer, x: jax.Array) -> jax.Array:
    """(n, outputs) of samples (n, ...)."""
    x = x.reshape(x.shape[0], -1)
    for k in range(len(model.hidden)):
        x = jax.nn.relu(linear(params["layers"][str(k)], x))
    return linear(params["head"], x)


def cnn(model: Cnn, params: Layer, x: jax.Array) -> jax.Array:
    """(n, classes) logits of images (n, c, h, w)."""
    x = channels_last(x)
    for k in range(len(model.channels)):
        layer = params["layers"][str(k)]
        x = convolution(layer["convolution"], x, 1 if k == 0 else 2, model.direct)
        x = jax.nn.relu(group_norm(layer["norm"], x))
    return linear(params["head"], x.mean((1, 2)))


def vgg(model: Vgg, params: Layer, x: jax.Array, rows: int | None = None) -> jax.Array:
    """(n, classes) logits of images (n, c, h, w), normalized by the statistics of the first `rows`, all by default."""
    x = channels_last(x)
    for k in range(len(model.widths) - 1):
        layer = params["layers"][str(k)]
        x = convolution(layer["convolution"], x, direct=model.direct)
        x = jax.nn.relu(batch_norm(layer["norm"], x, rows))
        x = max_pool(x) if k % 2 else x
    x = linear(params["linear"], channels_first(x).reshape(x.shape[0], -1))
    return linear(params["head"], jax.nn.relu(batch_norm(params["norm"], x, rows)))
