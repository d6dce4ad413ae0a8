"""A convolutional network with weights in four bits from the first step on.

The published recipe, float32, and the recipe without each of its parts are trained with paired seeds: on handwritten
digits at 'quick', on CIFAR-10 at 'full', for which the user gives the data.
"""

from dataclasses import replace
from math import log
from typing import Any

from ..claims import Measured
from ..complex_2bit.pairing import Table, at_chance, difference, mean
from ..complex_2bit.trainings import trained
from ..study import FULL, QUICK, Context, Findings, Study
from .claims import ABLATED, CLAIMS, PAPER
from .pictures import ablation_picture
from .trainings import SETTINGS, TrainIn, data_folder, fingerprint, rows

BEST = "four_bit"
SINGLE = ("no_tanh", "no_scale", "no_clip")
"""Variants that leave out one part."""
CHANCE = {"accuracy": 10.0, "loss": log(10)}
"""Of guessing one of ten classes."""


def worst_single(runs: Table) -> str:
    """The variant of one part left out that has the highest mean loss; accuracies of few images tie."""
    own = runs[runs["variant"].isin(SINGLE)]
    return str(own.groupby("variant")["loss"].mean().idxmax())


def measured(every: Table, choosing: int = 0) -> dict[str, Measured]:
    """What each claim is judged by.

    Args:
        every: all runs.
        choosing: how many seeds, the first, only choose which single part costs most; with 0 all do both. Counts of
            weights are of all runs.
    """
    every = at_chance(every, CHANCE)
    first = every[every["seed"] < choosing] if choosing else every
    runs, quantized = every[every["seed"] >= choosing], every[every["variant"] != "float32"]
    worst = worst_single(first)
    found = {"as_float32": difference(runs, "accuracy", BEST, "float32")}
    for name in ABLATED:
        found[f"{name}_accuracy"] = difference(runs, "accuracy", name, BEST)
        found[f"{name}_loss"] = difference(runs, "loss", name, BEST, logs=True)
    plain = difference(runs, "accuracy", "plain", worst)
    return {
        **found,
        "plain_worst": replace(plain, note=f"Against {worst}. {plain.note}".strip()),
        "at_most_fifteen": Measured(bool((quantized["most"].astype(int) <= 15).all()), count=len(quantized)),
        "exactly_fifteen": mean(runs, BEST, "fifteen"),
    }


def summary(runs: Table) -> Table:
    """Means over seeds of each variant."""
    grouped = runs.groupby("variant", sort=False)
    found = runs.assign(fifteen=runs["fifteen"].astype(float), most=runs["most"].astype(float))
    means = found.groupby("variant", sort=False)[["accuracy", "loss", "fifteen", "most"]].mean()
    return means.assign(seeds=grouped.size()).reset_index()


def run(context: Context) -> Findings:
    """Train every variant: some three minutes at 'quick', hours at 'full'; it goes on from a store.

    Raises:
        FileNotFoundError: CIFAR-10 is not there at 'full'.
    """
    setting = SETTINGS[context.scale if context.scale in SETTINGS else FULL]
    path = data_folder(context.data) if setting.task == "cifar10" else None
    plan = list(rows(setting, None if path is None else fingerprint(path)))

    def report(done: int, total: int) -> None:
        context.report(done, total, "training")

    runs: Any = trained(TrainIn(path), plan, context.store(), "four_bit_cnn", report)
    judged = at_chance(runs[runs["seed"] >= setting.choosing], CHANCE)
    found, table = measured(runs, setting.choosing), summary(judged)
    return Findings(found, {"summary": table}, {"ablation": ablation_picture(judged)}, runs)


STUDY = Study(
    "four_bit_cnn",
    "A convolutional network in four bits",
    "Do weights in four bits train as well as in float32, and what is each part of the recipe worth?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
