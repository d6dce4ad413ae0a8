"""Images with classes: the handwritten digits, CIFAR-10, or those of a file."""

from typing import Any, NamedTuple

import numpy as np

from .arrays import Data, finite, labels, read_arrays
from .cifar import CHANNELS, SIDE, read_cifar
from .cifar import CLASSES as CIFAR_CLASSES
from .digits import load_digits


class Images(NamedTuple):
    """Images with classes.

    Fields:
        data: x of (n, channels, height, width), float32, or uint8 that is standardized; y of (n,) int32.
        classes: how many there are.
        mean, deviation: of each channel of uint8 images to train on; None for float32, which are taken as they are.
    """

    data: Data
    classes: int
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, c, h, w = self.data.train["x"].shape
        return c, h, w


def digits(path: Any = None) -> Images:
    """Scikit-learn's scans, 1437 to train on and 360 to validate, from 0 to 1; or the images of an .npz file.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
        FileNotFoundError, ValueError: what is at the path; see `checked_images`.
    """
    if path is not None:
        return checked_images(read_arrays(path))
    return Images(load_digits(), 10)


def cifar10(path: Any = None) -> Images:
    """CIFAR-10 from a folder of its binary batches: 50000 images of 3 x 32 x 32 to train on, 10000 to validate.

    Raises:
        ValueError: no path, or files of another size.
        FileNotFoundError: a file that is missing.
    """
    if path is None:
        raise ValueError(
            "cifar10 needs path=, a folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin: the binary "
            "version from https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    data = read_cifar(path)
    _check_shapes(data, (CHANNELS, SIDE, SIDE))
    return _standardized(data, CIFAR_CLASSES)


def checked_images(data: Data, classes: int | None = None) -> Images:
    """Images of (n, h, w) or (n, c, h, w), uint8 or floats, and class numbers from 0 on.

    Raises:
        ValueError: other shapes, shapes that differ, NaN, or class numbers that are none.
    """
    parts = []
    found = classes or int(max(finite("train y", data.train["y"]).max(), 0)) + 1
    for part, arrays in (("train", data.train), ("valid", data.valid)):
        x = pictures(f"{part} x", arrays["x"])
        y = labels(f"{part} y", arrays["y"], found)
        if len(x) != len(y):
            raise ValueError(f"{data.source}: {len(x)} images and {len(y)} classes in {part}; expected one of each")
        parts.append({"x": x, "y": y})
    checked = Data(parts[0], parts[1], data.source)
    _check_shapes(checked, parts[0]["x"].shape[1:])
    if parts[0]["x"].dtype == np.uint8:
        return _standardized(checked, found)
    return Images(checked, found)


def pictures(name: str, x: np.ndarray) -> np.ndarray:
    """Images as (n, c, h, w), uint8 or float32.

    Raises:
        ValueError: other shapes, or NaN.
    """
    finite(name, x)
    if x.ndim not in (3, 4):
        raise ValueError(f"{name}: expected images (n, height, width) or (n, channels, height, width), got {x.shape}")
    x = x[:, None] if x.ndim == 3 else x
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _check_shapes(data: Data, shape: tuple[int, ...]) -> None:
    for part, arrays in (("train", data.train), ("valid", data.valid)):
        if arrays["x"].shape[1:] != shape or arrays["x"].dtype != data.train["x"].dtype:
            raise ValueError(
                f"{data.source}: expected {part} images of {shape} and {data.train['x'].dtype}, got "
                f"{arrays['x'].shape[1:]} and {arrays['x'].dtype}"
            )


def _standardized(data: Data, classes: int) -> Images:
    """With the mean and deviation of each channel, summed in integers, so that they are the same everywhere."""
    c = data.train["x"].shape[1]
    counts = np.stack([np.bincount(data.train["x"][:, k].ravel(), minlength=256) for k in range(c)])
    values = np.arange(256)
    mean = counts @ values / counts.sum(1)
    variance = counts @ values**2 / counts.sum(1) - mean**2
    deviation = np.sqrt(np.maximum(variance, 1))
    return Images(data, classes, tuple(map(float, mean)), tuple(map(float, deviation)))
