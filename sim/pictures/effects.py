"""Effects of factors, and how two factors act together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats.suggest import unknown
from .grids import positions
from .runs import SPREAD_WORDS, at_best, check_columns, check_spread, groups_of, numbers_of
from .style import (
    COLOURS,
    GREY,
    KINDS,
    LINE,
    SMALL,
    TALLEST,
    axes_points,
    fitting,
    lay_out,
    legend_below,
    legend_text,
    plain,
    quantity,
    sheet,
    text_points,
    width_points,
)

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

MOST = 60
"""Rows of one picture."""


def plot_effects(
    effects: "pandas.DataFrame",
    *,
    factors: "list[str] | None" = None,
    label: str = "effect on the mean",
    zero: float = 0.0,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
) -> "Figure":
    """Draw the effect of each level of each factor with its interval; those that exclude zero are filled.

    Args:
        effects: a row for each level of each factor, or of a pair of factors for interactions, with columns factor,
            level, estimate, low and high; NaN ends leave the interval out.
        factors: those to draw, in this order; None for all.
        label: of the axis, with the unit of the estimates. zero: where there is no effect, 1 for ratios.
        title, width, height, into: as in `halfulp.plot_heat_map`.

    Raises:
        TypeError: no DataFrame.
        ValueError: a column that is not there, with the closest; a factor that is not there; no finite estimate, or
            more than 60; an interval that does not hold its estimate.
    """
    check_columns(effects, ("factor", "level", "estimate", "low", "high"), "effects")
    known = list(dict.fromkeys(effects["factor"]))
    chosen = known if factors is None else list(factors)
    for name in chosen:
        if name not in known:
            raise ValueError(unknown("factor", str(name), map(str, known)))
    rows = _rows(effects, chosen)
    lines = len(rows) + len({factor for factor, *_ in rows})
    tall = min(0.5 + 1.1 * LINE * lines / 72 + 0.2 * (title is not None), TALLEST)
    with sheet(width, max(tall, 0.9) if height is None else height, into) as figure:
        _draw_effects(figure, rows, label, zero)
        if title is not None:
            figure.suptitle(plain(title, 200), fontsize="medium", x=0.01, ha="left")
    return figure  # pyright: ignore[reportReturnType]


def _rows(effects: Any, chosen: list[str]) -> list[tuple[str, str, float, float, float]]:
    """(factor, level, estimate, low, high) of the finite estimates."""
    columns = [numbers_of(effects, name) for name in ("estimate", "low", "high")]
    rows = []
    for factor in chosen:
        for at in np.flatnonzero(effects["factor"].to_numpy() == factor):
            estimate, low, high = (float(column[at]) for column in columns)
            if estimate < low or estimate > high:
                level = effects["level"].iloc[at]
                raise ValueError(f"{factor} {level}: expected low <= estimate <= high, got {low}, {estimate}, {high}")
            if np.isfinite(estimate):
                rows.append((str(factor), str(effects["level"].iloc[at]), estimate, low, high))
    if not rows:
        raise ValueError("no effect has a finite estimate; there is nothing to draw")
    if len(rows) > MOST:
        raise ValueError(f"{len(rows)} effects are more than one picture holds ({MOST}); pass factors= some of them")
    return rows


def _draw_effects(figure: Any, rows: list[tuple[str, str, float, float, float]], label: str, zero: float) -> None:
    axes: Any = figure.add_subplot()
    y, names, heads, last, room = 0, [], [], None, 0.42 * width_points(figure)
    axes.axvline(zero, color=GREY, linewidth=0.8, zorder=1)
    for factor, level, estimate, low, high in rows:
        if factor != last:
            heads.append((y, factor))
            y, last = y + 1, factor
        clear = np.isfinite(low) and np.isfinite(high) and not low <= zero <= high
        colour = COLOURS[(len(heads) - 1) % len(COLOURS)]
        if np.isfinite(low) and np.isfinite(high):
            axes.hlines(y, low, high, color=colour, linewidth=1.1, zorder=2)
        axes.plot(estimate, y, "o", ms=4, mec=colour, mfc=colour if clear else "white", mew=0.9, zorder=3)
        names.append((y, level))
        y += 1
    axes.set_ylim(y - 0.4, -0.6)
    axes.set_yticks([at for at, _ in names], [fitting(level, room) for _, level in names])
    bold = [fitting(_words(factor), 0.8 * room) for _, factor in heads]
    axes.set_yticks([at for at, _ in heads], bold, minor=True, fontweight="bold")
    axes.tick_params(axis="y", which="both", length=0, labelsize=SMALL)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(plain(label, 80))


def _words(factor: str) -> str:
    """What a factor, or an interaction such as 'format:rounding', is called."""
    return " \u00d7 ".join(quantity(part).label for part in factor.split(":"))


def plot_interaction(
    runs: "pandas.DataFrame",
    metric: str,
    x: str,
    lines: str,
    *,
    spread: str = "confidence",
    over: str = "learning_rate",
    select: str = "train_loss",
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
) -> "Figure":
    """Draw means of a metric over the levels of one factor, a line for each level of another.

    Parallel lines do not interact. Means are over the runs that finished; levels none of whose runs did are left out.

    Args:
        runs: a row for each run. metric: the column up.
        x: the factor across; numbers ascend, names come as they occur. lines: the factor with a line a level.
        spread: of the bars, as in `halfulp.plot_pareto`.
        over, select: as in `halfulp.plot_heat_map`.
        labels, title, width, height, into: as in `halfulp.plot_heat_map`.

    Raises:
        TypeError: no DataFrame.
        ValueError: a column that is not there, with the closest; more lines than there are colours; no run that
            finished.
    """
    check_columns(runs, (metric, x, lines))
    check_spread(spread)
    shown = quantity(metric, labels)
    chosen = at_best(runs, (x, lines), over, select)
    groups = [each for each in groups_of(chosen, (x, lines), metric, shown.factor, spread) if np.isfinite(each.mean)]
    if not groups:
        raise ValueError("all of these runs diverged; there is nothing to draw")
    across, levels = positions([each.name[0] for each in groups]), positions([each.name[1] for each in groups])
    if len(levels) > len(COLOURS):
        raise ValueError(f"{lines} has {len(levels)} levels, more than there are colours ({len(COLOURS)}); pass fewer")
    with sheet(width, 1.8 if height is None else height, into) as figure:
        axes: Any = figure.add_subplot()
        markers = [kind.marker for kind in KINDS.values()]
        for k, level in enumerate(levels):
            of = sorted((each for each in groups if each.name[1] == level), key=lambda each: across.index(each.name[0]))
            at = np.array([across.index(each.name[0]) for each in of]) + 0.05 * (k - (len(levels) - 1) / 2)
            axes.vlines(at, [each.low for each in of], [each.high for each in of], color=COLOURS[k], linewidth=0.9)
            axes.plot(at, [each.mean for each in of], color=COLOURS[k], marker=markers[k], markersize=4,
                      label=legend_text(plain(level)))  # fmt: skip
        axes.set_xticks(range(len(across)), [plain(value, 16) for value in across])
        axes.set_xlim(-0.4, len(across) - 0.6)
        axes.grid(axis="y")
        axes.set_xlabel(quantity(x, labels).label)
        axes.set_ylabel(shown.label)
        if title is not None:
            axes.set_title(plain(title, 200))
        grow = height is None and into is None
        head = quantity(lines, labels).label
        most = max(each.runs for each in groups)
        if spread != "none" and most > 1:
            head += f" (mean of {most} runs, {SPREAD_WORDS[spread]})"
        legend_below(figure, axes.get_legend_handles_labels()[0], head, grow)
        lay_out(figure)
        names = [fitting(value, 80) for value in across]
        if max(map(text_points, names)) > axes_points(axes)[0] / len(names) - 3:
            axes.set_xticks(range(len(across)), names, rotation=90)
            if grow:
                whole: Any = figure
                whole.set_figheight(whole.get_figheight() + max(map(text_points, names)) / 72)
    return figure  # pyright: ignore[reportReturnType]
