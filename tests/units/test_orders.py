"""Orders of sums on matrices that take several panels, tiles and slabs; and which kernel serves."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.backends.numba_units import SLAB
from halfulp.emulate.layouts import FLOAT32, FLOAT64
from halfulp.emulate.rounded.context import arithmetic, extent
from halfulp.emulate.units import routes, sums
from halfulp.emulate.units.accumulator import Accumulator
from halfulp.emulate.units.matmul import matmul
from halfulp.emulate.units.routes import route_for
from halfulp.emulate.units.span import Span, span_of

from ..support import exact_units


def pair(fmt, m, k, n, seed=0):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
    return (a, b) if fmt is None else (hu.quantize(a, fmt), hu.quantize(b, fmt))


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "fp8_e4m3", None])
def test_binary32_is_a_float32_loop(fmt):
    a, b = pair(fmt, 64, 256, 48)
    acc = np.zeros((64, 48), np.float32)
    for k in range(256):
        acc = acc + a[:, k, None] * b[None, k]
    got = matmul(a, b)
    assert got.dtype == np.float32
    assert (got == acc).all()
    assert (matmul(a, b, order="blocked", chunk=256) == acc).all()


def test_binary64_is_a_float64_loop():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((9, 50)), rng.standard_normal((50, 20))
    acc = np.zeros((9, 20))
    for k in range(50):
        acc = acc + a[:, k, None] * b[None, k]
    assert (matmul(a, b, accumulator="binary64") == acc).all()


CASES = [
    (fmt, accumulator, rounding, fma)
    for fmt, accumulator in (("fp16", "fp16"), ("bf16", "bf16"), ("fp8_e4m3", "fp22"), (None, "fp22"), ("fp16", "fp32"))
    for rounding, fma in (("nearest_even", False), ("nearest_even", True), ("up", False), ("down", True))
]


@pytest.mark.parametrize(("fmt", "accumulator", "rounding", "fma"), CASES)
def test_compiled_sums_equal_single_operations(monkeypatch, fmt, accumulator, rounding, fma):
    """On several panels, the last one ragged, by two ways that have no code in common but the rounding."""
    a, b = pair(fmt, 7, 37, 150, 1)
    options = {"accumulator": accumulator, "rounding": rounding, "fma": fma}
    orders = ({"order": "sequential"}, {"order": "pairwise"}, {"order": "blocked", "chunk": 16})
    got = [matmul(a, b, **options, **order) for order in orders]
    with monkeypatch.context() as patched:
        patched.setattr("halfulp.emulate.units.products.route_for", lambda *arguments: None)
        want = [matmul(a, b, **options, **order) for order in orders]
    assert all((x == y).all() for x, y in zip(got, want))


def test_long_sums():
    """Longer than what a kernel does in one go; one after the other in pieces gives the same."""
    a, b = pair("fp16", 2, 2 * SLAB + 5, 3)
    of = Accumulator("fp16")
    got = matmul(a, b, accumulator=of)
    assert (got == exact_units.matmul(a, b, of)).all()


def test_pairs_are_added_level_by_level():
    of = arithmetic("fp16")
    a, b = pair("fp16", 1, 45, 1)
    sum_of = exact_units.Sums(of, None, iter(range(10**6)), 0)
    for k in range(1, 46):
        products = [
            sum_of.round(exact_units.multiply(*map(exact_units.exactly, two))) for two in zip(a[0, :k], b[:k, 0])
        ]
        want = float(exact_units.by_levels(products, sum_of.add))
        assert matmul(a[:, :k], b[:k], accumulator="fp16", order="pairwise")[0, 0] == want


def test_aligned_terms_are_cut():
    """1 and 2**-7 aligned to 6 bits lose the second; every term is cut before the sum, not the sum."""
    a = np.array([[1.0, 2.0**-7, 2.0**-7, 2.0**-7, 2.0**-7]], np.float32)
    b = np.ones((5, 1), np.float32)
    aligned = {"order": "aligned", "aligned_bits": 6}
    assert matmul(a, b, chunk=5, **aligned)[0, 0] == 1
    assert matmul(a[:, ::-1].copy(), b, chunk=2, **aligned)[0, 0] == 1 + 2.0**-5
    assert matmul(-a, b, chunk=5, **aligned)[0, 0] == -1


def test_aligned_keeps_infinities_and_zeros():
    options = {"order": "aligned", "aligned_bits": 10, "chunk": 3}
    inf, nan = np.inf, np.nan
    a = np.array([[inf, 1, 2, 3], [inf, 1, -inf, 2], [nan, 1, 1, 1], [0, -0.0, 0, 0], [1, -1, 0, 0]], np.float32)
    got = matmul(a, np.ones((4, 1), np.float32), **options)[:, 0]
    assert got[0] == inf
    assert np.isnan(got[1:3]).all()
    assert (got[3:] == 0).all()
    assert not np.signbit(got[3:]).any()


def test_aligned_sums_in_either_carrier():
    for fmt, bits in (("fp8_e4m3", 13), ("fp16", 23), ("bf16", 25)):
        a, b = pair(fmt, 3, 40, 20)
        unit = Accumulator("fp32", order="aligned", chunk=8, aligned_bits=bits)
        assert (matmul(a, b, accumulator=unit) == exact_units.matmul(a, b, unit)).all(), fmt
    with pytest.raises(ValueError, match=r"products that are exact in float64, got 53 and 24 significant bits"):
        matmul(np.full((2, 2), 1 / 3), np.full((2, 2), 1 / 3, np.float32), order="aligned", chunk=2, aligned_bits=5)


def served(fmt, accumulator, fma=False, rounding=None):
    """The way of operands in a format."""
    span = Span.of(extent(arithmetic(fmt).fmt))
    return route_for(arithmetic(accumulator, rounding), span, span, fma, pairwise=False, flushes=False)


def test_the_fastest_exact_kernel_serves():
    assert served("fp32", "fp32").kind == routes.NATIVE
    assert served("fp32", "fp32", fma=True).total == routes.FUSED
    assert served("fp16", "fp32", fma=True).total == routes.DIRECT  # products are exact
    half = served("fp16", "fp16")
    assert (half.carrier, half.kind, half.total, half.rounds) == (FLOAT32, routes.ADDED, routes.DIRECT, True)
    assert served("fp16", "fp16", fma=True).total == routes.ODD
    assert served("fp8_e4m3", "bf16").kind == routes.SHIFTED
    hopper = served("fp8_e4m3", "e8m13ieee")
    assert (hopper.carrier, hopper.kind, hopper.total) == (FLOAT32, routes.SHIFTED, routes.ODD)
    assert served("fp32", "e8m13ieee").carrier is FLOAT64
    assert served("fp16", "fp16", rounding="up").kind == routes.GENERAL
    assert served("fp16", "fp16", rounding="down").negated
    assert served("fp16", "posit8") is None
    assert served("fp16", "fp16", rounding="stochastic") is None


def test_what_the_data_take():
    span = span_of(np.array([[0.0, -6.0], [0.375, np.inf]], np.float32))
    assert span == Span(2, -3, 2, finite=False)
    assert span_of(np.array([2.0**-1074, 1.0])) == Span(1, -1074, 0)
    assert span_of(np.zeros(3)) == Span(1, 0, 0)
    assert span_of(np.array([np.nextafter(np.float32(1), np.float32(2))])).bits == 24


def test_the_step_by_step_way_counts_no_bits():
    with pytest.raises(ValueError, match="got 53 and 53 significant bits; round the operands first"):
        sums.Stepwise(arithmetic("fp16"), "pairwise", Span(53, -60, 0), Span(53, -60, 0), True)
