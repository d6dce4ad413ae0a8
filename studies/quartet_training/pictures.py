"""The pictures of the study of Quartet's roundings in training."""

from typing import Any

import numpy as np

from ..errors.samples import mean_of
from ..figures import COLOURS, MARKERS, canvas
from ..study import Picture
from .analysis import Table, ratios
from .recipes import REFERENCE

_NAMES = {"teacher_student": "regression", "text": "bytes"}
_SHOWN = {
    "forward_quest": "forward QuEST",
    "forward_mean": "forward QuEST, scale from mean",
    "forward_nearest": "forward nearest",
    "forward_stochastic": "forward stochastic",
    "backward_nearest": "backward nearest",
    "backward_stochastic": "backward stochastic",
    "quartet": "Quartet",
    "mxfp4": "MXFP4 nearest",
    "luq_int4": "LUQ, INT4 forward",
    "luq_fp4": "LUQ, FP4 forward",
}


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    found = mean_of(values)
    return float(found.value), float(found.low), float(found.high)


def differences_picture(table: Table) -> Picture:
    """What each recipe costs against float32, a column a task."""
    names = [name for name in _SHOWN if name in set(table["recipe"])]
    places = {name: -k for k, name in enumerate(names)}
    tasks = list(table["task"].unique())
    figure, columns = canvas(columns=len(tasks), height=3.0, sharey=True, squeeze=False)
    for axes, task in zip(columns[0], tasks):
        own = table[table["task"] == task]
        for name in (name for name in names if name in set(own["recipe"])):
            value, low, high = (100 * n for n in _interval(ratios(table, task, name, REFERENCE).mean(1)))
            colour = COLOURS[0 if name.startswith("forward") else 1 if name.startswith("backward") else 2]
            axes.hlines(places[name], low, high, color=colour, lw=1.5)
            axes.plot(value, places[name], "o", color=colour)
        for name in (name for name in names if name not in set(own["recipe"])):
            axes.text(0.5, places[name], "not trained at this scale", color="0.5", ha="center", va="center",
                      fontsize="small", transform=axes.get_yaxis_transform())  # fmt: skip
        axes.axvline(0, color="0.3", lw=1)
        axes.set(title=_NAMES.get(task, task), xlabel="loss above float32 (log, %)")
    columns[0][0].set_yticks(list(places.values()), [_SHOWN[name] for name in names])
    return Picture(figure, "Log ratio of losses to float32 with the same seed, mean over lengths, with 95% intervals.")


def gap_picture(table: Table) -> Picture:
    """How differences go with the data: forward and backward passes, a column a task."""
    tasks = list(table["task"].unique())
    figure, columns = canvas(columns=len(tasks), height=2.8, squeeze=False)
    for axes, task in zip(columns[0], tasks):
        own = table[table["task"] == task]
        at = np.sort(own["ratio"].unique())
        pairs = (
            ("forward_nearest", "forward_stochastic", "forward: nearest to stochastic"),
            ("backward_nearest", "backward_stochastic", "backward: nearest to stochastic"),
            ("forward_quest", "forward_nearest", "forward: QuEST to nearest"),
        )
        for index, (one, other, shown) in enumerate(pairs):
            if one not in set(own["recipe"]):
                continue
            _band(axes, at * 1.04 ** (index - 1), ratios(table, task, one, other), index, shown)
        axes.axhline(0, color="0.3", lw=1)
        unit = "tokens" if task == "text" else "samples"
        axes.set(xscale="log", title=_NAMES.get(task, task), xlabel=f"{unit} a parameter")
        axes.set_xticks(at, [f"{ratio:.2g}" for ratio in at])
        axes.set_xticks([], minor=True)
    columns[0][0].set_ylabel("log ratio of losses (%)")
    figure.legend(*columns[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return Picture(figure, "Differences of two roundings against the data, with 95% intervals: below 0 the first one "
                           "is better.")  # fmt: skip


def _band(axes: Any, at: np.ndarray, values: np.ndarray, index: int, shown: str) -> None:
    """Means of (seeds, lengths) with their intervals."""
    found = np.array([_interval(100 * column) for column in values.T])
    ends = abs(found[:, 1:] - found[:, :1]).T
    axes.errorbar(at, found[:, 0], yerr=ends, fmt=f"{MARKERS[index]}-", color=COLOURS[index], capsize=2, label=shown)
