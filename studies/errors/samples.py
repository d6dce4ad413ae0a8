"""Random data for studies of grids, and what they measure on it."""

from typing import Any

import numpy as np
from scipy.stats import t as student

from ..claims import Measured

WIDTH = 256


def generator(*seed: int) -> np.random.Generator:
    """A generator of its own for each seed, or tuple of seeds."""
    return np.random.Generator(np.random.PCG64(seed))


def mean_of(values: Any) -> Measured:
    """The mean over independent seeds, (seeds,) or (seeds, n), with its 95% interval by Student's distribution."""
    each = np.asarray(values, float)
    mean = each.mean(0)
    half = student.ppf(0.975, len(each) - 1) * each.std(0, ddof=1) / np.sqrt(len(each))
    return Measured(mean.tolist(), (mean - half).tolist(), (mean + half).tolist(), len(each))


def block_decibels(x: np.ndarray, q: Any) -> float:
    """Of the mean over blocks, the rows, of the power of errors over the power of the block."""
    wide, found = x.astype(np.float64), np.asarray(q, np.float64)
    return float(-10 * np.log10((((found - wide) ** 2).sum(-1) / (wide * wide).sum(-1)).mean()))


def _deviations(rows: int, phases: int) -> np.ndarray:
    """(rows, 1) float32, spread evenly in the logarithm from 1 to 2; all 1 for a single phase."""
    return np.exp2(np.arange(rows) % phases / phases)[:, None].astype(np.float32)


def gaussian_rows(rows: int, phases: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, WIDTH) float32 of N(0, s^2) and the s of each row, (rows, 1)."""
    deviation = _deviations(rows, phases)
    return (generator(seed).standard_normal((rows, WIDTH)) * deviation).astype(np.float32), deviation


def laplace_rows(rows: int, phases: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, WIDTH) float32 of Laplace numbers of variance s^2 and the s of each row, (rows, 1)."""
    deviation = _deviations(rows, phases)
    return (generator(seed).laplace(scale=np.sqrt(0.5), size=(rows, WIDTH)) * deviation).astype(np.float32), deviation


def blocks_of_crest(kappa: float, size: int, count: int, seed: int) -> np.ndarray:
    """(count, size) float32: Gaussian blocks with one element set so that the crest factor is kappa.

    That element a follows from a^2 = kappa^2 (r + a^2) / size, with r the sum of the other squares; blocks in which
    another is larger are drawn again. The blocks' root mean squares are spread evenly in the logarithm from 1 to 2.

    Raises:
        ValueError: no block has such a crest factor, or next to none.
    """
    if not 1 < kappa < np.sqrt(size):
        raise ValueError(f"a block of {size} has a crest factor between 1 and {np.sqrt(size):.2f}, got {kappa}")
    rng, found, have = generator(seed, size), [], 0
    for _ in range(400):
        rest = rng.standard_normal((4 * count, size - 1))
        largest = kappa * np.sqrt((rest * rest).sum(-1) / (size - kappa * kappa))
        kept = np.abs(rest).max(-1) <= largest
        signed = largest * rng.choice([-1.0, 1.0], size=len(largest))
        found.append(np.concatenate([signed[kept, None], rest[kept]], axis=1))
        have += len(found[-1])
        if have >= count:
            break
    else:
        raise ValueError(f"Gaussian blocks of {size} with a crest factor of {kappa} are too rare; take a larger one")
    x = np.concatenate(found)[:count]
    x /= np.sqrt((x * x).mean(-1, keepdims=True))
    phases = (np.arange(count) + rng.random()) / count
    return (x * np.exp2(phases)[:, None]).astype(np.float32)
