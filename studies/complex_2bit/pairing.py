"""Runs at the rate of their choice, runs that diverged, and differences of runs that share a seed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas

from ...sim.sweeps.best import best_runs
from ..claims import Measured
from ..fp4_design.analysis import over_seeds

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""


def at_chance(runs: Table, chance: Mapping[str, float]) -> Table:
    """Runs with losses of chance at most, and with what chance has where they diverged.

    Args:
        chance: metrics of guessing, 'loss' among them. Other metrics of runs that diverged stay as they are.
    """
    lost = runs["diverged"].astype(bool) | ~np.isfinite(runs["loss"].astype(float))
    found = {name: runs[name].astype(float).where(~lost, value) for name, value in chance.items() if name in runs}
    found["loss"] = found["loss"].clip(upper=chance["loss"])
    return runs.assign(**found, diverged=lost)


def judged_runs(runs: Table, choosing: int) -> Table:
    """The runs of each variant of a task at the learning rate with the lowest mean loss.

    Args:
        choosing: how many seeds, the first, choose the rate and are left out of what comes back; with 0 all seeds do
            both.
    """
    first = runs[runs["seed"] < choosing] if choosing else runs
    chosen = best_runs(first, "loss", over="rate", by="variant", direction="minimize")
    rates = chosen.groupby("variant")["rate"].first()
    later: Table = runs[runs["seed"] >= choosing]
    return later[later["rate"] == later["variant"].map(rates)]


def by_seed(runs: Table, variant: str, metric: str) -> Any:
    """The metric of a variant by seed.

    Raises:
        ValueError: no such runs, or several of one seed.
    """
    own = runs[runs["variant"] == variant].set_index("seed")
    if not len(own) or own.index.has_duplicates:
        raise ValueError(f"expected one run of {variant!r} a seed, got {len(own)} of {own.index.nunique()} seeds")
    return own[metric].astype(float)


def difference(runs: Table, metric: str, variant: str, baseline: str, logs: bool = False) -> Measured:
    """The mean over seeds of a variant less the baseline, of logs where said, with its 95% interval of Student's t.

    The note says of how many runs, which diverged, the metric is that of chance; see `at_chance`.

    Raises:
        ValueError: runs without a partner, or without a number.
    """
    first, second = (by_seed(runs, name, metric) for name in (variant, baseline))
    if set(first.index) != set(second.index):
        raise ValueError(f"{variant!r} and {baseline!r} have other seeds: {set(first.index) ^ set(second.index)}")
    values = np.log(first / second) if logs else first - second
    if not np.isfinite(values).all():
        seeds = list(values.index[~np.isfinite(values)])
        raise ValueError(f"{variant!r} or {baseline!r} has no {metric} at seeds {seeds}; see at_chance")
    return replace(over_seeds(values.to_dict()), note=lost_note(runs, (variant, baseline)))


def mean(runs: Table, variant: str, metric: str) -> Measured:
    """The mean over seeds of a metric with its 95% interval of Student's t; runs that diverged are left out."""
    kept = by_seed(runs[~runs["diverged"].astype(bool)], variant, metric)
    left = int((runs["variant"] == variant).sum()) - len(kept)
    return replace(over_seeds(kept.to_dict()), note=f"{left} runs that diverged are left out." if left else "")


def lost_note(runs: Table, variants: tuple[str, ...]) -> str:
    """How many runs of some variants diverged, in words; nothing where none did."""
    own = runs[runs["variant"].isin(variants)]
    counts = own[own["diverged"].astype(bool)].groupby("variant").size()
    each = ", ".join(f"{count} of {name}" for name, count in counts.items())
    return f"Runs that diverged and count as chance: {each}." if each else ""


def joined(parts: list[Table]) -> Table:
    """Tables one below the other."""
    return pandas.concat(parts, ignore_index=True)
