"""How the products of a function are called, which rules reach them, and what is refused. Functions are only traced."""

import functools
import subprocess
import sys

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import Recipe
from jax import lax
from jax.extend.core import jaxprs_in_params

from .jax_cases import FP4, integers, names_of, quantized, trunk

X, W = jax.ShapeDtypeStruct((64, 64), jnp.float32), jax.ShapeDtypeStruct((64, 64), jnp.float32)
KEY = jax.ShapeDtypeStruct((2,), jnp.uint32)


def explained(fn, *args, rules="mxfp4", **kwargs):
    return hu.explain(fn, rules, args=args, **kwargs)


# ---------------------------------------------------------------- names of layers


@pytest.mark.parametrize(
    ("params", "read", "name"),
    [
        ({"0": {"weight": W}}, lambda p: p["0"]["weight"], "0"),
        ({"layers": [{"w": W}, {"w": W}]}, lambda p: p["layers"][1]["w"], "layers.1"),
        ({"params": {"Dense_0": {"kernel": W}}}, lambda p: p["params"]["Dense_0"]["kernel"], "Dense_0"),
        ({"w1": W}, lambda p: p["w1"], "w1"),
        ((W, X), lambda p: p[0], "0"),
        (W, lambda p: p, "params"),
        ({"params": W}, lambda p: p["params"], "params"),
    ],
)
def test_layers_are_paths_without_the_last_key(params, read, name):
    def call(params, x):
        return x @ read(params)

    assert names_of(call, params, X) == [name]


def test_parameters_are_followed():
    """Through what moves them, through boundaries, and through what is computed of parameters alone."""

    def call(p, x, k):
        layer = p["stack"]["w"][k]  # a slice where a layer is picked
        x = x @ layer.astype(jnp.bfloat16).astype(jnp.float32).T
        x = x @ jnp.reshape(p["moved"]["w"], (64, 8, 8)).transpose(1, 2, 0).reshape(64, 64)
        x = jax.jit(jax.checkpoint(lambda w, x: x @ lax.optimization_barrier(w)))(p["inside"]["w"], x)
        w = p["normed"]["w"]
        x = x @ (w / jnp.linalg.norm(w, axis=0) * p["normed"]["scale"])
        x = x @ (p["lora"]["w"] + p["lora"]["a"] @ p["lora"]["b"])
        return x @ jax.nn.standardize(jnp.take(p["taken"]["w"], k, axis=0))

    stack, small = jax.ShapeDtypeStruct((3, 64, 64), jnp.float32), jax.ShapeDtypeStruct((64,), jnp.float32)
    p = {name: {"w": W} for name in ("moved", "inside", "normed", "lora")}
    p |= {"stack": {"w": stack}, "taken": {"w": stack}}
    p["normed"]["scale"] = small
    p["lora"] |= {"a": jax.ShapeDtypeStruct((64, 4), jnp.float32), "b": jax.ShapeDtypeStruct((4, 64), jnp.float32)}
    found = explained(call, p, X, jax.ShapeDtypeStruct((), jnp.int32), rules=FP4)
    assert list(found.index) == ["stack", "moved", "inside", "normed", "lora", "lora#1", "taken"]
    assert (found["kind"] == "linear").all()


def test_what_data_touches_is_data():
    """Rows of tokens, activations and what a function computes for itself are no parameters."""

    def call(p, tokens, x):
        h = p["embed"][tokens] + p["positions"]
        scores = jnp.einsum("bsd,btd->bst", h, h)
        causal = jnp.tril(jnp.ones((8, 8)))
        return scores @ causal, jnp.einsum("bst,btd->bsd", scores, h) @ p["out"]["w"], x @ x.T

    p = {"embed": W, "positions": jax.ShapeDtypeStruct((8, 64), jnp.float32), "out": {"w": W}}
    tokens = jax.ShapeDtypeStruct((2, 8), jnp.int32)
    found = explained(call, p, tokens, jax.ShapeDtypeStruct((8, 64), jnp.float32), rules=FP4)
    quantized_ones = [name for name, recipe in found["recipe"].items() if recipe]
    assert quantized_ones == ["out"]


def test_loops_keep_names():
    def call(p, x):
        return lax.fori_loop(0, 3, lambda k, h: h @ p["blocks"]["w"][k], trunk(p["trunk"], x))

    stack = jax.ShapeDtypeStruct((3, 64, 64), jnp.float32)
    p = {"blocks": {"w": stack}, "trunk": {"layers": {"kernel": stack}}}
    found = explained(call, p, X)
    assert list(found.index) == ["trunk.layers", "blocks"]
    assert found["turns"].tolist() == [3, 3]


def test_scopes():
    """Scopes inside of checkpoints, scans and jit go on from those around; those of transformations are none."""

    def call(p, x):
        def inner(x):
            with jax.named_scope("mlp"):
                return jnp.einsum("ij,jk->ik", x, x)

        with jax.named_scope("block"):
            x = jax.checkpoint(inner)(x)
            x = lax.scan(lambda c, _: (jax.jit(inner)(c), None), x, length=2)[0]
            return jax.vmap(lambda row: jax.vmap(jax.named_call(jnp.dot, name="dots"), (None, 0))(row, x))(x) @ p

    found = explained(call, W, X, rules=[("*.mlp", FP4), ("block.dots", FP4), ("p", None)])
    assert list(found.index) == ["block.mlp", "block.mlp#1", "block.dots", "p"]
    assert found["recipe"].tolist() == ["all in fp4"] * 3 + [""]
    assert found["scope"].tolist() == ["block.mlp", "block.mlp", "block.dots", "block"]


def test_arguments_that_hold_parameters():
    def call(x, weights, *, head=None):
        return x @ weights["w"] if head is None else x @ weights["w"] @ head

    assert names_of(call, X, {"w": W}, rules=[("x", FP4)]) == ["x"]  # the first argument, by default
    for params in ("weights", 1, (-1,), ("weights",)):
        assert list(explained(call, X, {"w": W}, params=params).index) == ["w"]
    found = hu.explain(call, FP4, args=(X, {"w": W}), kwargs={"head": W}, params=("weights", "head"))
    assert list(found.index) == ["w", "head"]
    with pytest.raises(ValueError, match="params='weight' is none of the arguments x, weights"):
        explained(call, X, {"w": W}, params="weight")
    with pytest.raises(ValueError, match="params=2 is none of the 2 positional arguments"):
        explained(call, X, {"w": W}, params=2)
    with pytest.raises(TypeError, match="numbers or names of arguments"):
        explained(call, X, {"w": W}, params=1.5)


class Model:
    """An object with parameters, as a pytree."""

    def __init__(self, w):
        self.head = {"w": w}

    def __call__(self, x):
        return x @ self.head["w"]


jax.tree_util.register_pytree_with_keys(
    Model, lambda m: ([(jax.tree_util.GetAttrKey("head"), m.head)], None), lambda _, kids: Model(kids[0]["w"])
)
GLOBAL = Model(integers(64, 64))
SETTINGS = {"scale": 2, 1: "one"}


def test_parameters_that_a_function_holds():
    model, x = Model(integers(64, 64)), jnp.zeros((4, 64))
    params = {"head": {"w": model.head["w"]}}

    def call(params, x):
        return x @ params["head"]["w"]

    held = [
        model,
        model.__call__,
        jax.vmap(model),
        lambda x: jax.jit(model)(x),
        lambda x: GLOBAL(x),
        lambda x: GLOBAL(x) * SETTINGS["scale"],
        functools.partial(call, params),
        functools.partial(call, params=params),
        lambda x: call(params, x),
    ]
    for fn in held:
        arguments = {"kwargs": {"x": x}} if getattr(fn, "keywords", None) else {"args": (x,)}
        assert list(hu.explain(fn, FP4, **arguments).index) == ["head"]
    bare = model.head["w"]
    assert names_of(lambda x: x @ bare, x, rules=FP4) == ["linear"]
    assert names_of(lambda x: jax.jit(lambda x: x @ bare)(x), x, rules=FP4) == ["linear"]
    named = jax.named_call(lambda x: x @ np.asarray(bare), name="mine")
    assert names_of(lambda x: named(x), x, rules=FP4) == ["mine"]


# ---------------------------------------------------------------- rules


def attention(params, x):
    with jax.named_scope("attn"):
        q, k = (x @ params[name]["w"] for name in ("q", "k"))
        scores = jnp.einsum("bqd,bkd->bqk", q, k)
    return scores, lax.conv_general_dilated(x, params["conv"]["w"], (1,), ((1, 1),))


PARAMS = {"q": {"w": W}, "k": {"w": W}, "conv": {"w": jax.ShapeDtypeStruct((4, 8, 3), jnp.float32)}}
INPUT = jax.ShapeDtypeStruct((2, 8, 64), jnp.float32)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([("*", FP4)], ["q", "k", "conv"]),
        ([("type:linear", FP4)], ["q", "k"]),
        ([("type:matmul", FP4)], ["attn"]),
        ([("type:dot_general", FP4)], ["q", "k", "attn"]),
        ([("type:conv*", FP4)], ["conv"]),
        ([("attn", FP4)], ["q", "k", "attn"]),
        ([("att*", FP4)], ["q", "k"]),
        ([("q", None), ("attn", FP4)], ["k", "attn"]),
        ([("params.q.w", FP4)], ["q"]),
        ([("params.q", FP4), ("k.w", FP4)], ["q", "k"]),
        ([("[qk]", FP4), ("type:matmul", None)], ["q", "k"]),
        ([hu.Rule("conv", FP4)], ["conv"]),
    ],
)
def test_rules_match_layers_parameters_scopes_and_types(rules, expected):
    found = explained(attention, PARAMS, INPUT, rules=rules)
    assert [name for name, recipe in found["recipe"].items() if recipe] == expected


def test_explanation():
    found = explained(attention, PARAMS, INPUT, rules=[("type:matmul", "mxfp8"), ("q", None), ("k", "mxfp4")])
    assert found.loc["k", ["kind", "part", "parameter", "scope"]].tolist() == ["linear", "forward", "k.w", "attn"]
    assert found.loc["k", ["shapes", "recipe", "weight", "bits"]].tolist() == [
        "(2, 8, 64) x (64, 64)", "mxfp4", "mxfp4", 4.25
    ]  # fmt: skip
    assert found["note"].tolist() == ["left alone", "", "", "no rule matches"]
    assert str(found).endswith("2 of 4 products are quantized")
    with pytest.raises(TypeError, match="write hu.explain\\(fn, rules, args="):
        hu.explain(attention, "mxfp4")


def _grad(params, x):
    return jax.grad(lambda p: (x @ p["w"]).sum())(params)


def _tangent(params, x):
    return jax.jvp(lambda x: x @ params["w"], (x,), (x,))


def _while(params, x):
    return lax.while_loop(lambda x: x.sum() < 0, lambda x: x @ params["w"], x)


def _grouped(params, x):
    return lax.conv_general_dilated(x, params["w"], (1,), ((0, 0),), batch_group_count=2)


IMAGES = jax.ShapeDtypeStruct((4, 8, 9), jnp.float32)
PAIR = {"w": W}


@pytest.mark.parametrize(
    ("fn", "args", "rules", "message"),
    [
        (_grad, (PAIR, X), "mxfp4", r"w: the function already contains its gradient.*jax.grad\(hu.quantized\(fn, rul"),
        (_tangent, (PAIR, X), "mxfp4", "already contains its gradient"),
        (attention, (PARAMS, INPUT), [("zz*", FP4)], r"rule 1 'zz\*' matched no product; products: q, k, attn, conv"),
        (attention, (PARAMS, INPUT), [("atn", FP4)], r"rule 1 'atn' matched no product; closest: 'attn'"),
        (attention, (PARAMS, INPUT), [("type:lineal", FP4)], "closest: 'type:linear'"),
        (attention, (PARAMS, INPUT), [("*", FP4), ("q", "mxfp8")], "rule 2 'q' is never used: rule 1 .* same products"),
        (
            lambda p, x: p * (x @ x.mT).sum(),
            (W, INPUT),
            "mxfp4",
            "rule 1 '.' matched nothing that can be quantized: matmul",
        ),
        (lambda x: x * 2, (X,), "mxfp4", "has no matrix product and no convolution"),
        (lambda p, x: x @ p, (W, X), FP4.with_(bias="bf16"), "with_.bias=None"),
        (_while, (PAIR, X), "fp8_delayed", "delayed scales from step to step, which cannot leave a while loop"),
        (_grouped, ({"w": IMAGES}, IMAGES), FP4, "batch_group_count"),
        (
            lambda p, x: lax.conv_general_dilated(x, p, (1,), ((0, 0),)),
            (IMAGES, IMAGES),
            FP4.with_(accumulator={"fmt": "fp16"}),
            "not convolutions; leave the product out by a rule",
        ),
    ],
)
def test_refusals(fn, args, rules, message):
    with pytest.raises(ValueError, match=message):
        hu.explain(fn, rules, args=args)


def test_refusals_of_calls():
    def call(params, x):
        return x @ params["w"]

    params, x = {"w": integers(64, 64)}, integers(8, 64)
    q = quantized(call, "fp8_delayed")
    with pytest.raises(ValueError, match=r"w keeps scales from step to step; make a state with state = q.init"):
        q(params, x)
    with pytest.raises(
        ValueError, match=r"of other shapes: expected history\['w'\] \(6, 16\), got sizes\['w'\] \(2,\)"
    ):
        q(params, x, state={"sizes": {"w": jnp.zeros(2)}})
    with pytest.raises(ValueError, match="got nothing"):
        q(params, x, state={"a": {}})
    with pytest.raises(ValueError, match="expected a state as q.init"):
        q(params, x, state=[jnp.zeros(2)])
    with pytest.raises(ValueError, match="another structure than the state"):
        q.advance({"history": {"w": jnp.zeros((6, 16))}}, {})
    q = quantized(call, FP4)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="expected a seed from 0"):
            q(params, x, seed=seed)
    for seed in (1.5, True, "a", None):
        with pytest.raises(TypeError, match="expected a seed of one integer, two words of 32 bits or a JAX key"):
            q(params, x, seed=seed)
    with pytest.raises(ValueError, match="got float32 of shape \\(2,\\)"):
        q(params, x, seed=jnp.zeros(2))
    with pytest.raises(ValueError, match="expected step from 0"):
        q(params, x, step=-1)
    with pytest.raises(TypeError, match="expected an integer step"):
        q(params, x, step=1.0)
    with pytest.raises(ValueError, match="expected an integer step, got float32"):
        q(params, x, step=jnp.float32(1))
    with pytest.raises(TypeError, match="expected a function of JAX arrays, got int"):
        quantized(3, "mxfp4")
    with pytest.raises(ValueError, match="did you mean"):
        quantized(call, "mxfp44")
    with pytest.raises(ValueError, match=r"w: fprop_x has blocks of 32 .* 63 inputs are no multiple of 32; give the"):
        quantized(call, "mxfp4")({"w": integers(63, 4)}, integers(8, 63))


def test_rules_for_derivatives_keep_no_scales():
    @jax.custom_vjp
    def own(x, w):
        return x @ w

    own.defvjp(lambda x, w: (x @ w, (x, w)), lambda kept, e: (e @ kept[1].T, kept[0].T @ e))
    with pytest.raises(ValueError, match="cannot leave a function with its own rule for derivatives"):
        hu.explain(lambda w, x: own(x, w), "fp8_delayed", args=(W, X))


def test_what_a_name_is_written_for():
    """The number of products is that of the function, whatever their rules; backward rules are looked through."""
    jaxpr = jax.make_jaxpr(quantized(trunk, FP4))({"layers": {"kernel": integers(2, 8, 8)}}, integers(4, 8))

    def names(jaxpr):
        inner = [name for e in jaxpr.eqns for part in jaxprs_in_params(e.params) for name in names(part)]
        return [e.primitive.name for e in jaxpr.eqns] + inner

    assert names(jaxpr.jaxpr).count("dot_general") == 1
    assert "scan" in names(jaxpr.jaxpr)
    assert "remat2" in names(jaxpr.jaxpr)


def test_repr():
    assert repr(quantized(trunk, [("a.*", Recipe("mine", Quantizer("int8"))), ("*", None)])) == (
        "quantized(trunk, [('a.*', 'mine'), ('*', 'identity')])"
    )


def test_the_front_door_imports_no_framework():
    program = (
        "import sys; from halfulp.sim.functions.quantized import quantized; import halfulp.sim.wrapping.wrapping;"
        "found = {'torch', 'jax', 'pandas'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
