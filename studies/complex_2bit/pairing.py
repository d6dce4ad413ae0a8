"""Differences of runs that share a seed."""

from typing import Any

import numpy as np

from ..claims import Measured
from ..fp4_design.analysis import over_seeds

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""


def by_seed(runs: Table, variant: str, metric: str) -> Any:
    """The metric of a variant by seed; infinite where the run diverged.

    Raises:
        ValueError: no such runs, or several of one seed.
    """
    own = runs[runs["variant"] == variant].set_index("seed")
    if not len(own) or own.index.has_duplicates:
        raise ValueError(f"expected one run of {variant!r} a seed, got {len(own)} of {own.index.nunique()} seeds")
    return own[metric].astype(float).where(~own["diverged"].astype(bool), np.inf)


def difference(runs: Table, metric: str, variant: str, baseline: str, logs: bool = False) -> Measured:
    """The mean over seeds of a variant less the baseline, of logs where said, with its 95% interval of Student's t.

    Raises:
        ValueError: runs without a partner, or that diverged.
    """
    first, second = (by_seed(runs, name, metric) for name in (variant, baseline))
    if set(first.index) != set(second.index):
        raise ValueError(f"{variant!r} and {baseline!r} have other seeds: {set(first.index) ^ set(second.index)}")
    values = np.log(first / second) if logs else first - second
    if not np.isfinite(values).all():
        raise ValueError(f"{variant!r} or {baseline!r} diverged at seeds {list(values.index[~np.isfinite(values)])}")
    return over_seeds(values.to_dict())
