"""What each claim of the study is judged by, from its runs."""

from dataclasses import replace
from typing import Any

import pandas

from ..claims import Measured
from ..rules import verdict
from . import designs
from .analysis import POOLED, Table, at_best_rates, chosen, common, core_of, lead_of_scales, mean_of, paired
from .claims import CONCLUSIONS, ESTIMATORS, TASKS
from .designs import SMALLER, Point
from .plans import SETTINGS, SIMPLE

BEST = Point()
"""The paper's best trade-off."""
_NONE = Point(tensor=False, rounding="nearest", transform="none")
"""UE5M3 with none of the three."""


def measured(table: Table, found_front: Table) -> dict[str, Measured]:
    """What each claim is judged by.

    Args:
        table: of `scored`, of all tasks.
        found_front: of `front`.
    """
    found: dict[str, Measured] = {}
    for task in TASKS:
        found |= {f"{name}_{task}": value for name, value in of_task(chosen(table, task=task)).items()}
    core = core_of(common(table))
    small = chosen(table, task="digits", loss_scale=SMALLER, block=16, transform="none", rounding=designs.ROUNDINGS[:2])
    on_front = found_front.set_index("recipe")["probability"]
    return {
        **found,
        **_of_estimators(estimators_of(table)),
        "e4m3_small": mean_of(chosen(small, representation="E4M3")),
        "e4m3_small_tensor": mean_of(chosen(small, representation="E4M3+T")),
        "scales_lead_converging": lead_of_scales(core[core["representation"] != "E4M3"]),
        "best_tradeoff": Measured(float(on_front[BEST.name])),
        "best_loss": _against_the_best(core),
    }


def estimators_of(table: Table) -> Table:
    """The runs of regression in which estimators and their rates differ, and nothing else."""
    return chosen(table, task="teacher_student", **_levels(SIMPLE, "estimator", "rate"))


def _of_estimators(table: Table) -> dict[str, Measured]:
    """The straight-through estimator's score less that of each other one, each at its best rate."""
    at_best, rates = at_best_rates(table)
    peak = SETTINGS["teacher_student"].learning_rate
    found = {}
    for name in ESTIMATORS:
        each = paired(at_best, "estimator", "identity", name)
        note = f"Best rates: straight through {peak * rates['identity']:.2g}, this one {peak * rates[name]:.2g}."
        found[f"ste_{name}"] = replace(each, note=note)
    return found


def _levels(point: Point, *without: str) -> dict[str, Any]:
    return {name: getattr(point, name) for name in designs.FACTORS if name not in without}


def of_task(table: Table) -> dict[str, Measured]:
    """The measurements of one task, or of several with the same weight, by the ids of `CONCLUSIONS`."""
    core = core_of(table)
    random = chosen(core, rounding="gradients")
    ue5m3 = chosen(core, scale="ue5m3")
    with_tensor = chosen(ue5m3, tensor=True)
    ends = pandas.concat([chosen(ue5m3, **_levels(each, "scale")) for each in (_NONE, BEST)])
    return {
        "scales_lead": lead_of_scales(core),
        "e4m3": mean_of(chosen(core, representation="E4M3")),
        "e4m3_tensor": mean_of(chosen(core, representation="E4M3+T")),
        "ue5m3": paired(random, "representation", "UE5M3+T", "E8M0"),
        "ue5m3_tensor": paired(chosen(ue5m3, rounding="gradients"), "tensor", False, True),
        "ue5m3_sr": paired(with_tensor, "rounding", "nearest", "gradients"),
        "rht": paired(chosen(with_tensor, rounding="gradients"), "transform", "rht16", "none"),
        "combined": paired(ends, "recipe", BEST.name, _NONE.name),
    }


def _against_the_best(core: Table) -> Measured:
    """The best trade-off's score less that of the recipe with the lowest mean of the others."""
    means = core.groupby("recipe")["score"].mean().drop(BEST.name)
    best = str(means.idxmin())
    found = paired(chosen(core, recipe=[BEST.name, best]), "recipe", BEST.name, best)
    return replace(found, note=f"The best of the others is {best}.")


def conclusions(table: Table) -> Table:
    """What the rules of `CONCLUSIONS` say of every task and of all together, also of tasks that no claim is about.

    Returns:
        A row per task and conclusion: task, conclusion, statement, measured, low, high, seeds, verdict.
    """
    parts = [(task, runs) for task, runs in table.groupby("task", sort=False)]
    rows = []
    for task, runs in [*parts, (POOLED, common(table))]:
        found = of_task(runs)
        for of in CONCLUSIONS:
            value, low, high = (getattr(found[of.id], name) for name in ("value", "low", "high"))
            rows.append(
                {
                    "task": task,
                    "conclusion": of.id,
                    "statement": of.statement,
                    "measured": value,
                    "low": low,
                    "high": high,
                    "seeds": found[of.id].count,
                    "verdict": verdict(of.rule, 0.0, value, low, high),
                }
            )
    return pandas.DataFrame(rows)
