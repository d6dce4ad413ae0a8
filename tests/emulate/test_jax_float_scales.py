"""Scaled formats in JAX by few steps: the bits of NumPy, wherever that serves, and never where it must not."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.emulate.backends import jax_float_scales
from halfulp.emulate.scaled_plan import Options, plan_for


def blocks(exponent):
    """Rows whose largest magnitudes lie about 2**exponent, with elements down to the smallest subnormals."""
    rng = np.random.default_rng(exponent + 200)
    spread = np.exp2(rng.integers(-149 - exponent, 1, (64, 256)).clip(-60, 0).astype(np.float64))
    x = rng.normal(size=(64, 256)) * spread * 2.0**exponent
    x[0, :64] = 0
    x[1, ::7] = -0.0
    x[2, :40] = [1e-45 * (-1) ** k for k in range(40)]
    x[2, 41] = 2.0**exponent
    return x.astype(np.float32)


FORMATS = ["mxfp4", "mxfp8_e5m2", "mxint8", "nvfp4", "int8_per_row", "int8_per_tensor", "fp4_ue5m3"]
EXPONENTS = (-148, -124, -96, -89, -80, -60, 0, 40, 98, 102, 126)


@pytest.mark.parametrize("name", FORMATS)
def test_the_bits_of_numpy_at_every_magnitude(name):
    f = jax.jit(lambda x: hu.quantize(x, name))
    for exponent in EXPONENTS:
        x = blocks(exponent)
        assert np.array_equal(np.asarray(f(x)).view(np.int32), hu.quantize(x, name).view(np.int32)), exponent
    x[3, 5], x[4, 7] = np.nan, -np.inf
    assert np.array_equal(np.asarray(f(x)).view(np.int32), hu.quantize(x, name).view(np.int32))


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "int8_per_row"])
def test_random_and_inward_elements(name):
    for options in ({"rounding": "stochastic", "seed": 3}, {"rounding": "toward_zero"}):
        f = jax.jit(lambda x: hu.quantize(x, name, **options))
        for exponent in (-100, -70, 0, 60):
            x = blocks(exponent)
            want = hu.quantize(x, name, **options)
            assert np.array_equal(np.asarray(f(x)).view(np.int32), want.view(np.int32)), (options, exponent)


@pytest.mark.parametrize("name", ["mxfp4", "int8_per_row", "scaled(fp8_e4m3,scale=ue4m3,block=16,rule=absmax)"])
def test_quotients_and_products_are_ieee_operations(name):
    """2^20 random pairs of numbers and scales under jit, of which XLA would change a third if it could."""
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(1 << 15, 32)) * np.exp2(rng.integers(-20, 20, (1 << 15, 1)))).astype(np.float32)
    assert np.array_equal(np.asarray(jax.jit(lambda x: hu.quantize(x, name))(x)), hu.quantize(x, name))


def test_members_of_a_map_and_gradients():
    x = np.stack([blocks(0), blocks(-140), blocks(30)])
    f = lambda x: hu.quantize(x, "nvfp4")  # noqa: E731
    want = np.stack([hu.quantize(member, "nvfp4") for member in x])
    assert np.array_equal(np.asarray(jax.jit(jax.vmap(f))(x)), want)
    gradient = jax.jit(jax.grad(lambda x: (f(x) * 3).sum()))(jnp.asarray(x[0]))
    assert (gradient == 3).all()
    half = jnp.asarray(blocks(0)).astype(jnp.bfloat16)
    got = jax.jit(lambda x: hu.quantize(x, "mxfp8_e4m3"))(half)
    assert np.array_equal(np.asarray(got).view(np.int16), hu.quantize(np.asarray(half), "mxfp8_e4m3").view(np.int16))


@pytest.mark.parametrize(
    ("name", "options", "floats"),
    [
        ("mxfp4", {}, True), ("nvfp4", {}, True), ("mxfp4", {"rounding": "up"}, False),
        ("mxfp4", {"rounding": hu.stochastic(bits=8)}, False), ("nf4_block64", {}, False),
        ("mxfp4", {"overflow": "special"}, False), ("int8_per_row", {"out_dtype": "float16"}, False),
        ("e8m3_per_row", {}, False), ("int16_per_row", {}, False), ("hif4", {}, False),
    ],
)  # fmt: skip
def test_what_takes_few_steps(name, options, floats):
    assert (jax_float_scales.near_for(plan_for(name, "float32", Options(**options))) is not None) == floats
    assert jax_float_scales.near_for(plan_for(name, "float64", Options(**options))) is None
