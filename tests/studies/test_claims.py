"""Rules decide as they say, claims refuse what cannot be judged, and their hash follows every word."""

from dataclasses import replace
from math import inf, nan

import pytest
from halfulp.studies.claims import FORMULA, Claim, Measured, hash_of, interval_shown, shown
from halfulp.studies.rules import Between, Equal, Printed, Within, verdict
from hypothesis import given
from hypothesis import strategies as st

CLAIM = Claim("loss", "The loss is 2.3.", "a paper, table 1", "2.3", FORMULA, Printed())


@pytest.mark.parametrize(
    ("published", "value", "expected"),
    [
        ("27", 27.33, "reproduced"),
        ("27", 27.5, "reproduced"),
        ("27", 27.51, "not reproduced"),
        ("27.0", 27.33, "not reproduced"),
        ("1730", 1729.5, "reproduced"),
        ("1.95e-4", 1.9549e-4, "reproduced"),
        ("1.95e-4", 1.956e-4, "not reproduced"),
        ("-0.5", -0.45, "reproduced"),
        ("0.4", nan, "not reproduced"),
        ("0.4", inf, "not reproduced"),
    ],
)
def test_printed_digits(published, value, expected):
    assert verdict(Printed(), published, value) == expected


@given(st.decimals(-1000, 1000, places=3), st.floats(-0.4999, 0.4999))
def test_what_rounds_to_the_printed_number_is_reproduced(number, share):
    assert verdict(Printed(), str(number), float(number) + share * 1e-3) == "reproduced"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.95, 1.05, "reproduced"),
        (0.85, 1.05, "inconclusive"),
        (0.5, 1.5, "inconclusive"),
        (1.0, 1.2, "inconclusive"),
        (1.2, 1.3, "not reproduced"),
        (0.5, 0.8, "not reproduced"),
    ],
)
def test_an_interval_across_the_border_cannot_tell(low, high, expected):
    rule = Within(relative=0.1, why="as an example")
    assert verdict(rule, 1.0, (low + high) / 2, low, high) == expected


def test_bounds_take_their_ends():
    assert verdict(Between(4, 8), 5.0, 8.0) == "reproduced"
    assert verdict(Between(low=0.0), None, -1e-9) == "not reproduced"


def test_of_a_list_the_worst_counts():
    rule = Within(absolute=0.1, why="as an example")
    assert verdict(rule, [1, 2], [1.05, 2.05]) == "reproduced"
    assert verdict(rule, [1, 2], [1.05, 2.05], [0.8, 2.0], [1.1, 2.1]) == "inconclusive"
    assert verdict(rule, [1, 2], [1.05, 3.0], [0.8, 2.9], [1.1, 3.1]) == "not reproduced"
    with pytest.raises(ValueError, match="expected 2 numbers"):
        verdict(rule, [1, 2], [1.0])


def test_words_are_equal_or_not():
    assert verdict(Equal(), ("E1M0", "E2M1"), ["E1M0", "E2M1"]) == "reproduced"
    assert verdict(Equal(), True, False) == "not reproduced"


def test_an_interval_holds_its_value():
    with pytest.raises(ValueError, match="interval around"):
        verdict(Between(0, 1), None, 0.5, 0.6, 0.7)
    with pytest.raises(ValueError, match="both ends"):
        Measured(0.5, low=0.4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"published": 2.3}, "printed digits as text"),
        ({"published": "two"}, "decimal number"),
        ({"published": "inf"}, "finite"),
        ({"kind": "guess"}, "formula, refit, training"),
        ({"id": "The loss"}, "lower-case"),
        ({"source": ""}, "statement and a source"),
    ],
)
def test_claims_that_cannot_be_judged(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CLAIM, **change)


@pytest.mark.parametrize(
    "rule", [lambda: Within(relative=0.1), lambda: Within(why="no allowance"), lambda: Between(2, 1)]
)
def test_rules_without_a_reason_or_region(rule):
    with pytest.raises(ValueError, match="say why|positive|low < high"):
        rule()


def test_the_hash_follows_every_word_and_no_order_of_containers():
    base = hash_of([CLAIM])
    changes = [
        {"statement": "The loss is 2.30."}, {"published": "2.30"}, {"rule": Within(absolute=0.05, why="digits")},
        {"source": "a paper, table 2"}, {"id": "losses"}, {"kind": "refit"},
    ]  # fmt: skip
    assert len({base, *(hash_of([replace(CLAIM, **change)]) for change in changes)}) == len(changes) + 1
    as_tuple = replace(CLAIM, published=("1", "2"))
    assert hash_of([as_tuple]) == hash_of([replace(CLAIM, published=["1", "2"])])


def test_text_for_tables():
    assert [shown(each) for each in (True, 0.123456789, ["a", 1.0], nan)] == ["yes", "0.12346", "a 1", "nan"]
    assert interval_shown(Measured(1.0)) == ""
    assert interval_shown(Measured([1.0, 2.0], [0.5, 1.5], [1.5, 2.5])) == "[0.5, 1.5] [1.5, 2.5]"
