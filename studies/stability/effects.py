"""Differences between arithmetics on the map of learning rates: seed by seed, then their interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..fp4_design.analysis import over_seeds
from .arithmetics import BF16, FLOAT32, MANTISSAS
from .curves import USABLE
from .settings import RATE_STEPS, Setting

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""


def of_rates(table: Table) -> Table:
    """The runs of the map alone: without those whose gradients were made smaller."""
    return table[~table["arithmetic"].str.contains("/", regex=False)]


def difference(table: Table, metric: str, name: str, baseline: str) -> Measured:
    """The mean over seeds of what an arithmetic has more of than another; a mean over rates first."""
    means = table.groupby(["arithmetic", "seed"])[metric].mean().astype(float)
    return over_seeds((means[name] - means[baseline]).to_dict())


def usable(table: Table, setting: Setting) -> Table:
    """How wide the range of usable learning rates is: a row for each arithmetic and seed.

    A rate is usable where the final loss is at most that of the best one of float32 with the same seed plus `USABLE` of
    the way from there to a uniform guess.

    Returns:
        arithmetic, seed, decades: how many usable rates, times the decades between neighbours.
    """
    best = table[table["arithmetic"] == FLOAT32].groupby("seed")["final"].min()
    limit = best + USABLE * (setting.chance - best)
    fine = table["final"] <= table["seed"].map(limit)
    counts = table.assign(fine=fine).groupby(["arithmetic", "seed"], sort=False)["fine"].sum()
    return (counts * np.log10(RATE_STEPS[setting.task])).rename("decades").reset_index()


def spike_slope(table: Table, setting: Setting) -> Measured:
    """The slope of spikes of a run over mantissa bits, at rates above the best; least squares for each seed."""
    high = table[(table["rate"] > setting.best) & table["arithmetic"].isin(list(MANTISSAS))]
    means = high.groupby(["seed", "arithmetic"])["spikes"].mean().unstack()
    bits = np.array([MANTISSAS[str(name)] for name in means.columns])
    return over_seeds({seed: float(np.polyfit(bits, each, 1)[0]) for seed, each in zip(means.index, means.to_numpy())})


def progress(table: Table, name: str, setting: Setting, baseline: str = BF16) -> Measured:
    """The share of another arithmetic's way from a uniform guess, at the best rate; 0 where a loss is not finite."""
    best = table[table["rate"] == setting.best].set_index(["arithmetic", "seed"])["final"].clip(upper=setting.chance)
    gained = setting.chance - best
    return over_seeds((gained[name] / gained[baseline]).to_dict())


def summary(table: Table) -> Table:
    """Means over seeds for each task, arithmetic and rate."""
    grouped = table.groupby(["task", "arithmetic", "rate"], sort=False)
    means = grouped[["diverged", "spikes", "final"]].mean().rename(columns={"diverged": "diverged_share"})
    return means.assign(runs=grouped.size()).reset_index()


def range_table(parts: Sequence[tuple[Table, Setting]]) -> Table:
    """The mean usable range of each arithmetic and task with its interval, and the share of runs that diverged."""
    rows = []
    for table, setting in parts:
        ranges, shares = usable(table, setting), table.groupby("arithmetic")["diverged"].mean()
        for name, each in ranges.groupby("arithmetic", sort=False):
            found = over_seeds(each.set_index("seed")["decades"].to_dict())
            rows.append({"task": setting.task, "arithmetic": name, "decades": found.value, "low": found.low,
                         "high": found.high, "diverged_share": shares[name]})  # fmt: skip
    return pandas.DataFrame(rows)


def smaller_table(table: Table, setting: Setting) -> Table:
    """How far runs come whose gradients were made smaller, by format and binades."""
    rows = []
    for name in table["arithmetic"].unique():
        fmt, slash, power = str(name).partition(" / 2^")
        if slash:
            found = progress(table, name, setting)
            rows.append({"format": fmt, "binades": int(power), "progress": found.value, "low": found.low,
                         "high": found.high})  # fmt: skip
    return pandas.DataFrame(rows, columns=["format", "binades", "progress", "low", "high"])
