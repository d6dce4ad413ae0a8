"""Sweeps: complete, resumable after a kill, never repeating or losing a run."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import halfulp as hu
import numpy as np
import pandas
import pytest
from halfulp.sim.sweeps import plots
from halfulp.sim.sweeps.store import Store
from halfulp.sim.sweeps.sweep import COLUMNS, expand_formats, frame
from halfulp.sim.training.training import Trained

QUICK = hu.Training(steps=4, batch=16, width=4)
FORMATS = ["e[1-2]m[0-1]", "int4", "ternary", "binary32"]


def quick(store=None, progress=False, **options):
    return hu.sweep(
        options.pop("task", "digits"),
        formats=options.pop("formats", FORMATS),
        seeds=2,
        training=QUICK,
        store=store,
        progress=progress,
        **options,
    )


@pytest.fixture
def untrained(monkeypatch):
    """Results that depend on the run alone, at once: these tests are about the sweep, not the trainer."""
    from halfulp.sim.training.jax_grid import Trainer

    def instead(self, chunk, runs, report=None, keep=False):
        return [_made_up(self.training, run) for run in runs]

    monkeypatch.setattr(Trainer, "train_chunk", instead)


def _made_up(training, run):
    x = len(run.rules[0].recipe.name) + run.seed + run.learning_rate + training.steps
    return Trained(run, {"accuracy": 0.5, "loss": x}, None, {"loss": np.full(training.steps, x)})


def test_a_row_for_every_run_in_the_order_asked_for(tmp_path, untrained):
    runs = quick(tmp_path / "s.sqlite", learning_rates=[0.1, 0.3])
    assert list(runs.columns) == COLUMNS
    assert len(runs) == 7 * 2 * 2
    assert list(runs["format"].unique()) == ["e1m0", "e1m1", "e2m0", "fp4_e2m1", "int4", "ternary", "binary32"]
    assert list(runs["seed"][:4]) == [0, 0, 1, 1]
    assert list(runs["learning_rate"][:4]) == [0.1, 0.3, 0.1, 0.3]
    assert dict(zip(runs["format"], runs["kind"]))["ternary"] == "codebook"
    assert runs["test_accuracy"].between(0, 1).all()


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch, untrained):
    path = tmp_path / "s.sqlite"
    first = quick(path, formats=["e2m1", "int4"])
    seen = []
    second = quick(path, formats=["int4", "e2m1", "e3m2"], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 6), (6, 6)]
    assert list(second["format"]) == ["int4"] * 2 + ["fp4_e2m1"] * 2 + ["fp6_e3m2"] * 2
    merged = second.merge(first, on=["format", "seed"])
    assert (merged["test_loss_x"] == merged["test_loss_y"]).all()
    monkeypatch.setattr("halfulp.sim.training.jax_grid.Trainer.train_chunk", None)
    pandas.testing.assert_frame_equal(quick(path, formats=["e2m1", "int4"]), first)


def test_other_settings_are_other_runs(tmp_path, untrained):
    path = tmp_path / "s.sqlite"
    quick(path, formats=["e2m1"])
    hu.sweep(
        "digits",
        formats=["e2m1"],
        seeds=2,
        training=hu.Training(steps=5, batch=16, width=4),
        store=path,
        progress=False,
    )
    with Store(path) as store:
        assert len(frame(store)) == 4
        versions = store.rows()[0][1].versions
    assert versions["halfulp"] == hu.__version__
    assert set(versions) >= {"jax", "numpy", "scikit-learn"}


def test_a_killed_sweep_goes_on_and_loses_nothing(tmp_path):
    """SIGKILL after the first batch; the second start runs the rest, and the table equals an uninterrupted one."""
    path, formats = tmp_path / "s.sqlite", ["e1m0", "e1m1", "e2m0", "e2m1"]
    program = f"""
        import time, halfulp as hu
        def report(done, total):
            print(done, total, flush=True)
            if done:
                time.sleep(60)
        hu.sweep(hu.task("digits", size="xs"), formats={formats!r}, seeds=2, store={str(path)!r}, progress=report,
                 training=hu.Training(steps=4, batch=16, width=4))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    lines = []
    deadline = time.time() + 90
    while time.time() < deadline and len(lines) < 2:
        lines.append(process.stdout.readline().split())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert lines == [["0", "8"], ["4", "8"]]
    seen = []
    small = hu.task("digits", size="xs")
    resumed = quick(path, task=small, formats=formats, progress=lambda done, total: seen.append(done))
    assert seen[0] == 4
    assert seen[-1] == 8
    with Store(path) as store:
        assert len(store.rows()) == 8
    pandas.testing.assert_frame_equal(resumed, quick(None, task=small, formats=formats))


def test_progress_bar_shows_runs_and_time_left(capsys, untrained):
    quick(formats=["e2m1"], progress=True)
    shown = capsys.readouterr().out
    assert "training digits" in shown
    assert "2/2 runs" in shown
    assert "left" in shown


def test_ranges():
    assert [fmt.name for fmt in expand_formats(["e[1-2]m[3-4]", hu.format("int8")])] == [
        "e1m3",
        "e1m4",
        "fp6_e2m3",
        "e2m4",
        "int8",
    ]
    with pytest.raises(ValueError, match=r"expected an ascending range, got \[4-2\] in 'int\[4-2\]'; write \[2-4\]"):
        expand_formats(["int[4-2]"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": "e2m1"}, r"expected a list of formats, got the string 'e2m1'; pass \['e2m1'\]"),
        ({"formats": []}, "nothing to run; pass at least one format"),
        ({"formats": ["e2m1"], "seeds": 0}, "nothing to run"),
        ({"formats": ["e9m9"]}, "values of e9m9 do not fit float32"),
        ({"formats": ["fp9"]}, "unknown format 'fp9'"),
        ({"formats": ["e2m1"], "task": "digit"}, "unknown task 'digit'; did you mean 'digits'"),
    ],
)
def test_bad_sweeps(options, message):
    with pytest.raises(ValueError, match=message):
        hu.sweep(**{"training": QUICK, "progress": False, **options})


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
