"""Numbers and tables that the models share in every framework. No framework here."""

import numpy as np

EPSILON = 1e-5
"""Of all normalizations."""
GROUPS = 8
"""Of group normalization, at most."""


def rotary_tables(length: int, width: int, base: float = 10000.0) -> tuple[np.ndarray, np.ndarray]:
    """(length, width) cosines and sines of the angles position * base**(-2 j / width) (arXiv:2104.09864).

    Element j turns with element j + width / 2, as in Hugging Face's LLaMA, not with its neighbour.
    """
    angles = np.outer(np.arange(length), base ** (-np.arange(0, width, 2) / width))
    angles = np.concatenate([angles, angles], axis=1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
