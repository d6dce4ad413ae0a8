"""What paired trainings say: differences of the log of the loss, by seed first, and how they go with data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..claims import Measured
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
    own = table[(table["task"] == task) & (table["recipe"] == recipe)]
    if not len(own):
        raise ValueError(f"no training of {recipe!r} on {task!r}; there are {', '.join(sorted(set(table['recipe'])))}")
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


def per_doubling(values: np.ndarray, lengths: Sequence[float]) -> np.ndarray:
    """(seeds,): by least squares, how much values (seeds, lengths) change when a length doubles."""
    x = np.log2(np.asarray(lengths, float))
    x = x - x.mean()
    return np.asarray(values, float) @ x / (x @ x)


def growth(table: Table, task: str, recipe: str, other: str) -> Measured:
    """By how much the log ratio changes with each doubling of the data; the slope of each seed first."""
    lengths = [float(steps) for steps in log_losses(table, task, recipe).columns]
    return mean_of(per_doubling(ratios(table, task, recipe, other), lengths))
