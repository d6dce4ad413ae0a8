"""Whether the configurations of a space mean something to a built-in task, said before anything runs."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, get_args

from ...formats.rounding import rounding as any_rounding
from ...formats.suggest import unknown
from ..training.training import Training
from .choices import Configuration, closest, identity
from .task_runs import OF_RUNS, OF_TRAINING, member_of

KINDS: dict[str, tuple[Any, ...]] = {
    **{each.name: get_args(each.type) or (each.type,) for each in fields(Training) if each.name in OF_TRAINING},
    **dict.fromkeys(("learning_rate", "weight_decay"), (float,)),
    **dict.fromkeys(("format", "recipe"), (str,)),
    "rounding": (str, NoneType),
    "seed": (int,),
}
"""The types of what can be swept with a built-in task, and of the fields of its training."""
MAY_BE_NONE = tuple(name for name, kinds in KINDS.items() if NoneType in kinds)
"""Those that None turns off."""
_WORDS = {int: "an integer", float: "a number", str: "text", bool: "true or false", NoneType: "None"}


def check_kind(name: str, value: Any) -> None:
    """Raise a TypeError where a value is of no type that this field or parameter has."""
    kinds = KINDS.get(name, (type(value),))
    fits = type(value) in kinds or (type(value) is int and float in kinds)
    if not fits:
        expected = " or ".join(_WORDS.get(kind, str(kind)) for kind in kinds)
        raise TypeError(f"{name}: expected {expected}, got {value!r}")


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
            elif name in OF_RUNS:
                member_of({name: value}, training)
    for rest in together.values():
        try:
            member_of(rest, training)
        except (ValueError, TypeError) as error:
            raise ValueError(f"configuration {rest}: {error}") from None


_ALONE = ("seed", "learning_rate", "weight_decay")
"""Parameters that go with all values of the others."""
