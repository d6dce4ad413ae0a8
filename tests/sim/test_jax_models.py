"""Models of Flax and Equinox, as users write them, trained in low precision; neither library is known to halfulp."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe
from jax import lax

from .jax_cases import FP4, gradients, integers, quantized, rounded

optax = pytest.importorskip("optax")
FP8 = Recipe("fp8 by hand", **dict.fromkeys(OPERANDS[1:2], Quantizer("fp8_e4m3", gradient="identity")))


def trained(q, params, *data, steps=20, rate=3e-3):
    """Losses of some steps of Adam in one program, after the optimizer's own way."""
    optimizer = optax.adam(rate)

    @jax.jit
    def run(params):
        def step(state, k):
            params, moments = state
            value, gradient = jax.value_and_grad(q, allow_int=True)(params, *data, seed=0, step=k)
            updates, moments = optimizer.update(gradient, moments, params)
            return (optax.apply_updates(params, updates), moments), value

        return lax.scan(step, (params, optimizer.init(params)), jnp.arange(steps))[1]

    return np.asarray(run(params))


def filled(shapes):
    """A pytree with numbers in the place of shapes, without the compilation of random initializers."""
    random = np.random.default_rng(0)

    def fill(x):
        if not isinstance(x, jax.ShapeDtypeStruct):
            return x
        return jnp.asarray(random.normal(size=x.shape) / x.shape[-1] ** 0.5, x.dtype)

    return jax.tree.map(fill, shapes)


def test_flax_transformer():
    """Stacked layers under nn.scan and nn.remat, with attention: names are those of the modules."""
    nn = pytest.importorskip("flax.linen")

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            x = x + nn.MultiHeadDotProductAttention(num_heads=2, name="attn")(nn.LayerNorm()(x))
            return x + nn.Dense(32, name="down")(nn.gelu(nn.Dense(32, name="up")(nn.LayerNorm()(x)))), None

    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(11, 32, name="embed")(tokens)
            layers = nn.scan(nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
            return nn.Dense(11, name="head")(layers(name="layers")(x, None)[0])

    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, (4, 8)))
    model = Model()
    variables = filled(jax.eval_shape(model.init, jax.random.key(1), tokens))

    def loss(variables, tokens):
        logits = model.apply(variables, tokens)
        return optax.softmax_cross_entropy_with_integer_labels(logits, (tokens * 3 + 1) % 11).mean()

    rules = [("head", None), ("layers.up", "mxfp8"), ("layers.down", FP8), ("*.attn", FP8)]
    table = hu.explain(loss, rules, args=(variables, tokens))
    heads = [f"layers.attn.{name}" for name in ("query", "key", "value")]
    scores = ["Model.layers.attn", "Model.layers.attn#1"]
    assert list(table.index) == [*heads, *scores, "layers.attn.out", "layers.up", "layers.down", "head"]
    assert table["turns"].tolist() == [2] * 8 + [1]
    assert table["kind"].tolist() == ["linear"] * 3 + ["matmul"] * 2 + ["linear"] * 4
    assert table["recipe"].tolist() == ["fp8 by hand"] * 6 + ["mxfp8", "fp8 by hand", ""]
    losses = trained(quantized(loss, rules), variables, tokens, rate=1e-2)
    assert losses[-1] < 0.5 * losses[0]


def test_flax_nnx():
    """A convolutional network, an object that is a pytree; its state split off has the same names."""
    nnx = pytest.importorskip("flax.nnx")

    def normal(key, shape, dtype, **_):
        return jnp.asarray(0.3 * np.random.default_rng(0).normal(size=shape), dtype)

    class Model(nnx.Module):
        def __init__(self, rngs):
            how = {"kernel_init": normal, "rngs": rngs}
            self.convs = nnx.List([nnx.Conv(1, 8, (3, 3), **how), nnx.Conv(8, 8, (3, 3), strides=2, **how)])
            self.head = nnx.Linear(32, 3, **how)

        def __call__(self, x):
            for conv in self.convs:
                x = jax.nn.relu(conv(x))
            return self.head(x.reshape(x.shape[0], -1))

    model, x = Model(nnx.Rngs(0)), integers(8, 4, 4, 1, largest=2)

    def loss(model, x):
        return ((model(x) - x.mean((1, 2))) ** 2).mean()

    rules = [("head", None), ("*", FP8)]
    table = hu.explain(loss, rules, args=(model, x))
    assert list(table.index) == ["convs.0", "convs.1", "head"]
    assert table["parameter"].tolist() == ["convs.0.kernel", "convs.1.kernel", "head.kernel"]
    graph, state = nnx.split(model)
    split = quantized(lambda state, x: loss(nnx.merge(graph, state), x), rules)
    losses = trained(split, state, x)
    assert losses[-1] < 0.7 * losses[0]


def test_equinox():
    """A model whose leaves are not all arrays, called for one example under vmap."""
    eqx = pytest.importorskip("equinox")
    model = filled(eqx.filter_eval_shape(eqx.nn.MLP, 32, 16, 32, 1, key=jax.random.key(0)))
    x = integers(32, 32, seed=1, largest=2)

    def loss(model, x):
        return ((jax.vmap(model)(x) - x[:, :16]) ** 2).mean()

    rules = [("layers.1", None), ("*", "nvfp4")]
    assert hu.explain(loss, rules, args=(model, x))["recipe"].to_dict() == {"layers.0": "nvfp4", "layers.1": ""}
    assert list(hu.explain(jax.vmap(model), "nvfp4", args=(x,)).index) == ["layers.0", "layers.1"]
    shapes = eqx.filter_eval_shape(eqx.filter_grad(quantized(loss, rules)), model, x)
    assert shapes.layers[0].weight.shape == (32, 32)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    q = quantized(lambda params, x: loss(eqx.combine(params, static), x), rules)
    losses = trained(q, params, x, rate=1e-2)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("recipe", [FP4, "mxfp4"])
def test_each_operand_of_a_network(recipe):
    """Teacher-forced: every product of a network of two layers, forward and backward, is that of `hu.quantize`d
    operands."""

    def network(params, x):
        hidden = x @ params["0"]["w"]
        return hidden, jax.nn.relu(hidden) @ params["1"]["w"]

    def of(t, axis):
        return rounded(t) if recipe is FP4 else rounded(t, "mxfp4", axis=axis)

    def by_hand(params, x, e):
        w0, w1 = (params[name]["w"] for name in "01")
        hidden = of(x, 1) @ of(w0, 0)
        a = jax.nn.relu(hidden)
        back = of(e, 1) @ of(w1, 1).T
        inner = jnp.where(hidden > 0, back, 0)
        to_w0, to_w1 = (of(t, 0).T @ of(d, 0) for t, d in ((x, inner), (a, e)))
        value = hidden, of(a, 1) @ of(w1, 0)
        return value, ({"0": {"w": to_w0}, "1": {"w": to_w1}}, of(inner, 1) @ of(w0, 1).T)

    params = {"0": {"w": integers(32, 64, seed=1)}, "1": {"w": integers(64, 32, seed=2)}}
    x, e = integers(32, 32), integers(32, 32, seed=3)
    found = gradients(quantized(network, recipe), (jnp.zeros((32, 64)), e), params, x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(by_hand(params, x, e))):
        np.testing.assert_array_equal(a, b)
