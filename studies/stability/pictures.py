"""The pictures of the study of stability."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..figures import COLOURS, PAGE, canvas
from ..study import Picture
from .arithmetics import BF16
from .boxes import BOXES
from .claims import TASKS
from .curves import WINDOW
from .rises import sharpness_of
from .settings import Setting
from .training import ARMS

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""


def map_picture(parts: Sequence[tuple[Table, Setting]]) -> Picture:
    """The share of runs that diverged, arithmetics down and learning rates across, a heat map a task."""
    rows = max(table["arithmetic"].nunique() for table, _ in parts)
    figure, columns = canvas(columns=len(parts), width=PAGE, height=0.75 + 0.21 * rows, squeeze=False)
    for axes, (table, setting) in zip(columns[0], parts):
        names = list(dict.fromkeys(table["arithmetic"]))
        shares = table.groupby(["arithmetic", "rate"])["diverged"].mean().unstack().loc[names, list(setting.rates)]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
        for (row, column), share in np.ndenumerate(shares.to_numpy()):
            axes.text(column, row, f"{share:.1f}".lstrip("0") if 0 < share < 1 else f"{share:.0f}", ha="center",
                      va="center", fontsize="small", color="white" if share > 0.6 else "0.15")  # fmt: skip
        axes.set_xticks(range(len(setting.rates)), [_rate(rate) for rate in setting.rates])
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.grid(False)
        for row in range(1, len(names)):
            axes.axhline(row - 0.5, color="white", lw=1)
        axes.axvline(setting.rates.index(setting.best) - 0.5, color=COLOURS[1], lw=1, ls="--")
        axes.axvline(setting.rates.index(setting.best) + 0.5, color=COLOURS[1], lw=1, ls="--")
        seeds = table["seed"].nunique()
        axes.set(title=f"{TASKS[setting.task]}, {seeds} seeds", xlabel="peak learning rate")
    return Picture(figure, "The share of runs that end no better than without inputs. Dashed: where float32 has the "
                           "lowest loss. E, M: exponent and mantissa bits, unscaled and cut off.")  # fmt: skip


def _rate(rate: float) -> str:
    return f"{rate:.2g}".lstrip("0")


def sharpness_picture(parts: Sequence[tuple[Table, Setting]]) -> Picture:
    """Sharpness along training of runs that survive and of runs that spike or turn, a row a box, a column a task."""
    figure, grid = canvas(len(BOXES), len(parts), height=2.2, squeeze=False, sharex="col")
    for row, box in zip(grid, BOXES):
        for axes, (table, setting) in zip(row, parts):
            eventful = table["event"] >= 0
            _medians(axes, table[~table["diverged"] & ~eventful], box, "do neither", COLOURS[0], "-")
            _medians(axes, table[eventful], box, "spike or turn", COLOURS[1], "--")
            axes.axvline(table.loc[eventful, "event"].median(), color="0.4", lw=1, ls=":")
            axes.set(title=f"{TASKS[setting.task]}, {box} box")
        row[0].set(ylabel="sharpness (%)")
    for axes in grid[-1]:
        axes.set(xlabel="step")
    grid[-1][0].legend(title="runs that")
    return Picture(figure, "Sharpness in boxes around the last token's logits: medians and quartiles over all rates, "
                           "arithmetics and seeds, which those that spike or turn do not share evenly. Dotted: the "
                           "median step of the first spike or turn.")  # fmt: skip


def _medians(axes: Any, runs: Table, box: str, label: str, colour: str, style: str) -> None:
    if not len(runs):
        return
    steps = np.asarray(runs["evaluated.step"].iloc[0])
    each = np.array([sharpness_of(run, box) for _, run in runs.iterrows()])
    low, middle, high = np.nanquantile(np.where(np.isfinite(each), each, np.nan), (0.25, 0.5, 0.75), axis=0)
    axes.plot(steps, middle, color=colour, label=label, ls=style)
    axes.fill_between(steps, low, high, color=colour, alpha=0.25, lw=0)


def proxy_picture(table: Table) -> Picture:
    """Losses of the proxy at each rate with and without MX in the norms: the median and the range of seeds."""
    rates = sorted(table["rate"].unique())
    figure, columns = canvas(columns=len(rates), height=2.5, squeeze=False)
    for axes, rate in zip(columns[0], rates):
        for arm, colour, style in zip(ARMS, ("0.4", COLOURS[0], COLOURS[1]), ("-", "--", ":")):
            runs = table[(table["arithmetic"] == arm) & (table["rate"] == rate)]
            losses = np.array([_smooth(loss) for loss in runs["loss"]])
            steps = np.arange(losses.shape[1]) + WINDOW
            axes.plot(steps, np.median(losses, 0), color=colour, ls=style, label=arm)
            axes.fill_between(steps, losses.min(0), losses.max(0), color=colour, alpha=0.15, lw=0)
        axes.set(title=f"learning rate {rate:g}", xlabel="step", yscale="log")
    columns[0][0].set(ylabel="squared error (mean of 20 steps)")
    columns[0][0].legend()
    return Picture(figure, "Student and teacher: medians and ranges over seeds.")


def _smooth(loss: np.ndarray) -> np.ndarray:
    return np.convolve(loss, np.full(WINDOW, 1 / WINDOW), mode="valid")


def range_picture(ranges: Table) -> Picture:
    """How wide the range of usable learning rates is, a point an arithmetic and task."""
    tasks = list(dict.fromkeys(ranges["task"]))
    figure, columns = canvas(columns=len(tasks), height=2.4, squeeze=False)
    for axes, task in zip(columns[0], tasks):
        own = ranges[ranges["task"] == task]
        at = np.arange(len(own))
        ends = np.array([own["decades"] - own["low"], own["high"] - own["decades"]])
        axes.errorbar(at, own["decades"], yerr=ends, fmt="o", color=COLOURS[0], capsize=2)
        reference = own.loc[own["arithmetic"] == BF16, "decades"].iloc[0]
        axes.axhline(reference, color="0.4", lw=1, ls="--")
        axes.set_xticks(at, own["arithmetic"], rotation=60, ha="right")
        axes.set(title=TASKS[task])
    columns[0][0].set(ylabel="usable rates (decades)")
    return Picture(figure, "The range of usable learning rates with 95% intervals over seeds; dashed that of E8M7.")
