"""The look of the studies' pictures: a paper's column or page wide, in colours that colour-blind people tell apart."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without its yellow, which is faint on white (jfly.uni-koeln.de/color)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLUMN, PAGE = 3.4, 7.0
"""Widths in inches."""
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "halfulp",
}


def styled() -> AbstractContextManager[None]:
    """The studies' style while this lasts; studies are run and saved inside of it."""
    from matplotlib import rc_context

    return rc_context(_STYLE)


def canvas(
    rows: int = 1, columns: int = 1, *, width: float = PAGE, height: float = 2.6, **options: Any
) -> tuple["Figure", Any]:
    """A figure and its axes.

    Args:
        rows, columns: of axes.
        width: inches; `COLUMN` or `PAGE`.
        height: inches of a row.
        options: of `Figure.subplots`, e.g. sharey=True.

    Returns:
        The figure, and one axes or an array of them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)
