"""What one to four bits a number keep of Gaussian weights: phases, three values, signs and sums of signs.

phase stack   z ~ sum of stages, each s_re {1, -1} or s_im {i, -i} of what is left        iFairy, Fairy2i
absmean       mean|w| clip(round(w / mean|w|), -1, 1)                                     BitNet b1.58
signs         mean|w| sign(w - mean w)                                                    BiPFT
sums of signs w ~ sum a_k b_k, b_k = 1 or -1, greedy or in turn with the a_k              ShiftAddLLM
mid-rise      s (round(clip(w / s) n - 1/2) + 1/2) / n, s = 2 mean|w|, n = 2^(b-1)        StatsQ
"""

from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from ...emulate.complexes import from_widely_linear, to_widely_linear
from ...emulate.packing import pack, unpack
from ...emulate.quantize import quantize
from ..errors.densities import GAUSSIAN
from ..errors.exact import FAR, Cells, moments_of, uniform_cells
from ..errors.samples import generator

MEAN = float(np.sqrt(2 / np.pi))
"""Of the magnitude of N(0, 1)."""
TERNARY = Cells(np.array([-1.0, 0.0, 1.0]), np.array([-0.5, 0.5]))
PHASES = ("phase", "phase_t2", "phase_t3", "phase_t4")


class Kept(NamedTuple):
    """What rounding does to N(0, 1): E (q - x)^2, that with the best factor on q, and the share of zeros."""

    error: float
    refitted: float
    zeros: float = 0.0


def ternary() -> Kept:
    """Three values with the mean magnitude as scale, by integration."""
    found = moments_of(TERNARY, GAUSSIAN, MEAN)
    zeros = 2 * float(GAUSSIAN.moments(np.array(MEAN / 2))[0])
    return Kept(float(found.error), 1 - float(found.cross**2 / found.square), zeros)


def statsq(bits: int) -> float:
    """The error of StatsQ on N(0, 1), rows without end, by integration."""
    return float(moments_of(uniform_cells(1 << bits), GAUSSIAN, 2 * MEAN * (1 - 0.5**bits)).error)


def signs_greedy(bits: int) -> float:
    """The error of sums of signs of N(0, 1), each scale the mean magnitude of what is left, by integration.

    What is left after k signs is symmetric; its magnitude is |x| folded at a_1, a_2, ... in turn.
    """
    found = 1.0
    edges, centres = np.array([-FAR, FAR]), np.array([0.0])
    for _ in range(bits):
        # On each cell what is left is x - centre; its sign splits the cell at the centre.
        inner = np.sort(np.concatenate([edges[:-1], np.clip(centres, edges[:-1], edges[1:]), edges[-1:]]))
        m0, m1, _ = (np.diff(each) for each in GAUSSIAN.moments(inner))
        doubled = np.repeat(centres, 2)
        side = np.where(inner[:-1] + inner[1:] < 2 * doubled, -1.0, 1.0)
        a = float(np.sum(side * (m1 - doubled * m0)))
        edges, centres, found = inner, doubled + side * a, found - a * a
    return found


def signs_best(bits: int) -> float:
    """The least error of a sum of signs with any scales, by search over the scales: E min (x - sum a_k b_k)^2."""
    patterns = np.array(list(product((-1.0, 1.0), repeat=bits)))

    def error(a: np.ndarray) -> float:
        values = np.sort(patterns @ a)
        return float(moments_of(Cells(values, (values[:-1] + values[1:]) / 2), GAUSSIAN, 1.0).error)

    starts = ([2.0**-k for k in range(bits)], [0.9 * 0.5**k + 0.1 for k in range(bits)])
    options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}
    return min(float(minimize(error, start, method="Nelder-Mead", options=options).fun) for start in starts)


def phase_errors(seed: int, shape: tuple[int, int] = (256, 512)) -> np.ndarray:
    """(4,) relative squared errors of one to four phase stages on complex Gaussian weights."""
    g = generator(seed, 1)
    z = g.standard_normal(shape) + 1j * g.standard_normal(shape)
    return np.array([np.sum(np.abs(z - quantize(z, name)) ** 2) / np.sum(np.abs(z) ** 2) for name in PHASES])


def widely_linear_error(seed: int, n: int = 64, m: int = 96) -> float:
    """How far U z + W conj(z) is off the real product, and the way back off the real matrix; the larger, relative."""
    g = generator(seed, 2)
    a, z = g.standard_normal((2 * n, 2 * m)), g.standard_normal(m) + 1j * g.standard_normal(m)
    u, w = to_widely_linear(a)
    y, parts = u @ z + w @ z.conj(), np.concatenate([z.real, z.imag])
    off = np.abs(np.concatenate([y.real, y.imag]) - a @ parts) / (np.abs(a) @ np.abs(parts))
    return float(max(off.max(), np.abs(from_widely_linear(u, w) - a).max() / np.abs(a).max()))


class Scores(NamedTuple):
    """Binary attention: the relative error of Q_b K_b^T, and how far the identity of residuals is off."""

    error: float
    identity: float


def binary_scores(seed: int, n: int = 32, d: int = 64) -> Scores:
    """Q K^T = Q_b K_b^T + R_Q K_b^T + Q_b R_K^T + R_Q R_K^T of Gaussian Q and K (n, d)."""
    g = generator(seed, 3)
    q, k = g.standard_normal((2, n, d))
    qb, kb = (quantize(each, "binary_absmean") for each in (q, k))
    rq, rk = q - qb, k - kb
    exact, binary = q @ k.T, qb @ kb.T
    identity = binary + rq @ kb.T + qb @ rk.T + rq @ rk.T - exact
    norm: Any = np.linalg.norm
    return Scores(float(norm(exact - binary) / norm(exact)), float(np.abs(identity).max()))


def packs_back(bits: int, seed: int) -> bool:
    """Whether packing numbers of so many bits gives their rounded values back, in ceil(n bits / 8) bytes."""
    g = generator(seed, 4)
    if bits == 1:
        x, fmt = np.sign(g.standard_normal(1001)), "binary"
    else:
        x, fmt = np.rint(g.uniform(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 1001)), f"int{bits}"
    packed = pack(x.astype(np.float32), fmt)
    return bool(np.array_equal(unpack(packed), x)) and packed.nbytes == -(-len(x) * bits // 8)


def convolutional_parameters(classes: int = 10, batch_norm_of_hidden: bool = True) -> int:
    """Of the VGG 64-64-P-128-128-P-256-256-P and 4096-512-classes, with biases and batch normalizations."""
    widths = (3, 64, 64, 128, 128, 256, 256)
    convolutions = sum(9 * i * o + o + 2 * o for i, o in pairwise(widths))
    hidden = 4096 * 512 + 512 + (1024 if batch_norm_of_hidden else 0)
    return convolutions + hidden + 512 * classes + classes
