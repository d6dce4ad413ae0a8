"""Handwritten digits: 1797 scans of 8 x 8 pixels that ship inside scikit-learn.

Source: E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI (1998).
"""

from typing import Any

import numpy as np

from .data import Classification

_TEST = 360


def load_digits() -> Classification:
    """Pixels scaled to 0..1; 1437 scans to train on, 360 to test on, split the same way every time.

    Raises:
        ModuleNotFoundError: scikit-learn is missing; the message says how to install it.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the digits ship with scikit-learn; pip install 'halfulp[sim]'") from error
    bunch: Any = load()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    x = (bunch.data[order] / 16).astype(np.float32)
    y = bunch.target[order].astype(np.int32)
    return Classification("digits", x[_TEST:], y[_TEST:], x[:_TEST], y[:_TEST], 10, "scikit-learn load_digits")
