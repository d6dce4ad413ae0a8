"""Operands in JAX: the bits of torch, forward and backward, for every recipe; and what estimators make of gradients."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.formats.scaled import ScaledFormat
from halfulp.sim.products import jax_operands, torch_operands
from halfulp.sim.products.jax_multiply import multiply
from halfulp.sim.products.torch_multiply import Products
from halfulp.sim.recipes.operands import Operand, operands_of
from halfulp.sim.recipes.plan import Plan, plan_of
from halfulp.sim.recipes.published import RECIPES, recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe

from .operands_of_both import hard, in_jax, in_torch, same, tensor
from .wrapped import one_thread  # noqa: F401

SEED, STEP, CALL = (5, 9), 3, 1
FAST = {"mxfp8", "mxfp6", "mxfp4", "four_bit_cnn", "ifairy"}
"""Recipes whose programs are compiled quickly; other ways of finding scales are compared as single operands below."""
EVERY = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in RECIPES]


class Layer:
    """What torch's products read of a layer: its name, for messages."""

    _halfulp_name = "layer"


def in_both(given, kind, a, b, e, dtype="float32", seed=SEED, sizes=None, largest=None):
    """The same product in torch, as a layer makes it, and in JAX."""
    plan = plan_of(given)
    torch_kind, jax_kind = kind if isinstance(kind[0], tuple) else (kind, kind)
    history = None if largest is None else torch.tensor(largest)[None, :, None]
    learned = None if sizes is None else torch.tensor([sizes])

    def of_torch(x, w):
        products = Products(Layer, plan, torch.tensor(seed), torch.tensor(STEP), CALL, history, None, learned)
        return products.multiply(x, w, torch_kind)

    how = {} if largest is None else {"largest": jnp.array(largest)}

    def of_jax(x, w, *state):
        named = {"sizes": state[0]} if state else {}
        words = jnp.array(seed, jnp.uint32)
        return multiply(x, w, jax_kind, plan, "layer", words, STEP, call=CALL, **how, **named)

    states = () if sizes is None else (jnp.array(sizes),)
    return in_torch(of_torch, a, b, e, dtype, learned), in_jax(of_jax, a, b, e, dtype, states)


def check(found, want):
    """Operands bit for bit, results and gradients as sums in another order may differ."""
    assert len(found.operands) == len(want.operands) == 6
    for name, x, y in zip(OPERANDS, found.operands, want.operands):
        assert same(x, y), name
    for x, y in zip((found.result, *found.grads), (want.result, *want.grads)):
        x, y = (
            np.asarray(torch.as_tensor(t).float() if isinstance(t, torch.Tensor) else t, np.float32) for t in (x, y)
        )
        assert np.abs(x - y).max() <= 1e-5 * np.abs(x).max() + 1e-36  # products are XLA's, which flushes


@pytest.mark.parametrize("name", EVERY)
def test_operands_of_recipes(name):
    """With subnormals, zeros, and blocks of all sizes of numbers."""
    a, b, e = (hard(128, 128, seed=k) for k in range(3))
    scalings = {getattr(recipe(name), of).scaling.name for of in OPERANDS}
    sizes = [0.02, 0.0] if "learned" in scalings else None
    largest = [2.0, 3.0, 0.0, 4.0, 5.0, 6e-40] if "delayed" in scalings else None
    check(*in_both(recipe(name), ("linear",), a, b, e, sizes=sizes, largest=largest))


@pytest.mark.parametrize("kind", ["convolution", pytest.param("matmul", marks=pytest.mark.slow)])
def test_operands_of_other_products(kind):
    """Of factors of one shape, so that few programs are compiled."""
    a, b, e = (hard(32, 32, 4, seed=k) for k in range(3))
    if kind == "matmul":
        a, b, e = (x.transpose(2, 0, 1) for x in (a, b, e))
        check(*in_both(recipe("mxfp4"), ("matmul",), a, b, e))
    else:
        kinds = ("convolution", (1,), (3,), (2,), (0,), 1), ("convolution", (1,), ((3, 3),), (1,), (2,), 1)
        check(*in_both(recipe("mxfp4"), kinds, a, b, e))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_ragged_operands_of_other_products(name):
    """Of batched products, and of convolutions with strides, padding, dilation and groups."""
    if recipe(name).is_complex or "learned" in {getattr(recipe(name), of).scaling.name for of in OPERANDS}:
        return
    given = recipe(name).with_(pad=True)
    a, b, e = hard(6, 16, 40), hard(6, 40, 24, seed=1), np.random.default_rng(2).standard_normal((6, 16, 24))
    check(*in_both(given, ("matmul",), a, b, e))
    blocks = [hu.format(of.fmt) for of in (getattr(given, each) for each in OPERANDS) if of.fmt]
    groups = 2 if all(len(fmt.blocks.axes) == 0 for fmt in blocks if isinstance(fmt, ScaledFormat)) else 1
    a, b = hard(10, 40, 5, 6), hard(24, 40 // groups, 3, 2, seed=1)
    place = (1, 1), (1, 2), groups
    kinds = ("convolution", (2, 1), (1, 0), (1, 2), (0, 0), groups), ("convolution", (2, 1), ((1, 1), (0, 0)), *place)
    check(*in_both(given, kinds, a, b, np.random.default_rng(2).standard_normal((10, 24, 3, 4))))


@pytest.mark.parametrize(
    "name", ["hadamard4", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mxfp4_sr_rht", "quartet2"))]
)
def test_operands_that_are_padded(name):
    """To whole transforms and blocks, and cropped again."""
    whole = Quantizer("fp8_e4m3", transform="hadamard4")
    given = Recipe(**dict.fromkeys(OPERANDS, whole)) if name == "hadamard4" else recipe(name)
    a, b, e = hard(6, 3, 17), hard(19, 17, seed=1), np.random.default_rng(2).standard_normal((6, 3, 19))
    found, want = in_both(given.with_(pad=True), ("linear",), a, b, e)
    assert want.result.shape == (6, 3, 19)
    assert want.grads[1].shape == (19, 17)
    check(found, want)


def operand(**how):
    """The first forward operand of a recipe."""
    return operands_of(Recipe(fprop_x=Quantizer(**how)), "linear")[0]


ALONE = {
    "std": (operands_of(recipe("quartet"), "linear")[0], "float32"),
    "std_of_rows": (operand(fmt="fp4_e2m1_per_row", scaling="std"), "bfloat16"),
    "eden": (operands_of(recipe("quartet2"), "linear")[2], "float32"),
    "prescale": (operands_of(recipe("quartet"), "linear")[4], "float16"),
    "learned": (operand(fmt="int4_per_tensor", scaling="learned", gradient="lsq"), "bfloat16"),
    "delayed": (operands_of(recipe("fp8_delayed"), "linear")[2], "bfloat16"),
    "outliers": (operand(fmt="fp4_e2m1_per_row", outliers=0.01), "bfloat16"),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "std_of_rows" else ()) for n in ALONE])
def test_operands_under_jit(name):
    """Scales that no format has, in one compiled program, over seeds and steps; blocks that are not finite too."""
    spec, dtype = ALONE[name]

    @jax.jit
    def of_jax(t, seed, step, call, state):
        t = jax_operands.rotated(t, spec, seed, step)
        return (t, *jax_operands.quantized(t, spec, seed, step, state, call))

    for seed, step, call, state in (((5, 9), 3, 0, 0.3), ((2**32 - 1, 1), 2**31 + 5, 7, 1e-40)):
        x = hard(128, 128, seed=step)
        if name != "eden":
            x[7, 3], x[8, 40] = np.nan, np.inf
        t, words, count = tensor(x, dtype), torch.tensor(seed), torch.tensor(step)
        t = torch_operands.rotated(t, spec, words, count)
        want = (t, *torch_operands.quantized(t, spec, words, count, torch.tensor(state), None, call))
        given = (jnp.array(seed, jnp.uint32), jnp.uint32(step), jnp.uint32(call), np.float32(state))
        found = of_jax(jnp.asarray(x).astype(dtype), *given)
        assert (found[2] is None) == (want[2] is None)
        assert all(same(a, b) for a, b in zip(found, want) if a is not None), (seed, step)


def test_a_step_size_of_zero():
    """Zeros stay zero, and teach nothing; nor do operands that are not finite begin with a step size."""
    learned = operand(fmt="int4_per_tensor", scaling="learned", gradient="lsq")

    @jax.jit
    def run(x):
        values, scale = jax_operands.quantized(x, learned, jnp.zeros(2, jnp.uint32), 0, jnp.float32(0))
        taught = jax_operands.step_gradient(x, x, values, scale, learned)
        return values, taught, jax_operands.first_size(x, learned)

    values, taught, first = run(jnp.zeros((2, 64)))
    assert (values == 0).all()
    assert taught == first == 0
    assert run(jnp.full((2, 64), jnp.inf))[2] == 0


def test_the_first_step_size():
    """2 * mean |x| / sqrt(largest), from numbers whose squares and sums leave the range of float32 too."""
    spec = operand(fmt="int8_per_tensor", scaling="learned", gradient="lsq")
    for scale in (1.0, 1e37, 1e-41):
        x = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32) * np.float32(scale)
        found = jax_operands.first_size(jnp.asarray(x), spec)
        assert same(found, torch_operands.first_size(torch.from_numpy(x), spec))
        assert np.isclose(float(found), 2 * np.abs(x.astype(np.float64)).mean() / 127**0.5, rtol=1e-6, atol=2e-45)


GRADIENTS = {
    "fp4_e2m1": ("clip", "dge", "spline"),
    "mxfp4": ("clip",),
    "int4_per_tensor": ("lsq",),
    "fp4_e2m1_per_row": ("piecewise_linear", "absmax", "absmax_full"),
}
EXACT = ("clip", "lsq", "piecewise_linear")
"""Estimators without functions and sums of the library."""


@pytest.mark.parametrize("fmt", GRADIENTS)
def test_estimators(fmt):
    """torch's: bit for bit, or to the rounding of sums and functions; of blocks of subnormals too."""
    scaling = {"mxfp4": "std", "int4_per_tensor": "learned"}.get(fmt, "format")
    specs = [operand(fmt=fmt, scaling=scaling, gradient=name) for name in GRADIENTS[fmt]]
    x, g = hard(16, 64), np.random.default_rng(1).standard_normal((16, 64)).astype(np.float32)
    t, e, words, step = torch.from_numpy(x), torch.from_numpy(g), torch.tensor(SEED), torch.tensor(STEP)
    values, scale = torch_operands.quantized(t, specs[0], words, step, torch.tensor(0.2))
    key = jnp.array(SEED, jnp.uint32)

    @jax.jit
    def of_jax(x, g):
        values, scale = jax_operands.quantized(x, specs[0], key, STEP, jnp.float32(0.2))
        found = [jax_operands.estimated(g, x, values, scale, spec, key, STEP) for spec in specs]
        taught = jax_operands.step_gradient(g, x, values, scale, specs[0]) if fmt == "int4_per_tensor" else None
        return found, taught

    found, taught = of_jax(jnp.asarray(x), jnp.asarray(g))
    for spec, got in zip(specs, found):
        want = torch_operands.estimated(e, t, values, scale, spec, words, step)
        name = spec[5][0]
        assert same(got, want) if name in EXACT else np.allclose(got, want, rtol=2e-5, atol=1e-6), name
        assert not np.array_equal(got, g)
    if taught is not None:
        assert np.isclose(taught, torch_operands.step_gradient(e, t, values, scale, specs[0]), rtol=1e-5)


def test_streams_are_those_of_torch():
    """Places of operands and of later products, as one number."""
    of = Operand(*operand(fmt="fp8_e4m3", rounding="stochastic"))
    assert jax_operands.stream_of(of, 3) == (1 + 8 * 3) * 16
    assert Plan(*plan_of(recipe("nvfp4"))).random
