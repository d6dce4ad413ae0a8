"""A convolutional network with weights in four bits from the first step on.

The published recipe, float32, and the recipe without each of its parts are trained with paired seeds: on handwritten
digits at 'quick', on CIFAR-10 at 'full', for which the user gives the data.
"""

from typing import Any

from ..claims import Measured
from ..complex_2bit.pairing import Table, by_seed, difference
from ..complex_2bit.trainings import trained
from ..fp4_design.analysis import over_seeds
from ..study import FULL, QUICK, Context, Findings, Study
from .claims import ABLATED, CLAIMS, PAPER
from .pictures import ablation_picture
from .trainings import SETTINGS, data_folder, rows, train_one

BEST = "four_bit"


def measured(runs: Table) -> dict[str, Measured]:
    """What each claim is judged by."""
    quantized = runs[runs["variant"] != "float32"]
    found = {"as_float32": difference(runs, "accuracy", BEST, "float32")}
    for name in ABLATED:
        found[f"{name}_accuracy"] = difference(runs, "accuracy", name, BEST)
        found[f"{name}_loss"] = difference(runs, "loss", name, BEST, logs=True)
    return {
        **found,
        "plain_worst": difference(runs, "accuracy", "plain", "no_clip"),
        "at_most_fifteen": Measured(bool((quantized["most"].astype(int) <= 15).all()), count=len(quantized)),
        "exactly_fifteen": over_seeds(by_seed(runs, BEST, "fifteen").to_dict()),
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

    def report(done: int, total: int) -> None:
        context.report(done, total, "training")

    runs: Any = trained(train_one, list(rows(setting, path)), context.store(), "four_bit_cnn", report)
    return Findings(measured(runs), {"summary": summary(runs)}, {"ablation": ablation_picture(runs)}, runs)


STUDY = Study(
    "four_bit_cnn",
    "A convolutional network in four bits",
    "Do weights in four bits train as well as in float32, and what is each part of the recipe worth?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, FULL),
)
