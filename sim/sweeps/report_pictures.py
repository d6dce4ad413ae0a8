"""Pictures of a table of runs for its report: those that its columns allow."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..pictures.heat_map import plot_divergence, plot_heat_map
from ..pictures.pareto import plot_pareto
from ..pictures.saving import save_figure
from .plots import settings_apart
from .reading import diverged_of, failed_of
from .report_page import Picture

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

METRICS = ("test_accuracy", "test_loss", "accuracy", "loss")
"""Columns that are drawn: the first of them that runs have."""
MOST_TASKS = 3
"""Tasks of which pictures are drawn, those with the most runs."""
MOST_LEVELS = 60
"""Formats or learning rates that a map of divergence has room for."""
LARGEST_SVG = 300_000
"""Bytes; a picture of more is kept as PNG."""
_INCHES = 5.0


def pictures_of(runs: "pandas.DataFrame") -> list[Picture]:
    """The pictures that fit the runs' columns, of each task by itself; failed runs are left out."""
    finished: Any = runs[~failed_of(runs)]
    found = []
    for task, rows in _by_task(finished):
        apart = settings_apart(rows)
        mixed = f"; one mean for all {', '.join(apart)}" if apart else ""
        for caption, figure in _figures(rows.reset_index(drop=True)):
            found.append(_encoded((f"{task}: {caption}" if task else caption) + mixed, figure))
    return found


def _by_task(runs: Any) -> Iterator[tuple[str, Any]]:
    if "task" not in runs.columns:
        yield "", runs
        return
    for task in runs["task"].astype(str).value_counts().index[:MOST_TASKS]:
        yield task, runs[runs["task"].astype(str) == task]


def _figures(runs: Any) -> Iterator[tuple[str, "Figure"]]:
    """Captions and pictures; a picture that these runs do not make, such as one without minifloats, is left out."""
    metric = next((name for name in METRICS if name in runs and _has_numbers(runs[name])), None)
    words = (metric or "").replace("_", " ")
    makers: list[tuple[str, set[str], Any]] = [
        (
            f"{words} over exponent and mantissa bits, each format at its best learning rate",
            {"format", "exponent_bits", "mantissa_bits"},
            lambda: plot_heat_map(runs, str(metric), width=_INCHES),
        ),
        (
            f"{words} over bits, each format at its best learning rate",
            {"format", "bits"},
            lambda: plot_pareto(runs, "bits", str(metric), log="y", width=_INCHES, height=3.2),
        ),
    ]
    for caption, columns, draw in makers:
        if metric and columns <= set(runs.columns):
            try:
                yield caption, draw()
            except ValueError:
                continue
    if _diverges(runs):
        yield "runs that diverged, by learning rate and format", plot_divergence(runs, width=_INCHES)


def _has_numbers(column: Any) -> bool:
    return column.dtype.kind in "iuf" and bool(np.isfinite(column.to_numpy(float)).any())


def _diverges(runs: Any) -> bool:
    """Whether a map of divergence says anything: some runs diverged, at several rates, in not too many formats."""
    if not {"format", "learning_rate"} <= set(runs.columns) or not diverged_of(runs).any():
        return False
    levels = [runs[name].astype(str).nunique() for name in ("learning_rate", "format")]
    return levels[0] > 1 and max(levels) <= MOST_LEVELS


def _encoded(caption: str, figure: "Figure") -> Picture:
    with TemporaryDirectory() as folder:
        drawing = save_figure(figure, Path(folder) / "picture.svg").read_bytes()
        if len(drawing) <= LARGEST_SVG:
            return Picture(caption, "image/svg+xml", drawing)
        return Picture(caption, "image/png", save_figure(figure, Path(folder) / "picture.png", dpi=250).read_bytes())
