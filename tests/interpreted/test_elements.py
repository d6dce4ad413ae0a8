"""Rounding without scales: every result equals that of the CPU, bit for bit."""

from dataclasses import replace

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import cpu, torch_kernel, triton
from halfulp.emulate.backends import torch as backend
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.emulate.plan import make_plan
from halfulp.formats.listing import is_listed
from halfulp.formats.rounding import DETERMINISTIC

from tests.support.cases import both_sides, stratified
from tests.support.triton_runs import differences, quantize

MODES = [mode.name for mode in DETERMINISTIC]
FORMATS = [
    "fp8_e4m3", "fp8_e5m2", "fp8_e4m3fnuz", "fp4_e2m1", "fp6_e3m2", "e3m2", "e5m0", "e4m3_nosub", "binary8p3se",
    "int8", "int4", "uint4", "q43", "bfloat16", "binary16", "tf32", "nf4", "ternary", "posit8",
]  # fmt: skip
STOCHASTIC = ["stochastic", "stochastic:7A", "stochastic:3B", "stochastic:5C", "stochastic_equal"]
DTYPES = ["float16", "bfloat16", "float32"]


def numbers(dtype, count=1 << 12, fmt=None):
    """Patterns of all magnitudes, the specials, and where the format may round differently."""
    layout = LAYOUTS[dtype]
    bits = stratified(layout, count)
    if fmt is not None and fmt.bits <= 10:
        bits = np.concatenate([bits, both_sides(fmt, layout)])
    return torch.from_numpy(bits).view(getattr(torch, dtype))


def formats_of(dtype):
    return [fmt for fmt in map(hu.format, FORMATS) if fits(fmt, LAYOUTS[dtype])]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format(dtype):
    for k, fmt in enumerate(formats_of(dtype)):
        x = numbers(dtype, fmt=fmt)
        for mode in ("nearest_even", MODES[1 + k % (len(MODES) - 1)]):
            got = quantize(x, fmt, rounding=mode)
            if got is None:  # as on the CPU
                plan = make_plan(fmt, mode, None, dtype, None)
                assert cpu.parameters(plan.table, plan.layout, plan.mode, plan.overflow, -1) is None
                continue
            assert differences(got, hu.quantize(x, fmt, rounding=mode)) == 0, (fmt, mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_rounding(mode):
    for name in ("fp8_e5m2", "int4", "nf4"):
        x = numbers("float32", fmt=hu.format(name))
        assert differences(quantize(x, name, rounding=mode), hu.quantize(x, name, rounding=mode)) == 0, name


@pytest.mark.parametrize("overflow", ["saturate", "propagate", "special"])
def test_every_overflow(overflow):
    for name in ("fp8_e4m3", "fp8_e5m2", "binary16", "e3m2", "fp8_e4m3fnuz"):
        x = numbers("float32")
        for options in ({"rounding": "nearest_even"}, {"rounding": "up"}, {"rounding": "stochastic", "seed": 3}):
            options |= {"overflow": overflow}
            assert differences(quantize(x, name, **options), hu.quantize(x, name, **options)) == 0, (name, options)


@pytest.mark.parametrize("mode", STOCHASTIC)
def test_every_random_rounding(mode):
    for name in ("fp8_e4m3", "int8", "bfloat16"):
        options = {"rounding": mode, "seed": (1 << 40) + 5, "step": 1 << 31, "stream": 7}
        x = numbers("float32", fmt=hu.format(name))
        assert differences(quantize(x, name, **options), hu.quantize(x, name, **options)) == 0, name
    for dtype in ("float16", "bfloat16"):
        x = numbers(dtype)
        assert differences(quantize(x, "fp8_e5m2", **options), hu.quantize(x, "fp8_e5m2", **options)) == 0, dtype


@pytest.mark.parametrize("offset", [0, 3, (1 << 34) + 4, (1 << 34) + 6])
def test_random_words_are_those_of_the_logical_index(offset):
    x, options = numbers("float32", 999), {"rounding": "stochastic", "seed": 1}
    want = hu.quantize(x, "e3m2", offset=offset, **options)
    assert differences(quantize(x, "e3m2", offset=offset, block=256, **options), want) == 0


@pytest.mark.parametrize(
    ("start", "whole"), [((8, 4), (64, 48)), ((1, 3), (40, 41)), ((2, 0), (40, 32)), ((0, 5, 2), (3, 9, 34))]
)
def test_a_shard_draws_the_words_of_its_place(start, whole):
    shape = (2, 3, 32)[-len(whole) :] if len(whole) == 3 else (30, 32)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    options = {"rounding": "stochastic", "seed": 1, "offset": hu.Shard(start, whole)}
    assert differences(quantize(x, "fp4_e2m1", block=64, **options), hu.quantize(x, "fp4_e2m1", **options)) == 0


@pytest.mark.parametrize(
    ("source", "target"),
    [("float32", "bfloat16"), ("float32", "float16"), ("bfloat16", "float32"), ("float16", "float32"),
     ("bfloat16", "float16"), ("float16", "bfloat16")],
)  # fmt: skip
def test_results_in_another_dtype(source, target):
    x = numbers(source)
    for options in ({}, {"overflow": "special"}, {"rounding": "stochastic", "seed": 2}):
        want = hu.quantize(x, "fp8_e5m2", out_dtype=target, **options)
        assert differences(quantize(x, "fp8_e5m2", out_dtype=target, **options), want) == 0


def test_a_format_wider_than_the_input():
    """The kernel computes in float32, whose subnormals hold those of float16 and bfloat16 as they are."""
    for dtype in ("float16", "bfloat16"):
        x = numbers(dtype)
        want = hu.quantize(x, "nf4", out_dtype="float32")
        assert differences(quantize(x, "nf4", out_dtype="float32"), want) == 0


@pytest.mark.parametrize("count", [1, 5, 4095, 4097])
def test_any_size(count):
    x = numbers("float32", 5000)[:count]
    for options in ({}, {"rounding": "stochastic", "seed": 2}):
        want = hu.quantize(x, "fp8_e4m3", **options)
        assert differences(quantize(x, "fp8_e4m3", block=4096, **options), want) == 0
    assert quantize(x[:0], "fp8_e4m3").numel() == 0


def test_scalars():
    x = torch.tensor(1.3)
    for fmt, options in (
        ("fp8_e4m3", {}),
        ("fp8_e4m3", {"rounding": "stochastic", "seed": 2}),
        ("int8_per_tensor", {}),
    ):
        assert differences(quantize(x, fmt, **options), hu.quantize(x, fmt, **options)) == 0


def test_any_strides():
    x = numbers("float32", 4080)[:4092].reshape(33, 4, 31)
    for view in (x.permute(2, 0, 1), x[::2, :, 3:9], x[0, 0, :1].expand(7, 9)):
        for options in ({}, {"rounding": "stochastic", "seed": 2}):
            want = hu.quantize(view, "fp8_e4m3", **options)
            assert differences(quantize(view, "fp8_e4m3", **options), want) == 0
            out = torch.zeros(tuple(reversed(view.shape))).permute(*reversed(range(view.dim())))
            assert differences(quantize(view, "fp8_e4m3", out=out, **options), want) == 0


def test_in_place_and_over_itself():
    x = numbers("float32")
    want = hu.quantize(x, "fp8_e4m3")
    memory = x.clone()
    assert differences(quantize(memory, "fp8_e4m3", out=memory), want) == 0
    memory = torch.cat([x, x[:1]])
    assert differences(quantize(memory[:-1], "fp8_e4m3", out=memory[1:]), want) == 0


def test_gradient_masks():
    x, at = numbers("float32"), torch_kernel.Offset((0,), None)
    plan = make_plan("fp8_e4m3", "nearest_even", None, "float32", None)
    marked = torch.empty_like(x, dtype=torch.int32)
    assert triton.quantize(x.view(torch.int32), replace(plan, overflow="mark"), None, at, marked)
    mask = torch_kernel.unpacked_mask(torch_kernel.in_range_plain(x, plan, None, at), x.shape)
    assert torch.equal(marked != plan.layout.nan, mask)


def test_the_front_door_takes_the_kernel(monkeypatch):
    """What `hu.quantize` does for a tensor that is not on the CPU, less the question where it is."""
    x, at, out = numbers("float32", 2000), torch_kernel.Offset((0,), None), torch.empty(2020, dtype=torch.int32)
    plan = make_plan("fp8_e4m3", "up", None, "float32", None)
    monkeypatch.setattr(triton, "available", lambda x: True)
    with monkeypatch.context() as patched:
        patched.setattr(torch_kernel, "portable", None)
        torch_kernel._on_device(x.view(torch.int32), plan, None, at, out)
    assert torch.equal(out, hu.quantize(x, "fp8_e4m3", rounding="up").view(torch.int32))
    wraps = replace(plan, fmt=hu.format("int8"), overflow="wrap")
    torch_kernel._on_device(x.view(torch.int32), wraps, None, at, out)
    assert torch.equal(out, hu.quantize(x, "int8", rounding="up", overflow="wrap").view(torch.int32))


def test_what_is_left_to_the_portable_kernels():
    x = numbers("float32")
    assert quantize(x, "int8", overflow="wrap") is None
    assert quantize(x, "e8m0") is None
    assert quantize(x, "nf4", rounding="stochastic", seed=1) is None
    assert quantize(x.double(), "fp8_e4m3") is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_codes(dtype, monkeypatch):
    for k, fmt in enumerate(formats_of(dtype)):
        random = k % 3 == 0 and not is_listed(fmt)
        options = {"nan": 1.0, "rounding": "stochastic", "seed": 4} if random else {"nan": 0.0}
        x = numbers(dtype, 1 << 10, fmt)[-4096:]
        want = hu.encode(x, fmt, **options)
        with monkeypatch.context() as patched:
            patched.setattr(triton, "available", lambda x: True)
            patched.setattr(backend, "plain_noise", None)  # the way over the CPU
            assert torch.equal(hu.encode(x, fmt, **options), want), fmt


def test_codes_of_nan(monkeypatch):
    x = torch.tensor([1.0, float("nan"), 3e38])
    monkeypatch.setattr(triton, "available", lambda x: True)
    assert hu.encode(x, "fp8_e4m3").tolist() == [0x38, 0x7F, 0x7E]
    with pytest.raises(ValueError, match="int8 has no code for NaN"):
        hu.encode(x, "int8")
    with pytest.raises(ValueError, match="has no code for NaN"):
        hu.encode(x[2:], "e3m2", overflow="special")
    assert hu.encode(x, "int8", nan=5.0).tolist() == [1, 5, 127]


def test_values_of_codes(monkeypatch):
    codes = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(32, 24).T
    wide = torch.arange(1 << 10, dtype=torch.int32)
    wanted = {dtype: hu.decode(codes, "fp8_e4m3", out_dtype=dtype) for dtype in DTYPES}
    want = hu.decode(wide, "e5m4")
    monkeypatch.setattr(triton, "available", lambda x: True)
    monkeypatch.setattr(backend.numpy_backend, "decode_checked", None)
    for dtype in DTYPES:
        assert differences(hu.decode(codes, "fp8_e4m3", out_dtype=dtype), wanted[dtype]) == 0
    assert differences(hu.decode(wide, "e5m4"), want) == 0
    with pytest.raises(ValueError, match="expected codes of 10 bits"):
        hu.decode(wide + 1, "e5m4")


def test_codes_of_integers_as_wide_as_the_significand(monkeypatch):
    """Left to the CPU, whose portable kernel counts what the significand cannot."""
    x = torch.tensor([1.0, 2047.0, 2048.0, -2048.0, -6000.0, 5000.0], dtype=torch.float16)
    want = hu.encode(x, "int12")
    monkeypatch.setattr(triton, "available", lambda x: True)
    assert hu.encode(x, "int12").tolist() == want.tolist() == [1, 2047, 2047, 2048, 2048, 2047]
