"""Conditions on runs, their order, and cells as text."""

import re

import numpy as np
import pandas
import pytest
from halfulp.sim.sweeps.filters import Condition, as_text, filter_runs, parse_condition, sort_runs


@pytest.fixture
def table():
    return pandas.DataFrame(
        {
            "format": ["e4m3", "E5M2", "int8", "none", None],
            "seed": [0, 1, 2, 2**62 + 1, 4],
            "loss": [0.5, np.nan, np.inf, -1e-9, 0.1],
            "diverged": [True, False, None, False, True],
            "mixed": ["2", 2, [1, 2], None, 2.5],
        }
    )


def kept(table, *where):
    return filter_runs(table, where).index.tolist()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a=b", ("a", "=", "b")),
        (" a b <= 1 ", ("a b", "<=", "1")),
        ("a!=", ("a", "!=", "")),
        ("a~x=y", ("a", "~", "x=y")),
        ("a!~*", ("a", "!~", "*")),
        ("a>=-1e-3", ("a", ">=", "-1e-3")),
        ("a=b\nc", ("a", "=", "b\nc")),
    ],
)
def test_conditions_are_parsed(text, parts):
    assert parse_condition(text) == Condition(*parts)


@pytest.mark.parametrize("text", ["", "a", "=1", "a b"])
def test_what_is_no_condition(text):
    with pytest.raises(ValueError, match="expected COLUMN OPERATOR VALUE such as 'test_loss<0.5', got "):
        parse_condition(text)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("format=e4m3", [0]),
        ("format!=e4m3", [1, 2, 3, 4]),
        ("format~e[45]m*", [0, 1]),
        ("format!~e*", [2, 3, 4]),
        ("format~*8", [2]),
        ("format=none", [3]),
        ("format=", [4]),
        ("format!=", [0, 1, 2, 3]),
        ("format>f", [2, 3]),
        ("seed=2", [2]),
        ("seed=2.0", [2]),
        ("seed=4611686018427387905", [3]),  # 2**62 + 1, and not its float64 neighbours
        ("seed=4611686018427387904", []),
        ("seed~4*", [3, 4]),
        ("loss<0.5", [3, 4]),
        ("loss<=5e-1", [0, 3, 4]),
        ("loss>0", [0, 2, 4]),
        ("loss=inf", [2]),
        ("loss=nan", [1]),
        ("loss=", [1]),
        ("loss!=0.5", [1, 2, 3, 4]),
        ("diverged=true", [0, 4]),
        ("diverged=no", [1, 3]),
        ("diverged=", [2]),
        ("mixed=2", [0, 1]),
        ("mixed=[1, 2]", [2]),
        ("mixed>2", [4]),
    ],
)
def test_conditions(table, where, rows):
    assert kept(table, where) == rows


def test_conditions_are_all_met(table):
    assert kept(table, "loss<1", "seed<4", Condition("format", "~", "e*")) == [0]
    assert filter_runs(table, "seed=0").index.tolist() == [0]
    assert filter_runs(table).equals(table)
    assert kept(table.iloc[:0], "seed<3") == []
    assert kept(pandas.DataFrame({3: [1, 2]}), "3=2") == [1]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("fromat=1", "unknown column 'fromat'; did you mean 'format'?"),
        ("loss<small", "'loss<small': column 'loss' holds numbers; use a number such as 0.5"),
        ("format<3", "'format<3': column 'format' holds texts; use '~' or '='"),
    ],
)
def test_conditions_that_do_not_fit(table, where, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        filter_runs(table, where)


def test_order(table):
    def order(column, **options):
        return sort_runs(table, column, **options).index.tolist()

    assert order("loss") == [3, 4, 0, 2, 1]
    assert order("loss", descending=True) == [2, 0, 4, 3, 1]
    assert order("mixed") == [1, 4, 0, 2, 3]
    names = pandas.DataFrame({"format": ["int16", "int2", "e4m3", "int4", ""]})
    assert sort_runs(names, "format").index.tolist() == [2, 1, 3, 0, 4]
    with pytest.raises(ValueError, match="did you mean 'loss'"):
        order("los")


def test_texts_of_cells():
    cells = ["a", None, np.nan, True, 3.0, 0.1, 2**60, np.float32(0.5), [1, "ü"], np.arange(2), pandas.Timestamp(0)]
    texts = ["a", "", "", "true", "3", "0.1", str(2**60), "0.5", '[1, "ü"]', "[0, 1]", "1970-01-01T00:00:00"]
    assert [as_text(cell) for cell in cells] == texts
