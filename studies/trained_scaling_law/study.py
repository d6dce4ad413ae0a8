"""Does the scaling law of floating-point training hold for small models that are trained here?

Language models over bytes, of 13k to 222k parameters, in layouts of 3 to 6 bits with a scale a block, as the paper
quantizes its own: W forward, W in dX, X in dW. The law is fitted to them, and its conclusions are also asked for
directly, as paired differences of losses that need no law.
"""

from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..fp_scaling_law import Law
from ..study import FULL, QUICK, Context, Findings, Study
from . import effects
from .claims import CLAIMS, PAPER
from .designs import COARSEST, FP4_BEST, PLANS, Cell, Plan
from .fit import Fits, by_scale, coefficients, errors_unseen, fit, fits, held_out, runs_of
from .pictures import curves_picture, damage_picture, predictions_picture
from .running import Table, trained


def run(context: Context) -> Findings:
    """Train the plan of the scale and judge it: minutes at 'quick', tens of minutes at 'full', resumable."""
    plan = PLANS[context.scale if context.scale in PLANS else FULL]
    return found(trained(plan, context.store(), context.report), plan)


def found(table: Table, plan: Plan) -> Findings:
    """What trainings of a plan say."""
    laws = fits(table)
    unseen = errors_unseen(table)
    cells = effects.damages(table, plan)
    seen = runs_of(table[~held_out(table)])
    turns = critical(laws, plan)
    return Findings(
        measured(table, plan, laws, unseen),
        {
            "damages": cells,
            "mirrored": effects.mirrored(table, plan),
            "coefficients": coefficients(laws),
            "powers": by_scale(table),
            "critical": turns,
            "heldout": unseen,
            "heldout_mean": unseen_means(unseen),
        },
        {
            "curves": curves_picture(table, plan, laws.whole),
            "predictions": predictions_picture(table, fit(seen), fit(seen, simple=True)),
            "damage": damage_picture(cells, plan),
        },
        table,
    )


def measured(table: Table, plan: Plan, laws: Fits, unseen: Table) -> dict[str, Measured]:
    """What each claim is judged by.

    Args:
        laws: fitted to all, and without each seed. unseen: of `errors_unseen`.
    """
    size = plan.base[0]
    turn = turn_of(laws, Cell(size, plan.grids[size].steps[-1], COARSEST))
    return {
        **effects.of_bits(table, plan),
        "exponent_power": laws.measured(lambda law: law.delta - law.nu),
        **effects.of_blocks(table, plan),
        **effects.of_data(table, plan),
        **effects.of_last_doubling(table, plan, turn),
        "heldout": effects.over_seeds(unseen["law"] - unseen["simple"]),
        **effects.of_operands(table, plan),
    }


def turn_of(laws: Fits, cell: Cell) -> Measured:
    """log10 of the tokens beyond which more data raise the loss of a cell, by the fitted law."""
    return laws.measured(lambda law: _turn(law, cell))


def _turn(law: Law, cell: Cell) -> float:
    layout = cell.layout
    about = (cell.parameters, layout.exponent, layout.mantissa, float(np.log2(cell.block)))
    return float(np.log10(law.critical_tokens(*about)))


def critical(laws: Fits, plan: Plan) -> Any:
    """Critical data sizes by the fitted law and by the paper's, beside the most data that was trained.

    Returns:
        size, layout, trained (tokens), fitted, low, high, published: powers of ten but for `trained`.
    """
    rows = []
    for size, grid in plan.grids.items():
        for layout in (COARSEST, FP4_BEST):
            cell = Cell(size, grid.steps[-1], layout)
            here = turn_of(laws, cell)
            rows.append((size, layout.name, cell.tokens, here.value, here.low, here.high, _turn(Law(), cell)))
    return pandas.DataFrame(rows, columns=["size", "layout", "trained", "fitted", "low", "high", "published"])


def unseen_means(unseen: Table) -> Any:
    """Errors of the law and of that without precision over seeds: means, and their difference with its interval.

    Args:
        unseen: of `errors_unseen`.

    Returns:
        what ('more data', 'damage', and 'new size' where there is one), law, simple, difference, low, high: nats.
    """
    rows = []
    for what, prefix in (("more data", ""), ("damage", "damage_"), ("new size", "new_size_")):
        if f"{prefix}law" in unseen:
            law, simple = unseen[f"{prefix}law"], unseen[f"{prefix}simple"]
            apart = effects.over_seeds(law - simple)
            rows.append((what, law.mean(), simple.mean(), apart.value, apart.low, apart.high))
    return pandas.DataFrame(rows, columns=["what", "law", "simple", "difference", "low", "high"])


STUDY = Study(
    "trained_scaling_law",
    "A scaling law of our own trainings",
    "Does the scaling law of floating-point training hold for small models, and which of its conclusions do?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
