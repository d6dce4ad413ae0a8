"""Train the cells of a plan and put what came out into one table."""

from collections.abc import Callable, Sequence
from math import log
from pathlib import Path
from typing import Any

import pandas

from ...sim.sweeps.designs import Design
from ...sim.sweeps.space import Space
from ...sim.sweeps.sweep import sweep
from ..sweeping import all_finished
from .designs import CONTEXT, PARAMETERS, Cell, Plan, rows, training

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""
CHANCE = log(256)
"""Nats of a byte of which nothing is known: the loss of a training that diverged."""
_VALID = 256
"""Samples that validate."""


def trained(plan: Plan, store: Path | None, report: Callable[[int, int, str], None]) -> Table:
    """Train what is not in the store.

    Args:
        plan: cells and seeds. store: of runs; None keeps them in memory. report: called with (done, all, what).

    Returns:
        A row a training: size, parameters, steps, tokens, layout, exponent, mantissa, block, targets, everything, seed,
        loss (nats a byte on validation data), diverged.

    Raises:
        RuntimeError: a training failed, or runs that came back are not those that were asked for.
    """
    cells, tables, done = plan.cells(), [], 0
    total = len(cells) * plan.seeds
    for size in plan.grids:
        own = [cell for cell in cells if cell.size == size]

        def told(finished: int, _: int, size: str = size, before: int = done) -> None:
            report(before + finished, total, f"training {size}")

        tables.append(_of_size(size, own, plan.seeds, store, told))
        done += len(tables[-1])
    return pandas.concat(tables, ignore_index=True)


def _of_size(
    size: str, cells: Sequence[Cell], seeds: int, store: Path | None, told: Callable[[int, int], None]
) -> Table:
    # the rows hold recipes, which are no plain data that `space` would take
    space = Space((), Design("list"), rows=tuple(rows(cells, seeds)))
    options = {"size": size, "context": CONTEXT, "valid_samples": _VALID}
    runs = sweep("text", space, training=training(cells[0].steps), task_options=options, store=store,
                 name="trained_scaling_law", progress=told)  # fmt: skip
    all_finished(runs, f"trainings of {size}")
    _check_order(runs, cells, seeds)
    found: Table = pandas.DataFrame([facts(cell) for cell in cells for _ in range(seeds)])
    diverged = runs["diverged"].astype(bool).to_numpy()
    loss = runs["test_loss"].astype(float).where(~diverged, CHANCE).fillna(CHANCE).clip(upper=CHANCE)
    return found.assign(seed=runs["seed"].to_numpy(), loss=loss.to_numpy(), diverged=diverged)


def _check_order(runs: Table, cells: Sequence[Cell], seeds: int) -> None:
    """Raise a RuntimeError unless runs are those of cells and their seeds, in this order."""
    asked = [(f"*: {cell.recipe.name}", cell.steps, seed) for cell in cells for seed in range(seeds)]
    came = list(zip(runs["recipe"], runs["steps"], runs["seed"]))
    if len(came) != len(asked):
        raise RuntimeError(f"expected {len(asked)} trainings, got {len(came)}")
    for (name, *rest), (recipe, *found) in zip(asked, came):
        if not recipe.endswith(name) or rest != found:
            raise RuntimeError(f"expected the training of {name!r}, steps and seed {rest}, got {recipe!r}, {found}")


def facts(cell: Cell) -> dict[str, Any]:
    """A cell as a row of the table."""
    return {
        "size": cell.size, "parameters": PARAMETERS[cell.size], "steps": cell.steps, "tokens": cell.tokens,
        "layout": cell.layout.name, "exponent": cell.layout.exponent, "mantissa": cell.layout.mantissa,
        "block": cell.block, "targets": "+".join(cell.targets), "everything": cell.everything,
    }  # fmt: skip


def losses(table: Table, cell: Cell) -> Any:
    """The losses of a cell by seed, a Series.

    Raises:
        ValueError: it was not trained.
    """
    wanted = facts(cell)
    kept = pandas.Series(True, index=table.index)
    for name in ("size", "steps", "layout", "block", "targets", "everything"):
        kept &= table[name] == wanted[name]
    found = table[kept].set_index("seed")["loss"]
    if found.empty:
        raise ValueError(f"there is no training of {cell}; train it first")
    return found.sort_index()
