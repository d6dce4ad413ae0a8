"""Every accumulator, order and rounding against the definition in rational arithmetic, bit for bit."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.units.accumulator import Accumulator
from halfulp.emulate.units.matmul import matmul

from ..support import exact_units

ACCUMULATORS = [
    "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp22", "fp24", "binary32", "int16", "int16@-4", "posit8", "nf4",
    "fp8_e4m3fnuz", "e5m0", "e4m3_nosub", "ue5m3", "binary64",
]  # fmt: skip
ROUNDINGS = ["nearest_even", "up", "down", "to_odd", "toward_zero", "nearest_away", "stochastic"]
ORDERS = [
    {"order": "sequential"}, {"order": "pairwise"}, {"order": "blocked", "chunk": 3},
    {"order": "aligned", "chunk": 4, "aligned_bits": 7},
]  # fmt: skip
WILD = [np.inf, -np.inf, np.nan, -0.0, 0.0, 1e30]


def numbers(rng, shape, fmt, wild):
    """Of a few binades, or of many with infinities, NaN and zeros among them; in a format, or any float32."""
    low, high = (-20, 18) if wild else (-3, 4)
    x = (rng.standard_normal(shape) * 2.0 ** rng.integers(low, high, shape)).astype(np.float32)
    if wild:
        x.reshape(-1)[rng.integers(0, x.size, 3)] = rng.choice(WILD, 3)
    return x if fmt is None else hu.quantize(x, fmt)


def same(got, want):
    """NaN equal each other; zeros have their signs."""
    got = got.astype(np.float64)
    equal = (got == want) & (np.signbit(got) == np.signbit(want))
    return bool((equal | (np.isnan(got) & np.isnan(want))).all())


@pytest.mark.parametrize("accumulator", ACCUMULATORS)
def test_random_products(accumulator):
    rng = np.random.default_rng(ACCUMULATORS.index(accumulator))
    cases = [(rounding, order, fma) for rounding in ROUNDINGS for order in ORDERS for fma in (False, True)]
    for k, (rounding, order, fma) in enumerate(cases):
        if fma and order["order"] == "aligned":
            continue
        listed = accumulator in ("posit8", "nf4")
        for fmt, wild in ((None, False), ("fp16", True), ("bf16", True), ("fp8_e4m3", False))[k % 2 :: 2]:
            overflow = "saturate" if rng.random() < 0.25 or listed else None
            unit = Accumulator(accumulator, rounding=rounding, overflow=overflow, fma=fma, **order)
            m, k, n = rng.integers(1, 4), rng.integers(1, 9), rng.integers(1, 5)
            a, b = numbers(rng, (m, k), fmt, wild), numbers(rng, (k, n), fmt, wild)
            seed = 5 if unit.draws else None
            got, want = matmul(a, b, accumulator=unit, seed=seed), exact_units.matmul(a, b, unit, seed)
            assert same(got, want), (unit, a.tolist(), b.tolist(), got.tolist(), want.tolist())


@pytest.mark.parametrize("overflow", ["saturate", "propagate", "special"])
def test_overflows(overflow):
    rng = np.random.default_rng(0)
    for accumulator in ("fp16", "fp8_e4m3", "fp8_e5m2", "e3m2", "bf16", "fp22"):
        for rounding in ("nearest_even", "up", "toward_zero"):
            unit = Accumulator(accumulator, rounding=rounding, overflow=overflow)
            a, b = (numbers(rng, shape, "fp16", True) for shape in ((3, 9), (9, 4)))
            assert same(matmul(a, b, accumulator=unit), exact_units.matmul(a, b, unit)), unit


def test_the_ends_of_the_range():
    """Sums that reach beyond the carrier: bfloat16 and its like have the exponents of float32."""
    big, small = 2.0**127, 2.0**-126
    a = np.array([[big, big, -big, 1.5 * small], [small, small / 2, 2.0**-133, 2.0**-149]], np.float32)
    b = np.array([[1.0, 1.9921875, 1.0], [1.0, 1.0, -1.0], [1.0, 0.5, 2.0**-8], [1.0, 2.0**-8, -0.5]], np.float32)
    for accumulator in ("bf16", "tf32", "fp22", "binary32", "e8m7"):
        for rounding in ("nearest_even", "to_odd", "up", "down"):
            for fma in (False, True):
                unit = Accumulator(accumulator, rounding=rounding, fma=fma)
                assert same(matmul(a, b, accumulator=unit), exact_units.matmul(a, b, unit)), unit


def test_float64_operands_of_any_exponent():
    """Products that float64 does not hold, and such as only rational arithmetic does."""
    rng = np.random.default_rng(1)
    for spread in (5, 400, 1000):
        a, b = (rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread, shape) for shape in ((3, 4), (4, 3)))
        for accumulator in ("fp16", "binary32", "posit8", "int16", "binary64", "fp22"):
            for fma in (False, True):
                for rounding in ("nearest_even", "down", "stochastic"):
                    unit = Accumulator(accumulator, rounding=rounding, fma=fma)
                    seed = 3 if unit.draws else None
                    got, want = matmul(a, b, accumulator=unit, seed=seed), exact_units.matmul(a, b, unit, seed)
                    assert same(got, want), (unit, spread)


def test_integers_wrap_as_hardware_does():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-32768, 32768, shape).astype(np.float64) for shape in ((5, 300), (300, 4)))
    exact = a.astype(np.int64) @ b.astype(np.int64)
    for order in ({}, {"order": "pairwise"}):
        assert (matmul(a, b, accumulator="int32", **order) == exact.astype(np.int32)).all()
        assert (matmul(a, b, accumulator="int16", **order) == exact.astype(np.int16)).all()
    assert matmul(a, b, accumulator="int32").dtype == np.float64
    blocked = matmul(a, b, accumulator="int16", order="blocked", chunk=100, outer="binary64")
    parts = [
        (a[:, k : k + 100].astype(np.int64) @ b[k : k + 100].astype(np.int64)).astype(np.int16) for k in (0, 100, 200)
    ]
    assert (blocked == sum(part.astype(np.int64) for part in parts)).all()


def test_integers_of_many_bits():
    """Sums whose lowest bits float64 does not hold wrap all the same."""
    a, b = np.array([[2.0**40 + 1, 3.0, 2.0**60]]), np.array([[2.0**31 - 1], [5.0], [1.0]])
    exact = ((2**40 + 1) * (2**31 - 1) + 15 + 2**60 + 2**31) % 2**32 - 2**31
    for fma in (False, True):
        assert matmul(a, b, accumulator="int32", fma=fma)[0, 0] == exact


def test_stochastic_sums_are_rounded_operations():
    """Step 2 k is the product of place k, step 2 k + 1 the sum: what single operations draw."""
    from halfulp.emulate.rounded.draws import Draws
    from halfulp.emulate.rounded.operations import operate

    rng = np.random.default_rng(0)
    draws, of = Draws(9), arithmetic("fp16", "stochastic")
    dtype = of.carrier.name
    a, b = (hu.quantize(rng.standard_normal(shape), "fp16").astype(dtype) for shape in ((40, 7), (7, 900)))
    acc = np.zeros((40, 900), dtype)
    for k in range(7):
        product = operate("multiply", of, [a[:, k, None], b[None, k]], draws.next())
        acc = operate("add", of, [acc, product], draws.next())
    got = matmul(a, b, accumulator="fp16", rounding="stochastic", seed=9)
    assert (got == acc).all()
    assert (got != matmul(a, b, accumulator="fp16", rounding="stochastic", seed=10)).any()
    later = Draws(9)
    matmul(a, b, accumulator="fp16", rounding="stochastic", seed=later)
    assert later.step == 14
