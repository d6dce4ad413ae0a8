"""Ternary weights with a gated low-rank path, as Hybrid Gated Flow has them.

A language model, a classifier and a regression are trained in float32, with ternary weights, and with a low-rank path
beside them; the latter two also with other gates and ranks. Seeds are paired.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..complex_2bit.pairing import Table, by_seed, difference, mean
from ..complex_2bit.study import judged
from ..complex_2bit.trainings import trained
from ..study import QUICK, Context, Findings, Study
from .claims import ABLATED, CLAIMS, PAPER, TASKS
from .pictures import gates_picture, share_picture
from .trainings import SETTINGS, rank_of, rows, task_of, train_one

FACTORS = {QUICK: 1, "full": 3}
"""How many times the seeds of `SETTINGS`."""
HGF = "hgf_learned"


def recovered(runs: Table, variant: str) -> Measured:
    """The share of the gap from ternary to float32 that a variant closes, with its interval over seeds.

    The mean of both differences, one over the other; the interval is Fieller's, the set of shares s for which the mean
    of (ternary - variant) - s (ternary - float32) is not told from 0 by Student's t at 95%. Infinite ends say that the
    gap itself is not told from 0.
    """
    ternary, full, own = (by_seed(runs, name, "loss") for name in ("ternary", "float32", variant))
    return ratio_of(np.asarray(ternary - own, float), np.asarray(ternary - full, float))


def ratio_of(above: np.ndarray, below: np.ndarray) -> Measured:
    """The ratio of two means of pairs (n,), and Fieller's 95% interval; see `recovered`.

    Source: E. C. Fieller: Some problems in interval estimation, J. R. Statist. Soc. B 16 (1954).
    """
    from scipy.stats import t as student

    n = len(above)
    value = float(above.mean() / below.mean())
    cut = float(student.ppf(0.975, n - 1)) ** 2 / n
    cov = np.cov(above, below)
    a = below.mean() ** 2 - cut * cov[1, 1]
    b = above.mean() * below.mean() - cut * cov[0, 1]
    c = above.mean() ** 2 - cut * cov[0, 0]
    if a <= 0:
        return Measured(value, -np.inf, np.inf, n, "The gap between ternary and float32 is not told from 0.")
    half = float(np.sqrt(max(b * b - a * c, 0.0)))
    return Measured(value, float((b - half) / a), float((b + half) / a), n)


def by_rank(runs: Table) -> Table:
    """The share of the gap by the rank of learned paths, with its interval and what it adds to the memory."""
    own = runs[(runs["gates"] == "learned") & (runs["rank"] > 0)]
    found = []
    for rank, some in sorted(own.groupby("rank"), key=lambda each: each[0]):
        share = recovered(runs, some["variant"].iloc[0])
        found.append({"task": some["task"].iloc[0], "rank": rank, "memory": some["memory"].iloc[0],
                      "share": share.value, "low": share.low, "high": share.high})  # fmt: skip
    return pandas.DataFrame(found)


def rank_slope(runs: Table) -> Measured:
    """The slope of the share of the gap against log2 of the rank: the mean slope of losses over the mean gap.

    The interval is Fieller's over seeds, since the gap is a mean of as few seeds as the slope; see `ratio_of`.
    """
    gap = by_seed(runs, "ternary", "loss") - by_seed(runs, "float32", "loss")
    own = runs[(runs["gates"] == "learned") & (runs["rank"] > 0)]
    slopes = {
        seed: float(np.polyfit(np.log2(some["rank"].astype(float)), -some["loss"].astype(float), 1)[0])
        for seed, some in own.groupby("seed")
    }
    return ratio_of(np.array([slopes[seed] for seed in gap.index]), np.asarray(gap, float))


def measured(runs: Table) -> dict[str, Measured]:
    """What each claim is judged by, of the runs at the best rate of each variant."""
    found: dict[str, Measured] = {}
    for task in TASKS:
        own = runs[runs["task"] == task]
        memory = float(own[own["variant"] == HGF]["memory"].iloc[0])
        share = recovered(own, HGF)
        found |= {
            f"hgf_bitnet_{task}": difference(own, "loss", HGF, "ternary"),
            f"float32_hgf_{task}": difference(own, "loss", "float32", HGF),
            f"share_{task}": replace(share, note=" ".join(filter(None, [f"{memory:.1%} more memory.", share.note]))),
            f"gate_{task}": mean(own, HGF, "gate"),
        }
        if task in ABLATED:
            found |= {
                f"gate_one_{task}": difference(own, "loss", HGF, "hgf_one"),
                f"gate_fixed_{task}": difference(own, "loss", HGF, "hgf_fixed"),
                f"schedule_{task}": difference(own, "loss", HGF, "hgf_free"),
                f"rank_{task}": rank_slope(own),
            }
    return found


def summary(runs: Table) -> Table:
    """Means over seeds of each task and variant."""
    columns = [name for name in ("loss", "accuracy", "r2", "bits_per_byte", "gate", "memory") if name in runs]
    grouped = runs.groupby(["task", "variant", "rate"], sort=False)
    return grouped[columns].mean().assign(seeds=grouped.size()).reset_index()


def run(context: Context) -> Findings:
    """Train every variant of every task: some three minutes at 'quick'; it goes on from a store."""
    factor = FACTORS[context.scale if context.scale in FACTORS else "full"]
    plan = [
        row
        for task, setting in SETTINGS.items()
        for row in rows(task, replace(setting, seeds=setting.seeds * factor), rank_of(task_of(task).description))
    ]

    def report(done: int, total: int) -> None:
        context.report(done, total, "training")

    runs: Any = trained(train_one, plan, context.store(), "ternary_correction", report)
    best = judged(runs, {task: setting.choosing for task, setting in SETTINGS.items()})
    ranks = pandas.concat([by_rank(best[best["task"] == task]) for task in TASKS], ignore_index=True)
    return Findings(
        measured(best),
        {"summary": summary(best), "ranks": ranks},
        {"share": share_picture(ranks), "gates": gates_picture(best)},
        runs,
    )


STUDY = Study(
    "ternary_correction",
    "Ternary weights with a gated low-rank path",
    "How much of the gap between ternary weights and full precision does a gated low-rank path close, for how much "
    "memory?",
    (PAPER,),
    CLAIMS,
    run,
    (QUICK, "full"),
)
