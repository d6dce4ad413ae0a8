"""Scaled formats as data: names, specs that parse back, granularities, rules, bits, and what is refused."""

from dataclasses import replace
from fractions import Fraction

import halfulp as hu
import pytest
from halfulp.formats.blocks import Blocks, blocks
from halfulp.formats.catalogue import COMPLEX
from halfulp.formats.residual import RESIDUAL
from halfulp.formats.scaled import FITS, Outer, Rule, ScaledFormat, rule
from halfulp.formats.scaled_registry import SCALED, SCALED_ALIASES


@pytest.mark.parametrize("name", [*SCALED, *COMPLEX])
def test_specs_parse_back(name):
    fmt = hu.format(name)
    again = hu.format(fmt.spec)
    assert again == fmt
    assert again.name == fmt.name
    assert hu.format(fmt) is fmt
    assert hu.format(f" {name.upper().replace('_', '-')} ") == fmt
    assert fmt.source


def test_aliases():
    for alias, name in SCALED_ALIASES.items():
        assert hu.format(alias) is SCALED[name]
    assert hu.format("ifairy") is hu.format("phase")


WRITTEN = [
    hu.scaled("fp4_e2m1", scale="ue5m3", block=16, rule="rceil"),
    hu.scaled("fp4_e2m1", scale="ue5m3", block=16, rule="percentile:99.5+ceil"),
    hu.scaled("e3m2b5", scale="e8m0", block="16x16", axis=(0, 1), rule="even+mse"),
    hu.scaled("int4_narrow", block="channel@1", rule="static:2.5", target="9/2", encode="reciprocal"),
    hu.scaled("nf4", scale="uint8", block="flat64", outer="binary16", outer_block="flat256"),
    hu.scaled("fp4_e2m1", scale="ue4m3", block=16, outer=Outer(target=Fraction(256)), rule="mse:1/1.5"),
    hu.scaled("uint4", block=32, zero_point=True),
    hu.scaled(hu.CodebookFormat("mine", (-1.0, 0.25, 3.0)), block=8, rounding="nearest_away", epsilon=1e-5),
    hu.format("e3m2_per_row"),
    hu.format("bfp6"),
]


@pytest.mark.parametrize("fmt", WRITTEN, ids=lambda fmt: fmt.name)
def test_written_down_formats_have_names_that_parse(fmt):
    assert hu.format(fmt.name) == fmt
    assert hu.format(fmt.spec) == fmt
    assert hu.format(fmt.spec).spec == fmt.spec


def test_equal_formats_take_the_name_of_the_row():
    assert hu.scaled("fp4_e2m1", scale="e8m0", block=32).name == "mxfp4"
    assert hu.scaled("int8_narrow", block="token").name == "int8_per_row"
    assert hu.format("mxfp4").along(0).name == "scaled(e2m1,scale=ue8m0fn_nozero,block=32@0,rule=floor)"
    assert hu.format("mxfp4").along(-1) is hu.format("mxfp4")


def test_named_rows_say_what_the_papers_say():
    table = hu.list_scaled_formats()
    assert list(table.index) == [*SCALED, *COMPLEX, *RESIDUAL]
    assert not table["source"].isna().any()
    bits = table["bits_per_element"]
    assert (bits["mxfp4"], bits["mxfp8_e4m3"], bits["nvfp4"], bits["hif4"], bits["bitnet"]) == (4.25, 8.25, 4.5, 4.5, 2)
    assert round(bits["nf4_dq"], 5) == 4.12695
    assert bits["nvfp4_2d"] == 4 + 8 / 256
    assert (table["outer"]["nvfp4"], table["rule"]["nvfp4"]) == ("binary32 per tensor", "nvidia")


def test_bits_of_a_shape_count_every_scale():
    assert hu.format("nvfp4").bits_per_element((4, 64)) == (256 * 4 + 16 * 8 + 32) / 256
    assert hu.format("mxfp4").bits_per_element((3, 33)) == (99 * 4 + 6 * 8) / 99
    assert hu.format("int8_per_row_asym").bits_per_element((2, 10)) == (20 * 8 + 2 * 40) / 20
    assert hu.format("hif4").bits_per_element((64,)) == (256 + 8 + 8 + 16) / 64
    assert hu.format("nf4_dq").bits_per_element((128, 128)) == 4 + 8 / 64 + 32 / 16384
    assert hu.format("mxfp4").bits_per_element((0, 32)) == 4


def test_granularities():
    shape = (4, 6, 32)
    grids = {"tensor": (1, 1, 1), "row": (4, 6, 1), "token": (4, 6, 1), "column": (4, 1, 32), "channel": (4, 1, 1),
             "channel@-1": (1, 1, 32), "channel@0:1": (4, 6, 1), 16: (4, 6, 2), "16@0": (1, 6, 32), "2x5": (4, 3, 7),
             (3, 8): (4, 2, 4), "flat64": (12,), "0@1": (4, 1, 32), "7": (4, 6, 5)}  # fmt: skip
    for given, grid in grids.items():
        found = blocks(given)
        assert found.grid(shape) == grid, given
        assert blocks(found.spec) == found
        assert blocks(found) is found
    assert blocks(16, axis=0) == blocks("16@0")
    assert blocks((2, 4), axis=(0, 1)).extents((8, 8, 8)) == (2, 4, 1)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("blocks", ValueError, "unknown granularity 'blocks'; expected tensor, row, token, column, channel, a size"),
        (0, ValueError, r"expected block sizes of 1 or more, got \(0,\); a whole axis is 'row', all is 'tensor'"),
        (-3, ValueError, "expected block sizes of 1 or more"),
        ((), ValueError, "expected block sizes of 1 or more"),
        (1.5, TypeError, "expected a block size, a tuple of sizes or a name such as 'row', got 1.5"),
        (True, TypeError, "expected a block size"),
        ("4x4@0", ValueError, r"expected a block size for each axis, got sizes \(4, 4\) for axes \(0,\)"),
        ("4x4@0:0", ValueError, r"expected different axes, got \(0, 0\)"),
        ("flat0", ValueError, "flat blocks have one size and no axes"),
    ],
)
def test_bad_granularities(given, error, message):
    with pytest.raises(error, match=message):
        blocks(given)


def test_blocks_that_contradict_themselves():
    with pytest.raises(ValueError, match="where the other axes are whole, each listed axis has size 1"):
        Blocks((4,), (0,), 0)
    with pytest.raises(ValueError, match=r"blocks of row have 1 axes, got axis=\(0, 1\)"):
        blocks("row", axis=(0, 1))
    with pytest.raises(ValueError, match=r"blocks of 16@3 need axis 3, got an array of shape \(2, 2\)"):
        blocks("16@3").grid((2, 2))


def test_rules():
    assert rule("floor") == rule("ocp") == Rule("floor") == rule("absmax+floor")
    assert rule("mean", power_of_two=True) == Rule("floor", "mean") == rule("absmean+floor")
    assert rule("percentile:99.9+rceil") == Rule("rceil", "percentile", 99.9)
    assert rule("mse:3").search == (1.0, 0.99, 0.98)
    assert len(rule("mse").search) == 80
    assert rule("mse", power_of_two=True).search == (1.0, 2.0, 0.5)
    assert rule("nearest+mse:1/1.5").search == (1.0, 1.5)
    for fit in FITS:
        for other in (Rule(fit), Rule(fit, "static", 3.0), Rule(fit, "mean", search=(1.0, 0.25))):
            assert rule(other.spec) == other


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("flor", "unknown rule 'flor'; did you mean 'floor'"),
        ("nearest_log2:mean", "fit 'nearest_log2' takes no ':'.*'mean\\+nearest_log2'"),
        ("floor+ceil", "rule 'floor\\+ceil' names two fits, 'floor' and 'ceil'; keep one"),
        ("static", "statistic 'static' takes a number, as in 'static:2.5' and 'mean'"),
        ("mean:3", "statistic 'mean' takes no number"),
        ("static:x", "expected a number after ':' in 'static:x', e.g. 'percentile:99.9'"),
        ("percentile:101", "expected a percentile above 0 and up to 100, got 101.0"),
        ("static:-1", "expected a static number that is positive and finite, got -1.0"),
        ("static:inf", "expected a static number that is positive and finite"),
        ("mse:500", "expected 1 to 99 scales to search over, got 500"),
        ("mse:1/0", "expected positive factors to search over"),
    ],
)
def test_bad_rules(given, message):
    with pytest.raises(ValueError, match=message):
        rule(given)
    with pytest.raises(ValueError, match="unknown fit 'down'"):
        Rule("down")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": hu.format("nf4")}, "a scale is a float or integer format, got nf4"),
        ({"scale": hu.format("int4_midrise")}, "a scale is a float or integer format"),
        ({"target": Fraction(-1)}, "expected a positive target, got -1"),
        ({"encode": "multiply"}, "unknown encode 'multiply'"),
        ({"order": "amd"}, "unknown order 'amd'; known: plain, nvidia, hif4"),
        ({"epsilon": -1.0}, "expected epsilon >= 0, got -1.0"),
        ({"rounding": "neerest_even"}, "unknown rounding 'neerest_even'; did you mean"),
        ({"zero_point": True}, "a zero point needs an unsigned integer element, e.g. uint8"),
        ({"element": hu.format("uint4"), "zero_point": True, "rule": Rule("ceil")}, "a zero point goes with rule 'nearest'"),
        ({"element": hu.format("nf4"), "rule": Rule("even")}, "the rule 'even' needs the mantissa bits of a grid"),
        ({"order": "nvidia"}, "the order 'nvidia' needs an outer scale of the whole tensor"),
        ({"micro": (8, 4)}, "micro exponents go with the order 'hif4'"),
        ({"order": "hif4", "micro": (7,)}, "each sub-block divides the one around it"),
    ],
)  # fmt: skip
def test_pieces_that_do_not_go_together(change, message):
    start = ScaledFormat("mine", hu.format("fp4_e2m1"), blocks=blocks(32))
    with pytest.raises(ValueError, match=message):
        replace(start, **change)


def test_other_bad_names():
    with pytest.raises(ValueError, match="expected a positive target of the outer scale, got 0"):
        Outer(target=Fraction(0))
    with pytest.raises(ValueError, match="bfp formats have 2 to 16 bits, got 17"):
        hu.format("bfp17")
    with pytest.raises(ValueError, match="asymmetric scaling needs integers, got fp8_e4m3; leave _asym out"):
        hu.format("fp8_e4m3_per_row_asym")
    with pytest.raises(ValueError, match="unknown format 'fp9_e4m3'"):
        hu.format("fp9_e4m3_per_row")
    with pytest.raises(ValueError, match="unknown format 'e8n0'; did you mean 'e8m0'"):
        hu.scaled("fp4_e2m1", scale="e8n0")
    with pytest.raises(TypeError, match="mxfp4: only minifloats take bias"):
        hu.format("mxfp4", bias=3)
    with pytest.raises(ValueError, match="expected 1 to 8 stages, got 9"):
        hu.format("phase(9,tensor)")
    with pytest.raises(TypeError, match="expected a format name or a format, got int"):
        hu.format(8)


def test_what_follows_from_a_format():
    assert hu.format("mxfp4").power_of_two_scales
    assert hu.scaled("fp4_e2m1", scale="ue5m0", block=16, rule="nearest").power_of_two_scales
    for name in ("nvfp4", "int8_per_row", "int8_per_row_asym", "bitnet"):
        assert not hu.format(name).power_of_two_scales
    assert not hu.scaled("int4", rule="static:3").dynamic
    assert hu.format("four_over_six").scale_target == 256
    assert hu.format("nvfp4").scale_target == 448
    assert hu.format("int4_per_row_asym").goal == 15
    assert hu.format("int8_per_row").goal == 127
