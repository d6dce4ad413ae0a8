"""What trainings say of choices: scores on one scale for all tasks, paired differences, shares of the variance."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas

from ...sim.costs.recipe_cost import recipe_cost
from ...sim.recipes.published import recipe as published
from ...sim.sweeps.bootstrap import Settings, interval_of
from ...sim.sweeps.effects import anova, effects
from ...sim.sweeps.pairs import compare
from ...sim.sweeps.pareto import pareto_front
from ..claims import Measured
from .designs import COARSE, FACTORS, REFERENCE, Point, Setting, core

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""
POOLED = "pooled"
"""In the place of a task: what every task with the whole core has run, each with the same weight."""
LAYER = 4096
"""Tokens, inputs and outputs of the layer in which overhead is counted."""
BYTES = 2
"""Of a bfloat16 number that is read."""
CORE = ("representation", "rounding", "transform")
"""The factors of the core, which every scale of the study runs."""
PLAIN = {"block": 16, "loss_scale": 1.0, "estimator": "identity", "scale_rounding": "nearest", "rate": 1.0}
"""What the other factors are at, in the core."""


def scored(runs: Table, points: Iterable[Point], setting: Setting) -> Table:
    """The runs of a task with what was chosen and how good they are.

    Args:
        runs: of `sweep`, with columns recipe, seed, test_loss.

    Returns:
        A row per run: task, recipe, seed, the factors of `Point` (missing for named recipes), representation,
        test_loss (that of chance at most, and of runs that diverged), score (the log of the test loss over that of
        float32 of the same seed), progress (the share of float32's way from chance, in logs), gain (the share of the
        way from MXFP4 to float32, the mean over seeds of each end), overhead (see `overhead`), ended
        (whether the run diverged).
    """
    found: Table = pandas.DataFrame({"task": setting.task, **{name: runs[name] for name in ("recipe", "seed")}})
    found["ended"] = runs["diverged"].astype(bool)
    loss = runs["test_loss"].astype(float).where(~found["ended"], np.inf)
    found["test_loss"] = loss.fillna(np.inf).clip(upper=setting.chance)
    reference = found[found["recipe"] == REFERENCE].set_index("seed")["test_loss"]
    against = found["seed"].map(reference)
    found["score"] = np.log(found["test_loss"] / against)
    found["progress"] = np.log(setting.chance / found["test_loss"]) / np.log(setting.chance / against)
    found["gain"] = 1 - found["score"] / found.loc[found["recipe"] == COARSE, "score"].mean()
    chosen = {point.name: point for point in points}
    for name in FACTORS:
        found[name] = [getattr(chosen[r], name) if r in chosen else None for r in found["recipe"]]
    found["representation"] = [chosen[r].representation if r in chosen else None for r in found["recipe"]]
    costs = {r: overhead(chosen[r].recipe if r in chosen else published(r)) for r in found["recipe"].unique()}
    found["overhead"] = [costs[r] for r in found["recipe"]]
    return found


def overhead(recipe: Any) -> float:
    """What quantizing costs an element of the six operands: operations, reads, and one for each 32 random bits.

    In a layer of 4096 x 4096 with 4096 tokens; see `halfulp.recipe_cost` for what is counted. Scales that are applied
    to sums are left out: matrix units apply them. A scale of the tensor costs a second read.
    """
    found = recipe_cost(recipe, LAYER, LAYER, LAYER)
    each = [of.operations + of.bytes_read / BYTES + of.random_bits / 32 for of in found.operands]
    return sum(each) / (len(each) * LAYER**2)


def chosen(table: Table, **where: Any) -> Table:
    """The runs of some levels; a list stands for any of its values."""
    kept = np.ones(len(table), bool)
    for name, value in where.items():
        kept &= table[name].isin(value if isinstance(value, (list, tuple)) else [value]).to_numpy()
    return table[kept]


def core_of(table: Table, **where: Any) -> Table:
    """The runs of the core: blocks of 16, no loss scale, the straight-through estimator, scales rounded to nearest."""
    return chosen(table, **{**PLAIN, "transform": ("none", "rht16"), **where})


def common(table: Table) -> Table:
    """What may be pooled: of the tasks that have the whole core the recipes and seeds that all of them have.

    Of all tasks where none has it.
    """
    names = {point.name for point in core()}
    whole = [task for task, runs in table.groupby("task") if names <= set(runs["recipe"])]
    kept = chosen(table, task=whole) if whole else table
    tasks = kept["task"].nunique()
    shared = [kept.groupby(name)["task"].transform("nunique") == tasks for name in ("recipe", "seed")]
    return kept[shared[0] & shared[1]]


def balanced(table: Table) -> Table:
    """Runs of a fraction of the core without the transforms that some representations are not run with."""
    counts = table.groupby("transform")["representation"].nunique()
    return chosen(table, transform=list(counts[counts == counts.max()].index))


def at_best_rates(table: Table) -> tuple[Table, dict[str, float]]:
    """The runs of each estimator at the one of its rates with the lowest mean score, and these rates by estimator."""
    means = table.groupby(["estimator", "rate"])["score"].mean()
    best = {str(name): float(of.idxmin()[1]) for name, of in means.groupby("estimator")}
    kept = pandas.concat([chosen(table, estimator=name, rate=rate) for name, rate in best.items()])
    return kept.assign(rate=1.0), best  # of pairs, whose other factors are the same, the rate is none


def paired(table: Table, factor: str, level: Any, baseline: Any, metric: str = "score") -> Measured:
    """The mean difference of a level from a baseline over runs that are alike otherwise, and its interval over seeds.

    Differences of one seed, of all tasks and settings, are averaged first, so that the interval counts seeds. A 95%
    interval of Student's t.
    """
    both = chosen(table, **{factor: (level, baseline)})
    apart = _APART.get(factor, (factor,))
    pairs = ["task", *(name for name in FACTORS if name not in apart), "seed"]
    row = compare(both, metric, factor, baseline, pairs, unit="seed", method="t", direction="minimize").iloc[0]
    return Measured(float(row["estimate"]), float(row["low"]), float(row["high"]), int(row["n"]))


_APART = {"representation": ("scale", "tensor"), "recipe": FACTORS}
"""Factors in which the levels of these differ."""


def over_seeds(values: Mapping[Any, float]) -> Measured:
    """The mean of a number of each seed with its 95% interval of Student's t."""
    each = np.array(list(values.values()), float)
    found = interval_of(each, Settings(method="t"), what="seed")
    return Measured(found.estimate, found.low, found.high, len(each))


def mean_of(table: Table, metric: str = "progress") -> Measured:
    """The mean of a metric: over tasks and settings first, then over seeds."""
    return over_seeds(table.groupby("seed")[metric].mean().to_dict())


def lead_of_scales(table: Table) -> Measured:
    """The share of the variance between settings that the representation of scales explains, less the largest other.

    Of a balanced factorial, by seed and averaged over tasks: main effects of type II on the score.
    """
    by_seed: dict[Any, list[float]] = {}
    for (_, seed), runs in balanced(table).groupby(["task", "seed"]):
        names = [name for name in CORE if runs[name].nunique() > 1]
        shares: Table = anova(runs, "score", names, interactions=2).set_index("term")["share"]
        others = max(float(shares[name]) for name in names[1:])
        by_seed.setdefault(seed, []).append(float(shares["representation"]) - others)
    return over_seeds({seed: float(np.mean(each)) for seed, each in by_seed.items()})


def shares(table: Table, factors: Iterable[str]) -> Table:
    """The analysis of variance of the score, of each task and pooled."""
    return _by_task(table, anova, list(factors))


def effects_by_task(table: Table, factors: Iterable[str]) -> Table:
    """Main effects and interactions on the score, with their intervals, of each task and pooled."""
    return _by_task(table, effects, list(factors))


def _by_task(table: Table, analysed: Any, factors: list[str]) -> Table:
    """An analysis of each task and of all, in which seeds and tasks are blocks; factors of one level are left out."""
    parts = [(task, runs) for task, runs in table.groupby("task", sort=False)]
    found = []
    for task, runs in [*parts, (POOLED, common(table))] if len(parts) > 1 else parts:
        names = [name for name in factors if runs[name].nunique() > 1] + ["task"] * (task == POOLED)
        pairs = list(combinations(names, 2))
        found.append(analysed(runs, "score", [*names, "seed"], interactions=pairs).assign(task=task))
    return pandas.concat(found, ignore_index=True)


def front(table: Table) -> Table:
    """Which four-bit recipes no other beats in overhead and score, pooled over tasks (see `common`).

    The probability is over resampled seeds. Float32 is none of them: its products are not in four bits.
    """
    everywhere = common(table)
    usual = everywhere["loss_scale"].isna() | ((everywhere["loss_scale"] == 1.0) & (everywhere["rate"] == 1.0))
    runs: Any = everywhere[usual & (everywhere["recipe"] != REFERENCE)]
    found = pareto_front(runs, "overhead", ("score",), "recipe", directions={"score": "minimize"}, unit="seed")
    coarse = float(runs.loc[runs["recipe"] == COARSE, "score"].mean())
    # of means, because gains of single tasks are of no use where MXFP4 loses next to nothing
    found = found.assign(**{name: 1 - found[_SCORES[name]] / coarse for name in _SCORES})
    return found.sort_values(["overhead", "score"], ignore_index=True)


_SCORES = {"gain": "score", "gain_low": "score_high", "gain_high": "score_low"}
