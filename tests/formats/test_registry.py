"""Names: rows, aliases, parsed layouts, suggestions, and the table of all."""

import halfulp as hu
import pandas
import pytest
from halfulp.formats.floats import SPECIALS
from halfulp.formats.registry import ALIASES, NAMED
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("fp16", "binary16"), ("half", "binary16"), ("bf16", "bfloat16"), ("float8_e4m3fn", "fp8_e4m3"), ("q43", "fp8_e4m3_ieee"),
        ("q52", "fp8_e5m2"), ("e2m1", "fp4_e2m1"), ("E2M1", "fp4_e2m1"), (" fp8-e4m3 ", "fp8_e4m3"), ("e4m3fn", "fp8_e4m3"),
        ("e4m3b11fnuz", "fp8_e4m3b11fnuz"), ("e5m10ieee", "binary16"), ("e8m7ieee", "bfloat16"), ("single", "binary32"),
        ("float8_e8m0fnu", "e8m0"), ("e3m2", "fp6_e3m2"), ("tf32", "tf32"), ("uint8", "uint8"), ("normalfloat4", "nf4"),
    ],
)  # fmt: skip
def test_aliases(typed, name):
    assert hu.format(typed).name == name


def test_bare_layouts_spend_no_code_on_specials():
    for e in range(1, 6):
        for m in range(5):
            fmt = hu.format(f"e{e}m{m}")
            assert (fmt.exponent_bits, fmt.mantissa_bits, fmt.bits) == (e, m, 1 + e + m)
            assert (fmt.nan_code, fmt.infinity_code) == (None, None)
    assert hu.format("e4m3").max == 480


def test_options():
    assert hu.format("e4m3", specials="fn") is NAMED["fp8_e4m3"]
    assert hu.format("e4m3", bias=11, specials="fnuz") is NAMED["fp8_e4m3b11fnuz"]
    custom = hu.format("fp8_e5m2", subnormals=False)
    assert (custom.name, custom.subnormals) == ("e5m2ieee_nosub", False)
    assert hu.format("e3m2", signed=False).name == "ue3m2"
    assert hu.format(custom) is custom


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("fp8_e4m3fm", "unknown format 'fp8_e4m3fm'; did you mean 'fp8_e4m3"),
        ("bfloat", "did you mean 'bfloat16'"),
        ("zzz", "unknown format 'zzz'; known: binary32, fp24"),
        ("", "unknown format ''"),
        ("e3", "unknown format 'e3'"),
        ("e0m0", "expected 0 to 16 exponent"),
        ("int99", "expected 1 to 32 bits, got 99"),
    ],
)
def test_unknown_names(typed, message):
    with pytest.raises(ValueError, match=message):
        hu.format(typed)


def test_options_that_do_not_apply():
    with pytest.raises(TypeError, match="int8: only minifloats take bias"):
        hu.format("int8", bias=3)
    with pytest.raises(ValueError, match="unknown specials 'ocp'; known: ieee, fn, fnuz, none"):
        hu.format("e3m2", specials="ocp")
    with pytest.raises(TypeError, match="expected a format name or a format, got NoneType"):
        hu.format(None)


@st.composite
def names(draw):
    kind = draw(st.sampled_from(["float", "int"]))
    if kind == "int":
        tail = draw(st.sampled_from(["", "_narrow", "_midrise"]))
        unsigned = "" if tail == "_narrow" else draw(st.sampled_from(["", "u"]))
        return f"{unsigned}int{draw(st.integers(2, 16))}{tail}" + draw(st.sampled_from(["", "@-7", "@3"]))
    e, m = draw(st.integers(1, 8)), draw(st.integers(1, 10))
    bias = draw(st.sampled_from(["", "b3", "b-5", "b200"]))
    return f"e{e}m{m}{bias}{draw(st.sampled_from(['', 'fn', 'fnuz', 'ieee']))}" + draw(st.sampled_from(["", "_nosub"]))


@given(names())
def test_every_spec_parses_back(name):
    try:
        fmt = hu.format(name)
    except ValueError:  # a layout whose specials leave no value
        return
    assert hu.format(fmt.spec) == fmt
    assert hu.format(fmt.name) == fmt


def test_specs_of_rows_and_tables():
    for fmt in NAMED.values():
        assert hu.format(fmt.spec) == fmt
    mine = hu.CodebookFormat("mine", (-0.1, 0.3, 7.0), ties="lower")
    assert hu.format(mine.spec) == mine
    assert SPECIALS["none"].name == ""


def test_aliases_name_rows_and_shadow_none():
    assert set(ALIASES.values()) <= set(NAMED)
    assert not set(ALIASES) & set(NAMED)


def test_list_formats():
    table = hu.list_formats()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == [
        "bits",
        "max",
        "min_normal",
        "min_subnormal",
        "unit_roundoff",
        "dynamic_range_db",
        "specials",
        "source",
    ]
    assert set(table.index) == set(NAMED)
    row = table.loc["fp8_e4m3"]
    assert (row["bits"], row["max"], row["min_normal"], row["min_subnormal"], row["unit_roundoff"]) == (
        8,
        448,
        2**-6,
        2**-9,
        2**-4,
    )
    assert abs(row["dynamic_range_db"] - 107.21) < 0.01  # 20 log10(448 / 2**-9)
    assert row["specials"] == "NaN -0"
    assert table.loc["e8m0", "specials"] == "NaN no zero"
    assert table.loc["binary16", "specials"] == "Inf NaN -0"


def test_formats_beyond_float64_still_have_facts():
    from halfulp.formats.catalogue import facts

    wide = facts(hu.format("e13m2"))
    assert wide["max"] == float("inf")
    assert 49000 < wide["dynamic_range_db"] < 50000
