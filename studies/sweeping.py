"""Sweeps of studies: what a claim rests on is complete, and is of the data that it says."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..sim.tasks.task import Task
from ..sim.training.checkpoints import fingerprint_of


def all_finished(runs: Any, what: str) -> Any:
    """The runs of a sweep, a DataFrame, if all of them finished.

    Args:
        runs: of `sweep`, with columns status and error. what: ran, in the plural, for the message.

    Raises:
        RuntimeError: some failed.
    """
    failed = runs[runs["status"] != "finished"]
    if len(failed):
        raise RuntimeError(f"{len(failed)} {what} failed, the first with: {failed['error'].iloc[0]}")
    return runs


def of_data(configs: Iterable[Mapping[str, Any]], task: Task) -> list[dict[str, Any]]:
    """Configurations of a function that trains a task, with a digest of its data and model as `data`.

    A store knows results of functions by their configurations only; without the digest it would give those of other
    data, such as another version of the text, for those of today's.
    """
    digest = fingerprint_of(task)
    return [{**config, "data": digest} for config in configs]
