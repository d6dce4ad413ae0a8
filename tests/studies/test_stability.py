"""Stability: curves, boxes of logits, paired effects on made-up runs, the plan, the proxy's clamping, short trainings."""

from dataclasses import replace

import numpy as np
import pandas
import pytest
from halfulp.formats.catalogue import format as any_format
from halfulp.studies.stability import STUDY, arithmetics, boxes, curves, effects, rises, settings, study, training
from halfulp.studies.stability.arithmetics import arithmetic, with_smaller_gradients
from halfulp.studies.stability.boxes import half_sides, largest_rise
from halfulp.studies.stability.clamping import BLOCK, all_become_one, clamped_share

OPERANDS = ("fprop_x", "fprop_w", "dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x")
DIGITS = settings.SETTINGS["digits"]


def cross_entropy(logits, label):
    shifted = logits - logits.max()
    return np.log(np.exp(shifted).sum()) - shifted[label]


def test_spikes_stand_above_the_running_median():
    loss = np.ones(60)
    loss[10] = 9.0  # within the first window: there is no median to stand above
    loss[30], loss[31], loss[40] = 1.6, 1.49, 2.0
    assert curves.spike_steps(loss, 0.5).tolist() == [30, 40]
    loss[50:] = np.nan
    assert curves.spike_steps(loss, 0.5).tolist() == [30, 40, 50]  # the first that was not finite, and none after it
    assert not len(curves.spike_steps(loss[:15], 0.5))


def test_the_onset_is_where_the_median_turns():
    falling, rising = np.linspace(3, 1, 50), np.linspace(1, 6, 50)
    step, lowest = curves.onset(np.concatenate([falling, rising]))
    assert step == pytest.approx(50, abs=5)
    assert 1 <= lowest < 1.3
    assert curves.onset(np.full(40, np.nan)) == (10, np.inf)
    assert curves.final_loss(np.concatenate([falling, np.full(20, 2.5)])) == 2.5
    assert curves.final_loss(np.append(falling, np.nan)) == np.inf


def test_entropy_is_that_of_frequencies():
    assert curves.entropy([0, 0, 1, 1]) == pytest.approx(np.log(2))
    assert curves.entropy(np.zeros((3, 4), int)) == 0


@pytest.mark.parametrize("box", boxes.BOXES)
def test_no_perturbation_in_the_box_rises_higher(box, monkeypatch):
    monkeypatch.setattr(boxes, "RADIUS", 0.3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits, label = 3 * rng.standard_normal(7), int(rng.integers(7))
        r = half_sides(np, logits, box)
        found = float(largest_rise(np, logits[None], np.array([label]), r[None])[0])
        corners = rng.choice([-1.0, 1.0], (300, 7))
        inside = rng.uniform(-1, 1, (300, 7))
        tried = [cross_entropy(logits + r * y, label) for y in (*corners, *inside)]
        base = cross_entropy(logits, label)
        assert max(tried) - base <= found + 1e-12
        # ascent along the sign of the gradient, which is the softmax less the label's one
        y = np.zeros(7)
        for _ in range(5):
            z = logits + r * y
            gradient = np.exp(z - z.max()) / np.exp(z - z.max()).sum() - np.eye(7)[label]
            y = np.clip(y + 0.5 * np.sign(gradient), -1, 1)
        assert cross_entropy(logits + r * y, label) - base == pytest.approx(found, rel=1e-12)


def test_the_fixed_box_knows_no_more_than_the_loss():
    rng, n = np.random.default_rng(1), 50
    logits, labels = 2 * rng.standard_normal((n, 9)), rng.integers(9, size=n)
    loss = np.array([cross_entropy(z, y) for z, y in zip(logits, labels)])
    rise = largest_rise(np, logits, labels, half_sides(np, logits, "fixed"))
    assert rise == pytest.approx(np.log1p((1 - np.exp(-loss)) * np.expm1(2 * boxes.RADIUS)))
    # a shift of all logits leaves the loss and moves the relative box
    wider = largest_rise(np, logits + 30, labels, half_sides(np, logits + 30, "relative"))
    assert (wider > 5 * largest_rise(np, logits, labels, half_sides(np, logits, "relative"))).all()
    with pytest.raises(ValueError, match="expected a box of fixed, relative, got 'round'"):
        half_sides(np, logits, "round")


def test_sharpness_is_in_percent():
    assert boxes.sharpness(1.0, 0.02) == pytest.approx(1.0)


def test_unscaled_arithmetics_cut_all_operands_off():
    for name, fmt in arithmetics.UNSCALED.items():
        recipe, found = arithmetic(name), any_format(fmt)
        assert {getattr(recipe, operand).rounding for operand in OPERANDS} == {"toward_zero"}
        assert (found.exponent_bits, found.mantissa_bits) == (int(name[1]), int(name[3]))
    assert not arithmetic("float32").active
    with pytest.raises(ValueError, match="expected one of float32, E8M7, .*got 'e8m7'"):
        arithmetic("e8m7")


def test_smaller_gradients_are_a_smaller_bias():
    recipe = with_smaller_gradients("E7M7", 20)
    narrow, usual = any_format(recipe.dgrad_e.fmt), any_format(recipe.dgrad_w.fmt)
    assert recipe.wgrad_e.fmt == recipe.dgrad_e.fmt
    assert usual.bias - narrow.bias == 20
    assert (narrow.exponent_bits, narrow.mantissa_bits, recipe.fprop_x.fmt) == (7, 7, usual.name)
    with pytest.raises(ValueError, match="expected one of E7M7, E6M7, got 'E8M7'"):
        with_smaller_gradients("E8M7", 3)


def test_the_plans_pair_all_arithmetics():
    for plan in settings.MAP.values():
        for task, part in plan.items():
            setting = settings.SETTINGS[task]
            rows = list(training.rows_of(part, setting))
            extra = sum(len(binades) for _, binades in part.smaller)
            assert len(rows) == part.seeds * (len(part.names) * len(setting.rates) + extra)
            assert part.seeds >= 5
            assert setting.best in setting.rates
            assert max(setting.rates) >= 10 * setting.best
            assert len({(row["recipe"].name, row["seed"], row["learning_rate"]) for row in rows}) == len(rows)


def described(rows, level=2.3, chance=2.3):
    return training.described(pandas.DataFrame(rows), "digits", level, chance)


def row(name, seed, rate, last, spikes=0, growth=1.0, loss_before=1.0):
    """A run that falls to a loss and ends at another; its sharpness grows by a factor along the way."""
    loss = np.concatenate([np.linspace(2.3, loss_before, 100), np.full(100, last)])
    loss[120 : 120 + spikes] = loss[119] + 1
    steps = np.arange(5, 201, 5)
    rise = 1e-3 * growth ** np.linspace(0, 1, len(steps))
    return {"recipe": name, "seed": seed, "learning_rate": rate, "loss": loss, "evaluated.step": steps,
            "evaluated.last_loss": np.ones(len(steps)), "evaluated.rise_fixed": rise,
            "evaluated.rise_relative": rise * (1 + seed / 10)}  # fmt: skip


def test_ranges_count_rates_close_to_the_best():
    usable_at = {"float32": (0.25, 0.5, 1.0), "E8M7": (0.25, 0.5), "E4M3": ()}
    rows = [
        row(name, seed, rate, 0.1 if rate in usable_at[name] else 1.0)
        for name in usable_at for seed in range(3) for rate in DIGITS.rates
    ]  # fmt: skip
    table = described(rows)
    found = effects.usable(table, DIGITS).groupby("arithmetic")["decades"].mean()
    assert found.to_dict() == pytest.approx({"float32": 3 * np.log10(2), "E8M7": 2 * np.log10(2), "E4M3": 0.0})
    ranges = effects.usable(table, DIGITS)
    assert effects.difference(ranges, "decades", "E4M3", "E8M7").value == pytest.approx(-2 * np.log10(2))


def test_slopes_and_shares_are_those_put_in():
    rows = [
        row(name, seed, rate, 3.0 if rate == 4.0 and bits < 4 else 0.2, spikes=9 - bits + seed // 2)
        for name, bits in arithmetics.MANTISSAS.items() for seed in range(5) for rate in (0.25, 2.0, 4.0)
    ]  # fmt: skip
    table = described(rows)
    assert effects.spike_slope(table[table["rate"] != 4.0], DIGITS).value == pytest.approx(-1.0)
    shares = effects.difference(table, "diverged", "E8M2", "E8M7")
    assert (shares.value, shares.low, shares.high, shares.count) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 5))


def test_progress_is_a_share_of_the_way():
    best = DIGITS.best
    rows = [row("E8M7", s, best, 0.3) for s in range(5)] + [row("E7M7", s, best, 1.3) for s in range(5)]
    rows += [row("E6M7", s, best, np.nan) for s in range(5)]
    table = described(rows)
    assert effects.progress(table, "E7M7", DIGITS).value == pytest.approx((DIGITS.chance - 1.3) / (DIGITS.chance - 0.3))
    assert effects.progress(table, "E6M7", DIGITS).value == 0
    nowhere = effects.progress(table, "E7M7", DIGITS, baseline="E6M7")
    assert (nowhere.low, nowhere.high) == (-1.0, 1.0)
    assert "E6M7 learnt nothing with 5 seeds" in nowhere.note


def test_differences_need_the_same_seeds():
    table = described([row("E8M7", s, 0.25, 0.3) for s in range(5)] + [row("E8M2", s, 0.25, 0.3) for s in range(1, 6)])
    with pytest.raises(ValueError, match=r"E8M2 and E8M7 with the same seeds, got only one for seeds \[0, 5\]"):
        effects.difference(table, "spikes", "E8M2", "E8M7")


def test_log_ratios_are_not_cut_off():
    rows = [row("float32", s, 0.25, 1.0) for s in range(5)]
    rows += [row("MXFP8", s, 0.25, np.exp(2.0) if s else np.nan) for s in range(5)]
    found = effects.log_ratio(described(rows), "MXFP8", "float32")
    assert (found.value, found.low) == pytest.approx((2.0, 2.0))
    assert found.note == "1 runs are not finite and count as the worst that is."


def test_thresholds_move_the_share_of_runs_that_learnt_nothing():
    rows = [row("E8M7", s, 0.25, 0.3) for s in range(5)] + [row("E8M2", s, 0.25, 0.97 * 2.3) for s in range(5)]
    found = effects.threshold_table(described(rows)).set_index("threshold")["difference"]
    assert found.to_dict() == {0.94: 1.0, 0.96: 1.0, 0.98: 0.0, 1.0: 0.0, 1.02: 0.0}


def test_sharpness_before_a_spike_is_compared_with_that_of_its_seed_and_rate():
    rows = [row("float32", s, 4.0, 0.5, growth=1.5) for s in range(6)]
    rows += [row("E8M7", s, 0.25, 0.5, growth=50.0) for s in range(6)]  # of another rate: not a peer
    rows += [row("E8M2", s, rate, 5.0, growth=9.0) for s in range(6) for rate in (2.0, 4.0)]
    table = described(rows)
    assert set(table["event"]) == {-1, 100}
    events = rises.before_events(table, "relative")
    assert events["peers"].tolist() == [0, 1] * 6  # at a rate of 2 none survives
    assert (events["step"] == 95).all()  # the evaluation at step 100 has seen the event
    beside = events[events["peers"] > 0]
    assert (beside["rank"] == 0.5).all()
    grown = 18 / 39  # of the way at the nineteenth of forty evaluations
    assert beside["rise"].to_numpy() == pytest.approx(np.full(6, grown * np.log(9 / 1.5)))
    found = rises.over_events(events, "rank", 0.5)
    assert (found.low, found.count) == (0.5, 6)
    assert found.note.startswith("6 of 12 runs")
    without = rises.sharpness_table(events, {"rank": 0.5, "rise": 10.0}).set_index(["what", "without"])
    assert without.loc[("rank", ""), "with_survivors"] == 6
    assert without.loc[("rise", "E8M2"), ["low", "high"]].tolist() == [-10.0, 10.0]


def test_runs_turn_without_a_spike_if_they_had_learnt():
    slowly = np.concatenate([np.linspace(2.3, 1.9, 100), np.linspace(1.9, 2.3, 100)])
    stuck = np.full(200, 2.3) + 0.001 * np.sin(np.arange(200))
    rows = [{**row("E8M2", 0, 1.0, 1.0), "loss": loss} for loss in (slowly, stuck)]
    table = described(rows)
    assert table["diverged"].all()
    assert table["event"].iloc[0] == pytest.approx(100, abs=8)
    assert table["event"].iloc[1] == -1


def test_too_few_spikes_conclude_nothing():
    rows = [row("float32", s, 4.0, 0.5) for s in range(6)] + [row("E8M2", s, 4.0, 5.0) for s in range(3)]
    events = rises.before_events(described(rows), "fixed")
    found = rises.over_events(events, "rank", 0.5)
    assert (found.low, found.high, found.count) == (-0.5, 0.5, 3)
    none = rises.over_events(events[:0], "rise", 10.0)
    assert (none.value, none.low, none.high, none.count) == (0.0, -10.0, 10.0, 0)


def test_blocks_close_to_one_are_cut_off():
    assert all_become_one(np.random.default_rng(3), 4)
    weights = np.full((2, 64), 0.95)
    assert clamped_share(np, weights) == 1
    weights[0, 0] = 1.2  # the whole block gets the next scale
    assert clamped_share(np, weights) == 1 - BLOCK / 128
    assert clamped_share(np, np.full(BLOCK, 0.8)) == 0


def made_up(task):
    setting, part, rng = settings.SETTINGS[task], settings.MAP["quick"][task], np.random.default_rng(0)
    rows = []
    for each in training.rows_of(part, setting):
        name, seed, rate = each["recipe"].name, each["seed"], each["learning_rate"]
        ends = rate == max(setting.rates) and name not in ("float32", "E8M7")
        few = 9 - arithmetics.MANTISSAS.get(name, 7)
        last = 9.0 if ends else 0.2 + 0.01 * rng.random()
        rows.append(row(name, seed, rate, last, few * (rate > setting.best), 9.0 if ends else 1 + rng.random()))
    return training.described(pandas.DataFrame(rows), task, setting.chance, setting.chance)


def made_up_proxy():
    rows = [
        {"recipe": arm, "seed": seed, "learning_rate": rate, "loss": np.full(60, 0.1 * (1 + (arm == training.CLAMPED))),
         "evaluated.clamped": np.linspace(0, 0.9 + seed / 100, 5)}
        for arm in training.ARMS for rate in settings.PROXY["quick"].rates for seed in range(5)
    ]  # fmt: skip
    return training.described(pandas.DataFrame(rows), "proxy", 1.0, 1.0)


def test_every_claim_is_measured():
    tables = {task: made_up(task) for task in settings.SETTINGS}
    findings = STUDY.checked(study.found(tables, made_up_proxy()))
    verdicts = {claim.id: claim.judged(findings.measured[claim.id]) for claim in STUDY.claims}
    assert verdicts["spikes_digits"] == verdicts["spikes_text"] == "reproduced"
    assert verdicts["bf16_digits"] == verdicts["e7m7_digits"] == "not reproduced"
    assert verdicts["e4m3_range_text"] == verdicts["rise_relative_text"] == "reproduced"
    assert verdicts["clamping"] == verdicts["proxy_clamped"] == verdicts["proxy_loss_paper"] == "reproduced"
    assert verdicts["cure_loss_paper"] == verdicts["cure_loss_high"] == "reproduced"
    assert verdicts["proxy_spikes_high"] == "not reproduced"
    assert findings.tables["best_rates"]["chosen"].tolist() == [DIGITS.best, settings.SETTINGS["text"].best]
    assert set(findings.pictures) == {"map", "ranges", "sharpness", "proxy"}
    assert len(findings.tables["smaller_gradients"]) == sum(len(b) for _, b in settings.MAP["quick"]["digits"].smaller)
    assert not [name for name in findings.runs if name.startswith(("loss", "evaluated"))]


def test_proxies_need_whole_blocks():
    jax_proxy = pytest.importorskip("halfulp.studies.stability.jax_proxy")
    with pytest.raises(ValueError, match="multiple of 32, of which MX blocks are, got 48"):
        jax_proxy.proxy(48, 1, 100, 0.0, True)


def test_only_students_norms_tell_the_arms_apart():
    jax_proxy = pytest.importorskip("halfulp.studies.stability.jax_proxy")
    plain, rounded = (jax_proxy.proxy(32, 2, 200, 0.0, norms) for norms in (False, True))
    assert np.mean(plain.valid["y"] ** 2) == pytest.approx(1, abs=0.2)
    params = plain.init(0)
    batch = {name: each[:16] for name, each in plain.valid.items()}
    assert float(plain.loss(params, batch, None)) == float(rounded.loss(params, batch, None))  # one is an MX number
    for layer in params["layers"].values():
        layer["norm"]["weight"][:] = 0.97
    assert float(plain.loss(params, batch, None)) != float(rounded.loss(params, batch, None))
    assert float(plain.evaluate(params, batch, None)["clamped"]) == 16
    for layer in params["layers"].values():
        layer["norm"]["weight"][:] = 0.875
    assert float(plain.loss(params, batch, None)) == float(rounded.loss(params, batch, None))


@pytest.mark.slow
@pytest.mark.parametrize("task", settings.SETTINGS)
def test_the_best_rate_is_that_of_float32(task):
    setting = settings.SETTINGS[task]
    found = training.map_runs(settings.Part(("float32",), 5), setting, None, lambda *_: None)
    assert effects.best_rate(found) == setting.best


@pytest.mark.slow
def test_training_goes_on_from_the_store(tmp_path):
    short = replace(DIGITS, training=replace(DIGITS.training, steps=30, width=4), rates=(0.25, 4.0))
    part = settings.Part(("float32", "E8M7"), 2)
    counts: list[tuple[int, int]] = []
    first = training.map_runs(part, short, tmp_path / "runs.db", lambda *now: counts.append(now))
    again = training.map_runs(part, short, tmp_path / "runs.db", lambda *now: counts.append(now))
    assert counts[0] == (0, 8)
    assert counts[-1] == (8, 8)
    pandas.testing.assert_frame_equal(first, again)
    own = rises.sharpness_of(first.iloc[0], "relative")
    assert own.shape == (6,)
    assert (own > rises.sharpness_of(first.iloc[0], "fixed")).all()


@pytest.mark.slow
def test_a_smaller_bias_is_a_smaller_loss_scale():
    """Gradients 2^-40 times as large in E7M7 round as those of the format with a bias of 23."""
    setting = replace(DIGITS, training=replace(DIGITS.training, steps=20, width=2), rates=(DIGITS.best,))
    by_bias = training.map_runs(settings.Part((), 2, (("E7M7", (40,)),)), setting, None, lambda *_: None)
    scaled = replace(setting, training=replace(setting.training, loss_scale=2.0**-40))
    by_scale = training.map_runs(settings.Part(("E7M7",), 2), scaled, None, lambda *_: None)
    for one, other in zip(by_bias["loss"], by_scale["loss"]):
        np.testing.assert_array_equal(one, other)
