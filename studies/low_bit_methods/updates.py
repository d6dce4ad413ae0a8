"""Weights in few bits that are updated without a copy in high precision: noise, compensation, decay to the middle.

    write-back   w <- Q(w + update), to nearest or at random                                              Q-GaLore
    ECO          m' = b m + (1 - b) g;  w' = q - lr m';  q = Q(w');  m <- m' + (1 - 1/b) (w' - q) / lr    ECO
    tanh         w <- c tanh(w / c) after every step: w(t) = w0 / sqrt(1 + 2 w0^2 t / (3 c^2))            4-bit CNN

Sources: arXiv:2407.08296 (Q-GaLore); ECO, as its code has it; arXiv:2603.13931.
"""

from typing import Any, NamedTuple

import numpy as np

from ...emulate.quantize import quantize
from ...sim.optimizers.compensation import Momentum, compensated
from ...sim.optimizers.namespace import Plain
from ..errors.samples import generator

NUMPY = Plain(np)


def written_back(count: int, updates: int, size: float, rounding: str, seed: int) -> np.ndarray:
    """How far weights on the integers of INT8 have moved after updates that are rounded each time.

    Args:
        count: of weights. size: of an update, in steps of the grid.
    """
    start = np.full(count, -20.0, np.float32)
    w = start
    for step in range(updates):
        w = quantize(w + np.float32(size), "int8", rounding=rounding, seed=seed, step=step)
    return w - start


def clipped_by_tanh(start: float, steps: int, limit: float) -> float:
    """w after so many w <- limit tanh(w / limit)."""
    w = start
    for _ in range(steps):
        w = limit * float(np.tanh(w / limit))
    return w


def clipped_in_time(start: float, steps: int, limit: float) -> float:
    """The solution of dw/dt = -w^3 / (3 limit^2), the leading term of what a step changes."""
    return float(start / np.sqrt(1 + 2 * start**2 * steps / (3 * limit**2)))


class Quadratic(NamedTuple):
    """SGD with momentum on a quadratic whose gradients are noisy.

    Fields:
        size: coordinates. noise: standard deviation of a gradient.
        rate, decay: of the optimizer, m' = b m + (1 - b) g.
        length: steps. average: the last of them whose mean is taken.
        fmt: of the weights.
    """

    size: int = 1000
    noise: float = 0.3
    rate: float = 0.02
    decay: float = 0.5
    length: int = 700
    average: int = 200
    fmt: str = "int16@-4"


QUADRATIC = Quadratic()
WAYS: dict[str, tuple[str | None, bool]] = {
    "master": (None, False),
    "nearest": ("nearest_even", False),
    "stochastic": ("stochastic", False),
    "ECO, nearest": ("nearest_even", True),
    "ECO, stochastic": ("stochastic", True),
}
"""How weights are kept: the rounding, None for a copy in float64, and whether momentum takes what it cuts off."""


def quadratic_loss(way: str, seed: int, of: Quadratic = QUADRATIC) -> float:
    """Half the mean squared distance from the minimum, of the average of the last iterates.

    Minima are uniform in (-1, 1), weights begin at 0. The same seed draws the same problem for every way.
    """
    rounding, feeds_back = WAYS[way]
    g = generator(seed, 7)
    minimum = g.uniform(-1, 1, of.size)
    w, m, total = (np.zeros(of.size) for _ in range(3))
    for step in range(of.length):
        m = of.decay * m + (1 - of.decay) * (w - minimum + of.noise * g.standard_normal(of.size))
        wanted = w - of.rate * m
        w = wanted if rounding is None else quantize(wanted, of.fmt, rounding=rounding, seed=seed, step=step)
        if feeds_back:
            m = compensated(NUMPY, Momentum(of.rate, of.decay), m, wanted - w, None)
        if step >= of.length - of.average:
            total += w / of.average
    return float(np.mean((total - minimum) ** 2) / 2)


class Eggroll(NamedTuple):
    """EGGROLL's integer layer: int8 with four fractional bits, weights perturbed by a product of rank one.

        y = clip((x W^T + ((x B) A^T >> (4 + s))) // (16 sqrt n))

    Fields:
        weights: (rows, n) int8. a: (rows, 1), b: (n, 1) int8. shift: s.
    """

    weights: np.ndarray
    a: np.ndarray
    b: np.ndarray
    shift: int

    def outputs(self, x: np.ndarray, sign: int = 1) -> np.ndarray:
        """(samples, rows) int64 in -127..127, of inputs (samples, n) int8; sign -1 is the antithetic member."""
        x = x.astype(np.int64)
        wide = x @ self.weights.T.astype(np.int64) + self._perturbation(x, sign)
        return np.clip(wide // round(16 * np.sqrt(self.weights.shape[1])), -127, 127)

    def _perturbation(self, x: np.ndarray, sign: int) -> np.ndarray:
        return (x @ self.b.astype(np.int64)) @ (sign * self.a.T.astype(np.int64)) >> (4 + self.shift)

    def exact(self, x: np.ndarray, sign: int = 1) -> np.ndarray:
        """The same of real numbers: x (W + sign A B^T / 2^(4 + s))^T / (16 sqrt n), not clipped."""
        perturbed = self.weights + sign * (self.a @ self.b.T.astype(np.float64)) / 2 ** (4 + self.shift)
        return x @ perturbed.T / round(16 * np.sqrt(self.weights.shape[1]))


def eggroll(seed: int, rows: int = 64, n: int = 256, samples: int = 128, shift: int = 3) -> tuple[Eggroll, np.ndarray]:
    """A layer and its inputs, Gaussian of standard deviation 1, which is 16."""
    g = generator(seed, 8)

    def drawn(*shape: int) -> Any:
        return np.clip(np.rint(16 * g.standard_normal(shape)), -127, 127).astype(np.int8)

    return Eggroll(drawn(rows, n), drawn(rows, 1), drawn(n, 1), shift), drawn(samples, n)
