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
from .fit import coefficients, errors_unseen, fit, held_out, jackknife, runs_of, without_each_seed
from .pictures import curves_picture, damage_picture, predictions_picture
from .running import Table, trained


def run(context: Context) -> Findings:
    """Train the plan of the scale and judge it: minutes at 'quick', tens of minutes at 'full', resumable."""
    plan = PLANS[context.scale if context.scale in PLANS else FULL]
    return found(trained(plan, context.store(), context.report), plan)


def found(table: Table, plan: Plan) -> Findings:
    """What trainings of a plan say."""
    law = fit(runs_of(table))
    parts = without_each_seed(table, law)
    unseen = errors_unseen(table)
    cells = effects.damages(table, plan)
    seen = runs_of(table[~held_out(table)])
    return Findings(
        measured(table, plan, law, parts, unseen),
        {
            "damages": cells,
            "mirrored": effects.mirrored(table, plan),
            "coefficients": coefficients(law, parts),
            "critical": critical(law, parts, plan),
            "heldout": unseen,
        },
        {
            "curves": curves_picture(table, plan, law),
            "predictions": predictions_picture(table, fit(seen), fit(seen, simple=True)),
            "damage": damage_picture(cells, plan),
        },
        table,
    )


def measured(table: Table, plan: Plan, law: Law, parts: list[Law], unseen: Table) -> dict[str, Measured]:
    """What each claim is judged by.

    Args:
        law: fitted to all. parts: without each seed. unseen: of `errors_unseen`.
    """
    power = jackknife(law.delta - law.nu, [each.delta - each.nu for each in parts])
    return {
        **effects.of_bits(table, plan),
        "exponent_power": power,
        **effects.of_blocks(table, plan),
        **effects.of_data(table, plan),
        "heldout": effects.over_seeds(unseen["law"] - unseen["simple"]),
        **effects.of_operands(table, plan),
    }


def critical(law: Law, parts: list[Law], plan: Plan) -> Any:
    """Critical data sizes by the fitted law and by the paper's, beside the most data that was trained.

    Returns:
        size, layout, trained (tokens), fitted, low, high, published: powers of ten but for `trained`.
    """
    rows = []
    for size, grid in plan.grids.items():
        for layout in (COARSEST, FP4_BEST):
            cell = Cell(size, grid.steps[-1], layout)
            about = (cell.parameters, layout.exponent, layout.mantissa, float(np.log2(cell.block)))
            values = [float(np.log10(each.critical_tokens(*about))) for each in (law, *parts)]
            interval = jackknife(values[0], values[1:])
            theirs = float(np.log10(Law().critical_tokens(*about)))
            rows.append((size, layout.name, cell.tokens, values[0], interval.low, interval.high, theirs))
    return pandas.DataFrame(rows, columns=["size", "layout", "trained", "fitted", "low", "high", "published"])


STUDY = Study(
    "trained_scaling_law",
    "A scaling law of our own trainings",
    "Does the scaling law of floating-point training hold for small models, and which of its conclusions do?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
