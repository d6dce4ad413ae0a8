"""Products and quotients of positive float32 by few steps: those of IEEE 754 at every magnitude."""

import halfulp as hu
import jax
import numpy as np
import pytest
from halfulp.emulate.backends import jax_significands
from halfulp.emulate.backends.jax_fence import fenced

LARGEST = np.finfo(np.float32).max


def positive(rng, n):
    """Random bits of positive finite numbers, of which a quarter is subnormal or near the ends of the range."""
    bits = rng.integers(1, 0x7F800000, n)
    bits[: n // 8] = rng.integers(1, 1 << 23, n // 8)
    bits[n // 8 : n // 4] = rng.integers(0x7E000000, 0x7F800000, n // 8)
    return bits.astype(np.int32)


@pytest.mark.parametrize("operation", ["product", "quotient"])
def test_ieee_operations_at_every_magnitude(operation):
    """2^20 random pairs, half of them with results about the subnormal numbers, where two roundings would show."""
    rng = np.random.default_rng(3)
    a, b = positive(rng, 1 << 20), rng.permutation(positive(rng, 1 << 20))
    a[: 1 << 19] = ((rng.integers(1, 250, 1 << 19) << 23) + rng.integers(0, 1 << 23, 1 << 19)).astype(np.int32)
    wanted = rng.integers(100, 130, 1 << 19)  # exponent fields of both, whose results lie at 2**-149 to 2**-120
    field = a[: 1 << 19] >> 23
    other = np.clip(wanted - field if operation == "product" else field + 254 - wanted, 0, 253)
    b[: 1 << 19] = ((other << 23) + rng.integers(1, 1 << 23, 1 << 19)).astype(np.int32)
    x, y = a.view(np.float32).astype(np.float64), b.view(np.float32).astype(np.float64)
    with np.errstate(over="ignore"):  # of 24-bit significands float64 holds products, and rounds quotients innocuously
        want = np.minimum((x * y if operation == "product" else x / y).astype(np.float32), LARGEST)
    got = np.asarray(jax.jit(getattr(jax_significands, operation))(a, b))
    assert np.array_equal(got, want.view(np.int32))


def test_zero_products():
    zero, number = np.zeros(3, np.int32), np.array([1, 0x3F800000, 0x7F7FFFFF], np.int32)
    assert not np.asarray(jax_significands.product(zero, number)).any()
    assert not np.asarray(jax_significands.product(number, zero)).any()


def test_a_fence_passes_arrays_also_of_members_of_a_map():
    a, b = np.arange(12, dtype=np.int32).reshape(3, 4), np.ones(3, np.int32)
    for f in (fenced, jax.jit(fenced), jax.jit(jax.vmap(fenced))):
        got = f(a, b)
        assert np.array_equal(got[0], a)
        assert np.array_equal(got[1], b)


FORMATS = ["mxfp8_e4m3", "mxint8", "nvfp4", "nvfp4_2d", "int8_per_row", "fp4_ue5m3", "four_over_six", "e5m2_per_row"]


@pytest.mark.parametrize("name", FORMATS)
def test_formats_as_data_have_the_bits_of_numpy(name):
    """What the trainer calls: formats, roundings and the numbers of the short kernel stacked, members of a map."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, (64, 64), dtype=np.uint64).astype(np.uint32)
    blocks = np.ldexp(rng.standard_normal((64, 64)), rng.integers(-149, 127, (64, 1))).astype(np.float32)
    blocks[0] = 0
    f = jax.jit(jax.vmap(lambda x: hu.quantize(x, name)))
    x = np.stack([bits.view(np.float32), blocks])
    with np.errstate(all="ignore"):
        want = np.stack([hu.quantize(each, name) for each in x])
    assert np.array_equal(np.asarray(f(x)).view(np.int32), want.view(np.int32))
