"""Numbers to predict from numbers: scikit-learn's diabetes data, those of a file, and those of a teacher network."""

from typing import Any

import numpy as np

from ..models.feedforward import Mlp
from ..models.leaves import initial
from .arrays import Data, finite, read_arrays

_VALID = 90


def diabetes(path: Any = None) -> Data:
    """x of (n, features) and y of (n,), with mean 0 and deviation 1 over the training samples.

    442 patients, ten measurements each and the progression of the disease a year later (Efron et al.: Least angle
    regression, 2004), 352 to train on and 90 to validate; or x and y of an .npz file.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
        FileNotFoundError, ValueError: what is at the path: other shapes, or NaN.
    """
    if path is not None:
        return _checked(read_arrays(path))
    try:
        from sklearn.datasets import load_diabetes
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the diabetes data ship with scikit-learn; pip install 'halfulp[sim]'") from error
    bunch: Any = load_diabetes()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x, y = bunch.data[order], bunch.target[order]
    train, valid = ({"x": x[rows], "y": y[rows]} for rows in (slice(_VALID, None), slice(_VALID)))
    return _checked(Data(train, valid, "scikit-learn load_diabetes"))


def teacher_student(
    inputs: int = 32, hidden: int = 16, samples: int = 8192, noise: float = 0.0, data_seed: int = 0
) -> Data:
    """Standard normal x and what a network of one hidden ReLU layer makes of them, a tenth of the samples to validate.

    Args:
        inputs, hidden: of the teacher, whose values are distributed as those of a student, and drawn apart from them.
        samples: of both parts.
        noise: the standard deviation of what is added to y, whose own is 1.
        data_seed: of teacher, samples and noise.

    Raises:
        ValueError: numbers out of range.
    """
    for name, value, least in (("inputs", inputs, 1), ("hidden", hidden, 1), ("samples", samples, 20)):
        if value < least:
            raise ValueError(f"teacher_student: expected {name} >= {least}, got {value}")
    if not 0 <= noise < float("inf"):
        raise ValueError(f"teacher_student: expected noise >= 0, got {noise}")
    # a stream of its own: from that of a student of the same seed it would be the student's own first layer
    teacher = initial(Mlp(inputs, (hidden,), 1).leaves, data_seed, stream=3)
    rng = np.random.default_rng([data_seed, 2])
    x = rng.standard_normal((samples, inputs))
    # float64 sums in one order, whatever the machine's matrix products do
    before = sum(x[:, k, None] * teacher["layers"]["0"]["weight"][:, k].astype(float) for k in range(inputs))
    y = (np.maximum(before, 0) * teacher["head"]["weight"][0].astype(float)).sum(1)
    y = (y - y.mean()) / y.std() + noise * rng.standard_normal(samples)
    first = samples // 10
    x, y = x.astype(np.float32), y.astype(np.float32)
    train, valid = ({"x": x[rows], "y": y[rows]} for rows in (slice(first, None), slice(first)))
    return Data(train, valid, f"teacher {inputs}-{hidden}-1, noise {noise:g}, seed {data_seed}")


def _checked(data: Data) -> Data:
    """With mean 0 and deviation 1 of each feature and of y over the training samples; a constant feature becomes 0."""
    for part, arrays in (("train", data.train), ("valid", data.valid)):
        x, y = finite(f"{part} x", arrays["x"]), finite(f"{part} y", arrays["y"])
        if x.ndim != 2 or y.shape != x.shape[:1] or x.shape[1] != data.train["x"].shape[1]:
            raise ValueError(
                f"{data.source}: expected {part} x of (samples, features) and y of (samples,), "
                f"got {x.shape} and {y.shape}"
            )
    statistics = {name: _moments(array.astype(np.float64)) for name, array in data.train.items()}

    def scaled(arrays: Any) -> dict[str, np.ndarray]:
        return {n: ((a - statistics[n][0]) / statistics[n][1]).astype(np.float32) for n, a in arrays.items()}

    return Data(scaled(data.train), scaled(data.valid), data.source)


def _moments(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    deviation = array.std(axis=0)
    return array.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
