"""Fast Fourier transforms."""

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import gamma
from halfulp.emulate.linalg.transforms import _roots
from halfulp.emulate.rounded.arrays import RoundedArray, array
from halfulp.emulate.rounded.context import arithmetic

from .textbook import one

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def held(x, fmt):
    """Complex numbers with parts of the format."""
    return linalg.fft(x[..., None], fmt).astype(np.complex128)[..., 0]  # a transform of one number changes nothing


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "tf32", "fp32"])
@pytest.mark.parametrize("n", [2, 64, 1024])
def test_the_error_bound(fmt, n):
    """Higham, Theorem 24.2: ||error|| <= t eta / (1 - t eta) ||result||, 2**t = n."""
    x = held(numbers(n), fmt)
    exact, t = np.fft.fft(x), int(np.log2(n))
    w_re, w_im = _roots(max(n // 2, 1), -1)
    rounded = held(w_re + 1j * w_im, fmt)
    mu = max(np.abs(rounded - (w_re + 1j * w_im)).max(), 2.0**-53)
    eta = mu + gamma(4, fmt) * (np.sqrt(2) + mu)
    found = linalg.fft(x, fmt)
    assert np.linalg.norm(found - exact) <= t * eta / (1 - t * eta) * np.linalg.norm(exact)
    back = linalg.ifft(found, fmt)
    assert np.linalg.norm(back - x) <= 2 * t * eta / (1 - 2 * t * eta) * np.linalg.norm(x)


def recursive(ar, x):
    """The transform of pairs of single numbers, by definition."""
    n = len(x)
    if n == 1:
        return x
    even, odd = recursive(ar, x[0::2]), recursive(ar, x[1::2])
    found = [(0.0, 0.0)] * n
    for j, ((a, b), (c, d)) in enumerate(zip(even, odd)):
        w = np.exp(-2j * np.pi * j / n)
        u, v = (one(arithmetic(ar.fmt), "add", float(np.round(part, 15)), 0) for part in (w.real, w.imag))
        re = one(ar, "subtract", one(ar, "multiply", u, c), one(ar, "multiply", v, d))
        im = one(ar, "add", one(ar, "multiply", u, d), one(ar, "multiply", v, c))
        found[j] = one(ar, "add", a, re), one(ar, "add", b, im)
        found[j + n // 2] = one(ar, "subtract", a, re), one(ar, "subtract", b, im)
    return found


@pytest.mark.parametrize(("fmt", "rounding"), [("fp16", "nearest_even"), ("bf16", "down"), ("int16@-8", "up")])
def test_the_loop(fmt, rounding):
    ar = arithmetic(fmt, rounding)
    x = held(numbers(16), fmt)
    found = linalg.fft(x, ar)
    assert [(z.real, z.imag) for z in found.tolist()] == recursive(ar, [(z.real, z.imag) for z in x.tolist()])


def test_roots_are_accurate_and_symmetric():
    re, im = _roots(512, -1)
    j = np.arange(512)
    assert np.abs(re - np.cos(np.pi * j / 512)).max() < 5e-16 > np.abs(im + np.sin(np.pi * j / 512)).max()
    assert re[256] == 0
    assert im[256] == -1
    assert re[0] == 1
    assert im[0] == 0
    assert not np.signbit(im[0])
    assert np.array_equal(re[1:256], -re[:256:-1])
    assert np.array_equal(im[1:256], im[:256:-1])


def test_axes_batches_and_kinds():
    x = numbers(3, 8, 2)
    along = linalg.fft(x, "fp16", axis=1)
    assert along.dtype == np.complex64
    assert along.shape == x.shape
    assert np.array_equal(along[1, :, 0], linalg.fft(x[1, :, 0], "fp16"))
    assert np.array_equal(linalg.fft(x.real, "bf16"), linalg.fft(x.real + 0j, "bf16"))
    assert linalg.fft(x, "bf16").dtype == np.complex128


def test_rounded_arrays_come_back_in_pairs():
    x = array(RNG.standard_normal(8), "fp16")
    found = linalg.fft(x)
    assert isinstance(found, linalg.Complex)
    assert isinstance(found.imag, RoundedArray)
    plain = linalg.fft(x.values, "fp16")
    assert np.array_equal(found.real.values, plain.real)
    assert np.array_equal(found.imag.values, plain.imag)
    back = linalg.ifft(found)
    assert np.allclose(back.real.values, x.values, atol=0.01)
    assert np.allclose(back.imag.values, 0, atol=0.01)


def test_infinite_parts_make_no_nan():
    assert linalg.fft([6e4j, 6e4j], "fp16").tolist() == [complex(0, np.inf), 0]
    assert linalg.fft([6e4, 6e4], "fp16").tolist() == [complex(np.inf, 0), 0]
    assert linalg.ifft([6e4j, 6e4j], "fp16").tolist() == [complex(0, np.inf), 0]


def test_the_inverse_scales_exactly():
    assert linalg.ifft([4.0, 0, 0, 0], "fp16").tolist() == [1, 1, 1, 1]
    assert linalg.ifft(np.ones(1024) / 1024, "fp16").real[0] == 2.0**-10
