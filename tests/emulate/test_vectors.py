"""Inputs that trip implementers, on every backend, with subnormals flushed and under jit."""

from contextlib import contextmanager

import halfulp as hu
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

H = float.fromhex
UP, INF, NAN = np.nextafter, float("inf"), float("nan")


def f32(x, direction):
    return float(UP(np.float32(x), np.float32(direction)))


# (dtype, format, options, input, result)
VECTORS = [
    # one rounding from float64: through float32 these give 0 and 2**-8
    ("float64", "fp8_e4m3", {}, H("0x1.0000000000001p-10"), 2.0**-9),
    ("float64", "fp8_e4m3", {}, H("0x1.7ffffffffffffp-9"), 2.0**-9),
    ("float64", "binary16", {}, 1 + 2.0**-11 + 2.0**-40, 1.0009765625),
    ("float64", "bfloat16", {}, 1 + 2.0**-8 + 2.0**-40, 1.0078125),
    # the end of E4M3 and of e4m3fnuz
    ("float32", "fp8_e4m3", {"overflow": "saturate"}, 464.0, 448.0),
    ("float32", "fp8_e4m3", {"overflow": "special"}, 464.0, 448.0),
    ("float32", "fp8_e4m3", {"overflow": "special"}, f32(464, 1e9), NAN),
    ("float32", "fp8_e4m3", {"overflow": "saturate"}, f32(464, 1e9), 448.0),
    ("float32", "fp8_e4m3fnuz", {"overflow": "special"}, 248.0, NAN),
    ("float32", "fp8_e4m3fnuz", {"overflow": "special"}, f32(248, 0), 240.0),
    # the end of E5M2
    ("float32", "fp8_e5m2", {"overflow": "special"}, 61440.0, INF),
    ("float32", "fp8_e5m2", {"overflow": "saturate"}, 61440.0, 57344.0),
    ("float32", "fp8_e5m2", {"overflow": "special"}, 61439.996, 57344.0),
    ("float32", "fp8_e5m2", {"overflow": "saturate"}, INF, 57344.0),
    ("float32", "fp8_e5m2", {"overflow": "propagate"}, INF, INF),
    # formats without -0
    *(("float32", name, {}, x, 0.0) for name in ("fp8_e4m3fnuz", "fp8_e5m2fnuz", "fp8_e4m3b11fnuz") for x in (-0.0, -1e-30)),
    ("float32", "fp8_e4m3", {}, -0.0, -0.0),
    ("float32", "fp8_e4m3", {}, -1e-30, -0.0),
    # ties
    ("float32", "fp8_e4m3", {}, 2.0**-10, 0.0),
    ("float32", "fp8_e4m3", {}, 1.5 * 2.0**-9, 2.0**-8),
    *(("float32", "fp4_e2m1", {}, x, y) for x, y in [(0.25, 0.0), (0.75, 1.0), (1.25, 1.0), (1.75, 2.0), (2.5, 2.0), (3.5, 4.0), (5.0, 4.0)]),
    # E8M0 reaches below the normals of float32
    ("float32", "e8m0", {}, 2.0**-127, 2.0**-127),
    ("bfloat16", "e8m0", {}, 2.0**-127, 2.0**-127),
    ("float32", "e8m0", {}, H("0x1.000004p-127"), 2.0**-127),
    ("float32", "e8m0", {}, 1e-45, 2.0**-127),
    *(("float32", "e8m0", {}, x, NAN) for x in (0.0, -0.0, -1.0, NAN)),
    # subnormals of the host survive where the format has them
    ("float32", "bfloat16", {}, H("0x1p-133"), H("0x1p-133")),
    ("float32", "bfloat16", {}, H("0x1.8p-133"), H("0x1p-132")),
    ("float32", "tf32", {}, H("0x1p-136"), H("0x1p-136")),
    ("float32", "binary32", {}, H("0x1p-149"), H("0x1p-149")),
    ("float64", "binary32", {}, H("0x1p-149"), H("0x1p-149")),
    ("float16", "fp8_e5m2fnuz", {}, H("0x1p-17"), H("0x1p-17")),
    # overflow by the direction of the rounding
    ("float32", "binary16", {"rounding": "up"}, 65535.0, INF),
    ("float32", "binary16", {"rounding": "down"}, 65535.0, 65504.0),
    ("float32", "binary16", {"rounding": "down"}, -65535.0, -INF),
    ("float32", "binary16", {"rounding": "toward_zero"}, 1e9, 65504.0),
    ("float32", "binary16", {"rounding": "up"}, -1e9, -65504.0),
    ("float32", "fp8_e4m3", {"rounding": "to_odd", "overflow": "special"}, 500.0, 448.0),
    ("float32", "binary16", {}, 65520.0, INF),
    ("float32", "binary16", {}, f32(65520, 0), 65504.0),
    # the stochastic boundary: all ones never pass it when saturating
    ("float32", "fp8_e4m3", {"rounding": "stochastic", "seed": 0}, 449.0, 448.0),
    # integers, ternary, binary
    ("float32", "int8", {}, 2.5, 2.0),
    ("float32", "int8", {}, -128.5, -128.0),
    ("float32", "int8", {}, INF, 127.0),
    ("float32", "uint8", {}, -3.0, 0.0),
    ("float32", "uint8", {}, -0.0, 0.0),
    ("float32", "ue4m3", {}, -3.0, 0.0),
    ("float32", "ue4m3", {"overflow": "special"}, -INF, 0.0),
    ("float32", "ternary", {}, 0.5, 0.0),
    ("float32", "ternary", {}, f32(0.5, 1), 1.0),
    ("float32", "binary", {}, -0.0, 1.0),
    ("float32", "binary", {}, -1e-45, -1.0),
    ("float32", "nf4", {}, 0.07958029955625534 / 2, 0.0),  # ties of NF4 go down
    ("float32", "nf4", {}, NAN, NAN),
    # posit-like wide ranges are generic minifloats with a bias
    ("float32", "e4m3b11", {}, 30.0, 30.0),
    ("float32", "fp4_e2m1", {"overflow": "special"}, 7.0, NAN),
]  # fmt: skip
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}


def by_numpy(x, fmt, options):
    return hu.quantize(x, fmt, **options)


def by_torch(x, fmt, options):
    bits = {2: (np.int16, torch.int16), 4: (np.int32, torch.int32), 8: (np.int64, torch.int64)}[x.itemsize]
    t = torch.from_numpy(x.view(bits[0])).view(getattr(torch, x.dtype.name))
    return hu.quantize(t, fmt, **options).view(bits[1]).numpy().view(x.dtype)


def by_jax(x, fmt, options):
    with jax.enable_x64(x.dtype == np.float64):
        return np.asarray(hu.quantize(jnp.asarray(x), fmt, **options))


def by_jit(x, fmt, options):
    with jax.enable_x64(x.dtype == np.float64):
        return np.asarray(jax.jit(lambda a: hu.quantize(a, fmt, **options))(jnp.asarray(x)))


@contextmanager
def flushed(on):
    try:
        torch.set_flush_denormal(on)
        yield
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("flush", [False, True], ids=["gradual", "flushed"])
@pytest.mark.parametrize("run", [by_numpy, by_torch, by_jax, by_jit])
def test_vectors(run, flush):
    groups = {}
    for dtype, fmt, options, x, y in VECTORS:
        groups.setdefault((dtype, fmt, tuple(options.items())), []).append((x, y))
    for (dtype, fmt, options), pairs in groups.items():
        x, want = (np.array(column, DTYPES[dtype]) for column in zip(*pairs))
        with flushed(flush):
            got = run(x, fmt, dict(options))
        integer = {2: np.uint16, 4: np.uint32, 8: np.uint64}[x.itemsize]
        number = got.view(integer) == want.view(integer)
        nan = np.isnan(want) & (got.view(integer) != 0) & np.isnan(got)
        assert (number | nan).all(), (dtype, fmt, options, x, got, want)


def test_no_minus_zero_in_codes_of_fnuz():
    """Code 80 is NaN there; -0 and negative underflow are code 00."""
    x = np.float32([-0.0, -1e-30, 0.0])
    for name in ("fp8_e4m3fnuz", "fp8_e5m2fnuz", "fp8_e4m3b11fnuz"):
        assert hu.encode(x, name).tolist() == [0, 0, 0]
        assert hu.encode(np.float32([NAN]), name).tolist() == [0x80]


def test_e8m0_codes():
    assert hu.encode(np.float32([2.0**-127, H("0x1.000004p-127"), 1.0, 2.0**127]), "e8m0").tolist() == [0, 0, 127, 254]


def test_a_division_and_a_multiplication_by_the_reciprocal_differ():
    """x = 1.55, s = 0.1 in float32: the quotient is 15.5 less an ulp, the product with 1/s is 15.5."""
    x, s = np.float32(1.55), np.float32(0.1)
    assert hu.quantize(np.array([x / s, x * (np.float32(1) / s)]), "int8").tolist() == [15.0, 16.0]


def test_infinite_codes():
    assert hu.encode(np.float32([INF, -INF]), "fp8_e5m2", overflow="propagate").tolist() == [0x7C, 0xFC]
    assert hu.encode(np.float32([INF, -INF]), "binary16").tolist() == [0x7C00, 0xFC00]
    assert hu.encode(np.float32([INF, -INF]), "fp8_e5m2").tolist() == [0x7B, 0xFB]
