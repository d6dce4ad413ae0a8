"""Other libraries agree wherever they are right; each known disagreement is a test that says who is wrong."""

import warnings
from fractions import Fraction

import gfloat
import halfulp as hu
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from gfloat import RoundMode
from gfloat.types import Domain, FormatInfo
from halfulp.emulate.layouts import LAYOUTS
from halfulp.formats.floats import FLOATS
from halfulp.formats.registry import NAMED

from ..support.cases import both_sides, stratified, with_signs

FLOAT32, FLOAT64 = LAYOUTS["float32"], LAYOUTS["float64"]
DTYPES = {
    "fp8_e4m3": "float8_e4m3fn",
    "fp8_e4m3_ieee": "float8_e4m3",
    "fp8_e5m2": "float8_e5m2",
    "fp8_e3m4": "float8_e3m4",
    "fp8_e4m3fnuz": "float8_e4m3fnuz",
    "fp8_e5m2fnuz": "float8_e5m2fnuz",
    "fp8_e4m3b11fnuz": "float8_e4m3b11fnuz",
    "fp6_e3m2": "float6_e3m2fn",
    "fp6_e2m3": "float6_e2m3fn",
    "fp4_e2m1": "float4_e2m1fn",
    "bfloat16": "bfloat16",
    "e8m0": "float8_e8m0fnu",
}
SATURATING = ("fp6_e3m2", "fp6_e2m3", "fp4_e2m1")


def inputs(name, layout, count=1 << 17):
    edges = both_sides(NAMED[name], layout) if NAMED[name].bits <= 10 else stratified(layout, 16)
    bits = np.concatenate([edges, stratified(layout, count)])
    return bits.view(np.float64 if layout is FLOAT64 else np.float32)


def cast(x, dtype):
    """ml_dtypes' cast and back, its warnings about NaN aside."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return x.astype(getattr(ml_dtypes, dtype)).astype(np.float32)


def same(a, b):
    """Equal numbers with equal signs; NaN like NaN."""
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


@pytest.mark.parametrize("name", [n for n in DTYPES if n != "e8m0"])
def test_ml_dtypes_from_float32(name):
    x = inputs(name, FLOAT32)
    x = x[~np.isnan(x)]
    ours = hu.quantize(x, name, overflow="saturate" if name in SATURATING else "special")
    assert same(cast(x, DTYPES[name]), ours).all()


def test_ml_dtypes_e8m0_from_normal_float32():
    x = np.abs(inputs("e8m0", FLOAT32))
    x = x[~np.isnan(x)]  # some processors flag a signalling NaN in frexp, and warnings are errors
    x = x[(x >= 2.0**-126) & (np.frexp(x)[0] != 0.75)]
    assert same(cast(x, "float8_e8m0fnu"), hu.quantize(x, "e8m0", overflow="special")).all()


def test_ml_dtypes_takes_e8m0_ties_upwards():
    """1.5 * 2**k lies between two significands of 1: P3109 (and gfloat) take the even code, ml_dtypes always the larger.

    OCP MX leaves it open. Both agree on ceil and floor, the roundings that scales use.
    """
    ties = np.float32([1.5 * 2.0**-3, 1.5 * 2.0**-2])  # codes 124 and 125 below
    assert cast(ties, "float8_e8m0fnu").tolist() == [2.0**-2, 2.0**-1]
    assert hu.quantize(ties, "e8m0").tolist() == [2.0**-3, 2.0**-1]


def test_ml_dtypes_is_wrong_about_subnormals_to_e8m0():
    """0x1.000004p-127 lies next to 2**-127, and ml_dtypes 0.6.0 rounds it up to 2**-126."""
    x = np.array([float.fromhex("0x1.000004p-127")], np.float32)
    assert cast(x, "float8_e8m0fnu")[0] == np.float32(2.0**-126)
    assert hu.quantize(x, "e8m0")[0] == np.float32(2.0**-127)


@pytest.mark.parametrize("name", SATURATING)
def test_ml_dtypes_turns_nan_into_minus_zero_where_there_is_no_nan(name):
    """A NaN that quietly becomes a number is lost; ours stays NaN in `quantize` and is refused by `encode`."""
    x = np.float32([np.nan])
    assert cast(x, DTYPES[name])[0] == 0
    assert np.isnan(hu.quantize(x, name))[0]
    with pytest.raises(ValueError, match="has no code for NaN"):
        hu.encode(x, name)


def test_ml_dtypes_rounds_float64_twice():
    """Through float32: just above the tie 2**-10 it loses the excess and ends on the wrong side."""
    x = np.array([float.fromhex("0x1.0000000000001p-10")])
    assert cast(x, "float8_e4m3fn")[0] == 0
    assert hu.quantize(x, "fp8_e4m3")[0] == 2.0**-9


def test_ml_dtypes_int4_wraps():
    """Its casts keep the low bits; ours saturate, and wrap when asked to."""
    x = np.float32([9.0, -20.0])
    with np.errstate(all="ignore"):
        assert x.astype(ml_dtypes.int4).astype(np.float32).tolist() != [7.0, -8.0]
    assert hu.quantize(x, "int4").tolist() == [7.0, -8.0]
    assert hu.quantize(x, "int4", overflow="wrap").tolist() == [-7.0, -4.0]


@pytest.mark.parametrize("name", [n for n in DTYPES if n.startswith("fp8")])
def test_jax_with_x64_rounds_float64_once(name):
    x = inputs(name, FLOAT64)
    with jax.enable_x64(True):
        theirs = np.asarray(jnp.asarray(x).astype(getattr(jnp, DTYPES[name])).astype(jnp.float32))
    assert same(theirs, hu.quantize(x, name, overflow="special", out_dtype="float32")).all()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("fp8_e4m3", torch.float8_e4m3fn),
        ("fp8_e5m2", torch.float8_e5m2),
        ("fp8_e4m3fnuz", torch.float8_e4m3fnuz),
        ("fp8_e5m2fnuz", torch.float8_e5m2fnuz),
    ],
)
def test_torch_casts_of_numbers_in_range(name, dtype):
    x = inputs(name, FLOAT32)
    x = x[np.abs(x) <= float(NAMED[name].max)]
    theirs = torch.from_numpy(x).to(dtype).float().numpy()
    assert same(theirs, hu.quantize(x, name)).all()


def test_torch_e4m3_casts_saturate():
    """torch 2.13 saturates, infinities included; that is our default too, and 'special' gives the NaN of JAX."""
    x = torch.tensor([465.0, 1e9, float("inf"), -float("inf")])
    assert (
        x.to(torch.float8_e4m3fn).float().tolist()
        == hu.quantize(x, "fp8_e4m3").tolist()
        == [448.0, 448.0, 448.0, -448.0]
    )
    assert torch.isnan(hu.quantize(x, "fp8_e4m3", overflow="special")).all()


MODES = {
    "nearest_even": RoundMode.TiesToEven,
    "nearest_away": RoundMode.TiesToAway,
    "toward_zero": RoundMode.TowardZero,
    "up": RoundMode.TowardPositive,
    "down": RoundMode.TowardNegative,
}
GFLOAT_NAMES = [f.name for f in FLOATS if f.bits <= 10 and f.zero] + ["e2m3b4", "e5m0", "e3m2ieee", "e4m3_nosub"]


def gfloat_info(fmt):
    high_nans = {"top_exponent": (1 << fmt.mantissa_bits) - 1, "top_code": 1}.get(fmt.specials.nan, 0)
    return FormatInfo(
        fmt.name,
        fmt.bits,
        fmt.mantissa_bits + 1,
        bias=fmt.bias,
        is_signed=fmt.signed,
        domain=Domain.Extended if fmt.specials.infinity else Domain.Finite,
        has_nz=fmt.has_negative_zero,
        num_high_nans=high_nans,
        has_subnormals=fmt.subnormals,
        is_twos_complement=False,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GFLOAT_NAMES)
def test_gfloat_in_range(name, mode):
    fmt = hu.format(name)
    x = both_sides(fmt, FLOAT64).view(np.float64)
    x = x[(np.abs(x) <= float(fmt.max)) & ((x >= 0) | fmt.signed)][::3]
    if not fmt.subnormals:
        x = x[(np.abs(x) >= float(fmt.min_normal)) | (x == 0)]
    if mode == "nearest_away":
        x = x[np.abs(x) != np.nextafter(float(fmt.min_positive) / 2, 0)]
    theirs = np.array([gfloat.round_float(gfloat_info(fmt), float(v), MODES[mode]) for v in x])
    ours = hu.quantize(x, fmt, rounding=mode)
    assert same(theirs, ours).all(), [(float(a).hex(), b, c) for a, b, c in zip(x, theirs, ours) if not same(b, c)][:5]


def test_gfloat_ties_away_is_wrong_just_below_half_the_smallest_value():
    """gfloat 0.5.2 adds a half to 0.49999999999999994 in float64, which gives 1; nearest is 0."""
    x = np.nextafter(0.25, 0)
    assert gfloat.round_float(gfloat_info(NAMED["fp4_e2m1"]), x, RoundMode.TiesToAway) == 0.5
    assert hu.quantize(x, "fp4_e2m1", rounding="nearest_away") == 0


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["fp8_e4m3_ieee", "fp8_e5m2", "fp8_e4m3", "fp8_e3m4"])
def test_gfloat_overflow(name, mode, saturate):
    fmt = hu.format(name)
    top = float(fmt.max)
    x = np.array([s * top * f for s in (1, -1) for f in (1.0, 1.03, 1.07, 1.2, 7.0, 1e6)])
    theirs = np.array([gfloat.round_float(gfloat_info(fmt), float(v), MODES[mode], sat=saturate) for v in x])
    assert same(theirs, hu.quantize(x, fmt, rounding=mode, overflow="saturate" if saturate else "special")).all()


def test_ties_are_where_the_rationals_say():
    """A last check of the oracles' inputs: the tie between two codes is among them, exactly."""
    fmt = NAMED["fp8_e4m3"]
    x = set(map(float, both_sides(fmt, FLOAT64).view(np.float64)))
    assert float((fmt.magnitude(8) + fmt.magnitude(9)) / 2) in x
    assert Fraction(float(with_signs([1], FLOAT64).view(np.float64)[0])) == Fraction(1, 1 << 1074)
