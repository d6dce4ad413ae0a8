"""Paired comparisons: against scipy, hand calculations and simulated truth."""

import numpy as np
import pandas as pd
import pytest
from halfulp.sim.sweeps.pairs import compare, holm
from scipy import stats


def runs_of(losses, **more):
    rows = [(name, seed, loss) for name, each in losses.items() for seed, loss in enumerate(each)]
    return pd.DataFrame(rows, columns=["format", "seed", "test_loss"]).assign(**more)


BASE = [0.20, 0.24, 0.21, 0.23, 0.25, 0.22]
LOSSES = {"e4m3": [0.21, 0.26, 0.22, 0.26, 0.28, 0.225], "binary32": BASE, "e2m1": [0.3, 0.38, 0.31, 0.35, 0.36, 0.33]}


def test_against_scipy():
    found = compare(runs_of(LOSSES), "test_loss", pairs="seed", resamples=999).set_index("format")
    assert found.index.tolist() == ["e4m3", "e2m1"]
    for name, row in found.iterrows():
        x, y = np.array(LOSSES[name]), np.array(BASE)
        assert row["estimate"] == pytest.approx(np.mean(x - y), rel=1e-12)
        assert row["t_p"] == pytest.approx(stats.ttest_rel(x, y).pvalue, rel=1e-9)
        assert row["wilcoxon_p"] == pytest.approx(all_signs(np.round(x - y, 6)), rel=1e-12)
        assert row["effect_size"] == pytest.approx(np.mean(x - y) / np.std(x - y, ddof=1), rel=1e-12)
        assert row["ratio"] == pytest.approx(stats.gmean(x / y), rel=1e-12)
        assert row["ratio_low"] < row["ratio"] < row["ratio_high"]
        interval = stats.bootstrap((x - y,), np.mean, n_resamples=999, random_state=np.random.default_rng(0))
        assert (row["low"], row["high"]) == pytest.approx(tuple(interval.confidence_interval), rel=1e-12)
        assert (row["mean"], row["baseline_mean"]) == pytest.approx((x.mean(), y.mean()))
        assert (row["n"], row["unpaired"], row["diverged"], row["verdict"]) == (6, 0, 0, "worse")
    assert found["t_holm"].tolist() == pytest.approx(holm(found["t_p"]).tolist())


def all_signs(differences):
    """The signed-rank test by counting every choice of signs."""
    ranks = stats.rankdata(np.abs(differences))
    signs = (np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks))) & 1
    sums, seen = signs @ ranks, ranks[differences > 0].sum()
    return min(1, 2 * min(np.mean(sums <= seen), np.mean(sums >= seen)))


def test_signed_rank_counts_ties():
    """Accuracies are multiples of 1 / 360: their differences tie, if not to the last bit."""
    base = np.array([350, 341, 352, 347, 344, 349, 350, 346]) / 360
    steps = np.array([-3, -3, 1, -2, 0, -3, -1, -4])
    runs = runs_of({"binary32": base, "x": base + steps / 360})
    found = compare(runs, "test_loss", pairs="seed", method="t")["wilcoxon_p"][0]
    assert found == pytest.approx(all_signs(steps[steps != 0]), rel=1e-12)
    many = np.random.default_rng(0).normal(0.3, 1, 60)
    runs = runs_of({"binary32": np.zeros(60), "x": many})
    asymptotic = compare(runs, "test_loss", pairs="seed", method="t")["wilcoxon_p"][0]
    assert asymptotic == pytest.approx(stats.wilcoxon(many).pvalue, rel=1e-6)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, np.nan]).tolist() == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_verdicts():
    shift = {"better": -0.1, "worse": 0.1, "same": 0.0}
    losses = {"binary32": BASE} | {k: [b + s + 0.001 * (-1) ** i for i, b in enumerate(BASE)] for k, s in shift.items()}
    how = {"pairs": "seed", "method": "t"}
    found = compare(runs_of(losses), "test_loss", **how).set_index("format")["verdict"]
    assert found.to_dict() == {"better": "better", "worse": "worse", "same": "inconclusive"}
    margin = compare(runs_of(losses), "test_loss", margin=0.01, **how).set_index("format")["verdict"]
    assert margin.to_dict() == {"better": "better", "worse": "worse", "same": "equivalent"}
    wide = compare(runs_of(losses), "test_loss", margin=0.1, **how).set_index("format")["verdict"]
    assert wide.to_dict() == {"better": "inconclusive", "worse": "inconclusive", "same": "equivalent"}
    more = compare(runs_of(losses), "test_loss", direction="maximize", **how).set_index("format")["verdict"]
    assert more.to_dict() == {"better": "worse", "worse": "better", "same": "inconclusive"}


def test_pairing_removes_what_seeds_share():
    random = np.random.default_rng(0)
    base = random.normal(0, 10, 8)
    runs = runs_of({"binary32": base, "x": base + 0.1 + random.normal(0, 0.01, 8)})
    row = compare(runs, "test_loss", pairs="seed", method="t").iloc[0]
    assert row["verdict"] == "worse"
    assert row["high"] - row["low"] < 0.05
    assert np.isnan(row["ratio"])  # values of both signs


def test_false_verdicts_are_as_rare_as_promised():
    random = np.random.default_rng(2)
    # a constant baseline, so that levels are independent
    losses = {"binary32": np.zeros(6)} | {f"x{k}": random.normal(size=6) for k in range(200)}
    found = compare(runs_of(losses), "test_loss", pairs="seed", method="t")
    assert 3 <= (found["verdict"] != "inconclusive").sum() <= 19  # of 200 at 5%: 10 +- 3.1
    assert (found["wilcoxon_p"] < 0.05).sum() <= 19
    assert (found["t_holm"] < 0.05).sum() <= 1


def test_units_are_averaged_first():
    """Two rates of one seed are no two independent pairs: with a unit they count once."""
    runs = pd.concat([runs_of(LOSSES, learning_rate=rate) for rate in (0.1, 0.3)])
    naive = compare(runs, "test_loss", method="t").set_index("format")
    honest = compare(runs, "test_loss", method="t", unit="seed").set_index("format")
    plain = compare(runs_of(LOSSES), "test_loss", pairs="seed", method="t").set_index("format")
    assert naive["n"].tolist() == [12, 12]
    pd.testing.assert_frame_equal(honest, plain)
    assert (naive["high"] - naive["low"] < honest["high"] - honest["low"]).all()


def test_missing_pairs_are_reported():
    runs = runs_of(LOSSES).drop(index=[0, 7])  # seed 0 of e4m3, seed 1 of binary32
    found = compare(runs, "test_loss", pairs="seed", method="t").set_index("format")
    assert found[["n", "unpaired"]].to_numpy().tolist() == [[4, 2], [5, 1]]
    assert found["note"].tolist() == ["2 runs unpaired", "1 run unpaired"]
    none = compare(pd.concat([runs, runs_of({"x": [1.0]}).assign(seed=99)]), "test_loss", pairs="seed", method="t")
    assert none.iloc[-1][["n", "unpaired", "verdict"]].tolist() == [0, 6, "inconclusive"]
    assert "no pairs" in none.iloc[-1]["note"]


def test_diverged_pairs():
    runs = runs_of(LOSSES)
    runs.loc[0, "test_loss"] = np.nan  # seed 0 of e4m3
    runs.loc[7, "test_loss"] = np.inf  # seed 1 of binary32
    with pytest.raises(ValueError, match="2 of 18 runs diverged"):
        compare(runs, "test_loss", pairs="seed")
    found = compare(runs, "test_loss", pairs="seed", method="t", diverged="drop").set_index("format")
    assert found[["n", "diverged"]].to_numpy().tolist() == [[4, 2], [5, 1]]
    worst = compare(runs, "test_loss", pairs="seed", method="t", diverged="worst").set_index("format")
    assert worst[["n", "diverged"]].to_numpy().tolist() == [[6, 2], [6, 1]]
    lost = compare(runs.assign(test_loss=np.nan), "test_loss", pairs="seed", diverged="drop")
    assert lost["verdict"].tolist() == ["inconclusive"] * 2
    assert lost["n"].tolist() == [0, 0]


def test_one_pair_and_equal_differences():
    one = compare(runs_of({"binary32": [0.2], "x": [0.3]}), "test_loss", pairs="seed").iloc[0]
    assert one["estimate"] == pytest.approx(0.1)
    assert np.isnan(one[["low", "high", "t_p", "wilcoxon_p", "effect_size"]].astype(float)).all()
    assert (one["verdict"], one["note"]) == ("inconclusive", "one pair: no interval")
    same = compare(runs_of({"binary32": BASE, "x": BASE}), "test_loss", pairs="seed").iloc[0]
    assert same[["estimate", "low", "high", "wilcoxon_p", "effect_size"]].tolist() == [0, 0, 0, 1, 0]
    assert (same["verdict"], same["note"]) == ("inconclusive", "all 6 pairs are equal")
    shifted = compare(runs_of({"binary32": BASE, "x": [b + 0.1 for b in BASE]}), "test_loss", pairs="seed").iloc[0]
    assert (shifted["verdict"], shifted["effect_size"]) == ("worse", np.inf)  # no spread but float64's rounding
    assert np.isnan(shifted["t_p"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": ("seed", "learning_rate")}, "unknown column 'learning_rate'.* pass the columns of a pair as pairs="),
        ({"baseline": "binary3"}, "unknown format 'binary3'; did you mean 'binary32'"),
        ({"factor": "fmt"}, "unknown column 'fmt'"),
        ({"pairs": ("seed", "format")}, "expected pairs of columns other than 'format'"),
        ({"pairs": ()}, "expected pairs of columns other than 'format'"),
        ({"unit": "format"}, "expected a unit among the pairs"),
        ({"margin": -1}, "expected a margin of 0 or more"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        compare(runs_of(LOSSES), "test_loss", **{"pairs": "seed", **change})


def test_unpaired_runs_are_refused():
    runs = runs_of(LOSSES)
    runs.loc[runs["format"] == "binary32", "seed"] += 100
    with pytest.raises(ValueError, match="no run shares seed with one of 'binary32'; pass as pairs="):
        compare(runs, "test_loss", pairs="seed")


def test_several_runs_of_a_pair_name_the_column():
    runs = pd.concat([runs_of(LOSSES, learning_rate=rate, diverged=False) for rate in (0.1, 0.3)], ignore_index=True)
    with pytest.raises(ValueError, match="got 2 with seed=0; they differ in 'learning_rate': add it to pairs="):
        compare(runs, "test_loss", pairs="seed")
    with pytest.raises(ValueError, match="drop duplicates first"):
        compare(pd.concat([runs_of(LOSSES)] * 2), "test_loss", pairs="seed")


def test_only_the_baseline_and_nothing():
    assert compare(runs_of({"binary32": BASE}), "test_loss", pairs="seed").empty
    assert compare(runs_of(LOSSES).iloc[:0], "test_loss", pairs="seed").empty
