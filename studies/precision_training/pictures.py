"""The pictures of the study of precision in training and after it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..claims import Measured
from ..figures import COLOURS, MARKERS, PAGE, canvas
from ..precision_law import WEIGHTS
from ..study import Picture
from .analysis import Table, damages, fitted_power, interval, losses, sensitivity


def damage_picture(table: Table) -> Picture:
    """Damage against data by bits, a column a size with several lengths, and against size."""
    plain = table[table["bits"] == table["bits"].max()]
    lengths = plain.groupby("size", sort=False)["tokens"].nunique()
    sizes = list(lengths[lengths > 1].index)
    figure, columns = canvas(columns=len(sizes) + 1, width=PAGE, height=2.8, sharey=True)
    for axes, size in zip(columns, sizes):
        own = plain[plain["size"] == size]
        _by_bits(axes, own, np.sort(own["tokens"].unique()))
        axes.set(title=f"{size} parameters", xlabel="tokens of training")
    shared = plain.groupby("tokens")["size"].nunique().idxmax()
    own = plain[plain["tokens"] == shared]
    _by_bits(columns[-1], own, np.sort(own["parameters"].unique()))
    columns[-1].set(title=f"{shared / 1000:.0f}k tokens", xlabel="parameters")
    columns[0].set_ylabel("damage (nats a token)")
    columns[0].legend(title="weights rounded to", loc="lower right")
    return Picture(figure, "What rounding the weights of trained models costs, with 95% intervals; lines are powers, "
                           "fitted to the means.")  # fmt: skip


def _by_bits(axes: Any, own: Table, at: np.ndarray) -> None:
    """Mean damages over data or size, their intervals and the mean power."""
    for index, bits in enumerate(sorted(own["post"].unique())):
        damage = damages(own, post=int(bits))
        found = [interval(column) for column in damage.T]
        value = np.array([each.value for each in found])
        ends = np.array([[each.value - each.low, each.high - each.value] for each in found]).T
        shown_at = value > 0  # a mean that is not has no place on the axis
        at_, value, ends = at[shown_at], value[shown_at], ends[:, shown_at]
        low = np.minimum(ends[0], 0.9 * value)  # nor has an interval's end
        shown = f"{bits} bits"
        axes.errorbar(at_, value, yerr=[low, ends[1]], fmt=MARKERS[index], color=COLOURS[index], capsize=2, label=shown)
        axes.plot(at, fitted_power(damage.mean(0), damage.std(0, ddof=1), at), color=COLOURS[index], lw=1)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(at, [f"{number / 1000:.3g}k" for number in at])
    axes.set_xticks([], minor=True)


def training_picture(table: Table, size: str, steps: int, shares: Sequence[Measured]) -> Picture:
    """Loss, effective share and later damage against the bits of weights in training, 3 to 6."""
    figure, (left, middle, right) = canvas(columns=3, width=PAGE, height=2.6)
    bits, most = [3, 4, 5, 6], int(table["bits"].max())
    own: dict[str, Any] = {"size": size, "steps": steps, "post": 3}
    apart = losses(table, "before", bits=bits, **own) - losses(table, "before", bits=most, **own)
    _points(left, bits, [interval(column) for column in apart.T])
    left.axhline(0, color="0.3", lw=1, ls="--")
    left.set(xlabel="bits in training", ylabel="loss above float32 (nats)")
    _points(middle, bits, shares, "measured")
    fine = np.linspace(2.8, 6.2, 100)
    gamma = sensitivity(bits, np.array([float(each.value) for each in shares]))
    middle.plot(fine, 1 - np.exp(-fine / gamma), color=COLOURS[0], lw=1, label="fit to the means")
    middle.plot(fine, 1 - np.exp(-fine / WEIGHTS.gamma), color=COLOURS[1], ls="--", lw=1, label="published")
    middle.set(xlabel="bits in training", ylabel="effective share")
    middle.legend(loc="lower right")
    later = damages(table, bits=[4, 5, 6, most], **own)
    _points(right, [4, 5, 6, 7], [interval(column) for column in later.T])
    right.set_xticks([4, 5, 6, 7], ["4", "5", "6", "float32"])
    right.set(xlabel="bits in training", ylabel="damage of 3 bits afterwards (nats)", ylim=(0, None))
    return Picture(figure, f"Training {size} parameters with few bits of weights: loss, the share of parameters that "
                           "stays effective, and what rounding to 3 bits costs afterwards; 95% intervals.")  # fmt: skip


def _points(axes: Any, at: Sequence[int], found: Sequence[Measured], shown: str | None = None) -> None:
    ends = [[each.value - each.low for each in found], [each.high - each.value for each in found]]
    axes.errorbar(at, [each.value for each in found], yerr=ends, fmt="o", color=COLOURS[0], capsize=2, label=shown)
    axes.set_xticks(at)
