"""Checkpoints of trainings: the arrays of a pytree and what they belong to, in one file without pickle.

A checkpoint is written to a temporary file and renamed, so that a full disk or a kill leaves the one before.
"""

import json
import os
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.task import Task

_HEADER = "header"
_VERSION = 1


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or written; the message says what to do."""


def fingerprint_of(task: Task) -> str:
    """What decides the numbers of a task beside its names: its data and its model with all options."""
    found = sha256(repr([task.description, task.parameters]).encode())
    for part in (task.train, task.valid):
        for name, array in sorted(part.items()):
            found.update(repr([name, str(array.dtype), array.shape]).encode())
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def save_checkpoint(path: Path, key: str, step: int, arrays: Sequence[np.ndarray]) -> None:
    """Write a checkpoint.

    Args:
        key: of the training; `load_checkpoint` compares it.
        step: steps that are done.
        arrays: leaves of the state, in an order of the caller's.

    Raises:
        CheckpointError: a place that cannot be written, or a full disk; a checkpoint that was there stays.
    """
    header = json.dumps({"version": _VERSION, "key": key, "step": step, "arrays": len(arrays)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            named = {f"a{k}": array for k, array in enumerate(arrays)}
            np.savez(file, allow_pickle=False, **{_HEADER: np.array(header)}, **named)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}; free space or pass another folder (the last checkpoint is kept)"
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def load_checkpoint(path: Path, key: str) -> tuple[int, list[np.ndarray]] | None:
    """The steps that are done and the arrays of a checkpoint; None where there is none.

    Raises:
        CheckpointError: a damaged file, or one of another training.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            header: Any = json.loads(str(stored[_HEADER]))
            arrays = [stored[f"a{k}"] for k in range(header["arrays"])]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint or is damaged ({error}); delete it to start that training anew"
        ) from error
    if (header.get("version"), header.get("key")) != (_VERSION, key):
        raise CheckpointError(
            f"{path} is a checkpoint of another training; pass another folder, or delete it to start anew"
        )
    return int(header["step"]), arrays
