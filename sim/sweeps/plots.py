"""The two pictures of a sweep that `halfulp plot` draws first, and the table behind them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..pictures.heat_map import plot_heat_map
from ..pictures.pareto import plot_pareto
from ..pictures.runs import at_best
from ..pictures.saving import save_figure
from .filters import as_text
from .task_members import OF_TRAINING

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


_SETTINGS = ("task", "model", "size", "rounding", "storage", "weight_decay", *OF_TRAINING, "halfulp")
"""Columns beside the format, the seed and the learning rate in which runs of a task may differ."""


def settings_apart(runs: "pandas.DataFrame") -> list[str]:
    """The settings, beside seeds and learning rates, in which runs of one format differ; a mean would mix them."""
    table: Any = runs
    if "format" not in table.columns:
        return []
    texts = {name: table[name].map(as_text) for name in _SETTINGS if name in table.columns}
    return [name for name, text in texts.items() if (text.groupby(table["format"]).nunique() > 1).any()]


def summarize(runs: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row per format, and per value of settings in which runs of one format differ, at its best learning
    rate: that of the lowest mean training loss, so that no test data chooses.

    Args:
        runs: a table of `sweep`.

    Returns:
        format, kind, bits, exponent_bits, mantissa_bits, those settings as texts, learning_rate, accuracy (mean over
        seeds), spread (standard deviation over seeds, 0 for one seed), seeds, diverged (how many runs did).
    """
    apart, given = settings_apart(runs), runs
    if apart:
        given = runs.assign(**{name: runs[name].map(as_text) for name in apart})
    columns = ["format", "kind", "bits", "exponent_bits", "mantissa_bits", *apart, "learning_rate"]
    table: Any = (
        at_best(given, ["format", *apart])
        .groupby(columns, sort=False, dropna=False)
        .agg(
            accuracy=("test_accuracy", "mean"),
            spread=("test_accuracy", "std"),
            seeds=("seed", "nunique"),
            diverged=("diverged", "sum"),
        )
        .reset_index()
    )
    return table.fillna({"spread": 0.0})


def heat_map(runs: "pandas.DataFrame", width: str = "column") -> "Figure":
    """Test accuracy of the minifloats, exponent bits across and mantissa bits up, at each one's best rate.

    Raises:
        ValueError: no minifloats of fewer than 16 bits among the runs.
    """
    table: Any = runs
    narrow = table["bits"] < 16
    floats = (table["kind"] == "float") & (narrow | (table["format"] == "binary32"))
    if not (floats & narrow).any():
        raise ValueError("no minifloats of fewer than 16 bits among these runs; sweep e.g. 'e[1-5]m[0-4]'")
    return plot_heat_map(table[floats], title=f"{_task(runs)}: mean over seeds", width=width)


def accuracy_by_bits(runs: "pandas.DataFrame", width: str = "page") -> "Figure":
    """Test accuracy over the bits of a code, each format at its best rate, with 95% intervals over seeds.

    The accuracy axis is logarithmic in the error. Formats of 16 and more bits are dashed lines.

    Raises:
        ValueError: no format of fewer than 16 bits among the runs.
    """
    wide: Any = runs["bits"] >= 16
    if wide.all():
        raise ValueError("no formats of fewer than 16 bits among these runs; sweep e.g. 'int[2-8]'")
    references = list(dict.fromkeys(runs["format"][wide]))
    return plot_pareto(
        runs, log="y", reference=references, title=_task(runs), width=width, height=3.8 if width == "page" else None
    )


def _task(runs: "pandas.DataFrame") -> str:
    return ", ".join(map(str, runs["task"].unique()))


def save(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as PNG, SVG or PDF, its folder made where missing; `save_figure` at a screen's resolution.

    Raises:
        ValueError: another suffix.
        OSError: a place that cannot be written.
    """
    return save_figure(figure, path, dpi=150)
