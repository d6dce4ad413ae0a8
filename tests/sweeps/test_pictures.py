"""Heat maps, divergence and fronts: what they draw is what the runs say."""

import numpy as np
import pytest
from halfulp.sim.pictures.heat_map import plot_divergence, plot_heat_map
from halfulp.sim.pictures.pareto import plot_pareto
from matplotlib.text import Text

from .pictured import GRID, OTHERS, REFERENCE, assert_nothing_is_cut_off, cells, runs_of, texts


def test_heat_map_shows_means_of_the_best_rate():
    figure = plot_heat_map(runs_of([*GRID, *OTHERS, REFERENCE], rates=(0.1, 0.3)))
    shown = cells(figure)
    assert len(shown) == 9
    assert shown["E2", "M0"] == "61.0"
    assert shown["E4", "M2"] == "79.0"
    mesh = figure.axes[0].collections[1].get_array()
    assert mesh[0, 0] == pytest.approx(61.0)
    assert mesh[2, 2] == pytest.approx(79.0)
    assert "test accuracy (%); line: binary32, 91.0" in texts(figure)
    assert_nothing_is_cut_off(figure)


def test_heat_map_counts_what_diverged():
    runs = runs_of(GRID)
    runs.loc[0, ["diverged", "test_accuracy"]] = True, 0.01  # one of e2m0
    runs.loc[3, "test_accuracy"] = np.inf  # one of e2m1
    runs.loc[runs["format"] == "e4m2", "test_accuracy"] = np.nan
    figure = plot_heat_map(runs)
    shown = cells(figure)
    assert shown["E2", "M0"] == "61.5\n\u27151"  # the mean of the other two
    assert shown["E2", "M1"] == "65.5\n\u27151"
    assert shown["E4", "M2"] == "diverged"
    assert figure.axes[0].collections[0].get_array().count() == 1  # one grey cell
    assert "\u2715n: n of 3 seeds diverged, and are not in the mean" in texts(figure)
    assert_nothing_is_cut_off(figure)


def test_heat_map_of_runs_that_all_diverged_is_grey():
    figure = plot_heat_map(runs_of(GRID[:3]).assign(diverged=True))
    assert set(cells(figure).values()) == {"diverged"}


def test_heat_map_takes_the_better_of_two_formats_in_one_cell():
    twice = [("worse", "float", 4, 2, 1, 0.6), ("better", "float", 4, 2, 1, 0.7), ("lost", "float", 4, 2, 1, 0.99)]
    runs = runs_of([*twice, ("other", "float", 6, 3, 2, 0.8)])
    runs.loc[runs["format"] == "lost", "diverged"] = True
    assert cells(plot_heat_map(runs, names=True))["E2", "M1"] == "71.0\nbetter"
    assert cells(plot_heat_map(runs, names=True, direction="minimize"))["E2", "M1"] == "61.0\nworse"
    with pytest.raises(ValueError, match="is less of 'quality' better, or more?"):
        plot_heat_map(runs.rename(columns={"test_accuracy": "quality"}), "quality")


def test_heat_map_of_any_columns():
    runs = runs_of(GRID, rates=(0.1, 0.3)).assign(perplexity=1234.5)
    figure = plot_heat_map(runs, "perplexity", x="learning_rate", y="format", over="seed", select="train_loss",
                           labels={"perplexity": "perplexity (1)"})  # fmt: skip
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0.1", "0.3"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][-1] == "e2m0"  # from the top
    assert "perplexity (1)" in texts(figure)


def test_a_grid_of_two_hundred_formats_leaves_out_what_does_not_fit():
    many = [(f"e{e}m{m}", "float", 1 + e + m, e, m, 0.5) for e in range(1, 15) for m in range(15)]
    figure = plot_heat_map(runs_of(many, seeds=1))
    assert figure.axes[0].collections[1].get_array().shape == (15, 14)
    assert_nothing_is_cut_off(figure)
    tall = plot_divergence(runs_of([(f"f{k}", "", 8, None, None, 0.5) for k in range(200)]))
    assert tall.get_figheight() == 9
    assert 20 < len(tall.axes[0].get_yticks()) < 100
    assert not tall.axes[0].texts
    assert_nothing_is_cut_off(tall)


def test_divergence_counts_runs():
    runs = runs_of(GRID[:2], rates=(0.1, 1.0))
    runs.loc[(runs["format"] == "e2m1") & (runs["learning_rate"] == 1.0) & (runs["seed"] > 0), "diverged"] = True
    runs = runs.drop(runs.index[(runs["format"] == "e2m0") & (runs["learning_rate"] == 1.0)])
    figure = plot_divergence(runs)
    assert cells(figure) == {("0.1", "e2m0"): "0/3", ("0.1", "e2m1"): "0/3", ("1", "e2m1"): "2/3"}
    assert figure.axes[0].collections[1].get_array().compressed() == pytest.approx([0, 200 / 3, 0])
    runs.loc[0, "test_accuracy"] = np.nan
    assert cells(plot_divergence(runs, metric="test_accuracy"))["0.1", "e2m0"] == "1/3"


def front(figure):
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "front"]
    return np.stack(line.get_data(), 1)


def test_front_ascends_and_nothing_beats_it():
    runs = runs_of([*GRID, *OTHERS, REFERENCE])
    figure = plot_pareto(runs)
    points = front(figure)[:-1]
    assert (np.diff(points, axis=0) > 0).all()
    means = runs[runs["format"] != "binary32"].groupby("format")[["bits", "test_accuracy"]].mean().to_numpy() * (1, 100)
    for bits, accuracy in means:
        assert ((points[:, 0] <= bits) & (points[:, 1] >= accuracy - 1e-9)).any()
    names = {text.get_text() for text in figure.axes[0].texts}
    assert names == {"e2m0", "nf4"}
    assert "binary32 (91.0%)" in texts(figure)
    assert_nothing_is_cut_off(figure)


def test_front_of_losses_descends():
    runs = runs_of(GRID).assign(test_loss=lambda table: 1 - table["test_accuracy"])
    points = front(plot_pareto(runs, metric="test_loss", log="xy"))[:-1]
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()


def test_formats_that_lost_a_run_are_open_and_not_on_the_front():
    runs = runs_of(
        [("good", "float", 4, 2, 1, 0.5), ("half", "float", 4, 1, 2, 0.9), ("gone", "scaled", 3, None, None, 0.9)]
    )
    runs.loc[3, "diverged"] = True
    runs.loc[runs["format"] == "gone", "test_accuracy"] = np.nan
    figure = plot_pareto(runs)
    assert front(figure)[0].tolist() == [4, 51]
    labels = {text.get_text() for text in figure.findobj(Text)}
    assert {"minifloat", "minifloat, some diverged", "block scales, diverged", "mean of 3 runs, 95% interval"} <= labels
    assert_nothing_is_cut_off(plot_pareto(runs.assign(diverged=True)))  # all of them


def test_bars_are_what_they_say():
    runs = runs_of([("a", "float", 4, 2, 1, 0.5), ("b", "float", 5, 2, 2, 0.6)])
    half = 4.302652729911275 * 1 / 3**0.5  # t of 97.5% and two degrees of freedom, a deviation of one percent
    for spread, low, high in (
        ("confidence", 51 - half, 51 + half),
        ("range", 50, 52),
        ("deviation", 50, 52),
        ("quartiles", 50.5, 51.5),
    ):
        bar = plot_pareto(runs, spread=spread).axes[0].collections[0].get_segments()[0]
        assert bar[:, 1] == pytest.approx([low, high])
    assert not plot_pareto(runs[runs["seed"] == 0]).axes[0].collections  # one run has no interval


def overlap(a, b):
    return max(min(a.x1, b.x1) - max(a.x0, b.x0), 0) * max(min(a.y1, b.y1) - max(a.y0, b.y0), 0)


def test_names_do_not_overlap():
    rng = np.random.default_rng(0)
    crowd = [(f"format{k}", "float", int(rng.integers(3, 9)), 3, 2, rng.random()) for k in range(60)]
    figure = plot_pareto(runs_of(crowd), named="all")
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without lines to their points
    assert len(boxes) >= 8
    assert all(overlap(a, b) < 12 for k, a in enumerate(boxes) for b in boxes[:k])  # square pixels
    assert_nothing_is_cut_off(figure)
    assert not plot_pareto(runs_of(crowd[:5]), named="none").axes[0].texts


def test_pareto_of_one_format_and_of_two_hundred():
    assert front(plot_pareto(runs_of(GRID[:1]))).shape == (2, 2)
    many = [(f"f{k}", "float", 4 + k % 7, None, None, 0.3 + 0.003 * k) for k in range(200)]
    assert_nothing_is_cut_off(plot_pareto(runs_of(many, seeds=2)))
