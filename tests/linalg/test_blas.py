"""Products of vectors and matrices equal their definition in rational arithmetic, operation by operation."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import gamma
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.draws import Draws

from .textbook import RANDOM, ROUNDINGS, Loops, dot, held, one, same

FORMATS = ("fp16", "bf16", "fp32", "fp8_e4m3", "int8@-4", "posit8", "fp64")


def data(arithmetic, *shape, seed=0):
    rng = np.random.default_rng(seed)
    return held(arithmetic, rng.standard_normal(shape) * rng.choice([0.01, 1, 3], shape))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_dot_is_the_loop(fmt, rounding):
    ar = arithmetic(fmt, rounding)
    x, y = data(ar, 17), data(ar, 17, seed=1)
    assert float(linalg.dot(x, y, ar)) == dot(ar, x, y)


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "posit8"])
def test_pairwise_dot_is_the_tree(fmt):
    ar = arithmetic(fmt)
    x, y = data(ar, 11), data(ar, 11, seed=1)
    level = [one(ar, "multiply", a, b) for a, b in zip(x, y)]
    while len(level) > 1:
        pairs = [one(ar, "add", *level[k : k + 2]) for k in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    assert float(linalg.dot(x, y, fmt, order="pairwise")) == level[0]


def test_gemm_is_dots_and_scaled_sums():
    ar = arithmetic("fp16", "up")
    a, b, c = data(ar, 5, 7), data(ar, 7, 4, seed=1), data(ar, 5, 4, seed=2)
    alpha, beta = (one(ar, "add", x, 0) for x in (0.3, -1.7))
    found = linalg.gemm(a, b, ar, c=c, alpha=0.3, beta=-1.7)
    for i in range(5):
        for j in range(4):
            ab, scaled = dot(ar, a[i], b[:, j]), one(ar, "multiply", beta, c[i, j])
            assert float(found[i, j]) == one(ar, "add", one(ar, "multiply", alpha, ab), scaled)
    assert same(linalg.gemm(a.T, b.T, ar, transpose_a=True, transpose_b=True), linalg.gemm(a, b, ar))


def test_gemv_and_axpy():
    ar = arithmetic("bf16", "toward_zero")
    a, x, y = data(ar, 6, 9), data(ar, 9, seed=1), data(ar, 6, seed=2)
    assert linalg.gemv(a, x, ar).tolist() == [dot(ar, row, x) for row in a]
    assert linalg.gemv(a, y, ar, transpose=True).tolist() == [dot(ar, column, y) for column in a.T]
    alpha = one(ar, "add", 0.7, 0)
    expected = [one(ar, "add", v, one(ar, "multiply", alpha, u)) for u, v in zip(a[0], x)]
    assert linalg.axpy(0.7, a[0], x, ar).tolist() == expected


@pytest.mark.parametrize("rounding", RANDOM)
def test_stochastic_products_draw_a_step_for_each_operation(rounding):
    ar = arithmetic("fp16", rounding)
    x, y = data(ar, 9), data(ar, 9, seed=1)
    loops, total = Loops(ar, Draws(5, 2)), np.zeros((1, 1), x.dtype)  # two steps round the operands, here exactly
    for a, b in zip(x, y):
        total = loops.do("add", total, loops.do("multiply", a, b))
    assert linalg.dot(x, y, "fp16", rounding=rounding, seed=5) == total[0, 0]


def test_nrm2_neither_overflows_nor_underflows():
    for exponent in (15, 0, -20):
        x = np.ldexp([3.0, -4.0, 0.0], exponent - 2)
        assert linalg.nrm2(x, "fp16") == np.ldexp(5.0, exponent - 2)
    assert linalg.nrm2([3e38, 3e37], "bf16") == pytest.approx(np.hypot(3e38, 3e37), rel=2**-7)
    assert linalg.nrm2([5e-324, 0.0], "fp64") == 5e-324
    assert linalg.nrm2([1e-320, 1e300], "fp64", rounding="up") >= 1e300


@pytest.mark.parametrize(
    ("x", "fmt", "expected"),
    [
        ([3.0, 4.0], "int8", 5), ([30.0, 40.0], "int8", 48), ([30.0, 40.0], "int16", 50), ([100.0, 0.0], "int8", 96),
        ([1.0] * 200, "int8", 11), ([3.0, 4.0], "fp4_e2m1", 6), ([0.5, 0.0], "fp4_e2m1", 0.5),
        ([3.0, 4.0], "fp6_e2m3", 5), ([0.125, 0.0], "fp6_e2m3", 0.125), ([2.0**-4, 0.0], "int8@-4", 2.0**-4),
        ([0.375, 0.5], "int8@-4", 0.625), ([1.0, 0.0], "nf4", 1),
    ],
)  # fmt: skip
def test_nrm2_in_formats_without_enough_fractions(x, fmt, expected):
    """[30, 40] in int8 has e = 3: rnd(3.75)**2 + 5**2 = 41, rnd(sqrt(41)) = 6, 6 * 8."""
    assert linalg.nrm2(x, fmt) == expected


@pytest.mark.parametrize("fmt", ["int8", "int8@-4", "fp4_e2m1", "fp6_e2m3", "fp6_e3m2", "fp8_e4m3", "posit8", "nf4"])
def test_nrm2_is_zero_of_zeros_only(fmt):
    for code in range(2 ** hu.format(fmt).bits):
        x = float(hu.decode(np.array([code], np.uint8), fmt)[0])
        assert (linalg.nrm2([x, 0.0], fmt) == 0) == (x == 0)


def test_nrm2_of_specials():
    assert linalg.nrm2([], "fp16") == linalg.nrm2([0.0, -0.0], "fp16") == 0
    assert linalg.nrm2([1.0, -np.inf], "fp16") == np.inf
    assert np.isnan(linalg.nrm2([1.0, np.nan, np.inf], "fp16"))


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "tf32", "fp32"])
def test_inner_products_keep_their_bound(fmt):
    ar = arithmetic(fmt)
    x, y = data(ar, 128).astype(np.float64), data(ar, 128, seed=1).astype(np.float64)
    size = np.abs(x) @ np.abs(y)
    assert 0 < abs(float(linalg.dot(x, y, fmt)) - x @ y) <= gamma(128, fmt) * size
    assert 0 < abs(float(linalg.dot(x, y, fmt, order="pairwise")) - x @ y) <= gamma(8, fmt) * size
