"""Which choices of FP4 training matter: a factorial of trainings, its effects, and what each recipe costs.

Block scales in five formats, with and without a scale of the tensor, three roundings, transforms, two block sizes, loss
scales and estimators of the gradient, on one scale of gains: 0 is MXFP4 rounded to nearest, 1 float32.
"""

import pandas

from ..study import FULL, QUICK, Context, Findings, Study
from .analysis import CORE, PLAIN, Table, balanced, chosen, core_of, effects_by_task, front, shares
from .claims import CLAIMS, PAPER, TASKS
from .measures import conclusions, estimators_of, measured
from .pictures import effects_picture, front_picture, scales_picture
from .plans import PLANS, trained

FACTORIAL = ("representation", "rounding", "transform", "block", "loss_scale")
"""The factors that are whole on the tasks of claims at `full`."""
_BOTH = ("nearest", "stochastic")


def run(context: Context) -> Findings:
    """Train the plan of the scale and judge it: minutes at 'quick', half an hour at 'full', resumable."""
    plan, tables, done = PLANS[context.scale if context.scale in PLANS else FULL], [], 0
    total = sum(part.trainings for part in plan.values())
    for task, part in plan.items():

        def report(finished: int, _: int, task: str = task, before: int = done) -> None:
            context.report(before + finished, total, f"training {task}")

        tables.append(trained(task, part, context.store(), report))
        done += len(tables[-1])
    return findings(pandas.concat(tables, ignore_index=True), context.scale)


def findings(table: Table, scale: str) -> Findings:
    """What the runs of a scale say."""
    core = core_of(table)
    core = pandas.concat([balanced(runs) for _, runs in core.groupby("task", sort=False)])
    found_effects, found_front = effects_by_task(core, CORE), front(table)
    return Findings(
        measured(table, found_front),
        {
            "conclusions": conclusions(table),
            "effects": found_effects,
            "shares": shares(core, CORE),
            "front": found_front,
            "fronts": _fronts(table),
            "estimators": _by_rate(estimators_of(table)),
            "by_recipe": _by_recipe(table),
            **_full_effects(table, scale),
        },
        {
            "front": front_picture(found_front, table),
            "effects": effects_picture(found_effects),
            "scales": scales_picture(table),
        },
        table,
    )


def _full_effects(table: Table, scale: str) -> dict[str, Table]:
    """Effects in the whole factorial, with blocks and loss scales, where it was run.

    Tensor scaling is told from the format in the float scales, each of which is there with it and without.
    """
    if scale == QUICK:
        return {}
    usual = {"estimator": "identity", "scale_rounding": "nearest", "rate": 1.0, "task": list(TASKS)}
    factorial = chosen(table, **usual, loss_scale=_balanced(table))
    floats = factorial[factorial["scale"] != "e8m0"]
    apart = ("scale", "tensor", *FACTORIAL[1:])
    either = {**PLAIN, "task": "teacher_student", "transform": "none", "tensor": False, "scale_rounding": _BOTH}
    random = chosen(table, **either)
    return {
        "factorial_effects": effects_by_task(factorial, FACTORIAL),
        "factorial_shares": shares(factorial, FACTORIAL),
        "tensor_effects": effects_by_task(floats, apart),
        "scale_rounding_effects": effects_by_task(
            random[random["scale"] != "e8m0"], ("representation", "rounding", "scale_rounding")
        ),
    }


def _balanced(table: Table) -> list[float]:
    """The loss scales that both block sizes have."""
    blocks = table.dropna(subset=["block"]).groupby("loss_scale")["block"].nunique()
    return [float(scale) for scale in blocks[blocks > 1].index]


def _fronts(table: Table) -> Table:
    """The front of each task, with the published recipes that only some have run."""
    parts = [front(runs).assign(task=task) for task, runs in table.groupby("task", sort=False)]
    return pandas.concat(parts, ignore_index=True)


def _by_rate(table: Table) -> Table:
    """Estimators at each rate, means over seeds."""
    grouped = table.groupby(["estimator", "rate"], sort=False)
    means = grouped[["test_loss", "score"]].mean()
    return means.assign(runs=grouped.size(), ended=grouped["ended"].sum()).reset_index()


def _by_recipe(table: Table) -> Table:
    """Means over seeds."""
    grouped = table.groupby(["task", "recipe"], sort=False)
    means = grouped[["test_loss", "score", "gain", "progress", "overhead"]].mean()
    return means.assign(runs=grouped.size(), ended=grouped["ended"].sum()).reset_index()


STUDY = Study(
    "fp4_design",
    "The design space of FP4 training",
    "Which choices of FP4 training matter, and which are worth what they cost?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
