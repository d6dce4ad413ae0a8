"""The pictures of the study of FP4's design space."""

from itertools import pairwise
from typing import Any

import numpy as np

from ...sim.pictures.placing import Name, around, place_names, points_of
from ...sim.pictures.style import GREY
from ..figures import COLOURS, MARKERS, PAGE, canvas
from ..study import Picture
from .analysis import PLAIN, Table, chosen, mean_of
from .designs import COARSE, FLOATS, NAMED, SCALES, SMALLER, Point

_SHOWN = {"teacher_student": "regression", "text": "language", "diabetes": "patients"}
_REPRESENTATIONS = ("E8M0", *(Point(name, tensor).representation for name in FLOATS for tensor in (False, True)))
_LEVELS = {"none": "no transform", "rht16": "random Hadamard", "gradients": "stochastic dY",
           "backward": "stochastic backward", "nearest": "nearest"}  # fmt: skip
_FACTORS = ("representation", "rounding", "transform")
_PUBLISHED = {"mxfp4_sr_rht": "mxfp4_sr_rht (backward only)"}
_ABREAST = 3
"""Tasks side by side."""


def _name(task: str) -> str:
    return _SHOWN.get(task, task)


def front_picture(front: Table, table: Table) -> Picture:
    """Gain against overhead, a point a recipe."""
    figure, axes = canvas(width=PAGE, height=3.2)
    scales = table.groupby("recipe")["scale"].first()
    rotated = table.groupby("recipe")["transform"].first()
    plain = front[front["recipe"].map(scales).notna()]
    present = set(plain["recipe"].map(scales))
    kinds = [name for name in SCALES if name in present]
    for index, scale in enumerate(kinds):
        for turned in (False, True):
            own = plain[(plain["recipe"].map(scales) == scale) & ((plain["recipe"].map(rotated) != "none") == turned)]
            axes.plot(own["overhead"], own["gain"], MARKERS[index], color=COLOURS[index],
                      mfc=COLOURS[index] if turned else "white", ms=5)  # fmt: skip
    on = front[front["on_front"]]
    axes.plot(on["overhead"], on["gain"], color=GREY, lw=1.5, drawstyle="steps-post", zorder=1.8)  # above the grid
    named = front[front["recipe"].isin((COARSE, *NAMED))]
    axes.plot(named["overhead"], named["gain"], "*", color="black", ms=8, zorder=3)
    best = front[front["recipe"] == Point().name]
    axes.plot(best["overhead"], best["gain"], "o", mfc="none", mec="black", ms=10, mew=1.2)
    axes.axhline(1, color="0.3", lw=1, ls="--")
    low = float(front["gain"].clip(lower=-3).min())
    axes.set(xlabel="overhead (operations, reads and random numbers of quantizing an element)",
             ylabel="gain: MXFP4 0, float32 1", ylim=(low - 0.1, 1.2))  # fmt: skip
    _explain(axes, kinds)
    figure.draw_without_rendering()  # names are placed where there is room, which the layout decides
    names = [
        Name(str(_PUBLISHED.get(row["recipe"], row["recipe"])), row["overhead"], row["gain"], "black", True)
        for _, row in named.iterrows()
    ]
    place_names(axes, names, around(points_of(axes, front["overhead"], front["gain"])))
    return Picture(figure, "Gain and overhead, means over tasks and seeds. No recipe is cheaper and better than one "
                           "on the line.")  # fmt: skip


def _explain(axes: Any, kinds: list[str]) -> None:
    """Legends beside the axes: of colours, and of what else is drawn."""

    def shown(marker: str, colour: str, filled: bool, **how: Any) -> Any:
        return axes.plot([], [], marker, color=colour, mfc=colour if filled else "none", **how)[0]

    colours = [shown(MARKERS[index], COLOURS[index], True) for index in range(len(kinds))]
    first = axes.legend(colours, [SCALES[name] for name in kinds], title="block scales", loc="upper left",
                        bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    axes.add_artist(first)
    others = {
        "no transform": shown("o", GREY, False),
        "random Hadamard": shown("o", GREY, True),
        "best trade-off\nof the paper": shown("o", "black", False, ms=10, mew=1.2),
        "published": shown("*", "black", True, ms=8),
        "front: none is\ncheaper and better": shown("-", GREY, False, lw=1.5),
    }
    axes.legend(list(others.values()), list(others), loc="lower left", bbox_to_anchor=(1.0, 0.0))


def _place(level: tuple[str, str]) -> tuple[int, int]:
    """Where a level stands: by its factor, representations in their order, others as they come."""
    factor, name = level
    return _FACTORS.index(factor), _REPRESENTATIONS.index(name) if name in _REPRESENTATIONS else 0


def effects_picture(found: Table) -> Picture:
    """Main effects with their intervals, a column a task."""
    tasks = list(dict.fromkeys(found["task"]))
    rows = -(-len(tasks) // _ABREAST)
    figure, columns = canvas(rows, min(len(tasks), _ABREAST), height=3.2, sharey=True, squeeze=False)
    main = found[found["factor"].isin(_FACTORS)]
    levels = sorted(dict.fromkeys(zip(main["factor"], main["level"])), key=_place)
    gaps = np.cumsum([0, *(a[0] != b[0] for a, b in pairwise(levels))])
    places = {level: -(number + 0.6 * gap) for number, (level, gap) in enumerate(zip(levels, gaps))}
    for axes in columns.flat[len(tasks) :]:
        axes.remove()
    for axes, task in zip(columns.flat, tasks):
        own = main[main["task"] == task]
        at = [places[key] for key in zip(own["factor"], own["level"])]
        effect, low, high = (100 * own[name].to_numpy() for name in ("estimate", "low", "high"))
        colours = [COLOURS[_FACTORS.index(name)] for name in own["factor"]]
        axes.axvline(0, color="0.3", lw=1)
        axes.hlines(at, low, high, color=colours, lw=1.5)
        axes.scatter(effect, at, c=colours, s=16, zorder=3)
        axes.set(title=_name(task), xlabel="effect on the loss (log, %)")
    for axes in columns[:, 0]:
        axes.set_yticks(list(places.values()), [_LEVELS.get(level, level) for _, level in levels])
    return Picture(figure, "Main effects on the log of the loss with 95% intervals: left is better. +T is with a scale "
                           "of the tensor.")  # fmt: skip


def scales_picture(table: Table) -> Picture:
    """How far trainings come with each representation of scales, with usual and with small gradients."""
    levels = {**PLAIN, "loss_scale": [1.0, SMALLER], "transform": "none", "rounding": ["nearest", "gradients"]}
    both = chosen(table, **levels)
    tasks = [name for name, runs in both.groupby("task", sort=False) if runs["loss_scale"].nunique() > 1]
    figure, columns = canvas(columns=len(tasks), height=2.6, sharey=True, squeeze=False)
    for axes, task in zip(columns[0], tasks):
        for index, (scale, shown) in enumerate(((1.0, "as they are"), (SMALLER, "/ 1024"))):
            runs = chosen(both, task=task, loss_scale=scale)
            names = [name for name in _REPRESENTATIONS if name in set(runs["representation"])]
            found = [mean_of(chosen(runs, representation=name)) for name in names]
            at = np.array([_REPRESENTATIONS.index(name) for name in names]) + 0.16 * (2 * index - 1)
            values = np.array([each.value for each in found])
            ends = np.array([[each.value - each.low, each.high - each.value] for each in found]).T
            axes.errorbar(at, values, yerr=ends, fmt=MARKERS[index], color=COLOURS[index], capsize=2, label=shown)
        axes.axhline(1, color="0.3", lw=1, ls="--")
        axes.set_xticks(range(len(_REPRESENTATIONS)), _REPRESENTATIONS, rotation=60, ha="right")
        axes.set(title=_name(str(task)))
    columns[0][0].set(ylabel="share of float32's way from chance", ylim=(-0.05, 1.1))
    columns[0][0].legend(title="gradients", loc="lower right")
    return Picture(figure, "How far trainings come, with gradients as they are and 1024 times smaller (no transform).")
