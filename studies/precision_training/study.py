"""Train small language models in float32 and in few bits of weights, and round their weights afterwards."""

from pathlib import Path
from typing import Any

import pandas

from ...sim.sweeps.sweep import sweep
from ...sim.tasks.loading import task as any_task
from ..study import FULL, QUICK, Context, Findings, Study
from ..sweeping import all_finished, of_data
from .analysis import Table
from .claims import CLAIMS, PAPER
from .measures import effective_shares, measured
from .pictures import damage_picture, training_picture
from .plans import FLOAT, PLANS, TOKENS, Part, Plan


def trained(plan: Plan, store: Path | None, report: Any = False) -> Table:
    """Train what a plan says, as far as the store does not have it.

    Args:
        store: a file of results, or None. report: called with (finished parts, all of them).

    Returns:
        A row per model and precision that its weights are rounded to: size, parameters, bits (of training), steps,
        tokens, seed, post, before, after (losses in nats a token).

    Raises:
        RuntimeError: trainings that failed.
    """
    from .jax_models import models

    each_of = [(part.config, any_task("text", **part.config["options"])) for part in plan.parts]
    configs = [config for one, task in each_of for config in of_data([one], task)]
    found: Table = sweep(models, configs, store=store, name="precision_training", progress=report)
    all_finished(found, "parts")
    rows = [row for part, (_, each) in zip(plan.parts, found.iterrows()) for row in _rows(part, each)]
    names = ["size", "parameters", "bits", "steps", "tokens", "seed", "post", "before", "after"]
    return pandas.DataFrame(rows, columns=names)


def _rows(part: Part, found: Any) -> list[tuple[Any, ...]]:
    parameters = part.parameters
    return [
        (part.size, parameters, bits or FLOAT, steps, steps * TOKENS, seed, post,
         float(found[f"{bits} {steps} {seed}"]), float(found[f"{bits} {steps} {seed} {post}"]))
        for bits in part.bits for steps in part.lengths for seed in range(part.seeds) for post in part.post
    ]  # fmt: skip


def run(context: Context) -> Findings:
    """Train the plan of the scale and judge it: minutes at 'quick', an hour at 'full', resumable part by part."""
    plan = PLANS[context.scale if context.scale in PLANS else FULL]
    table = trained(plan, context.store(), lambda done, total: context.report(done, total, "training models"))
    cells = table.assign(damage=table["after"] - table["before"]).groupby(
        ["size", "parameters", "bits", "steps", "tokens", "post"], sort=False
    )
    means = cells[["before", "after", "damage"]].mean().assign(damage_std=cells["damage"].std()).reset_index()
    pictures = {
        "damage": damage_picture(table),
        "training": training_picture(table, plan.aware, plan.shared, effective_shares(table, plan)),
    }
    return Findings(measured(table, plan), {"by_model": means}, pictures, table)


STUDY = Study(
    "precision_training",
    "Precision in training and after it",
    "What does rounding the weights of a language model cost, during training and after it?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
