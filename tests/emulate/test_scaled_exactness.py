"""Every named scaled format, every rule and granularity, equals the rational reference on every backend."""

import halfulp as hu
import numpy as np
import pytest
from halfulp.formats.rounding import DETERMINISTIC
from halfulp.formats.scaled_registry import SCALED

from ..support.exact_scaled import Reference
from ..support.scaled_cases import BACKENDS, arrays_of, same_bits

NAMES = list(SCALED)
EVERYWHERE = ["numpy", "torch_portable"]
"""CPU tensors run NumPy's path: one more look at it is enough."""


def check(fmt, x, backends, **options):
    """Codes, scales and values of one array on some backends against the reference."""
    dtype = x.dtype.name
    want = Reference(fmt, dtype, **options).run(x)
    for backend in backends:
        values, codes = BACKENDS[backend](x, fmt, pad=True, **options)
        assert same_bits(values, want.values), (backend, fmt.name, dtype, differences(x, values, want.values))
        if codes is None:
            continue
        expected = {name: getattr(want, name) for name in ("elements", "scales", "outer", "zero_points")}
        expected = {name: array for name, array in expected.items() if array is not None}
        expected |= {f"micro{level}": bits for level, bits in enumerate(want.micro)}
        assert set(codes) == set(expected)
        for name, array in expected.items():
            assert np.array_equal(codes[name].astype(np.int64), array), (backend, fmt.name, dtype, name)


def differences(x, got, want):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    wrong = np.flatnonzero(~((got == want) | (np.isnan(got) & np.isnan(want))).reshape(-1))[:4]
    return [(float(x.reshape(-1)[k]).hex(), float(got.reshape(-1)[k]), float(want.reshape(-1)[k])) for k in wrong]


@pytest.mark.parametrize("name", NAMES)
def test_named_formats(name):
    for x in arrays_of("float32").values():
        check(SCALED[name], x, ["numpy", "torch", "torch_portable"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("int4", "mxfp6", "af4", "nf2"))])
def test_other_dtypes(name, dtype):
    for key in ("usual", "corners"):
        check(SCALED[name], arrays_of(dtype)[key], EVERYWHERE)
    check(SCALED[name], arrays_of(dtype)["special"], ["torch"])


@pytest.mark.parametrize("name", NAMES)
def test_named_formats_in_jax(name):
    for x in arrays_of("float32").values():
        check(SCALED[name], x, ["jax"])


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "int8_per_row_asym", "nf4_dq", "hif4"])
def test_codes_in_jax(name):
    for x in arrays_of("float32").values():
        check(SCALED[name], x, ["jax_with_codes"])


@pytest.mark.parametrize("name", ["mxfp8_e4m3", "int8_per_row"])
def test_inside_jit(name):
    check(SCALED[name], arrays_of("float32")["corners"], ["jax_jit"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["mxfp4", "int8_per_row"])
def test_other_dtypes_in_jax(name, dtype):
    for x in arrays_of(dtype).values():
        check(SCALED[name], x, ["jax"])


FITS = ["floor", "ceil", "even", "tetrajet", "nearest_log2", "rceil", "nearest"]
STATISTICS = ["absmax", "mean", "percentile:90", "static:2.5"]
BLOCKS = ["tensor", "row", "column", "channel", "channel@1", 16, "20@0", (2, 16), "4x8@1:0", "flat24", "0@-2", 7]


@pytest.mark.parametrize("scale", ["e8m0", "ue5m3", "fp8_e4m3", "binary32", "ue3m0", "uint8"])
@pytest.mark.parametrize("fit", FITS)
def test_every_fit_of_every_kind_of_scale(fit, scale):
    for element in ("fp4_e2m1", "fp8_e5m2"):
        fmt = hu.scaled(element, scale=scale, block=16, rule=fit)
        for key in ("usual", "corners", "small"):
            check(fmt, arrays_of("float32")[key], EVERYWHERE)
    check(hu.scaled("int4_narrow", scale=scale, block=16, rule=fit), arrays_of("bfloat16")["usual"], EVERYWHERE)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_statistic_of_every_granularity(block, statistic):
    """Ragged last blocks included: (6, 64) is no multiple of most of these."""
    for element, scale, key in (("fp4_e2m1", "e8m0", "corners"), ("int4_narrow", "binary32", "usual")):
        fmt = hu.scaled(element, scale=scale, block=block, rule=statistic)
        check(fmt, arrays_of("float32")[key], EVERYWHERE)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_statistics_of_other_dtypes(statistic):
    for dtype in ("float16", "bfloat16", "float64"):
        check(hu.scaled("int4_narrow", block=24, rule=statistic), arrays_of(dtype)["usual"], ["numpy"])


def test_granularities_in_jax():
    for block in ("column", "20@0", "4x8@1:0", "flat24"):
        check(hu.scaled("fp4_e2m1", scale="e8m0", block=block), arrays_of("float32")["corners"], ["jax"])
    for statistic in STATISTICS[1:]:
        check(hu.scaled("fp4_e2m1", scale="e8m0", block=24, rule=statistic), arrays_of("float32")["usual"], ["jax"])


OTHERS = {
    "mse over shrinking scales": hu.scaled("int4_narrow", block="row", rule="mse:5"),
    "mse over powers of two": hu.scaled("fp4_e2m1", scale="e8m0", block=32, rule="mse"),
    "mse over given factors": hu.scaled("fp4_e2m1", scale="ue5m3", block=16, rule="rceil+mse:1/1.5/0.75"),
    "reciprocal": hu.scaled("int8_narrow", block="row", encode="reciprocal"),
    "epsilon": hu.scaled("ternary", block="row", rule="mean", epsilon=1e-5),
    "target": hu.scaled("fp4_e2m1", scale="ue4m3", block=16, target=4),
    "target of a floor": hu.scaled("fp4_e2m1", scale="e8m0", block=32, rule="tetrajet", target="9/2"),
    "outer tensor": hu.scaled("fp4_e2m1", scale="ue5m3", block=16, outer="binary32"),
    "outer groups": hu.scaled("nf4", scale="uint8", block=16, outer="binary32", outer_block="2x32"),
    "outer rows": hu.scaled("int4_narrow", scale="e8m0", block=16, outer="binary16", outer_block="row"),
    "flat groups": hu.scaled("nf4", scale="uint8", block="flat16", outer="binary32", outer_block="flat64"),
    "mid-rise": hu.scaled("int4_midrise", block=16),
    "codebook with powers of two": hu.scaled("nf4", scale="e8m0", block=16, rule="tetrajet"),
    "unsigned": hu.scaled("uint4", block=16),
    "no subnormals": hu.scaled("e3m2_nosub", scale="e8m0", block=16),
    "wide elements": hu.scaled("e5m10", scale="e8m0", block=16),
    "posits": hu.scaled("posit8", scale="e8m0", block=16),
    "HiFloat8": hu.scaled("hifloat8", block="row"),
    "P3109": hu.scaled("binary6p3sf", scale="binary8p4uf", block=16),
}


@pytest.mark.parametrize("kind", list(OTHERS))
def test_other_ways_to_scale(kind):
    for key in ("usual", "corners", "special", "zeros"):
        if not ("uint8" in OTHERS[kind].spec and key == "special"):
            check(OTHERS[kind], arrays_of("float32")[key], EVERYWHERE)
    for dtype in ("float64", "float16"):
        check(OTHERS[kind], arrays_of(dtype)["corners"], ["numpy"])


@pytest.mark.parametrize("kind", ["mse over powers of two", "outer groups", "mid-rise"])
def test_other_ways_to_scale_in_jax(kind):
    check(OTHERS[kind], arrays_of("float32")["usual"], ["jax"])


@pytest.mark.parametrize("rounding", [mode.name for mode in DETERMINISTIC])
@pytest.mark.parametrize(
    "name", ["mxfp4", "mxint8", "nvfp4", "int4_per_row", "int4_per_row_asym", "nf4_block64", "hif4"]
)
def test_every_rounding_of_elements(name, rounding):
    for key in ("usual", "corners"):
        check(SCALED[name], arrays_of("float32")[key], EVERYWHERE, rounding=rounding)


@pytest.mark.parametrize("rounding", ["up", "toward_zero", "to_odd"])
def test_roundings_of_elements_in_jax(rounding):
    for name in ("mxfp4", "int4_per_row"):
        check(SCALED[name], arrays_of("float32")["corners"], ["jax"], rounding=rounding)


def test_elements_that_become_special():
    """overflow='special': E4M3 has NaN, E5M2 infinity; scales that follow the data leave little to overflow."""
    for element in ("fp8_e4m3", "fp8_e5m2"):
        for scale in ("e8m0", "binary32"):
            fmt = hu.scaled(element, scale=scale, block=16, rule="static:0.5")
            for x in arrays_of("float32").values():
                check(fmt, x, EVERYWHERE, overflow="special")
    check(fmt, arrays_of("float32")["special"], ["jax"], overflow="special")


def test_static_scales_leave_special_elements_alone():
    """A block is not spoilt by one NaN or infinity where its scale does not depend on them."""
    fmt = hu.scaled("fp8_e4m3", block="row", rule="static:448")
    x = np.array([[1.0, np.nan, np.inf, -np.inf]], np.float32)
    for backend in ("numpy", "torch", "jax"):
        assert same_bits(BACKENDS[backend](x, fmt)[0], [[1, np.nan, 448, -448]])
    with pytest.raises(ValueError, match="has no code for NaN; pass nan=0.0"):
        hu.encode(x, hu.scaled("fp4_e2m1", block="row", rule="static:6"))
    assert hu.encode(x, hu.scaled("fp4_e2m1", block="row", rule="static:6"), nan=0.0).elements.tolist() == [
        [2, 0, 7, 15]
    ]
