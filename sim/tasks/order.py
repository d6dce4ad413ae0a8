"""In which order samples are seen."""

import numpy as np


def data_order(seed: int, samples: int, steps: int, batch: int) -> np.ndarray:
    """(steps, batch) int32 sample numbers, every epoch a permutation of its own.

    They are drawn from `numpy.random.default_rng([seed, 1])` and depend on nothing else. Batches go on across the end
    of an epoch; the first steps of a longer run are those of a shorter one.

    Raises:
        ValueError: no samples, steps or batch.
    """
    for name, value in (("samples", samples), ("steps", steps), ("batch", batch)):
        if value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}")
    rng = np.random.default_rng([seed, 1])
    needed = steps * batch
    epochs = [rng.permutation(samples) for _ in range(-(-needed // samples))]
    return np.concatenate(epochs)[:needed].reshape(steps, batch).astype(np.int32)
