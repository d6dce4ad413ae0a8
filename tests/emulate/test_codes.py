"""encode and decode: every code, every backend, and the values that have none."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.formats import exact
from halfulp.formats.registry import NAMED

from ..support.backends import floats
from ..support.cases import WIDE, both_sides, expected, in_layout, stratified, value_of

FLOAT32, FLOAT64 = LAYOUTS["float32"], LAYOUTS["float64"]
ALL = [name for name, fmt in NAMED.items() if fits(fmt, FLOAT32)]  # takums are in test_tapered


def arrays(x):
    """x as a NumPy, torch and JAX array."""
    import jax.numpy as jnp
    import torch

    yield x
    yield torch.from_numpy(x)
    yield jnp.asarray(x)


def everywhere(call, x):
    """call(x) in each library as NumPy arrays; JAX gets a size it has compiled for."""
    padded = np.resize(x, -(-len(x) // 8192) * 8192)
    for array in (*list(arrays(x))[:2], list(arrays(padded))[2]):
        yield np.asarray(call(array))[: len(x)]


@pytest.mark.parametrize("name", [*ALL, "int8_narrow", "uint3_midrise", "e4m3_nosub", "e4m3b11fnuz"])
def test_every_code_decodes_to_its_exact_value_and_back(name):
    fmt = hu.format(name)
    codes = every_code(fmt)
    with np.errstate(over="ignore"):
        want = np.array([float(fmt.value(int(code))) for code in codes])
    options = {"nan": 0.0} if fmt.nan_code is None else {"overflow": "propagate"} if fmt.infinity_code else {}
    for values in everywhere(lambda a: hu.decode(a, fmt), codes):
        assert np.array_equal(values, want.astype(np.float32), equal_nan=True)
        assert np.array_equal(np.signbit(values), np.signbit(want))
    for again in everywhere(lambda a: hu.encode(a, fmt, **options), want.astype(np.float32)):
        assert again.dtype == (np.uint8 if fmt.bits <= 8 else np.uint16 if fmt.bits <= 16 else np.uint32)
        assert np.array_equal(again, canonical(fmt, codes))


def every_code(fmt):
    dtype = np.uint8 if fmt.bits <= 8 else np.uint16 if fmt.bits <= 16 else np.uint32
    if fmt.bits <= 12:
        return np.arange(1 << fmt.bits, dtype=dtype)
    if fmt.bits <= 16:
        return np.arange(0, 1 << fmt.bits, 13, dtype=dtype)
    picks = np.random.default_rng(0).integers(0, 1 << fmt.bits, 4096, dtype=np.uint64)
    edges = [
        0,
        1,
        fmt.max_code,
        fmt.max_code + 1,
        fmt.nan_code,
        (1 << fmt.bits) - 1,
        1 << (fmt.bits - 1),
        1 << fmt.mantissa_bits,
    ]
    return np.concatenate([picks.astype(dtype), np.array(edges, dtype)])


def canonical(fmt, codes):
    """NaN has one code; the spare codes of a format without NaN stand for NaN and become nan=0.0; zeros one code."""
    instead = exact.encode_exact(fmt, exact.quantize_exact(fmt, 0.0, hu.Rounding("nearest_even", _RNE)))
    nan = instead if fmt.nan_code is None else fmt.nan_code
    known = [exact.encode_exact(fmt, value) if (value := fmt.value(int(c))) == value else nan for c in codes]
    return np.array(known, codes.dtype)


_RNE = hu.formats.rounding.ROUNDINGS["nearest_even"].increment


@pytest.mark.parametrize("name", ALL)
def test_encode_is_the_code_of_quantize(name):
    fmt = NAMED[name]
    bits = stratified(FLOAT32, 2048) if name in WIDE else both_sides(fmt, FLOAT32)
    bits = bits[~np.isnan(bits.view(np.float32))]
    values = expected_values(fmt, bits)
    want = np.array([exact.encode_exact(in_layout(fmt, FLOAT32), value) for value in values])
    options = {"overflow": "saturate", "nan": None if fmt.nan_code else 0.0}
    for codes in everywhere(lambda a: hu.encode(a, fmt, **options), bits.view(np.float32)):
        assert np.array_equal(codes, want)


def expected_values(fmt, bits):
    mode = hu.formats.rounding.ROUNDINGS["nearest_even"]
    if fmt.bits > 10:
        held = in_layout(fmt, FLOAT32)
        values = [exact.quantize_exact(held, value_of(int(b), FLOAT32), mode, "saturate") for b in bits]
    else:
        values = [value_of(int(b), FLOAT32) for b in expected(fmt, FLOAT32, mode, "saturate", bits)]
    zero = exact.quantize_exact(fmt, 0.0, mode)
    return [zero if value != value and fmt.nan_code is None else value for value in values]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["fp8_e4m3", "binary16", "bfloat16", "int16", "nf4", "e8m0"])
def test_encode_takes_dtypes_that_do_not_hold_the_values(name, dtype):
    fmt, layout = NAMED[name], LAYOUTS[dtype]
    bits = stratified(layout, 2048)
    bits = bits[(bits & layout.magnitude_mask) <= layout.infinity]
    mode = hu.formats.rounding.ROUNDINGS["nearest_even"]
    exact_codes = []
    for b in bits:
        value = exact.quantize_exact(fmt, value_of(int(b), layout), mode, "saturate")
        exact_codes.append(exact.encode_exact(fmt, value))
    assert np.array_equal(hu.encode(floats(bits, layout), fmt, overflow="saturate"), exact_codes)


def test_nan_without_a_code_raises_or_takes_the_number_given():
    x = np.float32([1.0, np.nan, -2.0])
    for array in arrays(x):
        with pytest.raises(ValueError, match=r"int4 has no code for NaN; pass nan=0.0"):
            hu.encode(array, "int4")
        assert np.asarray(hu.encode(array, "int4", nan=0.0)).tolist() == [1, 0, 14]
        assert np.asarray(hu.encode(array, "int4", nan=-100.0)).tolist() == [1, 8, 14]
    with pytest.raises(ValueError, match="got NaN itself; pass nan=0.0"):
        hu.encode(x, "int4", nan=float("nan"))


def test_overflow_that_makes_nan_is_not_encoded_silently():
    for array in arrays(np.float32([1.0, 100.0])):
        with pytest.raises(ValueError, match="fp4_e2m1 has no code for NaN"):
            hu.encode(array, "fp4_e2m1", overflow="special")
        with pytest.raises(ValueError, match="int4 has no code for NaN"):
            hu.encode(array * np.float32(np.inf), "int4", overflow="wrap")


def test_nan_codes_are_canonical():
    quiet_and_signalling = np.array([0x7FC00000, 0x7F800001, -1, -0x400000], np.int32).view(np.float32)
    for name, code in [
        ("fp8_e4m3", 0x7F),
        ("fp8_e5m2", 0x7E),
        ("fp8_e4m3fnuz", 0x80),
        ("e8m0", 0xFF),
        ("binary16", 0x7E00),
    ]:
        for array in arrays(quiet_and_signalling):
            assert np.asarray(hu.encode(array, name)).tolist() == [code] * 4


def test_decode_checks_the_range_and_the_dtype():
    for array in arrays(np.array([0, 16], np.uint8)):
        with pytest.raises(ValueError, match="expected codes of 4 bits for fp4_e2m1, got 0 to 16"):
            hu.decode(array, "fp4_e2m1")
    for array in arrays(np.float32([0, 1])):
        with pytest.raises(TypeError, match="expected integer codes, got"):
            hu.decode(array, "fp4_e2m1")
    with pytest.raises(ValueError, match="values of bfloat16 do not fit float16; pass out_dtype='bfloat16'"):
        hu.decode(np.uint16([1]), "bfloat16", out_dtype="float16")


def test_decode_defaults_to_float32_or_what_the_values_need():
    assert hu.decode(np.uint8([1]), "fp8_e5m2").dtype == np.float32
    assert hu.decode(np.uint16([1]), "e9m2").dtype == np.float64
    assert fits(hu.format("e9m2"), FLOAT64)
    assert not fits(hu.format("e9m2"), FLOAT32)


def test_encode_and_decode_write_to_out():
    x, codes = np.float32([[1, 2], [3, 4]]), np.empty((2, 2), np.uint8)
    assert hu.encode(x, "int4", out=codes) is codes
    values = np.empty((2, 2), np.float32)
    assert hu.decode(codes, "int4", out=values) is values
    assert np.array_equal(values, x)
    with pytest.raises(TypeError, match="out: expected dtype uint8, got uint16"):
        hu.encode(x, "int4", out=codes.astype(np.uint16))
