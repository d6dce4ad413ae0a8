"""A metric over two columns of the runs; and how many runs diverged."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sweeps.measured import direction_of, measured
from ..sweeps.values import counted
from .grids import Grid, draw_grid, norm_of, positions
from .runs import Group, at_best, check_columns, groups_of
from .style import INK, SMALL, plain, quantity, sheet

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_LETTERS = {"exponent_bits": "E", "mantissa_bits": "M"}
_LOST = "\u2715"
_OF_LOSSES = "Oranges"
"""Colours of shares that should be zero: nothing is pale."""


def plot_heat_map(
    runs: "pandas.DataFrame",
    metric: str = "test_accuracy",
    *,
    x: str = "exponent_bits",
    y: str = "mantissa_bits",
    by: str = "format",
    over: str = "learning_rate",
    select: str = "train_loss",
    reference: str | None = "binary32",
    names: bool = False,
    direction: str | None = None,
    digits: int = 3,
    limits: tuple[float, float] | None = None,
    log: bool = False,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
) -> "Figure":
    """Draw a metric as cells, exponent bits across and mantissa bits up, with the mean over seeds in each.

    Means are over runs that finished; a cell says how many did not, and is grey where none did. Each format is at its
    best learning rate. Where formats share a cell, the better one is shown.

    Args:
        runs: a row for each run, as `halfulp.sweep` returns them. A run diverged where its column 'diverged' says so or
            its metric is not finite.
        metric: the column to show. Those that end in 'accuracy' are fractions, shown in percent.
        x, y: columns across and up; formats without them, such as integers, are left out. Numbers ascend, names come
            from the top as they occur.
        by: the column that runs are averaged in.
        over, select: at which value of `over` each format is shown: that with the lowest mean of `select`.
        reference: a format that is marked on the colour bar in place of a cell.
        names: whether cells name their formats.
        direction: 'minimize' or 'maximize', which formats that share a cell need; None goes by the metric's name.
        digits: significant ones in cells.
        limits: of the colours, in the units shown; log: whether they are logarithmic.
        labels: words for columns, {"test_loss": "test loss (nats)"}. Values of a column named here are shown as they
            are, accuracies too.
        title: above the picture.
        width: 'column' (3.3 inches), 'page' (6.9) or inches; height: inches.
        into: a Figure or SubFigure to draw on.

    Raises:
        TypeError: no DataFrame.
        ValueError: a column that is not there, with the closest; nothing to draw; several learning rates and no column
            to choose by; limits that do not ascend, or values that are not positive where `log` is set.
    """
    check_columns(runs, (metric, x, y, by))
    shown = quantity(metric, labels)
    keys = tuple(dict.fromkeys((by, x, y)))
    groups = groups_of(at_best(runs, keys, over, select), keys, metric, shown.factor)
    groups = [each._replace(name=each.first[by]) for each in groups]
    marked = next((each for each in groups if each.name == reference and not np.isnan(each.mean)), None)
    cells = [each for each in groups if each.name != reference and _placed(each, x, y)]
    if not cells:
        raise ValueError(f"none of the {by}s has both {x!r} and {y!r}; draw others with plot_pareto, or pass x= and y=")
    grid = _grid(_best_of_each_place(cells, x, y, metric, direction), x, y, digits, names)
    known = grid.values if marked is None else np.append(grid.values, marked.mean)
    norm = norm_of(known, limits, log)
    with sheet(width, grid.height() if height is None else height, into) as figure:
        words = shown.label
        if marked is not None:
            words += f"; line: {plain(marked.name)}, {_rounded(marked.mean, 3)}"
        _note(figure, cells, title)
        names_of_axes = quantity(x, labels).label, quantity(y, labels).label, words
        bar = draw_grid(figure, grid, norm, names_of_axes, _extended(known, norm))
        if marked is not None:
            _mark(bar, marked)
    return figure  # pyright: ignore[reportReturnType]


def _placed(group: Group, x: str, y: str) -> bool:
    """Whether a group has a place: neither column missing nor NaN."""
    return all(group.first[column] == group.first[column] and group.first[column] is not None for column in (x, y))


def _best_of_each_place(cells: list[Group], x: str, y: str, metric: str, direction: str | None) -> list[Group]:
    """One group for each cell: the better one where several share it, and one that finished before one that did not."""
    found: dict[Any, Group] = {}
    for each in cells:
        place = each.first[x], each.first[y]
        other = found.setdefault(place, each)
        if np.isnan(other.mean) or np.isnan(each.mean):
            better = not np.isnan(each.mean)
        else:
            more = each is not other and direction_of(metric, direction) == "maximize"
            better = each.mean > other.mean if more else each.mean < other.mean
        if better:
            found[place] = each
    return list(found.values())


def _named(column: str, value: Any) -> Any:
    return f"{_LETTERS[column]}{int(value)}" if column in _LETTERS else value


def _grid(cells: list[Group], x: str, y: str, digits: int, names: bool) -> Grid:
    across = positions([each.first[x] for each in cells])
    up = positions([each.first[y] for each in cells])
    if up and isinstance(up[0], str):
        up.reverse()
    shape = (len(up), len(across))
    values, grey, texts = np.full(shape, np.nan), np.zeros(shape, bool), np.empty(shape, object)
    for each in cells:
        place = up.index(each.first[y]), across.index(each.first[x])
        values[place], grey[place] = each.mean, np.isnan(each.mean)
        texts[place] = _lines(each, digits, names)
    return Grid(values, grey, texts, [_named(y, value) for value in up], [_named(x, value) for value in across])


def _lines(group: Group, digits: int, names: bool) -> tuple[tuple[str, ...], ...]:
    lost = () if not group.diverged else ((f"{_LOST}{group.diverged}",),)
    number = ((_rounded(group.mean, digits), _rounded(group.mean, 2), ""),)
    if np.isnan(group.mean):
        number, lost = (("diverged", "div.", _LOST),), ()
    named = () if not names else ((*(plain(group.name, most) for most in (40, 12, 9, 6)), ""),)
    return number + named + lost


def _rounded(value: float, digits: int) -> str:
    text = f"{value:#.{digits}g}".removesuffix(".")
    return text.replace("e+0", "e").replace("e-0", "e-")


def _extended(values: np.ndarray, norm: Any) -> str:
    below, above = np.nanmin(values, initial=np.inf) < norm.vmin, np.nanmax(values, initial=-np.inf) > norm.vmax
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((bool(below), bool(above)), "neither")


def _mark(bar: Any, reference: Group) -> None:
    """A line across the colour bar where the reference lies."""
    x = min(max(reference.mean, bar.norm.vmin), bar.norm.vmax)
    for colour, thick in (("white", 3.2), (INK, 1.2)):
        bar.ax.axvline(x, color=colour, linewidth=thick, clip_on=False, zorder=5)


def _note(figure: Any, groups: list[Group], title: str | None) -> None:
    """The title; and below the picture what a cross in a cell means, where there is one."""
    if title is not None:
        figure.suptitle(plain(title, 200), fontsize="medium", x=0.01, ha="left")
    if any(0 < each.diverged < each.runs for each in groups):
        most = max(each.runs for each in groups)
        text = f"{_LOST}n: n of {counted(most, 'seed')} diverged, and are not in the mean"
        figure.supxlabel(text, fontsize=SMALL, color=INK, x=0.01, ha="left")


def plot_divergence(
    runs: "pandas.DataFrame",
    *,
    x: str = "learning_rate",
    y: str = "format",
    metric: str | None = None,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
) -> "Figure":
    """Draw the share of runs that diverged, learning rates across and formats down, with the counts in each cell.

    Args:
        runs: a row for each run, with columns x, y and 'diverged', as `halfulp.sweep` returns them.
        x, y: columns across and down. Numbers ascend, names come as they occur.
        metric: a column whose NaN and infinite values count as diverged too.
        labels, title, width, height, into: as in `plot_heat_map`.

    Raises:
        TypeError: no DataFrame.
        ValueError: a column that is not there, with the closest; no runs.
    """
    check_columns(runs, (x, y, *((metric,) if metric else ("diverged",))))
    lost = measured(runs, metric, "drop").diverged if metric else runs["diverged"].eq(True).fillna(False).to_numpy(bool)
    across, down = positions(list(runs[x])), positions(list(runs[y]))
    count, total = np.zeros((2, len(down), len(across)), int)
    for row, column, is_lost in zip(runs[y], runs[x], lost):
        place = len(down) - 1 - down.index(row), across.index(column)
        total[place] += 1
        count[place] += is_lost
    texts = np.empty(count.shape, object)
    for place in zip(*np.nonzero(total)):
        texts[place] = ((f"{count[place]}/{total[place]}", f"{count[place]}", ""),)
    share = np.where(total > 0, 100 * count / np.maximum(total, 1), np.nan)
    grid = Grid(share, np.zeros(count.shape, bool), texts, down[::-1],
                [_named(x, value) for value in across])  # fmt: skip
    with sheet(width, grid.height() if height is None else height, into) as figure:
        _note(figure, [], title)
        words = quantity(x, labels).label, quantity(y, labels).label, "runs that diverged (%)"
        draw_grid(figure, grid, norm_of(share, (0.0, 100.0), False), words, "neither", _OF_LOSSES)
    return figure  # pyright: ignore[reportReturnType]
