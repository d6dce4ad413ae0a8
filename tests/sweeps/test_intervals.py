"""Intervals of means: against scipy and hand calculations, their coverage, and runs that diverged."""

import numpy as np
import pandas as pd
import pytest
from halfulp.sim.sweeps.best import best_of, best_runs
from halfulp.sim.sweeps.bootstrap import Settings, interval_of, intervals
from scipy import stats


def grid(formats=("a", "b"), seeds=4, rates=(0.1,), loss=lambda f, s, r: 0.1 * s + r):
    rows = [(f, s, r, loss(f, s, r)) for f in formats for s in range(seeds) for r in rates]
    return pd.DataFrame(rows, columns=["format", "seed", "learning_rate", "test_loss"])


def test_bootstrap_is_scipys():
    sample = np.random.default_rng(0).gamma(2, size=12)
    for method, theirs in (("bca", "BCa"), ("percentile", "percentile")):
        for statistic, function in (("mean", np.mean), ("median", np.median), (np.std, np.std)):
            ours = interval_of(sample, Settings(0.9, method, 999, 3), statistic)
            found = stats.bootstrap(
                (sample,),
                function,
                confidence_level=0.9,
                n_resamples=999,
                method=theirs,
                random_state=np.random.default_rng(3),
            ).confidence_interval
            assert ours[1:3] == tuple(found)
            assert ours.estimate == function(sample)


def test_student_by_hand():
    # mean 5, s = 2, n = 4: 5 +- 3.182446 * 2 / 2
    found = intervals(pd.DataFrame({"loss": [3.0, 5, 7, 5], "format": "a"}), "loss", method="t").iloc[0]
    half = 3.182446305284263 * np.sqrt(8 / 3) / 2
    assert found[["estimate", "low", "high"]].tolist() == pytest.approx([5, 5 - half, 5 + half], rel=1e-12)
    assert found["n"] == 4


@pytest.mark.parametrize(("method", "n", "least"), [("t", 4, 0.92), ("bca", 25, 0.9), ("percentile", 25, 0.9)])
def test_coverage(method, n, least):
    samples = np.random.default_rng(1).normal(3, 2, (200, n))
    settings = Settings(0.95, method, 499)
    found = [interval_of(sample, settings) for sample in samples]
    assert least <= np.mean([each.low <= 3 <= each.high for each in found]) <= 0.985


def test_few_seeds_are_said_to_be_few():
    runs = grid(seeds=5)
    assert set(intervals(runs, "test_loss")["note"]) == {"5 runs: bca is too narrow"}
    assert set(intervals(runs, "test_loss", method="t")["note"]) == {""}


def test_a_group_does_not_see_its_neighbours():
    runs = grid(("a", "b", "c"), 6, loss=lambda f, s, r: np.sin(7 * s + ord(f)))
    alone = intervals(runs[runs["format"] == "c"], "test_loss")
    pd.testing.assert_frame_equal(intervals(runs, "test_loss").tail(1).reset_index(drop=True), alone)


def test_groups_and_metrics():
    runs = grid(("b", "a"), 3, (0.3, 0.1)).assign(accuracy=0.5, model=[[64, 64]] * 12, depth=[None, 2.0] * 6)
    found = intervals(runs, ["test_loss", "accuracy"], ["format", "learning_rate"])
    assert found.columns.tolist() == [
        "format", "learning_rate", "metric", "estimate", "low", "high", "n", "diverged", "note",
    ]  # fmt: skip
    assert found["format"].tolist() == ["b"] * 4 + ["a"] * 4
    assert found["metric"].tolist() == ["test_loss", "accuracy"] * 4
    assert found["learning_rate"].tolist()[:4] == [0.3, 0.3, 0.1, 0.1]
    assert set(found[found["metric"] == "accuracy"]["note"]) == {"all 3 runs are equal"}
    assert intervals(runs, "accuracy", "model")["n"].tolist() == [12]
    assert intervals(runs, "accuracy", "depth")["n"].tolist() == [6, 6]  # None agrees with None
    assert intervals(runs, "accuracy", ())["n"].tolist() == [12]
    assert intervals(runs, "test_loss", statistic=max)["estimate"].tolist() == pytest.approx([0.5, 0.5])


def test_one_run_and_none():
    found = intervals(grid(seeds=1), "test_loss")
    assert found["low"].isna().all()
    assert found["estimate"].tolist() == [0.1, 0.1]
    assert set(found["note"]) == {"one run: no interval"}
    empty = intervals(grid().iloc[:0], "test_loss")
    assert empty.empty
    assert "estimate" in empty.columns


def test_degenerate_bca_says_so():
    found = interval_of(np.array([1.0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]), Settings(), "median")
    assert found.note == "bca is undefined here: percentile"
    assert (found.low, found.high) == (1, 1)


def test_diverged_runs_are_never_dropped_silently():
    runs = grid(seeds=3).assign(diverged=[False, False, True, False, None, False])
    runs.loc[5, "test_loss"] = np.nan
    with pytest.raises(ValueError, match=r"2 of 6 runs diverged \(first: row 2\); pass diverged='drop'"):
        intervals(runs, "test_loss")
    dropped = intervals(runs, "test_loss", diverged="drop")
    assert dropped[["n", "diverged"]].to_numpy().tolist() == [[2, 1], [2, 1]]
    assert dropped["estimate"].tolist() == pytest.approx([0.15, 0.15])
    worst = intervals(runs, "test_loss", diverged="worst")
    assert worst[["n", "diverged"]].to_numpy().tolist() == [[3, 1], [3, 1]]
    assert worst["estimate"].tolist() == pytest.approx([0.5 / 3] * 2)  # 0.2 for the one that diverged, not its 0.3
    least = intervals(runs, "test_loss", diverged="worst", direction="maximize")
    assert least["estimate"].tolist() == pytest.approx([0.4 / 3] * 2)
    for policy in ("drop", "worst"):
        lost = intervals(runs.assign(test_loss=np.inf), "test_loss", diverged=policy)
        assert lost["n"].tolist() == [0, 0]
        assert lost["estimate"].isna().all()
        assert set(lost["note"]) == {"no runs"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "test_los"}, "unknown column 'test_los'; did you mean 'test_loss'"),
        ({"by": ["fromat"]}, "unknown column 'fromat'; did you mean 'format'"),
        ({"method": "bc"}, "unknown method 'bc'; did you mean 'bca'"),
        ({"statistic": "men"}, "unknown statistic 'men'; did you mean 'mean'"),
        ({"method": "t", "statistic": "median"}, "'t' is for means, got statistic 'median'"),
        ({"confidence": 95}, "between 0 and 1, got 95"),
        ({"resamples": 5}, "99 resamples or more, got 5"),
        ({"diverged": "ignore"}, "unknown policy for diverged runs 'ignore'"),
        ({"metric": "format"}, "expected numbers in column 'format'"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        intervals(grid(), **{"metric": "test_loss", **change})


def test_other_errors():
    with pytest.raises(TypeError, match="expected a DataFrame with a row per run, got list"):
        intervals([], "test_loss")
    with pytest.raises(ValueError, match="called 'n', as one of the result is"):
        intervals(grid().rename(columns={"format": "n"}), "test_loss", "n")
    runs = grid().rename(columns={"test_loss": "quality"}).assign(diverged=[True] + [False] * 7)
    with pytest.raises(ValueError, match="is less of 'quality' better, or more"):
        intervals(runs, "quality", diverged="worst")
    with pytest.raises(ValueError, match="expected one column 'seed', got 2"):
        intervals(pd.concat([grid(), grid()[["seed"]]], axis=1), "test_loss", "seed")


def bowl(f, s, r):
    return abs(np.log10(r) + {"a": 1, "b": 2}[f]) + 0.01 * s


def test_best_rate_of_each_format():
    runs = grid(rates=(0.001, 0.01, 0.1, 1.0), loss=bowl)
    found = best_of(runs, "test_loss", method="t")
    assert found["learning_rate"].tolist() == [0.1, 0.01]
    assert found["estimate"].tolist() == pytest.approx([0.015, 0.015])
    assert found["chosen_at"].tolist() == pytest.approx([0.015, 0.015])
    assert set(found["note"]) == {"chosen on the runs that measure it"}
    best = best_runs(runs, "test_loss")
    assert best["learning_rate"].tolist() == [0.1] * 4 + [0.01] * 4
    assert best_of(runs.assign(test_accuracy=-runs["test_loss"]), "test_accuracy")["learning_rate"].tolist() == [
        0.1,
        0.01,
    ]


def test_best_at_the_end_of_the_grid_is_said():
    found = best_of(grid(("a",), rates=(0.3, 1.0, 3.0), loss=bowl), "test_loss")
    assert "the lowest learning_rate tried" in found["note"][0]


def test_another_metric_chooses():
    runs = grid(("a",), rates=(0.01, 0.1), loss=bowl)
    runs["train_loss"] = -runs["test_loss"]
    found = best_of(runs, "test_loss", choose_by="train_loss").iloc[0]
    assert (found["learning_rate"], found["chosen_by"]) == (0.01, "train_loss")
    assert found["estimate"] == pytest.approx(1.015)
    assert "chosen" not in found["note"]


def test_held_out_seeds_do_not_flatter():
    """Fifty settings that are equal: the best of the runs that chose looks good, on others it is average."""
    noise = np.random.default_rng(0).normal(size=(50, 20))
    runs = grid(("a",), 20, range(50), lambda f, s, r: noise[r, s])
    how = {"holdout": True, "method": "t"}
    same, held = best_of(runs, "test_loss"), best_of(runs, "test_loss", **how)
    assert same["estimate"][0] < -0.3
    assert abs(held["estimate"][0]) < 0.5
    assert held["chosen_at"][0] < -0.4
    assert held["n"][0] == 10
    shuffled = best_of(runs.sample(frac=1, random_state=1), "test_loss", **how)
    pd.testing.assert_frame_equal(held, shuffled)
    chosen = best_runs(runs, "test_loss", holdout=True)
    assert len(chosen) == 10
    assert chosen["test_loss"].mean() == pytest.approx(held["estimate"][0])


def test_settings_that_diverge_rank_last():
    runs = grid(("a",), 3, (0.1, 1.0), lambda f, s, r: 1 - r / 2)
    runs.loc[runs["learning_rate"].eq(1.0) & runs["seed"].eq(2), "test_loss"] = np.nan
    assert best_of(runs, "test_loss")["learning_rate"].tolist() == [0.1]  # no error: what is measured came through
    every = best_of(runs.assign(test_loss=np.nan), "test_loss", diverged="drop").iloc[0]
    assert np.isnan(every["estimate"])
    assert every["diverged"] == 3
    with pytest.raises(ValueError, match="3 of 3 runs diverged"):
        best_of(runs.assign(test_loss=np.nan), "test_loss")


def test_best_errors():
    with pytest.raises(ValueError, match="columns other than"):
        best_of(grid(), "test_loss", "format", "format")
    with pytest.raises(ValueError, match="two values of 'seed' or more to hold half out, got 1"):
        best_of(grid(seeds=1), "test_loss", holdout=True)
    assert best_of(grid().iloc[:0], "test_loss").empty
    assert best_runs(grid().iloc[:0], "test_loss").empty
