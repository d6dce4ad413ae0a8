"""Rank correlations against scipy, and Pareto fronts against brute force and enumerated resamples."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from halfulp.sim.sweeps.pareto import pareto_front
from halfulp.sim.sweeps.ranks import _kendall, _spearman, rank_correlation, rank_table
from scipy import stats


def table(n=20, ties=False):
    random = np.random.default_rng(0)
    a = random.normal(size=n)
    b = a + random.normal(size=n)
    return pd.DataFrame({"sqnr_db": np.round(a, 0 if ties else 9), "test_accuracy": np.round(b, 0 if ties else 9)})


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_are_scipys(ties):
    runs = table(ties=ties)
    found = rank_correlation(runs, "sqnr_db", "test_accuracy", resamples=499).set_index("method")
    a, b = runs["sqnr_db"].to_numpy(), runs["test_accuracy"].to_numpy()
    for name, function in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        assert found.loc[name, "estimate"] == pytest.approx(function(a, b).statistic, rel=1e-12)
        assert found.loc[name, "p"] == pytest.approx(function(a, b).pvalue, rel=1e-12)
        theirs = stats.bootstrap(
            (np.arange(20),), lambda i, f=function: f(a[i], b[i]).statistic, vectorized=False, n_resamples=499,
            random_state=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        assert found.loc[name, ["low", "high"]].tolist() == pytest.approx(list(theirs), rel=1e-9)
    assert found["n"].tolist() == [20, 20]


def test_correlations_of_any_resample():
    runs = table(9, ties=True)
    a, b = runs["sqnr_db"].to_numpy(), runs["test_accuracy"].to_numpy()
    drawn = np.random.default_rng(1).integers(0, 9, (50, 9))
    for made, function in ((_spearman(a, b), stats.spearmanr), (_kendall(a, b), stats.kendalltau)):
        expected = [function(a[i], b[i]).statistic if np.ptp(a[i]) and np.ptp(b[i]) else 0 for i in drawn]
        assert made(drawn, -1) == pytest.approx(np.array(expected), abs=1e-12)


def tasks():
    order = {"digits": [0.1, 0.2, 0.3, 0.4, 0.5], "text": [1, 3, 2, 4, 5], "images": [5, 4, 3, 2, 1]}
    rows = [
        (task, f"f{k}", seed, loss + 0.01 * seed)
        for task, losses in order.items()
        for k, loss in enumerate(losses)
        for seed in range(3)
    ]
    return pd.DataFrame(rows, columns=["task", "format", "seed", "test_loss"])


def test_orders_of_two_tasks():
    how = {"of": "format", "across": "task", "metric": "test_loss", "resamples": 199}
    found = rank_correlation(tasks(), "digits", "text", **how)
    assert found["estimate"].tolist() == pytest.approx([0.9, 0.8])
    assert found["n"].tolist() == [5, 5]
    assert rank_correlation(tasks(), "digits", "images", **how)["estimate"].tolist() == pytest.approx([-1, -1])
    some = rank_correlation(tasks().iloc[3:], "digits", "text", **how)
    assert some["n"].tolist() == [4, 4]
    assert "1 of 5 lack a or b" in some["note"][0]


def test_means_are_ranked():
    runs = tasks().query("task == 'text'").assign(proxy=lambda of: of["test_loss"] ** 3)
    found = rank_correlation(runs, "proxy", "test_loss", of="format", resamples=199)
    assert found["n"].tolist() == [5, 5]
    assert found["estimate"].tolist() == pytest.approx([1, 1])
    runs.loc[runs.index[:3], "proxy"] = np.nan
    with pytest.raises(ValueError, match="3 of 15 runs diverged"):
        rank_correlation(runs, "proxy", "test_loss", of="format")
    dropped = rank_correlation(runs, "proxy", "test_loss", of="format", diverged="drop", resamples=199)
    assert dropped[["n", "diverged"]].to_numpy().tolist() == [[4, 3], [4, 3]]


def test_ranks_and_concordance():
    found = rank_table(tasks(), "test_loss")
    assert found.set_index("format").loc["f1"].tolist() == [2, 3, 4, 3]
    sample = [
        tasks().query("task == @name").groupby("format")["test_loss"].mean() for name in ("digits", "text", "images")
    ]
    # Friedman's statistic is m (n - 1) W
    friedman = stats.friedmanchisquare(*np.transpose(sample)).statistic
    assert found.attrs["kendall_w"] == pytest.approx(friedman_of(sample))
    assert friedman >= 0
    same = rank_table(
        tasks().query("task != 'images'").assign(test_loss=lambda of: of["format"].str[1:].astype(int)), "test_loss"
    )
    assert same.attrs["kendall_w"] == pytest.approx(1)
    assert same["mean_rank"].tolist() == [1, 2, 3, 4, 5]
    worst = rank_table(tasks(), "test_loss", direction="maximize").set_index("format")
    assert worst.loc["f4", "digits"] == 1


def friedman_of(judges):
    """W from Friedman's chi-squared of formats as treatments and tasks as blocks."""
    values = np.array(judges)
    blocks, items = values.shape
    return stats.friedmanchisquare(*values.T).statistic / (blocks * (items - 1))


def test_tied_concordance():
    runs = tasks()
    runs["test_loss"] = np.floor(runs["test_loss"].groupby([runs["task"], runs["format"]]).transform("min") / 2)
    means = [runs.query("task == @name").groupby("format")["test_loss"].mean() for name in ("text", "images")]
    found = rank_table(runs.query("task != 'digits'"), "test_loss").attrs["kendall_w"]
    tied = [stats.rankdata(each) for each in means]
    assert found == pytest.approx((np.corrcoef(tied)[0, 1] + 1) / 2)  # of two judges: (1 + Spearman) / 2


def test_missing_ranks():
    found = rank_table(tasks().iloc[3:], "test_loss").set_index("format")
    assert np.isnan(found.loc["f0", "digits"])
    assert found.loc["f0", "mean_rank"] == 3
    assert rank_table(tasks().iloc[:0], "test_loss").empty


def test_no_order():
    few = rank_correlation(table(2), "sqnr_db", "test_accuracy")
    assert few["estimate"].isna().all()
    assert set(few["note"]) == {"2 values: no correlation"}
    assert set(rank_correlation(table(0), "sqnr_db", "test_accuracy")["note"]) == {"0 values: no correlation"}
    flat = rank_correlation(table().assign(sqnr_db=1), "sqnr_db", "test_accuracy")
    assert set(flat["note"]) == {"all values of one are equal: no order"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": "accuracy"}, "unknown column 'accuracy'"),
        ({"method": "t"}, "unknown method 't'"),
        ({"methods": ["pearson"]}, "unknown rank correlation 'pearson'"),
        ({"across": "sqnr_db"}, "pass metric='test_loss' and of='format'"),
        ({"across": "sqnr_db", "of": "sqnr_db", "metric": "test_accuracy"}, "'sqnr_db' has no 'sqnr_db'; it has"),
    ],
)
def test_rank_errors(change, message):
    with pytest.raises(ValueError, match=message):
        rank_correlation(table(), **{"a": "sqnr_db", "b": "test_accuracy", **change})


def runs_of(points, seeds=3, noise=0.0):
    random = np.random.default_rng(0)
    rows = [(name, s, *cost, loss + noise * random.normal()) for name, *cost, loss in points for s in range(seeds)]
    return pd.DataFrame(rows, columns=["format", "seed", *(["bits", "area"][: len(points[0]) - 2]), "test_loss"])


def test_front_is_that_of_brute_force():
    random = np.random.default_rng(0)
    points = [(f"f{k}", *np.round(random.random(2), 1), float(np.round(random.random(), 1))) for k in range(40)]
    found = pareto_front(runs_of(points, 2), ["bits", "area"], "test_loss", resamples=99)
    values = np.array([each[1:] for each in points])
    expected = [not any((o <= v).all() and (o < v).any() for o in values) for v in values]
    assert found["on_front"].tolist() == expected
    assert found["probability"].tolist() == [float(each) for each in expected]  # no noise, no doubt
    assert found[["bits", "area"]].to_numpy() == pytest.approx(values[:, :2])
    assert found.columns.tolist() == [
        "format", "bits", "area", "test_loss", "test_loss_low", "test_loss_high", "on_front", "probability", "n",
        "diverged", "note",
    ]  # fmt: skip


def test_probability_is_that_of_all_resamples():
    losses = {"a": [0.3, 0.5, 0.4], "b": [0.45, 0.35, 0.41]}
    runs = pd.DataFrame([(f, 4, s, v) for f in losses for s, v in enumerate(losses[f])])
    runs.columns = ["format", "bits", "seed", "test_loss"]
    joint = [[np.mean([losses[f][s] for s in drawn]) for f in "ab"] for drawn in product(range(3), repeat=3)]
    found = pareto_front(runs, resamples=4000)["probability"]
    error = 4 * 0.5 / np.sqrt(4000)
    assert found.tolist() == pytest.approx(
        [np.mean([a <= b for a, b in joint]), np.mean([b <= a for a, b in joint])], abs=error
    )
    apart = list(
        product(
            [np.mean(d) for d in product(losses["a"], repeat=3)], [np.mean(d) for d in product(losses["b"], repeat=3)]
        )
    )
    alone = pareto_front(runs, unit=None, resamples=4000)["probability"]
    assert alone[0] == pytest.approx(np.mean([a <= b for a, b in apart]), abs=error)
    means = [a for a, _ in joint]
    row = pareto_front(runs, resamples=4000, confidence=0.8).iloc[0]
    assert [row["test_loss_low"], row["test_loss_high"]] == pytest.approx(np.quantile(means, [0.1, 0.9]), abs=0.035)


def test_ties_are_both_on_the_front():
    """Also where equal costs are no dyadic numbers and means of them round."""
    runs = pd.concat([runs_of([("a", 0.1, 0.5), ("b", 0.1, 0.5), ("c", 0.3, 0.6)], 3), runs_of([("d", 0.1, 0.5)], 7)])
    found = pareto_front(runs, resamples=199)
    assert found["on_front"].tolist() == [True, True, False, True]
    assert found["probability"].tolist()[:3] == [1, 1, 0]


def test_directions():
    runs = runs_of([("a", 4, 0.9), ("b", 8, 0.8)]).rename(columns={"test_loss": "test_accuracy"})
    assert pareto_front(runs, metric="test_accuracy", resamples=99)["on_front"].tolist() == [True, False]
    less = pareto_front(runs, metric="test_accuracy", directions={"test_accuracy": "minimize"}, resamples=99)
    assert less["on_front"].tolist() == [True, True]
    more = pareto_front(runs, metric="test_accuracy", directions={"bits": "maximize"}, resamples=99)
    assert more["on_front"].tolist() == [True, True]


def test_few_missing_and_diverged():
    one = pareto_front(runs_of([("a", 4, 0.5), ("b", 8, 0.4)], 1), resamples=99)
    assert one["on_front"].tolist() == [True, True]
    assert one[["probability", "test_loss_low"]].isna().all().all()
    assert set(one["note"]) == {"one unit: no interval"}
    runs = runs_of([("a", 4, 0.5), ("b", 8, 0.4), ("c", 2, 0.1)]).assign(diverged=[False] * 6 + [True] * 3)
    with pytest.raises(ValueError, match="3 of 9 runs diverged"):
        pareto_front(runs)
    dropped = pareto_front(runs, diverged="drop", resamples=99)
    assert dropped["on_front"].tolist() == [True, True, False]
    assert dropped.iloc[2][["n", "diverged", "probability", "note", "bits"]].tolist()[:4] == [0, 3, 0, "no runs"]
    worst = pareto_front(runs, diverged="worst", resamples=99)
    assert worst["bits"].tolist() == [4, 8, 2]  # a cost stays what it is
    assert worst["test_loss"].tolist() == pytest.approx([0.5, 0.4, 0.5])
    partial = pareto_front(runs.iloc[:5], resamples=99)
    assert "2 of 3 units" in partial["note"][1]
    assert pareto_front(runs.iloc[:0]).empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": "bit"}, "unknown column 'bit'; did you mean 'bits'"),
        ({"cost": ()}, "expected a cost and a metric"),
        ({"metric": "bits"}, "expected each objective once"),
        ({"directions": {"seed": "minimize"}}, "a direction for 'seed', but the objectives are"),
        ({"directions": {"bits": "min"}}, "unknown direction 'min'"),
        ({"unit": "sed"}, "unknown column 'sed'"),
    ],
)
def test_front_errors(change, message):
    with pytest.raises(ValueError, match=message):
        pareto_front(runs_of([("a", 4, 0.5)]), **change)


def test_a_cost_must_be_known():
    with pytest.raises(ValueError, match="expected a finite 'bits' of every run, got nan in row 0"):
        pareto_front(runs_of([("a", np.nan, 0.5)]))
