"""A metric against a cost, with the front of what nothing else beats in both."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats.suggest import unknown
from ..sweeps.measured import direction_of
from .placing import Box, Name, around, box_of, clear_corner, place_names, points_of
from .points import Point, apart, points_of_groups, with_front
from .runs import SPREAD_WORDS, at_best, check_columns, check_spread
from .style import (
    GREY,
    INK,
    KINDS,
    Kind,
    Quantity,
    lay_out,
    legend_below,
    legend_text,
    plain,
    quantity,
    sheet,
    ticks_of_log,
)

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOGS = ("", "x", "y", "xy")
NAMED = ("front", "all", "none")
_TICKS = (0, 50, 80, 90, 95, 97, 98, 99, 99.5, 99.9)
_CLOSEST = 0.05
"""Percent from 100 that the axis ends at."""
_DASHES = ("--", ":", "-.", (0, (1, 1)))
_OTHER = Kind("other", GREY, "v")


def plot_pareto(
    runs: "pandas.DataFrame",
    cost: str = "bits",
    metric: str = "test_accuracy",
    *,
    by: str = "format",
    kind: str = "kind",
    spread: str = "confidence",
    over: str = "learning_rate",
    select: str = "train_loss",
    reference: str | Sequence[str] = "binary32",
    named: str = "front",
    direction: str | None = None,
    log: str = "",
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
) -> "Figure":
    """Draw each format's metric against a cost, and the front: formats that no other beats in one and equals in both.

    Points are means over the runs that finished. Formats of one cost stand side by side. An open marker has lost some
    of its runs, one on the edge all of them; neither is on the front.

    Args:
        runs: a row for each run, as `halfulp.sweep` returns them; add a column for a cost of your own, in any unit.
        cost: the column across, less is better: bits, area, energy, seconds.
        metric: the column up. Those that end in 'accuracy' are fractions, shown in percent.
        by: the column that runs are averaged in. kind: the column that decides marker and colour, where there is one.
        spread: of the bars, one of 'confidence' (95% interval of the mean, Student's t), 'range', 'deviation',
            'quartiles' and 'none'.
        over, select: at which value of `over` each format is shown: that with the lowest mean of `select`.
        reference: formats drawn as dashed lines in place of points.
        named: which points have their names: 'front', 'all' that there is room for, or 'none'.
        direction: 'minimize' or 'maximize' the metric; None goes by its name.
        log: logarithmic axes, 'x', 'y' or 'xy'. Of accuracies it is the error that is logarithmic.
        labels, title, width, height, into: as in `halfulp.plot_heat_map`.

    Raises:
        TypeError: no DataFrame.
        ValueError: a column that is not there, with the closest; nothing to draw; a cost that is not finite; numbers
            below zero on a logarithmic axis; several learning rates and no column to choose by; an unknown word.
    """
    for what, given, known in (("log", log, LOGS), ("named", named, NAMED)):
        if given not in known:
            raise ValueError(unknown(what, str(given), known))
    check_spread(spread)
    check_columns(runs, (cost, metric, by))
    rising, shown = direction_of(metric, direction) == "maximize", quantity(metric, labels)
    found = points_of_groups(at_best(runs, (by,), over, select), cost, metric, by, kind, shown.factor, spread)
    lines = {plain(reference)} if isinstance(reference, str) else {plain(name) for name in reference}
    references = [point for point in found if point.name in lines and not point.lost]
    points = with_front([point for point in found if point.name not in lines], rising)
    if not points:
        raise ValueError(f"no {by}s besides the reference {', '.join(sorted(lines))} among these runs; add some")
    _check_log(points, references, log, shown)
    points = apart(points, "x" in log)
    with sheet(width, 2.5 if height is None else height, into) as figure:
        axes: Any = figure.add_subplot()
        axes.set_xlabel(quantity(cost, labels).label)
        axes.set_ylabel(f"{shown.label}, log of the error" if "y" in log and shown.factor == 100 else shown.label)
        if title is not None:
            axes.set_title(plain(title, 200))
        _scale(axes, points, references, log, shown)
        _draw(axes, points, rising)
        if "x" in log:
            ticks_of_log(axes.xaxis)
        handles = _handles(points) + [_line(axes, each, k, shown) for k, each in enumerate(references)]
        _legend_and_names(
            figure, axes, points, handles, named, rising, _caption(points, spread), height is None and into is None
        )
    return figure  # pyright: ignore[reportReturnType]


def _check_log(points: list[Point], references: list[Point], log: str, shown: Quantity) -> None:
    smallest = {"x": [point.cost for point in points]}
    smallest["y"] = [] if shown.factor == 100 else [each.y for each in (*points, *references) if not each.lost]
    for axis in log:
        if smallest[axis] and min(smallest[axis]) <= 0:
            raise ValueError(f"expected positive numbers on a logarithmic axis, got {min(smallest[axis]):g} on {axis}")


def _stretch(accuracy: Any) -> Any:
    """Accuracy in percent to an axis on which halving the error is a constant distance."""
    return -np.log10(np.maximum(100 - np.asarray(accuracy, float), _CLOSEST))


def _unstretch(position: Any) -> Any:
    return 100 - 10 ** -np.asarray(position, float)


def _scale(axes: Any, points: list[Point], references: list[Point], log: str, shown: Quantity) -> None:
    ends = [value for each in (*points, *references) if not each.lost for value in (each.y, each.low, each.high)]
    ends = [value for value in ends if np.isfinite(value)]
    if "x" in log:
        axes.set_xscale("log")
    elif all(point.cost == round(point.cost) for point in points) and len({point.cost for point in points}) <= 12:
        axes.set_xticks(sorted({point.cost for point in points}))
    if not ends:
        axes.set_yticks([])
        return
    if "y" in log and shown.factor == 100:
        low = max(float(_unstretch(_stretch(min(ends)) - 0.3)), 0.0)
        axes.set_yscale("function", functions=(_stretch, _unstretch))
        axes.set_yticks([tick for tick in _TICKS if tick >= low])
        axes.set_yticks([], minor=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(low, min(100 - _CLOSEST, float(_unstretch(_stretch(max(ends)) + 0.15))))
    elif "y" in log:
        axes.set_yscale("log", nonpositive="clip")
        positive = [value for value in ends if value > 0]
        axes.set_ylim(min(positive) / 1.25, max(positive) * 1.25)
        ticks_of_log(axes.yaxis)
    else:
        room = 0.12 * (max(ends) - min(ends) or abs(max(ends)) or 1)
        top = min(max(ends) + room, 100.0 + room / 2) if shown.factor == 100 else max(ends) + room
        axes.set_ylim(min(ends) - room, top)


def _style_of(kind: str) -> Kind:
    return KINDS.get(kind, _OTHER if kind else Kind("", KINDS["float"].colour, "o"))


def _draw(axes: Any, points: list[Point], rising: bool) -> None:
    front = sorted((point for point in points if point.front), key=lambda point: point.cost)
    axes.margins(x=0.06)
    axes.grid(axis="y")
    for point in points:
        kind = _style_of(point.kind)
        face = "white" if point.lost or point.partly else kind.colour
        drawn = {"marker": kind.marker, "ms": 4.2, "mfc": face, "mec": kind.colour, "mew": 0.8, "ls": "none"}
        if point.lost:
            edge = 0.0 if rising else 1.0
            axes.plot(point.x, edge, transform=axes.get_xaxis_transform(), clip_on=False, zorder=4, **drawn)
            continue
        axes.plot(point.x, point.y, zorder=5 if point.front else 3, **drawn)
    for name in dict.fromkeys(point.kind for point in points):
        bars = [point for point in points if point.kind == name and np.isfinite(point.low)]
        if bars:
            x, low, high = zip(*((point.x, point.low, point.high) for point in bars))
            axes.vlines(x, low, high, color=_style_of(name).colour, linewidth=0.9, alpha=0.8, zorder=2)
    if front:
        right = axes.get_xlim()[1]
        x = [*(point.cost for point in front), right]
        y = [*(point.y for point in front), front[-1].y]
        axes.plot(x, y, drawstyle="steps-post", color=INK, linewidth=0.8, zorder=1.5, label="front")
        axes.set_xlim(right=right)


def _rank(kind: str) -> int:
    """The place of a kind in the legend."""
    return [*KINDS, kind].index(kind)


def _handles(points: list[Point]) -> list[Any]:
    from matplotlib.lines import Line2D

    found = []
    for name in sorted(dict.fromkeys(point.kind for point in points), key=_rank):
        kind, of = _style_of(name), [point for point in points if point.kind == name]
        drawn = {"marker": kind.marker, "ms": 4.2, "mec": kind.colour, "mew": 0.8, "ls": "none"}
        label = kind.label if name in KINDS else plain(name) if name else ""
        words = [(label, kind.colour, any(not (point.lost or point.partly) for point in of))]
        words.append((f"{label}, some diverged".lstrip(", "), "white", any(point.partly for point in of)))
        words.append((f"{label}, diverged".lstrip(", "), "white", any(point.lost for point in of)))
        found += [
            Line2D([], [], mfc=face, label=legend_text(text), **drawn) for text, face, there in words if there and text
        ]
    return found


def _line(axes: Any, reference: Point, k: int, shown: Quantity) -> Any:
    value = f"{reference.y:.1f}%" if shown.factor == 100 else f"{reference.y:.3g}"
    label = legend_text(f"{reference.name} ({value})")
    return axes.axhline(reference.y, color=GREY, linestyle=_DASHES[k % len(_DASHES)], linewidth=0.8, label=label)


def _caption(points: list[Point], spread: str) -> str:
    """What points and bars are, for the head of the legend."""
    most, least = max(point.runs for point in points), min(point.runs for point in points)
    if most == 1:
        return ""
    runs = f"{most}" if most == least else f"{least} to {most}"
    words = SPREAD_WORDS[spread]
    return f"mean of {runs} runs" + (f", {words}" if words else "")


def _legend_and_names(
    figure: Any,
    axes: "Axes",
    points: list[Point],
    handles: list[Any],
    named: str,
    rising: bool,
    caption: str,
    grow: bool,
) -> None:
    corners = ("lower right", "upper left", "lower left", "upper right")
    corners = corners if rising else ("upper right", "lower left", "upper left", "lower right")
    legend = None
    if handles or caption:
        legend = axes.legend(handles=handles, loc=corners[0], title=caption or None, alignment="left")
    lay_out(figure)
    taken = _taken(axes, points)
    if legend is not None:
        corner: Any = clear_corner(axes, legend, taken, corners)
        legend.remove()
        if corner is not None:
            legend = axes.legend(handles=handles, loc=corner, title=caption or None, alignment="left")
        else:
            legend = legend_below(figure, handles, caption or None, grow)
        lay_out(figure)
        taken = [*_taken(axes, points), box_of(legend)]
    shown = [point for point in points if not point.lost and (named == "all" or (point.front and named == "front"))]
    names = [Name(each.name, each.x, each.y, _style_of(each.kind).colour, each.front) for each in shown]
    place_names(axes, names, taken)


def _taken(axes: "Axes", points: list[Point]) -> list[Box]:
    """Where markers and bars lie."""
    drawn = [point for point in points if not point.lost]
    found = around(points_of(axes, [each.x for each in drawn], [each.y for each in drawn])) if drawn else []
    bars = [each for each in drawn if np.isfinite(each.low)]
    for each in bars:
        (x, low), (_, high) = points_of(axes, [each.x, each.x], [each.low, each.high])
        found.append(Box(x - 1, low, x + 1, high))
    for line in axes.lines:
        if np.size(line.get_xdata()) > 1:
            found += _boxes_along(axes, line)
    return found


def _boxes_along(axes: "Axes", line: Any) -> list[Box]:
    """Where the front and the references lie: thin boxes along horizontal and vertical pieces."""
    path = line.get_drawstyle() == "steps-post"
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    if not path:  # of axhline, across in shares of the axes
        inside, (_, height) = box_of(axes), points_of(axes, axes.get_xlim()[:1], y[:1])[0]
        return [Box(inside.left, height - 0.7, inside.right, height + 0.7)]
    x, y = np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
    places = points_of(axes, x, y)
    return [
        Box(min(a[0], b[0]) - 0.7, min(a[1], b[1]) - 0.7, max(a[0], b[0]) + 0.7, max(a[1], b[1]) + 0.7)
        for a, b in pairwise(places)
    ]
