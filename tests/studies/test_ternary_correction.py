"""The gated low-rank path: memory by hand, first values, when gates move, shares of a gap, and claims on made-up runs."""

from functools import cache

import numpy as np
import pandas
import pytest
from halfulp.sim.models.feedforward import Mlp
from halfulp.sim.models.leaves import flat
from halfulp.sim.tasks.loading import task
from halfulp.sim.training.training import Training
from halfulp.studies.ternary_correction import STUDY, study, trainings
from halfulp.studies.ternary_correction.jax_gated import Schedule, first_values, gated_bench, train_gated
from halfulp.studies.ternary_correction.memory import path_bits, share, ternary_bits
from halfulp.studies.ternary_correction.study import HGF, rank_slope, ratio_of
from halfulp.studies.ternary_correction.trainings import SETTINGS, Setting

STEPS = 8


def test_memory_is_counted_by_hand():
    model = Mlp(8, (6, 4), 2)
    ternary, others = 8 * 6 + 6 * 4, 6 + 4 + 4 * 2 + 2
    assert ternary_bits(model) == pytest.approx(ternary * np.log2(3) + 2 * 32 + 16 * others)
    assert path_bits(model, 3) == 16 * (3 * (8 + 6) + 3 * (6 + 4) + 2)
    assert share(model, 3) == path_bits(model, 3) / ternary_bits(model)


@pytest.mark.parametrize("name", list(trainings.SETTINGS))
def test_paths_add_what_was_published(name):
    description = trainings.task_of(name).description
    rank = trainings.rank_of(description)
    assert 0.12 <= share(description, rank) <= 0.15
    assert rank <= trainings.SETTINGS[name].widest


def test_models_too_narrow_for_a_path_are_refused():
    with pytest.raises(ValueError, match="a rank of 1 adds .* of the memory, above 15%"):
        trainings.rank_of(Mlp(8, (6, 4), 2))


def test_first_values():
    chosen = task("digits", size="xs")
    found = flat(first_values(chosen, seed=1, rank=2, widest=4, gate=0.5))
    own = flat(chosen.init(1))
    assert all((found[name] == own[name]).all() for name in own)
    down = found["layers.0.down"]
    assert down.shape == (4, 64)
    assert (down[2:] == 0).all()
    assert np.std(down[:2]) == pytest.approx(1 / 8, rel=0.2)
    assert not found["layers.0.up"].any()
    assert found["gates.layers.0"] == 0.5
    other = flat(first_values(chosen, seed=1, rank=4, widest=4, gate=0.5))
    assert (other["layers.0.down"][:2] == down[:2]).all()
    with pytest.raises(ValueError, match="expected a rank from 0 to 4, got 5"):
        first_values(chosen, 1, 5, 4, 0.5)


@cache
def bench():
    return gated_bench(task("digits", size="xs"), Training(steps=STEPS, batch=32, optimizer="adamw", width=1))


def trained(rank, schedule, gate=0.5, code="ternary"):
    ended = train_gated(bench(), 0, 0.01, code, rank, 4, gate, schedule)
    return ended, flat(ended.parameters)


def test_gates_move_between_warm_up_and_freeze_only():
    held = trained(2, Schedule(STEPS, STEPS, 1e-3))[1]["gates.layers.0"]
    assert held == 0.5
    moved = trained(2, Schedule(2, STEPS, 0.0))[1]["gates.layers.0"]
    frozen = trained(2, Schedule(2, 4, 0.0))[1]["gates.layers.0"]
    assert moved != 0.5
    # Adam's first steps are as long as the learning rate: two of them, and none after
    rates = 0.005 * (1 + np.cos(np.pi * np.array([2, 3]) / STEPS))
    assert 0 < abs(float(frozen) - 0.5) <= rates.sum() * 1.5
    assert abs(float(moved) - 0.5) > abs(float(frozen) - 0.5)


def test_a_penalty_shrinks_gates():
    free, fined = (trained(2, Schedule(0, STEPS, penalty))[1]["gates.layers.0"] for penalty in (0.0, 10.0))
    assert fined < free


def test_rows_beyond_the_rank_stay_zero():
    found = trained(1, Schedule(0, STEPS, 1e-3))[1]
    assert found["layers.0.down"][0].any()
    assert found["layers.0.up"][:, 0].any()
    assert not found["layers.0.down"][1:].any()
    assert not found["layers.0.up"][:, 1:].any()


def test_without_a_path_only_the_code_differs():
    never = Schedule(STEPS, STEPS, 0.0)
    ternary, again = (trained(0, never, gate)[0].metrics for gate in (0.5, 1.0))
    assert ternary == again
    assert trained(0, never, code="float32")[0].metrics["loss"] != ternary["loss"]


def test_ratios_of_means():
    rng = np.random.default_rng(0)
    below = 1 + 0.1 * rng.standard_normal(8)
    exact = ratio_of(0.6 * below, below)
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.6, 0.6, 0.6), abs=1e-6)
    covered = 0
    for _ in range(400):
        gap = 1 + 0.5 * rng.standard_normal(6)
        found = ratio_of(0.5 * gap + 0.2 * rng.standard_normal(6), gap)
        covered += found.low <= 0.5 <= found.high
    assert 0.92 <= covered / 400 <= 0.98
    lost = ratio_of(rng.standard_normal(6), rng.standard_normal(6))
    assert (lost.low, lost.high) == (-np.inf, np.inf)
    assert "not told from 0" in lost.note


def made_up(noise=0.001):
    """Runs in which float32 has a loss of 1, ternary ones 2, and paths close half and .1 more for each doubling."""
    rng, rows = np.random.default_rng(2), []
    for name, setting in trainings.SETTINGS.items():
        rank = trainings.rank_of(trainings.task_of(name).description)
        for row in trainings.rows(name, setting, rank):
            loss = {"float32": 1.0, "ternary": 2.0}.get(
                row["variant"], 1.5 - 0.1 * np.log2(max(row["rank"] / rank, 1e-9))
            )
            loss += {"hgf_one": 0.2, "hgf_free": -0.1}.get(row["variant"], 0.0)
            rows.append({**row, "loss": loss + row["seed"] + noise * rng.standard_normal(), "diverged": False,
                         "gate": 0.3, "memory": 0.13})  # fmt: skip
    table = pandas.DataFrame(rows)
    return study.judged(table.assign(loss=table["loss"] / 100), {name: how.choosing for name, how in SETTINGS.items()})


def test_every_claim_is_measured():
    found = study.measured(made_up())
    assert set(found) == {claim.id for claim in STUDY.claims}
    verdicts = {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims}
    assert found["share_text"].value == pytest.approx(0.5, abs=0.01)
    assert found["rank_digits"].value == pytest.approx(0.1, abs=0.01)
    assert [verdicts[name] for name in ("hgf_bitnet_text", "float32_hgf_digits", "share_text", "rank_digits")] == [
        "reproduced"
    ] * 4
    assert verdicts["gate_text"] == "not reproduced"
    assert verdicts["gate_one_digits"] == "reproduced"
    assert verdicts["schedule_digits"] == "not reproduced"
    assert "13.0% more memory" in found["share_text"].note


def test_the_slope_knows_that_the_gap_is_noisy():
    rng, rows = np.random.default_rng(5), []
    for seed in range(8):
        gap, gain = 1 + 0.6 * rng.standard_normal(), 0.1 + 0.002 * rng.standard_normal()
        of = {"float32": (0, 3 - gap), "ternary": (0, 3.0), **{f"rank_{r}": (r, 3 - gain * np.log2(r)) for r in (1, 4)}}
        rows += [{"variant": name, "seed": seed, "rank": rank, "loss": loss, "diverged": False,
                  "gates": "learned" if rank else "fixed"} for name, (rank, loss) in of.items()]  # fmt: skip
    runs = pandas.DataFrame(rows)
    found = rank_slope(runs)
    gaps = runs[runs["variant"] == "ternary"]["loss"].to_numpy() - runs[runs["variant"] == "float32"]["loss"].to_numpy()
    slopes = -np.diff(runs[runs["rank"] > 0]["loss"].to_numpy().reshape(8, 2))[:, 0] / 2
    assert found.value == pytest.approx(slopes.mean() / gaps.mean())
    # slopes alone vary by 2%, the gap by 60%
    assert found.high - found.low > 0.3 * found.value
    wide = runs["loss"].where(runs["variant"] != "float32", 3 + rng.standard_normal(len(runs)))
    lost = rank_slope(runs.assign(loss=wide))
    assert (lost.low, lost.high) == (-np.inf, np.inf)


def test_shares_by_rank():
    runs = made_up()
    found = study.by_rank(runs[runs["task"] == "teacher_student"])
    assert found["rank"].tolist() == [1, 4, 16]
    assert found["share"].to_numpy() == pytest.approx([0.5, 0.7, 0.9], abs=0.01)


def test_the_plan_pairs_seeds():
    setting = Setting((("size", "xs"),), Training(5, 32, optimizer="adamw"), (0.01,), 3, ranks=(1, 2, 4))
    plan = list(trainings.rows("digits", setting, 2))
    names = {row["variant"] for row in plan}
    assert names == {"float32", "ternary", *(f"hgf_{gates}" for gates in trainings.GATES), "rank_1", "rank_4"}
    assert len(plan) == 3 * len(names)
    assert HGF in names


def test_trainings_go_on_from_the_store(tmp_path, monkeypatch):
    setting = Setting((("size", "xs"),), Training(STEPS, 32, optimizer="adamw"), (0.01,), 2, gates=("learned",))
    plan = [row for row in trainings.rows("digits", setting, 2) if row["variant"] != "float32"]
    asked = []
    monkeypatch.setattr(trainings, "_bench", lambda *given: asked.append(given) or bench())
    first = study.trained(trainings.train_one, plan, tmp_path / "runs.db", "test", lambda done, total: None)
    again = study.trained(trainings.train_one, plan, tmp_path / "runs.db", "test", lambda done, total: None)
    assert len(asked) == len(plan) == 4
    pandas.testing.assert_frame_equal(first, again)
    assert (first["memory"] > 0).tolist() == [False, False, True, True]
    assert (first["gate"] != 0.5).tolist() == [False, False, True, True]
