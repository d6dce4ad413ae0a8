"""Every backend equals the rational reference, for every rounding, overflow and dtype."""

import numpy as np
import pytest
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.formats import exact
from halfulp.formats.floats import SPECIALS, FloatFormat
from halfulp.formats.integers import IntFormat
from halfulp.formats.listing import is_listed
from halfulp.formats.registry import NAMED
from halfulp.formats.registry import plain_format as named
from halfulp.formats.rounding import DETERMINISTIC, ROUNDINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from ..support.backends import BACKENDS
from ..support.cases import (
    MODES,
    NARROW,
    SIGNED,
    WIDE,
    bits_of,
    both_sides,
    evaluate,
    expected,
    explain,
    layouts_for,
    stratified,
    value_of,
    with_signs,
)

FLOAT32 = LAYOUTS["float32"]
PARSED = ["int8_narrow", "int4_midrise", "uint3_midrise", "int6@-3", "e3m2b9", "e4m3_nosub", "e3m0_nosub", "ue3m2",
          "e0m4", "e1m0", "e2m0fnuz", "e5m3b18", "e4m2b-2fn", "ue5m0_nozero", "int1", "uint1", "pow2_2", "ue6m2b48fn_nozero", "posit6es1", "takum_log7", "lns6f2", "e1m2b1", "codebook(3,lower,-0x1p+1:0,-0x1.999999999999ap-4:3,0x0p+0:1,0x1.8p+4:2)", "binary6p1uf", "binary7p3se"]  # fmt: skip


def check(fmt, layout, bits, want, backends=BACKENDS, **options):
    for backend in backends:
        got = BACKENDS[backend](bits, fmt, layout, **options)
        assert np.array_equal(got, want), (backend, layout.name, options, explain(bits, got, want, layout))


@pytest.mark.parametrize("name", [*NARROW, *PARSED])
def test_every_code_and_both_sides_of_every_breakpoint(name):
    fmt = named(name)
    for layout in layouts_for(fmt):
        bits = both_sides(fmt, layout)
        for mode in DETERMINISTIC:
            check(fmt, layout, bits, expected(fmt, layout, mode, None, bits), rounding=mode)


@pytest.mark.parametrize("overflow", ["saturate", "propagate", "special"])
@pytest.mark.parametrize(
    "name",
    [
        "binary16",
        "fp8_e4m3",
        "fp8_e5m2",
        "fp8_e4m3fnuz",
        "fp4_e2m1",
        "e8m0",
        "ue4m3",
        "int4",
        "uint4",
        "hifloat8",
        "binary8p3se",
        "binary8p4sf",
        "binary6p3ue",
        "binary6p3uf",
    ],
)
def test_overflow(name, overflow):
    fmt = named(name)
    for layout in (FLOAT32, LAYOUTS["float64"]):
        bits = ends_and_beyond(fmt, layout)
        for mode in DETERMINISTIC:
            want = evaluate(fmt, layout, mode, overflow, bits)
            check(fmt, layout, bits, want, rounding=mode, overflow=overflow)


def ends_and_beyond(fmt, layout):
    """Numbers around the largest value, the next ones on the unbounded grid, and the dtype's own ends."""
    largest = layout.floor(fmt.max)
    if isinstance(fmt, FloatFormat):
        beyond = exact.float_gap(fmt, fmt.max).above
    else:
        beyond = getattr(fmt, "beyond", None) or fmt.max + 1
    gap = layout.floor(beyond) - largest
    around = {largest + gap * k // 4 + d for k in range(9) for d in (-1, 0, 1)}
    around |= {layout.infinity, layout.infinity - 1, layout.nan, 0, 1, layout.floor(fmt.max * 1000)}
    return with_signs(sorted(b for b in around if b <= layout.nan), layout)


@pytest.mark.parametrize("name", ["int4", "uint4", "int8@-4", "int1", "int16"])
def test_wrap(name):
    fmt = named(name)
    for layout in layouts_for(fmt):
        bits = np.concatenate(
            [
                stratified(layout, 256),
                with_signs(range(layout.floor(1), layout.floor(300), 1 + layout.floor(300) // 999), layout),
            ]
        )
        for mode in ("nearest_even", "down"):
            want = evaluate(fmt, layout, ROUNDINGS[mode], "wrap", bits)
            check(fmt, layout, bits, want, rounding=mode, overflow="wrap")


@pytest.mark.parametrize("name", [name for name in WIDE if not is_listed(NAMED[name])])  # those: test_tapered
def test_wide_formats_at_stratified_points(name):
    """2**16 points a format, dealt out over its dtypes and the roundings."""
    fmt = NAMED[name]
    layouts = layouts_for(fmt)
    share = (1 << 16) // (len(layouts) * len(MODES))
    for layout in layouts:
        for k, mode in enumerate(DETERMINISTIC):
            bits = stratified(layout, share, seed=k)
            check(fmt, layout, bits, evaluate(fmt, layout, mode, None, bits), rounding=mode)


@st.composite
def minifloats(draw):
    """Any ExMy that float32 or float64 holds, with any bias, specials, sign and subnormals."""
    e, m = draw(st.integers(0, 8)), draw(st.integers(0, 12))
    specials = draw(st.sampled_from(sorted(SPECIALS)))
    signed = draw(st.booleans()) or SPECIALS[specials].nan == "negative_zero"
    try:
        return FloatFormat(
            "drawn", e, m, draw(st.integers(-40, 160)), SPECIALS[specials], signed, e == 0 or draw(st.booleans())
        )
    except ValueError:
        return FloatFormat("drawn", max(e, 1), max(m, 1), 3, SPECIALS["none"])


@settings(deadline=None, max_examples=150)
@given(
    fmt=minifloats(),
    mode=st.sampled_from(MODES),
    overflow=st.sampled_from([None, "saturate", "special", "propagate"]),
    data=st.data(),
)
def test_any_minifloat(fmt, mode, overflow, data):
    layout = data.draw(st.sampled_from([x for x in LAYOUTS.values() if fits(fmt, x)] or [None]))
    if layout is None:
        return
    near = layout.floor(fmt.magnitude(data.draw(st.integers(0, fmt.max_code))))
    magnitudes = {max(near + d, 0) for d in range(-2, 3)} | {layout.floor(fmt.min_positive / 2), layout.infinity}
    magnitudes |= set(data.draw(st.lists(st.integers(0, layout.nan), min_size=1, max_size=20)))
    bits = with_signs(sorted(magnitudes), layout)
    want = evaluate(fmt, layout, ROUNDINGS[mode], overflow, bits)
    check(fmt, layout, bits, want, rounding=mode, overflow=overflow)


@pytest.mark.parametrize("bits", range(3, 11))
def test_e1m_is_the_symmetric_integer_with_the_same_step(bits):
    """E1M(b-2) with bias 0 has steps of 2**(3-b): a symmetric INTb scaled by that, codes aside."""
    fmt, integer = named(f"e1m{bits - 2}"), IntFormat("i", bits, narrow=True, exponent=3 - bits)
    assert set(exact.numbers(fmt)) == set(exact.numbers(integer))
    patterns = both_sides(fmt, FLOAT32)
    for mode in DETERMINISTIC:
        a = BACKENDS["numpy"](patterns, fmt, FLOAT32, rounding=mode).view(np.float32)
        b = BACKENDS["numpy"](patterns, integer, FLOAT32, rounding=mode).view(np.float32)
        assert np.array_equal(a, b, equal_nan=True), mode.name  # -0 == 0: only the float has it


def test_signed_bits_are_what_the_helpers_say():
    assert SIGNED[32] is np.int32
    assert value_of(-0x80000000, FLOAT32) == 0
    assert bits_of(-0.0, FLOAT32) == -0x80000000
