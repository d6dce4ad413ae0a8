"""JAX arrays: the bits of NumPy, straight-through gradients, jit, vmap and scan."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from halfulp.emulate.units.convolution import convolve
from halfulp.emulate.units.matmul import matmul
from jax import lax

OPTIONS = [
    {"accumulator": "fp16"},
    {"accumulator": "bf16", "order": "pairwise", "rounding": "up"},
    {"accumulator": "fp22", "order": "blocked", "chunk": 8},
    {"a_format": "mxfp8_e4m3", "b_format": "mxfp4", "accumulator": "fp22", "order": "blocked"},
    {"accumulator": "fp32", "order": "aligned", "chunk": 4, "aligned_bits": 12},
    {"accumulator": "kulisch"},
    {"accumulator": "fp16", "rounding": "stochastic", "seed": 3},
]


def arrays(dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 32), (32, 5)))
    a[0, 0, :3] = 1e-41, -0.0, 3e-39
    return jnp.asarray(a).astype(dtype), jnp.asarray(b).astype(dtype)


@pytest.mark.parametrize("options", OPTIONS)
def test_bits_of_numpy(options):
    """Subnormals too, which XLA's threads flush."""
    for dtype in ("float32",) if "a_format" in options else ("float16", "bfloat16", "float32"):
        a, b = arrays(dtype)
        got, want = matmul(a, b, **options), matmul(np.asarray(a), np.asarray(b), **options)
        assert isinstance(got, jax.Array)
        assert got.dtype == want.dtype
        assert np.asarray(got).tobytes() == want.tobytes()


def test_under_jit():
    a, b = arrays()
    for options in (OPTIONS[0], OPTIONS[6]):
        want = matmul(np.asarray(a), np.asarray(b), **options)
        assert np.asarray(jax.jit(lambda a, b: matmul(a, b, **options))(a, b)).tobytes() == want.tobytes()
    assert matmul(a, b, accumulator="bf16", out_dtype="bfloat16").dtype == jnp.bfloat16


def test_gradients():
    """Those of the exact product of the quantized operands, and straight through what quantized them."""
    a, b = arrays()
    a, b = a.at[0, 0, :2].set(jnp.array([500.0, -3.0])), b.at[0, 0].set(200.0)
    weights = jnp.arange(30.0).reshape(2, 3, 5)

    def exact(a, b):
        return (hu.quantize(a, "fp8_e4m3") @ hu.quantize(b, "int8") * weights).sum()

    def emulated(a, b):
        return (matmul(a, b, "fp8_e4m3", "int8", "fp16") * weights).sum()

    @jax.jit
    def run(a, b):
        tangent = jax.jvp(emulated, (a, b), (jnp.ones_like(a), jnp.ones_like(b)))[1]
        return jax.grad(exact, (0, 1))(a, b), jax.grad(emulated, (0, 1))(a, b), tangent

    want, got, tangent = run(a, b)
    assert all(np.allclose(x, y, rtol=1e-5, atol=1e-6) for x, y in zip(got, want))
    assert got[0][0, 0, 0] == 0  # beyond 448
    assert np.allclose(tangent, sum(g.sum() for g in got), rtol=1e-4)


def test_maps_and_loops_are_calls_one_after_the_other():
    a, b = arrays()
    want = np.stack([matmul(np.asarray(x), np.asarray(b), accumulator="fp16") for x in a])
    assert np.array_equal(jax.vmap(lambda x: matmul(x, b, accumulator="fp16"))(a), want)
    _, found = lax.scan(lambda carry, x: (carry, matmul(x, b, accumulator="fp16")), 0, a)
    assert np.array_equal(found, want)
    assert np.array_equal(matmul(a[0, 0], b, accumulator="fp16"), want[0, 0])


def test_convolutions():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 4, 7, 6), np.float32), rng.standard_normal((6, 2, 3, 2), np.float32)
    place = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    formats = ("fp8_e4m3", "int8", "fp16")
    got = convolve(jnp.asarray(x), jnp.asarray(w), *formats, **place)
    assert np.asarray(got).tobytes() == convolve(x, w, *formats, **place).tobytes()
    gradient = jax.grad(lambda x: convolve(x, jnp.asarray(w), accumulator="fp16", **place).sum())(jnp.asarray(x))
    pads = [(1, 1), (0, 0)]
    plain = lambda x: lax.conv_general_dilated(x, w, (2, 1), pads, None, (1, 2), feature_group_count=2).sum()  # noqa: E731
    assert np.allclose(gradient, jax.grad(plain)(jnp.asarray(x)), atol=1e-5)


def test_operands_without_a_float_dtype():
    with pytest.raises(TypeError, match="a: expected floats, got complex64"):
        matmul(jnp.ones((2, 2), jnp.complex64), jnp.ones((2, 2)))
    with pytest.raises(TypeError, match="b: float32 does not hold all of int32; convert it with astype"):
        matmul(jnp.ones((2, 2)), jnp.ones((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="JAX has off"):
        matmul(jnp.ones((2, 2)), jnp.ones((2, 2)), accumulator="kulisch", out_dtype="float64")
    assert matmul(jnp.ones((2, 2), jnp.int8), jnp.full((2, 2), 3, jnp.uint8)).tolist() == [[6.0, 6.0], [6.0, 6.0]]
