"""Small formats after training: rounding weights, ranges that move, sites, plans, the analysis, what is kept."""

import json

import jax
import numpy as np
import pandas
import pytest
from halfulp.formats.catalogue import format as any_format
from halfulp.formats.exact import numbers
from halfulp.sim.models.jax_losses import forward
from halfulp.sim.models.leaves import flat, nested
from halfulp.studies.column_methods.compensation import output_error
from halfulp.studies.ptq_minifloats import STUDY, analysis, formats, models, plan, quantizing, reparametrized, study
from halfulp.studies.ptq_minifloats import weights as rounding
from halfulp.studies.ptq_minifloats.jax_sites import Activations, Measures, Program, sites_of
from halfulp.studies.ptq_minifloats.quantizing import Case, Subject
from halfulp.studies.study import Context


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def single(values):
    return np.array(values, np.float32)


def lively(found, seed=0):
    """First parameters of a task, flat, with gains and biases that are not all alike."""
    rng, values = np.random.default_rng(seed), flat(found.init(seed))
    return {name: (each + 0.3 * rng.standard_normal(each.shape) * (each.ndim == 1)).astype(np.float32)
            for name, each in values.items()}  # fmt: skip


@pytest.fixture(scope="module")
def cnn():
    """A program of the convolutional network, untrained parameters, calibration and validation data."""
    setting = models.SETTINGS["cnn"]
    calibration, validation = models.batches(setting)
    some = [{name: each[:16] for name, each in part.items()} for part in (calibration, validation)]
    return Program(models.task_of(setting)), lively(models.task_of(setting)), *some


TEXT = models.Setting("text", "text", (("context", 64), ("size", "13k")), models.Training(steps=1), 0.01, 32, 96)
"""A smaller language model than the study's."""


@pytest.fixture
def subject(cnn):
    return Subject(*cnn)


@pytest.mark.parametrize("bits", [4, 8])
def test_one_exponent_bit_is_an_integer(bits):
    float_values = np.array([float(v) for v in numbers(any_format(f"e1m{bits - 2}"))])
    integers = np.array([float(v) for v in numbers(any_format(f"int{bits}"))])
    unit = integers.max() / float_values.max()
    assert set(integers) - set(float_values * unit) == {-(2.0 ** (bits - 1))}


def test_every_layout_is_there_once():
    assert len(set(formats.ALL)) == len(formats.ALL) == 6 + sum(bits - 2 for bits in range(3, 9))
    assert all(formats.bits_of(name) == any_format(name).bits for name in formats.ALL)
    assert [formats.bits_of(name) for name in formats.LAYOUTS.values()] == list(formats.LAYOUTS)
    with pytest.raises(ValueError, match="expected 3 to 8 bits, got 9"):
        formats.of_width(9)


def test_scales_are_those_of_the_least_error():
    x = normal(4, 200)
    found = rounding.scales_of(x, "int3")
    most = np.abs(x).max(1, keepdims=True) / 3
    tried = [((rounding.rounded(x, "int3", share * most) - x) ** 2).sum(1) for share in rounding.SHRINKS]
    assert ((rounding.rounded(x, "int3", found) - x) ** 2).sum(1) == pytest.approx(np.min(tried, 0), rel=1e-5)
    assert (found < most).all()  # clipping pays in few bits
    assert (rounding.scales_of(np.zeros((2, 3)), "e2m1") > 0).all()


@pytest.mark.parametrize("fmt", ["int4", "e2m1"])
def test_methods_lower_the_error_of_outputs(fmt):
    weights, inputs = normal(24, 48), normal(400, 48, seed=1) @ normal(48, 48, seed=2) + 3
    plain = rounding.nearest(weights, fmt)
    scale = rounding.scales_of(weights, fmt)
    grid = np.array([float(v) for v in numbers(any_format(fmt))])
    for found in (rounding.gptq(weights, inputs, fmt), rounding.adaround(weights, inputs, fmt)):
        assert output_error(weights, found, inputs) < 0.75 * output_error(weights, plain, inputs)
        assert np.abs((found / scale)[..., None] - grid).min(-1).max() < 1e-5


def test_learned_rounding_takes_neighbours():
    weights, inputs = normal(6, 16), normal(100, 16, seed=1)
    scale = rounding.scales_of(weights, "e2m1")
    found = rounding.adaround(weights, inputs, "e2m1")
    lower, upper = (rounding.rounded(weights, "e2m1", scale, mode) for mode in ("down", "up"))
    assert ((found == lower) | (found == upper)).all()
    exact = 0.5 * np.array([[1.0, -2.0, 3.0, 6.0]], np.float32)
    assert (rounding.adaround(exact, normal(9, 4), "e2m1") == exact).all()


def test_kernels_are_matrices_of_patches(cnn):
    program, network, calibration, _ = cnn
    name = "layers.1.convolution"
    kernel, x = network[f"{name}.weight"], normal(2, 16, 8, 8)
    matrix = rounding.matrix_of(kernel)
    assert (rounding.kernel_of(matrix, kernel.shape) == kernel).all()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patch = padded[0, :, 2:5, 4:7].transpose(1, 2, 0).ravel()  # rows, columns, channels
    wanted = jax.lax.conv_general_dilated(jax.numpy.asarray(x), jax.numpy.asarray(kernel), (1, 1), [(1, 1)] * 2)[
        0, :, 2, 4
    ]
    assert matrix @ patch == pytest.approx(np.asarray(wanted), rel=1e-4, abs=1e-5)
    seen = program.inputs(network, calibration["x"])
    assert {each: seen[each].shape[1] for each in program.sites} == {
        each: rounding.matrix_of(network[each]).shape[1] for each in program.sites
    }


def test_a_program_computes_what_the_task_does(cnn):
    program, network, _, validation = cnn
    found, own = program.logits(network, validation["x"]), models.task_of(models.SETTINGS["cnn"])
    wanted = jax.jit(lambda x: forward(own.description, own.objective, nested(network), x))(validation["x"])
    assert np.asarray(found) == pytest.approx(np.asarray(wanted), abs=1e-5)
    measures = program.measures(network, validation, found)
    assert measures.divergence == pytest.approx(0, abs=1e-7)
    assert measures.accuracy == (np.asarray(wanted).argmax(1) == validation["y"]).mean()


def test_divergence_is_that_of_kullback_and_leibler(cnn):
    program, network, _, validation = cnn
    other = np.zeros((16, 10), np.float32)
    logits = np.asarray(program.logits(network, validation["x"]))
    here = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = (0.1 * (np.log(0.1) - here)).sum(1).mean()
    assert program.measures(network, validation, other).divergence == pytest.approx(wanted, rel=1e-4)


def test_inputs_are_rounded(cnn):
    program, network, calibration, _ = cnn
    scales = np.linspace(0.1, 0.4, len(program.sites)).astype(np.float32)
    seen = program.inputs(network, calibration["x"], Activations("e2m1", scales))
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]  # inputs are pixels and what ReLU lets through
    for scale, name in zip(scales, program.sites):
        assert np.abs((seen[name] / scale)[..., None] - values).min(-1).max() < 1e-5
    with pytest.raises(ValueError, match="a scale of each of 4 sites"):
        program.inputs(network, calibration["x"], Activations("e2m1", scales[:2]))


def test_sites_leave_tables_alone():
    shapes = {"embed.weight": (9, 4), "norm.weight": (4,), "head.weight": (9, 4), "head.bias": (9,)}
    assert sites_of(shapes) == ["head.weight"]


@pytest.mark.parametrize("name", ["cnn", pytest.param("text", marks=pytest.mark.slow)])
def test_moved_ranges_change_no_output(name, cnn):
    if name == "cnn":
        program, network, _, validation = cnn
        model, run = program.model, lambda params: program.logits(params, validation["x"])
    else:
        own = models.task_of(TEXT)
        model, network = own.description, lively(own)
        x = own.valid["tokens"][:4, :9].astype(np.int32)
        run = jax.jit(lambda params: forward(model, own.objective, nested(params), x))
    wanted = np.asarray(run(network))
    links = reparametrized.smooth_links(model)
    columns = {name: rounding.matrix_of(network[name]).shape[1] for link in links for name in link.takers}
    seen = {name: normal(20, count) * np.linspace(0.1, 9, count, dtype=np.float32) for name, count in columns.items()}
    moved = [reparametrized.smoothed(network, links, seen)]
    equal = reparametrized.equal_links(model)
    moved += [reparametrized.equalized(network, equal)] if equal else []
    assert bool(equal) == (name == "text")
    for found in moved:
        assert any((found[each] != network[each]).any() for each in network)
        assert np.asarray(run(found)) == pytest.approx(wanted, rel=2e-3, abs=2e-4)


def test_equalized_ranges_are_equal():
    link = reparametrized.Link(("a",), ("b",))
    network = {"a": single([[8, 1], [0, 0]]), "b": single([[2, 5], [-1, 3]])}
    found = reparametrized.equalized(network, (link,))
    assert found["a"] == pytest.approx(single([[4, 0.5], [0, 0]]))
    assert found["b"] == pytest.approx(single([[4, 5], [-2, 3]]))


def test_smoothing_shares_the_range():
    link = reparametrized.Link(("gain",), ("w",))
    network = {"gain": single([1, 1]), "w": single([[4, 1], [2, 1]])}
    found = reparametrized.smoothed(network, (link,), {"w": single([[-16, 1], [3, 0.5]])})
    assert found["gain"] == pytest.approx(single([0.5, 1]))  # s = sqrt(16) / sqrt(4)
    assert found["w"] == pytest.approx(single([[8, 1], [4, 1]]))
    with pytest.raises(ValueError, match="alpha from 0 to 1, got 2"):
        reparametrized.smoothed(network, (link,), {}, 2)


def test_corrected_biases_keep_the_means(subject, cnn):
    program, network, calibration, _ = cnn
    wanted = {name: rounding.matrix_of(network[name]) @ each.mean(0) + network[name.replace("weight", "bias")]
              for name, each in program.inputs(network, calibration["x"]).items()}  # fmt: skip
    distances = {}
    for repairs in ((), ("bias",)):
        found, activations = subject.quantized(Case("int3", "int3", repairs=repairs))
        seen = program.inputs(found, calibration["x"], activations)
        means = {name: rounding.matrix_of(found[name]) @ seen[name].mean(0) + found[name.replace("weight", "bias")]
                 for name in program.sites}  # fmt: skip
        distances[repairs] = max(np.abs(means[name] - wanted[name]).max() for name in program.sites)
    assert distances[("bias",)] < 1e-3 < 0.1 * distances[()]


def test_fewer_bits_do_more_damage(subject):
    found = [subject.measures(Case(f"int{bits}", f"int{bits}")).divergence for bits in (3, 5, 8)]
    assert found[0] > 4 * found[1] > 16 * found[2] > 0
    assert subject.measures(Case("int4", None, "gptq", ("smooth",))).divergence > 0


def test_unknown_cases():
    with pytest.raises(ValueError, match="expected a rounding of nearest, gptq, adaround"):
        Case("int4", None, "lsq")
    with pytest.raises(ValueError, match="gptq rounds weights; give them a format"):
        Case(None, "int4", "gptq")
    assert Case("int4", None, "gptq", ("smooth", "bias")).method == "smooth+bias+gptq"


def test_plans_hold_what_claims_need():
    for scale in STUDY.scales:
        assert plan.PLANS[scale].seeds >= 5
        for model in models.SETTINGS:
            found = plan.cases(plan.PLANS[scale], model)
            assert found[0] == Case(None, None)
            assert len(found) == len(set(found))
    repairs = {repair for case in plan.cases(plan.PLANS["quick"], "cnn") for repair in case.repairs}
    assert repairs == {"smooth", "bias"}


def test_the_best_is_chosen_on_other_seeds():
    values = np.array([[1.0, 5.0], [2.0, 0.0], [2.0, 3.0]])
    # without the first the second column is better (1.5 < 2), without another the first is
    assert analysis.best_on_others(values).tolist() == [5.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="two seeds or more"):
        analysis.best_on_others(values[:1])


def test_shares_of_integers_on_the_front_of_each_network():
    # costs of INT3, INT4, E2M1, INT5; the second network's INT4 is no worse than E2M1, its INT5 no better
    points = [(0, True, 1.0, 9.0), (0, True, 2.0, 5.0), (0, False, 2.0, 4.0), (0, True, 3.0, 1.0),
              (1, True, 1.0, 9.0), (1, True, 2.0, 4.0), (1, False, 2.0, 4.0), (1, True, 3.0, 4.0)]  # fmt: skip
    same = pandas.DataFrame(points, columns=["seed", "integer", "area", "divergence"])
    assert analysis.integers_on_front(same, "area", "divergence") == pytest.approx([2 / 3, 2 / 3])
    same["accuracy"] = -same["divergence"]
    assert analysis.integers_on_front(same, "area", "accuracy") == pytest.approx([2 / 3, 2 / 3])


def test_shares_that_are_all_alike_say_so():
    alike, apart = analysis.share_of(np.full(3, 1 / 3)), analysis.share_of(np.array([0.0, 0.5, 1.0]))
    assert alike.note == "The same in all networks."
    assert alike.low == alike.value == alike.high
    assert apart.note == ""
    assert apart.low < apart.value < apart.high


def made_up(sign=1, seeds=6):
    """Networks whose divergence falls with bits; minifloats have half that of integers and methods halve it.

    With sign -1 both double it.
    """
    rng, rows = np.random.default_rng(0), []
    for model in models.SETTINGS:
        for case in plan.cases(plan.PLANS["quick"], model):
            names = [name for name in (case.weights, case.activations) if name]
            parts = [4.0 ** -formats.bits_of(name) * (1 if formats.is_integer(name) else 0.5**sign) *
                     (1 + 0.2 * (abs(int(name[1]) - 3) if name[0] == "e" else 0)) for name in names]  # fmt: skip
            damage = (parts[0] if case.weights else 0) + 4 * (parts[-1] if case.activations else 0)
            damage *= 0.5**sign if case.method != "nearest" else 1.0
            for seed in range(seeds):
                noisy = damage * np.exp(0.02 * rng.standard_normal())
                rows.append({"model": model, "seed": seed, "weights": case.weights or "", "depth": 288,
                             "activations": case.activations or "", "method": case.method, "loss": 0.1 * seed + noisy,
                             "accuracy": 0.9 - noisy, "divergence": noisy})  # fmt: skip
    return pandas.DataFrame(rows)


@pytest.fixture(scope="module")
def better():
    """Networks for which minifloats and methods are better."""
    return made_up()


@pytest.mark.parametrize("sign", [1, -1])
def test_every_claim_is_judged_and_its_reverse_too(better, sign):
    found = analysis.measured(better if sign > 0 else made_up(sign))
    # where minifloats are better at no more area, integers are not on fronts
    turned = {claim.id: -sign if claim.id.startswith("integers") else sign for claim in STUDY.claims}
    wanted = {name: "reproduced" if way > 0 else "not reproduced" for name, way in turned.items()}
    assert {claim.id: claim.judged(found[claim.id]) for claim in STUDY.claims} == wanted
    assert found["closer_cnn"].value == pytest.approx(sign * np.log(0.5), abs=0.1)
    assert found["gptq_int4_llama"].value == pytest.approx(sign * np.log(0.5), abs=0.05)


def test_comparisons_by_hand(better):
    found = analysis.comparisons(better).set_index(["model", "one"])
    assert len(found) == 2 * 5
    wanted = {"E2M1": np.log(1.2), "E4M3": np.log(1.2 / 1.4), "E3M4": np.log(1 / 1.2)}
    # of weights and activations with damages a and 4 a: few bits have 1, many 1/256; E3M4's factor is 1, E2M1's 1.2
    wanted["4 bits for weights, 8 for activations"] = np.mean(
        [np.log((1 + 4 / 256) / (4 + 1 / 256)), np.log((1.2 + 4 / 256) / (4 * 1.2 + 1 / 256))]
    )
    for one, value in wanted.items():
        row = found.loc[("cnn", one)]
        assert row["effect"] == pytest.approx(value, abs=0.04)
        assert row["low"] < row["effect"] < row["high"]
    assert found.loc[("llama", "E2M0"), "effect"] == pytest.approx(5 / 64 * (0.6 - 1), rel=0.1)


def test_tables_and_pictures_are_made_of_runs(better):
    table = better[better["model"] == "cnn"]
    found, front = analysis.effects(table), analysis.fronts(table)
    assert found["effect"].mean() == pytest.approx(np.log(0.5), abs=0.02)
    assert set(front["by"]) == {"area", "accumulator"}
    best = analysis.best_layouts(table)
    assert (best["high"] < 0).all()
    dearer = analysis.premium(table).set_index(["model", "quality"])
    # half the integer's divergence at no more area: none but INT3 and INT4, which are smaller, are on the front
    assert dearer.loc[("cnn", "divergence"), "ours"] < dearer.loc[("cnn", "divergence"), "raised"] == 1
    for picture in (study.bits_picture(table), study.front_picture(front), study.effects_picture(found)):
        assert picture.caption.endswith(".")


def test_a_case_that_was_not_run(better):
    with pytest.raises(ValueError, match="no network was quantized with weights int9"):
        analysis.of_case(better, "loss", "int9", None)


def test_measures_are_of_their_code_and_packages(monkeypatch):
    setting, small = models.SETTINGS["cnn"], plan.Plan(2, (), lonely=False)
    key = study._key(setting, small)
    assert study._key(setting, plan.Plan(2, ("int4",), lonely=False)) != key
    monkeypatch.setattr(study, "versions", lambda: {"halfulp": "0"})
    other = study._key(setting, small)
    assert other != key
    monkeypatch.setattr(study, "_code", lambda: "another")
    assert study._key(setting, small) != other


def test_measures_are_kept(monkeypatch, tmp_path, cnn):
    setting, small = models.SETTINGS["cnn"], plan.Plan(2, (), lonely=False)
    asked = []

    def pretended(self, case):
        asked.append(case)
        return Measures(1.0, 0.5, 0.1)

    (tmp_path / "networks").mkdir()
    monkeypatch.setattr(study, "trained", lambda *_: [cnn[1]] * 2)
    monkeypatch.setattr(study, "Program", lambda _: cnn[0])
    monkeypatch.setattr(Subject, "measures", pretended)
    context = Context("quick", tmp_path)
    first = study.quantized(setting, small, context, lambda _: None)
    count = len(plan.cases(small, "cnn"))
    assert len(asked) == len(first) == 2 * count
    (tmp_path / "networks" / "quick_cnn_1.json").write_text('{"key": "of another plan", "rows": []}')
    again = study.quantized(setting, small, context, lambda _: None)
    assert len(asked) == 3 * count
    pandas.testing.assert_frame_equal(first, again)
    (tmp_path / "networks" / "quick_cnn_0.json").write_text(json.dumps({"key": "x"})[:-3])
    study.quantized(setting, small, context, lambda _: None)
    assert len(asked) == 4 * count
    assert (first["depth"] == 288).all()


@pytest.mark.slow
def test_networks_are_kept(tmp_path):
    setting = models.Setting("mlp", "digits", (("size", "xs"),), models.Training(steps=5), 0.01, 9, 9)
    counts: list[tuple[int, int]] = []
    first = models.trained(setting, 2, tmp_path, lambda *now: counts.append(now))
    assert counts
    counts.clear()
    again = models.trained(setting, 2, tmp_path, lambda *now: counts.append(now))
    assert not counts
    for one, other in zip(first, again):
        assert all((one[name] == other[name]).all() for name in one)
    assert (first[0]["head.weight"] != first[1]["head.weight"]).any()


def test_text_is_judged_token_by_token():
    calibration, validation = models.batches(TEXT)
    assert calibration["x"].shape == calibration["y"].shape == (32, 64)
    assert (validation["x"][:, 1:] == validation["y"][:, :-1]).all()
    assert calibration["x"].size * 64 > quantizing.SAMPLED
