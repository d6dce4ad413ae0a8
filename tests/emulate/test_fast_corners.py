"""Corners in which a faster copy once differed from the definition: each case against another path to the same bits."""

import halfulp as hu
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import numpy_scaled
from halfulp.formats.exact import encode_exact, quantize_exact
from halfulp.formats.rounding import ROUNDINGS


def by_portable(monkeypatch, call):
    with monkeypatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(numpy_scaled, "_compiled", lambda *_: None)
        patch.setattr(numpy_scaled, "fused_codes", lambda *_: None)
        return call()


def same(a, b):
    return np.array_equal(np.asarray(a).view(np.int32), np.asarray(b).view(np.int32))


@pytest.mark.parametrize("element", ["uint4", "uint8", "ue4m3", "ue5m3"])
@pytest.mark.parametrize("block", [4, "tensor"])
def test_negative_numbers_in_scaled_unsigned_formats(element, block, monkeypatch):
    fmt, x = hu.scaled(element, scale="e8m0", block=block), np.float32([[-1, 2, 3, 1], [-8, -2, 0, 7]])
    for options in ({}, {"rounding": "stochastic", "seed": 1}):
        got = hu.quantize(x, fmt, **options)
        assert got.min() == 0
        assert same(got, by_portable(monkeypatch, lambda: hu.quantize(x, fmt, **options)))
    assert same(hu.quantize(x.astype(ml_dtypes.bfloat16), fmt).astype(np.float32), hu.quantize(x, fmt))
    codes = hu.encode(x, fmt)
    assert np.array_equal(codes.elements, by_portable(monkeypatch, lambda: hu.encode(x, fmt)).elements)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("uint8", ml_dtypes.bfloat16), ("int8", ml_dtypes.bfloat16), ("uint7", ml_dtypes.bfloat16), ("uint11", np.float16),
     ("int12", np.float16), ("uint16", np.float32), ("int25", np.float32)],
)  # fmt: skip
def test_codes_of_integers_as_wide_as_the_significand(name, dtype):
    fmt = hu.format(name)
    largest = float(fmt.max)
    x = np.array([0.5, 1, largest, largest + 1, 1.5 * largest, 3 * largest, 20 * largest, -1, -largest, -3 * largest])
    x = np.minimum(x, 60000.0).astype(dtype) if dtype == np.float16 else x.astype(dtype)
    for rounding in ("nearest_even", "toward_zero"):
        mode = ROUNDINGS[rounding]
        want = [encode_exact(fmt, quantize_exact(fmt, float(v), mode, "saturate")) for v in x]
        assert hu.encode(x, name, rounding=rounding).tolist() == want
        if fmt.bits <= 16:
            assert hu.unpack(hu.pack(x, name, rounding=rounding), out_dtype="float32").tolist() == [
                float(v) for v in hu.decode(np.array(want), name)
            ]


def test_float32_in_formats_that_need_float64():
    fmt = hu.scaled("int32", block=4)
    x = np.float32([1, 2, 3, -7])
    assert np.array_equal(hu.quantize(x, fmt), hu.quantize(x.astype(np.float64), fmt).astype(np.float32))
    assert hu.encode(x, fmt).elements.shape == (4,)


def test_grids_whose_quantum_lies_below_the_normal_numbers():
    fmt = hu.scaled("e4m3b125", scale="e8m0", block=8)
    x = np.float32([4.959e-6, 2.48e-6, 1e-5, -3e-6, 7e-6, 1e-6, -9e-6, 2e-5])
    want = hu.quantize(x.astype(np.float64), fmt).astype(np.float32)
    assert same(hu.quantize(x, fmt), want)
    assert same(jax.jit(lambda x: hu.quantize(x, fmt))(x), want)


@pytest.mark.parametrize("fmt", ["int8_per_tensor", "mxfp4"])
def test_a_scale_of_zero_saturates_infinities_everywhere(fmt):
    x = np.float32([np.inf, -np.inf, 1.0, -2.0]).repeat(8)
    given = np.zeros(1, np.float32)
    want = hu.quantize(x, fmt, scale=given)
    assert same(hu.quantize(jnp.asarray(x), fmt, scale=given), want)
    assert same(hu.quantize(torch.from_numpy(x), fmt, scale=given).numpy(), want)


def test_an_amax_of_zero_is_no_zero_block(monkeypatch):
    x = np.float32([-1, 2, 3, 1])
    for fmt in ("int8_per_tensor", hu.scaled("fp8_e4m3", scale="e8m0", block="tensor")):
        got = hu.quantize(x, fmt, amax=0.0)
        assert same(got, by_portable(monkeypatch, lambda: hu.quantize(x, fmt, amax=0.0)))
        assert same(got, hu.quantize(jnp.asarray(x), fmt, amax=0.0))


def test_amax_reproduces_the_data_with_other_roundings_of_scales():
    x = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32) * 1e-4
    for rule in ("floor", "rceil", "nearest"):
        fmt = hu.scaled("fp4_e2m1", scale="ue4m3", block=16, rule=rule, outer="binary32")
        for options in ({}, {"scale_rounding": "nearest_even"}):
            assert same(hu.quantize(x, fmt, amax=np.abs(x).max(), **options), hu.quantize(x, fmt, **options))


def test_amax_is_never_ignored():
    with pytest.raises(ValueError, match="amax= is for real arrays"):
        hu.quantize(np.complex64([1 + 1j]), "int8_per_tensor", amax=1e-3)
    with pytest.raises(ValueError, match="amax= is for real arrays"):
        hu.quantize(np.float32([1, 2]), "bcq2", amax=1e-3)
    for bad in (-2.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected one finite number >= 0"):
            hu.quantize(jnp.ones(4), "int8_per_tensor", amax=bad)
    with pytest.raises(ValueError, match="expected one finite number >= 0"):
        hu.quantize(np.ones(4, np.float32), "int8_per_tensor", amax=1e39)


def test_clip_masks_of_lists_of_one_sign():
    for values in ([1.0, 2.0, 4.0], [-4.0, -2.0, -1.0]):
        book, at = hu.codebook(values), np.float32([-5, -3, -0.5, 0, 0.1, 0.5, 1, 3, 5])
        x = torch.from_numpy(at).requires_grad_()
        hu.quantize(x, book).sum().backward()
        assert x.grad.tolist() == jax.grad(lambda x: hu.quantize(x, book).sum())(jnp.asarray(at)).tolist()


def test_checks_do_not_depend_on_the_path_or_on_earlier_calls():
    with pytest.raises(ValueError, match="got NaN itself"):
        hu.encode(np.ones(32, np.float32), "mxfp4", nan=float("nan"))
    x = np.ones((32, 32), np.float32)
    hu.quantize(x, "mxfp4", axis=1)
    with pytest.raises(TypeError):
        hu.quantize(x, "mxfp4", axis=1.0)
    with pytest.raises(TypeError, match="expected a format, its name, or what hu.format_data"):
        hu.quantize(torch.ones(4), torch.ones(3))
    negated = torch._neg_view(torch.tensor([1.1, -2.0]))
    assert hu.quantize(negated, "fp4_e2m1").tolist() == [-1.0, 2.0]
