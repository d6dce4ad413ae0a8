"""Curves, scales, number lines and effects: what they draw is what they were given."""

from itertools import pairwise

import numpy as np
import pandas
import pytest
from halfulp.sim.pictures.curves import MOST, plot_curves
from halfulp.sim.pictures.effects import plot_effects, plot_interaction
from halfulp.sim.pictures.number_lines import plot_number_lines
from halfulp.sim.pictures.scales import plot_scales

from .pictured import EFFECTS, GRID, assert_nothing_is_cut_off, runs_of, texts, trained


def lines(figure):
    return [line for line in figure.axes[0].lines if line.get_marker() != "x"]


def crosses(figure):
    return [tuple(float(v[0]) for v in line.get_data()) for line in figure.axes[0].lines if line.get_marker() == "x"]


def test_curves_of_results():
    nan = np.nan
    results = [
        trained("fp8", [4, 2, 1, 1]),
        trained("fp8", [6, 4, 3, 1], seed=1),
        trained("mxfp4", [5, 3, nan, nan], 2),
    ]
    figure = plot_curves(results, centre="mean")
    first, second = lines(figure)
    assert first.get_data()[1].tolist() == [5, 3, 2, 1]
    assert second.get_data()[1].tolist() == [5, 3]
    assert crosses(figure) == [(1, 3)]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == 6
    assert band[band[:, 0] == 1][:, 1].tolist().count(2) > 0
    assert {"fp8", "mxfp4", "diverged (1 run)", "mean of 2 runs, band: smallest to largest"} <= set(texts(figure))
    assert lines(plot_curves(results, "accuracy", log=""))[0].get_data()[0].tolist() == [2, 4]
    assert "fp8, rate 0.1" in texts(plot_curves([*results, trained("fp8", [1, 1], rate=0.3)]))
    assert_nothing_is_cut_off(figure)


def test_curves_of_frames_agree():
    steps = pandas.DataFrame(
        [(f, s, k, v + s) for f in ("a", "b") for s in (0, 1) for k, v in ((10, 3.0), (20, 2.0), (30, 1.0))],
        columns=["format", "seed", "step", "loss"],
    )
    steps.loc[5, "loss"] = np.inf  # a, seed 1, step 30
    figure = plot_curves(steps)
    assert lines(figure)[0].get_data()[0].tolist() == [10, 20, 30]
    assert lines(figure)[0].get_data()[1].tolist() == [3.5, 2.5, 1]
    assert crosses(figure) == [(20, 3)]
    rows = pandas.DataFrame({"format": ["a", "a"], "seed": [0, 1], "loss": [np.array([3.0, 2, 1]), [4.0, 3, 2]]})
    nested = pandas.DataFrame({"format": ["a", "a"], "curves": [{"loss": [3.0, 2, 1]}, {"loss": [4.0, 3, 2]}]})
    for frame in (rows, nested, {"a": [[3.0, 2, 1], [4.0, 3, 2]]}):
        assert lines(plot_curves(frame))[0].get_data()[1].tolist() == [3.5, 2.5, 1.5]


def test_smoothing_is_a_trailing_mean_of_each_run():
    figure = plot_curves({"a": [[4.0, 2, 3, 1e30, 5, 7]]}, smooth=2)
    assert lines(figure)[0].get_data()[1].tolist() == [4, 3, 2.5, 5e29, 5e29, 6]


def test_many_lines():
    many = {f"f{k}": [[3.0, 2, 1 + 0.01 * k]] for k in range(200)}
    with pytest.raises(
        ValueError, match=f"200 lines are more than colours and dashes tell apart \\({MOST}\\); pass highlight="
    ):
        plot_curves(many)
    figure = plot_curves(many, highlight=["f3", "f7"])
    assert sum(line.get_color() == "0.75" for line in lines(figure)) == 198
    assert {"f3", "f7", "others"} <= set(texts(figure))
    styles = {(line.get_color(), str(line._dash_pattern)) for line in lines(plot_curves(dict([*many.items()][:MOST])))}
    assert len(styles) == MOST


def test_scales_of_arrays():
    x = np.zeros((4, 64), np.float32)
    x[0, :32], x[0, 32:], x[1] = 6 * 2.0**-3, 6 * 2.0**-3, 6 * 2.0**5
    figure = plot_scales(x, "mxfp4")
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in figure.axes[0].patches}
    assert bars == {-3: 25, 5: 25}
    assert "mxfp4 (50% at 2^-127)" in texts(figure)
    figure = plot_scales({"w": x, "g": x * 2.0**-4}, ["mxfp4", "int8_per_row"], pad=True)
    assert len(figure.axes) == 4
    assert "w, int8_per_row (50% without scale)" in texts(figure)
    assert_nothing_is_cut_off(figure)


def test_scales_of_records():
    rows = pandas.DataFrame({
        "layer": ["a", "b", "b"], "format": ["mxfp4", "mxfp4", "int8"], "step": [0, 0, 0],
        "scale_min": [-7.0, -3.0, np.nan], "scale_counts": [[1, 2, 1], [4], []],
    })  # fmt: skip
    figure = plot_scales(rows)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [25, 50, 25]
    assert [round(bar.get_x() + 0.46) for bar in figure.axes[0].patches] == [-7, -6, -5]
    assert {"a", "b"} <= set(texts(figure))


def test_number_lines_hold_every_value():
    figure = plot_number_lines(["fp4_e2m1", "int4", "nvfp4"])
    first, second, third = ({segment[0][0] for segment in each.get_segments()} for each in figure.axes[0].collections)
    assert first == third == {sign * v for sign in (1, -1) for v in (0, 0.5, 1, 1.5, 2, 3, 4, 6)}
    assert second == set(range(-8, 8))
    relative = plot_number_lines(["int4"], relative=True).axes[0].collections[0].get_segments()
    assert min(segment[0][0] for segment in relative) == -1
    for axis in ("symlog", "log2"):
        figure = plot_number_lines(["fp8_e4m3", "fp8_e5m2", "posit8"], axis)
        labels = [t for t in figure.axes[0].get_xticklabels() if t.get_text()]
        boxes = [label.get_window_extent() for label in labels]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
        assert_nothing_is_cut_off(figure)


def test_effects_show_estimates_and_what_excludes_zero():
    figure = plot_effects(EFFECTS, label="effect on loss (nats)")
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [-0.3, 0.3, 0.1, 0.2]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, False, True, True]
    assert [segment[:, 0].tolist() for each in figure.axes[0].collections for segment in each.get_segments()] == [
        [-0.4, -0.2],
        [0.2, 0.4],
        [-0.1, 0.3],
    ]
    assert {"format", "rate", "format \u00d7 rate", "e2m1", "0.1", "effect on loss (nats)"} <= set(texts(figure))
    assert_nothing_is_cut_off(figure)
    assert "rate" not in texts(plot_effects(EFFECTS, factors=["format"]))


def test_interaction_draws_means():
    runs = runs_of(GRID[:4], rates=(0.1, 0.3))
    figure = plot_interaction(runs, "test_accuracy", "mantissa_bits", "exponent_bits", over="learning_rate")
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([61, 65, 69])
    assert {"2", "3", "mantissa bits"} <= set(texts(figure))
