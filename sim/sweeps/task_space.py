"""Whether the configurations of a space mean something to a built-in task, said before anything runs."""

from collections.abc import Iterable, Mapping
from typing import Any

from ...formats.rounding import rounding as any_rounding
from ...formats.suggest import unknown
from ..training.training import Training
from .choices import Configuration, closest, identity
from .task_members import OF_RUNS, OF_TRAINING, check_kind, member_of


def training_of(table: Mapping[str, Any]) -> Training:
    """The training with these settings.

    Raises:
        ValueError: unknown settings, values out of range. TypeError: values of the wrong type.
    """
    for name, value in table.items():
        if name not in OF_TRAINING:
            raise ValueError(unknown("setting of a training", str(name), OF_TRAINING))
        check_kind(name, value)
    return Training(**table)


def check_configurations(configurations: Iterable[Configuration], training: Training) -> None:
    """Raise where a configuration has parameters that built-in tasks have not, or values that cannot be.

    Args:
        training: what configurations do not say.

    Raises:
        ValueError: unknown parameters, formats, recipes, roundings; settings out of range or that do not go together.
        TypeError: values of the wrong type.
    """
    alone: dict[str, dict[Any, Any]] = {}
    together: dict[Any, Configuration] = {}
    for configuration in configurations:
        for name, value in configuration.items():
            alone.setdefault(name, {}).setdefault((type(value), identity(value)), value)
        rest = {name: value for name, value in configuration.items() if name not in _ALONE}
        together.setdefault(identity(rest), rest)
    for name, values in alone.items():
        known = [*OF_RUNS, *OF_TRAINING]
        if name not in known:
            near = closest(name, known)
            listed = "" if near.startswith("known") else f"{near}; "
            raise ValueError(f"unknown parameter {name!r} of a built-in task; {listed}it can sweep {', '.join(known)}")
        for value in values.values():
            check_kind(name, value)
            if name == "rounding" and value is not None:
                any_rounding(value)
            elif name in OF_RUNS and name not in _TOGETHER:
                member_of({name: value}, training)
    for rest in together.values():
        try:
            member_of(rest, training)
        except (ValueError, TypeError) as error:
            raise ValueError(f"configuration {rest}: {error}") from None


_TOGETHER = ("storage",)
"""Parameters that others, such as the optimizer, decide about."""
_ALONE = ("seed", "learning_rate", "weight_decay")
"""Parameters that go with all values of the others."""
