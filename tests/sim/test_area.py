"""The gate-level area model: its blocks, and minifloats beside integers."""

import pytest
from halfulp.sim.costs import area
from halfulp.sim.costs.area import CELLS, MacArea, mac_area, minifloat_over_integer

FULL = CELLS["full_adder"]


def test_cells():
    """The ratios that textbooks count in: gate equivalents are thirds of a NAND2 here."""
    thirds = {"nand2": 3, "inv": 2, "and2": 4, "or2": 4, "xor2": 6, "mux2": 7, "half_adder": 10, "full_adder": 16}
    assert {name: pytest.approx(3 * CELLS[name]) for name in thirds} == thirds
    assert CELLS["flip_flop"] == pytest.approx(17 / 3)


def test_blocks():
    assert area.multiplier_area(2, 2) == 4 * CELLS["and2"] + 2 * CELLS["half_adder"]
    assert area.multiplier_area(4, 3) == area.multiplier_area(3, 4)
    assert area.multiplier_area(1, 8) == 8 * CELLS["and2"]
    assert area.shifter_area(8, 7, grows=False) == 3 * 8 * CELLS["mux2"]
    assert area.shifter_area(4, 3, grows=True) == (5 + 7) * CELLS["mux2"]
    assert area.shifter_area(4, 0, grows=True) == 0
    assert area.leading_zeros_area(1) == 0
    pairs = area.leading_zeros_area(4) / (CELLS["and2"] + CELLS["inv"])
    assert pairs == pytest.approx(3 + CELLS["mux2"] / (CELLS["and2"] + CELLS["inv"]))


def test_multiply_accumulate_units():
    int8 = mac_area("int8", "int8", 4608)
    assert int8.add == 30 * FULL
    assert int8.register == 30 * CELLS["flip_flop"]
    assert int8.align == int8.normalize == int8.round == 0
    assert mac_area("e1m6", "e1m6", 4608).multiply == int8.multiply, "one exponent bit is the integer grid"
    fp8 = mac_area("fp8_e4m3", "fp8_e4m3", 4608)
    assert fp8.add == 50 * FULL
    assert fp8.multiply < int8.multiply
    assert fp8.total == sum(fp8)
    assert mac_area("mxfp4", "mxfp4", 4608).add == 14 * FULL, "scales leave the sum after each block"
    floating = mac_area("fp8_e4m3", "fp8_e4m3", accumulator="binary32")
    assert isinstance(floating, MacArea)
    assert min(floating) > 0
    assert mac_area("fp8_e4m3", "int8", 64).total > mac_area("fp8_e4m3", "int4", 64).total
    with pytest.raises(ValueError, match="expected an accumulator such as 'binary32'"):
        mac_area("int8", "int8", accumulator="int32")
    with pytest.raises(ValueError, match="sum of 2 formats"):
        mac_area("bcq2", "int8")


def test_minifloats_beside_integers():
    """The published range is +20 to +180%. The model is below it with 2 exponent bits, and above with 6 and more."""
    low, high = area.PUBLISHED
    shares = {name: share for bits in range(4, 9) for name, share in minifloat_over_integer(bits).items()}
    inside = {name for name, share in shares.items() if low <= share <= high}
    assert inside == {"e3m0", "e3m1", "e4m0", "e4m1", "e5m0", "e4m2", "e5m1", "e4m3", "e5m2"}
    assert {name for name in shares if name.startswith(("e6", "e7"))} == {n for n, s in shares.items() if s > high}
    assert all(-0.05 < share < low for name, share in shares.items() if name.startswith("e2"))
    for bits in range(4, 9):
        rising = list(minifloat_over_integer(bits).values())
        assert rising[1:] == sorted(rising[1:]), "exponent bits cost more than the mantissa bits they replace"
    with pytest.raises(ValueError, match="3 to 16 bits"):
        minifloat_over_integer(2)


def test_floating_accumulators_cost_more_where_formats_are_narrow():
    assert min(minifloat_over_integer(8, accumulator="binary32").values()) > 1
