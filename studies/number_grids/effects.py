"""What a grid does beyond its mean squared error: bias, rotation, few random bits, scales that run out, decoding."""

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pandas

from ...emulate.quantize import quantize, scales
from ...emulate.transforms import hadamard
from ...formats.catalogue import format as scaled_format
from ...formats.exact import numbers, round_exact
from ...formats.registry import plain_format
from ...formats.rounding import stochastic
from ...formats.scaled import ScaledFormat
from ...formats.scaled_registry import scaled
from ..errors.densities import GAUSSIAN
from ..errors.exact import blocked
from ..errors.samples import generator

TURNED = ("int3_narrow", "int4_narrow", "int6_narrow", "int8_narrow", "e3m0", "e2m1", "nf4", "e2m3", "e3m2", "fp8_e4m3",
          "posit8")  # fmt: skip
UNIFORM, E2M1 = "int4_narrow", "fp4_e2m1"
SCALE_FORMATS = ("ue1m6", "ue2m5", "ue3m4", "ue4m3", "ue5m2", "ue6m1", "ue7m0")
"""Every split of seven bits; with the sign bit that they have in hardware these are E1M6 to E7M0."""


def bin_bias(name: str) -> list[float]:
    """(2 q_i - q_(i-1) - q_(i+1)) / 4 of the positive values between others: the mean error of numbers spread evenly
    over the cell of q_i (arXiv:2606.20381)."""
    q = [value for value in numbers(plain_format(name)) if value >= 0]
    return [float((2 * here - below - above) / 4) for below, here, above in zip(q, q[1:], q[2:])]


def heavy_tailed(rows: int, sigma: float, seed: int) -> np.ndarray:
    """(rows, 512) float32: N(0, 1) times exp(sigma N(0, 1)), each number with a scale of its own."""
    rng = generator(seed, 1)
    x = rng.standard_normal((rows, 512))
    return (x * np.exp(sigma * rng.standard_normal((rows, 512)))).astype(np.float32)


def mean_decibels(x: np.ndarray, q: np.ndarray, size: int = 16) -> float:
    """The mean over blocks of the decibels of each; -90 to 90."""
    wide, found = (each.astype(np.float64).reshape(-1, size) for each in (x, q))
    power, noise = (wide * wide).sum(-1), ((found - wide) ** 2).sum(-1)
    return float((10 * np.log10(power / np.maximum(noise, 1e-9 * power))).mean())


def rotated(x: np.ndarray, element: str, seed: int) -> tuple[float, float]:
    """Mean decibels of NVFP4-like blocks of 16 without and after a random Hadamard transform of 16."""
    fmt = scaled(element, scale="ue4m3", block=16, outer="binary32")
    y = hadamard(x, "rht16", seed=seed)
    return mean_decibels(x, quantize(x, fmt)), mean_decibels(y, quantize(y, fmt))


def rotation_table(rows: int) -> pandas.DataFrame:
    """`rotated` of many grids at three weights of the tails."""
    data = {sigma: heavy_tailed(rows, sigma, 0) for sigma in (0.5, 1.0, 1.6)}
    found = [(name, sigma, *rotated(x, name, 0)) for name in TURNED for sigma, x in data.items()]
    return pandas.DataFrame(found, columns=["format", "sigma", "without_db", "after_db"])


def few_bit_bias(bits: int, discarded: int, variant: Any = "A") -> Fraction:
    """Mean of Q(x) - x in units of the gap, over all fractions of so many discarded bits and all random words."""
    fmt, mode = plain_format("e2m1"), stochastic(bits, variant)
    fractions = [Fraction(k, 1 << discarded) for k in range(1 << discarded)]
    # The gap from 4 to 6.
    total = sum(
        (round_exact(fmt, 4 + 2 * nu, mode, word, bits) - 4) / 2 - nu
        for nu, word in product(fractions, range(1 << bits))
    )
    return Fraction(total) / (len(fractions) << bits)


def continuous_bias(bits: int, variant: Any = "A") -> float:
    """The limit of `few_bit_bias` for many discarded bits: the bias is a constant plus a multiple of 2^-discarded."""
    return float(2 * few_bit_bias(bits, 9, variant) - few_bit_bias(bits, 8, variant))


def bias_table() -> pandas.DataFrame:
    """The bias of each variant by the number of random bits, for continuous inputs, in gaps."""
    rows = [(bits, variant, continuous_bias(bits, variant)) for bits in range(1, 5) for variant in "ABC"]
    return pandas.DataFrame(rows, columns=["random_bits", "variant", "bias"])


def up_probability(nu: Fraction, bits: int, variant: Any) -> float:
    """How often a fraction nu of the gap is rounded up."""
    fmt, mode = plain_format("e2m1"), stochastic(bits, variant)
    ups = sum(round_exact(fmt, 4 + 2 * nu, mode, word, bits) == 6 for word in range(1 << bits))
    return ups / (1 << bits)


def decoded_share(name: str) -> float:
    """The share of products of a nonzero element and a bfloat16 scale that bfloat16 cannot hold; all equally often."""
    elements = np.array([float(value) for value in numbers(plain_format(name)) if value > 0], np.float32)
    products = elements[:, None] * np.arange(128, 256, dtype=np.float32)
    return float(np.mean(np.asarray(quantize(products, "bf16")) != products))


def decoded_share_of(x: np.ndarray, name: str) -> float:
    """The same of numbers in blocks of 32 whose bfloat16 scales follow the largest magnitude, zeros included."""
    q = quantize(x, scaled(name, scale="bf16", block=32))
    return float(np.mean(np.asarray(quantize(q, "bf16")) != q))


def clamped_share(level: float, fmt: str | ScaledFormat, spread: float = 0.02, seed: int = 0) -> float:
    """The share of weights N(level, (spread level)^2) that lie beyond the largest value of their block and so become
    equal: weights of a LayerNorm, which lie close together."""
    w = (level * (1 + spread * generator(seed, 2).standard_normal((64, 256)))).astype(np.float32)
    resolved: Any = scaled_format(fmt)
    largest = float(resolved.element.max) * np.asarray(scales(w, resolved).decode, np.float64)
    return float(np.mean(w.reshape(-1, resolved.block_size) > largest.reshape(-1, 1)))


def spread_noise(scale_format: str, binades: float, seed: int, blocks: int = 4096) -> float:
    """Mean noise of E2M1 blocks of 16, each relative to its own power, under a tensor scale.

    Blocks are N(0, s^2) with log2 s normal of standard deviation `binades`.
    """
    rng = generator(seed, 3)
    x = rng.standard_normal((blocks, 16)) * np.exp2(binades * rng.standard_normal((blocks, 1)))
    wide = x.astype(np.float32)
    q = np.asarray(quantize(wide, scaled(E2M1, scale=scale_format, block=16, outer="binary32")), np.float64)
    return float((((q - wide) ** 2).sum(-1) / (wide.astype(np.float64) ** 2).sum(-1)).mean())


def noise_at(scale_format: str, log2_deviation: float) -> float:
    """Relative noise of E2M1 blocks of 16 of N(0, s^2) without a tensor scale, exactly."""
    fmt = scaled(E2M1, scale=scale_format, block=16, rule="nearest" if scale_format != "e8m0" else "floor")
    return blocked(fmt, GAUSSIAN, deviation=2.0**log2_deviation).error


def zero_blocks(scale_format: str, log2_deviation: float) -> float:
    """The share of those blocks that become all zero: no number rounds away from zero under the smallest scale."""
    smallest: Any = plain_format(scale_format).min_positive
    reach = float(smallest) / 4 / 2.0**log2_deviation
    return float((2 * GAUSSIAN.moments(np.array(reach))[0]) ** 16)


def half_step_over_noise(bits: int = 16) -> float:
    """The largest number that rounds to zero on an even grid, over the root mean square error of rounding to it."""
    x = (np.arange(-(1 << bits), 1 << bits) + 0.5) / (1 << bits) * 8
    x = x.astype(np.float32)
    q = np.asarray(quantize(x, "int8"))
    noise = float(np.sqrt(np.mean((q - x) ** 2, dtype=np.float64)))
    return float(np.abs(x[q == 0]).max()) / noise
