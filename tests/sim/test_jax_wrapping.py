"""`hu.quantized`: every product of a function is found and quantized, and nothing else changes."""

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

from .jax_cases import (
    ALL_SR,
    FP4,
    SR,
    E,
    W,
    X,
    by_hand,
    counted,
    equal,
    fp4,
    gradients,
    integers,
    product,
    quantized,
    rounded,
)

# ---------------------------------------------------------------- what becomes of a product


def test_operands_of_a_product():
    value, (to_w, to_x) = gradients(quantized(product, FP4), E, W, X)
    expected, (dx, dw) = by_hand(X, W, E)
    equal([value, to_x, to_w], [expected, dx, dw])


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,jk->ki", "ji,jk->ik", "ij,kj->ik", "kj,ij->ik"])
def test_any_order_of_axes(equation):
    """The parameter is the left or the right factor, contracted along any axis."""
    left, right = equation.partition("->")[0].split(",")
    shapes = {"i": 6, "j": 8, "k": 5}
    first, second = (integers(*[shapes[c] for c in each], seed=k) for k, each in enumerate((left, right)))
    for swapped in (False, True):

        def call(w, x):
            a, b = (w, x) if swapped else (x, w)
            return jnp.einsum(equation, a, b)

        w, x = (first, second) if swapped else (second, first)
        equal(quantized(call, FP4)(w, x), jnp.einsum(equation, fp4(first), fp4(second)))


def test_several_contracted_axes_and_blocks():
    """Axes are flattened in the order of the dimension numbers, and blocks run along all of them."""
    w, x = integers(4, 16, 3, seed=3), integers(2, 6, 4, 16, seed=4)
    q = quantized(lambda w, x: jnp.einsum("abhd,hdo->abo", x, w), "mxfp4")
    flat = rounded(x.reshape(12, 64), "mxfp4"), rounded(w.reshape(64, 3), "mxfp4", axis=0)
    equal(q(w, x), (flat[0] @ flat[1]).reshape(2, 6, 3))


def test_products_of_activations_have_batch_axes():
    a, b = integers(2, 3, 4, 8), integers(2, 3, 5, 8, seed=1)

    def scores(params, a, b):
        return jnp.einsum("bhqd,bhkd->bhqk", a, b) + params["bias"]

    params = {"bias": integers(4, 5)}
    found = quantized(scores, [("type:matmul", FP4)])(params, a, b)
    equal(found, jnp.einsum("bhqd,bhkd->bhqk", fp4(a), fp4(b)) + params["bias"])


@pytest.mark.parametrize("equation", ["bed,edf->bef", "ebd,edf->efb", "ebd,edf->ebf"])
def test_weights_with_batch_axes(equation):
    """Of weights of experts, whichever side of the product they are on."""
    w, x = integers(3, 8, 16), integers(*({"b": 5, "e": 3, "d": 8}[axis] for axis in equation[:3]), seed=1)
    weights = Recipe("weights", fprop_w=Quantizer("fp4_e2m1", gradient="identity"), dgrad_e=Quantizer("fp4_e2m1"))
    e = integers(*jnp.einsum(equation, x, w).shape, seed=2)
    value, (to_w, to_x) = gradients(quantized(lambda p, x: jnp.einsum(equation, x, p), weights), e, w, x)
    plain = functools.partial(jnp.einsum, equation)
    equal(value, plain(x, fp4(w)))
    equal(to_w, jax.vjp(plain, x, w)[1](e)[1])
    equal(to_x, jax.vjp(plain, x, w)[1](fp4(e))[0])


@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions(transposed):
    w, x = integers(3, 2, 4, 6, seed=1, largest=5), integers(2, 7, 6, 4, largest=5)
    how = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    how |= {"lhs_dilation": (2, 2)} if transposed else {"rhs_dilation": (2, 1)}

    def call(w, x):
        return lax.conv_general_dilated(x, w, (2, 1), ((2, 2), (1, 0)), **how)

    e = integers(*call(w, x).shape, seed=5, largest=5)
    value, (to_w, to_x) = gradients(quantized(call, FP4), e, w, x)
    expected, (plain_w, plain_x) = gradients(call, fp4(e), fp4(w), fp4(x))
    equal([value, to_w, to_x], [expected, plain_w, plain_x])


def test_dtypes():
    """bfloat16 stays, and a preferred dtype is that of the sum."""
    w, x = W.astype(jnp.bfloat16), X.astype(jnp.bfloat16)
    equal(quantized(product, FP4)(w, x), (fp4(X) @ fp4(W)).astype(jnp.bfloat16))

    def wide(w, x):
        return lax.dot_general(x, w, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    equal(quantized(wide, FP4)(w, x), fp4(X) @ fp4(W))


def test_what_is_no_float_is_left_alone():
    def call(params, x, counts):
        return x @ params["w"], counts @ counts.T, jnp.linalg.eigh(x @ x.T)[0], (x + 0j) @ (params["w"] + 1j)

    counts = jnp.arange(6).reshape(2, 3)
    plain, found = call({"w": W}, X, counts), quantized(call, FP4)({"w": W}, X, counts)
    equal(found[0], fp4(X) @ fp4(W))
    equal(found[1], plain[1])
    np.testing.assert_allclose(found[2], plain[2], rtol=1e-4, atol=1e-3)
    notes = list(hu.explain(call, FP4, args=({"w": W}, X, counts))["note"])
    assert ["integers" in note for note in notes] == [False, True, False, False]
    assert "complex numbers" in notes[3]


def test_rules_that_do_nothing_change_nothing():
    x, w = jax.random.normal(jax.random.key(0), (33, 65)), jax.random.normal(jax.random.key(1), (65, 17))
    equal(quantized(product, "identity")(w, x), jax.jit(product)(w, x))
    grads = [
        jax.grad(lambda w, fn=fn: fn(w, x).sum())(w) for fn in (quantized(product, [("*", None)]), jax.jit(product))
    ]
    equal(*grads)


# ---------------------------------------------------------------- transformations of the result


def test_transformations():
    q = quantized(product, FP4)
    xs = integers(3, 6, 8, seed=8)
    equal(jax.vmap(q, (None, 0))(W, xs), jnp.stack([fp4(x) @ fp4(W) for x in xs]))
    rows = jax.jit(jax.vmap(jax.grad(lambda w, x: q(w, x).sum()), (None, 0)))(W, xs)
    equal(rows, jnp.stack([fp4(x).T @ jnp.ones((6, 5)) for x in xs]))
    found = lax.scan(lambda w, x: (w + 1, q(w, x)), W, xs)[1]
    equal(found, jnp.stack([fp4(x) @ fp4(W + k) for k, x in enumerate(xs)]))


def test_members_of_a_vmap_draw_their_own_words():
    found = jax.vmap(quantized(product, SR), (None, 0))(W, jnp.stack([X, X]))
    assert not np.array_equal(found[0], found[1])


def test_calls_are_compiled_once():
    fn, calls = counted(product)
    q = quantized(fn, FP4)
    for step in range(3):
        q(W, X, step=step, seed=step)
    assert len(calls) == 1
    q(W, X[:3])
    assert len(calls) == 2


def test_static_arguments():
    def call(params, x, depth, *, activation, scale):
        for _ in range(depth):
            x = activation(x @ params["w"])
        return x * scale if scale.ndim == 0 else None

    w = integers(8, 8)
    q = quantized(call, FP4)
    equal(q({"w": w}, X, 2, activation=jnp.round, scale=2.0), 2 * fp4(fp4(X) @ fp4(w)) @ fp4(w))
    with pytest.raises(TypeError, match="that can be hashed among the arguments, got bytearray"):
        q({"w": w}, X, bytearray(b"x"), activation=jnp.round, scale=2.0)


def test_static_arguments_that_are_equal():
    q = quantized(lambda w, x, flag: (x @ w) * (2 if flag is True else 3), FP4)
    equal([q(W, X, True), q(W, X, 1)], [2 * fp4(X) @ fp4(W), 3 * fp4(X) @ fp4(W)])


def test_what_is_quantized_already_stays():
    """The inner recipe holds; what it left alone is for the outer one."""
    inner = quantized(lambda p, x: x @ p["a"] @ p["b"], [("a", FP4)])
    params = {"a": integers(8, 8, seed=1), "b": integers(8, 4, seed=2)}
    table = hu.explain(inner, FP4, args=(params, X))
    assert table["note"].tolist() == ["quantized already, left alone", ""]
    equal(quantized(inner, FP4)(params, X), fp4(fp4(X) @ fp4(params["a"])) @ fp4(params["b"]))


def test_donated_arguments():
    w = integers(8, 8, seed=3)
    q = jax.jit(quantized(product, FP4), donate_argnums=1)
    equal(q(w, X + 0), fp4(X) @ fp4(w))


def test_schedules_change_in_one_program():
    fn, calls = counted(product)
    recipe = FP4.with_(schedule=((2, Recipe()), (4, FP4.with_(fprop_w=Quantizer()))))
    q = quantized(fn, recipe)
    plain, other = X @ W, fp4(X) @ W
    for step, expected in enumerate([fp4(X) @ fp4(W)] * 2 + [plain] * 2 + [other] * 2):
        equal(q(W, X, step=step), expected)
    assert len(calls) == 1
    grads = jax.jit(lambda k: jax.grad(lambda w: q(w, X, step=k).sum())(W))
    equal(grads(1), fp4(X).T @ jnp.ones((6, 5)))
    equal(grads(2), X.T @ jnp.ones((6, 5)))


# ---------------------------------------------------------------- torch


def test_the_same_as_torch():
    """Layers of one name draw the same words: values and gradients agree bit for bit where products are exact."""
    torch = pytest.importorskip("torch")

    def mlp(params, x):
        for name in ("0", "2"):
            x = x @ params[name]["weight"].T
            x = jax.nn.relu(x) if name == "0" else x
        return x

    weights = {"0": integers(16, 8, seed=1, largest=2), "2": integers(4, 16, seed=2, largest=2)}
    x, e = integers(6, 8), integers(6, 4, seed=3)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16, False), torch.nn.ReLU(), torch.nn.Linear(16, 4, False))
    with torch.no_grad():
        for name, w in weights.items():
            model[int(name)].weight.copy_(torch.tensor(np.asarray(w)))
    hu.quantize_(model, ALL_SR, seed=11)
    given = torch.tensor(np.asarray(x), requires_grad=True)
    params = {name: {"weight": w} for name, w in weights.items()}
    q = quantized(mlp, ALL_SR)

    @jax.jit
    def run(step):
        value, pull = jax.vjp(lambda params, x: q(params, x, seed=11, step=step), params, x)
        return value, pull(e)

    for step in range(2):
        model.zero_grad()
        given.grad = None
        found = model(given)
        found.backward(torch.tensor(np.asarray(e)))
        value, (to_params, to_x) = run(step)
        equal(value, jnp.asarray(found.detach().numpy()))
        equal(to_x, jnp.asarray(given.grad.numpy()))
        for name in weights:
            equal(to_params[name]["weight"], jnp.asarray(model[int(name)].weight.grad.numpy()))
        hu.advance_(model)


# ---------------------------------------------------------------- several devices

DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import warnings
warnings.simplefilter("error")
import jax.numpy as jnp
import numpy as np
from functools import partial
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import halfulp as hu
from halfulp.sim.functions.quantized import quantized
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe

rounded = lambda **how: Recipe(**dict.fromkeys(OPERANDS, Quantizer("fp4_e2m1", gradient="identity", **how)))
NEAREST = rounded()
SR = NEAREST.with_(fprop_x=Quantizer("fp4_e2m1", rounding="stochastic", gradient="identity"))
mesh = Mesh(np.array(jax.devices()), ("data",))
x = jnp.asarray(np.random.default_rng(0).integers(-7, 8, (8, 16)).astype(np.float32))
w = jnp.asarray(np.random.default_rng(1).integers(-7, 8, (16, 4)).astype(np.float32))
mapped = partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))

def loss(fn, w):
    return (fn(w, x) * jnp.arange(32.0).reshape(8, 4)).sum()

def same(a, b):
    assert np.array_equal(np.asarray(a), np.asarray(b)), (a, b)

plain = lambda w, x: x @ w
q = quantized(plain, NEAREST)
for inside in (mapped(q), quantized(mapped(plain), NEAREST)):          # around and within
    same(inside(w, x), q(w, x))
    same(jax.jit(jax.grad(partial(loss, inside)))(w), jax.grad(partial(loss, q))(w))
twice = jnp.concatenate([x[:4], x[:4]])
for q in (mapped(quantized(plain, SR)), quantized(mapped(plain), SR), quantized(partial(jax.shard_map, mesh=mesh,
          in_specs=(P(), P("data")), out_specs=P("data"), check_vma=False)(plain), SR)):
    found = np.asarray(q(w, twice))
    assert not np.array_equal(found[:4], found[4:])                    # shards draw words of their own
assert np.isfinite(np.asarray(jax.grad(partial(loss, q))(w))).all()
q = quantized(plain, SR)
sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
same(jax.jit(q)(w, sharded), q(w, x))                                  # under jit the bits are those of one device
q = quantized(plain, Recipe(fprop_x=Quantizer("fp8_e4m3_per_tensor", scaling="delayed")))
state = q.init(w, x)
seen = lambda q: jax.jit(jax.grad(lambda s: q(s).sum()))(state)["history"]["w"]
expected = seen(lambda s: q(w, x, state=s))
assert expected[0, 0] == 7
inside = quantized(mapped(plain), q.rules)
same(seen(lambda s: inside(w, x, state=s)), expected)                  # the largest of all shards
across = jax.shard_map(lambda s, w, x: q(w, x, state=s), mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=P("data"))
same(seen(lambda s: across(s, w, x)), expected)
try:
    quantized(partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"), check_vma=False)(plain),
              q.rules)(w, x, state=state)
except ValueError as error:
    assert "check_vma" in str(error), error
else:
    raise AssertionError("not refused")
print("done")
"""


def test_two_devices():
    run = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "done", run.stderr[-3000:]
