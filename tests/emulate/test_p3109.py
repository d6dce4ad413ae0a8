"""IEEE P3109 formats: every code, breakpoint, rounding and saturation mode against the report's definitions."""

from fractions import Fraction
from math import inf, isinf, nan

import gfloat
import halfulp as hu
import numpy as np
import pychop
import pytest
from gfloat.formats import format_info_p3109
from gfloat.types import Domain, RoundMode, Signedness
from halfulp.formats import exact
from halfulp.formats.dyadic import floor_log2, power
from halfulp.formats.rounding import ROUNDINGS, Rounding

from ..support.p3109 import DETERMINISTIC, P3109, SATURATIONS, every

NARROW = every(range(3, 9))
WIDE = every(range(9, 17))


def within_float64(ref: P3109) -> bool:
    lowest, highest = ref.exponents
    return lowest >= -1074 and highest <= 1023


def inputs(ref: P3109, codes: np.ndarray) -> np.ndarray:
    """Values of codes, midpoints to their neighbours, both sides of each, and what lies beyond the ends."""
    values = ref.decode(codes)
    neighbours = ref.decode(np.minimum(codes + 1, 2**ref.k - 1))
    high = ref.decode(ref.largest)
    with np.errstate(all="ignore"):
        middle = values / 2 + neighbours / 2  # halves first: a sum may overflow
        points = np.concatenate([values, middle, high * np.array([1.1, 1.25, 1.5, 2.0, 100.0]), [0.0, 5e-324, 0.3]])
        points = points[np.isfinite(points)]
        points = np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf)])
    return np.concatenate([points, -points, [np.inf, -np.inf, np.nan]])


def check(ref: P3109, codes: np.ndarray) -> None:
    fmt = hu.format(ref.name)
    decoded = hu.decode(codes.astype(np.uint16), fmt, out_dtype="float64")
    assert np.array_equal(decoded, ref.decode(codes), equal_nan=True), ref
    assert np.array_equal(hu.encode(decoded, fmt, overflow="propagate"), codes), ref
    x = inputs(ref, codes)
    for mode, reported in DETERMINISTIC.items():
        for overflow, saturation in SATURATIONS.items():
            got = hu.quantize(x, fmt, rounding=mode, overflow=overflow)
            want = ref.quantize(x, reported, saturation)
            wrong = ~((got == want) | (np.isnan(got) & np.isnan(want)))
            assert not wrong.any(), (ref.name, mode, overflow, x[wrong][:5], got[wrong][:5], want[wrong][:5])
            assert not np.signbit(got[got == 0]).any(), ref  # there is no -0


@pytest.mark.parametrize("k", range(3, 9))
def test_every_code_and_breakpoint_of_up_to_8_bits(k):
    for ref in NARROW:
        if ref.k == k:
            check(ref, np.arange(2**k))


@pytest.mark.parametrize("k", range(9, 17))
def test_500_codes_of_each_wider_format(k):
    rng = np.random.default_rng(k)
    for ref in WIDE:
        if ref.k == k and within_float64(ref):
            ends = np.array([0, 1, ref.largest, ref.largest + 1, ref.nan, 2**k - 1])
            check(ref, np.unique(np.concatenate([ends, rng.choice(2**k, 494, replace=False)])))


def test_there_are_504_formats_and_50_go_beyond_float64():
    every_format = [*NARROW, *WIDE]
    beyond = [ref for ref in every_format if not within_float64(ref)]
    assert (len(every_format), len(beyond)) == (504, 50)
    for ref in beyond:
        with pytest.raises(
            ValueError, match="fit no dtype up to float64; use a narrower format, or halfulp.formats.exact"
        ):
            hu.decode(np.array([1]), ref.name)


def exactly(ref: P3109, x: Fraction, mode: str, saturation: str) -> Fraction | float:
    """`P3109.quantize` of one finite number in rational arithmetic."""
    leading = floor_log2(abs(x)) if x else 1 - ref.bias
    q = max(leading, 1 - ref.bias) - ref.p + 1
    s = abs(x) / power(q)
    low = s.__floor__()
    nu = s - low
    even = low == 0 or (q + ref.bias) % 2 == 0 if ref.p == 1 else low % 2 == 0
    away = {
        "nearest_even": nu > Fraction(1, 2) or (nu == Fraction(1, 2) and not even),
        "nearest_away": nu >= Fraction(1, 2),
        "toward_zero": False,
        "up": nu > 0 and x > 0,
        "down": nu > 0 and x < 0,
        "to_odd": nu > 0 and even,
    }[mode]
    rounded = (low + away) * power(q) * (1 if x >= 0 else -1)
    trailing, exponent = ref.largest % 2 ** (ref.p - 1), ref.largest // 2 ** (ref.p - 1)
    high = (2 ** (ref.p - 1) + trailing) * power(exponent - ref.bias - ref.p + 1)
    low_end = -high if ref.signed else Fraction(0)
    if low_end <= rounded <= high:
        return rounded
    clamped = high if rounded > high else low_end
    inward = mode in ("toward_zero", "to_odd") or (mode == "down" and x > 0) or (mode == "up" and x < 0)
    if saturation != "special" or inward or not ref.extended:
        return clamped
    return inf if x > 0 else -inf if ref.signed else Fraction(0)


def test_the_definition_handles_the_50_formats_beyond_float64():
    combinations = [(mode, saturation) for mode in DETERMINISTIC for saturation in SATURATIONS]
    for ref in WIDE:
        if within_float64(ref):
            continue
        fmt = hu.format(ref.name)
        rng = np.random.default_rng(ref.k + ref.p)
        for k, code in enumerate(rng.choice(2**ref.k, 500, replace=False).tolist()):
            value = fmt.value(code)
            if isinstance(value, float):
                continue
            assert exact.encode_exact(fmt, value) == code
            gap = exact.float_gap(fmt, abs(value)).above - abs(value)
            x = value + gap * (k % 4) / 4 * (1 if value >= 0 else -1)
            mode, saturation = combinations[k % len(combinations)]
            got = exact.quantize_exact(fmt, x, ROUNDINGS[mode], saturation)
            assert got == exactly(ref, x, mode, saturation), (ref.name, code, mode, saturation)
        assert exact.quantize_exact(fmt, inf, ROUNDINGS["nearest_even"], "special") == (
            inf if ref.extended else fmt.max
        )


@pytest.mark.parametrize("variant", ["A", "B", "C"])
@pytest.mark.parametrize("bits", [1, 2, 3])
def test_few_random_bits_decide_as_the_report_says(variant, bits):
    for ref in [ref for ref in NARROW if ref.k <= (5 if bits < 3 else 4)]:
        fmt = hu.format(ref.name)
        values = np.sort(ref.decode(np.arange(2**ref.k)))
        values = values[np.isfinite(values) & (values >= 0)]
        x = np.concatenate([values[:-1] + np.diff(values) * k / 16 for k in range(16)])
        for random in range(2**bits):
            want = ref.quantize(x, f"Stochastic{variant}", "SatNone", bits, random)
            mode = Rounding("stochastic", bits=bits, variant=variant)
            word = random << (32 - bits)
            got = [float(exact.quantize_exact(fmt, Fraction(v), mode, "special", word)) for v in x]
            assert np.array_equal(got, want), (ref.name, random)


GFLOAT_MODES = {
    "nearest_even": RoundMode.TiesToEven,
    "nearest_away": RoundMode.TiesToAway,
    "toward_zero": RoundMode.TowardZero,
    "up": RoundMode.TowardPositive,
    "down": RoundMode.TowardNegative,
}


def gfloat_format(ref: P3109):
    signedness = Signedness.Signed if ref.signed else Signedness.Unsigned
    return format_info_p3109(ref.k, ref.p, signedness, Domain.Extended if ref.extended else Domain.Finite)


def test_gfloat_agrees_on_signed_formats_in_its_modes():
    """SatFinite everywhere, and SatNone in the extended domain."""
    for ref in NARROW[::3]:
        info = gfloat_format(ref)
        x = inputs(ref, np.arange(2**ref.k))
        x = x[np.isfinite(x) & (x >= (-inf if ref.signed else 0))]
        assert np.array_equal(
            [gfloat.decode_float(info, c).fval for c in range(2**ref.k)],
            ref.decode(np.arange(2**ref.k)),
            equal_nan=True,
        )
        for mode, theirs in GFLOAT_MODES.items():
            for overflow in ("saturate", "special") if ref.extended else ("saturate",):
                got = gfloat.round_ndarray(info, x, theirs, overflow == "saturate")
                want = hu.quantize(x, ref.name, rounding=mode, overflow=overflow)
                assert np.array_equal(got, want), (ref.name, mode, overflow)


def test_gfloat_makes_nan_of_overflow_in_the_finite_domain():
    """The report's SatNone clamps there; gfloat 0.5.2 gives NaN."""
    info = gfloat_format(P3109(8, 4, True, False))
    assert np.isnan(gfloat.round_float(info, 1000.0, RoundMode.TiesToEven, False))
    assert hu.quantize(1000.0, "binary8p4sf", overflow="special") == 240


PYCHOP_MODES = {"up": "toward_positive", "down": "toward_negative"}
PYCHOP_SATURATION = {"saturate": "finite", "propagate": "propagate", "special": "none"}


def by_pychop(ref: P3109, x, mode, overflow):
    fmt = pychop.P3109Format(ref.k, ref.p, ref.signed, "extended" if ref.extended else "finite")
    saturate = PYCHOP_SATURATION[overflow]
    return pychop.p3109_quantize(x, fmt, rounding=PYCHOP_MODES.get(mode, mode), saturate=saturate)


def test_pychop_agrees_where_it_follows_the_report():
    for ref in NARROW[::3]:
        x = inputs(ref, np.arange(2**ref.k))
        for mode in DETERMINISTIC:
            for overflow in SATURATIONS:
                theirs, ours = (
                    by_pychop(ref, x, mode, overflow),
                    hu.quantize(x, ref.name, rounding=mode, overflow=overflow),
                )
                known = np.zeros(x.shape, bool)
                if overflow == "special":  # the three tests below
                    known = (abs(x) > ref.decode(ref.largest)) & (not ref.extended or mode == "to_odd")
                    known |= (x < 0) & (not ref.signed)
                assert np.array_equal(theirs[~known], ours[~known], equal_nan=True), (ref.name, mode, overflow)


def test_pychop_makes_nan_of_overflow_in_the_finite_domain():
    assert np.isnan(by_pychop(P3109(8, 4, True, False), np.array([1000.0]), "nearest_even", "special"))
    assert hu.quantize(1000.0, "binary8p4sf", overflow="special") == 240


def test_pychop_lets_to_odd_overflow():
    """Rounding to odd keeps finite numbers finite here, as rounding toward zero does; Pychop 0.6.2 gives Inf."""
    assert by_pychop(P3109(8, 4, True, True), np.array([1000.0]), "to_odd", "special") == inf
    assert hu.quantize(1000.0, "binary8p4se", rounding="to_odd", overflow="special") == 224


def test_pychop_makes_nan_of_negatives_in_unsigned_formats():
    """They become 0 here, in every saturation mode, as in all unsigned formats."""
    assert np.isnan(by_pychop(P3109(8, 4, False, True), np.array([-3.0]), "nearest_even", "special"))
    assert hu.quantize(-3.0, "binary8p4ue", overflow="special") == 0


def test_vectors():
    assert hu.format("binary8p3se").max == 49152
    assert hu.quantize([250.0, 1e-3, -1e-9], "binary8p4se").tolist() == [224.0, 2.0**-10, 0.0]
    assert hu.encode([inf, -inf, nan], "binary8p4se", overflow="special").tolist() == [0x7F, 0xFF, 0x80]
    assert hu.encode([inf, nan], "binary8p4ue", overflow="special").tolist() == [0xFE, 0xFF]
    assert isinf(hu.format("binary16p1ue").value(0xFFFE))


@pytest.mark.parametrize("name", ["binary2p1se", "binary8p8se", "binary17p3se", "binary8p0se", "binary8p9ue"])
def test_formats_that_are_none(name):
    with pytest.raises(ValueError, match="expected K of 3 to 16 bits and P of 1 to K"):
        hu.format(name)
