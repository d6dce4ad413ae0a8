"""Efficiencies of Quartet's passes in FP4, from the published losses of methods."""

from dataclasses import dataclass

import numpy as np
import pandas

from .fit import HUBER, Form, Law, Runs, efficiency, interval, resampled, runs_of, with_efficiency

METHODS = {
    ("QuEST", "BF16"): 0.64, ("RTN", "BF16"): 0.59, ("SR", "BF16"): 0.42,
    ("BF16", "RTN"): 0.93, ("BF16", "SR"): 0.88, ("BF16", "QuEST"): 0.83, ("QuEST", "SR"): None,
}  # fmt: skip
"""Forward and backward pass: table 2's efficiency."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The law in its three forms, and laws of resampled runs.

    Args:
        runs: the 24 in BF16. laws: by form. luck: laws of resampled runs, all coefficients free.
    """

    runs: Runs
    laws: dict[Form, Law]
    luck: list[Law]

    @property
    def law(self) -> Law:
        """That of all coefficients."""
        return self.laws["free"]


def efficiencies(fitted: Fitted, rng: np.random.Generator) -> pandas.DataFrame:
    """Each method's efficiencies with their 95% intervals.

    Returns:
        forward, backward, runs, published; eff_N and eff_D with _low and _high; rms_percent of the errors of log L.
    """
    rows = []
    for (forward, backward), published in METHODS.items():
        runs, on = runs_of(forward, backward), (forward != "BF16", backward != "BF16")
        worth = efficiency(fitted.law, runs, *on)
        own = with_efficiency(fitted.law, worth)
        luck = [efficiency(law, resampled(own, runs, sum(on), rng), *on, worth, (HUBER,)) for law in fitted.luck]
        ends = [interval(each) for each in zip(*luck)]
        rms = 100 * float(np.sqrt(np.mean(own.errors(runs) ** 2)))
        rows.append(
            (forward, backward, len(runs.losses), published, worth.parameters, *ends[0], worth.tokens, *ends[1], rms)
        )
    names = ["eff_N", "eff_N_low", "eff_N_high", "eff_D", "eff_D_low", "eff_D_high"]
    return pandas.DataFrame(rows, columns=["forward", "backward", "runs", "published", *names, "rms_percent"])


def backward_gap() -> pandas.DataFrame:
    """Loss with nearest minus loss with stochastic rounding in the backward pass, of the same training otherwise."""
    tables = []
    for backward in ("RTN", "SR"):
        runs = runs_of("BF16", backward)
        tables.append(pandas.DataFrame({"parameters": runs.parameters, "tokens": runs.tokens, backward: runs.losses}))
    both = tables[0].merge(tables[1], on=["parameters", "tokens"])
    return both.assign(ratio=both.tokens / both.parameters, gap=both.RTN - both.SR)
