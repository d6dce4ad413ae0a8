"""Pictures of the study of the gated low-rank path."""

from typing import Any

from ..complex_2bit.pairing import difference
from ..figures import COLOURS, COLUMN, MARKERS, PAGE, canvas
from ..study import Picture
from .claims import ABLATED, BITNET, FULL, HGF, TASKS

_GATES = {"hgf_learned": "learned", "hgf_free": "learned, no schedule", "hgf_fixed": "fixed at .5", "hgf_one": "none"}
_WIDEST = 3.0
"""Longer intervals say nothing and would hide the others."""


def share_picture(ranks: Any) -> Picture:
    """The share of the gap that is closed against what the path adds to the memory."""
    figure, axes = canvas(width=COLUMN, height=2.8)
    for index, (task, shown) in enumerate(TASKS.items()):
        own = ranks[(ranks["task"] == task) & (ranks["high"] - ranks["low"] < _WIDEST)]
        if not len(own):
            continue
        ends = [own["share"] - own["low"], own["high"] - own["share"]]
        axes.errorbar(100 * own["memory"], own["share"], ends, fmt=MARKERS[index] + "-", lw=1, capsize=2,
                      color=COLOURS[index], label=shown)  # fmt: skip
    axes.errorbar([13.5], [(BITNET - HGF) / (BITNET - FULL)], xerr=[[1.5], [1.5]], fmt="*", color="black", ms=9,
                  label="published")  # fmt: skip
    axes.axhline(0, color="0.3", lw=1)
    axes.axhline(1, color="0.3", lw=1, ls="--")
    axes.set(xscale="log", xlabel="memory the path adds (%)", ylabel="share of the gap closed")
    axes.set_xticks([10, 20, 50, 100, 200], ["10", "20", "50", "100", "200"])
    axes.minorticks_off()
    axes.legend(loc="best")
    return Picture(figure, "The share of the gap between ternary weights (0) and float32 (1) that the path closes, by "
                           "its rank, with Fieller's 95% intervals. A task whose gap is not told from 0 is left "
                           "out.")  # fmt: skip


def gates_picture(runs: Any) -> Picture:
    """What each kind of gate gains over ternary weights, a column a task."""
    figure, columns = canvas(columns=len(ABLATED), width=PAGE, height=2.3)
    for axes, task in zip(columns, ABLATED):
        own = runs[runs["task"] == task]
        for index, variant in enumerate(("float32", *_GATES)):
            found = difference(own, "loss", variant, "ternary")
            axes.errorbar(index, found.value, [[found.value - found.low], [found.high - found.value]], capsize=3,
                          fmt=MARKERS[index], color=COLOURS[index])  # fmt: skip
        axes.axhline(0, color="0.3", lw=1)
        axes.set_xticks(range(5), ["float32", *(shown.replace(", ", ",\n") for shown in _GATES.values())])
        axes.set(title=TASKS[task], ylabel="loss less that of ternary")
    return Picture(figure, "What float32 and paths with each kind of gate gain over ternary weights, with 95% "
                           "intervals over paired seeds: lower is better.")  # fmt: skip
