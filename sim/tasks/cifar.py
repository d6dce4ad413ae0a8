"""CIFAR-10 from its binary batches: each image a byte of its class, then 1024 bytes of red, of green and of blue.

Source: A. Krizhevsky: Learning multiple layers of features from tiny images (2009), https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Data, existing, labels

CLASSES, CHANNELS, SIDE = 10, 3, 32
TRAIN = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
VALID = ("test_batch.bin",)
_BYTES = 1 + CHANNELS * SIDE * SIDE


def read_cifar(path: Any) -> Data:
    """x of (n, 3, 32, 32) uint8 and y of (n,) int32, of the five batches to train on and that to test.

    Args:
        path: the folder of the files, or the one around cifar-10-batches-bin.

    Raises:
        FileNotFoundError: a file that is missing.
        ValueError: a file whose size is not a multiple of 3073 bytes, or with a class above 9.
    """
    folder = existing(path, f"a folder with {TRAIN[0]} to {TRAIN[-1]} and {VALID[0]}", folder=True)
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    train, valid = (_joined([_batch(folder / name) for name in names]) for names in (TRAIN, VALID))
    return Data(train, valid, f"CIFAR-10 in {folder}")


def _batch(file: Path) -> np.ndarray:
    if not file.is_file():
        other = ", ".join(sorted(each.name for each in file.parent.iterdir())[:8]) or "nothing"
        hint = "; those are the Python version, take the binary one" if (file.parent / file.stem).exists() else ""
        raise FileNotFoundError(f"{file}: missing; the folder has {other}{hint}")
    size = file.stat().st_size
    if not size or size % _BYTES:
        raise ValueError(f"{file}: expected images of {_BYTES} bytes (30730000 in all), got {size} bytes; copy it anew")
    images = np.fromfile(file, np.uint8).reshape(-1, _BYTES)
    labels(str(file), images[:, 0], CLASSES)
    return images


def _joined(batches: list[np.ndarray]) -> dict[str, np.ndarray]:
    images = np.concatenate(batches)
    return {"x": images[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE), "y": images[:, 0].astype(np.int32)}
