"""Integer and codebook formats."""

from fractions import Fraction

import pytest
from halfulp.formats.codebooks import CodebookFormat, power_of_two
from halfulp.formats.integers import IntFormat
from halfulp.formats.registry import NAMED
from halfulp.formats.registry import plain_format as named


def values(fmt):
    return [float(fmt.value(code)) for code in range(1 << fmt.bits)]


def test_integers():
    assert values(named("int3")) == [0, 1, 2, 3, -4, -3, -2, -1]
    assert values(named("uint2")) == [0, 1, 2, 3]
    assert values(named("int2_midrise")) == [0.5, 1.5, -1.5, -0.5]
    assert values(named("int3@-1")) == [0, 0.5, 1, 1.5, -2, -1.5, -1, -0.5]
    narrow = named("int3_narrow")
    assert (narrow.min, narrow.max) == (-3, 3)
    assert narrow.value(4) != narrow.value(4)  # the dropped code has no value
    assert (named("int8").min, named("int8").max, named("uint8").max) == (-128, 127, 255)
    assert named("int8@-6").max == Fraction(127, 64)  # MXINT8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 0}, "expected 1 to 32 bits, got 0"),
        ({"bits": 17, "mid_rise": True}, "expected 1 to 16 bits, got 17"),
        ({"bits": 4, "narrow": True, "signed": False}, "narrow drops the most negative code of a signed"),
        ({"bits": 1, "narrow": True}, "a narrow 1-bit integer holds only zero"),
        ({"bits": 4, "exponent": 2000}, "expected an exponent from -1000 to 1000"),
    ],
)
def test_integers_that_contradict_themselves(options, message):
    with pytest.raises(ValueError, match=message):
        IntFormat("mine", **options)


def test_codebooks():
    assert NAMED["ternary"].codes == (3, 0, 1)
    assert NAMED["binary"].values == (-1.0, 1.0)
    assert len(NAMED["nf4"].values) == 16
    assert NAMED["nf4"].values[7] == 0
    assert sorted(values(power_of_two(3))[1:4]) == [0.25, 0.5, 1]
    assert values(named("pow2_3"))[5:] == [-0.25, -0.5, -1]
    assert values(named("pow2_3"))[4] != values(named("pow2_3"))[4]  # no -0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": (1.0,)}, "expected two or more finite values"),
        ({"values": (1.0, float("nan"))}, "expected two or more finite values"),
        ({"values": (1.0, 0.5)}, r"expected ascending values without repeats; pass sorted\(set\(values\)\)"),
        ({"values": (0.0, -0.0)}, "expected ascending values"),
        ({"values": (0.0, 1.0), "codes": (1, 1)}, "expected 2 different codes, got 1"),
        ({"values": (0.0, 1.0), "codes": (0, 4), "bits": 2}, "expected codes of at most 2 bits, got 0x4"),
        ({"values": (0.0, 1.0), "codes": (0, 2)}, "neighbouring codes must alternate in parity; use ties='lower'"),
        ({"values": (0.0, 1.0), "ties": "up"}, "expected ties 'even', 'lower' or 'away', got 'up'"),
    ],
)
def test_codebooks_that_contradict_themselves(options, message):
    with pytest.raises(ValueError, match=message):
        CodebookFormat("mine", **options)


def test_power_of_two_sizes():
    with pytest.raises(ValueError, match="pow2 formats have 2 to 8 bits, got 9"):
        named("pow2_9")
