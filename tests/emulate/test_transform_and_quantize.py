"""`transform=`: what is quantized is the transform, unrounded, whatever path computes it."""

import tracemalloc

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ..support.cases import FLOATS
from ..support.transforms import RNG, assert_same, hostile

FORMATS = [
    ("fp8_e4m3", {}), ("fp8_e4m3", {"axis": 0}), ("mxfp4", {}), ("mxfp4", {"axis": 0}), ("mxfp8_e4m3", {"axis": (0,)}),
    ("nvfp4", {}), ("nvfp4_2d", {"axis": 0}), ("int8_per_row", {}), ("int8_per_tensor", {"axis": 0}), ("nf4_dq", {}), ("mxfp4", {"rounding": "stochastic", "stream": 5}), ("int4", {"rounding": "stochastic"}),
    ("mxfp4", {"scale_rounding": "stochastic"}), ("nvfp4", {"overflow": "special"}),
]  # fmt: skip


def composed(x, fmt, name, axis=None, **options):
    """Transform without rounding, then quantize."""
    along = -1 if axis is None else axis[0] if isinstance(axis, tuple) else axis
    wide = "float64" if "float64" in str(x.dtype) else "float32"
    y = hu.hadamard(x, name, axis=along, seed=1, step=2, out_dtype=wide)
    if fmt.startswith("mx") and axis is not None:
        options["axis"] = axis
    return hu.quantize(y, fmt, seed=1, step=2, out_dtype=x.dtype, **options)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("fmt", "options"), FORMATS)
def test_quantize_composes(fmt, options, dtype):
    for x in hostile(dtype, (64, 64)).values():
        for name in ("hadamard32", "rht64"):
            got = hu.quantize(x, fmt, transform=name, seed=1, step=2, **options)
            assert got.dtype == x.dtype
            assert_same(got, composed(x, fmt, name, **options))


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("mxfp4", {}), ("mxfp4", {"axis": 0}), ("nvfp4", {}), ("nvfp4_2d", {}), ("int8_per_tensor", {}), ("fp8_e4m3", {}),
        ("mxfp8_e4m3", {"axis": 0, "rounding": "stochastic"}), ("mxfp4", {"rounding": "stochastic"}),
        ("fp8_e4m3", {"rounding": "stochastic", "offset": 5}), ("int8_per_row", {}),
    ],
)  # fmt: skip
def test_pieces_in_threads_change_nothing(fmt, options):
    x = RNG.standard_normal((1024, 1536)).astype(np.float32)
    want = composed(x, fmt, "rht64", **options)
    out = np.empty_like(x)
    options |= {"transform": "rht64", "seed": 1, "step": 2}
    assert hu.quantize(x, fmt, out=out, **options) is out
    assert_same(out, want)
    t = torch.from_numpy(x)
    assert_same(hu.quantize(t, fmt, **options), want)
    assert hu.quantize(t, fmt, out=t, **options) is t
    assert_same(x, want)


def test_pieces_beyond_the_kernel_leave_the_input_alone():
    """A block too small for the compiled kernel, behind many that are not, is found after those are done."""
    x = RNG.standard_normal((1024, 1024)).astype(np.float32)
    x[-1, -64:] *= np.float32(2.0**-130)
    want = composed(x, "mxfp4", "hadamard32")
    assert_same(hu.quantize(x, "mxfp4", transform="hadamard32", out=x), want)


def test_pieces_take_no_memory():
    x = np.ones((8192, 2048), np.float32)
    out = np.empty_like(x)
    for fmt, axis in (("mxfp4", -1), ("mxfp4", 0), ("fp8_e4m3", -1), ("nvfp4", -1)):
        hu.quantize(x[:64, :64], fmt, transform="hadamard32", axis=axis)
        tracemalloc.start()
        hu.quantize(x, fmt, transform="hadamard32", axis=axis, out=out)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.02 * x.nbytes


@pytest.mark.parametrize("fmt", ["fp8_e4m3", "mxfp4"])
def test_quantize_composes_in_torch_and_jax(fmt):
    x = hostile("float32", (64, 64))["usual"]
    want = hu.quantize(x, fmt, transform="rht32", seed=1, step=2)
    t = torch.from_numpy(x).requires_grad_()
    got = hu.quantize(t, fmt, transform="rht32", seed=1, step=2, ste="identity")
    assert_same(got, want)
    got.backward(torch.from_numpy(x))
    assert_same(t.grad, hu.hadamard(x, "rht32", seed=1, step=2, inverse=True))
    call = jax.jit(lambda x: hu.quantize(x, fmt, transform="rht32", seed=1, step=2, ste="identity"))
    value, pull = jax.vjp(call, jnp.asarray(x))
    assert_same(value, want)
    assert_same(pull(jnp.asarray(x))[0], t.grad)


def test_codes_scales_and_files_in_the_transformed_basis():
    x = hostile("bfloat16", (64, 64))["usual"]
    values = hu.quantize(x, "mxfp4", transform="rht32", seed=1)
    codes = hu.encode(x, "mxfp4", transform="rht32", seed=1)
    assert codes.dtype == "bfloat16"
    assert_same(hu.decode(codes), values)
    assert_same(hu.unpack(hu.pack(x, "mxfp4", transform="rht32", seed=1)), values)
    scales = hu.scales(x, "mxfp4", transform="rht32", seed=1)
    assert_same(hu.quantize(x, "mxfp4", transform="rht32", seed=1, scale=scales), values)
    plain = hu.encode(x, "int4", transform="hadamard8", axis=0)
    assert np.array_equal(hu.decode(plain, "int4"), hu.quantize(x, "int4", transform="hadamard8", axis=0).astype("f4"))


def test_outliers_are_spread():
    """What the transform is for: four bits keep more of a row that has an outlier."""
    x = RNG.standard_normal((64, 128)).astype(np.float32)
    x[:, 7] *= 50

    def error(**options):
        y = hu.quantize(x, "int4_per_row", **options)
        return np.square((hu.hadamard(y, "rht128", seed=0, inverse=True) if options else y) - x).mean()

    assert error(transform="rht128", seed=0) < error() / 3
