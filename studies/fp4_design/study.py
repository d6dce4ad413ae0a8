"""Which choices of FP4 training matter: a factorial of trainings, its effects, and what each recipe costs.

Block scales in five formats, with and without a scale of the tensor, three roundings, transforms, two block sizes, loss
scales and estimators of the gradient, on one scale of gains: 0 is MXFP4 rounded to nearest, 1 float32.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas

from ...sim.sweeps.designs import Design
from ...sim.sweeps.space import Space
from ...sim.sweeps.sweep import sweep
from ...sim.training.training import Training
from ..claims import Measured
from ..study import FULL, QUICK, Context, Findings, Study
from . import designs
from .analysis import (
    CORE,
    Table,
    chosen,
    core_of,
    effects_by_task,
    front,
    lead_of_scales,
    mean_of,
    paired,
    scored,
    shares,
)
from .claims import CLAIMS, ESTIMATORS, PAPER, TASKS
from .designs import COARSE, NAMED, SMALLER, Point, Setting
from .pictures import effects_picture, front_picture, scales_picture

BEST = Point()
"""The paper's best trade-off."""
SIMPLE = Point(tensor=False, transform="none")
"""Where estimators are compared: each is a program of its own, and a transform doubles the time of compiling it."""
_SGD = Training(steps=300, batch=64)
_ADAM = Training(steps=300, batch=64, optimizer="adamw", clip=1.0, warmup=20)
SETTINGS = {
    "teacher_student": Setting("teacher_student", (("noise", 0.3), ("size", "xs")), _SGD, 0.03, 1.09),
    "digits": Setting("digits", (("size", "xs"),), _SGD, 0.1, 2.303),
    "diabetes": Setting("diabetes", (("size", "xs"),), replace(_SGD, steps=200), 0.003, 1.0),
    "diffusion": Setting("diffusion", (("model", "mlp_denoiser"), ("size", "s")), _ADAM, 0.003, 1.0),
    "text": Setting("text", (("context", 64), ("size", "50k")), replace(_ADAM, batch=16), 0.001, 5.545),
}
"""Regression with noise, digits, patients, denoising, bytes. Chance: the variance of targets, the log of classes."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is trained on a task: points, published recipes beside the references, seeds."""

    points: tuple[Point, ...]
    named: tuple[str, ...] = (COARSE,)
    seeds: int = 6


def _plan(scale: str) -> dict[str, Part]:
    """The parts of a scale by task."""
    core, estimators = designs.core(), designs.estimators(SIMPLE)
    small = designs.shrunk()
    if scale == QUICK:
        return {
            "teacher_student": Part((*core, *estimators[1:-1])),
            "digits": Part((*core, *small)),
        }
    everything = Part((*designs.full_points(), *estimators[1:]), (COARSE, *NAMED))
    larger = Part((*designs.core(power_of_two_tensor=True), *small), (COARSE, *NAMED), 5)
    return {
        **dict.fromkeys(("teacher_student", "digits", "diabetes"), everything),
        **dict.fromkeys(("diffusion", "text"), larger),
    }


PLANS = {scale: _plan(scale) for scale in (QUICK, FULL)}


def trained(
    task: str, part: Part, store: Path | None, report: Callable[[int, int], None], training: Training | None = None
) -> Table:
    """Train what a part says of a task, as far as the store does not have it: `scored` runs."""
    setting = SETTINGS[task] if training is None else replace(SETTINGS[task], training=training)
    rows = tuple(designs.rows(part.points, setting, part.seeds, part.named))
    # the rows hold recipes, which are no plain data that `space` would take
    space = Space((), Design("list"), rows=rows)
    options = dict(setting.options)
    runs = sweep(
        task, space, training=setting.training, task_options=options, store=store, name="fp4_design", progress=report
    )
    failed: Table = runs[runs["status"] != "finished"]
    if len(failed):
        raise RuntimeError(f"{len(failed)} trainings of {task} failed, the first with: {failed['error'].iloc[0]}")
    return scored(runs, part.points, setting)


def run(context: Context) -> Findings:
    """Train the plan of the scale and judge it: minutes at 'quick', an hour or two at 'full', resumable."""
    plan, tables, done = PLANS[context.scale if context.scale in PLANS else FULL], [], 0
    total = sum(len({p.name for p in part.points} | {*part.named, "float32"}) * part.seeds for part in plan.values())
    for task, part in plan.items():

        def report(finished: int, _: int, task: str = task, before: int = done) -> None:
            context.report(before + finished, total, f"training {task}")

        tables.append(trained(task, part, context.store(), report))
        done += len(tables[-1])
    table = pandas.concat(tables, ignore_index=True)
    core = core_of(table)
    found_effects, found_front = effects_by_task(core, CORE), front(table)
    return Findings(
        measured(table, found_front),
        {
            "effects": found_effects,
            "shares": shares(core, CORE),
            "front": found_front,
            "by_recipe": _by_recipe(table),
            **_full_effects(table, context.scale),
        },
        {
            "front": front_picture(found_front, table),
            "effects": effects_picture(found_effects),
            "scales": scales_picture(table),
        },
        table,
    )


def _full_effects(table: Table, scale: str) -> dict[str, Table]:
    """Effects in the whole factorial, with blocks, every transform and loss scales, where it was run."""
    if scale == QUICK:
        return {}
    factorial = chosen(table, estimator="identity", scale_rounding="nearest", task=list(PLANS[FULL])[:3])
    factors = ("scale", "tensor", "rounding", "transform", "block", "loss_scale")
    return {"factorial_effects": effects_by_task(factorial, factors), "factorial_shares": shares(factorial, factors)}


def _by_recipe(table: Table) -> Table:
    """Means over seeds."""
    grouped = table.groupby(["task", "recipe"], sort=False)
    means = grouped[["test_loss", "score", "gain", "progress", "overhead"]].mean()
    return means.assign(runs=grouped.size(), ended=grouped["ended"].sum()).reset_index()


def measured(table: Table, found_front: Table) -> dict[str, Measured]:
    """What each claim is judged by."""
    found: dict[str, Measured] = {}
    for task in TASKS:
        found |= {f"{name}_{task}": value for name, value in _of_task(chosen(table, task=task)).items()}
    regression = chosen(table, task="teacher_student")
    base = chosen(regression, **_levels(SIMPLE, without="estimator"))
    found |= {f"ste_{name}": paired(base, "estimator", "identity", name) for name in ESTIMATORS}
    core = core_of(table)
    small = chosen(table, task="digits", loss_scale=SMALLER, block=16, transform="none", rounding=designs.ROUNDINGS[:2])
    on_front = found_front.set_index("recipe")["probability"]
    return {
        **found,
        "e4m3_small": mean_of(chosen(small, representation="E4M3")),
        "e4m3_small_tensor": mean_of(chosen(small, representation="E4M3+T")),
        "scales_lead_converging": lead_of_scales(core[core["representation"] != "E4M3"]),
        "best_tradeoff": Measured(float(on_front[BEST.name])),
        "best_loss": _against_the_best(core),
    }


def _levels(point: Point, without: str) -> dict[str, Any]:
    return {name: getattr(point, name) for name in designs.FACTORS if name != without}


def _of_task(table: Table) -> dict[str, Measured]:
    """The measurements of one task, by the beginning of the claim's id."""
    core = core_of(table)
    random = chosen(core, rounding="gradients")
    ue5m3 = chosen(core, scale="ue5m3")
    with_tensor = chosen(ue5m3, tensor=True)
    ends = pandas.concat([chosen(ue5m3, **_levels(each, "scale")) for each in (_PLAIN, BEST)])
    return {
        "scales_lead": lead_of_scales(core),
        "e4m3": mean_of(chosen(core, representation="E4M3")),
        "e4m3_tensor": mean_of(chosen(core, representation="E4M3+T")),
        "ue5m3": paired(random, "representation", "UE5M3+T", "E8M0"),
        "ue5m3_tensor": paired(chosen(ue5m3, rounding="gradients"), "tensor", False, True),
        "ue5m3_sr": paired(with_tensor, "rounding", "nearest", "gradients"),
        "rht": paired(chosen(with_tensor, rounding="gradients"), "transform", "rht16", "none"),
        "combined": paired(ends, "recipe", BEST.name, _PLAIN.name),
    }


_PLAIN = Point(tensor=False, rounding="nearest", transform="none")
"""UE5M3 with none of the three."""


def _against_the_best(core: Table) -> Measured:
    """The best trade-off's score less that of the recipe with the lowest mean of the others."""
    means = core.groupby("recipe")["score"].mean().drop(BEST.name)
    best = str(means.idxmin())
    found = paired(chosen(core, recipe=[BEST.name, best]), "recipe", BEST.name, best)
    return replace(found, note=f"The best of the others is {best}.")


STUDY = Study(
    "fp4_design",
    "The design space of FP4 training",
    "Which choices of FP4 training matter, and which are worth what they cost?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
