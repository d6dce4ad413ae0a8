"""Made-up runs, and what can be read off a picture, for the tests of pictures."""

import numpy as np
import pandas
from halfulp.sim.training.training import Run, Trained
from matplotlib.text import Text

COLUMNS = [
    *("format", "kind", "bits", "exponent_bits", "mantissa_bits", "seed", "learning_rate"),
    *("test_accuracy", "train_loss", "diverged"),
]
HOSTILE = ["a_b$c$", "$\\frac{1}{", "_hidden", "two\nlines\t\x00", "\\$100 & 50% #1 ^", "x" * 200, "", "{[(]}~`'\""]


def runs_of(formats, seeds=3, rates=(0.1,)):
    """Made-up runs: (name, kind, bits, exponent bits, mantissa bits, accuracy); later seeds are .01 better."""
    rows = [
        (name, kind, bits, e, m, seed, rate, accuracy + 0.01 * seed - 0.1 * (rate != 0.1), rate, False)
        for name, kind, bits, e, m, accuracy in formats
        for seed in range(seeds)
        for rate in rates
    ]
    return pandas.DataFrame(rows, columns=COLUMNS)


GRID = [(f"e{e}m{m}", "float", 1 + e + m, e, m, 0.5 + 0.05 * e + 0.04 * m) for e in (2, 3, 4) for m in (0, 1, 2)]
REFERENCE = ("binary32", "float", 32, 8, 23, 0.9)
OTHERS = [("int4", "integer", 4, None, None, 0.75), ("nf4", "codebook", 4, None, None, 0.8)]


def texts(figure):
    """What is seen, letter for letter."""
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text.get_text().replace(r"\$", "$").strip() for text in found]


def assert_nothing_is_cut_off(figure):
    """All text within the figure, none smaller than 7 points (exponents of powers aside)."""
    figure.draw_without_rendering()
    whole = figure.bbox
    for text in figure.findobj(Text):
        if not (text.get_visible() and text.get_text().strip()) or _is_unused_tick(text, figure):
            continue
        box = text.get_window_extent()
        assert box.x0 > -1.5, text
        assert box.y0 > -1.5, text
        assert box.x1 < whole.width + 1.5, text
        assert box.y1 < whole.height + 1.5, text
        assert text.get_fontsize() >= 7, text


def _is_unused_tick(text, figure):
    """Labels of ticks outside of the axis's range are not drawn."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    return not (low <= tick.get_loc() <= high) or not text.get_visible()
    return False


def cells(figure):
    """The text of each cell by its names."""
    axes = figure.axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    return {(columns[int(t.get_position()[0])], rows[int(t.get_position()[1])]): t.get_text() for t in axes.texts}


EFFECTS = pandas.DataFrame(
    [
        ("format", "e2m1", -0.3, -0.4, -0.2),
        ("format", "int4", 0.3, 0.2, 0.4),
        ("rate", 0.1, 0.1, -0.1, 0.3),
        ("format:rate", "e2m1:0.1", 0.2, np.nan, np.nan),
    ],
    columns=["factor", "level", "estimate", "low", "high"],
)


def trained(name, loss, diverged_at=None, seed=0, rate=0.1):
    return Trained(Run(name, seed=seed, learning_rate=rate), {}, diverged_at, {"loss": np.asarray(loss, np.float32)},
                   {"step": np.array([2, 4]), "accuracy": np.array([0.5, 0.75])})  # fmt: skip
