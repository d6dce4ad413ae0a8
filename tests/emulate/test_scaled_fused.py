"""The fused CPU kernel of scaled formats equals the portable kernels bit for bit wherever it runs."""

import re

import halfulp as hu
import ml_dtypes
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import cpu, cpu_scaled, numpy_scaled
from halfulp.formats.scaled_registry import SCALED
from hypothesis import given, settings
from hypothesis import strategies as st

MODES = ("nearest_even", "nearest_away", "nearest_zero", "toward_zero")
RNG = np.random.default_rng(0)


def arrays():
    usual = RNG.standard_normal((64, 256))
    special = usual.astype(np.float32)
    special[::3, :64], special[1::3, :64], special[5, 5], special[9, 200], special[11] = (
        0,
        -0.0,
        np.nan,
        np.inf,
        2.0**-149,
    )
    blocks = np.exp2(RNG.integers(-140, 126, (64, 8, 1))) * RNG.standard_normal((64, 8, 32))
    with np.errstate(over="ignore"):
        found = {
            "usual": usual,
            "every exponent": usual * np.exp2(RNG.integers(-149, 127, usual.shape)),
            "an exponent a block": blocks.reshape(usual.shape),
            "special": special,
            "below powers of two": np.nextafter(
                np.exp2(RNG.integers(-20, 20, usual.shape)).astype(np.float32), np.float32(0)
            ),
            "ties": RNG.integers(-64, 65, usual.shape) / 8,
            "small": usual * 2.0**-100,
            "tiny": usual * 2.0**-130,
            "huge": usual * 2.0**125,
            "zeros": usual * 0,
        }
        return {name: x.astype(np.float32) for name, x in found.items()}


ARRAYS = arrays()
WRITTEN = [
    f"scaled({element},scale={scale},block={block},rule={rule})"
    for element in ("fp8_e4m3", "fp4_e2m1", "int4_narrow", "e5m2ieee")
    for scale, block, rule in (
        ("e8m0", 32, "rceil"), ("e8m0", 32, "ceil"), ("e8m0", 16, "even"), ("e8m0", 32, "tetrajet"), ("ue5m3", 16, "rceil"),
        ("ue4m3", 16, "nearest"), ("binary32", 64, "floor"), ("ue3m0", 32, "floor"), ("binary16", 128, "nearest"),
    )
]  # fmt: skip
NAMED = [*SCALED, "bfp8", "e3m2_per_row", "fp8_e5m2_per_tensor", "binary8p3se_per_row"]


@pytest.fixture
def portable(monkeypatch):
    """`quantize` by the portable kernels."""

    def quantize(x, fmt, **options):
        with monkeypatch.context() as patch:
            patch.setattr(numpy_scaled, "_compiled", lambda *_: None)
            return hu.quantize(x, fmt, **options)

    return quantize


@pytest.mark.parametrize("name", [*NAMED, *WRITTEN])
def test_fused_equals_portable(name, portable):
    for kind, x in ARRAYS.items():
        for mode in MODES if kind in ("usual", "ties") else MODES[:1]:
            with np.errstate(all="ignore"):  # errors of searches overflow in the portable kernels
                got, want = hu.quantize(x, name, rounding=mode), portable(x, name, rounding=mode)
            assert np.array_equal(got.view(np.int32), want.view(np.int32)), (kind, mode)


@pytest.mark.parametrize("name", [*NAMED, *WRITTEN])
def test_fused_codes_equal_portable_ones(name, monkeypatch):
    """Elements, scales and outer scales, and whether there is a NaN without a code."""

    def arrays(x, mode):
        with np.errstate(all="ignore"):
            try:
                return hu.encode(x, name, rounding=mode).arrays
            except ValueError as error:
                return {"refused": str(error)}

    for kind, x in ARRAYS.items():
        for mode in MODES if kind in ("usual", "ties") else MODES[:1]:
            got = arrays(x, mode)
            with monkeypatch.context() as patch:
                patch.setattr(numpy_scaled, "fused_codes", lambda *_: None)
                want = arrays(x, mode)
            assert got.keys() == want.keys()
            for part in got:
                assert np.array_equal(got[part], want[part]), (kind, mode, part)
                assert getattr(got[part], "dtype", None) == getattr(want[part], "dtype", None)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["mxfp4", "mxint8", "nvfp4", "int8_per_row", "int8_per_tensor"])
def test_codes_of_16_bit_numbers_are_those_of_float32(name, dtype):
    for x in ARRAYS.values():
        with np.errstate(over="ignore"):
            half = x.astype(dtype)
        try:
            want = hu.encode(half.astype(np.float32), name)
        except ValueError as error:
            with pytest.raises(ValueError, match=re.escape(str(error))):
                hu.encode(half, name)
            continue
        got = hu.encode(half, name)
        assert got.dtype == np.dtype(dtype).name
        for part, codes in want.arrays.items():
            assert np.array_equal(got.arrays[part], codes), part
    long = np.tile(ARRAYS["usual"], (65, 1)).astype(dtype)  # several pieces in each of several threads
    assert np.array_equal(hu.encode(long, name).elements, hu.encode(long.astype(np.float32), name).elements)


def test_codes_of_daily_use_are_fused(monkeypatch):
    monkeypatch.setattr(numpy_scaled, "Pass", None)
    for name in ("mxfp4", "mxfp8_e4m3", "mxint8", "nvfp4", "int8_per_row", "int8_per_tensor"):
        for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
            assert hu.encode(ARRAYS["usual"].astype(dtype), name).elements.shape == (64, 256)


LAID_OUT = [
    ("mxfp4", (64, 256), 0), ("mxfp4", (4, 32, 128), -2), ("mxfp8_e5m2", (2, 32, 2, 128), 1), ("mxfp8_e4m3", (32, 2, 8, 32), 0),
    ("nvfp4_2d", (64, 256), None), ("nvfp4_2d", (4, 32, 128), None), ("int8_per_channel", (32, 2, 8, 32), None),
    ("int8_per_column", (64, 256), None), ("int8_per_column", (2, 32, 2, 128), None),
    ("scaled(fp4_e2m1,scale=ue5m3,block=8x32,rule=rceil)", (4, 32, 128), None), ("mxfp4", (16384,), None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "axis"), LAID_OUT)
def test_blocks_along_any_axis(name, shape, axis, portable):
    for kind, x in ARRAYS.items():
        got, want = (f(x.reshape(shape), name, axis=axis, pad=True) for f in (hu.quantize, portable))
        assert np.array_equal(got.view(np.int32), want.view(np.int32)), kind


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(
    "name", ["mxfp4", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8", "bfp8", "scaled(fp8_e4m3,scale=e8m0,block=32,rule=ceil)"]
)
def test_16_bit_numbers_in_formats_of_powers_of_two(name, dtype, portable):
    for kind, x in ARRAYS.items():
        with np.errstate(over="ignore"):
            half = x.astype(dtype)
        for options in ({}, {"axis": 0}, {"rounding": "stochastic", "seed": 3}, {"out_dtype": "float32"}):
            got, want = hu.quantize(half, name, **options), portable(half, name, **options)
            assert got.dtype == want.dtype
            integer = np.int16 if got.dtype.itemsize == 2 else np.int32
            assert np.array_equal(got.view(integer), want.view(integer)), (kind, options)
    tensor = torch.from_numpy(ARRAYS["usual"]).bfloat16()
    assert torch.equal(
        hu.quantize(tensor, name).float(),
        torch.from_numpy(portable(ARRAYS["usual"].astype(ml_dtypes.bfloat16), name).astype(np.float32)),
    )


RANDOM = [("mxfp4", None), ("mxfp4", 0), ("mxfp8_e5m2", 0), ("nvfp4", None), ("nvfp4_2d", None), ("int8_per_row", None),
          ("int8_per_tensor", None), ("fp4_ue5m3", None)]  # fmt: skip


@pytest.mark.parametrize(("name", "axis"), RANDOM)
def test_random_elements(name, axis, portable):
    options = {"rounding": "stochastic", "seed": 7, "step": 3, "stream": 9, "axis": axis}
    for offset in (0, 13, hu.Shard((8, 0), (72, 512))):
        for kind, x in ARRAYS.items():
            got, want = (f(x, name, offset=offset, **options) for f in (hu.quantize, portable))
            assert np.array_equal(got.view(np.int32), want.view(np.int32)), kind


@pytest.mark.parametrize(
    "name",
    ["mxfp4", "mxfp8_e4m3", "mxint8", "nvfp4", "int8_per_row", "int8_per_tensor", "fp4_ue5m3", "bfp8", "nf4_block64"],
)
def test_the_formats_of_daily_use_are_fused(name, monkeypatch):
    monkeypatch.setattr(numpy_scaled, "Pass", None)
    assert hu.quantize(ARRAYS["usual"], name).shape == (64, 256)
    assert hu.quantize(torch.from_numpy(ARRAYS["usual"]), name).shape == (64, 256)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40), blocks=st.integers(1, 20), size=st.sampled_from([1, 2, 16, 31, 32, 5000]),
    exponent=st.integers(-150, 120), seed=st.integers(0, 1 << 30), name=st.sampled_from(["e8m0", "ue4m3", "binary32"]),
)  # fmt: skip
def test_any_shape(rows, blocks, size, exponent, seed, name):
    blocks = min(blocks, 20000 // size) or 1
    x = (np.random.default_rng(seed).standard_normal((rows, blocks * size)) * 2.0**exponent).astype(np.float32)
    fmt = hu.scaled("fp4_e2m1", scale=name, block=size)
    want = (
        hu.quantize(np.asfortranarray(x), fmt) if min(x.shape) > 1 else hu.quantize(np.repeat(x, 2, -1)[..., ::2], fmt)
    )
    assert np.array_equal(hu.quantize(x, fmt).view(np.int32), np.ascontiguousarray(want).view(np.int32))


def test_threads_and_tiles(portable, monkeypatch):
    """Blocks longer than a tile, a block a thread cannot have alone, and more than one thread."""
    monkeypatch.setattr(cpu, "_THREADED_FROM", 1 << 10)
    monkeypatch.setattr(cpu_scaled, "MOST", 1 << 14)
    x = RNG.standard_normal((24, 5000)).astype(np.float32)
    for name in ("int8_per_row", "int8_per_tensor", "scaled(fp4_e2m1,scale=ue4m3,block=2500)", "nvint4", "mxfp4"):
        y = x[:, :4992] if name in ("nvint4", "mxfp4") else x
        y = np.ascontiguousarray(y)
        assert np.array_equal(hu.quantize(y, name), portable(y, name)), name
        options = {"rounding": "stochastic", "seed": 5, "offset": 3}
        assert np.array_equal(hu.quantize(y, name, **options), portable(y, name, **options)), name
    for shape in ((24, 4992), (96, 8, 156)):
        y = x[:, :4992].reshape(shape)
        fmt = hu.scaled("fp4_e2m1", scale="ue4m3", block=8, axis=-2)
        for options in ({}, {"rounding": "stochastic", "seed": 5, "offset": 3}):
            assert np.array_equal(hu.quantize(y, fmt, **options), portable(np.ascontiguousarray(y), fmt, **options)), (
                shape
            )


def test_out_and_in_place(portable):
    x = ARRAYS["usual"]
    want = portable(x, "mxfp4")
    out = np.empty_like(x)
    assert hu.quantize(x, "mxfp4", out=out) is out
    assert np.array_equal(out, want)
    for array in (x.copy(), np.asfortranarray(x)):
        assert hu.quantize(array, "mxfp4", out=array) is array
        assert np.array_equal(array, want)
    spoilt = ARRAYS["tiny"].copy()
    assert np.array_equal(hu.quantize(spoilt, "mxfp4", out=spoilt), portable(ARRAYS["tiny"], "mxfp4"))
    tensor = torch.from_numpy(x.copy())
    assert np.array_equal(hu.quantize(tensor, "mxfp4", out=tensor).numpy(), want)


def test_flushed_subnormals_change_nothing(portable):
    want = {kind: portable(x, "fp4_ue5m3") for kind, x in ARRAYS.items()}
    try:
        torch.set_flush_denormal(True)
        got = {kind: hu.quantize(torch.from_numpy(x), "fp4_ue5m3") for kind, x in ARRAYS.items()}
    finally:
        torch.set_flush_denormal(False)
    for kind in ARRAYS:
        assert np.array_equal(got[kind].numpy().view(np.int32), want[kind].view(np.int32)), kind
