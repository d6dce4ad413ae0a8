"""Whether sharpness is high, and rises, before runs spike or diverge: against runs of the same seed that do not."""

from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..fp4_design.analysis import over_seeds
from .boxes import sharpness

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""
FEWEST = 5
"""Seeds with a run that spiked or turned, below which nothing is concluded."""


def sharpness_of(run: Any, box: str) -> np.ndarray:
    """(evaluations,) in percent, of a run of `described`."""
    return sharpness(np.asarray(run["evaluated.last_loss"], float), np.asarray(run[f"evaluated.rise_{box}"], float))


def before_events(table: Table, box: str) -> Table:
    """Each run that spikes or turns beside those of its seed that do neither, at the last evaluation before that.

    Runs that do so before their second evaluation tell nothing of a rise and are left out.

    Returns:
        seed, arithmetic, rate, step; rank, the share of survivors whose sharpness is lower, half of ties, less one
        half; rise, how much more the log of sharpness grew since the first evaluation than on the mean of survivors.
    """
    rows = []
    for seed, runs in table.groupby("seed"):
        alive = runs[~runs["diverged"] & (runs["event"] < 0)]
        peers = np.array([sharpness_of(run, box) for _, run in alive.iterrows()])
        for _, run in runs[runs["event"] >= 0].iterrows():
            steps = np.asarray(run["evaluated.step"])
            last = int(np.searchsorted(steps, run["event"], side="right")) - 1
            own = sharpness_of(run, box)
            if last < 1 or not len(peers) or not np.isfinite(own[: last + 1]).all() or own[0] <= 0 or own[last] <= 0:
                continue
            there = peers[:, last]
            rows.append({
                "seed": seed, "arithmetic": run["arithmetic"], "rate": run["rate"], "step": int(steps[last]),
                "rank": float((there < own[last]).mean() + (there == own[last]).mean() / 2 - 0.5),
                "rise": float(np.log(own[last] / own[0]) - np.log(there / peers[:, 0]).mean()),
            })  # fmt: skip
    return pandas.DataFrame(rows, columns=["seed", "arithmetic", "rate", "step", "rank", "rise"])


def over_events(events: Table, what: str, widest: float) -> Measured:
    """The mean of a column, over the runs of each seed first.

    Args:
        widest: the interval's end on both sides where too few seeds have such a run.
    """
    means = events.groupby("seed")[what].mean()
    note = f"{len(events)} runs that spiked or turned after their second evaluation, of {len(means)} seeds."
    if len(means) < FEWEST:
        value = float(means.mean()) if len(means) else 0.0
        return Measured(value, min(-widest, value), max(widest, value), len(means), f"Too few: {note}")
    found = over_seeds(means.to_dict())
    return Measured(found.value, found.low, found.high, found.count, note)
