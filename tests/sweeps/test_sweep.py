"""Sweeps: complete, resumable, never repeating or losing a run, and clear about what cannot be swept."""

import pickle
import subprocess
from functools import partial

import halfulp as hu
import numpy as np
import pandas
import pytest
from halfulp.sim.sweeps import plots, provenance
from halfulp.sim.sweeps.store import Store
from halfulp.sim.sweeps.sweep import COLUMNS, frame
from halfulp.sim.sweeps.task_members import member_of
from halfulp.sim.sweeps.task_runs import TaskRuns
from halfulp.sim.training.training import Trained

QUICK = hu.Training(steps=4, batch=16, width=4)
FORMATS = ["e[1-2]m[0-1]", "int4", "ternary", "binary32"]


def quick(store=None, progress=False, **options):
    return hu.sweep(
        options.pop("task", "digits"),
        options.pop("space", None),
        **{"seeds": 2, "training": QUICK, "store": store, "progress": progress, **options},
    )


def formats(names=FORMATS, store=None, **options):
    return quick(store, formats=names, **options)


@pytest.fixture
def untrained(monkeypatch):
    """Results that depend on the run alone, at once: these tests are about the sweep, not the trainer."""
    from halfulp.sim.training.jax_grid import Trainer

    def instead(self, chunk, runs, report=None, keep=False):
        return [_made_up(self.training, run) for run in runs]

    monkeypatch.setattr(Trainer, "train_chunk", instead)


def _made_up(training, run):
    x = len(run.rules[0].recipe.name) + run.seed + run.learning_rate + training.steps
    curve = np.full(training.steps, x, np.float32)
    return Trained(run, {"accuracy": 0.5, "loss": x}, None, {"loss": curve}, {"step": np.arange(2), "loss": curve[:2]})


def test_a_row_for_every_run_in_the_order_asked_for(tmp_path, untrained):
    runs = formats(store=tmp_path / "s.sqlite", learning_rates=[0.1, 0.3])
    assert set(COLUMNS) <= set(runs.columns)
    assert list(runs.columns[:3]) == ["key", "sweep", "status"]
    assert len(runs) == 7 * 2 * 2
    assert list(runs["format"].unique()) == ["e1m0", "e1m1", "e2m0", "fp4_e2m1", "int4", "ternary", "binary32"]
    assert list(runs["seed"][:4]) == [0, 0, 1, 1]
    assert list(runs["learning_rate"][:4]) == [0.1, 0.3, 0.1, 0.3]
    assert dict(zip(runs["format"], runs["kind"]))["ternary"] == "codebook"
    assert set(runs["status"]) == {"finished"}
    assert set(runs["steps"]) == {4}
    assert (runs["train_loss"] == runs["test_loss"].astype(np.float32)).all()


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch, untrained):
    path = tmp_path / "s.sqlite"
    first = formats(["e2m1", "int4"], path)
    seen = []
    second = formats(["int4", "e2m1", "e3m2"], path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 6), (6, 6)]
    assert list(second["format"]) == ["int4"] * 2 + ["fp4_e2m1"] * 2 + ["fp6_e3m2"] * 2
    merged = second.merge(first, on=["format", "seed"])
    assert (merged["test_loss_x"] == merged["test_loss_y"]).all()
    monkeypatch.setattr("halfulp.sim.training.jax_grid.Trainer.train_chunk", None)
    pandas.testing.assert_frame_equal(formats(["e2m1", "int4"], path), first)


def test_a_space_of_formats_recipes_and_settings(untrained, tmp_path):
    space = [
        {"format": "mxfp4", "rounding": "toward_zero"},
        {"recipe": "mxfp8", "learning_rate": 1, "momentum": 0.5, "weight_decay": 0.1},
        {"seed": 7, "steps": 3},
    ]
    runs = quick(tmp_path / "s.sqlite", space=space, seeds=None, name="mixed")
    assert runs["format"].tolist()[0] == "mxfp4"
    assert runs["bits"].tolist()[0] == 4.25
    assert runs["kind"].tolist()[0] == "scaled"
    assert runs["recipe"].tolist()[1:] == ["mxfp8", "identity"]
    assert runs["steps"].tolist() == [4, 4, 3]
    assert runs["momentum"].dropna().tolist() == [0.5]
    assert set(runs["sweep"]) == {"mixed"}
    with Store(tmp_path / "s.sqlite") as store:
        table = store.frame(curves=True)
        rows = store.rows()
    assert [len(curve) for curve in table["loss"]] == [4, 4, 3]
    assert [len(curve) for curve in table["evaluated.loss"]] == [2, 2, 2]
    assert rows[0].revision
    assert {"training", "data", "program"} <= set(rows[0].planned.identity)


def test_jobs_of_a_task_travel(untrained):
    """As bytes, to where the task is made anew."""
    configs = [{"format": name, "seed": seed} for name in ("e2m1", "mxfp4") for seed in range(3)]
    both = [TaskRuns("digits", {"size": "xs"}, hu.Training(steps=4, width=2), remote) for remote in (False, True)]
    keys = [[planned.key for planned in runs.plan(configs)] for runs in both]
    assert keys[0] == keys[1]
    here, there = (list(runs.jobs(range(6))) for runs in both)
    assert [job.numbers for job in there] == [job.numbers for job in here] == [(0, 1), (2,), (3, 4), (5,)]
    for job, sent in zip(here, there):
        call, arguments = pickle.loads(pickle.dumps((sent.call, sent.arguments)))
        assert [each.metrics for each in call(*arguments)] == [each.metrics for each in job.call(*job.arguments)]
    call, (name, options, training, _, *rest) = there[0].call, there[0].arguments
    assert call(name, options, training, "other data", *rest)[0].error == (
        "SweepError: the data of the task digits differ here from those where the sweep was started"
    )


def test_roundings_are_of_every_operand_in_a_format():
    run = member_of({"format": "e4m3", "rounding": "stochastic"}, QUICK).run
    recipe = run.rules[0].recipe
    assert recipe.fprop_x.rounding == recipe.dgrad_e.rounding == "stochastic"
    assert recipe.wgrad_x.rounding is None  # that of the forward product
    assert recipe != member_of({"format": "e4m3"}, QUICK).run.rules[0].recipe


def test_a_recipe_may_be_rules():
    found = member_of({"recipe": (("head", None), ("*", "mxfp8")), "rounding": "stochastic", "seed": 1}, QUICK)
    head, rest = found.run.rules
    assert (head.pattern, head.recipe.active, rest.pattern) == ("head", False, "*")
    assert rest.recipe.fprop_x.rounding == "stochastic"
    assert found.shown["recipe"] == "head: identity, *: mxfp8"
    assert member_of({"recipe": (("*", "mxfp8"),)}, QUICK).run == member_of({"recipe": "mxfp8"}, QUICK).run
    with pytest.raises(ValueError, match="one rule or more"):
        member_of({"recipe": ()}, QUICK)


def test_other_settings_are_other_runs(tmp_path, untrained):
    path = tmp_path / "s.sqlite"
    formats(["e2m1"], path)
    formats(["e2m1"], path, training=hu.Training(steps=5, batch=16, width=4))
    with Store(path) as store:
        assert len(frame(store)) == 4
        versions = store.rows()[0].versions
    assert versions["halfulp"] == hu.__version__
    assert set(versions) >= {"jax", "numpy", "scikit-learn", "python"}


def test_progress_bar_shows_runs_and_time_left(capsys, untrained):
    formats(["e2m1"], progress=True)
    shown = capsys.readouterr().err
    assert "digits" in shown
    assert "2/2 runs" in shown
    assert "left" in shown


def test_runs_of_another_version_are_not_reused(tmp_path, monkeypatch):
    path = tmp_path / "s.sqlite"

    def train(config):
        return {"y": config["x"]}

    quick(path, task=train, space={"x": [1, 2]}, training=None, seeds=None)
    version = {**provenance.versions(), "halfulp": "9.9"}
    for module in ("function_runs", "sweep", "outcomes"):
        monkeypatch.setattr(f"halfulp.sim.sweeps.{module}.versions", lambda: version)
    with pytest.warns(RuntimeWarning, match=rf"2 runs of halfulp {hu.__version__} in .*s.sqlite, not reused"):
        runs = quick(path, task=train, space={"x": [1, 2, 3]}, training=None, seeds=None)
    assert set(runs["halfulp"]) == {"9.9"}
    with Store(path) as store:
        assert len(store.rows()) == 5


def function_of(source, **names):
    made = {"__name__": "experiment", **names}
    exec(source, made)
    return made["train"]


def test_another_source_is_another_function(tmp_path):
    path = tmp_path / "s.sqlite"
    options = {"training": None, "seeds": None, "space": {"x": [1, 2]}}
    quick(path, task=function_of("def train(config):\n    return {'y': config['x']}"), **options)
    quick(path, task=function_of("def train(config):\n    return {'y': config['x']}"), **options)
    with pytest.warns(RuntimeWarning, match="2 runs of another source of the function in .*, not reused"):
        runs = quick(path, task=function_of("def train(config):\n    return {'y': -config['x']}"), **options)
    assert runs["y"].tolist() == [-1, -2]


def test_what_a_function_takes_along_counts(tmp_path):
    def scaled(config, scale=1):
        return {"y": config["x"] * scale}

    def around(value):
        return lambda config: {"y": value}

    first, second = (provenance.source_hash(partial(scaled, scale=k)) for k in (2, 3))
    assert first != second == provenance.source_hash(partial(scaled, scale=3))
    assert provenance.source_hash(around(1)) != provenance.source_hash(around(2))
    assert quick(task=around(np.ones(2)), space={"x": [0]}, training=None, seeds=None)["status"].tolist() == [
        "finished"
    ]
    with pytest.raises(
        TypeError, match=r"closes over 'value', of type ndarray, which a store cannot tell from another"
    ):
        quick(tmp_path / "s.sqlite", task=around(np.ones(2)), space={"x": [0]}, training=None, seeds=None)


def test_commits_are_those_of_the_file(tmp_path):
    git = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "train.py").write_text("x = 1\n")
    assert provenance.revision_of(tmp_path / "train.py") == ""
    git(["git", "init", "-q"])
    git(["git", "add", "train.py"])
    git(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"])
    commit = provenance.revision_of(tmp_path / "train.py")
    assert len(commit) == 40
    (tmp_path / "train.py").write_text("x = 2\n")
    assert provenance.revision_of(tmp_path / "train.py") == f"{commit}-dirty"
    (tmp_path / "other.py").write_text("")
    assert provenance.revision_of(tmp_path / "other.py") == ""
    assert provenance.revision_of(None) == ""


def test_metrics_of_any_library_and_those_that_are_none(tmp_path):
    import ml_dtypes

    values = {
        "a": [
            np.float32(0.5),
            np.array(3),
            ml_dtypes.bfloat16(2),
            np.bool_(True),
            float("inf"),
            None,
            "text",
            np.str_("t"),
        ],
        "bad": [object(), {"a": 1}, ["x"], [[1.0]], np.ones((2, 2)), 1j],
    }
    options = {"training": None, "seeds": None}
    found = quick(task=lambda c: {"y": values["a"][c["k"]]}, space={"k": range(8)}, **options)["y"].tolist()
    assert found[:4] == [0.5, 3, 2.0, True]
    assert found[4] == float("inf")
    assert [type(each) for each in found[:4]] == [float, int, float, bool]
    assert found[6:] == ["text", "t"]
    with pytest.warns(RuntimeWarning, match="6 of 6 runs failed: TypeError: metric 'y': expected"):
        runs = quick(task=lambda c: {"y": values["bad"][c["k"]]}, space={"k": range(6)}, **options)
    assert all(error.startswith("TypeError: metric 'y': expected") for error in runs["error"])
    with pytest.warns(RuntimeWarning, match="expected a dict of metrics such as {'loss': 0.1}, got 3"):
        quick(task=lambda c: 3, space={"k": [0]}, **options)


def test_successive_halving(tmp_path):
    pytest.importorskip("optuna")

    def train(config):
        if config["x"] == 0:
            raise ValueError("none")
        return {"loss": abs(config["x"] - 5) / config["steps"]}

    def search():
        return hu_halving({"x": list(range(9))}, metric="loss", low=1, high=9, factor=3, n=9, seed=1)

    from halfulp.sim.sweeps.halving import halving as hu_halving

    options = {"training": None, "seeds": None}
    with pytest.warns(RuntimeWarning, match="1 of 13 runs failed"):
        runs = quick(tmp_path / "s.sqlite", task=train, space=search(), **options)
    assert runs["steps"].tolist() == [1] * 9 + [3] * 3 + [9]
    assert runs["x"].tolist()[-1] == 5
    seen = []
    again = quick(tmp_path / "s.sqlite", task=train, space=search(), progress=lambda *now: seen.append(now), **options)
    pandas.testing.assert_frame_equal(again, runs)
    assert seen[-1] == (13, 13)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"formats": "e2m1"}, ValueError, r"expected a list of formats, got the string 'e2m1'; pass \['e2m1'\]"),
        ({"formats": []}, ValueError, "nothing to run; pass at least one format"),
        ({}, ValueError, "nothing to run; pass a space or formats"),
        ({"formats": ["e2m1"], "seeds": 0}, ValueError, "nothing to run"),
        ({"formats": ["e9m9"]}, ValueError, "values of e9m9 do not fit float32, in which tasks train"),
        ({"formats": ["fp9"]}, ValueError, "unknown format 'fp9'"),
        ({"formats": ["int[4-2]"]}, ValueError, r"expected an ascending range, got \[4-2\]"),
        ({"formats": ["e2m1"], "task": "digit"}, ValueError, "unknown task 'digit'; did you mean 'digits'"),
        ({"formats": ["e2m1"], "task": 3}, TypeError, "expected a task, its name or a function, got 3"),
        ({"space": {"fmt": ["e2m1"]}}, ValueError, "unknown parameter of a task 'fmt'"),
        ({"space": {"format": ["e2m1"], "recipe": ["mxfp8"]}}, ValueError, "expected a format or a recipe, got"),
        ({"space": {"format": ["e2m1"]}, "formats": ["e2m1"]}, ValueError, "stand in place of a space"),
        ({"space": {"seed": [1]}, "seeds": 3}, ValueError, "the space says which seeds; leave out seeds=3"),
        ({"space": {"learning_rate": ["x"]}}, ValueError, "expected a number for learning_rate, got 'x'"),
        ({"space": {"momentum": ["x"]}}, TypeError, "momentum: expected a number, got 'x'"),
        ({"space": {"steps": [0]}}, ValueError, "expected steps >= 1, got 0"),
        (
            {"space": {"x": [1]}, "task": abs, "training": None},
            TypeError,
            "expected a function or a functools.partial of one",
        ),
        ({"space": {"x": [1]}, "task": lambda c: {}}, ValueError, "training is for tasks; put it into the space"),
        ({"task": lambda c: {}, "training": None}, ValueError, "nothing to run; pass a space"),
    ],
)
def test_bad_sweeps(options, error, message):
    seeds = {} if {"space", "seeds"} & set(options) == {"space"} else {"seeds": 2}
    with pytest.raises(error, match=message):
        hu.sweep(options.pop("task", "digits"), **{"training": QUICK, "progress": False, **seeds, **options})


def test_options_of_a_task_that_is_made_already():
    with pytest.raises(ValueError, match=r"task_options are for a task by its name; give them to hu.task\('digits'"):
        hu.sweep(hu.task("digits", size="xs"), formats=["e2m1"], task_options={"size": "s"})


def table(rows):
    columns = [
        "format",
        "kind",
        "bits",
        "exponent_bits",
        "mantissa_bits",
        "seed",
        "learning_rate",
        "test_accuracy",
        "train_loss",
        "diverged",
    ]
    return pandas.DataFrame(rows, columns=columns).assign(task="digits")


ROWS = [
    ("e4m3", "float", 8, 4, 3, 0, 0.1, 0.95, 0.2, False), ("e4m3", "float", 8, 4, 3, 1, 0.1, 0.97, 0.2, False),
    ("e4m3", "float", 8, 4, 3, 0, 0.3, 0.99, 0.5, False), ("e4m3", "float", 8, 4, 3, 1, 0.3, 0.99, float("nan"), True),
    ("e1m0", "float", 2, 1, 0, 0, 0.1, 0.08, float("nan"), True), ("int4", "integer", 4, None, None, 0, 0.1, 0.9, 0.3, False),
    ("ternary", "codebook", 2, None, None, 0, 0.1, 0.5, 1.0, False), ("binary32", "float", 32, 8, 23, 0, 0.1, 0.98, 0.1, False),
]  # fmt: skip


def test_summary_takes_the_rate_of_the_lowest_training_loss():
    summary = plots.summarize(table(ROWS)).set_index("format")
    assert list(summary.index) == ["e4m3", "e1m0", "int4", "ternary", "binary32"]
    assert summary.loc["e4m3", "learning_rate"] == 0.1
    assert summary.loc["e4m3", "accuracy"] == pytest.approx(0.96)
    assert summary.loc["e4m3", "spread"] == pytest.approx(0.01 * 2**0.5)
    assert summary.loc["e1m0", "diverged"] == 1
    assert summary.loc["int4", "spread"] == 0


def test_pictures(tmp_path):
    runs = table(ROWS)
    heat, bits = plots.heat_map(runs), plots.accuracy_by_bits(runs)
    cells = {text.get_text() for text in heat.axes[0].texts}
    assert cells == {"96.0", "diverged"}
    assert [label.get_text() for label in heat.axes[0].get_xticklabels()] == ["E1", "E4"]
    legend = {text.get_text() for text in bits.axes[0].get_legend().get_texts()}
    assert legend == {"minifloat", "integer", "codebook", "minifloat, diverged", "binary32 (98.0%)"}
    for name, figure in (("heat.png", heat), ("bits.png", bits)):
        assert plots.save(figure, tmp_path / "new" / name).stat().st_size > 10_000
    with pytest.raises(ValueError, match="no minifloats of fewer than 16 bits"):
        plots.heat_map(runs[runs["kind"] == "integer"])
    with pytest.raises(ValueError, match="no formats of fewer than 16 bits"):
        plots.accuracy_by_bits(runs[runs["bits"] == 32])
