"""The definition itself, against hardware casts and against what the roundings mean."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from halfulp.formats import exact
from halfulp.formats.registry import NAMED
from halfulp.formats.registry import plain_format as named
from halfulp.formats.rounding import DETERMINISTIC, ROUNDINGS, Rounding, rounding, stochastic
from hypothesis import given, settings
from hypothesis import strategies as st

from ..support.cases import NARROW

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
FORMATS = st.sampled_from(
    [
        "fp8_e4m3",
        "fp8_e5m2fnuz",
        "fp4_e2m1",
        "fp4_e3m0",
        "e4m3_nosub",
        "int6",
        "int4_midrise",
        "nf4",
        "ternary",
        "ue4m3",
    ]
)
NEAREST = ROUNDINGS["nearest_even"]


@settings(max_examples=400)
@given(FINITE)
def test_binary32_and_binary16_are_what_the_processor_does(x):
    with np.errstate(over="ignore"):
        single, half = np.float32(x), np.float16(x)
    assert float(exact.quantize_exact(NAMED["binary32"], x, NEAREST)) == float(single)
    assert float(exact.quantize_exact(NAMED["binary16"], x, NEAREST)) == float(half)


@given(FORMATS, st.fractions(-600, 600))
def test_directed_modes_bracket_and_nearest_picks_the_nearer(name, x):
    fmt = named(name)
    down, up, zero, away = (
        exact.round_exact(fmt, x, ROUNDINGS[mode]) for mode in ("down", "up", "toward_zero", "away")
    )
    inside = fmt.min <= x <= fmt.max
    if inside:
        assert down <= x <= up
        assert {zero, away} <= {down, up}
    if zero != away and abs(zero) != abs(away):
        assert abs(zero) < abs(away)
    for mode in ("nearest_even", "nearest_away", "nearest_zero"):
        nearest = exact.round_exact(fmt, x, ROUNDINGS[mode])
        assert nearest in (down, up)
        assert abs(nearest - x) == min(abs(down - x), abs(up - x))


@given(FORMATS, st.fractions(-600, 600), st.fractions(-600, 600))
def test_every_mode_is_monotone_and_idempotent(name, x, y):
    fmt = named(name)
    low, high = min(x, y), max(x, y)
    for mode in DETERMINISTIC:
        a, b = (exact.quantize_exact(fmt, v, mode, "saturate") for v in (low, high))
        assert a <= b
        assert exact.quantize_exact(fmt, Fraction(a), mode, "saturate") == a


@given(st.sampled_from(["fp8_e4m3", "fp6_e2m3", "binary16"]), FINITE)
def test_sign_symmetry(name, x):
    fmt = NAMED[name]
    mirrored = {"up": "down", "down": "up"}
    for mode in DETERMINISTIC:
        a = exact.quantize_exact(fmt, x, mode)
        b = exact.quantize_exact(fmt, -x, ROUNDINGS[mirrored.get(mode.name, mode.name)])
        assert a == -b


@given(st.fractions(-100, 100))
def test_to_odd_survives_a_second_rounding(x):
    """Rounded to odd with two more bits, then to nearest even: the same as at once (Boldo and Melquiond 2008)."""
    wide, narrow = named("e8m7"), named("e6m5b31")
    odd = exact.round_exact(wide, x, ROUNDINGS["to_odd"])
    at_once = exact.round_exact(narrow, x, NEAREST)
    if abs(x) > Fraction(1, 1 << 20):
        assert exact.round_exact(narrow, odd, NEAREST) == at_once


def test_ties_of_formats_without_mantissa_go_to_the_even_code():
    """E3M0: codes 1, 2, 3, ... are 1/4, 1/2, 1, ...; P3109 takes the even one for P = 1."""
    fmt = NAMED["fp4_e3m0"]
    assert exact.round_exact(fmt, Fraction(3, 8), NEAREST) == Fraction(1, 2)  # codes 1 and 2
    assert exact.round_exact(fmt, Fraction(3, 4), NEAREST) == Fraction(1, 2)  # codes 2 and 3
    assert exact.round_exact(fmt, Fraction(1, 8), NEAREST) == 0


TIES_TO_EVEN = [name for name in NARROW if getattr(named(name), "ties", "even") == "even" and name != "hifloat8"]


@pytest.mark.parametrize("name", [*TIES_TO_EVEN, "ue6m2b48fn_nozero", "ue3m2_nozero", "posit10", "takum9", "lns9f4"])
def test_ties_go_to_the_even_code(name):
    """By the codes alone, whatever the definition takes for even."""
    fmt = named(name)
    values = exact.numbers(fmt)
    ties = exact.listing(fmt).ties if exact.is_listed(fmt) else [(a + b) / 2 for a, b in pairwise(values)]
    for tie in ties:
        if tie in values:  # posits and takums have no tie next to zero
            continue
        code = exact.encode_exact(fmt, exact.quantize_exact(fmt, tie, ROUNDINGS["nearest_even"]))
        assert code % 2 == 0, (float(tie), hex(code))


def test_encode_is_the_inverse_of_value():
    for name in ("fp8_e4m3", "fp8_e5m2fnuz", "e8m0", "int5", "uint3_midrise", "nf4", "pow2_4"):
        fmt = named(name)
        for code in range(1 << fmt.bits):
            value = fmt.value(code)
            if value == value:
                assert exact.encode_exact(fmt, value) == code
    with pytest.raises(ValueError, match="int5 has no code for nan"):
        exact.encode_exact(named("int5"), float("nan"))


def test_staircases_are_constant_between_their_points():
    for name in ("fp4_e2m1", "int4", "ternary", "e2m1_nosub", "ue3m2"):
        fmt = named(name)
        for mode in DETERMINISTIC:
            stairs = exact.staircase(fmt, mode, "saturate")
            for a, b, between in zip(stairs.points, stairs.points[1:], stairs.between[1:]):
                for part in (Fraction(1, 1000), Fraction(1, 3), Fraction(999, 1000)):
                    assert exact.quantize_exact(fmt, a + (b - a) * part, mode, "saturate") == between


def test_values_beyond_float64_are_exact():
    fmt = named("e13m2")
    assert exact.quantize_exact(fmt, Fraction(2) ** 3000 * Fraction(9, 8), NEAREST) == Fraction(2) ** 3000


def test_rounding_names():
    assert rounding("rne") is NEAREST
    assert rounding("stochastic:8B") == stochastic(8, "B")
    assert rounding(stochastic(8, "B").spec) == stochastic(8, "B")
    for name, mode in ROUNDINGS.items():
        assert rounding(name) is mode
        assert rounding(mode) is mode
        assert mode.spec == name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stochastic(31), "expected 1 to 30 random bits, got 31"),
        (lambda: stochastic(0), "expected 1 to 30 random bits, got 0"),
        (lambda: stochastic(variant="B"), "variant 'B' needs a number of random bits"),
        (lambda: stochastic(4, "D"), "expected variant 'A', 'B' or 'C', got 'D'"),
        (lambda: Rounding("up", NEAREST.increment, bits=3), "rounding 'up' takes no bits"),
        (lambda: rounding("rtn"), "unknown rounding 'rtn'; did you mean 'rtz'"),
    ],
)
def test_bad_roundings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
