"""A format at a glance."""

import halfulp as hu
import pytest
from halfulp.formats.show import fact_lines, number_line, text_line


def test_text_line():
    line, ends = text_line(hu.format("int3"), width=29).split("\n")
    assert line == "|   |   |   |   |   |   |   |".replace("   ", "   ")
    assert ends == "-4              0           3"
    assert text_line(hu.format("fp8_e4m3")).count("#") > 5


def test_lines_of_formats_without_zero_or_with_too_many_values():
    assert text_line(hu.format("e8m0")).startswith("#")
    with pytest.raises(ValueError, match=r"binary16 has 2\*\*16 codes, more than a number line shows"):
        text_line(hu.format("binary16"))


def test_facts_for_people():
    facts = dict(fact_lines(hu.format("fp8_e4m3")))
    assert facts["spec"] == "e4m3fn"
    assert facts["max"] == "448"
    assert facts["dynamic range"] == "107.211 dB"
    assert "min normal" not in dict(fact_lines(hu.format("int4")))


@pytest.mark.parametrize("name", ["fp4_e2m1", "int4", "nf4", "e8m0", "binary", "int1"])
def test_number_lines_draw(name, tmp_path):
    figure = number_line(hu.format(name))
    figure.savefig(tmp_path / "line.png")
    assert (tmp_path / "line.png").stat().st_size > 5000
    assert name in figure.get_suptitle()
