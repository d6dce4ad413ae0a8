"""Tasks by name: the data a model is trained on."""

from collections.abc import Callable

from ...formats.suggest import unknown
from .data import Classification
from .digits import load_digits

TASKS: dict[str, Callable[[], Classification]] = {"digits": load_digits}
"""Loaders of the built-in tasks."""


def load_task(name: str) -> Classification:
    """The data of a task.

    Raises:
        ValueError: an unknown name.
    """
    if name not in TASKS:
        raise ValueError(unknown("task", name, TASKS))
    return TASKS[name]()
