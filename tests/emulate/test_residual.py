"""Residual stacks: published errors, exactness, refits, gates; the same bits in every library."""

from itertools import pairwise

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.formats.residual import RESIDUAL, ResidualFormat

N = 1 << 18
GAUSS = np.random.default_rng(7).standard_normal(N).astype(np.float32)
X = GAUSS[:4096].reshape(16, 256)


def relative_error(x, q):
    return float((np.abs(q - x) ** 2).sum() / (np.abs(x) ** 2).sum())


@pytest.mark.parametrize(("stages", "published"), [(1, 0.363), (2, 0.130), (3, 0.058), (4, 0.033)])
def test_phase_stages_on_gaussian_numbers(stages, published):
    """arXiv:2508.05571 and Fairy2i. A relative error of 2**17 numbers has a sampling error of about .3%."""
    z = GAUSS[0::2] + 1j * GAUSS[1::2]
    found = relative_error(z, hu.quantize(z, "phase" if stages == 1 else f"phase_t{stages}"))
    assert abs(found - published) < 0.0005 + 0.01 * published


@pytest.mark.parametrize(
    ("name", "published"),
    [("bcq1", 0.363), ("bcq2_greedy", 0.131), ("bcq2", 0.1177), ("bcq3_greedy", 0.059), ("bcq3", 0.037)],
)
def test_binary_coding_on_gaussian_numbers(name, published):
    """Rounded figures; sampling error .3% as above. Alternating two bits end at Lloyd-Max's .1175 for 4 values."""
    found = relative_error(GAUSS, hu.quantize(GAUSS, name))
    assert abs(found - published) < 0.0005 + 0.01 * published


def test_each_refit_is_at_least_as_good():
    errors = [relative_error(X, hu.quantize(X, f"bcq3{kind}_per_row")) for kind in ("_greedy", "_refit", "")]
    assert errors[0] > errors[1] > errors[2]


def test_greedy_binary_coding_is_its_definition():
    rest, total = X.astype(np.float64), np.zeros(X.shape)
    for _ in range(3):
        scale = np.abs(rest).mean(-1, keepdims=True).astype(np.float32)  # the scale format is binary32
        part = scale.astype(np.float64) * np.where(rest >= 0, 1, -1)
        rest, total = rest - part, total + part
    assert np.allclose(hu.quantize(X.astype(np.float64), "bcq3_greedy_per_row"), total, rtol=0, atol=1e-13)


def test_refitted_coefficients_solve_the_normal_equations():
    found = hu.decompose(X.astype(np.float64), "bcq3_per_row")
    parts = np.stack([np.broadcast_to(part, X.shape) for part in found.parts])
    left = X - np.einsum("kbj,kbn->bn", found.coefficients, parts)
    assert np.abs(np.einsum("kbn,bn->kb", parts, left)).max() < 1e-9
    assert np.allclose(found.values, X - left)


def test_alternating_ends_at_the_best_code_of_each_number():
    """Given the coefficients, no other combination of signs is nearer."""
    row = X[:1].astype(np.float64)
    found = hu.decompose(row, "bcq3_per_row")
    worth = np.array([c * abs(part[0, 0]) for c, part in zip(found.coefficients[:, 0, 0], found.parts)])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1)
    best = np.abs(row[0][:, None] - worth @ signs).min(-1)
    assert np.allclose(np.abs(row - found.values)[0], best)


STACKS = ["residual(mxfp4;mxfp4)", "residual(int4_per_row;fp8_e4m3)", "bcq3_greedy", "bcq2_per_row", "bcq2_refit_per_column",
          "residual(mxfp4;mxfp4;mxfp4|gates=101)"]  # fmt: skip


@pytest.mark.parametrize("name", STACKS)
def test_the_same_bits_in_every_library(name):
    fmt = hu.format(name)
    assert hu.format(fmt.spec) == fmt
    assert hu.format(fmt.name) == fmt
    for dtype in (np.float32, np.float64) if name == STACKS[0] else (np.float32,):
        x = X.astype(dtype)
        want = hu.quantize(x, fmt)
        assert want.dtype == dtype
        assert np.array_equal(hu.quantize(torch.from_numpy(x), fmt).numpy(), want)
        with jax.enable_x64(dtype is np.float64):
            assert np.array_equal(jax.jit(lambda v: hu.quantize(v, fmt))(x), want)
        assert np.array_equal(hu.decompose(x, fmt).values, want)


@pytest.mark.parametrize("name", ["bcq2_greedy_per_row", "bcq2_per_row"])
def test_narrow_dtypes_are_added_in_their_own(name):
    half = X.astype(np.float16)
    assert np.array_equal(hu.quantize(torch.from_numpy(half), name).numpy(), hu.quantize(half, name))
    bfloat = torch.from_numpy(X).bfloat16()
    by_jax = np.array(hu.quantize(jnp.asarray(X, jnp.bfloat16), name).astype(np.float32))
    assert torch.equal(hu.quantize(bfloat, name).float(), torch.from_numpy(by_jax))


def test_residuals_keep_subnormals():
    """XLA flushes them; the sums here do not."""
    x = np.array([2.0**-126 + 2.0**-140, -(2.0**-127), 2.0**-149, 3 * 2.0**-130], np.float32)
    fmt = hu.residual("e7m2b127", "e4m3b140", "e4m4b146")
    want = hu.quantize(x, fmt)
    assert want[2] == 2.0**-149
    assert np.array_equal(jax.jit(lambda v: hu.quantize(v, fmt))(x), want)
    assert np.array_equal(hu.quantize(torch.from_numpy(x), fmt).numpy(), want)


def test_stochastic_stages_draw_apart_and_alike_everywhere():
    fmt = hu.residual("int4_per_row", "int4_per_row")
    first = hu.quantize(X, "int4_per_row", rounding="stochastic", seed=5)
    found = hu.decompose(X, fmt, rounding="stochastic", seed=5)
    assert np.array_equal(found.parts[0], first)
    want = hu.quantize(X, fmt, rounding="stochastic", seed=5)
    assert np.array_equal(found.values, want)
    assert np.array_equal(hu.quantize(torch.from_numpy(X), fmt, rounding="stochastic", seed=5).numpy(), want)
    assert np.array_equal(hu.quantize(jnp.asarray(X), fmt, rounding="stochastic", seed=5), want)
    again = hu.decompose(X, hu.residual("int4_per_row", "int4_per_row", "int4_per_row"), rounding="stochastic", seed=5)
    assert all(not np.array_equal(a / abs(a).max(), b / abs(b).max()) for a, b in pairwise(again.parts))


@pytest.mark.parametrize("name", ["residual(mxfp4;mxfp4)", "bcq2_per_row", "residual(fp4_e2m1;fp8_e4m3)"])
def test_gradients_pass_straight_through(name):
    x = torch.from_numpy(X).requires_grad_()
    hu.quantize(x, name).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert np.array_equal(jax.grad(lambda v: hu.quantize(v, name).sum())(jnp.asarray(X)), np.ones_like(X))
    plain, ones = torch.from_numpy(X), torch.ones_like(x)
    assert torch.equal(torch.func.grad(lambda v: hu.quantize(v, name).sum())(plain), ones)
    value, tangent = torch.func.jvp(lambda v: hu.quantize(v, name), (plain,), (ones,))
    assert torch.equal(value, hu.quantize(plain, name))
    assert torch.equal(tangent, ones)


def test_compiled_equals_eager_in_torch():
    fmt = hu.residual("mxfp4", "mxfp4")
    x = torch.from_numpy(X)
    compiled = torch.compile(lambda v: hu.quantize(v, fmt), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), hu.quantize(x, fmt))


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_bayesian_bits_with_open_gates_round_to_the_finest_step(bits):
    """Steps are multiples of 2**-12 for this limit, so that all arithmetic is exact. Numbers on ties are left out."""
    limit = 65535 / 2 * 2.0**-12
    fmt = hu.bayesian_bits(limit, bits)
    x = np.random.default_rng(1).uniform(-limit, limit, 20000).astype(np.float32)
    step = 2 * limit / (2**bits - 1)
    scaled = x.astype(np.float64) / step
    apart = np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) > 1e-6
    want = np.clip(np.rint(scaled), -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) * step
    assert np.array_equal(hu.quantize(x, fmt)[apart], want[apart])
    assert fmt.gates == tuple(b <= bits for b in (2, 4, 8, 16))
    assert hu.format(fmt.spec) == fmt


@pytest.mark.parametrize("x", [np.zeros((2, 8)), np.full((2, 8), np.nan), np.array([[np.inf] * 8, [1.0] * 8])])
@pytest.mark.parametrize("name", ["bcq2_per_row", "bcq2_greedy_per_row", "residual(mxfp4;mxfp4)"])
def test_special_blocks(name, x):
    got = hu.quantize(x.astype(np.float32), name, pad=True)
    assert np.array_equal(np.isnan(got).all(-1), ~np.isfinite(x).all(-1))
    assert np.array_equal(got[np.isfinite(x).all(-1)], x[np.isfinite(x).all(-1)])


def test_empty_arrays():
    for name in ("bcq2_per_row", "residual(mxfp4;mxfp4)"):
        assert hu.quantize(np.zeros((0, 32), np.float32), name).shape == (0, 32)


@pytest.mark.parametrize("name", ["bcq2_per_row", "bcq2_greedy_per_row"])
def test_decomposing_an_empty_array(name):
    found = hu.decompose(np.zeros((0, 32), np.float32), name)
    assert found.values.shape == (0, 32)
    assert [part.shape for part in found.parts] == [(0, 32)] * 2
    assert found.coefficients.size == 0


def test_names_and_bits():
    assert {"bcq2", "bcq3", "bcq4", "bcq2_greedy"} == set(RESIDUAL)
    assert hu.residual("binary_absmean", "binary_absmean", refit="alternating").name == "bcq2"
    assert hu.format("bcq3").bits_per_element((64, 64)) == 3 + 3 * 32 / 4096
    assert hu.residual("mxfp4", "mxfp4", gates=(True, False)).bits_per_element() == 4.25
    assert {"bcq2", "phase"} <= set(hu.list_scaled_formats().index)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: hu.residual(), ValueError, "expected stages, a gate for each and one that is open"),
        (lambda: hu.residual("mxfp4", gates=(False,)), ValueError, "one that is open"),
        (lambda: hu.residual("mxfp4", "int4_per_row", refit="least_squares"), ValueError, "stages of the same blocks"),
        (
            lambda: hu.residual("int8", "int8", refit="alternating"),
            ValueError,
            "up to 4096 combinations of codes, got 65536",
        ),
        (lambda: hu.residual("mxfp4", refit="best"), ValueError, "expected a refit among"),
        (lambda: hu.residual("mxfp5"), ValueError, "did you mean"),
        (lambda: hu.format("bcq9"), ValueError, "bcq formats have 1 to 8 bits"),
        (lambda: hu.bayesian_bits(1.0, 3), ValueError, "expected 2, 4, 8 or 16 bits"),
        (lambda: hu.bayesian_bits(-1.0), ValueError, "expected a positive limit"),
        (lambda: hu.quantize(X, "bcq2", out_dtype="float64"), ValueError, "stages are added in x's dtype"),
        (lambda: hu.encode(X, "bcq2"), TypeError, "encode the parts of hu.decompose"),
        (lambda: hu.decode(np.zeros(3, np.uint8), "bcq2"), TypeError, "expected what hu.encode returns"),
        (lambda: hu.decompose(X, "mxfp4"), TypeError, "is no stack of formats"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_stacks_are_data():
    stages = hu.format("bcq2").stages
    assert ResidualFormat("mine", stages, refit="alternating") == hu.format("bcq2")
    assert hash(ResidualFormat("mine", stages, refit="alternating")) == hash(hu.format("bcq2"))
