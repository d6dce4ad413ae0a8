"""Quantized products in JAX: their gradients, transformations, what steps leave, shapes, and emulated accumulators."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.sim.products.jax_multiply import multiply
from halfulp.sim.products.jax_products import initial_sizes, quantized_product
from halfulp.sim.products.torch_products import quantized_product as of_torch
from halfulp.sim.recipes.operands import operands_of
from halfulp.sim.recipes.plan import KindPlan, Plan, misfit, plan_of
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.quantizer import Quantizer
from halfulp.sim.recipes.recipe import OPERANDS, Recipe
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from .operands_of_both import in_torch, same
from .wrapped import one_thread  # noqa: F401

SEED, LINEAR, MATMUL = jnp.array([5, 9], jnp.uint32), ("linear",), ("matmul",)
NOISY = Recipe(**dict.fromkeys(("fprop_x", "dgrad_e"), Quantizer("fp8_e4m3", rounding="stochastic")))
TAKEN = Quantizer(source="quantized")
LSQ = Recipe(
    fprop_x=Quantizer("int8_per_tensor", scaling="learned", gradient="lsq"),
    fprop_w=Quantizer("int4_per_tensor", scaling="learned", gradient="lsq"),
    dgrad_w=TAKEN,
    wgrad_x=TAKEN,
)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def product(given, step=3, kind=LINEAR, **how):
    """A product of two arrays by a recipe."""
    specs = operands_of(given, kind[0])
    return lambda a, b: quantized_product(a, b, kind, specs, SEED, step, **how)


def gradients(call, a, b, e):
    """The result and both gradients, compiled."""

    @jax.jit
    def run(a, b, e):
        y, pull = jax.vjp(call, a, b)
        return y, *pull(e.astype(y.dtype))

    return run(a, b, e)


CONVOLUTION = ("convolution", (2, 1), ((1, 2), (0, 1)), (1, 2), (1, 2), 2)
PLAIN = {
    "linear": (LINEAR, lambda a, b: jnp.dot(a.reshape(-1, 8), b.T).reshape(2, 5, 6), (2, 5, 8), (6, 8)),
    "matmul": (MATMUL, jnp.matmul, (2, 3, 5, 8), (2, 3, 8, 6)),
    "convolution": (
        CONVOLUTION,
        lambda a, b: lax.conv_general_dilated(a, b, *CONVOLUTION[1:5], feature_group_count=2),
        (2, 6, 9, 8),
        (4, 3, 3, 3),
    ),
}


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in PLAIN), ("linear", "bfloat16")])
def test_products_without_quantization_are_jax_s_own(name, dtype):
    kind, plain, a, b = PLAIN[name]
    a, b = normal(*a).astype(dtype), normal(*b, seed=1).astype(dtype)
    e = normal(*plain(a, b).shape, seed=2)
    found, want = gradients(product(Recipe(), kind=kind), a, b, e), gradients(plain, a, b, e)
    assert [x.dtype for x in found] == [x.dtype for x in want]
    assert all(same(x, y) for x, y in zip(found, want))


def test_all_three_products_see_what_the_recipe_says():
    """From operands quantized by hand, tokens of all leading axes along wgrad's contraction."""
    a, b, e = normal(2, 16, 64), normal(48, 64, seed=1), normal(2, 16, 48, seed=2)
    rounded = Quantizer("fp8_e4m3", rounding="stochastic")
    given = Recipe(fprop_x=Quantizer("fp8_e5m2"), fprop_w=rounded, dgrad_e=rounded, dgrad_w=TAKEN, wgrad_e=rounded)
    y, of_a, of_b = gradients(product(given, call=2), a, b, e)

    def noisy(t, place):
        return hu.quantize(t, "fp8_e4m3", rounding="stochastic", seed=SEED, step=3, stream=16 * (place + 8 * 2))

    rows, cotangents, w = a.reshape(32, 64), e.reshape(32, 48), noisy(b, 2)
    assert np.allclose(y.reshape(32, 48), hu.quantize(rows, "fp8_e5m2") @ w.T, rtol=1e-5, atol=1e-5)
    assert np.allclose(of_a.reshape(32, 64), noisy(cotangents, 3) @ w, rtol=1e-5, atol=1e-5)
    assert np.allclose(of_b, noisy(cotangents, 5).T @ rows, rtol=1e-5, atol=1e-5)


def test_dyadic_products_are_exact():
    """On small integers, where sums are exact: torch's results bit for bit, also where a prescale is divided out."""
    rng = np.random.default_rng(0)
    a, b, e = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((32, 64), (32, 64), (32, 32)))
    given = Recipe(**dict.fromkeys(OPERANDS[:2], Quantizer("mxfp4", prescale=0.75)))
    specs = operands_of(given, "linear")
    want = in_torch(lambda x, w: of_torch(x, w, LINEAR, specs, torch.tensor([5, 9]), torch.tensor(3)), a, b, e)
    found = gradients(product(given), *(jnp.asarray(x) for x in (a, b, e)))
    assert all(same(x, y) for x, y in zip(found, (want.result, *want.grads)))


def test_transformations():
    """Rematerialized and scanned products are the plain ones; members of a map draw random words of their own."""
    a, b, e = normal(8, 16), normal(16, 16, seed=1), normal(8, 16, seed=2)
    call = product(NOISY)
    want = gradients(call, a, b, e)
    assert all(same(x, y) for x, y in zip(gradients(jax.checkpoint(call), a, b, e), want))

    def scanned(a, b):
        specs = operands_of(NOISY, "linear")
        turn = lambda x, k: (quantized_product(x, b, LINEAR, specs, SEED, 3, call=k), None)  # noqa: E731
        return lax.scan(turn, a, jnp.arange(2))[0]

    def unrolled(a, b):
        return product(NOISY, call=1)(call(a, b), b)

    assert all(same(x, y) for x, y in zip(gradients(scanned, a, b, e), gradients(unrolled, a, b, e)))
    y, of_a, of_b = gradients(jax.vmap(call, (0, None)), jnp.stack([a, a]), b, jnp.stack([e, e]))
    assert not same(y[0], y[1])
    assert not same(of_a[0], of_a[1])
    assert of_b.shape == b.shape


def test_steps_and_calls_draw_words_of_their_own():
    a, b = normal(8, 16), normal(16, 16, seed=1)
    run = jax.jit(lambda step, call: product(NOISY, step, call=call)(a, b))
    first, *others = run(3, 0), run(3, 1), run(4, 0)
    assert same(first, run(3, 0))
    assert not any(same(first, other) for other in others)


def test_shards():
    """Where JAX tracks what varies over shards, gradients of what all have in common add up, magnitudes do not."""
    given = Recipe(**dict.fromkeys(("fprop_x", "wgrad_e"), Quantizer("fp8_e4m3_per_tensor", scaling="delayed")))
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    a, b, largest = normal(8, 16), normal(4, 16, seed=1), jnp.full(6, 2.0)

    def run(a, b, largest):
        loss = lambda b, top: (product(given, largest=top)(a, b) ** 2).sum()  # noqa: E731
        return jax.grad(loss, (0, 1))(b, largest)

    common = PartitionSpec()
    sharded = jax.shard_map(run, mesh=mesh, in_specs=(PartitionSpec("data"), common, common), out_specs=common)
    assert all(same(x, y) for x, y in zip(jax.jit(sharded)(a, b, largest), jax.jit(run)(a, b, largest)))


def test_magnitudes_go_out_as_a_cotangent():
    """The largest finite ones of each operand, and 0 for those that are not scaled so."""
    delayed = Quantizer("fp8_e4m3_per_tensor", scaling="delayed")
    given = Recipe(fprop_x=delayed, fprop_w=delayed, dgrad_e=delayed, wgrad_x=delayed)
    a, b, e = normal(8, 16), normal(4, 16, seed=1).at[0, 0].set(jnp.inf), normal(8, 4, seed=2)

    @jax.jit
    def run(a, b, e):
        _, pull = jax.vjp(lambda largest: product(given, largest=largest)(a, b), jnp.array([2.0, 0, 0, 0, 0, 0]))
        return pull(e)[0]

    top = lambda t: jnp.abs(t).max()  # noqa: E731
    assert run(a, b, e).tolist() == [top(a), 0.0, top(e), 0.0, 0.0, top(a)]


def test_learned_sizes():
    """LSQ's gradients from q = x^ / s; a size of 0 begins with what the data say, and is taught there."""
    a, b, e = normal(8, 16), normal(4, 16, seed=1), normal(8, 4, seed=2)
    first = jax.jit(lambda a, b: initial_sizes(a, b, operands_of(LSQ, "linear")))(a, b)
    assert np.allclose(first, [2 * jnp.abs(a).mean() / 127**0.5, 2 * jnp.abs(b).mean() / 7**0.5], rtol=1e-6)

    @jax.jit
    def run(sizes):
        y, pull = jax.vjp(lambda a, b, s: product(LSQ, sizes=s)(a, b), a, b, sizes)
        return y, *pull(e)

    found = run(jnp.array([0.05, 0.0]))
    assert all(same(x, y) for x, y in zip(found, run(jnp.array([0.05, first[1]]))))
    quantized = [jnp.clip(jnp.round(t / s), -n, n) * s for t, s, n in ((a, 0.05, 127), (b, first[1], 7))]
    assert np.allclose(found[0], quantized[0] @ quantized[1].T, rtol=1e-5, atol=1e-5)
    of_b = e.T @ quantized[0]
    ratio = b / first[1]
    slope = jnp.where(jnp.abs(ratio) <= 7, jnp.clip(jnp.round(ratio), -7, 7) - ratio, 7 * jnp.sign(b))
    assert np.isclose(found[3][1], (of_b * slope).sum() / (64 * 7) ** 0.5, rtol=1e-4)
    assert np.allclose(found[2], jnp.where(jnp.abs(ratio) <= 7, of_b, 0), rtol=1e-5, atol=1e-5)


def times(given, a, b, kind=LINEAR, name="dense", **how):
    return multiply(a, b, kind, plan_of(given), name, SEED, 0, **how)


def test_blocks_that_do_not_fit():
    """Those of backward products are refused where a gradient is taken, and not before."""
    given, x, w = recipe("mxfp8"), normal(10, 32), normal(64, 32, seed=1)
    assert jax.eval_shape(lambda: times(given, x, w)).shape == (10, 64)
    with pytest.raises(ValueError, match="dense: wgrad_e has blocks of 32 elements .* its 10 tokens are no multiple"):
        jax.eval_shape(jax.grad(lambda w: times(given, x, w).sum()), w)
    with pytest.raises(ValueError, match="dense: fprop_x has blocks of 32 elements") as found:
        times(given, x[:, :20], w[:, :20])
    kind = KindPlan(*Plan(*plan_of(given)).linear)
    assert str(found.value) == f"dense: {misfit(kind, 10, 20, 64, 1, (True, True))}"
    grouped = ("convolution", (1,), ((0, 0),), (1,), (1,), 2)
    with pytest.raises(ValueError, match="conv: fprop_x .* across its groups of 16 channels; leave the layer out"):
        times(given, normal(2, 32, 4), normal(4, 16, 3), grouped, "conv")


def test_outputs_are_rounded():
    given = Recipe(fprop_x=Quantizer("fp8_e4m3"), output="fp8_e5m2")
    x, w = normal(3, 4, 8).astype(jnp.bfloat16), normal(6, 8, seed=1).astype(jnp.bfloat16)
    want = hu.quantize(hu.quantize(x, "fp8_e4m3") @ w.T, "fp8_e5m2")
    found = times(given, x, w)
    assert found.dtype == jnp.bfloat16
    assert same(found, want)


def test_complex_weights_need_even_numbers():
    with pytest.raises(ValueError, match=r"dense: complex weights \(phase\) need a linear layer with even .*\(5, 8\)"):
        times(recipe("ifairy"), normal(3, 8), normal(5, 8))
    with pytest.raises(ValueError, match="dense: complex weights .* got a matmul product of a factor"):
        times(recipe("ifairy"), normal(3, 8), normal(8, 4), MATMUL)


def test_accumulators():
    """Torch's results and gradients, whose sums are in the same order: bit for bit."""
    given = Recipe(**dict.fromkeys(OPERANDS, Quantizer("fp8_e4m3")), accumulator={"fmt": "fp16"})
    unit, specs = Plan(*plan_of(given)).unit, operands_of(given, "linear")
    a, b, e = normal(6, 16), normal(4, 16, seed=1), normal(6, 4, seed=2)
    how = (LINEAR, specs, torch.tensor([5, 9]), torch.tensor(3))
    want = in_torch(lambda x, w: of_torch(x, w, *how, unit=unit), *(np.asarray(x) for x in (a, b, e)))
    found = gradients(lambda x, w: times(given, x, w), a, b, e)
    assert all(same(x, y) for x, y in zip(found, (want.result, *want.grads)))
    assert not same(found[0], gradients(product(given), a, b, e)[0])
    with pytest.raises(ValueError, match="conv: the emulated matrix unit multiplies matrices, not convolutions"):
        times(given, normal(2, 3, 4), normal(4, 3, 3), ("convolution", (1,), ((0, 0),), (1,), (1,), 1), "conv")
