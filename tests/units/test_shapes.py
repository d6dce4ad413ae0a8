"""Batches, vectors, empty arrays, threads and flushed subnormals: nothing but the order of sums decides a result."""

import halfulp as hu
import ml_dtypes
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import cpu
from halfulp.emulate.units import problem
from halfulp.emulate.units.matmul import matmul
from hypothesis import given, settings
from hypothesis import strategies as st

BATCHES = [((), ()), ((2,), ()), ((), (3,)), ((2, 1), (3,)), ((2, 3), (2, 3)), ((1,), (4,))]


def loop(a, b, fmt):
    """Products and sums rounded one by one, on whole arrays."""
    acc = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), np.float32)
    for k in range(a.shape[-1]):
        acc = hu.quantize(acc + hu.quantize(a[..., :, k, None] * b[..., None, k, :], fmt), fmt)
    return acc


@given(
    st.sampled_from(BATCHES), st.integers(0, 40), st.integers(0, 9), st.integers(0, 40), st.integers(0, 3), st.booleans()
)  # fmt: skip
@settings(max_examples=30, deadline=None, derandomize=True)
def test_shapes(batches, m, k, n, seed, strided):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((*batches[0], m, k)), rng.standard_normal((*batches[1], k, n))
    a, b = (hu.quantize(x.astype(np.float32), "fp8_e4m3") for x in (a, b))
    want = loop(a, b, "fp16")
    if strided:
        a, b = np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2), b[..., ::-1, ::-1].copy()[..., ::-1, ::-1]
    got = matmul(a, b, accumulator="fp16")
    assert got.shape == want.shape
    assert (got == want).all()


def test_vectors():
    rng = np.random.default_rng(0)
    a, b = (hu.quantize(rng.standard_normal(shape).astype(np.float32), "fp16") for shape in ((5, 7), (7, 6)))
    whole = matmul(a, b, accumulator="bf16")
    assert (matmul(a[2], b, accumulator="bf16") == whole[2]).all()
    assert (matmul(a, b[:, 3], accumulator="bf16") == whole[:, 3]).all()
    found = matmul(a[2], b[:, 3], accumulator="bf16")
    assert found.shape == ()
    assert found == whole[2, 3]
    x, y = rng.standard_normal(64).astype(np.float32), rng.standard_normal((64, 3)).astype(np.float32)
    options = {"a_format": "mxfp4", "b_format": "mxfp4", "order": "blocked"}
    assert (matmul(x, y, **options) == matmul(x[None], y, **options)[0]).all()
    assert matmul(y[:, 0], x, **options) == matmul(y.T[:1], x[:, None], **options)[0, 0]


@pytest.mark.parametrize(
    "options",
    [{}, {"order": "pairwise"}, {"order": "blocked", "chunk": 4}, {"order": "aligned", "chunk": 4, "aligned_bits": 9}],
)
def test_no_products(options):
    for accumulator in ("fp16", "int8", "posit8"):
        found = matmul(np.ones((2, 0), np.float32), np.ones((0, 3), np.float32), accumulator=accumulator, **options)
        assert found.shape == (2, 3)
        assert (found == 0).all()
        assert not np.signbit(found).any()
    assert matmul(np.ones((0, 3)), np.ones((3, 2)), "mxfp4", "mxfp4", order="blocked").shape == (0, 2)
    assert matmul(np.ones((2, 0)), np.ones((0, 2)), accumulator="kulisch").tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "options",
    [
        {"accumulator": "fp16"},
        {"accumulator": "fp22", "order": "blocked", "chunk": 8},
        {"accumulator": "fp16", "order": "pairwise"},
        {"accumulator": "fp32", "order": "aligned", "chunk": 4, "aligned_bits": 12},
        {"accumulator": "kulisch"},
        {"accumulator": "kulisch", "outer": "fp16", "rounding": "stochastic", "seed": 1},
        {"accumulator": "fp16", "rounding": "stochastic", "seed": 1},
        {
            "accumulator": "fp16",
            "order": "aligned",
            "chunk": 4,
            "aligned_bits": 12,
            "rounding": "stochastic",
            "seed": 1,
        },
        {"accumulator": "posit8"},
        {"a_format": "mxfp8_e4m3", "b_format": "mxfp8_e4m3", "order": "blocked", "rounding": "stochastic", "seed": 1},
    ],
)
def test_threads_and_tiles(options, monkeypatch):
    rng = np.random.default_rng(0)
    for shapes in (((20, 32), (32, 290)), ((3, 7, 32), (3, 32, 20)), ((9, 4, 32), (9, 32, 5)), ((90, 32), (32, 3))):
        a, b = (hu.quantize(rng.standard_normal(shape).astype(np.float32), "fp16") for shape in shapes)
        want = matmul(a, b, **options)
        with monkeypatch.context() as patched:
            patched.setattr(cpu, "_THREADED_FROM", 1)
            patched.setattr(cpu, "threads", lambda: 3)
            patched.setattr(problem, "TILE", 1024)
            patched.setattr(problem, "PANELS", 1)
            got = matmul(a, b, **options)
        assert (got == want).all(), shapes


def test_flushed_subnormals_change_nothing():
    tiny = np.array([[2.0**-140, 2.0**-149, 1.0], [-(2.0**-130), 2.0**-126, 0]], np.float32)
    b = np.array([[1.0, 0.5], [1.0, 3.0], [2.0**-149, 2.0**-127]], np.float32)
    cases = [
        {"accumulator": accumulator, **options}
        for accumulator in ("fp32", "bf16", "fp22", "fp16", "kulisch")
        for options in ({}, {"rounding": "up"})
    ]
    cases += [
        {"fma": True},
        {"order": "pairwise"},
        {"order": "blocked", "chunk": 2},
        {"accumulator": "bf16", "fma": True},
    ]
    cases += [{"order": "aligned", "chunk": 2, "aligned_bits": 20}, {"accumulator": "bf16", "out_dtype": "bfloat16"}]
    want = [matmul(tiny, b, **options) for options in cases]
    assert any((abs(x.astype(np.float64)) < 2.0**-126).any() for x in want)
    torch.set_flush_denormal(True)
    try:
        got = [matmul(tiny, b, **options) for options in cases]
    finally:
        torch.set_flush_denormal(False)
    assert all(x.tobytes() == y.tobytes() for x, y in zip(got, want))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ">f4"])
def test_dtypes_of_operands(dtype):
    rng = np.random.default_rng(0)
    a, b = (hu.quantize(rng.standard_normal(shape), "fp8_e5m2") for shape in ((3, 9), (9, 4)))
    want = matmul(a, b, accumulator="fp16")
    assert (matmul(a.astype(dtype), b, accumulator="fp16") == want).all()
    assert (matmul(a.astype(dtype), b.astype(dtype), accumulator="fp16") == want).all()


def test_nan_is_canonical():
    payload = np.array([[0x7FFFFFFF]], np.uint32).view(np.float32)
    for x in (payload, -payload, np.array([[np.inf]], np.float32)):
        for accumulator in ("fp32", "bf16", "fp22", "fp16", "fp8_e4m3", "posit8", "kulisch"):
            found = matmul(np.concatenate([x, -x], 1), np.ones((2, 1), np.float32), accumulator=accumulator)
            if np.isnan(found).all():
                assert found.view(np.uint32)[0, 0] == 0x7FC00000
            else:
                assert np.isinf(x).all()
                assert accumulator in ("fp8_e4m3", "posit8")  # infinities saturate
