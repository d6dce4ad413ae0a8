"""Differences between arithmetics on the map of learning rates: seed by seed, then their interval."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..fp4_design.analysis import over_seeds
from .arithmetics import BF16, FLOAT32, MANTISSAS
from .curves import THRESHOLDS, USABLE
from .settings import RATE_STEPS, Setting

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""


def of_rates(table: Table) -> Table:
    """The runs of the map alone: without those whose gradients were made smaller."""
    return table[~table["arithmetic"].str.contains("/", regex=False)]


def difference(table: Table, metric: str, name: str, baseline: str) -> Measured:
    """The mean over seeds of what an arithmetic has more of than another; a mean over rates first.

    Raises:
        ValueError: seeds that only one of them has.
    """
    means = table.groupby(["arithmetic", "seed"])[metric].mean().astype(float)
    one, other = (means.xs(each, level="arithmetic") for each in (name, baseline))
    _paired(one, other, name, baseline)
    return over_seeds((one - other).to_dict())


def _paired(one: Table, other: Table, name: str, baseline: str) -> None:
    alone = sorted(set(one.index) ^ set(other.index))
    if alone:
        raise ValueError(f"expected runs of {name} and {baseline} with the same seeds, got only one for seeds {alone}")


def log_ratio(table: Table, name: str, baseline: str) -> Measured:
    """Of final losses, the mean over seeds of the log of an arithmetic's less that of another.

    A run whose loss is not finite counts as the largest that is, with a note.
    """
    final = table["final"].astype(float)
    finite = np.isfinite(final)
    found = difference(table.assign(log=np.log(final.where(finite, final[finite].max()))), "log", name, baseline)
    lost = int((~finite).sum())
    return replace(found, note=f"{lost} runs are not finite and count as the worst that is.") if lost else found


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
    """The share of another arithmetic's way from a uniform guess, at the best rate; 0 where a loss is not finite.

    Where the other one came no way with a seed there is no such share: nothing between -1 and 1 is ruled out.
    """
    best = table[table["rate"] == setting.best].set_index(["arithmetic", "seed"])["final"].clip(upper=setting.chance)
    one, other = (setting.chance - best.xs(each, level="arithmetic") for each in (name, baseline))
    _paired(one, other, name, baseline)
    if (other <= 0).any():
        return Measured(0.0, -1.0, 1.0, len(other), f"{baseline} learnt nothing with {int((other <= 0).sum())} seeds.")
    return over_seeds((one / other).to_dict())


def summary(table: Table) -> Table:
    """Means over seeds for each task, arithmetic and rate."""
    grouped = table.groupby(["task", "arithmetic", "rate"], sort=False)
    means = grouped[["diverged", "spikes", "final"]].mean().rename(columns={"diverged": "diverged_share"})
    return means.assign(runs=grouped.size()).reset_index()


def range_table(parts: Sequence[tuple[Table, Setting]]) -> Table:
    """The mean usable range of each arithmetic and task, less that of E8M7, and the share of runs that diverged."""
    rows = []
    for table, setting in parts:
        ranges, shares = usable(table, setting), table.groupby("arithmetic")["diverged"].mean()
        for name, each in ranges.groupby("arithmetic", sort=False):
            found = over_seeds(each.set_index("seed")["decades"].to_dict())
            less = difference(ranges, "decades", str(name), BF16)
            rows.append({"task": setting.task, "arithmetic": name, "decades": found.value, "low": found.low,
                         "high": found.high, "difference": less.value, "difference_low": less.low,
                         "difference_high": less.high, "diverged_share": shares[name]})  # fmt: skip
    return pandas.DataFrame(rows)


def best_rate(table: Table) -> float:
    """The rate at which float32 has the lowest mean final loss."""
    return float(table[table["arithmetic"] == FLOAT32].groupby("rate")["final"].mean().idxmin())


def threshold_table(table: Table) -> Table:
    """How the difference in the share of runs that end no better than without inputs depends on where that begins.

    Of float32 and every other arithmetic from E8M7, at thresholds of `THRESHOLDS` of the entropy of targets.
    """
    rows = []
    for name in (each for each in dict.fromkeys(table["arithmetic"]) if each != BF16):
        for threshold in THRESHOLDS:
            found = difference(table.assign(above=table["plateau"] > threshold), "above", name, BF16)
            rows.append({"arithmetic": name, "threshold": threshold, "difference": found.value, "low": found.low,
                         "high": found.high})  # fmt: skip
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
