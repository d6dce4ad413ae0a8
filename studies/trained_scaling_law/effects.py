"""Paired differences of losses that ask the law's questions without the law: of one seed first, then over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..errors.resampled import best_on_others, slope
from ..errors.samples import mean_of
from .designs import COARSEST, FP3, FP4, FP4_BEST, FP5, FP6, NESTED, PARAMETERS, REFERENCE, Cell, Layout, Plan
from .running import Table, losses

MIRRORED = ((Layout(2, 1), Layout(1, 2)), (Layout(3, 1), Layout(1, 3)), (Layout(3, 2), Layout(2, 3)))
"""At 4, 5 and 6 bits: more exponent bits, and the same with the bits exchanged."""
BEST = {3: Layout(1, 1), 4: Layout(2, 1), 5: Layout(2, 2)}
"""The paper's best layouts by bits."""
BY_BITS = {3: FP3, 4: FP4, 5: FP5, 6: FP6}
CLAIMED = {"13k": (COARSEST, FP4_BEST), "50k": (COARSEST,)}
"""The sizes, and their layouts, that every scale trains with several amounts of data."""
HURTFUL = ("P1", "P3", "P5")
"""The operands that the paper finds harmful in FP3: activations forward and both gradients of outputs."""


def damage(table: Table, cell: Cell) -> Any:
    """What a cell's layout costs by seed, in nats: its loss less that of the reference in its place."""
    plain = replace(cell, targets=(), layout=COARSEST) if cell.everything else replace(cell, layout=REFERENCE)
    return losses(table, cell) - losses(table, plain)


def over_seeds(values: Any) -> Measured:
    """The mean of a number of each seed with its 95% interval of Student's t."""
    return mean_of(np.asarray(values, float))


def slopes(by: Sequence[float], values: Sequence[Any]) -> np.ndarray:
    """(seeds,) the slope of each seed's line of least squares through n Series over the same seeds."""
    return slope(by, np.stack([each.to_numpy(float) for each in values], axis=-1))


def mirrored(table: Table, plan: Plan) -> Table:
    """More exponent bits against as many more mantissa bits, by width.

    Returns:
        bits, more, less, difference, low, high: nats.
    """
    rows = []
    for more, less in MIRRORED:
        each = over_seeds(losses(table, Cell(*plan.base, more)) - losses(table, Cell(*plan.base, less)))
        rows.append((more.bits, more.name, less.name, each.value, each.low, each.high))
    return pandas.DataFrame(rows, columns=["bits", "more", "less", "difference", "low", "high"])


def of_bits(table: Table, plan: Plan) -> dict[str, Measured]:
    """Exponent bits against mantissa bits, and the best layout of each width."""
    at = {layout: losses(table, Cell(*plan.base, layout)) for layout in plan.layouts}
    exchanged = sum(at[more] - at[less] for more, less in MIRRORED) / len(MIRRORED)
    return {
        "exponent_bits": over_seeds(exchanged),
        **{f"layout_p{bits}": _against_the_best(at, best, BY_BITS[bits]) for bits, best in BEST.items()},
    }


def _against_the_best(at: dict[Layout, Any], best: Layout, all_layouts: Iterable[Layout]) -> Measured:
    """The loss of a layout less that of the best other, which for each seed is chosen by the other seeds."""
    others = [layout for layout in all_layouts if layout != best]
    rival = best_on_others(np.stack([at[layout].to_numpy(float) for layout in others], axis=-1))
    means = ", ".join(f"{layout.name} {(at[best] - at[layout]).mean():.4f}" for layout in others)
    return replace(over_seeds(at[best].to_numpy(float) - rival), note=f"Less each of the others: {means}.")


def of_blocks(table: Table, plan: Plan) -> dict[str, Measured]:
    """What a doubling of blocks adds to the damage, of FP3 and FP4."""
    found = {}
    blocks = sorted((*plan.blocks, Cell(*plan.base).block))
    for layout in plan.blocked:
        each = [damage(table, Cell(*plan.base, layout, block)) for block in blocks]
        found[f"block_fp{layout.bits}"] = over_seeds(slopes(np.log2(blocks).tolist(), each))
    return found


def of_data(table: Table, plan: Plan) -> dict[str, Measured]:
    """How damage grows with data and falls with size."""
    found = {}
    for size, layouts in CLAIMED.items():
        steps = plan.grids[size].steps
        each = [_mean_damage(table, size, count, layouts) for count in steps]
        found[f"data_{size}"] = over_seeds(slopes(np.log(steps).tolist(), each))
    shared = sorted(set.intersection(*(set(grid.steps) for grid in plan.grids.values())))
    layouts = [each for each in plan.blocked if all(each in grid.layouts for grid in plan.grids.values())]
    sizes = [sum(_mean_damage(table, size, steps, layouts) for steps in shared) / len(shared) for size in plan.grids]
    found["size"] = over_seeds(slopes(np.log([PARAMETERS[size] for size in plan.grids]).tolist(), sizes))
    return found


def of_last_doubling(table: Table, plan: Plan, critical: Measured) -> dict[str, Measured]:
    """What the last doubling of data does in FP3, and how far below the critical size it ends.

    Args:
        critical: log10 of the tokens at which the fitted law turns up, for that cell.
    """
    size = plan.base[0]
    before, last = (Cell(size, steps, COARSEST) for steps in plan.grids[size].steps[-2:])
    turn, most = over_seeds(losses(table, last) - losses(table, before)), float(np.log10(last.tokens))
    found = Measured([turn.value, most - critical.value], [turn.low, most - critical.high],
                     [turn.high, most - critical.low], turn.count)  # fmt: skip
    return {"below_critical": found}


def _mean_damage(table: Table, size: str, steps: int, layouts: Sequence[Layout]) -> Any:
    return sum(damage(table, Cell(size, steps, layout)) for layout in layouts) / len(layouts)


def of_operands(table: Table, plan: Plan) -> dict[str, Measured]:
    """Which operands suffer from FP3."""
    by = {cell.targets: damage(table, cell) for cell in plan.operands() if cell.targets}
    hurt = {name: by[(name,)] for name in HURTFUL}
    worse = np.stack([hurt["P5"] - hurt[name] for name in ("P1", "P3")], axis=-1)
    apart = np.stack([by[some] - by[NESTED[0]] for some in NESTED[1:]], axis=-1)
    return {
        **{f"hurts_{name.lower()}": over_seeds(each) for name, each in hurt.items()},
        "p5_worst": mean_of(worse),
        "weights_alike": _alike(np.concatenate([apart, -apart], axis=-1), hurt),
    }


def _alike(apart: np.ndarray, hurt: dict[str, Any]) -> Measured:
    """Differences less the least damage that is told from none; without one, an interval around 0: nothing to judge by.

    Args:
        apart: (seeds, n) differences, and the same with the other sign. hurt: damages by operand.
    """
    harmful = {name: each for name, each in hurt.items() if over_seeds(each).low > 0}
    if not harmful:
        alone = mean_of(apart)
        low = [min(each, 0.0) for each in alone.low]
        high = [max(each, 0.0) for each in alone.high]
        return replace(
            alone, low=low, high=high, note="No operand's damage is told from none: nothing to compare with."
        )
    least = min(harmful, key=lambda name: harmful[name].mean())
    found = mean_of(apart - harmful[least].to_numpy(float)[:, None])
    return replace(found, note=f"The least damage that is told from none is that of {least}.")


def damages(table: Table, plan: Plan) -> Table:
    """The damage of every cell, with its interval over seeds, and of what stands for float32 against float32 itself:
    in the law's operands, and in all six (without targets).

    Returns:
        size, tokens, layout, exponent, mantissa, block, targets, everything, loss, damage, low, high.
    """
    kept = [cell for cell in plan.cells() if cell.targets and (cell.layout != REFERENCE or cell.everything)]
    rows = [_row(cell, losses(table, cell), damage(table, cell)) for cell in kept]
    size, steps = plan.base[0], plan.operand_steps
    for cell, plain in (
        (Cell(*plan.base), Cell(*plan.base, targets=())),
        (Cell(size, steps, COARSEST, targets=(), everything=True), Cell(size, steps, targets=())),
    ):
        lost = losses(table, cell) - losses(table, plain)
        rows.append(_row(replace(cell, layout=REFERENCE), losses(table, cell), lost))
    return pandas.DataFrame(rows)


def _row(cell: Cell, loss: Any, lost: Any) -> dict[str, Any]:
    found = over_seeds(lost)
    return {
        "size": cell.size, "tokens": cell.tokens, "layout": cell.layout.name, "exponent": cell.layout.exponent,
        "mantissa": cell.layout.mantissa, "block": cell.block, "targets": "+".join(cell.targets),
        "everything": cell.everything, "loss": loss.mean(), "damage": found.value, "low": found.low,
        "high": found.high,
    }  # fmt: skip
