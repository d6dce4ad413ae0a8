"""Values of parameters drawn by Optuna."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from .choices import Configuration
from .conditions import is_active
from .parameters import Parameter, Range


def optuna() -> Any:
    """The library.

    Raises:
        ModuleNotFoundError: it is missing.
    """
    try:
        return import_module("optuna")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("halving draws configurations with Optuna; pip install 'halfulp[search]'") from error


def new_study(seed: int, direction: str, sampler: Any) -> Any:
    """A study in memory.

    Args:
        sampler: one of Optuna's; None for TPE, which draws at random until it is told results.
    """
    library = optuna()
    with _quiet(library):
        return library.create_study(
            sampler=library.samplers.TPESampler(seed=seed) if sampler is None else sampler, direction=direction
        )


def suggested(trial: Any, parameters: Iterable[Parameter]) -> Configuration:
    """A configuration that Optuna chooses.

    Args:
        parameters: each after those it depends on.
    """
    found: Configuration = {}
    for each in parameters:
        if is_active(each, found):
            found[each.name] = _suggested(trial, each)
    return found


def encoded(configuration: Configuration, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """A configuration as Optuna has it."""
    return {each.name: _choice(each, configuration[each.name]) for each in parameters if each.name in configuration}


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without Optuna's line about a new study."""
    before = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.WARNING)
    try:
        yield
    finally:
        library.logging.set_verbosity(before)


def _suggested(trial: Any, parameter: Parameter) -> Any:
    """A value of a parameter that Optuna chooses."""
    domain = parameter.domain
    if isinstance(domain, Range) and domain.levels is None:
        if domain.integer:
            return trial.suggest_int(parameter.name, domain.low, domain.high, log=domain.log)
        return domain.shortened(trial.suggest_float(parameter.name, domain.low, domain.high, log=domain.log))
    values = parameter.listed or ()
    choices = _choices(values)
    return values[choices.index(trial.suggest_categorical(parameter.name, choices))]


def _choice(parameter: Parameter, value: Any) -> Any:
    """A value as Optuna has it."""
    if isinstance(parameter.domain, Range) and parameter.domain.levels is None:
        return value
    values = list(parameter.listed or ())
    return _choices(values)[values.index(value)]


def _choices(values: Iterable[Any]) -> list[Any]:
    """Values as Optuna takes them: text or numbers as they are, everything else as JSON."""
    listed = list(values)
    kinds = {type(value) for value in listed}
    return (
        listed if kinds == {str} or kinds <= {int, float} else [json.dumps(value, sort_keys=True) for value in listed]
    )
