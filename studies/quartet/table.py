"""The errors of Quartet's quantizers on Gaussian data (arXiv:2505.14669v4, table 2; arXiv:2601.22813, its table).

Two numbers of values x and what a quantizer makes of them, q:

    error          |q - x|^2 / |x|^2
    misalignment   1 - <q, x> / |x|^2, the share by which q is shorter along x; 0 of an unbiased quantizer

Scales that are powers of two see the scale of the data: at one standard deviation the largest magnitudes of blocks fall
on one side of a power of two. Data of N(0, 1) times 2^U, U uniform in [0, 1), meet them everywhere.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ...emulate.quantize import quantize, scales
from ...formats.scaled_registry import scaled
from ..claims import Measured
from ..errors.densities import GAUSSIAN
from ..errors.exact import Rounded, cells_of, scale_steps, stepped
from ..errors.samples import mean_of

BLOCK = 32
WIDTH = 1024
Quantize = Callable[[np.ndarray, int], Any]
"""From (rows, WIDTH) float32 and a seed to values of the same shape."""
OPTIMAL = 2.92247856 / 6
"""Scale of E2M1 that is best for N(0, 1): the code's (IST-DASLab/Quartet); study number_grids finds it."""
LARGEST = Fraction(96, 17)
"""6 / (17/16): an element stays below 6 although its scale may be rounded down by a 17th."""
EDEN_SHRINK = Fraction(93, 100)


def prescaled(x: np.ndarray, seed: int, rounding: str) -> np.ndarray:
    """MXFP4 with OCP's floor of the scale, over 3/4: the largest of a block becomes 3 to 6."""
    return quantize(x * np.float32(0.75), "mxfp4", scale=scales(x, "mxfp4"), rounding=rounding, seed=seed) / 0.75


def quest(x: np.ndarray, power: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """MXFP4 with a power of two for `OPTIMAL` times the deviation of each block.

    Args:
        power: from the logarithm, base two, to a whole number: `np.floor` as in the published code, `np.round`, ...
    """
    deviation = x.reshape(len(x), -1, BLOCK).std(axis=-1, dtype=np.float64)
    return quantize(x, "mxfp4", scale=np.exp2(power(np.log2(OPTIMAL * deviation + 1e-8))).astype(np.float32))


def nvfp4(target: Fraction | int) -> Quantize:
    """NVFP4 whose largest element becomes `target`, nearest."""
    fmt = scaled("fp4_e2m1", scale="ue4m3", block=16, outer="binary32", target=target)
    return lambda x, seed: quantize(x, fmt)


def nvfp4_stochastic(x: np.ndarray, seed: int) -> np.ndarray:
    """NVFP4 rounded at random, with room for scales that are rounded down."""
    fmt = scaled("fp4_e2m1", scale="ue4m3", block=16, outer="binary32", target=LARGEST)
    return quantize(x, fmt, rounding="stochastic", seed=seed)


def nvfp4_eden(x: np.ndarray, seed: int) -> np.ndarray:
    """MS-EDEN as the recipe `quartet2` has it. Gaussian data need no rotation."""
    from ..errors.torch_eden import nvfp4_eden as eden

    return eden(x, seed)


def mxfp4_eden(x: np.ndarray, seed: int, group: int = 128) -> np.ndarray:
    """EDEN with scales that are powers of two: nearest elements, then scales times sum x^2 / sum x q, at random."""
    fmt = scaled("fp4_e2m1", scale="e8m0", block=BLOCK, rule="tetrajet", target=6 / (Fraction(17, 16) * EDEN_SHRINK))
    values = quantize(x, fmt).astype(np.float64)
    size = scales(x, fmt).decode.astype(np.float64).reshape(-1, 1)
    wide, near = x.astype(np.float64).reshape(-1, group), values.reshape(-1, group)
    factor = np.repeat((wide * wide).sum(-1) / (wide * near).sum(-1), group // BLOCK).reshape(-1, 1)
    drawn = quantize((size * factor).astype(np.float32), "e8m0", rounding="stochastic", seed=seed)
    return (values.reshape(-1, BLOCK) / size * drawn).reshape(x.shape)


_MX = scaled("fp4_e2m1", scale="e8m0", block=BLOCK, rule="mse")
_SQUARE = "scaled(fp4_e2m1,scale=ue4m3,block=16x16,rule=nearest+mse:1.0/1.5,outer=binary32,outer_target=256)"


class Row(NamedTuple):
    """A quantizer.

    Args:
        quantize: it. phases: whether data are averaged over scales between 1 and 2.
        seeds: how many the mean is over at scale 'quick'; misalignments of nearest values need more.
    """

    quantize: Quantize
    phases: bool
    seeds: int = 5


QUARTET: dict[str, Row] = {
    "sr": Row(lambda x, seed: prescaled(x, seed, "stochastic"), True),
    "rtn": Row(lambda x, seed: prescaled(x, seed, "nearest_even"), True, 20),
    "quest": Row(lambda x, seed: quest(x, np.round), True, 20),
    "quest_floor": Row(lambda x, seed: quest(x, np.floor), True),
    "quest_3_2": Row(lambda x, seed: quest(x, lambda power: np.floor(power + np.log2(1.5))), True, 20),
    "ocp": Row(lambda x, seed: quantize(x, "mxfp4"), True),
    "sr_one_phase": Row(lambda x, seed: prescaled(x, seed, "stochastic"), False),
    "rtn_one_phase": Row(lambda x, seed: prescaled(x, seed, "nearest_even"), False),
}
"""Table 2's, and what tells conventions apart."""

QUARTET_2: dict[str, Row] = {
    "nvfp4_rtn": Row(nvfp4(6 / (Fraction(17, 16) * EDEN_SHRINK)), False, 40),
    "nvfp4_rtn_6": Row(nvfp4(6), False),
    "nvfp4_sr": Row(nvfp4_stochastic, False),
    "nvfp4_eden": Row(nvfp4_eden, False),
    "mxfp4_rtn": Row(lambda x, seed: quantize(x, _MX), False, 20),
    "mxfp4_sr": Row(lambda x, seed: prescaled(x, seed, "stochastic"), True),
    "mxfp4_eden": Row(mxfp4_eden, True, 210),
    "four_over_six": Row(lambda x, seed: quantize(x, "four_over_six"), False),
    "squares": Row(lambda x, seed: quantize(x, "nvfp4_2d"), False),
    "squares_four_over_six": Row(lambda x, seed: quantize(x, _SQUARE), False),
}
"""Quartet II's."""


def gaussian(rows: int, phases: bool, seed: int) -> np.ndarray:
    """(rows, WIDTH) float32; with phases each row has its own scale, spread evenly from 1 to 2."""
    rng = np.random.Generator(np.random.PCG64(seed))
    scale = np.exp2((np.arange(rows) + rng.random()) / rows)[:, None] if phases else 1.0
    return (rng.standard_normal((rows, WIDTH)) * scale).astype(np.float32)


def of_values(x: np.ndarray, q: Any) -> tuple[float, float]:
    """Error and misalignment, each row relative to its own norm."""
    wide, found = x.astype(np.float64), np.asarray(q, np.float64)
    norm = (wide * wide).sum(-1)
    return float((((found - wide) ** 2).sum(-1) / norm).mean()), float((1 - (found * wide).sum(-1) / norm).mean())


def integrated(factor: float, phases: int = 64) -> Rounded:
    """Error and misalignment of MXFP4, nearest, without sampling.

    Args:
        factor: times OCP's floor of the scale; 4/3 is `prescaled`.
        phases: how many deviations between 1 and 2 the mean is over; 1 for a deviation of 1.
    """
    fmt = scaled("fp4_e2m1", scale="e8m0", block=BLOCK)
    starts, sizes = scale_steps(fmt)
    deviations = 2.0 ** (np.arange(phases) / phases)
    each = [stepped(cells_of(fmt.element), GAUSSIAN, BLOCK, (starts, factor * sizes), deviation=s) for s in deviations]
    return Rounded(*np.mean(each, axis=0).tolist())


class Errors(NamedTuple):
    """Error and misalignment with their intervals."""

    error: Measured
    misalignment: Measured


def errors_of(row: Row, more: int = 1, rows: int = 512) -> Errors:
    """The mean over independent seeds, and its 95% interval.

    Args:
        more: times as many seeds. rows: of data for each.
    """
    found = []
    for seed in range(more * row.seeds):
        x = gaussian(rows, row.phases, seed)
        found.append(of_values(x, row.quantize(x, seed)))
    return Errors(*(mean_of(each) for each in zip(*found)))


def averaged_products(row: Row, counts: tuple[int, ...], seeds: int, size: int = 128) -> Iterator[np.ndarray]:
    """Relative squared errors of the mean of so many products of matrices quantized anew, (counts,) for each seed."""
    for seed in range(seeds):
        a, b = gaussian(size, False, 2 * seed), gaussian(size, False, 2 * seed + 1)
        exact = a.astype(np.float64) @ b.astype(np.float64).T
        total, found = np.zeros_like(exact), {}
        for repeat in range(1, max(counts) + 1):
            first, second = (2 * (seed * max(counts) + repeat) + k for k in (0, 1))
            total += np.asarray(row.quantize(a, first), np.float64) @ np.asarray(row.quantize(b, second), np.float64).T
            found[repeat] = ((total / repeat - exact) ** 2).sum() / (exact**2).sum()
        yield np.array([found[count] for count in counts])
