"""Arrays of a task from a file, and checks of what they hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

_NAMES = ("train_x", "train_y", "valid_x", "valid_y")


class Data(NamedTuple):
    """What there is to learn.

    Fields:
        train, valid: arrays by name, with the samples along the first axis.
        source: where they are from.
    """

    train: Mapping[str, np.ndarray]
    valid: Mapping[str, np.ndarray]
    source: str


def read_arrays(path: Any, labelled: bool = True) -> Data:
    """The arrays of an .npz file: x and y, whose every tenth sample validates, or train_x, train_y, valid_x, valid_y.

    Args:
        labelled: whether y is needed; it is ignored otherwise.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an .npz file, other names, or lengths that differ.
    """
    file = existing(path, "an .npz file with arrays x and y, as numpy.savez('data.npz', x=x, y=y) writes")
    arrays = _stored(file)
    if "x" in arrays and arrays["x"].ndim:
        length = arrays["x"].shape[:1]
        valid = np.arange(*length) % 10 == 9
        for name in [name for name in "xy" if name in arrays and arrays[name].shape[:1] == length]:
            arrays |= {f"train_{name}": arrays[name][~valid], f"valid_{name}": arrays[name][valid]}
    wanted = [name for name in _NAMES if labelled or name.endswith("x")]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(
            f"{file}: expected arrays x{' and y' if labelled else ''} of one length, or {', '.join(wanted)}; "
            f"got {shapes}"
        )
    train, valid = ({name[-1]: arrays[name] for name in wanted if name.startswith(part)} for part in ("train", "valid"))
    return Data(train, valid, str(file))


def _stored(file: Path) -> dict[str, np.ndarray]:
    advice = "expected an .npz file of numbers, as numpy.savez writes"
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise ValueError("it has one array without a name")
        with found:
            return {name: found[name] for name in found.files}
    except (ValueError, OSError, BadZipFile) as error:
        raise ValueError(f"{file}: {advice}: {error}") from error


def existing(path: Any, what: str, folder: bool = False) -> Path:
    """A path that exists.

    Raises:
        FileNotFoundError: it does not; the message says what is expected there.
    """
    found = Path(path).expanduser()
    if not found.exists() or (folder and not found.is_dir()):
        raise FileNotFoundError(f"{found}: expected {what}, found {'a file' if found.is_file() else 'nothing'}")
    return found


def finite(name: str, array: np.ndarray) -> np.ndarray:
    """The array, if it has samples and no NaN or infinity.

    Raises:
        ValueError: none, or some; the message says how many and where the first is.
    """
    if array.dtype.kind not in "uifb":
        raise ValueError(f"{name}: expected numbers, got {array.dtype}")
    if not array.size:
        raise ValueError(f"{name}: expected samples, got an empty array of shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name}: {int(bad.sum())} of {array.size} numbers are NaN or infinite, the first at {first}; "
            "remove those samples, or replace them with numpy.nan_to_num"
        )
    return array


def labels(name: str, array: np.ndarray, classes: int) -> np.ndarray:
    """Class numbers as int32.

    Raises:
        ValueError: not one integer a sample, or one that is no class.
    """
    finite(name, array)
    if array.ndim != 1 or (array.dtype.kind == "f" and not (array == np.rint(array)).all()):
        raise ValueError(f"{name}: expected one class number a sample, got {array.dtype} of shape {array.shape}")
    if array.min() < 0 or array.max() >= classes:
        raise ValueError(f"{name}: expected classes from 0 to {classes - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int32)
