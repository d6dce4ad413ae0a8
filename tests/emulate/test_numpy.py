"""NumPy behaviour: types, shapes, strides, byte order, output arrays."""

import halfulp as hu
import ml_dtypes
import numpy as np
import pytest

FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
RNG = np.random.default_rng(0)


def sample(shape, dtype=np.float32):
    return (RNG.standard_normal(shape) * 20).astype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5, 7), (2, 3, 4, 5)])
def test_shape_and_dtype_come_back(shape, dtype):
    x = sample(shape, dtype) if shape else np.array(1.3, dtype)
    for options in ({}, {"rounding": "stochastic", "seed": 0}):
        y = hu.quantize(x, "fp4_e2m1", **options)
        assert isinstance(y, np.ndarray)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert hu.encode(x, "fp4_e2m1", **options).shape == x.shape


def test_scalars_and_lists_come_back_as_numpy():
    y = hu.quantize(2.6, "fp4_e2m1")
    assert isinstance(y, np.float64)
    assert y == 3
    assert isinstance(hu.quantize(np.float32(2.6), "fp4_e2m1"), np.ndarray | np.float32)
    assert hu.quantize([1, 2.6], "fp4_e2m1").tolist() == [1, 3]
    assert hu.quantize(5, "int4") == 5
    assert hu.encode(1.0, "fp8_e4m3") == 0x38
    assert hu.decode(0x38, "fp8_e4m3") == 1.0


def views(x):
    yield x
    yield x.T
    yield x[::2, 1::3]
    yield x[::-1]
    yield x[:, ::-1]
    yield np.asfortranarray(x)
    yield np.broadcast_to(x[:1], x.shape)
    yield x.astype(x.dtype.newbyteorder(">"))
    yield np.lib.stride_tricks.sliding_window_view(x, (2, 3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"rounding": "stochastic", "seed": 1}], ids=["nearest", "stochastic"])
def test_any_strides_and_byte_order(options, dtype):
    for x in views(sample((12, 10), dtype)):
        want = hu.quantize(np.ascontiguousarray(x.astype(dtype)), "fp8_e4m3", **options)
        got = hu.quantize(x, "fp8_e4m3", **options)
        assert got.dtype == x.dtype
        assert np.array_equal(got, want)
        assert np.array_equal(hu.encode(x, "fp8_e4m3", **options), hu.encode(want, "fp8_e4m3"))
        out = np.empty_like(x)
        assert hu.quantize(x, "fp8_e4m3", out=out, **options) is out
        assert np.array_equal(out, want)
        strided = np.empty((*x.shape, 2), x.dtype)[..., 0]
        hu.quantize(x, "fp8_e4m3", out=strided, **options)
        assert np.array_equal(strided, want)


@pytest.mark.parametrize("options", [{}, {"rounding": "stochastic", "seed": 1}], ids=["nearest", "stochastic"])
def test_in_place_and_overlapping(options):
    x = sample(10_000)
    want = hu.quantize(x, "fp8_e4m3", **options)
    y = x.copy()
    assert hu.quantize(y, "fp8_e4m3", out=y, **options) is y
    assert np.array_equal(y, want)
    buffer = np.concatenate([x, x[:1]])
    hu.quantize(buffer[:-1], "fp8_e4m3", out=buffer[1:], **options)  # the output runs one ahead of the input
    assert np.array_equal(buffer[1:], want)
    square = sample((64, 64))
    want = hu.quantize(square, "fp8_e4m3", **options)
    hu.quantize(square, "fp8_e4m3", out=square.T, **options)
    assert np.array_equal(square.T, want)


def test_out_dtype():
    x = np.array([1.0 + 2.0**-11 + 2.0**-40, 70000.0, -0.0, np.nan, 1e-45])
    y = hu.quantize(x, "binary16", out_dtype="float32")
    assert y.dtype == np.float32
    assert np.array_equal(y, np.float32([1.0009765625, np.inf, -0.0, np.nan, 0]), equal_nan=True)
    assert hu.quantize(np.float16([1.5, 65504]), "bfloat16", out_dtype=np.float32).tolist() == [1.5, 65536]
    assert hu.quantize(x, "fp8_e4m3", out_dtype=ml_dtypes.bfloat16).dtype == ml_dtypes.bfloat16
    out = np.empty(5, np.float32)
    assert hu.quantize(x, "binary16", out_dtype="float32", out=out) is out
    assert np.array_equal(out, y, equal_nan=True)


def test_the_input_is_left_alone():
    x = sample((100, 10))
    before = x.copy()
    hu.quantize(x, "fp4_e2m1")
    hu.encode(x, "fp4_e2m1")
    assert np.array_equal(x, before)
    x.flags.writeable = False
    hu.quantize(x, "fp4_e2m1")


def test_memory_mapped_and_array_like(tmp_path):
    x = sample(1000)
    x.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", np.float32, "r")
    assert np.array_equal(hu.quantize(mapped, "int4"), hu.quantize(x, "int4"))
    import pandas

    assert np.array_equal(hu.quantize(pandas.Series(x), "int4"), hu.quantize(x, "int4"))


def test_nan_is_canonical_and_never_traps():
    patterns = np.array([0x7F800001, 0x7FFFFFFF, -1, -0x7FFFFF], np.int32)
    for name in ("fp8_e4m3", "int4", "nf4", "binary32", "e8m0"):
        y = hu.quantize(patterns.view(np.float32), name)
        assert (y.view(np.int32) == 0x7FC00000).all()


def test_large_arrays_in_threads_equal_small_ones():
    x = sample(3_000_001)
    for name in ("fp8_e4m3", "nf4", "e8m0"):
        whole = hu.quantize(x, name)
        parts = np.concatenate([hu.quantize(part, name) for part in np.array_split(x, 7)])
        assert np.array_equal(whole, parts, equal_nan=True)
