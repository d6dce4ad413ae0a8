"""Runs of the user's own function, one a job."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from .driver import Job
from .outcomes import Outcome, outcomes_of
from .provenance import function_file, function_name, source_hash, versions
from .records import Planned
from .values import Curves, parted

Function = Callable[[dict[str, Any]], Any]


class FunctionRuns:
    """What a sweep of a function runs.

    Args:
        function: takes a configuration, gives metrics.
        by_name: whether workers import it by its name.
        kept: whether results are kept in a file, so that a function that cannot be told from another is refused.

    Raises:
        TypeError: what is no function, or cannot reach the workers.
    """

    def __init__(self, function: Function, by_name: bool = False, kept: bool = True) -> None:
        self._function = function
        self.name = function_name(function)
        self.file: Path | None = function_file(function)
        if by_name:
            _check_importable(self.name, function)
        self._code = {"halfulp": versions()["halfulp"], "source": _source(function, kept)}
        self._configs: list[dict[str, Any]] = []

    def plan(self, configs: Sequence[Mapping[str, Any]]) -> list[Planned]:
        """The runs of some configurations of plain values."""
        self._configs = [dict(config) for config in configs]
        return [Planned({"function": self.name, "config": config}, self._code, config) for config in self._configs]

    def jobs(self, numbers: Sequence[int]) -> Iterator[Job]:
        """Jobs of those runs of the last plan."""
        for number in numbers:
            yield Job((number,), run_function, (self._function, self._configs[number]))


def run_function(function: Function, config: dict[str, Any]) -> list[Outcome]:
    """Run a function where it is called; the function gets a configuration of its own."""

    def run() -> list[tuple[dict[str, Any], Curves]]:
        return [parted(function(deepcopy(config)))]

    return outcomes_of(run, 1)


def _source(function: Function, kept: bool) -> str:
    try:
        return source_hash(function)
    except TypeError:
        if kept:
            raise
        return ""


def _check_importable(name: str, function: Function) -> None:
    """Raise where a process could not import a function by its name."""
    module, _, qualname = name.partition(":")
    if "<" in qualname:
        raise TypeError(
            f"worker processes import the function by its name, and {qualname} of {module} has none they could import; "
            "put it at the top of a module (def train(config): ...), or sweep in this process with executor=None"
        )
    if module == "__main__":
        raise TypeError(
            f"worker processes cannot import {qualname}, which was typed into this session; save it to a file such as "
            "experiment.py and write: from experiment import train (or sweep in this process with executor=None)"
        )
