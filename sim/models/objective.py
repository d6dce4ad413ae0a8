"""What a task minimizes, as data. No framework here."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """What a model's outputs are compared with.

    Args:
        kind: 'squares' (the squared error of a number), 'classes' (cross-entropy), 'noise' (squared error of the noise
            in a noisy image) or 'tokens' (cross-entropy of the next token).
        mean, deviation: of each channel, by which images are standardized; None takes them as they are.
        reference: training images whose statistics normalize a batch in evaluation, for models that need some.
        variance: of the targets of the validation data, for 'squares'.
        bytes_per_token: of the validation data, for 'tokens'.
    """

    kind: str
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    reference: np.ndarray | None = None
    variance: float = 1.0
    bytes_per_token: float = 1.0
