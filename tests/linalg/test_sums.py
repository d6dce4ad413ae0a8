"""Methods of summation: their loops, their bounds against Fractions."""

from fractions import Fraction

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import gamma, unit_roundoff
from halfulp.emulate.linalg import sums
from halfulp.emulate.linalg.inputs import prepare
from halfulp.emulate.linalg.sums import METHODS
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.draws import Draws
from halfulp.emulate.rounded.reductions import accumulate

from .textbook import RANDOM, ROUNDINGS, one, same

COMPENSATED = ("kahan", "neumaier", "doubly_compensated")


def terms(fmt, *shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-4, 4, shape)
    return prepare("test", (x,), fmt)[1][0]


def scalar(ar, method, x):
    """By definition, one operation of Fractions at a time."""

    def add(a, b):
        return one(ar, "add", a, b)

    def sub(a, b):
        return one(ar, "subtract", a, b)

    if method == "doubly_compensated":
        x = sorted(x, key=abs, reverse=True)
    s, e = x[0], 0.0
    for value in x[1:]:
        if method == "kahan":
            y = add(value, e)
            t = add(s, y)
            s, e = t, add(sub(s, t), y)
        elif method == "neumaier":
            t = add(s, value)
            a, b = (s, value) if abs(s) >= abs(value) else (value, s)
            s, e = t, add(e, add(sub(a, t), b))
        else:
            y = add(e, value)
            u = sub(value, sub(y, e))
            t = add(y, s)
            z = add(u, sub(y, sub(t, s)))
            s = add(t, z)
            e = sub(z, sub(s, t))
    return add(s, e) if method == "neumaier" else s


@pytest.mark.parametrize("method", COMPENSATED)
@pytest.mark.parametrize("fmt", ["fp16", "bf16", "fp8_e4m3"])
def test_compensated_sums_are_the_loop(method, fmt):
    for rounding in ROUNDINGS:
        ar = arithmetic(fmt, rounding)
        x = terms(fmt, 3, 20)
        assert linalg.sum(x, ar, method=method, axis=1).tolist() == [scalar(ar, method, row.tolist()) for row in x]


@pytest.mark.parametrize("method", COMPENSATED)
@pytest.mark.parametrize("fmt", ["fp16", "bf16", "fp32", "fp64"])
def test_compiled_sums_are_the_portable_ones(method, fmt):
    for rounding in ("nearest_even", "up", "down", "to_odd") if fmt != "fp64" else ("nearest_even",):
        machine, (x,) = prepare("test", (terms(fmt, 5, 300),), fmt, rounding)
        if method == "doubly_compensated":
            x = -np.sort(-np.abs(x), axis=1)
        assert same(sums._compensated(machine, x, method), sums._BY_COLUMNS[method](machine, x.T))


@pytest.mark.parametrize("rounding", RANDOM)
@pytest.mark.parametrize("fmt", ["fp16", "bf16", "fp8_e4m3"])
@pytest.mark.parametrize("rows", [1, 7])
def test_stochastic_sums_draw_what_operations_draw(rounding, fmt, rows):
    """The compiled loop equals `accumulate`, also past 2**32 steps, and leaves the draws where that leaves them."""
    for step in (0, 2**32 - 20):
        machine = prepare("test", (), fmt, rounding, None, Draws(9, step))[0]
        x = terms(fmt, rows, 50).astype(machine.dtype)
        draws = Draws(9, step)
        assert same(sums._recursive(machine, x), accumulate(machine.arithmetic, x, -1, "sequential", draws))
        assert machine.draws.step == draws.step == step + 49


def test_recursive_pairwise_and_blocked_sums_are_their_loops():
    ar = arithmetic("fp16", "up")
    x = terms("fp16", 23)

    def recursive(values):
        s = values[0]
        for value in values[1:]:
            s = one(ar, "add", s, value)
        return s

    assert linalg.sum(x, ar) == recursive(x)
    blocks = [recursive(x[k : k + 5]) for k in range(0, 23, 5)]
    assert linalg.sum(x, ar, method="blocked", block=5) == recursive(blocks)
    assert linalg.sum(x, ar, method="blocked", block=100) == recursive(x)
    assert linalg.sum(x, ar, method="pairwise") == accumulate(ar, x, 0, "pairwise")


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "tf32", "fp32"])
def test_bounds(fmt):
    n, u = 100, unit_roundoff(fmt)
    x = terms(fmt, n)
    exact, size = (sum(map(Fraction, map(float, values)), Fraction(0)) for values in (x, np.abs(x)))

    def error(method, **options):
        return abs(Fraction(float(linalg.sum(x, fmt, method=method, **options))) - exact)

    assert 0 < error("recursive") <= gamma(n - 1, fmt) * size
    assert error("pairwise") <= gamma(7, fmt) * size
    assert error("blocked", block=10) <= gamma(18, fmt) * size
    assert error("kahan") <= (2 * u + n * n * u * u) * size
    assert error("neumaier") <= u * abs(exact) + gamma(n, fmt) ** 2 * size
    assert error("doubly_compensated") <= 2 * u * abs(exact) * (1 + 4 * u)
    assert error("stochastic", seed=0) <= gamma(n - 1, fmt, "stochastic") * size


def test_kahan_keeps_two_roundings_however_many_terms():
    x = np.full(3000, 0.1)
    held = float(linalg.sum([0.1], "bf16"))
    u = unit_roundoff("bf16")
    assert abs(linalg.sum(x, "bf16") / (3000 * held) - 1) > 0.8  # 32: it stagnates
    for method in ("kahan", "doubly_compensated"):
        assert abs(linalg.sum(x, "bf16", method=method) / (3000 * held) - 1) <= 2 * u + 3000 * u * u


def test_shapes_and_empty_sums():
    x = terms("fp16", 3, 4, 5)
    for method in METHODS:
        along = linalg.sum(x, "fp16", method=method, axis=1, seed=0)
        assert along.shape == (3, 5)
        assert linalg.sum(np.zeros((3, 0)), "fp16", method=method, axis=1, seed=0).tolist() == [0, 0, 0]
        assert linalg.sum([], "fp16", method=method, seed=0) == 0
        assert linalg.sum([-3.5], "fp16", method=method, seed=0) == -3.5
    assert linalg.sum(x, "fp16") == linalg.sum(x.ravel(), "fp16")


def test_an_infinite_sum_is_nan_where_it_is_compensated():
    x = [60000.0, 60000.0, 1.0]
    assert linalg.sum(x, "fp16") == np.inf
    assert all(np.isnan(linalg.sum(x, "fp16", method=method)) for method in COMPENSATED)
    for x in ([np.inf, 1.0], [60000.0, 60000.0]):  # Kahan's at the next addition
        assert linalg.sum(x, "fp16", method="kahan") == np.inf
        assert np.isnan(linalg.sum([*x, 1.0], "fp16", method="kahan"))
        assert all(np.isnan(linalg.sum(x, "fp16", method=method)) for method in COMPENSATED[1:])


def all_pairs(fmt):
    """Every pair of finite numbers of a format of 8 bits whose sum is within its range, as floats."""
    x = hu.decode(np.arange(256, dtype=np.uint8), fmt).astype(np.float64)
    x = x[np.isfinite(x)]
    a, b = (part.ravel() for part in np.meshgrid(x, x))
    inside = np.abs(a + b) <= float(hu.format(fmt).max)
    return a[inside], b[inside]


@pytest.mark.parametrize("fmt", ["fp8_e4m3", "fp8_e5m2"])
def test_two_sum_is_exact_of_all_pairs(fmt):
    """float64 holds the sums of the pairs, so that the comparison is exact."""
    a, b = all_pairs(fmt)
    s, e = (part.astype(np.float64) for part in linalg.two_sum(a, b, fmt))
    assert np.array_equal(s, hu.quantize(a + b, fmt))
    assert np.array_equal(s + e, a + b)
    larger = np.abs(a) >= np.abs(b)
    s, e = (part.astype(np.float64) for part in linalg.fast_two_sum(a[larger], b[larger], fmt))
    assert np.array_equal(s + e, (a + b)[larger])


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "fp32", "fp64"])
def test_two_sum_is_exact_in_wider_formats(fmt):
    a, (b,) = terms(fmt, 300), prepare("test", (terms(fmt, 300, seed=1) / 32,), fmt)[1]
    found = linalg.two_sum(a, b, fmt)
    larger, smaller = np.where(np.abs(a) >= np.abs(b), a, b), np.where(np.abs(a) >= np.abs(b), b, a)
    fast = linalg.fast_two_sum(larger, smaller, fmt)
    assert found.error.any()
    for x, y, s, e in zip(*(part.tolist() for part in (a, b, *found))):
        assert Fraction(s) + Fraction(e) == Fraction(x) + Fraction(y)
    assert same(found.sum, fast.sum)
    assert same(np.abs(found.error), np.abs(fast.error))


def test_two_sum_rounds_every_operation():
    ar = arithmetic("fp16", "up")
    a, b = terms("fp16", 50), terms("fp16", 50, seed=1)
    rows = []
    for x, y in zip(a, b):
        s = one(ar, "add", x, y)
        v = one(ar, "subtract", s, x)
        first, second = one(ar, "subtract", x, one(ar, "subtract", s, v)), one(ar, "subtract", y, v)
        rows.append((s, one(ar, "add", first, second), one(ar, "subtract", y, one(ar, "subtract", s, x))))
    found, fast = linalg.two_sum(a, b, ar), linalg.fast_two_sum(a, b, ar)
    assert list(zip(*(part.tolist() for part in (*found, fast.error)))) == rows
    assert linalg.two_sum(hu.array(a, "fp16"), 1.0).error.fmt.name == "binary16"
