"""Precision in training and after it: powers and shares by hand, claims on made-up models, rounding against NumPy."""

from dataclasses import replace

import numpy as np
import pandas
import pytest
from halfulp import quantize
from halfulp.studies.precision_law import LAW
from halfulp.studies.precision_training import STUDY, analysis, jax_models, measures, plans, study
from halfulp.studies.precision_training.weights import rules_of_bits

PLAN = plans.PLANS["quick"]
CALLS: list[str] = []


def made_up(plan=PLAN, power=0.5, of_size=-0.3, rate=-1.7, gamma=2.7, harm=0.1, noise=0.0):
    """Models that obey the law: damage tokens^power parameters^of_size e^(rate post), more by harm for each bit of
    training; losses 6 - .2 log(parameters share) - .2 log(tokens) with share 1 - exp(-bits / gamma), 1 in float32."""
    rng, rows = np.random.default_rng(0), []
    for part in plan.parts:
        for bits in part.bits:
            trained = bits or plans.FLOAT
            share = 1 - np.exp(-trained / gamma) if bits else 1.0
            for steps in part.lengths:
                tokens = steps * 512
                for seed in range(part.seeds):
                    luck = 0.1 * seed
                    before = 6 - 0.2 * np.log(part.parameters * share) - 0.2 * np.log(tokens) + luck
                    for post in part.post:
                        damage = 1e-2 * tokens**power * part.parameters**of_size * np.exp(rate * post)
                        damage *= np.exp(harm * min(trained, 8) + noise * rng.standard_normal())
                        rows.append((part.size, part.parameters, trained, steps, tokens, seed, post, before,
                                     before + damage))  # fmt: skip
    names = ["size", "parameters", "bits", "steps", "tokens", "seed", "post", "before", "after"]
    return pandas.DataFrame(rows, columns=names)


def verdicts(table, plan=PLAN):
    found = measures.measured(table, plan)
    assert set(found) == {claim.id for claim in STUDY.claims}
    return found, {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims}


def test_a_law_that_was_put_in_comes_out():
    found, judged = verdicts(made_up(noise=1e-6))
    for id in ("grows_13k_int3", "grows_50k_int4", "power_of_data"):
        assert found[id].value == pytest.approx(0.5, abs=1e-4)
    assert found["shrinks_int3"].value == pytest.approx(-0.3, abs=1e-4)
    assert found["rate_from_3_to_4"].value == pytest.approx(-1.7, abs=1e-4)
    assert found["exponential_to_2"].value == pytest.approx(0, abs=1e-4)
    assert found["effective_share"].value == pytest.approx(1 - np.exp(-3 / 2.7), abs=1e-4)
    assert found["sensitivity"].value == pytest.approx(2.7, abs=1e-3)
    assert found["robust"].value == pytest.approx(-0.4, abs=1e-4)
    assert found["robust_by_bits"].value == pytest.approx(0.1, abs=1e-4)
    assert found["robust_to_2"].value == pytest.approx(-0.5, abs=1e-4)
    assert set(judged.values()) == {"reproduced"}


def test_the_opposite_law_is_not_reproduced():
    _, judged = verdicts(made_up(power=-0.5, of_size=0.3, rate=0.5, harm=-0.1, noise=1e-6))
    reproduced = {name for name, verdict in judged.items() if verdict == "reproduced"}
    assert reproduced == {"exponential_to_2", "more_data_helps", "trained_loss", "effective_share", "sensitivity"}


def test_the_full_plan_answers_the_same_claims():
    _, judged = verdicts(made_up(plans.PLANS["full"], noise=1e-6), plans.PLANS["full"])
    assert set(judged.values()) == {"reproduced"}


def test_a_power_of_zero_is_inconclusive():
    _, judged = verdicts(made_up(of_size=0.0, noise=0.5))
    assert judged["shrinks_int3"] == "inconclusive"


def test_two_bits_do_not_enter_the_rate():
    """The law was fitted to 3 bits and more."""
    table = made_up(noise=1e-6)
    table.loc[table["post"] == 2, "after"] += 1.0
    found, judged = verdicts(table)
    assert found["rate_from_3_to_4"].value == pytest.approx(-1.7, abs=1e-4)
    assert judged["exponential_to_2"] == "not reproduced"


def test_parts_that_cannot_be_judged():
    for lengths in ((), (16, 8), (8, 8)):
        with pytest.raises(ValueError, match="expected lengths in ascending order"):
            plans.Part("13k", lengths)
    with pytest.raises(ValueError, match="expected two seeds or more, for an interval, got 1"):
        plans.Part("13k", (8,), seeds=1)


def test_shares_by_hand():
    assert analysis.share_of(np.array([3.0, 2.9]), 2.8, -0.4) == pytest.approx(np.exp([-0.5, -0.25]))
    with pytest.raises(ValueError, match="expected float32's loss to fall with size, got a slope of 0.1"):
        analysis.share_of(np.ones(2), 1.0, 0.1)


def test_powers_of_noisy_values():
    at = np.array([1.0, 2.0, 4.0, 8.0])
    for g in (-0.34, 0.5, 2.0):
        assert analysis.power(3 * at**g, np.array([1.0, 5.0, 0.1, 2.0]), at) == pytest.approx(g, abs=1e-6)
    spread = np.array([0.3, 0.1, 0.1, 0.1])
    found = analysis.power(np.array([-0.2, 2.0, 4.0, 8.0]), spread, at)  # one below 0, by four deviations from 1
    assert 1.0 < found < 1.1
    assert analysis.fitted_power(at, spread, at) == pytest.approx(at)
    with pytest.raises(ValueError, match="expected values above 0 for a power"):
        analysis.power(-at, spread, at)


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).standard_normal((7, 3))
    found, plain = analysis.of_means(values, lambda mean: 2 * mean[1]), analysis.interval(2 * values[:, 1])
    assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high))
    assert found.count == 7


def test_the_jackknife_of_a_log_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [
        analysis.of_means(1 + 0.3 * rng.standard_normal((6, 1)), lambda m: float(np.log(m[0]))) for _ in range(400)
    ]
    assert np.mean([each.low <= 0 <= each.high for each in found]) == pytest.approx(0.95, abs=0.03)


def test_gamma_that_was_put_in():
    bits = (3, 4, 5, 6)
    for gamma in (0.8, 2.6745, 7.0):
        assert analysis.sensitivity(bits, 1 - np.exp(-np.array(bits) / gamma)) == pytest.approx(gamma, rel=1e-6)


def test_damages_without_a_log():
    assert analysis.log_damage(np.array([[np.e]])) == pytest.approx(np.array([[1.0]]))
    with pytest.raises(ValueError, match="expected mean damages above 0, got -0.1; take more seeds"):
        analysis.log_damage(np.array([[1.0, -0.1]]))


def test_cells_that_are_missing():
    table = made_up()
    assert analysis.damages(table, size="13k", bits=32, post=3).shape == (6, 4)
    with pytest.raises(ValueError, match="no model with size 1m"):
        analysis.damages(table, size="1m")
    with pytest.raises(ValueError, match="every seed in every cell"):
        analysis.damages(table.iloc[1:], post=2)


def test_rules_spare_the_head():
    (head, none), (everything, recipe) = rules_of_bits(3)
    assert (head, none, everything) == ("head", None, "*")
    assert (recipe.fprop_w.fmt, recipe.fprop_x.fmt, recipe.dgrad_e.fmt) == ("int3_per_row", None, None)
    assert recipe.dgrad_w.source == "quantized"
    assert rules_of_bits(None) == "identity"
    with pytest.raises(ValueError, match="expected from 2 to 8 bits of weights, got 1"):
        rules_of_bits(1)


def test_the_plans():
    for plan in plans.PLANS.values():
        aware = [part for part in plan.parts if part.bits != (None,)]
        assert [(part.size, part.lengths) for part in aware] == [(plan.aware, (plan.shared,))]
        shared = [part.size for part in plan.parts if part.bits == (None,) and plan.shared in part.lengths]
        assert plan.aware in shared
        assert len(shared) >= 3
        assert {part.seeds for part in plan.parts} == {plan.parts[0].seeds}
        assert plan.parts[0].seeds >= 5
    assert [part.parameters for part in PLAN.parts] == [13408, 53440, 106816, 13408]
    assert sum(part.runs for part in PLAN.parts) == 78


def test_the_law_puts_the_critical_size_where_the_claim_says():
    assert LAW.critical_tokens(53440, 3) == pytest.approx(1.8e9, rel=0.05)


def pretended(config):
    """Losses as `models` gives them."""
    CALLS.append(config["options"]["size"])
    found = {}
    for bits in config["bits"]:
        for steps in config["lengths"]:
            for seed in range(config["seeds"]):
                name = f"{bits} {steps} {seed}"
                found[name] = 1.0 + seed
                found |= {f"{name} {post}": 1.0 + seed + 1 / (steps * post) for post in config["post"]}
    return found


def test_a_killed_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(jax_models, "models", pretended)
    CALLS.clear()
    plan = plans.Plan((plans.Part("13k", (2, 4)), plans.Part("50k", (2,), bits=(None, 4))), 2, "50k")
    study.trained(replace(plan, parts=plan.parts[:1]), tmp_path / "runs.db")
    table = study.trained(plan, tmp_path / "runs.db")
    assert CALLS == ["13k", "50k"]
    assert len(table) == sum(part.runs * len(part.post) for part in plan.parts)
    assert set(table["bits"]) == {4, 32}
    assert analysis.damages(table, size="13k", post=3) == pytest.approx(np.tile([1 / 6, 1 / 12], (6, 1)))


@pytest.mark.slow
def test_lengths_share_a_program_and_rounding_is_that_of_the_weights():
    """The shorter of two trainings is that of a trainer of its own; losses are those of weights rounded by hand."""
    import jax
    from halfulp.sim.tasks.loading import task
    from halfulp.sim.training.jax_grid import Trainer
    from halfulp.sim.training.training import Run, Training
    from halfulp.studies.precision_training.jax_damage import Losses
    from halfulp.studies.precision_training.jax_lengths import trained_for

    text = task("text", size="13k", context=16, valid_samples=8)
    how = Training(batch=2, optimizer="adamw", warmup=1, width=2)
    runs = [Run("identity", seed=seed, learning_rate=0.01) for seed in range(2)]
    found = trained_for(text, how, (3, 6), runs)
    alone = Trainer(text, replace(how, steps=3)).train(runs)
    for one, other in zip(found[3], alone):
        assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-6)
        assert one.curves["loss"] == pytest.approx(other.curves["loss"], rel=1e-6)
        assert len(one.curves["loss"]) == 3
    parameters = found[6][0].parameters

    def rounded(path, p):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        linear = name.startswith("layers") and p.ndim == 2
        return quantize(np.ascontiguousarray(p), "int3_per_row") if linear else p

    by_hand = jax.tree_util.tree_map_with_path(rounded, parameters)
    sums = text.evaluate(by_hand, text.valid, np.zeros(2, np.uint32))
    assert Losses(text, (2, 3, 4))(parameters)[1] == pytest.approx(float(sums["loss"] / sums["count"]), rel=1e-6)
    with pytest.raises(ValueError, match="expected different numbers of steps"):
        trained_for(text, how, (3, 3), runs)
