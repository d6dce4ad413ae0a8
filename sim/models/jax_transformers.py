"""Transformers in JAX."""

import jax

from .constants import rotary_tables
from .jax_layers import Layer, attention, layer_norm, linear, rms_norm
from .transformers import Llama, Vit


def vit(model: Vit, params: Layer, x: jax.Array) -> jax.Array:
    """(n, classes) logits of images (n, c, h, w)."""
    n, c, h, w = x.shape
    p = model.patch
    x = x.reshape(n, c, h // p, p, w // p, p).transpose(0, 2, 4, 1, 3, 5).reshape(n, model.positions, c * p * p)
    x = linear(params["embed"], x) + params["position_embed"]
    for k in range(model.depth):
        layer = params["layers"][str(k)]
        with jax.named_scope(f"layers.{k}.attention"):
            x = x + attention(layer["attention"], layer_norm(layer["attention_norm"], x), model.heads)
        hidden = jax.nn.gelu(linear(layer["mlp"]["up"], layer_norm(layer["mlp_norm"], x)), approximate=False)
        x = x + linear(layer["mlp"]["down"], hidden)
    return linear(params["head"], layer_norm(params["norm"], x).mean(1))


def llama(model: Llama, params: Layer, tokens: jax.Array) -> jax.Array:
    """(n, length, vocabulary) logits of the token after each of (n, length) tokens."""
    x = params["embed"]["weight"][tokens]
    rotary = rotary_tables(tokens.shape[1], model.width // model.heads)
    for k in range(model.depth):
        layer = params["layers"][str(k)]
        with jax.named_scope(f"layers.{k}.attention"):
            normed = rms_norm(layer["attention_norm"], x)
            x = x + attention(layer["attention"], normed, model.heads, causal=True, rotary=rotary)
        ffn, normed = layer["ffn"], rms_norm(layer["ffn_norm"], x)
        x = x + linear(ffn["down"], jax.nn.silu(linear(ffn["gate"], normed)) * linear(ffn["up"], normed))
    return linear(params["embed" if model.tied else "head"], rms_norm(params["norm"], x))
