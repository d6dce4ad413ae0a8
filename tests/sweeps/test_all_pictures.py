"""What holds for all pictures: names stay letters, nothing is cut off, files never change, errors say what to do."""

import re

import matplotlib as mpl
import numpy as np
import pandas
import pytest
import typer
from halfulp.sim.pictures.commands_plot import register
from halfulp.sim.pictures.curves import plot_curves
from halfulp.sim.pictures.effects import plot_effects, plot_interaction
from halfulp.sim.pictures.heat_map import plot_divergence, plot_heat_map
from halfulp.sim.pictures.number_lines import plot_number_lines
from halfulp.sim.pictures.pareto import plot_pareto
from halfulp.sim.pictures.saving import save_figure
from halfulp.sim.pictures.scales import plot_scales
from halfulp.sim.sweeps import plots, reading
from halfulp.sim.sweeps.store import Store
from matplotlib.figure import Figure
from matplotlib.text import Text
from typer.testing import CliRunner

from .pictured import EFFECTS, GRID, HOSTILE, OTHERS, REFERENCE, assert_nothing_is_cut_off, cells, runs_of, trained


def pictures(runs, effects=EFFECTS, width="column", into=None):
    how = {"width": width, "into": into}
    curves = {name: [[3.0, 2, 1], [4.0, 2, 1.5]] for name in runs["format"].unique()[:8]}
    yield plot_heat_map(runs, names=True, **how)
    yield plot_divergence(runs, **how)
    yield plot_pareto(runs, named="all", **how)
    yield plot_curves(curves, **how)
    yield plot_scales({str(name): np.ones((2, 32), np.float32) for name in runs["format"].unique()[:8]}, "mxfp4", **how)
    yield plot_effects(effects, **how)
    yield plot_interaction(runs, "test_accuracy", "format", "kind", **how)


def test_hostile_names_are_letters_and_fit():
    rows = [(name, name, 3 + k, 2, k, 0.5 + 0.05 * k) for k, name in enumerate(HOSTILE[:7])]
    effects = EFFECTS.assign(factor=HOSTILE[:4], level=HOSTILE[3:7])
    for figure in pictures(runs_of(rows), effects):
        assert_nothing_is_cut_off(figure)
    figure = plot_divergence(runs_of([(name, "", 3, 2, 1, 0.5) for name in HOSTILE]))
    shown = [label.get_text().replace(r"\$", "$") for label in figure.axes[0].get_yticklabels()][::-1]
    assert shown == [*HOSTILE[:3], "two lines", HOSTILE[4], "x" * 9 + "\u2026" + "x" * 8, "(no name)", HOSTILE[7]]
    labels = [
        text.get_text().strip() for text in plot_curves({"_hidden": [[2.0, 1]], "b": [[2.0, 1]]}).legends[0].get_texts()
    ]
    assert labels == ["_hidden", "b"]


def test_no_setting_of_matplotlib_is_read_or_changed(tmp_path):
    runs = runs_of(GRID)
    plain = save_figure(plot_pareto(runs), tmp_path / "plain.svg").read_bytes()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        before = dict(mpl.rcParams)
        assert save_figure(plot_pareto(runs), tmp_path / "other.svg").read_bytes() == plain
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files_are_the_same_every_time(suffix, tmp_path):
    runs = runs_of([*GRID, REFERENCE])
    figures = [plot_heat_map(runs), plot_heat_map(runs)]
    first, second = (
        save_figure(each, tmp_path / "new" / f"{k}{suffix}").read_bytes() for k, each in enumerate(figures)
    )
    again = save_figure(figures[0], tmp_path / f"again{suffix}").read_bytes()
    assert first == second == again
    assert not re.search(rb"20[2-9]\d-\d\d-\d\d|/CreationDate", first)
    assert first[:4] == {".png": b"\x89PNG", ".svg": b"<?xm", ".pdf": b"%PDF"}[suffix]


def test_pictures_of_the_command(tmp_path, monkeypatch):
    runs = runs_of([*GRID, *OTHERS, REFERENCE]).assign(task="digits")
    summary = plots.summarize(runs_of(GRID[:2], rates=(0.1, 0.3))).set_index("format")
    assert summary.loc["e2m0", ["learning_rate", "seeds", "diverged"]].tolist() == [0.1, 3, 0]
    assert summary.loc["e2m0", ["accuracy", "spread"]].tolist() == pytest.approx([0.61, 0.01])
    assert len(cells(plots.heat_map(runs))) == 9
    labels = [text.get_text() for text in plots.accuracy_by_bits(runs).findobj(Text)]
    assert {"minifloat", "integer", "codebook", "binary32 (91.0%)"} <= set(labels)
    with pytest.raises(ValueError, match="no minifloats of fewer than 16 bits"):
        plots.heat_map(runs[runs["kind"] == "integer"])
    with pytest.raises(ValueError, match="no formats of fewer than 16 bits"):
        plots.accuracy_by_bits(runs[runs["bits"] == 32])

    app, store = typer.Typer(), tmp_path / "s.sqlite"
    register(app)
    app.command()(lambda: None)  # with a second one typer keeps names
    Store(store).close()
    every = ["plot", str(store), "--out", str(tmp_path), "--type", "svg"]
    for each in ("heat_map", "accuracy_by_bits", "pareto", "divergence"):
        every += ["-p", each]
    empty = CliRunner().invoke(app, every)
    assert "has no finished runs" in str(empty.exception)
    monkeypatch.setattr(reading, "read_runs", lambda store, where: runs)
    found = CliRunner().invoke(app, every)
    assert found.exit_code == 0, found.output
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == sorted(f"{each}.svg" for each in every[7::2])
    found = CliRunner().invoke(
        app, ["plot", str(store), "--out", str(tmp_path / "b"), "--metric", "train_loss", "--log", "-p", "heat_map"]
    )
    assert found.exit_code == 0, found.output
    assert (tmp_path / "b" / "heat_map.png").exists()


def test_sizes():
    runs = runs_of(GRID)
    assert plot_pareto(runs).get_size_inches().tolist() == [3.3, 2.5]
    assert plot_pareto(runs, width="page", height=3).get_size_inches().tolist() == [6.9, 3]
    assert plot_heat_map(runs, width=5).get_figwidth() == 5


def test_panels_of_one_figure():
    whole = Figure(figsize=(6.9, 2.6), layout="constrained")
    left, right = whole.subfigures(1, 2)
    assert plot_heat_map(runs_of(GRID), into=left) is left
    plot_curves({"a": [[3.0, 2, 1]], "b": [[3.0, 1, 1]]}, into=right)
    assert len(whole.axes) == 3
    assert_nothing_is_cut_off(whole)


GOOD = runs_of(GRID)
BAD = [
    (lambda: plot_heat_map(GOOD, "test_acuracy"), ValueError, "unknown column 'test_acuracy'; did you mean 'test_accuracy'"),
    (lambda: plot_heat_map([1]), TypeError, "expected a DataFrame with a row per run, got list"),
    (lambda: plot_heat_map(GOOD[:0]), ValueError, "there are no runs to draw; the table is empty"),
    (lambda: plot_heat_map(runs_of(OTHERS)), ValueError, "none of the formats has both 'exponent_bits' and 'mantissa_bits'"),
    (lambda: plot_heat_map(GOOD, limits=(90, 80)), ValueError, "expected ascending limits of the colours"),
    (lambda: plot_heat_map(GOOD.assign(test_accuracy=-1.0), log=True), ValueError, "logarithmic colours are for positive values"),
    (lambda: plot_heat_map(GOOD.assign(test_accuracy="good")), ValueError, "expected numbers in column 'test_accuracy'"),
    (lambda: plot_heat_map(runs_of(GRID, rates=(0.1, 1)).drop(columns="train_loss")), ValueError, "2 values of 'learning_rate' and no column 'train_loss'"),
    (lambda: plot_heat_map(GOOD, width="colum"), ValueError, "unknown width 'colum'; did you mean 'column'"),
    (lambda: plot_heat_map(GOOD, width=500), ValueError, "expected a width of 1 to 50 inches, got 500"),
    (lambda: plot_heat_map(GOOD, height=0.1), ValueError, "expected a height of 0.5 to 50 inches"),
    (lambda: plot_heat_map(GOOD, into="x"), TypeError, "expected a matplotlib Figure or SubFigure to draw into, got str"),
    (lambda: plot_divergence(GOOD.drop(columns="diverged")), ValueError, "unknown column 'diverged'"),
    (lambda: plot_pareto(GOOD, "bitss"), ValueError, "unknown column 'bitss'; did you mean 'bits'"),
    (lambda: plot_pareto(GOOD, spread="std"), ValueError, "unknown spread 'std'"),
    (lambda: plot_pareto(GOOD, log="z"), ValueError, "unknown log 'z'"),
    (lambda: plot_pareto(GOOD, named="some"), ValueError, "unknown named 'some'"),
    (lambda: plot_pareto(GOOD, direction="up"), ValueError, "unknown direction 'up'"),
    (lambda: plot_pareto(GOOD.assign(bits=np.nan)), ValueError, "expected a finite 'bits' of each format, got nan for e2m0"),
    (lambda: plot_pareto(GOOD.assign(bits=0), log="x"), ValueError, "expected positive numbers on a logarithmic axis, got 0 on x"),
    (lambda: plot_pareto(runs_of([REFERENCE])), ValueError, "no formats besides the reference binary32"),
    (lambda: plot_curves(7), TypeError, "expected a DataFrame, results of hu.train, or a mapping"),
    (lambda: plot_curves([]), ValueError, "there are no runs to draw"),
    (lambda: plot_curves({"a": [[np.nan, np.nan]]}), ValueError, "no run has a finite loss"),
    (lambda: plot_curves({"a": [[-1.0, -2.0]]}), ValueError, "found none on y; leave it out of log"),
    (lambda: plot_curves({"a": [[[1.0]]]}), ValueError, "expected a curve of shape"),
    (lambda: plot_curves({"a": "loss"}), TypeError, "expected a list of runs or arrays for 'a', got str"),
    (lambda: plot_curves([trained("fp8", [1, 2])], "los"), ValueError, "unknown curve 'los'; did you mean 'loss'"),
    (lambda: plot_curves({"a": [[1.0, 2]]}, smooth=0), ValueError, "expected smooth >= 1 steps, got 0"),
    (lambda: plot_curves({"a": [[1.0, 2]]}, highlight=["b"]), ValueError, "unknown line 'b'"),
    (lambda: plot_curves(GOOD, "test_accuracy"), ValueError, "expected arrays in the column 'test_accuracy'"),
    (lambda: plot_curves(GOOD.assign(step=1), "test_accuracy", by="kind"), ValueError, "step 1 occurs twice in float, seed 0"),
    (lambda: plot_curves(runs_of(GRID, rates=(1, 2)).assign(step=1), "bits"), ValueError, "several learning rates (1, 2); pass by=['format', 'learning_rate']"),
    (lambda: plot_curves(pandas.DataFrame({"format": "a", "seed": [0, 0, 1], "step": [0, 5, 3], "loss": 1.0})), ValueError, "recorded at different steps"),
    (lambda: plot_scales(np.ones(32)), ValueError, "expected formats for the arrays; pass e.g."),
    (lambda: plot_scales(np.ones(32), "int8"), ValueError, "int8 has no scales"),
    (lambda: plot_scales(np.zeros((1, 32)), "int8_per_row"), ValueError, "every block is zero"),
    (lambda: plot_scales({str(k): np.ones(32) for k in range(41)}, "mxfp4"), ValueError, "41 histograms are more than"),
    (lambda: plot_scales(GOOD, "mxfp4"), TypeError, "a DataFrame holds scales already"),
    (lambda: plot_scales(pandas.DataFrame({"scale_counts": [[]], "scale_min": [0]})), ValueError, "none of these rows has scales"),
    (lambda: plot_number_lines("fp4_e2m1", "log"), ValueError, "unknown axis 'log'"),
    (lambda: plot_number_lines([]), ValueError, "expected 1 to 60 formats, got 0"),
    (lambda: plot_number_lines("phase"), ValueError, "phase has no number line"),
    (lambda: plot_number_lines("binary16"), ValueError, "pick one of 12 bits or fewer"),
    (lambda: plot_effects(EFFECTS, factors=["formt"]), ValueError, "unknown factor 'formt'; did you mean 'format'"),
    (lambda: plot_effects(EFFECTS.assign(estimate=np.nan)), ValueError, "no effect has a finite estimate"),
    (lambda: plot_effects(EFFECTS.assign(low=9.0)), ValueError, "expected low <= estimate <= high"),
    (lambda: plot_interaction(GOOD.assign(diverged=True), "test_accuracy", "format", "kind"), ValueError, "all of these runs diverged"),
    (lambda: plot_interaction(GOOD, "test_accuracy", "kind", "format"), ValueError, "format has 9 levels, more than there are colours"),
    (lambda: save_figure(Figure(), "x.jpg"), ValueError, "unknown suffix '.jpg'"),
    (lambda: save_figure("x", "x.png"), TypeError, "expected a matplotlib Figure, got str"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), BAD, ids=[message[:40] for *_, message in BAD])
def test_errors_say_what_to_do(call, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        call()
