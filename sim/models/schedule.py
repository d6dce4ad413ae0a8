"""Denoising diffusion as data: how much signal is left at each time, and the terms of the sampler. No framework here.

Ho, Jain, Abbeel: Denoising diffusion probabilistic models (arXiv:2006.11239), with the cosine schedule of Nichol and
Dhariwal (arXiv:2102.09672), equation 17. A noisy image is x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, where a_t is the
`alpha_bar` of time t, and e is standard normal.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from .denoisers import TIME_FEATURES

STEPS = 200
"""Times of the diffusion."""
_OFFSET = 0.008
_LARGEST_BETA = 0.999


class Schedule(NamedTuple):
    """(steps,) float32 each, by time; a step of the sampler draws from a normal distribution.

    Fields:
        alpha_bar: the share of the signal's variance that is left.
        of_clean, of_noisy: what its mean takes of the predicted image and of the noisy one; equation 7 of Ho et al.
        deviation: its standard deviation, 0 in the last step.
    """

    alpha_bar: np.ndarray
    of_clean: np.ndarray
    of_noisy: np.ndarray
    deviation: np.ndarray


@cache
def schedule() -> Schedule:
    """The cosine schedule of `STEPS` times."""
    at = np.arange(STEPS + 1) / STEPS
    curve = np.cos((at + _OFFSET) / (1 + _OFFSET) * np.pi / 2) ** 2
    beta = np.minimum(1 - curve[1:] / curve[:-1], _LARGEST_BETA)
    after = np.cumprod(1 - beta)
    before = np.concatenate([[1.0], after[:-1]])
    of_clean = np.sqrt(before) * beta / (1 - after)
    of_noisy = np.sqrt(1 - beta) * (1 - before) / (1 - after)
    deviation = np.sqrt(beta * (1 - before) / (1 - after))
    return Schedule(*(a.astype(np.float32) for a in (after, of_clean, of_noisy, deviation)))


@cache
def time_features() -> np.ndarray:
    """(steps, TIME_FEATURES) float32 sines and cosines of each time, at frequencies from 1 to 1/1000 a step."""
    frequencies = 1000.0 ** -np.linspace(0, 1, TIME_FEATURES // 2)
    angles = np.outer(np.arange(STEPS), frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
