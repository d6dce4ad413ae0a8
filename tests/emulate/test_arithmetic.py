"""Multiplication, division and addition by bits equal IEEE arithmetic, subnormals flushed or not, under jit too."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate import arithmetic
from halfulp.emulate.backends.integers import NumpyIntegers
from halfulp.emulate.backends.jax_integers import JaxIntegers
from halfulp.emulate.backends.torch_integers import TorchIntegers
from halfulp.emulate.layouts import LAYOUTS

from ..support.cases import FLOATS, SIGNED
from ..support.exact_scaled import fl

FLOAT32, FLOAT64 = LAYOUTS["float32"], LAYOUTS["float64"]


def pairs(layout, count, seed=0):
    """Random bits x and positive finite y; a third of either is subnormal or near it, a third of equal exponents."""
    rng = np.random.default_rng(seed)
    bits = SIGNED[layout.width]
    x = rng.integers(-(1 << (layout.width - 1)), 1 << (layout.width - 1), count).astype(bits)
    y = rng.integers(1, layout.infinity, count).astype(bits)
    third, small = count // 3, 4 << layout.mantissa_bits
    x[:third], y[third // 2 : third] = rng.integers(0, small, third), rng.integers(1, small, third - third // 2)
    close = (y[-third:] & ~((1 << layout.mantissa_bits) - 1)) | rng.integers(0, 1 << layout.mantissa_bits, third)
    x[-third:] = close
    x[:8] = [0, -(1 << (layout.width - 1)), layout.infinity, layout.infinity - 1, layout.nan, 1, 2, layout.infinity + 1]
    return x, np.maximum(y, 1)


def ieee(op, x, y, layout):
    """What the hardware gives; NaN canonical."""
    floats = FLOATS[layout.name]
    with np.errstate(all="ignore"):
        a, b = x.view(floats), y.view(floats)
        result = {"multiply": a * b, "divide": a / b, "add": a + b}[op]
    bits = result.view(SIGNED[layout.width]).copy()
    bits[np.isnan(result)] = layout.nan
    return bits


@pytest.mark.parametrize("op", ["multiply", "divide", "add"])
@pytest.mark.parametrize("flush", [False, True], ids=["gradual", "flushed"])
def test_a_million_pairs_on_every_backend(op, flush):
    x, y = pairs(FLOAT32, 1 << 20)
    if op == "add":
        x = np.where((x & FLOAT32.magnitude_mask) >= FLOAT32.infinity, 5, x).astype(np.int32)
        y = np.where(np.arange(len(y)) % 2, y, y | np.int32(-(1 << 31))).astype(np.int32)
    want, want_one = ieee(op, x, y, FLOAT32), ieee(op, x, np.full_like(x, y[0]), FLOAT32)
    function = getattr(arithmetic, op)
    torch.set_flush_denormal(flush)
    try:
        assert np.array_equal(function(NumpyIntegers(32), FLOAT32, x, y), want)
        got = function(TorchIntegers(32), FLOAT32, torch.from_numpy(x), torch.from_numpy(y))
        assert np.array_equal(got.numpy(), want)
        jitted = jax.jit(lambda a, b: function(JaxIntegers(32), FLOAT32, a, b))
        assert np.array_equal(jitted(jnp.asarray(x), jnp.asarray(y)), want)
        if op != "add":  # a divisor or factor for all, which XLA would turn into a product with its reciprocal
            got = jax.jit(lambda a, b: function(JaxIntegers(32), FLOAT32, a, b + a * 0))(jnp.asarray(x), y[0])
            assert np.array_equal(got, want_one)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("op", ["multiply", "divide", "add"])
def test_float64(op):
    x, y = pairs(FLOAT64, 1 << 16)
    x = np.where((x & FLOAT64.magnitude_mask) >= FLOAT64.infinity, 5, x) if op == "add" else x
    want = ieee(op, x, y, FLOAT64)
    assert np.array_equal(getattr(arithmetic, op)(NumpyIntegers(64), FLOAT64, x, y), want)
    with jax.enable_x64(True):
        jitted = jax.jit(lambda a, b: getattr(arithmetic, op)(JaxIntegers(64), FLOAT64, a, b))
        assert np.array_equal(jitted(jnp.asarray(x), jnp.asarray(y)), want)


@pytest.mark.parametrize("target", ["float16", "bfloat16", "float32"])
def test_products_are_rounded_once_to_a_narrower_dtype(target):
    """float32 times float32, half of it at the ties and the subnormals of the target."""
    rng, layout = np.random.default_rng(0), LAYOUTS[target]
    x = (rng.standard_normal(4000) * 2.0 ** rng.integers(-30, 16, 4000)).astype(np.float32)
    y = np.ones_like(x)
    middles = [layout.number(int(k)) + Fraction(1, 2) * (layout.number(int(k) + 1) - layout.number(int(k))) for k in rng.integers(0, layout.infinity - 1, 2000)]  # fmt: skip
    x[:2000] = [float(m) for m in middles]
    x[:1000] = np.nextafter(x[:1000], np.float32(0))
    y[3000:] = rng.standard_normal(1000).astype(np.float32) ** 2 + np.float32(0.1)
    xp = NumpyIntegers(32)
    for largest in (False, True):
        got = arithmetic.multiply(xp, FLOAT32, x.view(np.int32), y.view(np.int32), target=layout, largest=largest)
        want = [fl(Fraction(float(a)) * Fraction(float(b)), layout, largest) for a, b in zip(x, y)]
        floats = got.astype(SIGNED[layout.width]).view(FLOATS[target]).astype(np.float64)
        assert floats.tolist() == [float(v) for v in want]


def test_quotients_scaled_by_a_power_of_two_are_rounded_once():
    xp, rng = NumpyIntegers(32), np.random.default_rng(0)
    x, y = (rng.standard_normal(300) ** 2 + 0.1 for _ in range(2))
    x, y = x.astype(np.float32), y.astype(np.float32)
    for exponent in (-140, -126, 0, 126):
        got = arithmetic.divide(xp, FLOAT32, x.view(np.int32), y.view(np.int32), exponent=exponent)
        want = [fl(Fraction(float(a)) / Fraction(float(b)) * Fraction(2) ** exponent, FLOAT32) for a, b in zip(x, y)]
        assert got.view(np.float32).tolist() == [float(v) for v in want]


def test_sums_of_opposite_numbers():
    xp = NumpyIntegers(32)
    cases = [(1.0, -1.0, 0.0), (-0.0, -0.0, -0.0), (0.0, -0.0, 0.0), (1.0, -(2.0**-30), 1.0), (2.0, -(2.0**-24), 2.0)]
    cases += [
        (1.0, float(-np.nextafter(np.float32(1), np.float32(0))), 2.0**-24),
        (1.0, -(2.0**-25) * 1.5, 1 - 2.0**-24),
    ]
    for a, b, want in cases:
        bits = [np.array([v], np.float32).view(np.int32) for v in (a, b)]
        got = arithmetic.add(xp, FLOAT32, *bits).view(np.float32)[0]
        assert (got, np.signbit(got)) == (np.float32(want), np.signbit(want)), (a, b)
