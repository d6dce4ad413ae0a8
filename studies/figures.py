"""The look of the studies' pictures: a paper's column or page wide, in colours that colour-blind people tell apart."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ..sim.pictures.style import COLOURS as COLOURS
from ..sim.pictures.style import STYLE, WIDTHS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLUMN, PAGE = WIDTHS["column"], WIDTHS["page"]
"""Widths in inches."""
_STUDIES: dict[Any, Any] = {"axes.grid": True, "lines.markersize": 4}
"""Beside the style of all pictures."""


def styled() -> AbstractContextManager[None]:
    """The studies' style while this lasts; studies are run and saved inside of it."""
    from matplotlib import rc_context

    settings: dict[Any, Any] = {**STYLE, **_STUDIES}
    return rc_context(settings)


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
