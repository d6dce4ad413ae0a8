"""Complex weights of two bits against ternary and binary ones.

A language model, a classifier and a regression are trained with weights in each code. Seeds are paired, and all
variants of a task choose among the same learning rates.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import log
from typing import Any

import pandas

from ..claims import Measured
from ..study import QUICK, Context, Findings, Study
from .claims import CLAIMS, FOLLOWER, PAPER, TASKS
from .pairing import Table, at_chance, difference, joined, judged_runs, mean
from .pictures import differences_picture, storage_picture
from .trainings import SETTINGS, rows, storage_of, train_one, trained

FACTORS = {QUICK: 1, "full": 3}
"""How many times the seeds of `SETTINGS`."""
CHANCE = {
    "text": {"loss": log(256), "bits_per_byte": 8.0},
    "digits": {"loss": log(10), "accuracy": 0.1},
    "teacher_student": {"loss": 1.0, "r2": 0.0},
}
"""What guessing has: every byte, or every digit, equally likely; the mean, of outputs of variance 1."""


def judged(runs: Table, choosing: Mapping[str, int]) -> Table:
    """The runs of each task and variant at its best learning rate, of seeds that did not choose it.

    Args:
        choosing: how many seeds of each task choose; where there are none, all choose and all are judged.
    """
    by_task = runs.groupby("task", sort=False)
    return joined([judged_runs(at_chance(own, CHANCE[task]), choosing[task]) for task, own in by_task])


def measured(best: Table) -> dict[str, Measured]:
    """What each claim is judged by, of `judged` runs."""
    found: dict[str, Measured] = {}
    for task in TASKS:
        own = best[best["task"] == task]
        pairs = {
            "bitnet_storage": ("phase_wide", "ternary"),
            "bitnet_shapes": ("phase", "ternary"),
            "binary": ("phase", "binary"),
            "float32": ("phase", "float32"),
            "stages": ("phase_t2", "phase"),
            "stages_bitnet": ("phase_t2", "ternary"),
        }
        logs = task != "text"
        found |= {f"{name}_{task}": difference(own, "loss", *pair, logs=logs) for name, pair in pairs.items()}
        found[f"codes_{task}"] = mean(own, "phase", "entropy")
    return {**found, "stages_float32": difference(best[best["task"] == "text"], "loss", "phase_t2", "float32")}


def summary(best: Table) -> Table:
    """Means over seeds of each task and variant, with its rate and the bits of coded weights and of all."""
    columns = [
        name for name in ("loss", "accuracy", "r2", "bits_per_byte", "entropy", "bits", "all_bits") if name in best
    ]
    grouped = best.groupby(["task", "variant", "rate"], sort=False)
    return grouped[columns].mean().assign(seeds=grouped.size()).reset_index()


def run(context: Context) -> Findings:
    """Train every variant of every task: some three minutes at 'quick'; it goes on from a store."""
    factor = FACTORS[context.scale if context.scale in FACTORS else "full"]
    plan = [
        row for task, setting in SETTINGS.items() for row in rows(task, replace(setting, seeds=setting.seeds * factor))
    ]

    def report(done: int, total: int) -> None:
        context.report(done, total, "training")

    runs: Any = trained(train_one, plan, context.store(), "complex_2bit", report)
    best = judged(runs, {task: setting.choosing for task, setting in SETTINGS.items()})
    sizes = {(task, name): bits for task, how in SETTINGS.items() for name, bits in storage_of(task, how).items()}
    best["all_bits"] = [sizes[each] for each in zip(best["task"], best["variant"])]
    table = summary(best)
    rates = runs.groupby(["task", "variant", "rate"], sort=False)["loss"].mean().reset_index()
    return Findings(
        measured(best),
        {"summary": table, "rates": rates},
        {"storage": storage_picture(best), "differences": differences_picture(measured(best))},
        pandas.DataFrame(runs),
    )


STUDY = Study(
    "complex_2bit",
    "Complex weights of two bits",
    "Do the weights 1, i, -1, -i train to a lower loss than ternary and binary ones of equally many bits?",
    (PAPER, FOLLOWER),
    CLAIMS,
    run,
    (QUICK, "full"),
)
