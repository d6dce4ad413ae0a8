"""Whether sharpness rises before runs spike or turn: against runs of the same seed and rate that do not."""

from collections.abc import Mapping
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
OFTEN = 0.2
"""The share of events from which on it is told what is left without those of an arithmetic."""


def sharpness_of(run: Any, box: str) -> np.ndarray:
    """(evaluations,) in percent, of a run of `described`."""
    return sharpness(np.asarray(run["evaluated.last_loss"], float), np.asarray(run[f"evaluated.rise_{box}"], float))


def before_events(table: Table, box: str) -> Table:
    """Each run that spikes or turns beside those of its seed and rate that do neither, at the last evaluation before.

    The evaluation lies strictly before the event: one at the step of a spike has seen it already. Runs that spike or
    turn before their second evaluation tell nothing of a rise and are left out.

    Returns:
        seed, arithmetic, rate, step of the evaluation; peers, how many survivors there are; rank, the share of them
        whose sharpness is lower, half of ties, less one half; rise, how much more the log of sharpness grew since the
        first evaluation than on the mean of survivors. Both are NaN without survivors.
    """
    rows = []
    for _, runs in table.groupby(["seed", "rate"]):
        alive = runs[~runs["diverged"] & (runs["event"] < 0)]
        peers = np.array([sharpness_of(run, box) for _, run in alive.iterrows()])
        for _, run in runs[runs["event"] >= 0].iterrows():
            steps = np.asarray(run["evaluated.step"])
            last = int(np.searchsorted(steps, run["event"], side="left")) - 1
            own = sharpness_of(run, box)
            if last < 1 or not np.isfinite(own[: last + 1]).all() or own[0] <= 0 or own[last] <= 0:
                continue
            rank = rise = np.nan
            if len(peers):
                there = peers[:, last]
                rank = float((there < own[last]).mean() + (there == own[last]).mean() / 2 - 0.5)
                rise = float(np.log(own[last] / own[0]) - np.log(there / peers[:, 0]).mean())
            rows.append((run["seed"], run["arithmetic"], run["rate"], int(steps[last]), len(peers), rank, rise))
    return pandas.DataFrame(rows, columns=["seed", "arithmetic", "rate", "step", "peers", "rank", "rise"])


def over_events(events: Table, what: str, widest: float) -> Measured:
    """The mean of a column over the events that have survivors beside them, over those of each seed first.

    Args:
        widest: the interval's end on both sides where too few seeds have such a run.
    """
    beside = events[events["peers"] > 0]
    means = beside.groupby("seed")[what].mean()
    note = (f"{len(beside)} of {len(events)} runs that spike or turn after their second evaluation have survivors of "
            f"their seed and rate, in {len(means)} seeds.")  # fmt: skip
    if len(means) < FEWEST:
        value = float(means.mean()) if len(means) else 0.0
        return Measured(value, min(-widest, value), max(widest, value), len(means), f"Too few: {note}")
    found = over_seeds(means.to_dict())
    return Measured(found.value, found.low, found.high, found.count, note)


def sharpness_table(events: Table, widest: Mapping[str, float]) -> Table:
    """Ranks and rises of a task and box over all events, and without each arithmetic that has a fifth of them.

    Args:
        events: of `before_events`. widest: by column, for `over_events`.
    """
    shares = events.loc[events["peers"] > 0, "arithmetic"].value_counts(normalize=True)
    left_out = ["", *shares.index[shares >= OFTEN]]
    rows = []
    for name in left_out:
        own = events[events["arithmetic"] != name]
        for what, end in widest.items():
            found = over_events(own, what, end)
            rows.append({"what": what, "without": name, "value": found.value, "low": found.low, "high": found.high,
                         "events": len(own), "with_survivors": int((own["peers"] > 0).sum())})  # fmt: skip
    return pandas.DataFrame(rows)
