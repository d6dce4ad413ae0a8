"""Block dot products of scaled operands: elements multiplied without their scales, as OCP MX v1.0 has it."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate.units.accumulator import Accumulator
from halfulp.emulate.units.matmul import matmul

from ..support import exact_units
from .test_exactness import same


def matrices(m, k, n, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    spread = 2.0 ** rng.integers(-6, 6, (1, k))
    return (rng.standard_normal((m, k)) * spread).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


def block_dots(a, b, fmt, unit, seed=None):
    """The definition, from the elements and scales that `encode` and `scales` give."""
    parts = []
    for x, axis in ((a, -1), (b.T, -1)):
        codes, scale = hu.encode(x, fmt, axis=axis), hu.scales(x, fmt, axis=axis).decode
        elements = hu.decode(codes.elements, codes.fmt.element)
        parts.append((elements, scale.reshape(x.shape[0], -1).repeat(codes.fmt.block_size // unit.chunk, 1)))
    (left, s), (right, t) = parts
    return exact_units.matmul(left, right.T, unit, seed, s, t.T)


@pytest.mark.parametrize("fma", [False, True])
@pytest.mark.parametrize("fmt", ["mxfp8_e4m3", "mxfp4", "mxint8", "nvfp4", "nvint4"])
def test_block_dot_products(fmt, fma):
    a, b = matrices(3, 64, 4)
    block = hu.format(fmt).block_size
    for accumulator, chunk, outer, rounding in (
        ("binary32", block, "binary32", "nearest_even"), ("fp22", 8, "binary32", "toward_zero"),
        ("fp16", block, "fp16", "nearest_even"), ("bf16", 4, "binary32", "stochastic"),
    ):  # fmt: skip
        unit = Accumulator(accumulator, "blocked", chunk, outer, rounding=rounding, fma=fma)
        seed = 2 if unit.draws else None
        got = matmul(a, b, fmt, fmt, unit, seed=seed)
        assert same(got, block_dots(a, b, fmt, unit, seed)), unit


def test_the_chunk_is_the_block():
    a, b = matrices(3, 64, 4)
    assert (matmul(a, b, "mxfp8_e4m3", "mxfp8_e4m3", "fp22", order="blocked")
            == matmul(a, b, "mxfp8_e4m3", "mxfp8_e4m3", "fp22", order="blocked", chunk=32)).all()  # fmt: skip
    mixed = matmul(a, b, "mxfp8_e4m3", "nvfp4", "fp22", order="blocked")
    assert (mixed == matmul(a, b, "mxfp8_e4m3", "nvfp4", "fp22", order="blocked", chunk=16)).all()
    assert (mixed != matmul(a, b, "mxfp8_e4m3", "nvfp4", "fp22", order="blocked", chunk=8)).any()


def test_scales_that_are_powers_of_two_and_wide_sums_change_nothing():
    """Where nothing is rounded, scales may come before the sums or after them."""
    a, b = matrices(4, 96, 5)
    for options in ({"accumulator": "binary64", "outer": "binary64"}, {"accumulator": "fp32"}):
        got = matmul(a, b, "mxfp4", "mxfp4", order="blocked", **options)
        assert (got == matmul(a, b, "mxfp4", "mxfp4", "kulisch")).all()


def test_one_operand_with_scales():
    a, b = matrices(3, 64, 4)
    rows = matmul(a, b, "int8_per_row", "fp8_e4m3", order="blocked", chunk=16, accumulator="fp32")
    scale = hu.scales(a, "int8_per_row").decode
    elements = hu.decode(hu.encode(a, "int8_per_row").elements, "int8")
    unit = Accumulator("fp32", "blocked", 16)
    want = exact_units.matmul(elements, hu.quantize(b, "fp8_e4m3"), unit, None, scale.repeat(4, 1), np.ones((4, 4)))
    assert same(rows, want)


def test_ragged_blocks_and_batches():
    a, b = matrices(3, 50, 4)
    padded = np.pad(a, ((0, 0), (0, 14))), np.pad(b, ((0, 14), (0, 0)))
    for fmt in ("mxfp8_e4m3", "nvfp4"):
        options = {"a_format": fmt, "b_format": fmt, "accumulator": "fp22", "order": "blocked"}
        got = matmul(a, b, **options)
        assert (got == matmul(*padded, **options)).all(), fmt
    stack = np.stack([a, 2 * a, a[::-1]])
    found = matmul(stack, b, "mxfp4", "mxfp4", "fp22", order="blocked")
    assert (found[1] == matmul(2 * a, b, "mxfp4", "mxfp4", "fp22", order="blocked")).all()
    found = matmul(a.T[:, :2], np.stack([a[:2], b.T[:2]]), "mxfp4", "mxfp4", "fp22", order="blocked")
    assert (found[1] == matmul(a.T[:, :2], b.T[:2], "mxfp4", "mxfp4", "fp22", order="blocked")).all()


def test_nan_and_zero_blocks():
    a, b = matrices(3, 64, 2)
    a[0, 3], a[1, :32] = np.nan, 0
    for fmt in ("mxfp8_e4m3", "nvfp4", "mxint8"):
        got = matmul(a, b, fmt, fmt, order="blocked")
        assert np.isnan(got[0]).all()
        assert np.isfinite(got[1:]).all()
        assert (got[1] == matmul(a[1:2, 32:], b[32:], fmt, fmt, order="blocked")).all() or fmt == "nvfp4"


def test_other_orders_multiply_values():
    a, b = matrices(3, 64, 4)
    left, right = hu.quantize(a, "mxfp4"), hu.quantize(b, "mxfp4", axis=0)
    for options in ({}, {"order": "pairwise"}, {"order": "aligned", "chunk": 16, "aligned_bits": 20}):
        assert (
            matmul(a, b, "mxfp4", "mxfp4", "fp22", **options) == matmul(left, right, None, None, "fp22", **options)
        ).all()


def test_chunks_that_cross_blocks():
    a, b = matrices(2, 64, 2)
    with pytest.raises(ValueError, match=r"chunk=64 does not divide the blocks.*\(a: 32, b: 16\).*use chunk=16"):
        matmul(a, b, "mxfp4", "nvfp4", order="blocked", chunk=64)
    with pytest.raises(ValueError, match="chunk=24 does not divide the blocks"):
        matmul(a, b, "mxfp4", None, order="blocked", chunk=24)
    assert matmul(a, b, "int8_per_tensor", None, order="blocked", chunk=24).shape == (2, 2)


@pytest.mark.parametrize(
    ("fmt", "kind"), [("int4_per_row_asym", "zero points"), ("hif4", "micro exponents"), ("nf4_block64", "flat blocks")]
)
def test_scales_that_are_no_factor(fmt, kind):
    a, b = matrices(2, 64, 2)
    with pytest.raises(ValueError, match=rf"a_format: {kind} of {fmt}.*no factor of a chunk's sum.*use another order"):
        matmul(a, b, fmt, order="blocked", chunk=8)
    assert matmul(a, b, fmt).shape == (2, 2)


def test_few_columns_are_rows_of_the_transposed_product():
    a, b = matrices(40, 64, 20)
    for options in ({}, {"fma": True}, {"outer": "bf16"}):
        of = {"a_format": "mxfp8_e4m3", "b_format": "mxint8", "accumulator": "fp22", "order": "blocked", **options}
        assert (matmul(a, b[:, :3], **of) == matmul(a, b, **of)[:, :3]).all()
