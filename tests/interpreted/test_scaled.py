"""Scaled formats: every result equals that of the CPU, bit for bit."""

from dataclasses import replace
from functools import cache

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import torch_kernel, torch_scaled, torch_scaled_kernel, triton, triton_tiles
from halfulp.emulate.scaled_plan import Options, plan_for
from halfulp.formats.scaled_registry import SCALED

from tests.support.scaled_cases import arrays_of, as_tensor
from tests.support.triton_runs import bits_of, differences, quantize

FUSED = [
    "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp4", "mxint8", "nvfp4", "nvfp4_2d", "nf4_block64",
    "int8_per_tensor", "int8_per_row", "int8_per_channel", "int4_per_row",
]  # fmt: skip
"""What people use; each must have its kernel."""


@cache
def cases(dtype, rows=32):
    """(5 * 6 to a multiple of 32 rows, 64): usual numbers, corners, specials, zeros, tiny ones."""
    stacked = torch.cat([as_tensor(case) for case in arrays_of(dtype).values()])
    return torch.cat([stacked, stacked[: rows - len(stacked)]])


def finite(dtype):
    """The same without NaN and infinities, which are the whole tensor's where one scale serves all of it."""
    x = cases(dtype).clone()
    x[~torch.isfinite(x)] = 1
    return x


def same(x, fmt, **options):
    got = quantize(x, fmt, **options)
    options.pop("block", None)
    return differences(got, hu.quantize(x, fmt, **options)) == 0


@pytest.mark.parametrize("name", FUSED)
def test_formats_people_use(name):
    assert same(cases("float32"), name)
    assert same(cases("bfloat16"), name)
    assert same(finite("float32"), name)
    if name != "nf4_block64":  # lists of values draw nothing
        assert same(finite("bfloat16"), name, rounding="stochastic", seed=5)


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "int8_per_row"])
def test_float16_and_other_dtypes_of_the_result(name):
    """Elements times scales are exact in float32 only where scales are powers of two: others round once all the same."""
    for source, target in (
        ("float16", "float16"),
        ("float32", "bfloat16"),
        ("float32", "float16"),
        ("bfloat16", "float32"),
    ):
        assert same(finite(source), name, out_dtype=target), (source, target)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((64, 1024)).astype(np.float32))
    assert same(x.bfloat16(), name)


def test_every_other_format_equals_or_is_left_to_the_portable_kernels():
    served = 0
    for fmt in SCALED:
        name = fmt if isinstance(fmt, str) else fmt.name
        got = quantize(cases("float32"), name)
        if got is not None:
            served += 1
            assert differences(got, hu.quantize(cases("float32"), name)) == 0, name
    assert served >= len(FUSED)


@pytest.mark.parametrize("mode", ["nearest_away", "nearest_zero", "toward_zero", "up", "to_odd", "stochastic:5B"])
def test_other_roundings_of_elements(mode):
    options = {"rounding": mode} | ({"seed": 3} if mode.startswith("st") else {})
    assert same(cases("float32"), "int8_per_row", **options)
    if mode in ("up", "to_odd"):  # they tell an underflow from zero
        assert quantize(cases("float32"), "mxfp4", **options) is None
    else:
        assert same(cases("float32"), "mxfp4", **options)


@pytest.mark.parametrize("fit", ["floor", "ceil", "even", "rceil", "nearest_log2", "tetrajet"])
def test_fits_of_powers_of_two(fit):
    fmt = hu.format("mxfp4")
    fmt = replace(fmt, name="", rule=replace(fmt.rule, fit=fit))
    assert same(cases("float32"), fmt)


@pytest.mark.parametrize(
    ("name", "axis", "shape"),
    [("mxfp4", 0, (64, 40)), ("mxfp4", 1, (3, 32, 10)), ("nvfp4", 0, (32, 24)), ("int8_per_row", 0, (37, 21))],
)
def test_blocks_along_any_axis(name, axis, shape):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    for options in (
        {},
        {"rounding": "stochastic", "seed": 1, "offset": 8},
        {"rounding": "stochastic", "seed": 1, "offset": 3},
    ):
        assert same(x, name, axis=axis, **options), options


def test_two_dimensional_blocks():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32))
    for options in ({}, {"rounding": "stochastic", "seed": 1}):
        assert same(x, "nvfp4_2d", **options)


@pytest.fixture
def short(monkeypatch):
    """Blocks of more than 256 elements are too long for a program."""
    monkeypatch.setattr(triton_tiles, "LONGEST", 256)
    return {"block": 256}


@pytest.mark.parametrize("name", ["int8_per_tensor", "int8_per_row"])
def test_blocks_too_long_for_a_program(name, short):
    for count in (500, 512):
        x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, count)).astype(np.float32))
        x[1, 7] = float("inf")
        for options in ({}, {"rounding": "stochastic", "seed": 1}):
            assert same(x[:1], name, **options, **short)
        assert same(x, name, **short)


def test_long_blocks_across_rows(short):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((100, 40)).astype(np.float32))
    for options in ({}, {"rounding": "stochastic", "seed": 1}):
        assert same(x, "int8_per_row", axis=0, block=2048, **options)


def test_strides_and_places():
    x = cases("float32").T.contiguous().T
    assert same(x, "mxfp4")
    out = torch.zeros(64, 32).T
    assert differences(quantize(x, "mxfp4", out=out), hu.quantize(x, "mxfp4")) == 0
    memory = x.clone()
    assert differences(quantize(memory, "nvfp4", out=memory), hu.quantize(x, "nvfp4")) == 0
    place = hu.Shard((4, 0), (100, 64))
    assert same(x, "mxfp4", rounding="stochastic", seed=2, offset=place)


@pytest.mark.parametrize("name", FUSED)
def test_codes(name, monkeypatch):
    x = finite("float32") if hu.format(name).scale.nan_code is None else cases("bfloat16")
    options = {} if name == "nf4_block64" else {"rounding": "stochastic", "seed": 6}
    want = hu.encode(x, name, **options)
    monkeypatch.setattr(triton, "available", lambda x: True)
    monkeypatch.setattr(torch_scaled.numpy_scaled, "encode_bits", None)  # the way over the CPU
    got = hu.encode(x, name, **options)
    assert (got.fmt, got.shape, got.dtype) == (want.fmt, want.shape, want.dtype)
    assert {key: (a.dtype, a.shape) for key, a in got.arrays.items()} == {
        key: (a.dtype, a.shape) for key, a in want.arrays.items()
    }
    for key, array in want.arrays.items():
        assert torch.equal(getattr(got, key), array), key


@pytest.mark.parametrize("name", [*FUSED, "nf4_dq", "hif4"])
def test_values_of_codes(name, monkeypatch):
    x = finite("float32") if hu.format(name).scale.nan_code is None else cases("float32")
    codes = hu.encode(x, name, pad=True)
    dtypes = ("float32", "bfloat16", "float16")
    wanted = [hu.decode(codes, out_dtype=dtype) for dtype in dtypes]
    monkeypatch.setattr(triton, "available", lambda x: True)
    if name != "hif4":  # nested exponents decode on the CPU
        monkeypatch.setattr(torch_scaled.numpy_scaled, "decode_bits", None)
    for dtype, want in zip(dtypes, wanted):
        assert differences(hu.decode(codes, out_dtype=dtype), want) == 0, dtype


def test_values_of_any_code(monkeypatch):
    """Infinities and NaN among elements and scales, and scales of zero."""
    codes = torch.arange(256, dtype=torch.uint8).repeat(8).reshape(64, 32)
    scales = torch.tensor([0, 1, 2, 60, 127, 133, 140, 200, 253, 254, 255, 120], dtype=torch.uint8)
    for name in ("mxfp8_e5m2", "mxfp8_e4m3"):
        all_codes = replace(
            hu.encode(torch.ones(64, 32), name), elements=codes, scales=scales.repeat(6)[:64].reshape(64, 1)
        )
        wanted = {dtype: hu.decode(all_codes, out_dtype=dtype) for dtype in ("float32", "bfloat16", "float16")}
        with monkeypatch.context() as patched:
            patched.setattr(triton, "available", lambda x: True)
            for dtype, want in wanted.items():
                assert differences(hu.decode(all_codes, out_dtype=dtype), want) == 0, (name, dtype)
    fmt = hu.scaled("fp8_e5m2", scale="fp8_e5m2", block=32)
    all_codes = replace(
        hu.encode(torch.ones(64, 32), fmt),
        elements=codes,
        scales=torch.arange(0, 256, 4, dtype=torch.uint8).reshape(64, 1),
    )
    want = hu.decode(all_codes)
    monkeypatch.setattr(triton, "available", lambda x: True)
    assert differences(hu.decode(all_codes), want) == 0


def test_codes_of_nan(monkeypatch):
    monkeypatch.setattr(triton, "available", lambda x: True)
    with pytest.raises(ValueError, match="has no code for NaN"):
        hu.encode(cases("float32"), hu.scaled("int8", scale="uint8", block=32))
    with pytest.raises(ValueError, match="an empty one has no scales"):
        hu.encode(cases("float32")[:0], "mxfp4")


def test_the_front_door_takes_the_kernel(monkeypatch):
    """What `hu.quantize` does for a tensor that is not on the CPU, less the question where it is."""
    monkeypatch.setattr(triton, "available", lambda x: True)
    monkeypatch.setattr(torch_scaled_kernel, "Portable", None)
    x, at = cases("bfloat16"), torch_kernel.Offset((0,), None)
    for fmt, options in (("nvfp4", {}), ("mxfp4", {"rounding": "stochastic", "seed": 2})):
        plan = plan_for(fmt, "bfloat16", Options(rounding=options.get("rounding")))
        out = torch.empty_like(x)
        key = torch.tensor([0, 0, 2, 0]) if options else None
        assert torch_scaled_kernel._fused(bits_of(x), plan, key, at, None, bits_of(out))
        assert differences(out, hu.quantize(x, fmt, **options)) == 0
    assert not torch_scaled_kernel._fused(bits_of(x), plan, key, at, hu.scales(x, fmt), bits_of(out))


def test_what_is_left_to_the_portable_kernels():
    x = finite("float32")
    assert quantize(x[:, :50], "mxfp4", pad=True) is None
    assert quantize(x, "mxfp4", overflow="special") is None
    assert quantize(x, "mxfp4", scale_rounding="up") is None
    assert quantize(x, "hif4") is None
    assert quantize(x, "mxfp4", rounding="stochastic", seed=1, offset=hu.Shard((0, 0), (32, 128))) is None
    assert quantize(x[:0], "mxfp4").numel() == 0


@pytest.mark.parametrize("element", ["uint4", "ue4m3"])
def test_negative_numbers_in_unsigned_elements(element):
    fmt = hu.scaled(element, scale="e8m0", block=32)
    x = torch.linspace(-8, 8, 256).reshape(8, 32)
    assert differences(quantize(x, fmt), hu.quantize(x, fmt)) == 0
