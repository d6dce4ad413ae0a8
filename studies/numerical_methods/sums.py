"""Sums and inner products: where they stop growing, and how their errors grow with their length."""

from typing import Any, NamedTuple

import numpy as np

from ...emulate import linalg
from ...emulate.quantize import quantize
from ...emulate.units.accumulator import Accumulator
from ...emulate.units.matmul import matmul
from .statistics import Estimate, mean, slope

HALF = 2.0**-11
"""The unit roundoff of fp16, rounding to nearest."""
TENSOR_CORE = Accumulator("fp32", order="aligned", chunk=32, aligned_bits=13)
"""A model of Hopper's FP8 unit: 32 exact products and the sum, each cut to 13 bits below the largest."""
UNITS: dict[str, Any] = {
    "fp32": Accumulator("fp32"),
    "13 bits, aligned": TENSOR_CORE,
    "E8M13, to nearest": Accumulator("fp22"),
    "E8M13, cut": Accumulator("fp22", rounding="toward_zero", fma=True),
    "E8M13, cut, fp32 every 128": Accumulator("fp22", order="blocked", chunk=128, rounding="toward_zero", fma=True),
    "bf16": Accumulator("bf16"),
}
"""Accumulators of FP8 products, by the names that pictures show."""


class Stagnation(NamedTuple):
    """Where a sum stops: its value, and the first term that no longer changes it, counted from 1."""

    value: float
    terms: int


def harmonic(fmt: str, most: int) -> Stagnation:
    """Of 1 + 1/2 + 1/3 + ..., every operation rounded to nearest.

    The terms fall, so that a term without effect has only such after it: what to look for is the least number of terms
    with the sum of all `most`.
    """
    terms = quantize(1 / np.arange(1, most + 1, dtype=np.float64), fmt)
    final = float(linalg.sum(terms, fmt))
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if float(linalg.sum(terms[:middle], fmt)) == final:
            high = middle
        else:
            low = middle + 1
    if low == most:
        raise ValueError(f"the harmonic sum of {most} terms still grows in {fmt}; take more terms")
    return Stagnation(final, low + 1)


def stochastic_harmonic(terms: int, runs: int) -> Estimate:
    """The mean over runs of the harmonic sum in fp16, rounded stochastically, over the exact sum of the same terms."""
    x = quantize(1 / np.arange(1, terms + 1, dtype=np.float64), "fp16")
    found = linalg.sum(np.tile(x, (runs, 1)), "fp16", axis=1, method="stochastic", seed=0)
    return mean(np.asarray(found, np.float64) / np.sum(x, dtype=np.float64))


LENGTHS = tuple(2**k for k in range(4, 13))
DATA = ("uniform", "centred", "constant")


def vectors(data: str, n: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, n) and (n, 1) numbers of fp16: uniform in [0, 1], in [-1, 1], or a row of one number from [1/2, 1]."""
    rng = np.random.Generator(np.random.PCG64([n, DATA.index(data)]))
    if data == "constant":
        a, b = np.tile(rng.uniform(0.5, 1, (rows, 1)), (1, n)), np.ones((n, 1))
    else:
        low = 0 if data == "uniform" else -1
        a, b = rng.uniform(low, 1, (rows, n)), rng.uniform(low, 1, (n, 1))
    return quantize(a, "fp16"), quantize(b, "fp16")


def backward_errors(data: str, n: int, rows: int, rounding: str) -> np.ndarray:
    """(rows,) |computed - exact| / |x|'|y| of inner products of length n in fp16."""
    a, b = vectors(data, n, rows)
    seed = 0 if rounding == "stochastic" else None
    found = matmul(a, b, accumulator="fp16", rounding=rounding, seed=seed)[:, 0]
    wide, tall = a.astype(np.float64), b[:, 0].astype(np.float64)
    return np.abs(found - wide @ tall) / (np.abs(wide) @ np.abs(tall))


def growth(data: str, rounding: str, rows: int) -> tuple[np.ndarray, Estimate]:
    """The errors, (lengths, rows), of inner products, and the power of n with which they grow."""
    errors = np.stack([backward_errors(data, n, rows, rounding) for n in LENGTHS])
    return errors, slope(LENGTHS, errors)


def fp8_errors(unit: Any, n: int, seed: int, size: int = 32) -> np.ndarray:
    """(size, size) relative errors of a product of uniform matrices of E4M3, summed in a unit."""
    rng = np.random.Generator(np.random.PCG64([n, seed]))
    a, b = (quantize(rng.random(shape).astype(np.float32), "fp8_e4m3") for shape in ((size, n), (n, size)))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    return np.abs(matmul(a, b, accumulator=unit) - exact) / exact


def int8_sum(n: int) -> int:
    """The sum of n products (-128)(-128) in an int32 accumulator, which wraps."""
    x = np.full((1, n), -128.0, np.float32)
    return int(matmul(x, x.T, accumulator="int32")[0, 0])
