"""Bad input: every message says what was expected, what came, and what to type next."""

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

X = np.float32([1, 2, 3])


def everywhere():
    return X, torch.from_numpy(X), jnp.asarray(X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fmt": "mxfp-4"}, ValueError, "unknown format 'mxfp-4'; did you mean"),
        ({"fmt": "fp8_e4m4"}, ValueError, "did you mean 'fp8_e4m3'"),
        ({"fmt": 8}, TypeError, r"expected a format name or a format, got int; try hu.list_formats\(\)"),
        ({"rounding": "nearest"}, ValueError, "unknown rounding 'nearest'; did you mean 'nearest_"),
        ({"rounding": 3}, TypeError, "expected a rounding name or hu.Rounding, got int"),
        ({"rounding": "stochastic:x"}, ValueError, "expected a spec like 'stochastic:8B'"),
        ({"overflow": "clamp"}, ValueError, "unknown overflow 'clamp'; known: saturate, propagate, special, wrap"),
        ({"overflow": "wrap"}, ValueError, "only integers over their full range wrap, got fp8_e4m3; use overflow='saturate'"),
        ({"fmt": "nf4", "overflow": "special"}, ValueError, "nf4 only saturates, got overflow='special'; leave overflow out"),
        ({"fmt": "int8_narrow", "overflow": "wrap"}, ValueError, "only integers over their full range wrap"),
        ({"fmt": "uint3_midrise", "overflow": "wrap"}, ValueError, "uint3_midrise only saturates"),
        ({"ste": "clipped"}, ValueError, "unknown ste 'clipped'; did you mean 'clip'"),
        ({"fmt": "bfloat16", "out_dtype": "float16"}, ValueError, r"values of bfloat16 do not fit float16; pass out_dtype='bfloat16' \(bfloat16 or float32 or float64 would hold them\)"),
        ({"fmt": "e12m3"}, ValueError, "values of e12m3 fit no dtype up to float64"),
        ({"out_dtype": "float8"}, TypeError, "out_dtype: expected float16, bfloat16, float32 or float64, got float8"),
        ({"out_dtype": object()}, TypeError, "expected a dtype or its name"),
        ({"rounding": "stochastic"}, ValueError, "rounding 'stochastic' needs a seed; pass seed=0"),
    ],
)  # fmt: skip
def test_names_and_options(options, error, message):
    for x in everywhere():
        with pytest.raises(error, match=message):
            hu.quantize(x, **{"fmt": "fp8_e4m3", **options})


def test_values_that_do_not_fit_the_input_dtype():
    for x in (np.float16([1]), torch.ones(1, dtype=torch.float16), jnp.ones(1, jnp.float16)):
        for name, able in [
            ("bfloat16", "bfloat16"),
            ("e8m0", "bfloat16"),
            ("int16", "float32"),
            ("nf4", "float32"),
            ("tf32", "float32"),
        ]:
            with pytest.raises(ValueError, match=f"values of {name} do not fit float16; pass out_dtype='{able}'"):
                hu.quantize(x, name)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.arange(3), r"expected floats, got int64 integers; convert with x.astype\('float32'\)"),
        (np.array([True]), "expected floats, got bool"),
        (np.array([1.0, None], object), "expected floats, got an object array"),
        (np.array([1 + 2j]), "expected float16, bfloat16, float32 or float64, got complex128"),
        (np.ma.masked_array([1.0], [True]), "got a masked array; pass x.filled"),
        (np.array(["a"]), "expected float16, bfloat16, float32 or float64"),
        (np.longdouble([1.0]), "expected float16, bfloat16, float32 or float64"),
        (torch.arange(3), r"expected floats, got torch.int64 integers; convert with x.to\(torch.float32\)"),
        (torch.ones(3, dtype=torch.complex64), "complex numbers"),
        (torch.ones(2, 2).to_sparse(), "expected a dense tensor"),
        (torch.ones(3).to(torch.float8_e4m3fn), "expected float16, bfloat16, float32 or float64, got float8_e4m3fn"),
        (jnp.arange(3), r"expected floats, got int32; convert with x.astype\('float32'\)"),
        (jnp.ones(3, jnp.complex64), "expected floats, got complex64"),
        ([2**60 + 1], "integers beyond 2"),
    ],
)
def test_inputs_that_are_no_floats(x, message):
    is_complex = "complex" in str(getattr(x, "dtype", ""))  # rounded by component, but has no codes
    for call in (hu.encode,) if is_complex else (hu.quantize, hu.encode):
        with pytest.raises(TypeError, match=message):
            call(x, "fp8_e4m3")


def test_out_must_fit():
    x = np.ones((2, 3), np.float32)
    read_only = np.empty((2, 3), np.float32)
    read_only.flags.writeable = False
    for out, error, message in [
        (np.empty((3, 2), np.float32), ValueError, r"out: expected shape \(2, 3\), got \(3, 2\)"),
        (np.empty((2, 3)), TypeError, "out: expected dtype float32, got float64; pass np.empty"),
        (read_only, ValueError, "out: the array is read-only"),
        ([0.0], TypeError, "out: expected a NumPy array, got list"),
    ]:
        with pytest.raises(error, match=message):
            hu.quantize(x, "fp8_e4m3", out=out)
    t = torch.ones(2, 3)
    for out, error, message in [
        (torch.empty(3, 2), ValueError, r"out: expected shape \(2, 3\), got \(3, 2\)"),
        (torch.empty(2, 3).double(), TypeError, "out: expected float32 on cpu, got float64"),
        (torch.empty(2, 1).expand(2, 3), ValueError, "out: several elements share one memory location"),
        (x, TypeError, "out: expected a torch tensor, got ndarray"),
        (torch.empty(2, 3, requires_grad=True), ValueError, "out: cannot record a gradient through out="),
    ]:
        with pytest.raises(error, match=message):
            hu.quantize(t, "fp8_e4m3", out=out)
    with pytest.raises(TypeError, match="out= is for NumPy and torch; JAX arrays are immutable"):
        hu.quantize(jnp.ones(3), "fp8_e4m3", out=jnp.ones(3))


def test_float64_in_jax_needs_x64():
    with pytest.raises(ValueError, match=r"this needs float64, which JAX has off; call jax.config.update"):
        hu.quantize(jnp.ones(2), "e9m2", out_dtype="float64")


def test_traced_formats():
    data = hu.format_data(["fp8_e4m3", "int8"])
    with pytest.raises(TypeError, match="traced formats and roundings are for JAX arrays"):
        hu.quantize(torch.ones(1), data)
    with pytest.raises(TypeError, match="traced formats and roundings are for JAX arrays"):
        hu.quantize(X, data)
    with pytest.raises(TypeError, match="encode needs a format that is not traced"):
        hu.encode(jnp.ones(1), data)
    with pytest.raises(ValueError, match="made for float32, got bfloat16 to bfloat16; make it with"):
        jax.vmap(lambda f: hu.quantize(jnp.ones(1, jnp.bfloat16), f))(data)
    with pytest.raises(ValueError, match="cannot be stacked with codebooks"):
        hu.format_data(["int4", "nf4"])
    with pytest.raises(ValueError, match="got an empty sequence"):
        hu.format_data([])
    with pytest.raises(ValueError, match="only integers over their full range wrap, got a traced format"):
        hu.quantize(jnp.ones(1), hu.format_data("int8"), overflow="wrap")


def test_encode_under_jit_needs_nan():
    with pytest.raises(ValueError, match="int4 has no code for NaN, and a trace cannot look for NaN; pass nan=0.0"):
        jax.jit(lambda x: hu.encode(x, "int4"))(jnp.ones(2))
    assert jax.jit(lambda x: hu.encode(x, "int4", nan=0.0))(jnp.array([3.0, jnp.nan])).tolist() == [3, 0]
