"""Statistics of tensors and gradients: from the definitions, and the same in NumPy, torch and JAX, also traced."""

import importlib

import halfulp as hu
import numpy as np
import pytest
from halfulp.formats.scaled import ScaledFormat
from halfulp.sim.probes.statistics import gradient_statistics, tensor_statistics
from halfulp.sim.probes.sums import limits_of

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
jnp = jax.numpy

FORMATS = (
    "fp4_e2m1", "fp8_e4m3", "int8", "posit8", "nf4_block64", "mxfp4", "mxfp8_e5m2", "nvfp4", "four_over_six",
    "int8_per_row", "fp8_e4m3_per_tensor", "int4_per_row_asym", "bitnet",
)  # fmt: skip


def data(shape=(32, 128), seed=0):
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    x[0, :64] = 0
    x[3, 4] = 1e4
    return x


def assert_alike(found, want, **near):
    assert found._fields == want._fields
    for name, a, b in zip(want._fields, found, want):
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), **near, err_msg=name)


@pytest.mark.parametrize("fmt", FORMATS)
def test_libraries_agree(fmt):
    """To the rounding of float32 sums; counts and scales exactly."""
    x = data()
    want = tensor_statistics(x, fmt)
    found = [tensor_statistics(torch.from_numpy(x), fmt)]
    if fmt == "fp4_e2m1":
        found.append(jax.jit(lambda x: tensor_statistics(x, fmt))(jnp.asarray(x)))
    for other in found:
        assert_alike(other, want, rtol=2e-6, atol=2e-5)
        for name in ("saturated_percent", "underflow_percent", "scale_counts", "scale_median", "amax"):
            np.testing.assert_allclose(np.asarray(getattr(other, name)), np.asarray(getattr(want, name)), rtol=1e-6)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_definitions(fmt):
    x = data()
    values, found = hu.quantize(x, fmt), tensor_statistics(x, fmt)
    wide, noise = np.float64(x), np.float64(x) - np.float64(values)
    assert float(found.sqnr_db) == pytest.approx(10 * np.log10((wide**2).sum() / (noise**2).sum()), rel=1e-5, abs=1e-5)
    assert float(found.underflow_percent) == pytest.approx(100 * ((values == 0) & (x != 0)).mean())
    assert float(found.zeros_percent) == pytest.approx(100 * (x == 0).mean())
    assert float(found.amax) == np.abs(x).max()
    assert float(found.rms) == pytest.approx(np.sqrt((wide**2).mean()), rel=1e-5)
    resolved = hu.format(fmt)
    if not isinstance(resolved, ScaledFormat):
        assert np.isnan(float(found.scale_median))
        assert not np.asarray(found.scale_counts).any()
        low, high = limits_of(resolved)
        assert float(found.saturated_percent) == pytest.approx(100 * ((x > high) | (x < low)).mean())
        return
    scales = np.asarray(hu.scales(x, fmt).decode)
    size = x.size // scales.size
    blocks = x.reshape(-1, size) if fmt != "bitnet" else x.reshape(1, -1)
    scales = scales.reshape(-1)[np.abs(blocks).max(1) > 0]
    exponents = np.floor(np.log2(np.float64(scales))).astype(int)
    np.testing.assert_array_equal(np.asarray(found.scale_counts), np.bincount(exponents + 127, minlength=255))
    assert float(found.scale_median) == np.sort(exponents)[(len(exponents) - 1) // 2]
    assert (float(found.scale_min), float(found.scale_max)) == (exponents.min(), exponents.max())
    if fmt == "mxfp4":
        kept = blocks[np.abs(blocks).max(1) > 0]
        assert float(found.saturated_percent) == pytest.approx(
            100 * (np.abs(kept) > 7 * scales[:, None]).sum() / x.size
        )


def test_limits():
    """Half of a step beyond the last value."""
    assert limits_of(hu.format("fp4_e2m1")) == (-7, 7)
    assert limits_of(hu.format("fp8_e4m3")) == (-464, 464)
    assert limits_of(hu.format("int8")) == (-128.5, 127.5)
    assert limits_of(hu.format("bcq2")) is None
    assert limits_of(hu.format("ue4m3")) == (-(2**-10), 464)
    assert limits_of(hu.format("nf4")) == limits_of(hu.format("nf4_block64"))
    for name in ("posit8", "lns8f3", "binary8p4se", "ternary", "fp6_e2m3", "bfloat16", "hifloat8"):
        low, high = limits_of(hu.format(name))
        assert low < float(hu.format(name).min) < float(hu.format(name).max) < high


def test_zeros_infinities_and_the_range_of_float32():
    zero = tensor_statistics(np.zeros(32, np.float32), "mxfp4")
    assert (float(zero.sqnr_db), float(zero.zeros_percent), float(zero.rms)) == (np.inf, 100, 0)
    assert np.isnan(float(zero.scale_max))
    assert float(tensor_statistics(np.zeros(3, np.float32), "binary").sqnr_db) == -np.inf
    assert float(tensor_statistics(np.float32([1, 2]), "fp8_e4m3").sqnr_db) == np.inf
    for bad in (np.nan, np.inf):
        assert np.isnan(float(tensor_statistics(np.float32([1, bad]), "int8_per_tensor").sqnr_db))
    x = data()
    want = tensor_statistics(x, "int8_per_row")
    for power in (-110, 110):
        found = tensor_statistics(np.ldexp(x, power).astype(np.float32), "int8_per_row")
        assert float(found.sqnr_db) == pytest.approx(float(want.sqnr_db), rel=1e-5)
        assert float(found.rms) == pytest.approx(float(want.rms) * 2.0**power, rel=1e-5)
    assert float(tensor_statistics(np.float64(x), "int8_per_row").sqnr_db) == pytest.approx(
        float(want.sqnr_db), rel=1e-5
    )


def test_dtypes():
    """Rounding happens in the dtype that is there."""
    x = data((8, 32))
    x[3, 4] = 1
    half = x.astype(np.float16)
    brain = torch.from_numpy(x).to(torch.bfloat16)
    for array, wide in ((half, half.astype(np.float32)), (brain, brain.to(torch.float32).numpy())):
        found, want = tensor_statistics(array, "mxfp4", axis=1), tensor_statistics(wide, "mxfp4")
        assert float(found.sqnr_db) == pytest.approx(float(want.sqnr_db), rel=1e-4)


def test_options():
    x = data()
    nearest, down = (tensor_statistics(x, "mxfp8_e4m3", rounding=r) for r in (None, "toward_zero"))
    assert float(nearest.sqnr_db) > float(down.sqnr_db)
    one, same, other = (tensor_statistics(x, "mxfp8_e4m3", rounding="stochastic", seed=seed) for seed in (1, 1, 2))
    assert float(one.sqnr_db) == float(same.sqnr_db) != float(other.sqnr_db)
    assert float(tensor_statistics(x, "mxfp4", transform="hadamard32").amax) < 1e4
    along = tensor_statistics(x, "mxfp4", axis=0)
    assert_alike(along, tensor_statistics(np.ascontiguousarray(x.T), "mxfp4"), rtol=1e-5)
    given = tensor_statistics(x[1:3], "int8_per_tensor", scale=np.float32(0.01))
    assert float(given.saturated_percent) == pytest.approx(100 * (np.abs(x[1:3]) > 1.275).mean())
    assert float(given.scale_median) == -7
    ragged = tensor_statistics(x[:, :100], "mxfp4", pad=True)
    assert int(np.sum(ragged.scale_counts)) == 32 * 4 - 2


def test_jit_and_vmap():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2, 64)), jnp.float32)
    found = jax.jit(jax.vmap(lambda t: tensor_statistics(t, "mxfp4")))(x)
    for k in range(4):
        assert_alike(jax.tree.map(lambda a, k=k: a[k], found), tensor_statistics(np.asarray(x[k]), "mxfp4"), rtol=2e-6)
    g = jax.vmap(gradient_statistics)(x[0], x[1])
    assert g.gradient_cosine.shape == (2,)


def test_gradients():
    """Cosine and ratio from the definitions, equal in the libraries, with an answer for equal and zero gradients."""
    rng = np.random.default_rng(0)
    r = rng.standard_normal(1000).astype(np.float32) * 1e-25
    g = r + 1e-26 * rng.standard_normal(1000).astype(np.float32)
    want = gradient_statistics(g, r)
    wide, exact = np.float64(g), np.float64(r)
    sigma = np.sqrt(((wide - exact) ** 2).mean())
    assert float(want.gradient_to_noise) == pytest.approx(np.linalg.norm(exact) / (sigma * np.sqrt(1000)), rel=1e-5)
    assert float(want.gradient_cosine) == pytest.approx(
        wide @ exact / np.linalg.norm(wide) / np.linalg.norm(exact), rel=1e-6
    )
    assert_alike(gradient_statistics(torch.from_numpy(g), torch.from_numpy(r)), want, rtol=2e-6)
    assert_alike(jax.jit(gradient_statistics)(jnp.asarray(g), jnp.asarray(r)), want, rtol=2e-6)
    zero = np.zeros(3, np.float32)
    one = np.ones(3, np.float32)
    for a, b, ratio, cosine in (
        (one, one, np.inf, 1),
        (zero, zero, np.inf, 1),
        (zero, one, 1, 0),
        (one, zero, 0, 0),
        (-one, one, 0.5, -1),
    ):
        found = gradient_statistics(a, b)
        assert (float(found.gradient_to_noise), float(found.gradient_cosine)) == pytest.approx((ratio, cosine))
    assert np.isnan(float(gradient_statistics(np.float32([np.nan]), np.float32([1])).gradient_cosine))


def test_random_scales_and_odd_blocks_are_those_of_quantize():
    """Scales found from the largest magnitudes of blocks alone are `hu.scales`, in every layout of blocks."""
    x = data((32, 64))
    for fmt, options in (
        ("mxfp8_e4m3", {"scale_rounding": "stochastic", "seed": 3, "stream": 5}),
        ("nvfp4_2d", {}), ("nvfp4", {"axis": 0}), ("e3m2_per_channel", {}), ("mxfp4", {"axis": 0}),
        ("scaled(fp8_e4m3,block=16x32)", {}), ("nf4_dq", {}),
    ):  # fmt: skip
        scales = np.asarray(hu.scales(x, fmt, **options).decode).reshape(-1)
        counts = np.asarray(tensor_statistics(x, fmt, **options).scale_counts)
        exponents = np.floor(np.log2(np.float64(scales[scales > 0]))).astype(int) + 127
        want = np.bincount(exponents, minlength=255)
        want[0] = 0  # blocks of zeros
        np.testing.assert_array_equal(counts, want, err_msg=fmt)


def test_errors():
    x = np.ones((2, 3), np.float32)
    for call, kind, message in (
        (lambda: tensor_statistics(x, "mxfp-4"), ValueError, "unknown format"),
        (lambda: tensor_statistics(x, "mxfp4"), ValueError, "mxfp4 needs axis -1 to be a multiple of 32"),
        (lambda: tensor_statistics(x, "phase"), TypeError, "statistics are of formats of real numbers"),
        (lambda: tensor_statistics(x[:0], "int8"), ValueError, r"expected an array with elements, got shape \(0, 3\)"),
        (lambda: gradient_statistics(x, x[0]), ValueError, r"two gradients of one shape, got \(2, 3\) and \(3,\)"),
    ):
        with pytest.raises(kind, match=message):
            call()


def test_no_framework_is_imported():
    """By the module that has the statistics."""
    module = importlib.import_module("halfulp.sim.probes.statistics")
    assert not {"torch", "jax", "pandas"} & set(vars(module))
