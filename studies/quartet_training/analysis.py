"""What paired trainings say: differences of the log of the loss, by seed first, and how they go with data."""

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pandas

from ..claims import Measured
from ..errors.resampled import slope
from ..errors.samples import mean_of

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""


def log_losses(table: Table, task: str, recipe: str) -> Table:
    """The log of the loss of a recipe, a row a seed and a column a length.

    Args:
        table: a row per training with task, recipe, steps, seed, loss.

    Raises:
        ValueError: no such trainings.
    """
    of_task = table[table["task"] == task]
    own = of_task[of_task["recipe"] == recipe]
    if not len(own):
        there = ", ".join(sorted(set(of_task["recipe"]))) or "none of that task"
        raise ValueError(f"no training of {recipe!r} on {task!r}; there are {there}")
    return np.log(own.pivot(index="seed", columns="steps", values="loss")).sort_index(axis=1)


def ratios(table: Table, task: str, recipe: str, other: str) -> np.ndarray:
    """(seeds, lengths): the log of the loss of a recipe over that of another, with the same seed and length."""
    found = log_losses(table, task, recipe) - log_losses(table, task, other)
    if found.isna().to_numpy().any():
        raise ValueError(f"{recipe!r} and {other!r} were not trained with the same seeds and lengths on {task!r}")
    return found.to_numpy()


def mean_ratio(table: Table, task: str, recipe: str, other: str, length: int | None = None) -> Measured:
    """The mean log ratio over seeds with its 95% interval: of one length by its place, or the mean of all."""
    each = ratios(table, task, recipe, other)
    return mean_of(each.mean(1) if length is None else each[:, length])


def growth(table: Table, task: str, recipe: str, other: str) -> Measured:
    """By how much the log ratio changes with each doubling of the data; the slope of each seed first.

    Raises:
        ValueError: a single length.
    """
    doublings = np.log2([float(steps) for steps in log_losses(table, task, recipe).columns])
    return mean_of(slope(doublings, ratios(table, task, recipe, other)))


def shrinking_lead(table: Table, task: str, recipe: str, other: str) -> Measured:
    """The lead of a recipe with the least data, log(other / recipe), and how fast it goes: `growth` of recipe / other.

    Both are above 0 where there is a lead and it shrinks.
    """
    at_first, change = mean_of(-ratios(table, task, recipe, other)[:, 0]), growth(table, task, recipe, other)
    value, low, high = ([getattr(part, name) for part in (at_first, change)] for name in ("value", "low", "high"))
    return Measured(value, low, high, at_first.count)


def by_length(table: Table, pairs: Iterable[tuple[str, str]]) -> Table:
    """The mean log ratio of some pairs of recipes on each task that has both, by length.

    Returns:
        task, recipe, other, steps, value, low, high: 95% intervals over seeds.
    """
    rows = []
    for task, (recipe, other) in product(table["task"].unique(), pairs):
        if {recipe, other} <= set(table[table["task"] == task]["recipe"]):
            lengths = log_losses(table, task, recipe).columns
            for steps, values in zip(lengths, ratios(table, task, recipe, other).T):
                found = mean_of(values)
                rows.append((task, recipe, other, steps, found.value, found.low, found.high))
    return pandas.DataFrame(rows, columns=["task", "recipe", "other", "steps", "value", "low", "high"])
