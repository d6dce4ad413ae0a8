"""Effects of factorial designs: a textbook's numbers, dummy-coded models, simulated truth, and aliases."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from halfulp.sim.sweeps.effects import anova, effects

# Montgomery, "Design and Analysis of Experiments", 8th edition, example 6.1: etch rate over gap, flow and power.
ETCH = {
    (0, 0, 0): (550, 604), (1, 0, 0): (669, 650), (0, 1, 0): (633, 601), (1, 1, 0): (642, 635),
    (0, 0, 1): (1037, 1052), (1, 0, 1): (749, 868), (0, 1, 1): (1075, 1063), (1, 1, 1): (729, 860),
}  # fmt: skip
PUBLISHED = {
    "gap": (-101.625, 41310.5625), "flow": (7.375, 217.5625), "power": (306.125, 374850.0625),
    "gap:flow": (-24.875, 2475.0625), "gap:power": (-153.625, 94402.5625), "flow:power": (-2.125, 18.0625),
    "gap:flow:power": (5.625, 126.5625),
}  # fmt: skip


def etch():
    rows = [(*levels, seed, float(rate)) for levels, rates in ETCH.items() for seed, rate in enumerate(rates)]
    return pd.DataFrame(rows, columns=["gap", "flow", "power", "seed", "rate"])


def test_textbook_effects():
    found = effects(etch(), "rate", ["gap", "flow", "power"], interactions=3)
    high = found[found["difference"].notna()].set_index("factor")
    assert high["difference"].to_dict() == pytest.approx({name: value for name, (value, _) in PUBLISHED.items()})
    assert (found.groupby("factor")["estimate"].sum().abs() < 1e-9).all()
    # error mean square 18020.5 / 8, the standard error of a difference 2 sqrt(MS / 16), t(.975, 8) = 2.306004
    half = 2.306004135204166 * 2 * np.sqrt(18020.5 / 8 / 16)
    assert (high["difference_high"] - high["difference"]).to_numpy() == pytest.approx(half)
    cells = found[found["factor"] == "gap:flow:power"].set_index("level")
    assert cells.loc["1:0:1", "mean"] == pytest.approx((749 + 868) / 2)  # a full model fits every cell's mean
    assert cells["n"].tolist() == [2] * 8


def test_textbook_anova():
    found = anova(etch(), "rate", ["gap", "flow", "power"], interactions=3).set_index("term")
    assert found["sum_of_squares"].to_dict() == pytest.approx(
        {name: squares for name, (_, squares) in PUBLISHED.items()} | {"residual": 18020.5}
    )
    assert found.loc[["gap", "power", "gap:power"], "f"].tolist() == pytest.approx([18.34, 166.41, 41.91], abs=5e-3)
    assert found.loc["gap", "p"] == pytest.approx(0.0027, abs=5e-5)
    assert found.loc["residual", "df"] == 8
    assert found["share"].sum() == pytest.approx(1)
    assert found.loc["gap", "partial_eta2"] == pytest.approx(41310.5625 / (41310.5625 + 18020.5))
    assert found.loc["power", "share"] == pytest.approx(374850.0625 / 531420.9375)


def grid(random, noise=0.1, seeds=4, formats="abc", rates=(0.1, 0.3)):
    """loss = 1 + format + rate + their interaction + seed's own + noise."""
    main, rate, both = {"a": -0.5, "b": 0.1, "c": 0.4}, {0.1: -0.2, 0.3: 0.2}, {"a": 0.15, "b": -0.15, "c": 0.0}
    rows = [
        (f, r, s, 1 + main[f] + rate[r] + both[f] * (1 if r == 0.3 else -1) + noise * random.normal())
        for f, r, s in product(formats, rates, range(seeds))
    ]
    return pd.DataFrame(rows, columns=["format", "learning_rate", "seed", "test_loss"])


TRUTH = {
    "a": -0.5, "b": 0.1, "c": 0.4, "0.1": -0.2, "0.3": 0.2,
    "a:0.1": -0.15, "a:0.3": 0.15, "b:0.1": 0.15, "b:0.3": -0.15, "c:0.1": 0, "c:0.3": 0,
}  # fmt: skip


def test_known_effects_without_noise():
    for runs in (grid(np.random.default_rng(0), 0), grid(np.random.default_rng(0), 0).drop(index=[0, 1, 2, 9, 23])):
        found = effects(runs, "test_loss", ["format", "learning_rate"]).set_index("level")
        assert found["estimate"].to_dict() == pytest.approx(TRUTH, abs=1e-12)  # also where unbalanced
        assert found.loc["0.3", "difference"] == pytest.approx(0.4)
        assert found.loc["c", "mean"] == pytest.approx(1.4)


def test_intervals_hold_the_truth_as_often_as_promised():
    random = np.random.default_rng(3)
    held = []
    for _ in range(50):
        found = effects(grid(random), "test_loss", ["format", "learning_rate"]).set_index("level")
        truth = pd.Series(TRUTH)
        held.append((found["low"] <= truth) & (truth <= found["high"]))
    assert 0.9 <= np.mean(held) <= 0.99


def test_unbalanced_squares_are_those_of_dummy_models():
    """Type II by hand: what a term takes off the residual of a model coded in another way."""
    runs = grid(np.random.default_rng(1)).drop(index=[0, 1, 5, 9, 20])
    y = runs["test_loss"].to_numpy()

    def residual(*columns):
        dummies = [pd.get_dummies(runs[list(c)].astype(str).agg("|".join, axis=1)).to_numpy(float) for c in columns]
        matrix = np.hstack([np.ones((len(y), 1)), *dummies])
        return np.square(y - matrix @ np.linalg.lstsq(matrix, y)[0]).sum()

    f, r = ("format",), ("learning_rate",)
    found = anova(runs, "test_loss", ["format", "learning_rate"]).set_index("term")["sum_of_squares"]
    assert found["format"] == pytest.approx(residual(r) - residual(f, r))
    assert found["learning_rate"] == pytest.approx(residual(f) - residual(f, r))
    assert found["format:learning_rate"] == pytest.approx(residual(f, r) - residual(f + r))
    assert found["residual"] == pytest.approx(residual(f + r))


def test_bootstrap_over_seeds():
    random = np.random.default_rng(4)
    runs = grid(random, seeds=12)
    own = random.normal(size=12)
    shifted = runs.assign(test_loss=runs["test_loss"] + own[runs["seed"]])
    how = {"method": "bca", "resamples": 499}
    found = effects(runs, "test_loss", ["format", "learning_rate"], **how)
    # what all runs of a seed share moves no effect of other factors, and no interval of clusters
    moved = effects(shifted, "test_loss", ["format", "learning_rate"], **how)
    assert moved[["estimate", "low", "high"]].to_numpy() == pytest.approx(
        found[["estimate", "low", "high"]].to_numpy(), abs=1e-9
    )
    student = effects(shifted, "test_loss", ["format", "learning_rate"])
    assert (student["high"] - student["low"] > 3 * (moved["high"] - moved["low"])).all()
    block = effects(
        shifted, "test_loss", ["format", "learning_rate", "seed"], interactions=[("format", "learning_rate")]
    )
    blocked = block[~block["factor"].str.contains("seed")].reset_index(drop=True)
    widths = [(each["high"] - each["low"]).mean() for each in (blocked, moved)]
    assert 0.7 < widths[0] / widths[1] < 1.4  # a block for seeds does the same


def test_bootstrap_is_refitting():
    """A resample's effects are those of the runs of its seeds, taken as often as drawn."""
    runs = grid(np.random.default_rng(5), seeds=3)
    found = effects(runs, "test_loss", ["format", "learning_rate"], method="percentile", resamples=99, confidence=0.5)
    from scipy import stats

    def refitted(seeds):
        drawn = pd.concat([runs[runs["seed"] == seed] for seed in seeds])
        return drawn[drawn["format"] == "a"]["test_loss"].mean() - drawn["test_loss"].mean()

    theirs = stats.bootstrap(
        (np.arange(3),), refitted, vectorized=False, n_resamples=99, confidence_level=0.5, method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert found.loc[0, ["low", "high"]].tolist() == pytest.approx(list(theirs))
    assert "3 clusters" in found["note"][0]


def test_aliases_are_named():
    runs = grid(np.random.default_rng(0)).assign(kind=lambda of: of["format"].map({"a": "u", "b": "v", "c": "v"}))
    with pytest.raises(ValueError, match="cannot tell apart the effects of 'format' and 'kind'; leave one out"):
        effects(runs, "test_loss", ["format", "kind", "learning_rate"], interactions=1)
    hole = runs[~((runs["format"] == "b") & (runs["learning_rate"] == 0.3))]
    with pytest.raises(ValueError, match=r"format:learning_rate' \(no run of format=b with learning_rate=0.3\)"):
        effects(hole, "test_loss", ["format", "learning_rate"])
    assert len(effects(hole, "test_loss", ["format", "learning_rate"], interactions=1)) == 5
    # a half fraction of 2^3, C = AB: each main effect is one of the interactions
    half = pd.DataFrame(
        [(a, b, a ^ b, float(a)) for a, b in product((0, 1), (0, 1))] * 2, columns=["a", "b", "c", "loss"]
    )
    with pytest.raises(ValueError, match="'a' and 'b' and 'c' and 'a:b' and 'a:c' and 'b:c'"):
        effects(half, "loss", ["a", "b", "c"])
    assert effects(half, "loss", ["a", "b", "c"], interactions=1)["difference"].dropna().tolist() == pytest.approx(
        [1, 0, 0], abs=1e-12
    )


def test_as_many_effects_as_runs():
    found = effects(etch().query("seed == 0"), "rate", ["gap", "flow", "power"], interactions=3)
    assert found["estimate"].notna().all()
    assert found[["low", "high", "partial_eta2"]].isna().all().all()
    assert set(found["note"]) == {"as many effects as runs: no interval"}
    table = anova(etch().query("seed == 0"), "rate", ["gap", "flow", "power"], interactions=3)
    assert table[["f", "p"]].isna().all().all()


def test_constant_metric():
    found = effects(etch().assign(rate=0.1), "rate", ["gap", "flow"])
    assert (found[["estimate", "low", "high"]] == 0).all().all()
    assert anova(etch().assign(rate=0.1), "rate", ["gap", "flow"])["partial_eta2"].isna().all()


def test_diverged_runs():
    runs = grid(np.random.default_rng(0))
    runs.loc[0, "test_loss"] = np.nan
    with pytest.raises(ValueError, match="1 of 24 runs diverged"):
        effects(runs, "test_loss", "format")
    assert set(effects(runs, "test_loss", "format", diverged="drop")["note"]) == {"1 of 24 runs diverged, left out"}
    worst = effects(runs, "test_loss", "format", diverged="worst")
    assert set(worst["note"]) == {"1 of 24 runs diverged, given the worst value"}
    assert worst["n"].tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": ["format", "fmt"]}, "unknown column 'fmt'; did you mean 'format'"),
        ({"factors": ["task"]}, "factor 'task' has one level, 'digits', and no effect"),
        ({"factors": []}, "expected runs and factors"),
        ({"interactions": 0}, "expected interactions of 1"),
        ({"interactions": ["format"]}, "expected interactions of two or more of the factors"),
        ({"interactions": [("format", "seed")]}, "expected interactions of two or more of the factors"),
        ({"method": "bca", "cluster": "task"}, "expected two values of cluster='task' or more"),
        ({"method": "bca", "cluster": None}, "expected two values of cluster=None or more"),
        ({"method": "bca", "factors": ["format", "seed"]}, "pass another cluster, fewer interactions, or method='t'"),
    ],
)
def test_errors(change, message):
    runs = grid(np.random.default_rng(0)).assign(task="digits")
    with pytest.raises(ValueError, match=message):
        effects(runs, "test_loss", **{"factors": ["format", "learning_rate"], **change})


def test_nothing_to_fit():
    runs = grid(np.random.default_rng(0))
    with pytest.raises(ValueError, match="none of 0 has a finite"):
        effects(runs.iloc[:0], "test_loss", "format")
    with pytest.raises(ValueError, match="none of 24 has a finite"):
        effects(runs.assign(test_loss=np.nan), "test_loss", "format", diverged="drop")


def test_order_of_levels():
    runs = grid(np.random.default_rng(0), formats="cab", rates=(0.3, 0.1))
    assert effects(runs, "test_loss", ["format", "learning_rate"])["level"].tolist()[:5] == [
        "c",
        "a",
        "b",
        "0.1",
        "0.3",
    ]
    ordered = runs.assign(format=pd.Categorical(runs["format"], ["b", "c", "a"]))
    assert effects(ordered, "test_loss", ["format"])["level"].tolist() == ["b", "c", "a"]
