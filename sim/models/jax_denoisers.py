"""Networks that predict noise, and the sampler that draws images with one, in JAX."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...emulate.backends.jax_integers import JaxWords
from .denoisers import MlpDenoiser, Unet
from .jax_layers import Layer, channels_first, channels_last, convolution, group_norm, layer_norm, linear
from .noise import NOISE, uniform
from .schedule import STEPS, schedule, time_features


def normal(words: Any, stream: Any, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal float32 numbers."""
    return np.float32(np.sqrt(2)) * lax.erf_inv(2 * uniform(jnp, JaxWords(), words, stream, shape) - 1)


def mlp_denoiser(model: MlpDenoiser, params: Layer, x: jax.Array, time: jax.Array) -> jax.Array:
    """The noise in images (n, c, h, w) at times (n,)."""
    at = jax.nn.silu(linear(params["time"], jnp.asarray(time_features())[time]))
    stream = linear(params["embed"], x.reshape(x.shape[0], -1))
    for k in range(model.depth):
        layer = params["layers"][str(k)]
        hidden = linear(layer["up"], layer_norm(layer["norm"], stream)) + linear(layer["time"], at)
        stream = stream + linear(layer["down"], jax.nn.silu(hidden))
    return linear(params["head"], layer_norm(params["norm"], stream)).reshape(x.shape)


def unet(model: Unet, params: Layer, x: jax.Array, time: jax.Array) -> jax.Array:
    """The noise in images (n, c, h, w) at times (n,)."""
    at = jax.nn.silu(linear(params["time"], jnp.asarray(time_features())[time]))
    direct = model.direct
    first = _block(params["first"], convolution(params["embed"], channels_last(x), direct=direct), at, direct)
    middle = _block(params["middle"], convolution(params["down"], first, stride=2, direct=direct), at, direct)
    up = convolution(params["up"], middle.repeat(2, axis=1).repeat(2, axis=2), direct=direct)
    last = _block(params["last"], jnp.concatenate([up, first], axis=-1), at, direct)
    return channels_first(convolution(params["head"], jax.nn.silu(group_norm(params["norm"], last)), direct=direct))


def _block(block: Layer, x: jax.Array, at: jax.Array, direct: bool) -> jax.Array:
    h = convolution(block["convolution1"], jax.nn.silu(group_norm(block["norm1"], x)), direct=direct)
    h = h + linear(block["time"], at)[:, None, None]
    h = convolution(block["convolution2"], jax.nn.silu(group_norm(block["norm2"], h)), direct=direct)
    return h + (convolution(block["skip"], x, direct=direct) if "skip" in block else x)


def predicted(model: Any, params: Layer, x: jax.Array, time: jax.Array) -> jax.Array:
    """The noise that any of them finds."""
    return unet(model, params, x, time) if isinstance(model, Unet) else mlp_denoiser(model, params, x, time)


def noisy(words: Any, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Images with noise, the noise, and their times.

    The times of a batch are spread evenly from one random number, which keeps the mean loss and lowers its variance
    (Kingma et al., arXiv:2107.00630).
    """
    n = x.shape[0]
    start = uniform(jnp, JaxWords(), words, 0, (1,))
    time = ((jnp.arange(n, dtype=jnp.float32) + start) * np.float32(STEPS / n)).astype(jnp.int32)
    time = jnp.minimum(time, STEPS - 1)
    noise = normal(words, NOISE, x.shape)
    left = jnp.asarray(schedule().alpha_bar)[time].reshape(n, 1, 1, 1)
    return jnp.sqrt(left) * x + jnp.sqrt(1 - left) * noise, noise, time


@partial(jax.jit, static_argnums=(0, 3))
def sampled(model: Any, params: Layer, words: Any, n: int) -> jax.Array:
    """(n, c, h, w) images drawn by ancestral sampling, within -1 and 1.

    The image that the predicted noise leaves is clipped to -1 and 1 at each step, as in the code of Ho et al.
    """
    plan = schedule()

    def step(x: jax.Array, now: Any) -> tuple[jax.Array, None]:
        time, left, of_clean, of_noisy, deviation = now
        found = predicted(model, params, x, jnp.full(n, time))
        clean = jnp.clip((x - jnp.sqrt(1 - left) * found) / jnp.sqrt(left), -1, 1)
        stream = time.astype(jnp.uint32) + jnp.uint32(NOISE + 1)
        return of_clean * clean + of_noisy * x + deviation * normal(words, stream, x.shape), None

    times = (jnp.arange(STEPS), *(jnp.asarray(a) for a in plan))
    start = normal(words, NOISE, (n, *model.image))
    return jnp.clip(lax.scan(step, start, times, reverse=True)[0], -1, 1)
