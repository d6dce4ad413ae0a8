"""What four-bit training recipes rest on: derivatives, constants of scales, unbiased products, transforms.

Everything here is checked without training: exactly, by integration, or with the interval of a mean over seeds.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas

from ...emulate.quantize import quantize, scales
from ...emulate.transforms import hadamard
from ...sim.optimizers.namespace import Plain
from ...sim.optimizers.oscillation import Ramping, counted, first_sums
from ..claims import FORMULA, Claim, Measured
from ..errors.densities import GAUSSIAN
from ..errors.samples import generator, mean_of
from ..figures import COLOURS, COLUMN, MARKERS, canvas
from ..rules import Between, Equal, Printed, Within
from ..study import Context, Findings, Picture, Study
from . import derivative as derivative

SPACE = "arXiv:2509.17791, the block quantizer's derivative"
TSENG, TETRAJET, NVIDIA = "arXiv:2502.20586", "arXiv:2502.20853", "arXiv:2509.25149"
BLOCK, SIGNALS = 32, 256
UNBIASED = Within(absolute=1e-3, why="a tenth of what rounding to nearest is biased by")
SAMPLED = Within(relative=0.02, why="published from random data, good to 2%")
CEILED = "scaled(fp4_e2m1,scale=e8m0,block=32,rule=tetrajet)"
LIMITED = (1.5, 1.75)
"""Significands of a block's largest number beyond which OCP's scale leaves it above 6, and above 7, which rounds up."""


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


CLAIMS = (
    *(_claim(f"jacobian_{name}", f"With {shown} as the step and exact scales the whole Jacobian is that of the block "
             "quantizer (difference from finite differences, relative, the largest of 32 Gaussian blocks of 16).",
             SPACE, 0.0, Between(high=1e-5))
      for name, shown in (("dge", "DGE"), ("spline", "the spline"), ("identity", "the straight line"))),
    _claim("elementwise", "The derivative as printed, element by element, is that of the block quantizer (DGE; share "
           "of the Jacobian's Frobenius norm that it leaves out, mean of 64 blocks of 16).", SPACE, 0.0,
           Between(high=1e-5)),
    _claim("rounded_scales", "With scales that are powers of two the derivative has no term of the scale: finite "
           "differences are Q' alone (relative difference).", SPACE, 0.0, Between(high=1e-5)),
    _claim("dge_cap", "DGE's derivative with k = 5 is cut off at 3, which 3.39% of an interval reach.",
           "arXiv:2501.17116; recomputed", "3.39", Printed()),
    _claim("prescale_never_clips", "Over 3/4 no element of MXFP4 is beyond 6, whatever the largest number of its block "
           "(2^16 significands).", TSENG, True, Equal()),
    _claim("prescale_unbiased", "Stochastic rounding of both operands times 3/4, and 16/9 of the product, is unbiased: "
           "the share by which the product is too short.", TSENG, 0.0, UNBIASED),
    _claim("saturation_biased", "Without the 3/4 it is not: elements between 6 and 8 are cut off.", TSENG, 1e-3,
           Between(low=1e-3)),
    _claim("tetrajet_never_clips", "The scale 2^ceil(log2(amax/6)) leaves no element beyond 6, and the largest above "
           "3 (2^16 significands).", TETRAJET, True, Equal()),
    _claim("tensor_scale", "The tensor scale amax / (448 * 6) of NVFP4 brings block scales to E4M3's range: the "
           "largest is 448 for tensors of every magnitude from 1e-30 to 1e30.", NVIDIA, 448.0, Equal()),
    _claim("eden_unbiased", "MS-EDEN, rounded to nearest with corrected scales, is unbiased over its transforms (the "
           "share by which values are too short, 256 x 256 Gaussian).", "arXiv:2601.22813", 0.0, UNBIASED),
    _claim("ramping_periods", "Q-Ramping updates every floor(R/16) * 5 + 1 steps: R = 15.9, 16, 40, 160.", TETRAJET,
           [1, 6, 11, 51], Equal()),
    _claim("clip_mask", "A mask of |x| <= 6 scales takes the gradient from the largest number of 41% of Gaussian MXFP4 "
           "blocks (deviations over a whole binade).", "OCP MX v1.0; recomputed", 0.41, SAMPLED),
    _claim("clip_mask_unit", "The same with a standard deviation of 1.", "OCP MX v1.0; recomputed", 0.41, SAMPLED),
    _claim("hadamard_spike", "A Hadamard transform of 32 takes the crest factor of a block with a single number from "
           "sqrt(32) to 1.", TSENG, [5.657, 1.0], Within(absolute=1e-3, why="four digits")),
    _claim("hadamard_crest", "It brings blocks of a heavy tail (Student, 3 degrees) closer to the crest factor of "
           "Gaussian blocks: mean before over mean after.", TSENG, 1.0, Between(low=1.01)),
    _claim("hadamard_gaussian", "And leaves that of Gaussian blocks: mean before over mean after.", TSENG, 1.0,
           Within(relative=0.01, why="orthogonal transforms keep the distribution")),
)  # fmt: skip


def _blocks(count: int) -> Iterator[np.ndarray]:
    for seed in range(count):
        yield generator(seed, 1).standard_normal(16)


def jacobian_error(name: str, power_of_two: bool = False) -> float:
    """The largest relative difference of the Jacobian from finite differences; without the scale's term where s is
    rounded."""
    worst = 0.0
    for x in _blocks(32):
        exact = derivative.jacobian(x, name)
        if power_of_two:
            exact = np.diag(derivative.surrogate(name, derivative.scale_of(x, True) * x)[1])
        found = derivative.differences(x, name, power_of_two)
        worst = max(worst, float(np.linalg.norm(found - exact) / np.linalg.norm(exact)))
    return worst


def left_out(name: str) -> np.ndarray:
    """Of each block the share of its Jacobian's norm that is off the diagonal."""
    each = [derivative.jacobian(x, name) for x in _blocks(64)]
    return np.array([np.linalg.norm(j - np.diag(np.diag(j))) / np.linalg.norm(j) for j in each])


def significands() -> np.ndarray:
    """(2^16, 32) blocks of zeros but for a largest number, at each significand of 17 bits of the binade from 1."""
    x = np.zeros((1 << 16, BLOCK), np.float32)
    x[:, 0] = 1 + np.arange(1 << 16, dtype=np.float32) / (1 << 16)
    return x


def largest_elements(fmt: Any) -> np.ndarray:
    """What the largest number of each such block is over its scale, before rounding."""
    x = significands()
    return x[:, 0] / scales(x, fmt).decode[:, 0]


def product_shortening(seed: int, prescale: float) -> float:
    """1 - <C', C> / |C|^2 of C = A B^T and the product C' of both, rounded at random to MXFP4 times the prescale."""
    g = generator(seed, 2)
    a, b = g.standard_normal((2, SIGNALS, 512)).astype(np.float32)
    a, b = (each * np.exp2(g.random((SIGNALS, 1))).astype(np.float32) for each in (a, b))
    p = np.float32(prescale)
    qa, qb = (quantize(each * p, "mxfp4", scale=scales(each, "mxfp4"), rounding="stochastic", seed=seed, stream=k)
              .astype(np.float64) / prescale for k, each in enumerate((a, b)))  # fmt: skip
    c = a.astype(np.float64) @ b.T.astype(np.float64)
    return 1 - float(np.sum(qa @ qb.T * c) / np.sum(c * c))


def tensor_scaled(power: int) -> float:
    """The largest E4M3 block scale of a Gaussian NVFP4 tensor of a magnitude: D over amax / (448 * 6), rounded."""
    x = (generator(3).standard_normal((64, 64)) * 10.0**power).astype(np.float32)
    found = scales(x, "nvfp4").decode.astype(np.float64) / (float(np.abs(x).max()) / (448 * 6))
    return float(quantize(found, "ue4m3").max())


def periods(ratios: tuple[float, ...]) -> list[int]:
    """What the library's Q-Ramping makes of R at the end of a window."""
    of, zeros = Ramping(), np.zeros(len(ratios))
    memory = counted(Plain(np), of, first_sums(zeros), zeros + 1.0, np.array(ratios), of.window - 1)
    return [int(period) for period in memory["ramping_period"]]


def clipped_share(significand: float, deviation: float = 1.0, size: int = BLOCK) -> float:
    """The share of Gaussian blocks whose largest magnitude has a larger significand, by integration."""
    low = 2.0 ** np.arange(-12, 6) / deviation
    inside = [(2 * GAUSSIAN.moments(edge)[0]) ** size for edge in (significand * low, 2 * low)]
    return float(np.sum(inside[1] - inside[0]))


def over_a_binade(significand: float) -> float:
    """The same, averaged over deviations of 1 to 2, evenly in the logarithm."""
    return float(np.mean([clipped_share(significand, 2 ** (k / 64)) for k in range(64)]))


def crest(x: np.ndarray) -> np.ndarray:
    """Of blocks (..., size): the largest magnitude over the root mean square."""
    return np.abs(x).max(-1) / np.sqrt(np.mean(x * x, axis=-1))


def crest_ratio(seed: int, degrees: float | None) -> float:
    """The mean crest factor of 4096 blocks before a random Hadamard transform over that after."""
    g = generator(seed, 5)
    x = g.standard_normal((4096, BLOCK)) if degrees is None else g.standard_t(degrees, (4096, BLOCK))
    return float(crest(x).mean() / crest(hadamard(x, "rht32", seed=seed)).mean())


def _constants(seeds: int) -> dict[str, Measured]:
    from ..errors.torch_eden import shortening

    prescaled, tetrajet = largest_elements("mxfp4") * 0.75, largest_elements(CEILED)
    tops = [tensor_scaled(power) for power in range(-30, 31, 5)]
    spike = np.eye(1, BLOCK)
    return {
        "dge_cap": Measured(100 * derivative.capped_share()),
        "prescale_never_clips": Measured(bool((prescaled < 6).all())),
        "prescale_unbiased": mean_of([product_shortening(seed, 0.75) for seed in range(4 * seeds)]),
        "saturation_biased": mean_of([product_shortening(seed, 1.0) for seed in range(seeds)]),
        "tetrajet_never_clips": Measured(bool(((tetrajet <= 6) & (tetrajet > 3)).all())),
        "tensor_scale": Measured(max(tops) if max(tops) == min(tops) else min(tops)),
        "eden_unbiased": mean_of([shortening(seed) for seed in range(seeds)]),
        "ramping_periods": Measured(periods((15.9, 16.0, 40.0, 160.0))),
        "clip_mask": Measured(over_a_binade(LIMITED[0]), note="log2(4/3): the largest number is above 6 scales with a "
                              f"significand above 3/2. Numbers up to 7 round to 6; a mask of those that round beyond 6 "
                              f"takes {over_a_binade(LIMITED[1]):.3f}."),
        "clip_mask_unit": Measured(clipped_share(LIMITED[0]), note="At one deviation the largest of 32 numbers is "
                                   "mostly between 2 and 3: the share depends on the scale of the data."),
        "hadamard_spike": Measured([float(crest(each)[0]) for each in (spike, hadamard(spike, "hadamard32"))]),
        "hadamard_crest": mean_of([crest_ratio(seed, 3.0) for seed in range(seeds)]),
        "hadamard_gaussian": mean_of([crest_ratio(seed, None) for seed in range(seeds)]),
    }  # fmt: skip


def _derivative_picture() -> Picture:
    figure, (left, right) = canvas(columns=2)
    rest, places = generator(9).standard_normal(15), np.linspace(0.3, 3.5, 901)
    blocks = [np.append(rest, place) for place in places]
    for index, (name, label) in enumerate((("dge", "DGE"), ("spline", "spline"))):
        left.plot(places, [derivative.quantized(x, name)[-1] for x in blocks], color=COLOURS[index], label=label)
        right.plot(places, [derivative.elementwise(x, name)[-1] for x in blocks], color=COLOURS[index])
        right.plot(places[::25], [derivative.differences(x, name)[-1, -1] for x in blocks[::25]], MARKERS[index],
                   color=COLOURS[index], ms=3)  # fmt: skip
    left.set(xlabel="one number of a block of 16", ylabel="its quantized value")
    right.set(xlabel="one number of a block of 16", ylabel="derivative of its value", ylim=(-0.2, 5))
    left.legend(loc="upper left")
    caption = (
        "A block quantizer with smooth steps, and its derivative: formula (lines), finite differences (markers). "
        "Beyond 2.5 the number is the largest, and the scale follows it."
    )
    return Picture(figure, caption)


def _scales_picture() -> Picture:
    figure, axes = canvas(width=COLUMN)
    amax = significands()[::64, 0]
    for index, (fmt, factor, name) in enumerate((("mxfp4", 1.0, "OCP floor"), ("mxfp4", 0.75, "floor, times 3/4"),
            (CEILED, 1.0, "TetraJet"))):  # fmt: skip
        axes.plot(amax, largest_elements(fmt)[::64] * factor, color=COLOURS[index], label=name)
    axes.axhline(6, color="0.4", ls=":", lw=1)
    axes.set(xlabel="significand of the block's largest number", ylabel="its element before rounding", ylim=(2.5, 9.6))
    axes.legend(loc="upper left", ncols=2)
    return Picture(
        figure, "Where three rules of MXFP4 put the largest number of a block; 6 (dotted) is the largest value."
    )


def run(context: Context) -> Findings:
    """Differentiate, integrate and draw; some ten seconds at 'quick'."""
    seeds = 12 if context.quick else 48
    context.report(0, 2, "derivatives")
    missed = left_out("dge")
    measured = {f"jacobian_{name}": Measured(jacobian_error(name)) for name in derivative.SURROGATES}
    found = mean_of(missed)
    measured["elementwise"] = Measured(found.value, found.low, found.high, found.count, "It is the diagonal: with a "
                                       "scale of the largest number every element of the block depends on that one, "
                                       "and its column is left out.")  # fmt: skip
    measured["rounded_scales"] = Measured(jacobian_error("spline", power_of_two=True))
    context.report(1, 2, "constants")
    measured |= _constants(seeds)
    table = pandas.DataFrame({"block": range(len(missed)), "share_off_the_diagonal": missed})
    pictures = {"derivative": _derivative_picture(), "scales": _scales_picture()}
    return Findings(measured, {"off_the_diagonal": table}, pictures)


STUDY = Study(
    "fp4_numerics",
    "What four-bit recipes rest on",
    "Are the derivatives, scales and unbiased products of four-bit training recipes what their papers say?",
    ("arXiv:2509.17791", TSENG, TETRAJET, NVIDIA, "arXiv:2601.22813", "arXiv:2501.17116"),
    CLAIMS,
    run,
    ("quick", "full"),
)
