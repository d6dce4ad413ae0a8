"""How few bits trainings bear before they become unstable: a map of rates and formats, sharpness, a proxy and its cure.

Every arithmetic is trained at learning rates up to sixteen times float32's best and beyond; what is counted is how many
runs diverge, how often they spike, which rates are usable, and how sharp the loss is in the space of logits beforehand.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..fp4_design.analysis import over_seeds
from ..study import FULL, QUICK, Context, Findings, Study
from .arithmetics import BF16, FLOAT32
from .boxes import BOXES
from .claims import CLAIMS, EIGHT_BITS, PAPER, PROXY_PAPER, PROXY_RATES
from .clamping import all_become_one
from .effects import (
    best_rate,
    difference,
    log_ratio,
    of_rates,
    progress,
    range_table,
    smaller_table,
    spike_slope,
    summary,
    threshold_table,
    usable,
)
from .pictures import map_picture, proxy_picture, range_picture, sharpness_picture
from .rises import before_events, over_events, sharpness_table
from .settings import MAP, PROXY, SETTINGS, Setting
from .training import ARMS, CLAMPED, CURED, map_runs, proxy_runs, rows_of

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""
_WIDEST = {"rank": 0.5, "rise": 10.0}
"""Ends of intervals of what could not be measured before events."""


def run(context: Context) -> Findings:
    """Train the plan of the scale and judge it: minutes at 'quick', a quarter of an hour at 'full', resumable."""
    scale = STUDY.scale(context.scale)
    plan, proxy, done = MAP[scale], PROXY[scale], 0
    counts = {task: len(list(rows_of(part, SETTINGS[task]))) for task, part in plan.items()}
    total = sum(counts.values()) + len(ARMS) * len(proxy.rates) * proxy.seeds
    tables: dict[str, Table] = {}

    def report(finished: int, _: int) -> None:
        context.report(done + finished, total, "training")

    for task, part in plan.items():
        tables[task] = map_runs(part, SETTINGS[task], context.store(), report)
        done += counts[task]
    return found(tables, proxy_runs(proxy, context.store(), report))


def found(tables: dict[str, Table], of_proxy: Table) -> Findings:
    """What runs say: the claims, tables and pictures.

    Args:
        tables: by task, of `map_runs`. of_proxy: of `proxy_runs`.
    """
    parts = [(of_rates(table), SETTINGS[task]) for task, table in tables.items()]
    ranges = range_table(parts)
    keys = [(table, setting, box) for table, setting in parts for box in BOXES]
    events = [before_events(table, box).assign(task=setting.task, box=box) for table, setting, box in keys]
    sharper = [sharpness_table(each, _WIDEST).assign(task=setting.task, box=box)
               for each, (_, setting, box) in zip(events, keys)]  # fmt: skip
    runs: Table = pandas.concat([*tables.values(), of_proxy], ignore_index=True)
    return Findings(
        measured(tables, of_proxy),
        {
            "map": _of_tasks(summary(table) for table, _ in parts),
            "ranges": ranges,
            "smaller_gradients": smaller_table(tables["digits"], SETTINGS["digits"]),
            "before_events": _of_tasks(events),
            "sharpness": _of_tasks(sharper),
            "thresholds": _of_tasks(threshold_table(table).assign(task=setting.task) for table, setting in parts),
            "best_rates": pandas.DataFrame(
                [{"task": setting.task, "chosen": setting.best, "lowest": best_rate(table)} for table, setting in parts]
            ),
            "proxy": summary(of_proxy),
        },
        {
            "map": map_picture(parts),
            "ranges": range_picture(ranges),
            "sharpness": sharpness_picture(parts),
            "proxy": proxy_picture(of_proxy),
        },
        runs.drop(columns=[name for name in runs.columns if name == "loss" or name.startswith("evaluated")]),
    )


def _of_tasks(tables: Iterable[Table]) -> Table:
    return pandas.concat(list(tables), ignore_index=True)


def measured(tables: dict[str, Table], of_proxy: Table) -> dict[str, Measured]:
    """What each claim is judged by."""
    each: dict[str, Measured] = {}
    for task, table in tables.items():
        each |= {f"{name}_{task}": value for name, value in _of_map(of_rates(table), SETTINGS[task]).items()}
    return each | _of_proxy(of_proxy)


def _of_map(table: Table, setting: Setting) -> dict[str, Measured]:
    """The measurements of one task, by the beginning of the claim's id."""
    ranges = usable(table, setting)
    return {
        "bf16": difference(table, "diverged", BF16, FLOAT32),
        "spikes": spike_slope(table, setting),
        "e7m7": progress(table, "E7M7", setting),
        **{f"{name.lower()}_range": difference(ranges, "decades", name, BF16) for name in EIGHT_BITS},
        **{f"rise_{box}": _before(before_events(table, box), "rise") for box in BOXES},
    }


def _before(events: Table, what: str) -> Measured:
    """What events say, and in the note what they say without the arithmetic that most of them may be of."""
    measured = over_events(events, what, _WIDEST[what])
    most = events.loc[events["peers"] > 0, "arithmetic"].mode()
    if not len(most):
        return measured
    others = over_events(events[events["arithmetic"] != most.iloc[0]], what, _WIDEST[what])
    without = f"Without {most.iloc[0]} {others.value:.2f} [{others.low:.2f}, {others.high:.2f}]."
    return replace(measured, note=f"{measured.note} {without}")


def _of_proxy(table: Table) -> dict[str, Measured]:
    rates = dict(zip(PROXY_RATES, sorted(table["rate"].unique()), strict=True))
    at = {name: table[table["rate"] == rate] for name, rate in rates.items()}
    first = at["paper"][at["paper"]["arithmetic"] == CLAMPED]
    shares = {seed: float(share[-1]) for seed, share in zip(first["seed"], first["evaluated.clamped"])}
    found = {
        "clamping": Measured(all_become_one(np.random.default_rng(0), 64)),
        "proxy_clamped": over_seeds(shares),
        "cure_spikes_high": difference(at["high"], "spikes", CURED, FLOAT32),
    }
    for name, runs in at.items():
        found[f"proxy_loss_{name}"] = log_ratio(runs, CLAMPED, FLOAT32)
        found[f"proxy_spikes_{name}"] = difference(runs, "spikes", CLAMPED, FLOAT32)
        found[f"cure_loss_{name}"] = log_ratio(runs, CURED, CLAMPED)
    return found


STUDY = Study(
    "stability",
    "Stability of low-precision training",
    "Which arithmetics make training unstable, at which learning rates, and does sharpness tell beforehand?",
    (PAPER, PROXY_PAPER),
    CLAIMS,
    run,
    (QUICK, FULL),
)
