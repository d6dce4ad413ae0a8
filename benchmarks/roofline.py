"""The picture of a run: how far each row is from the time it takes to move its bytes.

Colours are Okabe and Ito's, which colour-blind readers tell apart, each with a marker of its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from .arrays import dtype_of
from .results import Report, Result, main_results
from .tasks import JAX, LARGE, NUMPY, TORCH
from .timing import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# what a library's name contains, colour, marker; the first that fits
OWN = ((NUMPY, "#0072B2", "o"), (TORCH, "#D55E00", "s"), (JAX, "#009E73", "^"))
PEERS = (
    ("torchao", "#D55E00", "s"),
    ("ml_dtypes", "#0072B2", "o"),
    ("NumPy cast", "#0072B2", "p"),
    ("torch cast", "#CC79A7", "D"),
    ("Qwix", "#009E73", "^"),
    ("JAX cast", "#009E73", "v"),
    ("gfloat", "#E69F00", "P"),
    ("Pychop", "#56B4E9", "X"),
)


def draw(report: Report, path: Path) -> Path:
    """Write the picture as PNG.

    One line a task; the time over that of a copy of the input on a logarithmic axis, halfulp filled, peers
    hollow. The grey bar ends where the bytes that the task must move would be moved at the copy's speed.
    """
    from matplotlib.figure import Figure

    results = [r for r in main_results(report.results) if r.ratio and r.row.task.name != "copy"]
    tasks = list(dict.fromkeys(result.row.task.name for result in results))
    figure = Figure(figsize=(9.5, 2.2 + 0.32 * len(tasks)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    for y, name in enumerate(tasks):
        _draw_task(axes, y, [r for r in results if r.row.task.name == name])
    axes.axvline(1, color="0.3", lw=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_ylim(len(tasks) - 0.4, -0.6)
    axes.set_xlabel("time / copy of the input by two threads (logarithmic; left is faster)")
    axes.set_title(
        f"{report.machine}: halfulp (filled) and peers (hollow), 2^{LARGE.bit_length() - 1} elements, slow peers fewer",
        fontsize=10,
    )
    axes.grid(axis="x", which="major", color="0.9")
    axes.set_axisbelow(True)
    _legend(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _draw_task(axes: "Axes", y: int, results: list[Result]) -> None:
    task = results[0].row.task
    bound = task.bytes_per_element / (2 * dtype_of(task.dtype).itemsize)
    axes.barh(y, bound - 0.3, left=0.3, height=0.8, color="0.88", zorder=0)
    if task.target:
        axes.plot([task.target] * 2, [y - 0.4, y + 0.4], color="black", lw=1.4, zorder=1)
    for result in results:
        kinds = PEERS if result.row.peer else OWN
        colour, marker = next(((c, m) for name, c, m in kinds if name in result.row.library), ("0.4", "*"))
        if result.ratio:
            _mark(axes, result.ratio, y, colour, "none" if result.row.peer else colour, marker)


def _mark(axes: "Axes", spread: Spread, y: float, colour: str, face: str, marker: str) -> None:
    error = [[spread.median - spread.low], [spread.high - spread.median]]
    axes.errorbar(spread.median, y, xerr=error, fmt=marker, mec=colour, mfc=face, ecolor=colour, ms=6, lw=1)


def _legend(axes: "Axes") -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list = [
        Line2D([], [], ls="none", marker=m, mec=c, mfc=c if kinds is OWN else "none", label=name)
        for kinds in (OWN, PEERS)
        for name, c, m in kinds
    ]
    handles.append(Line2D([], [], color="black", lw=1.4, label="target of halfulp NumPy"))
    handles.append(Patch(color="0.88", label="bytes moved at the copy's speed"))
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
