"""The exact accumulator against rational dot products, rounded once."""

from fractions import Fraction

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.units.kulisch import Bins
from halfulp.emulate.units.matmul import matmul
from halfulp.emulate.units.span import Span
from halfulp.formats.exact import quantize_exact

from .test_exactness import same

ROUNDINGS = ["nearest_even", "nearest_away", "up", "down", "toward_zero", "to_odd"]


def correctly_rounded(a, b, fmt, rounding, overflow=None):
    of = arithmetic(fmt, rounding, overflow)
    left, right = ([[Fraction(x) for x in row] for row in m.astype(np.float64).tolist()] for m in (a, b.T))
    dots = [[sum(x * y for x, y in zip(row, column)) for column in right] for row in left]
    rounded = [[quantize_exact(of.fmt, dot, of.rounding, of.overflow) for dot in row] for row in dots]
    return np.array([[float(x) for x in row] for row in rounded])


def numbers(rng, shape, spread, dtype):
    return (rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)).astype(dtype)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("outer", ["binary32", "fp16", "bf16", "binary64", "posit8", "int16"])
def test_one_rounding(rounding, outer):
    rng = np.random.default_rng(ROUNDINGS.index(rounding))
    for spread, dtype in ((2, np.float32), (60, np.float32), (2, np.float64), (200, np.float64)):
        a, b = numbers(rng, (4, 19), spread, dtype), numbers(rng, (19, 3), spread, dtype)
        got = matmul(a, b, accumulator="kulisch", outer=outer, rounding=rounding)
        assert same(got, correctly_rounded(a, b, outer, rounding)), (spread, dtype)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_catastrophic_cancellation(rounding):
    """What is left of sums of numbers 2**80 as large."""
    rng = np.random.default_rng(1)
    for dtype, spread in ((np.float32, 40), (np.float64, 100)):
        half, rest = numbers(rng, (5, 12), spread, dtype), numbers(rng, (5, 2), 0, dtype) * dtype(2.0**-60)
        a = np.concatenate([half, rest, -half[:, ::-1]], 1)
        b = np.concatenate([half[:3, ::-1], np.ones((3, 2), dtype), half[:3]], 1).T.copy()
        for outer in ("binary32", "binary64"):
            want = correctly_rounded(a, b, outer, rounding)
            assert same(matmul(a, b, accumulator="kulisch", outer=outer, rounding=rounding), want), (dtype, outer)
    tie = np.array([[1.0, 2.0**-24, 2.0**-120]], np.float32)
    ones = np.ones((3, 1), np.float32)
    nearest = matmul(tie, ones, accumulator="kulisch"), matmul(tie[:, :2], ones[:2], accumulator="kulisch")
    assert [float(x[0, 0]) for x in nearest] == [1 + 2.0**-23, 1.0]


def test_the_whole_range_of_float64():
    """Products from 2**-2000 to 2**2000 leave float64, and cancel."""
    a = np.array([[2.0**1000, 1.5, 2.0**-1000, -(2.0**1000)]])
    b = np.array([[2.0**1000], [1.0], [2.0**-1000], [2.0**1000]])
    assert matmul(a, b, accumulator="kulisch", rounding="up")[0, 0] == 1.5 + 2.0**-23
    assert matmul(a, b, accumulator="kulisch", rounding="down")[0, 0] == 1.5
    assert matmul(a[:, :1], b[:1], accumulator="kulisch")[0, 0] == np.inf
    subnormal = np.full((1, 3), 2.0**-1074)
    assert matmul(subnormal, np.full((3, 1), 2.0**1000), accumulator="kulisch")[0, 0] == np.float32(3 * 2.0**-74)


def test_formats_with_exact_sums():
    """Small formats, whose sums float64 holds, and larger ones, whose do not."""
    rng = np.random.default_rng(2)
    for fmt in ("fp8_e4m3", "fp8_e5m2", "fp16", "bf16", "int8"):
        a, b = (hu.quantize(numbers(rng, shape, 6, np.float32), fmt) for shape in ((3, 200), (200, 4)))
        assert same(matmul(a, b, accumulator="kulisch"), correctly_rounded(a, b, "binary32", "nearest_even")), fmt


def test_specials():
    inf, nan = np.inf, np.nan
    a = np.array([[inf, 1, 1], [inf, -inf, 1], [nan, 1, 1], [0, -0.0, 0], [3, -3, 0]], np.float32)
    for b in (np.ones((3, 1), np.float32), np.ones((3, 1))):
        got = matmul(a, b, accumulator="kulisch", rounding="down")[:, 0]
        assert got[0] == inf
        assert np.isnan(got[1:3]).all()
        assert (got[3:] == 0).all()
        assert not np.signbit(got[3:]).any()
    assert matmul(a[:1], np.zeros((3, 1)), accumulator="kulisch")[0, 0] != 0  # inf * 0
    assert matmul(a[:1], np.ones((3, 1)), accumulator="kulisch", outer="fp8_e4m3")[0, 0] == 448
    wild = a * np.array([1e300, 1, 1e-300])
    assert matmul(wild, np.full((3, 1), 1e-300), accumulator="kulisch")[0, 0] == inf


def test_stochastic_sums():
    """One draw a result, of the exact sum: the mean comes out."""
    a, b = np.full((1, 4), 0.3, np.float32), np.full((4, 4000), 1.0, np.float32)
    got = matmul(a, b, accumulator="kulisch", outer="fp8_e4m3", rounding="stochastic", seed=0)
    assert set(got.ravel().tolist()) == {1.125, 1.25}
    assert abs(got.mean() - 1.2) < 0.005


def test_digits_fill_their_bins():
    for count in (1, 2, 3, 1000, 1 << 20):
        big = Bins.of(Span(48, -200, 20), count).big
        width = np.log2(big[0] / big[1])
        assert count * 2**width <= 2**52
        assert len(big) == 1 + -(-(20 + 1 - width + 200) // width)
    assert Bins.of(Span(8, -18, 17), 1 << 16).big.size == 1
