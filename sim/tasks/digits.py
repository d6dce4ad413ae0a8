"""Handwritten digits: 1797 scans of 8 x 8 pixels that ship inside scikit-learn.

Source: E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI (1998).
"""

from typing import Any

import numpy as np

from .arrays import Data

_VALID = 360


def load_digits() -> Data:
    """x: (n, 1, 8, 8) float32 pixels from 0 to 1, y: (n,) int32; 1437 scans to train on, 360 to validate.

    The split is the same every time.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; the message says how to install it.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the digits ship with scikit-learn; pip install 'halfulp[sim]'") from error
    bunch: Any = load()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x = (bunch.data[order] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    y = bunch.target[order].astype(np.int32)
    train, valid = ({"x": x[part], "y": y[part]} for part in (slice(_VALID, None), slice(_VALID)))
    return Data(train, valid, "scikit-learn load_digits")
