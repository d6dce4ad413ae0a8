"""Cells in rows and columns: coloured by a number, grey where there is none, with text where it fits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import (
    INK,
    LINE,
    PALE,
    SEQUENTIAL,
    SMALL,
    TALLEST,
    axes_points,
    fitting,
    lay_out,
    plain,
    text_points,
    ticks_of_log,
    width_points,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BELOW = 0.85
"""Inches for the names of columns, the axis and the colour bar."""
_APART = 0.05
"""Inches between the cells and the colour bar."""
_BAR = 0.07
"""Inches of the colour bar's height, at most."""
_NAMES = 0.35
"""Share of a picture's width that names of rows take at most."""
_UPRIGHT = 90.0
"""Points that an upright name of a column takes at most."""
_MARGIN = 3.0
"""Points between a cell's text and its border, both sides together."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is drawn.

    Args:
        values: (rows, columns), NaN for no colour; the first row is the lowest.
        grey: (rows, columns), cells that have no colour but are there.
        texts: (rows, columns) of tuples of lines; each line is a tuple of wordings, from the longest to the shortest.
        rows, columns: their names.
    """

    values: np.ndarray
    grey: np.ndarray
    texts: np.ndarray
    rows: list[Any]
    columns: list[Any]

    @property
    def lines(self) -> int:
        """Of the cell with most."""
        return max((len(text) for text in self.texts.flat if text), default=1)

    def height(self) -> float:
        """Inches that suit it; no more than a page holds."""
        return min(_BELOW + len(self.rows) * (self.lines * LINE + 6) / 72, TALLEST)


def positions(values: "list[Any]") -> list[Any]:
    """The distinct values along an axis: numbers ascending, names as they come."""
    found = list(dict.fromkeys(values))
    numeric = all(isinstance(value, int | float | np.number) for value in found)
    return sorted(found) if numeric else found


def norm_of(values: np.ndarray, limits: "tuple[float, float] | None", log: bool) -> Any:
    """Linear or logarithmic colours.

    Raises:
        ValueError: limits that do not ascend, or are not positive where colours are logarithmic; values likewise.
    """
    from matplotlib.colors import LogNorm, Normalize

    if limits is None:
        limits = (float(np.nanmin(values)), float(np.nanmax(values))) if np.isfinite(values).any() else (0.5, 1.0)
        if limits[0] == limits[1]:
            limits = (limits[0] - abs(limits[0]) / 2 - 1e-9, limits[1] + abs(limits[1]) / 2 + 1e-9)
    elif not limits[0] < limits[1]:
        raise ValueError(f"expected ascending limits of the colours, got {limits}")
    if log and limits[0] <= 0:
        raise ValueError(f"logarithmic colours are for positive values, got {limits[0]:g}; leave log out")
    return LogNorm(*limits) if log else Normalize(*limits)


def draw_grid(
    figure: Any, grid: Grid, norm: Any, labels: tuple[str, str, str], extend: str = "neither", colours: str = SEQUENTIAL
) -> Any:
    """Draw cells, their names, their texts where they fit, and the colour bar above.

    Args:
        labels: across, up, and of the colours.

    Returns:
        The colour bar.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    axes = figure.add_subplot()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    edges = np.arange(grid.values.shape[1] + 1) - 0.5, np.arange(grid.values.shape[0] + 1) - 0.5
    drawn: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.7 if grid.values.size < 2000 else 0}
    axes.pcolormesh(*edges, np.ma.masked_where(~grid.grey, np.ones(grid.values.shape)),
                    cmap=ListedColormap([PALE]), **drawn)  # fmt: skip
    axes.pcolormesh(*edges, np.ma.masked_invalid(grid.values), cmap=colours, norm=norm, **drawn)
    rows = [fitting(name, _NAMES * width_points(figure)) for name in grid.rows]
    columns = [fitting(name, _UPRIGHT) for name in grid.columns]
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    mappable = ScalarMappable(norm, colours)
    wide, high = (size / figure.figure.dpi for size in (figure.bbox.width, figure.bbox.height))
    bar = figure.colorbar(
        mappable, ax=axes, label=labels[2], location="top", extend=extend,
        aspect=wide / _BAR, fraction=1.5 * _BAR / high, pad=_APART / high,
    )  # fmt: skip
    if isinstance(norm, LogNorm):
        ticks_of_log(bar.ax.xaxis)
    bar.outline.set_visible(False)
    bar.ax.tick_params(pad=1.5)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    lay_out(figure)
    if _upright(axes, columns) | _thinned(axes, rows):
        lay_out(figure)
    _write(axes, grid, mappable)
    return bar


def _upright(axes: "Axes", names: list[str]) -> bool:
    """Turn names upright where they are wider than cells, and keep some where cells are narrower than a line."""
    width = axes_points(axes)[0] / len(names)
    wide = max(map(text_points, names)) > width - _MARGIN
    if wide:
        every = int(np.ceil(LINE / width))
        axes.set_xticks(range(0, len(names), every), names[::every], rotation=90)
    return wide


def _thinned(axes: "Axes", names: list[str]) -> bool:
    """Keep some names where rows are narrower than a line."""
    every = int(np.ceil(LINE / (axes_points(axes)[1] / len(names))))
    if every > 1:
        axes.set_yticks(range(0, len(names), every), names[::every])
    return every > 1


def _write(axes: "Axes", grid: Grid, mappable: Any) -> None:
    """Write into all cells, or into none where numbers do not fit; each line in the longest wording that fits all."""
    width, height = axes_points(axes)
    room = width / len(grid.columns) - _MARGIN
    if height / len(grid.rows) < grid.lines * LINE:
        return
    cells = [(place, lines) for place, lines in np.ndenumerate(grid.texts) if lines]
    depth = {id(line): _fitting(line, room) for _, lines in cells for line in lines}
    if any(found is None for found in depth.values()):
        return
    for (row, column), lines in cells:
        value = grid.values[row, column]
        text = "\n".join(plain(line[depth[id(line)] or 0]) for line in lines)
        colour = _contrasting(mappable.to_rgba(value)) if np.isfinite(value) else INK
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=SMALL, linespacing=1.15)


def _fitting(wordings: tuple[str, ...], room: float) -> int | None:
    return next((k for k, words in enumerate(wordings) if text_points(words) <= room), None)


def _contrasting(colour: Any) -> str:
    """Black or white, whichever stands out more: relative luminance of WCAG 2.1, where 0.179 is the middle."""
    channels = np.asarray(colour[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"
