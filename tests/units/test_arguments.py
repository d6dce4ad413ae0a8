"""What is said about a unit: accumulators, options, errors that say what to type next."""

import halfulp as hu
import numpy as np
import pytest
import torch
from halfulp.emulate.units.accumulator import Accumulator
from halfulp.emulate.units.matmul import matmul

X = np.ones((2, 4), np.float32)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (Accumulator(), "Accumulator('binary32')"),
        (Accumulator("fp22", "blocked", 128), "Accumulator('e8m13ieee', order='blocked', chunk=128, outer='binary32')"),
        (Accumulator("kulisch"), "Accumulator('kulisch', outer='binary32')"),
        (Accumulator("fp16", rounding="up", fma=True), "Accumulator('binary16', rounding='up', fma=True)"),
        (
            Accumulator("fp32", "aligned", 4, aligned_bits=23),
            "Accumulator('binary32', order='aligned', chunk=4, aligned_bits=23)",
        ),
        (Accumulator("int16"), "Accumulator('int16')"),
        (Accumulator("int16", overflow="saturate"), "Accumulator('int16', overflow='saturate')"),
    ],
)
def test_repr(unit, text):
    assert repr(unit) == text


def test_defaults():
    assert Accumulator("fp22") == Accumulator("e8m13") == Accumulator(hu.format("e8m13ieee"))
    assert hash(Accumulator("fp22")) == hash(Accumulator("e8m13"))
    assert Accumulator("int32").overflow == Accumulator("uint8").overflow == "wrap"
    assert Accumulator("int8_narrow").overflow == "saturate"
    assert Accumulator("fp8_e4m3").overflow == "saturate"
    assert Accumulator("fp16").overflow == "special"
    assert Accumulator("fp16", "aligned", 4, aligned_bits=9).rounding.name == "toward_zero"
    assert Accumulator("fp16").rounding.name == "nearest_even"
    assert Accumulator("kulisch", rounding="up").arithmetic.rounding.name == "up"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmt": "fp33"}, "unknown accumulator 'fp33'; did you mean 'fp32'"),
        ({"fmt": "kulish"}, "unknown accumulator 'kulish'; did you mean 'kulisch'"),
        ({"order": "pairs"}, "unknown order 'pairs'; did you mean 'pairwise'"),
        ({"rounding": "upp"}, "unknown rounding 'upp'; did you mean 'up'"),
        ({"overflow": "clip"}, "unknown overflow 'clip'"),
        ({"fmt": "fp16", "overflow": "wrap"}, "only integers over their full range wrap"),
        ({"fmt": "posit8", "overflow": "special"}, "only saturates"),
        ({"order": "blocked", "chunk": 0}, "chunk: expected a number of products, 1 or more, got 0"),
        ({"order": "blocked", "chunk": -3}, "1 or more, got -3"),
        ({"order": "blocked", "chunk": 2.0}, "1 or more, got 2.0"),
        ({"order": "aligned", "aligned_bits": 4}, "needs chunk=, the products that are aligned together, e.g. chunk=4"),
        ({"order": "aligned", "chunk": 4}, "needs aligned_bits=, e.g. aligned_bits=23"),
        ({"order": "aligned", "chunk": 4, "aligned_bits": 1}, "aligned_bits: expected 2 to 40, got 1"),
        ({"order": "aligned", "chunk": 1 << 13, "aligned_bits": 40}, "use a smaller chunk or fewer bits"),
        ({"chunk": 4}, "chunk= says nothing with order='sequential'; leave it out"),
        (
            {"aligned_bits": 4, "outer": "fp32"},
            "outer= and aligned_bits= say nothing with order='sequential'; leave them out",
        ),
        ({"order": "aligned", "chunk": 4, "aligned_bits": 9, "fma": True}, "fma= says nothing with order='aligned'"),
        ({"fmt": "kulisch", "fma": True}, "fma= says nothing with accumulator='kulisch'"),
        ({"fmt": "kulisch", "order": "pairwise"}, "order= says nothing with accumulator='kulisch'"),
        ({"fmt": "kulisch", "chunk": 4}, "chunk= says nothing with accumulator='kulisch'"),
    ],
)
def test_refused_accumulators(options, message):
    with pytest.raises(ValueError, match=message):
        Accumulator(**options)
    options = dict(options)
    with pytest.raises(ValueError, match=message):
        matmul(X, X.T, accumulator=options.pop("fmt", "fp32"), **options)


def test_accumulators_that_are_no_formats():
    with pytest.raises(TypeError, match="mxfp4 is more than a set of numbers"):
        Accumulator("mxfp4")
    with pytest.raises(TypeError, match="expected a format name"):
        Accumulator(32)


def test_a_whole_accumulator_and_options_beside_it():
    unit = Accumulator("fp22", "blocked", 2)
    got = matmul(X, X.T, accumulator=unit)
    for same in ({"chunk": 2}, {"outer": "float32"}, {"order": "blocked", "rounding": "rne"}):
        assert (matmul(X, X.T, accumulator=unit, **same) == got).all()
    with pytest.raises(ValueError, match=r"says otherwise than chunk=4, rounding='up'; keep one"):
        matmul(X, X.T, accumulator=unit, chunk=4, rounding="up")
    with pytest.raises(ValueError, match=r"says otherwise than fma=True"):
        matmul(X, X.T, accumulator=Accumulator("fp16"), fma=True)


def test_blocked_needs_a_chunk():
    with pytest.raises(ValueError, match="order='blocked' needs chunk=.*e.g. chunk=128"):
        matmul(X, X.T, order="blocked")


def test_stochastic_needs_a_seed():
    with pytest.raises(ValueError, match="matmul: stochastic rounding needs seed=, e.g. seed=0"):
        matmul(X, X.T, rounding="stochastic")
    with pytest.raises(TypeError, match="expected an integer seed"):
        matmul(X, X.T, rounding="stochastic", seed=0.5)


def test_operands_that_are_no_floats():
    with pytest.raises(TypeError, match=r"a: integers beyond 2\*\*53 are not exact"):
        matmul(np.full((2, 2), 2**60 + 1), X[:, :2])
    with pytest.raises(TypeError, match=r"b: expected float16.*got complex64 numbers; multiply real and imaginary"):
        matmul(X, np.ones((4, 2), np.complex64))
    with pytest.raises(TypeError, match="a_format: phase is for complex numbers"):
        matmul(X, X.T, "phase")
    assert matmul([[1, 2]], [[3], [4]]).tolist() == [[11.0]]


def test_operands_of_two_libraries():
    import jax.numpy as jnp
    import torch

    with pytest.raises(TypeError, match=r"one library, got ArrayImpl and ndarray; convert one with .*np.asarray"):
        matmul(jnp.ones((2, 2)), X[:, :2])
    with pytest.raises(TypeError, match="both operands of one library, got Tensor and ndarray"):
        matmul(torch.ones(2, 4), X.T)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (4, 2)), r"axis -1 of a and axis -2 of b.*got shapes \(2, 3\) and \(4, 2\)"),
        (((3,), (4,)), r"axis -1 of a and axis 0 of b"),
        (((2, 2, 3), (3, 3, 2)), r"batch axes \(2,\) and \(3,\) do not broadcast"),
        (((), (2, 2)), "expected arrays of one or more axes, got a number"),
    ],
)
def test_shapes_that_do_not_go_together(shapes, message):
    a, b = (np.ones(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        matmul(a, b)


def test_dtypes_of_results():
    assert matmul(X, X.T, accumulator="fp16").dtype == np.float32
    assert matmul(X, X.T, accumulator="binary64").dtype == np.float64
    assert matmul(X, X.T, accumulator="int32").dtype == np.float64
    assert matmul(X, X.T, accumulator="fp16", out_dtype="float16").dtype == np.float16
    assert matmul(X, X.T, accumulator="bf16", out_dtype="bfloat16").dtype.name == "bfloat16"
    assert matmul(X, X.T, accumulator="fp16", order="blocked", chunk=2, outer="fp16", out_dtype="float16")[0, 0] == 4
    with pytest.raises(ValueError, match="sums of binary32 do not fit float16; pass out_dtype='float32'"):
        matmul(X, X.T, out_dtype="float16")
    with pytest.raises(TypeError, match="out_dtype: expected float16"):
        matmul(X, X.T, out_dtype="int8")


def test_operands_are_quantized_as_quantize_does():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 50)).astype(np.float32), rng.standard_normal((50, 4)).astype(np.float32)
    for fmt in (
        "fp8_e4m3",
        "nf4",
        "mxfp8_e4m3",
        "nvfp4",
        "int8_per_row",
        "int8_per_tensor",
        "nf4_block64",
        "hif4",
        "bcq2",
    ):
        along = {} if fmt in ("fp8_e4m3", "nf4", "int8_per_tensor", "nf4_block64", "bcq2") else {"axis": -2}
        pad = {} if fmt in ("fp8_e4m3", "nf4", "bcq2") else {"pad": True}
        left, right = hu.quantize(a, fmt, **pad), hu.quantize(b, fmt, **pad, **along)
        assert (matmul(a, b, fmt, fmt) == matmul(left, right)).all(), fmt
    half = a.astype(np.float16)
    assert (matmul(half, b, "bf16") == matmul(hu.quantize(half.astype(np.float32), "bf16"), b)).all()


def test_integers_are_operands():
    """int8 times int8 in int32, which wraps, also outside of chunks; NumPy's integers count products."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((3, 70), (70, 5)))
    want = a.astype(np.int32) @ b.astype(np.int32)
    assert np.array_equal(matmul(a, b, accumulator="int32"), want)
    assert np.array_equal(matmul(torch.from_numpy(a), torch.from_numpy(b), accumulator="int32").numpy(), want)
    big, more = np.full((1, 4), 30000.0), np.full((4, 1), 80000.0)
    wrapped = (4 * 30000 * 80000 + 2**31) % 2**32 - 2**31
    for unit in ({}, {"order": "blocked", "chunk": np.int64(2), "outer": "int32"}):
        assert matmul(big, more, accumulator="int32", **unit).item() == wrapped
    assert Accumulator("fp16", order="aligned", chunk=np.int64(4), aligned_bits=np.int32(23)).chunk == 4
