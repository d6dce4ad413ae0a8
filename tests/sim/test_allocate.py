"""Allocation of formats: the optimum by brute force, ties, several limits, the baseline, and every error."""

from itertools import product
from math import fsum

import numpy as np
import pandas as pd
import pytest
from halfulp.sim.allocation.allocate import allocate, pareto
from halfulp.sim.recipes.published import recipe
from halfulp.sim.recipes.rules import rules_of

FORMATS = ("int2", "int4", "int8", "identity")


def a_table(seed=0, layers=5, costs=("bits", "seconds")):
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(layers):
        for name in FORMATS:
            row = {"layer": f"l{k}", "format": name, "loss": rng.uniform(-0.1, 1.0)}
            rows.append(row | {cost: float(rng.integers(1, 40)) for cost in costs})
    return pd.DataFrame(rows)


def brute(table, limits, tie=()):
    """The smallest objective over all assignments; None where none is within the limits."""
    rows = dict(zip(zip(table["layer"], table["format"]), table.to_dict("records")))
    layers, best = list(dict.fromkeys(table["layer"])), None
    for choice in product(FORMATS, repeat=len(layers)):
        formats = dict(zip(layers, choice))
        if any(len({formats[layer] for layer in group}) > 1 for group in tie):
            continue
        chosen = [rows[layer, name] for layer, name in formats.items()]
        if all(fsum(row[cost] for row in chosen) <= limit for cost, limit in limits.items()):
            objective = fsum(row["loss"] for row in chosen)
            best = objective if best is None else min(best, objective)
    return best


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tie", [(), (("l0", "l3"),)])
def test_the_optimum_is_that_of_brute_force(seed, tie):
    table = a_table(seed)
    for share in (0.2, 0.5):
        low, high = (fsum(getattr(table.groupby("layer")["bits"], f)()) for f in ("min", "max"))
        limits = {"bits": low + share * (high - low)}
        expected = brute(table, limits, tie)
        assert expected is not None
        found = allocate(table, limits, tie=tie)
        assert found.objective == pytest.approx(expected, abs=1e-9)
        assert found.cost["bits"] <= limits["bits"]
        assert found.gap <= 1e-8
        greedy = allocate(table, limits, tie=tie, method="greedy")
        assert greedy.objective >= found.objective - 1e-12
        assert greedy.cost["bits"] <= limits["bits"]
        assert greedy.bound == -np.inf
        for group in tie:
            assert len({found.formats[layer] for layer in group}) == 1


@pytest.mark.parametrize("seed", range(6))
def test_several_limits_at_once(seed):
    table = a_table(seed, layers=4)
    limits = {"bits": 60.0, "seconds": 50.0}
    expected = brute(table, limits)
    if expected is None:
        with pytest.raises(ValueError, match="below the smallest possible|at once"):
            allocate(table, limits)
        return
    found = allocate(table, limits)
    assert found.objective == pytest.approx(expected, abs=1e-9)
    assert all(found.cost[name] <= limit for name, limit in limits.items())


def test_limits_that_exclude_each_other():
    table = pd.DataFrame({"layer": ["a", "a"], "format": ["x", "y"], "loss": [0, 1], "bits": [1, 9], "seconds": [9, 1]})
    with pytest.raises(ValueError, match=r"no assignment keeps to all of bits <= 5, seconds <= 5 at once"):
        allocate(table, {"bits": 5, "seconds": 5})
    with pytest.raises(ValueError, match="use method='milp'"):
        allocate(table, {"bits": 5, "seconds": 5}, method="greedy")


def test_budgets_that_are_met_exactly_and_not():
    table = pd.DataFrame({"layer": ["a", "a", "b", "b"], "format": ["x", "y"] * 2, "loss": [1, 0, 1, 0.5],
                          "bits": [1e12, 2e12, 1e12, 2e12]})  # fmt: skip
    assert allocate(table, 4e12).formats == {"a": "y", "b": "y"}
    assert allocate(table, 4e12 - 1).formats == {"a": "y", "b": "x"}, "one bit less than the solver's tolerance sees"
    assert allocate(table, 2e12).formats == {"a": "x", "b": "x"}
    with pytest.raises(ValueError, match="a budget of 1.999999e\\+12 bits is below the smallest possible, 2e\\+12"):
        allocate(table, 1.999999e12)


def test_small_sensitivities_beside_large_ones_count():
    table = pd.DataFrame({"layer": ["a", "a", "b", "b"], "format": ["x", "y"] * 2, "loss": [1.0, 0.0, 2e-8, 1e-8],
                          "bits": [1, 2, 1, 2]})  # fmt: skip
    assert allocate(table, 4).formats == {"a": "y", "b": "y"}


def test_a_greedy_allocation_that_is_worse():
    """Two small steps of good rate leave no room for the one that matters."""
    table = pd.DataFrame({"layer": ["a", "a", "b", "b"], "format": ["x", "y"] * 2, "loss": [10, 0, 2, 0],
                          "bits": [0, 10, 0, 1]})  # fmt: skip
    assert allocate(table, 10).objective == 2
    assert allocate(table, 10, method="greedy").objective == 10


def test_averages_and_other_columns():
    table = a_table().assign(parameters=[n for k in range(5) for n in [10 * (k + 1)] * 4])
    found = allocate(table, average=0.6)
    assert found.budget == {"bits": 0.6 * 150}
    mine = table.rename(columns={"loss": "pain", "bits": "coins"}).set_index(["layer", "format"])
    assert allocate(mine, 90, cost="coins", sensitivity="pain").formats == allocate(table, 90).formats
    assert "by milp" in str(found)


def test_ties_that_share_a_layer_are_one():
    found = allocate(a_table(), 100, tie=[["l0", "l1"], ["l1", "l4"]])
    assert len({found.formats[layer] for layer in ("l0", "l1", "l4")}) == 1


def test_rules():
    table = pd.DataFrame({"layer": ["a", "b", "c"], "format": ["mxfp4", "identity", "mine"], "loss": 0, "bits": 1})
    found = allocate(table, 3)
    mine = recipe("mxfp8").with_(name="mine")
    rules = dict(found.rules([mine]))
    assert rules["c"] == mine
    assert rules["a"].fprop_w.fmt == "mxfp4"
    assert rules["a"].fprop_x.fmt is None
    assert not rules["b"].active
    assert len(rules_of(found.rules([mine]))) == 3
    with pytest.raises(ValueError, match=r"c: unknown format 'mine'.*pass recipes of your own"):
        found.rules()


def test_pareto():
    table = a_table(3)
    front = pareto(table, 12)
    assert (front["cost"] <= front["budget"] + 1e-9).all()
    assert (front["objective"].diff().dropna() <= 1e-12).all()
    assert front.iloc[0]["cost"] == table.groupby("layer")["bits"].min().sum()
    assert front.iloc[-1]["objective"] == pytest.approx(table.groupby("layer")["loss"].min().sum())
    assert not front[[f"l{k}" for k in range(5)]].duplicated().any()
    given = pareto(table, [100.0, 60.0], method="greedy")
    assert given["budget"].is_monotonic_increasing
    for _, row in front.iterrows():
        assert row["objective"] == pytest.approx(brute(table, {"bits": row["budget"]}), abs=1e-9)
    with pytest.raises(ValueError, match="two budgets or more"):
        pareto(table, 1)
    with pytest.raises(ValueError, match="a layer is called 'cost'"):
        pareto(table.replace({"layer": {"l0": "cost"}}), 2)


def _with(column, value):
    table = a_table()
    table.loc[2, column] = value
    return table


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda: allocate(a_table(), 100, method="magic"), "unknown method 'magic'"),
        (lambda: allocate(a_table(), 100, cost="bit"), "unknown cost 'bit'; did you mean 'bits'"),
        (lambda: allocate(a_table(), {"sconds": 1}), "did you mean 'seconds'"),
        (lambda: allocate(a_table(), 100, sensitivity="los"), "did you mean 'loss'"),
        (lambda: allocate(a_table().drop(columns="loss"), 100), "name yours by sensitivity="),
        (lambda: allocate(a_table().drop(columns="layer"), 100), "expected a table with 'layer'"),
        (lambda: allocate(a_table().iloc[:0], 100), "a row for each layer and format, got none"),
        (lambda: allocate(a_table()), "expected a budget or an average"),
        (lambda: allocate(a_table(), 1, average=2), "expected a budget or an average"),
        (lambda: allocate(a_table(), average=2), "takes a column 'parameters'"),
        (lambda: allocate(a_table(), -1), "expected a budget of 0 or more for 'bits', got -1"),
        (lambda: allocate(a_table(), float("nan")), "expected a budget of 0 or more for 'bits', got nan"),
        (lambda: allocate(a_table(), {}), "expected limits by column"),
        (lambda: allocate(a_table(), 100, tie=[["l0", "l9"]]), "unknown tied layer 'l9'"),
        (lambda: allocate(a_table(), 100, tie=["l0"]), "expected groups of layers"),
        (lambda: allocate(a_table().drop([0, 1, 6, 7]), 100, tie=[["l0", "l1"]]), "l0, l1 have no format in common"),
        (lambda: allocate(_with("loss", np.nan), 100), "layer 'l0' in 'int8': expected a finite loss, got nan"),
        (lambda: allocate(_with("bits", -1.0), 100), "layer 'l0' in 'int8': expected a bits of 0 or more, got -1"),
        (lambda: allocate(_with("format", "int4"), 100), "layer 'l0' has format 'int4' twice"),
    ],
)
def test_errors(how, message):
    with pytest.raises(ValueError, match=message):
        how()


def test_no_table():
    with pytest.raises(TypeError, match="expected a pandas DataFrame such as hu.sensitivity returns, got dict"):
        allocate({}, 1)
