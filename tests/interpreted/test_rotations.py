"""Hadamard transforms, alone and fused with rounding, against a butterfly in NumPy float32."""

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import triton

from tests.support.triton_runs import butterfly, differences, quantize


def draw(shape, size, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32), rng.choice([-1, 1], size).astype(np.float32)


@pytest.mark.parametrize("size", [2, 8, 32, 128, 4096])
def test_the_transform(size):
    x, signs = draw((3, 4096), size)
    x[1, 5], x[2, 6], x[0, :4] = np.nan, np.inf, [1e-45, -0.0, 3e38, 3e38]
    for given in (None, signs):
        out = torch.empty(3, 4096)
        rotation = triton.Rotation(size, None if given is None else torch.from_numpy(given))
        triton.hadamard(torch.from_numpy(x), rotation, out)
        np.testing.assert_array_equal(out.numpy(), butterfly(x, size, given))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bits_round_once(dtype):
    x, signs = draw((4, 64), 16)
    t = torch.from_numpy(x).to(getattr(torch, dtype))
    want = torch.from_numpy(butterfly(t.float().numpy(), 16, signs)).to(t.dtype)
    out = torch.empty_like(t)
    triton.hadamard(t, triton.Rotation(16, torch.from_numpy(signs)), out)
    assert differences(out, want) == 0


@pytest.mark.parametrize("fmt", ["fp8_e4m3", "int8", "nf4", "mxfp4", "nvfp4", "int8_per_row", "int8_per_tensor"])
def test_fused_with_rounding(fmt):
    for dtype, options in (("float32", {}), ("bfloat16", {"rounding": "stochastic", "seed": 3})):
        if fmt == "nf4":
            dtype, options = "float32", {}
        x, signs = draw((32, 256), 32)
        t = torch.from_numpy(x).to(getattr(torch, dtype))
        rotated = torch.from_numpy(butterfly(t.float().numpy(), 32, signs))
        want = hu.quantize(rotated, fmt, out_dtype=dtype, **options)
        got = quantize(t, fmt, rotation=triton.Rotation(32, torch.from_numpy(signs)), **options)
        assert differences(got, want) == 0, dtype


def test_blocks_across_rows_and_long_ones():
    x, signs = draw((32, 96), 16)
    t, rotation = torch.from_numpy(x), triton.Rotation(16, torch.from_numpy(signs))
    rotated = torch.from_numpy(butterfly(x, 16, signs))
    for options in ({"fmt": "mxfp4", "axis": 0}, {"fmt": "nvfp4_2d"}, {"fmt": "int8_per_row", "axis": 0}):
        assert differences(quantize(t, rotation=rotation, **options), hu.quantize(rotated, **options)) == 0
    # a row of 96 is no power of two, so that a tile pads it, and three transforms of 32 fill it
    rotation = triton.Rotation(32, None)
    rotated = torch.from_numpy(butterfly(x, 32))
    assert differences(quantize(t, "int8_per_row", rotation=rotation), hu.quantize(rotated, "int8_per_row")) == 0


@pytest.mark.parametrize("transform", ["hadamard16", "rht16"])
def test_the_front_door(transform, monkeypatch):
    """`hadamard` and `transform=` go this way on a GPU, and give what they give on the CPU."""
    x, _ = draw((32, 64), 16)
    t, seed = torch.from_numpy(x), {"seed": 5, "step": 2}

    def results():
        yield hu.hadamard(t, transform, **seed)
        yield hu.hadamard(t, transform, inverse=True, **seed)
        yield hu.hadamard(t, transform, axis=0, **seed)
        yield hu.hadamard(t.bfloat16(), transform, **seed)
        yield hu.quantize(t, "mxfp4", transform=transform, **seed)
        yield hu.quantize(t.bfloat16(), "fp8_e4m3", transform=transform, rounding="stochastic", **seed)
        yield hu.quantize(t, "nvfp4", transform=transform, out=torch.empty_like(t), **seed)
        yield hu.quantize(t, "mxfp4", axis=0, transform=transform, **seed)

    want, calls = list(results()), []
    monkeypatch.setattr(triton, "available", lambda x: calls.append(1) or True)
    for got, expected in zip(results(), want):
        assert differences(got, expected) == 0
    assert calls


def test_nothing_gives_nothing():
    out = torch.empty(0, 32)
    triton.hadamard(torch.empty(0, 32), triton.Rotation(32), out)
    assert quantize(torch.empty(0, 32), "mxfp4", rotation=triton.Rotation(32)).shape == (0, 32)


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match="a power of two from 2 to 4096, got 24"):
        triton.Rotation(24)
    with pytest.raises(ValueError, match=r"signs: expected shape \(16,\), got \(8,\)"):
        triton.Rotation(16, torch.ones(8))
    with pytest.raises(ValueError, match=r"blocks of 16 need a last axis that is a multiple, got shape \(4, 24\)"):
        triton.hadamard(torch.ones(4, 24), triton.Rotation(16), torch.ones(4, 24))
