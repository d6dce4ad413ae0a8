"""Complex weights of two bits against ternary and binary ones.

A language model, a classifier and a regression are trained with weights in each code. Seeds are paired, and all
variants of a task choose among the same learning rates.
"""

from dataclasses import replace
from typing import Any

import pandas

from ...sim.sweeps.best import best_runs
from ..claims import Measured
from ..fp4_design.analysis import over_seeds
from ..study import QUICK, Context, Findings, Study
from .claims import CLAIMS, FOLLOWER, PAPER, TASKS
from .pairing import Table, difference
from .pictures import differences_picture, storage_picture
from .trainings import SETTINGS, rows, train_one, trained

FACTORS = {QUICK: 1, "full": 3}
"""How many times the seeds of `SETTINGS`."""


def judged(runs: Table) -> Table:
    """The runs of each task and variant at its best learning rate, by the mean loss over seeds."""
    return best_runs(runs, "loss", over="rate", by=("task", "variant"), direction="minimize")


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
    text, phases = best[best["task"] == "text"], best[best["variant"] == "phase"]
    entropies = phases.pivot_table(index="seed", columns="task", values="entropy").dropna()  # seeds that every task has
    return {
        **found,
        "stages_float32": difference(text, "loss", "phase_t2", "float32"),
        "codes": over_seeds(entropies.mean(axis=1).to_dict()),
    }


def summary(best: Table) -> Table:
    """Means over seeds of each task and variant, with the rate that was chosen and the bits of the coded weights."""
    columns = [name for name in ("loss", "accuracy", "r2", "bits_per_byte", "entropy", "bits") if name in best]
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
    best = judged(runs)
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
