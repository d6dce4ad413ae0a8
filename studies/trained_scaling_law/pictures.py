"""The pictures of the study: losses over data with the law, predictions of unseen runs, damages."""

from typing import Any

import numpy as np

from ..figures import COLOURS, MARKERS, PAGE, canvas
from ..fp_scaling_law import Law
from ..study import Picture
from .designs import REFERENCE, TARGETS, Cell, Layout, Plan
from .effects import damage, over_seeds
from .fit import held_out, new_size, predicted, runs_of
from .running import Table, losses


def curves_picture(table: Table, plan: Plan, law: Law) -> Picture:
    """Losses over data by size and layout, and what the law says."""
    figure, panels = canvas(2, len(plan.grids), height=2.2, sharex=True, sharey="row", squeeze=False)
    tokens = sorted({Cell(size, steps).tokens for size, grid in plan.grids.items() for steps in grid.steps})
    order = [REFERENCE, *dict.fromkeys(layout for grid in plan.grids.values() for layout in grid.layouts)]
    for above, below, (size, grid) in zip(*panels, plan.grids.items()):
        for layout in (REFERENCE, *grid.layouts):
            cells = [Cell(size, steps, layout) for steps in grid.steps]
            _curve(above, table, cells, law, order.index(layout))
            if layout != REFERENCE:
                _damage(below, table, cells, law, order.index(layout), len(order))
        above.set(xscale="log", title=f"{Cell(size, 1).parameters:,} parameters")
        below.axhline(0, color="0.3", lw=1)
        below.set(xlabel="tokens")
        below.set_xticks(tokens, [f"{each / 1000:.0f}k" for each in tokens])
        below.minorticks_off()
    panels[0][0].set(ylabel="loss (nats a byte)")
    panels[1][0].set(ylabel="damage (nats a byte)")
    panels[0][0].legend(loc="lower left")
    return Picture(
        figure,
        "Loss against data in blocks of 32, and what layouts cost: means over seeds, with 95% intervals of differences "
        "(markers), and the law fitted to all trainings (lines).",
    )


def _curve(axes: Any, table: Table, cells: list[Cell], law: Law, index: int) -> None:
    layout = cells[0].layout
    shown = "float32" if layout == REFERENCE else layout.name
    colour = "black" if layout == REFERENCE else COLOURS[index - 1]
    tokens = [cell.tokens for cell in cells]
    axes.plot(tokens, [losses(table, cell).mean() for cell in cells], MARKERS[index], color=colour, label=shown)
    fine = _between(cells)
    resolution = law.resolution(layout.exponent, layout.mantissa)
    axes.plot(fine, law.loss(cells[0].parameters, fine, resolution, np.log2(cells[0].block)), color=colour, lw=1)


def _between(cells: list[Cell]) -> np.ndarray:
    """Amounts of data from a little below the least to a little above the most."""
    return np.geomspace(cells[0].tokens / 1.15, cells[-1].tokens * 1.15, 50)


def _damage(axes: Any, table: Table, cells: list[Cell], law: Law, index: int, count: int) -> None:
    """Differences from float32, a little beside the tokens, so that intervals do not cover each other."""
    found = [over_seeds(damage(table, cell)) for cell in cells]
    tokens = np.array([cell.tokens for cell in cells]) * 1.06 ** (index - count / 2)
    ends = np.array([(each.value - each.low, each.high - each.value) for each in found]).T
    axes.errorbar(tokens, [each.value for each in found], yerr=ends, fmt=MARKERS[index], color=COLOURS[index - 1],
                  capsize=2)  # fmt: skip
    fine, at = _between(cells), (cells[0].parameters, np.log2(cells[0].block))
    ours, theirs = (law.resolution(each.exponent, each.mantissa) for each in (cells[0].layout, REFERENCE))
    lost = law.loss(at[0], fine, ours, at[1]) - law.loss(at[0], fine, theirs, at[1])
    axes.plot(fine, lost, color=COLOURS[index - 1], lw=1)


def predictions_picture(table: Table, law: Law, simple: Law) -> Picture:
    """Trained against predicted losses of laws that have not seen the most data of each size.

    Args:
        law, simple: fitted to all other trainings, with precision and without.
    """
    figure, columns = canvas(columns=2, height=3.0, sharex=True, sharey=True)
    own = table[~table["everything"] & (table["targets"] != "")]
    own = own.groupby([name for name in own.columns if name not in ("seed", "loss", "diverged")])["loss"].mean()
    means = own.reset_index()
    for axes, each, title in zip(columns, (law, simple), ("with precision", "without")):
        for index, (shown, chosen) in enumerate(_kinds(means)):
            runs = runs_of(means[chosen])
            axes.plot(predicted(each, runs), runs.losses, MARKERS[index], color=COLOURS[index], label=shown,
                      mfc="white" if index == 0 else COLOURS[index])  # fmt: skip
        ends = (means["loss"].min() - 0.05, means["loss"].max() + 0.05)
        axes.plot(ends, ends, color="0.3", lw=1, ls="--")
        axes.set(title=f"law {title}", xlabel="predicted loss (nats a byte)", xlim=ends, ylim=ends)
    columns[0].set(ylabel="trained loss (nats a byte)")
    columns[0].legend(loc="upper left")
    return Picture(figure, "Predicted and trained losses, means over seeds: the law, and the same without its term of "
                           "precision.")  # fmt: skip


def _kinds(means: Table) -> list[tuple[str, Any]]:
    """What the laws were fitted to, what has more data, and what is of a new size where there is one."""
    unseen, new = held_out(means), new_size(means)
    kinds = [("fitted to", ~unseen), ("more data", unseen & ~new), ("new size", unseen & new)]
    return [(shown, chosen) for shown, chosen in kinds if chosen.any()]


def damage_picture(found: Table, plan: Plan) -> Picture:
    """What layouts cost, and what FP3 costs in each operand.

    Args:
        found: of `damages`.
    """
    figure, (left, right) = canvas(columns=2, height=2.8, width=PAGE)
    _layouts(figure, left, found, plan)
    _operands(right, found, plan)
    base = Cell(*plan.base)
    return Picture(figure, f"Left: what a layout costs in P2, P4 and P6 at {base.tokens:,} tokens. Right: what FP3 "
                           "(E1M1) costs in single operands and in the law's, with 95% intervals.")  # fmt: skip


def _layouts(figure: Any, axes: Any, found: Table, plan: Plan) -> None:
    base = Cell(*plan.base)
    rows = found[(found["size"] == base.size) & (found["tokens"] == base.tokens) & (found["block"] == base.block)
                 & ~found["everything"]].set_index("layout")  # fmt: skip
    shape = tuple(1 + max(getattr(each, name) for each in plan.layouts) for name in ("mantissa", "exponent"))
    values = np.full(shape, np.nan)
    for each in plan.layouts:
        values[each.mantissa, each.exponent] = rows.loc[each.name, "damage"]
    drawn = axes.imshow(1000 * values[:, 1:], origin="lower", cmap="cividis", aspect="auto")
    middle = 500 * (np.nanmin(values) + np.nanmax(values))
    for each in plan.layouts:
        value = 1000 * values[each.mantissa, each.exponent]
        axes.text(each.exponent - 1, each.mantissa, f"{Layout(each.exponent, each.mantissa).name}\n{round(value)}",
                  ha="center", va="center", fontsize="small", color="black" if value > middle else "white")  # fmt: skip
    axes.set(xlabel="exponent bits", ylabel="mantissa bits", xticks=range(shape[1] - 1), yticks=range(shape[0]))
    axes.set_xticklabels([str(k) for k in range(1, shape[1])])
    axes.grid(False)
    figure.colorbar(drawn, ax=axes, label="damage (0.001 nats)")


def _operands(axes: Any, found: Table, plan: Plan) -> None:
    rows = found[found["everything"]].set_index("targets")
    names = ["+".join(cell.targets) for cell in plan.operands() if cell.targets]
    at = np.arange(len(names))
    values, low, high = (rows.loc[names, name].to_numpy() for name in ("damage", "low", "high"))
    colours = [COLOURS[1] if name in ("P1", "P3", "P5") else COLOURS[0] for name in names]
    axes.bar(at, values, color=colours, width=0.65)
    axes.errorbar(at, values, yerr=np.array([values - low, high - values]), fmt="none", color="black", capsize=2)
    axes.axhline(0, color="0.3", lw=1)
    shown = [f"{name}\n{_SHOWN[TARGETS[name]]}" if name in TARGETS else name.replace("+", "\n+") for name in names]
    axes.set_xticks(at, shown, fontsize="small")
    axes.set(ylabel="damage (nats)")


_SHOWN = {
    "fprop_x": "X", "fprop_w": "W", "dgrad_e": "dY", "dgrad_w": "W", "wgrad_e": "dY", "wgrad_x": "X",
}  # fmt: skip
