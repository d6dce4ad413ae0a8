"""Checkpoints of trainings: the arrays of a pytree and what they belong to, in one file without pickle.

A checkpoint is written to a temporary file and renamed, so that a full disk or a kill leaves the one before.
"""

import json
import os
import zipfile
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.task import Task

_HEADER = "header"
_VERSION = 2
_PACKAGES = ("halfulp", "jax", "jaxlib", "optax")
"""Those that decide the bits of a training."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or written; the message says what to do."""


def fingerprint_of(task: Task) -> str:
    """What decides the numbers of a task beside its names: its data and its model with all options."""
    about = [task.description, task.parameters]
    found = sha256(repr(about if task.augmentation is None else [*about, task.augmentation]).encode())
    for part in (task.train, task.valid):
        for name, array in sorted(part.items()):
            found.update(repr([name, str(array.dtype), array.shape]).encode())
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def versions() -> dict[str, str]:
    """The versions of the packages that decide the bits of a training."""
    root = __name__.partition(".")[0]
    return {name: str(import_module(root if name == "halfulp" else name).__version__) for name in _PACKAGES}


def save_checkpoint(path: Path, key: str, step: int, arrays: Sequence[np.ndarray]) -> None:
    """Write a checkpoint.

    Args:
        key: of the training; `load_checkpoint` compares it.
        step: steps that are done.
        arrays: leaves of the state, in an order of the caller's.

    Raises:
        CheckpointError: a place that cannot be written, or a full disk; a checkpoint that was there stays.
    """
    header = json.dumps({"version": _VERSION, "key": key, "step": step, "arrays": len(arrays), "packages": versions()})
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


def load_checkpoint(path: Path, key: str, any_version: bool = False) -> tuple[int, list[np.ndarray]] | None:
    """The steps that are done and the arrays of a checkpoint; None where there is none.

    Args:
        any_version: whether one that other versions of packages wrote is taken, whose bits may go on differently.

    Raises:
        CheckpointError: a damaged file, or one of another training or other versions.
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
    wrote, now = header.get("packages", {}), versions()
    changed = [f"{name} {wrote.get(name, 'unknown')}, now {own}" for name, own in now.items() if wrote.get(name) != own]
    if changed and not any_version:
        raise CheckpointError(
            f"{path} was written by {'; '.join(changed)}; with another version a training need not go on bit for bit. "
            "Install that version, pass any_version=True to go on all the same, or delete the file to start anew"
        )
    return int(header["step"]), arrays
