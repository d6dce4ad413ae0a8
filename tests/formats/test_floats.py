"""Float formats: the published facts, the codes, and layouts that contradict themselves."""

from fractions import Fraction

import pytest
from halfulp.formats.floats import FLOATS, FN, FNUZ, IEEE, NONE, FloatFormat
from halfulp.formats.registry import NAMED
from halfulp.formats.registry import plain_format as named

TWO = Fraction(2)
#  name               max                      min normal   min subnormal  Inf code  NaN code  -0
FACTS = [
    ("binary16", 65504, TWO**-14, TWO**-24, 0x7C00, 0x7E00, True),
    ("bfloat16", (2 - TWO**-7) * TWO**127, TWO**-126, TWO**-133, 0x7F80, 0x7FC0, True),
    ("tf32", (2 - TWO**-10) * TWO**127, TWO**-126, TWO**-136, 0xFF << 10, 0xFF << 10 | 1 << 9, True),
    ("binary32", (2 - TWO**-23) * TWO**127, TWO**-126, TWO**-149, 0x7F800000, 0x7FC00000, True),
    ("fp24", (2 - TWO**-16) * TWO**63, TWO**-62, TWO**-78, 0x7F << 16, 0x7F << 16 | 1 << 15, True),
    ("fp8_e4m3", 448, TWO**-6, TWO**-9, None, 0x7F, True),
    ("fp8_e5m2", 57344, TWO**-14, TWO**-16, 0x7C, 0x7E, True),
    ("fp8_e4m3fnuz", 240, TWO**-7, TWO**-10, None, 0x80, False),
    ("fp8_e5m2fnuz", 57344, TWO**-15, TWO**-17, None, 0x80, False),
    ("fp8_e4m3b11fnuz", 30, TWO**-10, TWO**-13, None, 0x80, False),
    ("fp8_e4m3_ieee", 240, TWO**-6, TWO**-9, 0x78, 0x7C, True),
    ("fp8_e3m4", Fraction(31, 2), TWO**-2, TWO**-6, 0x70, 0x78, True),
    ("fp6_e3m2", 28, TWO**-2, TWO**-4, None, None, True),
    ("fp6_e2m3", Fraction(15, 2), 1, TWO**-3, None, None, True),
    ("fp4_e2m1", 6, 1, TWO**-1, None, None, True),
    ("fp4_e1m2", Fraction(7, 2), 2, TWO**-1, None, None, True),
    ("fp4_e3m0", 16, TWO**-2, TWO**-2, None, None, True),
    ("e8m0", TWO**127, TWO**-127, TWO**-127, None, 0xFF, False),
    ("ue4m3", 448, TWO**-6, TWO**-9, None, 0x7F, False),
    ("ue5m3", 114688, TWO**-14, TWO**-17, None, 0xFF, False),
    ("binary8p3se", 49152, TWO**-15, TWO**-17, 0x7F, 0x80, False),
    ("binary8p4se", 224, TWO**-7, TWO**-10, 0x7F, 0x80, False),
]


@pytest.mark.parametrize(("name", "largest", "normal", "smallest", "inf", "nan", "minus_zero"), FACTS)
def test_published_facts(name, largest, normal, smallest, inf, nan, minus_zero):
    fmt = NAMED[name]
    assert (fmt.max, fmt.min_normal, fmt.min_positive) == (largest, normal, smallest)
    assert (fmt.infinity_code, fmt.nan_code, fmt.has_negative_zero) == (inf, nan, minus_zero)


def test_every_row_has_facts_and_a_source():
    assert {row[0] for row in FACTS} == {fmt.name for fmt in FLOATS}
    assert all(fmt.source for fmt in NAMED.values())


@pytest.mark.parametrize(
    ("name", "nans"),
    [
        ("binary16", 2046),
        ("bfloat16", 254),
        ("fp8_e4m3", 2),
        ("fp8_e5m2", 6),
        ("fp8_e4m3fnuz", 1),
        ("fp8_e4m3_ieee", 14),
        ("e8m0", 1),
        ("fp4_e2m1", 0),
    ],
)
def test_number_of_nan_codes(name, nans):
    fmt = NAMED[name]
    assert sum((value := fmt.value(code)) != value for code in range(1 << fmt.bits)) == nans


def test_values_of_codes():
    e2m1 = [float(NAMED["fp4_e2m1"].value(code)) for code in range(16)]
    assert e2m1 == [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    assert str(e2m1[8]) == "-0.0"
    assert NAMED["fp8_e5m2"].value(0xFC) == float("-inf")
    assert [float(named("e0m2").value(code)) for code in range(4)] == [0, 0.25, 0.5, 0.75]
    assert NAMED["e8m0"].value(0) == TWO**-127
    assert [float(named("e2m1_nosub").value(code)) for code in range(8)] == [0, 0, 1, 1.5, 2, 3, 4, 6]


def test_codes_are_ascending_in_magnitude():
    for fmt in FLOATS:
        if fmt.bits <= 10:
            magnitudes = [fmt.magnitude(code) for code in range(fmt.max_code + 1)]
            assert magnitudes == sorted(set(magnitudes))


def test_default_biases():
    assert [named(f"e{e}m2").bias for e in range(6)] == [1, 0, 1, 3, 7, 15]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 1, NONE), "expected 0 to 16 exponent and 0 to 30 mantissa bits"),
        ((17, 2, 1, NONE), "got E17M2"),
        ((8, 25, 127, NONE), "at most 32 in all"),
        ((3, 0, 3, IEEE), "IEEE specials need an exponent and a mantissa bit, got E3M0; use fn, fnuz or none"),
        ((0, 3, 1, IEEE), "got E0M3"),
        ((4, 3, 8, FNUZ, False), "fnuz keeps NaN in the code of -0 and needs a sign"),
        ((0, 3, 1, NONE, True, False), "E0 has subnormals only; leave subnormals=True"),
        ((8, 0, 127, FN, True, False, False), "a format without zero is unsigned and has no subnormals"),
        ((1, 0, 0, FN), "the specials leave no finite value but zero"),
    ],
)
def test_layouts_that_contradict_themselves(arguments, message):
    with pytest.raises(ValueError, match=message):
        FloatFormat("mine", *arguments)


def test_codes_out_of_range():
    with pytest.raises(ValueError, match="fp4_e2m1: expected a code of 4 bits, got 0x10"):
        NAMED["fp4_e2m1"].value(16)


def test_names_are_not_identity():
    mine = FloatFormat("mine", 4, 3, 7, FN, source="here")
    assert mine == NAMED["fp8_e4m3"]
    assert hash(mine) == hash(NAMED["fp8_e4m3"])
