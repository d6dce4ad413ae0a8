"""A metric over steps: a line for each format, a band for its seeds, a cross where a run diverged."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...formats.suggest import unknown
from ..sweeps.values import counted
from .curve_inputs import Curve, curves_of
from .runs import SPREAD_WORDS, check_spread, spread_of
from .style import COLOURS, GREY, legend_below, legend_text, plain, quantity, sheet, ticks_of_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGS = ("", "x", "y", "xy")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
MOST = len(COLOURS) * len(_DASHES)
"""Lines that colours and dashes tell apart."""


class Band(NamedTuple):
    """What is drawn of a group: (n,) steps, centre, low and high; how many runs; (x, y) where runs diverged."""

    name: str
    steps: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int
    ends: list[tuple[float, float]]


def plot_curves(
    runs: Any,
    metric: str = "loss",
    *,
    by: str | Sequence[str] = "format",
    step: str = "step",
    centre: str = "median",
    spread: str = "range",
    smooth: int = 1,
    highlight: Sequence[str] | None = None,
    log: str = "y",
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
) -> "Figure":
    """Draw a metric over the steps of training: a line for each format, a band over its seeds.

    A cross ends each run that diverged; the line and the band go on with the others.

    Args:
        runs: results of `halfulp.train`, named by their recipes (and learning rates, where there are several); or a
            mapping of names to lists of results or of (steps,) arrays; or a DataFrame with a row for each step, or one
            with a row for each run whose column `metric` holds arrays, or whose column 'curves' holds mappings to
            arrays. A column 'seed' tells the runs of a group apart. What follows the last finite value is where a run
            diverged, unless a column 'diverged' says otherwise.
        metric: a curve, 'loss' or 'gradient_norm', or a metric of evaluations.
        by: the columns of a DataFrame that make a line.
        step: the column of steps in a DataFrame with a row for each.
        centre: 'median' or 'mean' over seeds.
        spread: of the band: 'range' from smallest to largest, 'quartiles', 'confidence' (95% interval of the mean,
            Student's t), 'deviation', or 'none'.
        smooth: steps in a trailing mean of each run before anything else; the first ones have fewer.
        highlight: names to colour; other lines are grey.
        log: logarithmic axes, '', 'x', 'y' or 'xy'.
        labels, title, width, height, into: as in `halfulp.plot_heat_map`.

    Raises:
        TypeError: what holds no curves.
        ValueError: an unknown curve, column or word; runs of a group that were recorded at different steps; more lines
            than can be told apart; no positive number on a logarithmic axis.
    """
    for what, given, known in (("log", log, LOGS), ("centre", centre, ("mean", "median"))):
        if given not in known:
            raise ValueError(unknown(what, str(given), known))
    check_spread(spread)
    if not isinstance(smooth, int) or smooth < 1:
        raise ValueError(f"expected smooth >= 1 steps, got {smooth!r}")
    bands = _bands(runs, metric, [by] if isinstance(by, str) else list(by), step, centre, spread, smooth)
    styles = _styles([band.name for band in bands], highlight)
    _check_positive(bands, log)
    with sheet(width, 2.0 if height is None else height, into) as figure:
        axes: Any = figure.add_subplot()
        if "x" in log:
            axes.set_xscale("log", nonpositive="mask")
        if "y" in log:
            axes.set_yscale("log", nonpositive="clip")
        for band, (colour, dash) in zip(bands, styles):
            _draw(axes, band, colour, dash, "y" in log)
        axes.grid(axis="y")
        axes.margins(x=0.02)
        for axis in log:
            ticks_of_log(getattr(axes, f"{axis}axis"))
        axes.set_xlabel(quantity(step, labels).label)
        axes.set_ylabel(quantity(metric, labels).label if labels and metric in labels else _words(metric))
        if title is not None:
            axes.set_title(plain(title, 200))
        _legend(figure, bands, styles, centre, spread, height is None and into is None)
    return figure  # pyright: ignore[reportReturnType]


def _words(metric: str) -> str:
    """Curves are drawn as they are: an accuracy is a fraction here."""
    return quantity(metric).label.removesuffix(" (%)")


def _bands(runs: Any, metric: str, by: list[str], step: str, centre: str, spread: str, smooth: int) -> list[Band]:
    groups: dict[str, list[Curve]] = {}
    for curve in curves_of(runs, metric, by, step):
        groups.setdefault(curve.group, []).append(curve)
    if not groups:
        raise ValueError("there are no runs to draw")
    bands = [_band(name, curves, centre, spread, smooth) for name, curves in groups.items()]
    if not any(len(band.steps) for band in bands):
        raise ValueError(f"no run has a finite {metric}; there is nothing to draw")
    return bands


def _band(name: str, curves: list[Curve], centre: str, spread: str, smooth: int) -> Band:
    longest = max((curve.steps for curve in curves), key=len)
    values = np.full((len(curves), len(longest)), np.nan)
    for row, curve in zip(values, curves):
        if not np.array_equal(curve.steps, longest[: len(curve.steps)]):
            raise ValueError(f"the runs of {name} were recorded at different steps; draw them as lines of their own")
        row[: len(curve.steps)] = _smoothed(curve.values, smooth)
    ends = [
        (float(curve.steps[-1]), float(row[len(curve.steps) - 1]))
        for curve, row in zip(curves, values)
        if curve.diverged and len(curve.steps)
    ]
    known = np.isfinite(values).any(0)
    middle = np.full(len(longest), np.nan)
    middle[known] = (np.nanmean if centre == "mean" else np.nanmedian)(values[:, known], axis=0)
    return Band(name, longest, middle, *spread_of(values, spread), len(curves), ends)


def _smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Means of up to `window` values, the last one among them, over those that are there."""
    if window == 1 or not len(values):
        return values
    there = np.isfinite(values)
    ones = np.ones(min(window, len(values)))  # a convolution, since differences of running sums would cancel
    sums, counts = (np.convolve(terms, ones)[: len(values)] for terms in (np.where(there, values, 0.0), there * 1.0))
    return np.where(there, sums / np.maximum(counts, 1), np.nan)


def _styles(names: list[str], highlight: Sequence[str] | None) -> list[tuple[str, Any]]:
    """A colour and dashes for each line."""
    styles = [(colour, dash) for dash, colour in product(_DASHES, COLOURS)]
    coloured = names if highlight is None else list(highlight)
    for name in coloured:
        if name not in names:
            raise ValueError(unknown("line", str(name), names))
    if len(coloured) > MOST:
        raise ValueError(
            f"{len(coloured)} lines are more than colours and dashes tell apart ({MOST}); "
            "pass highlight= the names to colour, and the others become grey"
        )
    chosen = dict(zip(coloured, styles))
    return [chosen.get(name, ("0.75", "-")) for name in names]


def _check_positive(bands: list[Band], log: str) -> None:
    for axis, what in (("y", "centre"), ("x", "steps")):
        if axis in log and not any(np.any(getattr(band, what) > 0) for band in bands):
            raise ValueError(
                f"expected positive numbers on a logarithmic axis, found none on {axis}; leave it out of log"
            )


def _draw(axes: Any, band: Band, colour: str, dash: Any, log: bool) -> None:
    grey = colour == "0.75"
    shown = np.isfinite(band.low)
    if shown.any() and not grey:
        low = np.where(band.low > 0, band.low, np.nanmin(band.centre) / 2) if log else band.low
        axes.fill_between(band.steps, low, band.high, where=shown, color=colour, alpha=0.2, linewidth=0)
    axes.plot(
        band.steps, band.centre, color=colour, linestyle=dash, linewidth=0.6 if grey else 1.1, zorder=2 if grey else 3,
        marker="" if len(band.steps) > 1 else "o", markersize=3,
    )  # fmt: skip
    for x, y in band.ends:
        axes.plot(x, y, marker="x", color=colour, markersize=5, markeredgewidth=1.2, zorder=4, clip_on=False)


def _legend(
    figure: Any, bands: list[Band], styles: list[tuple[str, Any]], centre: str, spread: str, grow: bool
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linestyle=dash, label=legend_text(plain(band.name, 28)))
        for band, (colour, dash) in zip(bands, styles)
        if colour != "0.75"
    ]
    if any(colour == "0.75" for colour, _ in styles):
        handles.append(Line2D([], [], color="0.75", linewidth=0.6, label="others"))
    if any(band.ends for band in bands):
        lost = sum(len(band.ends) for band in bands)
        label = f"diverged ({counted(lost, 'run')})"
        handles.append(Line2D([], [], color=GREY, marker="x", linestyle="none", markersize=5, label=label))
    most = max(band.runs for band in bands)
    title = f"{centre} of {most} runs" if most > 1 else None
    if title and spread != "none":
        title += f", band: {SPREAD_WORDS[spread]}"
    if len(handles) > 1 or title:
        legend_below(figure, handles, title, grow)
