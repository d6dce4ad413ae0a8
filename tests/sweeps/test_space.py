"""Spaces: what designs choose, against the definition written out; every refusal."""

import json
import math
from collections import Counter
from itertools import combinations, product

import halfulp as hu
import numpy as np
import pytest
from halfulp.sim.sweeps.choices import expand_names, plain
from halfulp.sim.sweeps.designs import Design
from halfulp.sim.sweeps.parameters import between, given
from halfulp.sim.sweeps.space import Space, space
from hypothesis import assume, settings
from hypothesis import given as over
from hypothesis import strategies as st


def frozen(row):
    return frozenset(row.items())


@st.composite
def spaces(draw):
    """Up to five parameters, each with up to four values, some on conditions, and combinations to leave out."""
    parameters, conditions = {}, {}
    for name in "abcde"[: draw(st.integers(1, 5))]:
        values = [f"{name}{k}" for k in range(draw(st.integers(1, 4)))]
        when = {}
        for other, theirs in parameters.items():
            if draw(st.integers(0, 3)) == 0:
                when[other] = draw(st.lists(st.sampled_from(theirs), min_size=1, unique=True))
        parameters[name], conditions[name] = values, when
    exclude = []
    for _ in range(draw(st.integers(0, 2))):
        names = draw(st.lists(st.sampled_from(sorted(parameters)), min_size=1, max_size=3, unique=True))
        exclude.append({name: draw(st.sampled_from(parameters[name])) for name in names})
    return parameters, conditions, exclude


def written_out(parameters, conditions, exclude):
    """All configurations by the definition: every combination, without what does not exist, without repeats."""
    found = {}
    for values in product(*parameters.values()):
        row = dict(zip(parameters, values))
        for name in parameters:  # parameters come after those they depend on
            if any(row.get(other) not in allowed for other, allowed in conditions[name].items()):
                row.pop(name)
        if not any(all(row.get(name) == value for name, value in each.items()) for each in exclude):
            found[frozen(row)] = row
    return found


def made(parts, reverse=False, **options):
    parameters, conditions, exclude = parts
    names = list(parameters)[::-1] if reverse else list(parameters)
    values = {name: given(parameters[name], when=conditions[name]) for name in names}
    try:
        return space(values, exclude=exclude, **options)
    except ValueError as error:  # conditions that cannot be met; exclusions that leave nothing out
        if "can never occur" not in str(error) and "leaves nothing out" not in str(error):
            raise
        return assume(False)


@settings(max_examples=40, deadline=None)
@over(spaces())
def test_a_grid_is_every_combination_once(parts):
    expected = written_out(*parts)
    found = made(parts)
    assume(expected)
    rows = found.configurations()
    assert len(rows) == len(expected)
    assert {frozen(row) for row in rows} == set(expected)
    assert rows == made(parts, reverse=True).configurations()


@settings(max_examples=20, deadline=None)
@over(spaces(), st.sampled_from(["random", "sobol"]), st.integers(0, 3), st.floats(0, 1))
def test_drawn_configurations_are_different_ones_of_the_grid(parts, design, seed, share):
    expected = written_out(*parts)
    assume(expected)
    n = 1 + int(share * (len(expected) - 1))
    rows = made(parts, design=design, n=n, seed=seed).configurations()
    assert len({frozen(row) for row in rows}) == len(rows) == n
    assert {frozen(row) for row in rows} <= set(expected)
    assert rows == made(parts, reverse=True, design=design, n=n, seed=seed).configurations()
    with pytest.raises(ValueError, match=f"the space has {len(expected)} configurations, got n={len(expected) + 1}"):
        made(parts, design=design, n=len(expected) + 1).configurations()


@settings(max_examples=40, deadline=None)
@over(spaces(), st.integers(0, 3))
def test_pairwise_has_every_pair_that_can_be(parts, seed):
    expected = written_out(*parts)
    assume(expected)
    rows = made(parts, design="pairwise", seed=seed).configurations()
    assert {frozen(row) for row in rows} <= set(expected)
    assert len({frozen(row) for row in rows}) == len(rows)

    def pairs(some):
        alone = {frozenset([item]) for row in some for item in row.items()}
        return alone | {frozenset(two) for row in some for two in combinations(row.items(), 2)}

    assert pairs(rows) == pairs(expected.values())
    assert rows == made(parts, reverse=True, design="pairwise", seed=seed).configurations()


@pytest.mark.parametrize(
    ("sizes", "factor"),
    [([25, 3, 3, 5, 4], 1.02), ([7, 6, 5, 4, 3, 2], 1.1), ([10] * 4, 1.3), ([3] * 4, 1.4), ([4] * 5, 1.5)],
)
def test_pairwise_is_near_the_fewest_possible(sizes, factor):
    """Never fewer than the pairs of the two longest parameters."""
    rows = space({f"p{k}": list(range(size)) for k, size in enumerate(sizes)}, design="pairwise").configurations()
    bound = math.prod(sorted(sizes)[-2:])
    assert bound <= len(rows) <= factor * bound


def test_pairwise_of_many_parameters():
    """Grows with the logarithm of their number: 8 of them take the bound, 4, twice."""
    rows = space({f"p{k}": [0, 1] for k in range(40)}, design="pairwise").configurations()
    assert len(rows) <= 14
    assert all({(row[a], row[b]) for row in rows} >= {(0, 1), (1, 0)} for a, b in [("p0", "p39"), ("p7", "p8")])


def test_a_space_reads_as_people_write_it():
    rows = space(
        {
            "format": ["e[2-3]m[0-1]", "int4", hu.format("e2m1")],
            "file": "part[1-2].npz",
            "seed": range(2),
            "rate": np.array([0.5, 1.0], np.float32),
            "layers": [[64, 64], (32,)],
            "flag": True,
            "nothing": None,
        }
    ).configurations()
    assert len(rows) == 6 * 2 * 2 * 2
    assert list(dict.fromkeys(row["format"] for row in rows)) == ["e2m0", "e2m1", "e3m0", "e3m1", "int4", "fp4_e2m1"]
    assert rows[0] == {"file": "part[1-2].npz", "flag": True, "format": "e2m0", "layers": [64, 64], "nothing": None,
                       "rate": 0.5, "seed": 0}  # fmt: skip
    assert [row["seed"] for row in rows[:3]] == [0, 1, 0]
    assert json.loads(json.dumps(rows)) == rows
    rows[0]["layers"].append(1)
    assert space({"layers": [[64, 64]]}).configurations() == [{"layers": [64, 64]}]


def test_ranges_inside_names_by_the_name_of_the_parameter_or_by_word():
    assert expand_names("e[2-3]m[0-1]") == ["e2m0", "e2m1", "e3m0", "e3m1"]
    assert expand_names(["int[9-10]", 3]) == ["int9", "int10", 3]
    marked = space({"model": given(["v[1-3]"], expand=True), "weight_fmt": ["int[2-3]"]})
    assert len(marked) == 6
    assert len(space({"format": given(["v[1-3]"], expand=False)})) == 1
    with pytest.raises(ValueError, match=r"expected an ascending range, got \[3-2\] in 'e\[3-2\]m1'; write \[2-3\]"):
        space({"format": ["e[3-2]m1"]})


def test_values_that_mean_the_same_are_one():
    assert space({"rate": [1, 1.0, 2], "flag": [1, True]}).configurations() == [
        {"flag": 1, "rate": 1}, {"flag": 1, "rate": 2}, {"flag": True, "rate": 1}, {"flag": True, "rate": 2},
    ]  # fmt: skip
    assert len(space({"x": [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]})) == 1
    assert len(space([{"x": 1}, {"x": 1.0}, {"x": 1, "y": 0}])) == 2


def test_a_list_stays_in_order():
    rows = [{"x": 2}, {"x": 1, "y": [1]}, {"x": 2}]
    assert space(rows).configurations() == [{"x": 2}, {"x": 1, "y": [1]}]
    assert space(rows, exclude=[{"x": 2}]).configurations() == [{"x": 1, "y": [1]}]
    assert space(space(rows)) == space(rows)


def test_levels():
    assert between(1e-3, 1, log=True, levels=4).listed == (0.001, 0.01, 0.1, 1.0)
    assert between(0, 1, levels=3).listed == (0.0, 0.5, 1.0)
    assert between(1, 4, integer=True).listed == (1, 2, 3, 4)
    assert between(np.float32(1), np.int64(4), levels=np.int8(4)) == between(1, 4, levels=4)
    assert between(1, 100, log=True, integer=True, levels=3).listed == (1, 10, 100)
    assert len(space({"x": between(0, 1, levels=3), "k": {"low": 1, "high": 4, "integer": True}})) == 12


def test_random_draws_stay_the_same():
    """Pinned: draws do not depend on the machine, the version of Python, or the order of parameters."""
    parameters = {"rate": between(0.001, 1, log=True), "k": between(1, 9, integer=True), "format": ["e[2-3]m1"]}
    assert space(parameters, design="random", n=2, seed=5).configurations() == [
        {"format": "e3m1", "k": 7, "rate": 0.242985689424},
        {"format": "e3m1", "k": 7, "rate": 0.584756408421},
    ]
    del parameters["rate"]
    assert space(parameters, design="random", n=3, seed=5).configurations() == [
        {"format": "e3m1", "k": 8}, {"format": "e2m1", "k": 7}, {"format": "e3m1", "k": 3},
    ]  # fmt: skip


def test_random_ranges_are_even():
    parameters = {"x": between(2, 4), "y": between(1e-4, 1, log=True), "k": between(1, 4, integer=True),
                  "j": between(1, 1000, log=True, integer=True)}  # fmt: skip
    rows = space(parameters, design="random", n=4000, seed=1).configurations()
    x, y = (np.array([row[name] for row in rows]) for name in "xy")
    assert x.min() >= 2
    assert x.max() <= 4
    assert abs(np.mean(x < 2.5) - 0.25) < 0.03
    assert y.min() >= 1e-4
    assert y.max() <= 1
    assert abs(np.mean(y < 1e-3) - 0.25) < 0.03
    assert all(abs(count - 1000) < 100 for count in Counter(row["k"] for row in rows).values())
    ones = math.log(1.5 / 0.5) / math.log(1000.5 / 0.5)
    assert abs(np.mean([row["j"] == 1 for row in rows]) - ones) < 0.03


def test_a_conditional_draw_gives_branches_their_share():
    """Half of the draws are of the branch with one configuration, so it comes first half of the time."""
    parameters = {"o": ["sgd", "muon"], "k": given(list(range(50)), when={"o": "muon"})}
    first = [space(parameters, design="random", n=1, seed=seed).configurations()[0]["o"] for seed in range(300)]
    assert abs(first.count("sgd") - 150) < 45


def test_sobol_points_are_balanced():
    parameters = {"x": between(0, 1), "y": between(0, 1), "of": list("abcd")}
    rows = space(parameters, design="sobol", n=64, seed=3).configurations()
    assert set(Counter(row["of"] for row in rows).values()) == {16}
    assert set(Counter(int(row["x"] * 64) for row in rows).values()) == {1}
    assert rows[:20] == space(parameters, design="sobol", n=20, seed=3).configurations()
    assert rows != space(parameters, design="sobol", n=64, seed=4).configurations()


def test_exclusions_take_lists_ranges_and_names():
    parameters = {"format": ["e[1-3]m0"], "rate": [0.01, 0.1, 1.0]}
    left = space(parameters, exclude=[{"format": "e[1-2]m0", "rate": between(0.05, 2)}]).configurations()
    assert len(left) == 9 - 4
    assert len(space(parameters, exclude=[{"format": ["e1m0", "e3m0"]}])) == 3
    assert len(space(parameters, exclude=[{"rate": {"low": 0.05, "high": 2}}])) == 3
    drawn = space({"rate": between(0, 1)}, design="random", n=50, exclude=[{"rate": between(0.2, 1)}]).configurations()
    assert max(row["rate"] for row in drawn) < 0.2


def test_nested_conditions_and_lists_as_values():
    parameters = {
        "a": [[1, 2], [3]],
        "b": given([0, 1], when={"a": [1, 2]}),
        "c": given(between(0, 1, levels=2), when={"b": 1, "a": [[1, 2], [3]]}),
    }
    assert space(parameters).configurations() == [
        {"a": [1, 2], "b": 0}, {"a": [1, 2], "b": 1, "c": 0.0}, {"a": [1, 2], "b": 1, "c": 1.0}, {"a": [3]},
    ]  # fmt: skip


class Thing:
    """No plain data."""


REFUSED = [
    ({}, {}, ValueError, "the space has no parameters"),
    ({"x": []}, {}, ValueError, "x has no values; list at least one"),
    ({"x": {1, 2}}, {}, TypeError, "x: a set has no order; pass a list"),
    ({"x": [Thing()]}, {}, TypeError, r"x\[0\]: expected text, numbers, .* got <.*Thing"),
    ({"x": [float("nan")]}, {}, ValueError, "expected finite numbers, got nan"),
    ({"x": [{1: 2}]}, {}, TypeError, "expected names as keys, got 1"),
    ({1: [2]}, {}, TypeError, "expected the name of a parameter, got 1"),
    ({"x": {"lo": 1}}, {}, ValueError, "x: unknown key of a parameter 'lo'; did you mean 'low'"),
    ({"x": {"low": 1}}, {}, ValueError, "x: expected values, or low and high, got low"),
    ({"x": {"values": [1], "low": 1}}, {}, ValueError, "x: expected values or a range"),
    ({"x": {"low": 2, "high": 1, "levels": 2}}, {}, ValueError, "x: expected low < high, got 2.0 and 1.0"),
    ({"x": {"low": "a", "high": 1}}, {}, ValueError, "x: expected a number for low, got 'a'"),
    ({"x": {"values": [1], "when": 3}}, {}, TypeError, "x: expected when="),
    ({"x": {"values": [1], "expand": 3}}, {}, TypeError, "x: expected true or false for expand"),
    ({"x": given(given([1]))}, {}, TypeError, r"given\(...\) inside given"),
    ({"x": between(0, 1)}, {}, ValueError, "x is a continuous range, and design 'grid' needs .*levels="),
    ({"x": between(0, 1)}, {"design": "pairwise"}, ValueError, "x is a continuous range, and design 'pairwise'"),
    ({"x": [1]}, {"design": "rnadom", "n": 1}, ValueError, "unknown design 'rnadom'; did you mean 'random'"),
    ({"x": [1]}, {"design": "random"}, ValueError, "design 'random' needs n"),
    ({"x": [1]}, {"n": 3}, ValueError, "design 'grid' has as many .* leave n out"),
    ({"x": [1]}, {"seed": -1}, ValueError, "expected an integer >= 0 for seed"),
    ({"x": [1]}, {"design": "list"}, ValueError, "design 'list' takes a list of configurations"),
    ({"x": [1], "y": given([1], when={"z": 1})}, {}, ValueError, "condition of y: unknown parameter 'z'"),
    ({"x": ["sgd"], "y": given([1], when={"x": "sdg"})}, {}, ValueError, 'x is never "sdg"; closest: "sgd"'),
    ({"x": [1], "y": given([1], when={"x": []})}, {}, ValueError, "condition on 'x' allows no value"),
    ({"x": between(0, 1), "y": given([1], when={"x": 1})}, {"design": "random", "n": 1}, ValueError,
     "x is a continuous range; give x listed values"),
    ({"x": given([1], when={"y": 1}), "y": given([1], when={"x": 1})}, {}, ValueError, "in a circle: x -> y -> x"),
    ({"x": given([1], when={"x": 1})}, {}, ValueError, "in a circle: x -> x"),
    ({"x": [1, 2], "y": given([1], when={"x": 1}), "z": given([1], when={"x": 2, "y": 1})}, {}, ValueError,
     "z can never occur: no value of x meets all"),
    ({"x": [1]}, {"exclude": {"x": 1}}, TypeError, r"pass exclude=\[{'x': 1}\]"),
    ({"x": [1]}, {"exclude": [{}]}, TypeError, "expected exclude="),
    ({"x": [1]}, {"exclude": [{"xx": 1}]}, ValueError, "exclude: unknown parameter 'xx'"),
    ({"x": [0.1, 1]}, {"exclude": [{"x": 0.2}]}, ValueError, "exclude: x is never 0.2; closest: 0.1"),
    ({"x": [0.1, 1]}, {"exclude": [{"x": []}]}, ValueError, "exclude: x has no value in it"),
    ({"x": [0.1, 1]}, {"exclude": [{"x": between(2, 3)}]}, ValueError, "x is never from 2.0 to 3.0"),
    ({"x": between(0, 1)}, {"design": "random", "n": 1, "exclude": [{"x": 0.5}]}, ValueError, "single value 0.5"),
    ({"x": [1, 2], "y": given([1], when={"x": 1})}, {"exclude": [{"x": 2, "y": 1}]}, ValueError,
     "leaves nothing out: no value of x"),
    ("e4m3", {}, TypeError, "expected parameters by name, or a list"),
    ([1], {}, TypeError, "configuration 1: expected a dict of values by name, got 1"),
    ([{"x": 1}, {"": 1}], {}, TypeError, "configuration 2: expected names of parameters"),
    ([], {}, ValueError, "the list of configurations is empty"),
    ([{"x": 1}], {"design": "grid"}, ValueError, "a list of configurations has the design 'list'"),
    ([{"x": 1}], {"n": 1}, ValueError, "design 'list' has as many"),
    ([{"x": 1, "y": 1}, {"x": 2, "y": 2}], {"exclude": [{"x": 1, "y": 2}]}, ValueError, "no configuration of the list"),
    (Space((), Design()), {"seed": 3}, TypeError, "a space has its design"),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "options", "kind", "message"), REFUSED)
def test_refusals(parameters, options, kind, message):
    with pytest.raises(kind, match=message):
        space(parameters, **options)


def test_refusals_when_configurations_are_made():
    with pytest.raises(ValueError, match="exclude leaves no configuration"):
        space({"x": [1]}, exclude=[{"x": 1}]).configurations()
    with pytest.raises(ValueError, match="exclude leaves no configuration"):
        space({"x": [1], "y": [1, 2]}, design="pairwise", exclude=[{"x": 1}]).configurations()
    with pytest.raises(ValueError, match="more than 1,000,000 configurations"):
        space({name: list(range(200)) for name in "abc"}).configurations()
    with pytest.raises(ValueError, match="found 0 different configurations in .* ask for fewer"):
        space({"x": between(0, 1)}, design="random", n=1, exclude=[{"x": between(0, 1)}]).configurations()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0, "high": 1, "log": True}, "expected low > 0 for a logarithmic range, got 0.0"),
        ({"low": 0, "high": math.inf}, "high: expected finite numbers, got inf"),
        ({"low": 0.5, "high": 2, "integer": True}, "expected an integer for low"),
        ({"low": 0, "high": 1, "levels": 1}, "expected 2 or more levels, got 1"),
        ({"low": 1, "high": 3, "integer": True, "levels": 5}, "at most as many levels .* got 5; 3 are different"),
        ({"low": 0, "high": 1, "log": 1}, "expected true or false for log, got 1"),
        ({"low": 1, "high": 1}, r"list a single value as \[1.0\]"),
    ],
)
def test_impossible_ranges(arguments, message):
    with pytest.raises(ValueError, match=message):
        between(**arguments)


def test_plain_values_of_other_libraries():
    import ml_dtypes

    assert plain(np.int64(3), "x") == 3
    assert type(plain(np.float64(0.5), "x")) is float
    assert plain(ml_dtypes.bfloat16(0.5), "x") == 0.5
    assert plain(hu.format("mxfp4"), "x") == "mxfp4"
    assert hu.format(plain(hu.format("e3m2", bias=5), "x")) == hu.format("e3m2", bias=5)
