"""What is swept with a task beside formats: how parameters are stored, what is refused, and what tables then tell."""

import re

import halfulp as hu
import pytest
import typer
from halfulp.sim.pictures.commands_plot import register
from halfulp.sim.sweeps import plots
from halfulp.sim.sweeps.commands_sweep import _print_summary
from halfulp.sim.sweeps.report_pictures import pictures_of
from halfulp.sim.sweeps.sweep_file import read_sweep_file
from halfulp.sim.sweeps.task_members import member_of
from halfulp.sim.sweeps.task_runs import TaskRuns
from typer.testing import CliRunner

QUICK = hu.Training(steps=2, batch=16, width=2)
TABLE = {"weights": "bf16", "master": "binary32"}


def test_storages_are_swept(tmp_path):
    """By name, as a table, or none; each is a program of its own and part of what a run is."""
    options = {"training": QUICK, "task_options": {"size": "xs"}, "store": tmp_path / "s.sqlite", "progress": False}
    runs = hu.sweep("digits", [{"storage": TABLE}], **options)
    assert runs[["status", "storage"]].iloc[0].tolist() == ["finished", TABLE]
    rows = hu.space({"recipe": ["identity"], "storage": [TABLE, "bf16", None], "seed": [0]}).configurations()
    planned = TaskRuns("digits", {"size": "xs"}, QUICK, False).plan(rows)
    assert planned[0].key == runs["key"][0]
    assert len({each.key for each in planned}) == len({each.identity["program"] for each in planned}) == 3
    assert member_of({"storage": "bf16"}, QUICK).run.storage.weights.fmt == "bfloat16"


def test_storages_in_a_file(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        'task = "digits"\n[task_options]\nsize = "xs"\n'
        '[space]\nrecipe = ["identity"]\nstorage = ["none", "bf16", {weights = "bf16"}]\n'
    )
    rows = read_sweep_file(path).space.configurations()
    assert [row["storage"] for row in rows] == [None, "bf16", {"weights": "bf16"}]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ('storage = ["bf17"]', "unknown storage 'bf17'; did you mean 'bf16'"),
        ("storage = [3]", "storage: expected text or a table or None, got 3"),
        (
            'storage = [{compensation = "eco", weights = "bf16"}]\nmomentum = [0.0]',
            "compensation 'eco' is for SGD with",
        ),
        ('format = ["e4m3", "takum8"]', "values of takum8 do not fit float32, in which tasks train; sweep"),
        ('recipe = ["mxfp8"]\nformat = ["e4m3"]', "expected a format or a recipe"),
    ],
)
def test_refusals_before_anything_runs(tmp_path, space, message):
    path = tmp_path / "grid.toml"
    path.write_text(f'task = "digits"\n[task_options]\nsize = "xs"\n[space]\n{space}\n')
    with pytest.raises(ValueError, match=re.escape(message)):
        read_sweep_file(path)


@pytest.mark.parametrize("name", ["takum8", "scaled(takum8,block=tensor)"])
def test_formats_beyond_float32_are_refused(name):
    """One of them would also take all formats down that share its program."""
    with pytest.raises(ValueError, match="do not fit float32, in which tasks train; sweep"):
        hu.sweep("digits", formats=["posit8", name], training=QUICK, task_options={"size": "xs"}, progress=False)


def test_every_other_format_and_recipe_is_taken():
    for name in ["posit8", "nvfp4", "mxfp4", "nf4", "binary32", "bf16", "e5m2", "int8", "ternary", "hif8"]:
        assert member_of({"format": name}, QUICK).run.rules
    for name in hu.list_recipes():
        assert member_of({"recipe": name}, QUICK).run.rules


@pytest.fixture
def runs():
    """Runs of one format in two roundings, of which the second is better at another rate, and one that failed."""
    import pandas

    rows = [
        ("finished", "e4m3", rounding, seed, rate, accuracy + seed / 100, 1 - accuracy, False)
        for rounding, rate, accuracy in [("nearest_even", 0.1, 0.8), ("nearest_even", 0.3, 0.7),
                                         ("stochastic", 0.1, 0.6), ("stochastic", 0.3, 0.9)]
        for seed in range(2)
    ]  # fmt: skip
    rows.append(("failed", "e5m2", "nearest_even", 0, 0.1, None, None, None))
    names = ["status", "format", "rounding", "seed", "learning_rate", "test_accuracy", "train_loss", "diverged"]
    table = pandas.DataFrame(rows, columns=names)
    return table.assign(
        task="digits", kind="float", bits=8, exponent_bits=4, mantissa_bits=3, test_loss=1 - table["test_accuracy"]
    )


def test_a_summary_mixes_no_settings(runs, capsys):
    finished = runs[runs["status"] == "finished"]
    assert plots.settings_apart(finished) == ["rounding"]
    assert plots.settings_apart(finished[finished["rounding"] == "stochastic"]) == []
    assert plots.settings_apart(finished.drop(columns="format")) == []
    summary = plots.summarize(finished).set_index("rounding")
    assert summary["learning_rate"].to_dict() == {"nearest_even": 0.1, "stochastic": 0.3}
    assert summary["accuracy"].to_dict() == pytest.approx({"nearest_even": 0.805, "stochastic": 0.905})
    assert summary["seeds"].tolist() == [2, 2]
    _print_summary(runs)
    shown = capsys.readouterr().out
    assert "rounding" in shown
    assert "stochastic" in shown
    assert "0 of 2" in shown


def test_a_report_says_what_its_pictures_mix(runs):
    (picture,) = [each for each in pictures_of(runs) if "over bits" in each.caption]
    assert picture.caption.endswith("each format at its best learning rate; one mean for all rounding")


def test_plot_says_what_it_mixes_and_takes_conditions(runs, tmp_path, monkeypatch):
    from halfulp.sim.sweeps import reading
    from halfulp.sim.sweeps.filters import filter_runs

    monkeypatch.setattr(reading, "read_runs", lambda store, where: filter_runs(runs, where))
    app = typer.Typer()
    register(app)
    app.command()(lambda: None)
    command = ["plot", "s.sqlite", "--out", str(tmp_path), "-p", "pareto"]
    mixed = CliRunner().invoke(app, command)
    assert mixed.exit_code == 0, mixed.output
    assert "runs of one format differ in rounding and are drawn as one; --where 'rounding=...' chooses" in mixed.stderr
    chosen = CliRunner().invoke(app, [*command, "--where", "rounding=stochastic"])
    assert chosen.exit_code == 0, chosen.output
    assert "differ" not in chosen.output
    failed = CliRunner().invoke(app, [*command, "--where", "format=e5m2"])
    assert "s.sqlite has no finished runs with format=e5m2; halfulp runs s.sqlite lists" in str(failed.exception)
