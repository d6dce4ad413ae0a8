"""What a task is, to the trainer."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Classification:
    """A classification task.

    Args:
        name: its name in results.
        train_x, test_x: (n, features) float32.
        train_y, test_y: (n,) int32 class numbers.
        classes: how many classes there are.
        source: where the data comes from.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int
    source: str
