"""Grids of numbers: what each format loses on random data, by exact integration, and the small print of grids.

Every minifloat of up to 8 bits, integers, codebooks and tapered formats on Gaussian, Laplace and Student's numbers,
under one best scale and under block scales of several rules, nearest and at random (`grids_survey`). Then what papers
say of uniform grids, shrinkage, rotations, few random bits, and scales (`grids_effects`).
"""

from fractions import Fraction
from typing import Any

import numpy as np
import pandas
from scipy.stats import norm

from ...emulate.quantize import quantize
from ...formats.registry import plain_format
from ...formats.scaled_registry import scaled
from ..claims import FORMULA, Claim, Measured
from ..errors.densities import GAUSSIAN
from ..errors.exact import best_scale, blocked, cells_of, lloyd_max, moments_of, uniform_cells, usage
from ..errors.samples import gaussian_rows, mean_of
from ..rules import Between, Equal, Printed, Within
from ..study import Context, Findings, Study
from . import pictures as pictures
from .effects import (
    E2M1,
    SCALE_FORMATS,
    UNIFORM,
    bias_table,
    bin_bias,
    clamped_share,
    continuous_bias,
    decoded_share,
    decoded_share_of,
    few_bit_bias,
    half_step_over_noise,
    heavy_tailed,
    noise_at,
    rotated,
    rotation_table,
    spread_noise,
    up_probability,
    zero_blocks,
)
from .survey import survey

QUARTET, SHRINKAGE, P3109, QLORA = "arXiv:2505.14669v4", "arXiv:2606.20381", "IEEE P3109 v4.0", "arXiv:2305.14314"
CLIPS = {
    "1": ("0.797885", "0.363380"), "ternary": ("1.224009", "0.190174"), "2": ("1.493535", "0.118846"),
    "3": ("2.051068", "0.0374397"), "4": ("2.513932", "0.0115429"), "5": ("2.916090", "0.00349521"),
    "6": ("3.276597", "0.00104005"), "7": ("3.601044", "0.000304366"), "8": ("3.884997", "0.0000878212"),
}  # fmt: skip
"""Bits: the clip and the mean squared error of the best uniform grid of N(0, 1)."""
MAXIMA = {"fp8_e4m3": 448.0, "fp8_e5m2": 57344.0, "fp6_e3m2": 28.0, "fp6_e2m3": 7.5, "fp4_e2m1": 6.0,
          "ue5m3": 114688.0, "binary8p3se": 49152.0, "binary8p4se": 224.0, "posit8": 2.0**24,
          "takum8": 2.0**239}  # fmt: skip
NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)  # fmt: skip
SIGMA = 1.6
"""Of the heavy-tailed data: the value at which the four published numbers come closest."""
LAYER_NORM = (0.89740956, 0.89628334, 0.88358812, 0.88474816, 0.90372837)
"""Weights as close together as those of a trained LayerNorm."""
_RANDOM = "random data, 2%"
_NOISE = Within(absolute=0.0864, why="random data, 2% of the noise")


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


def _bits(bits: str) -> str:
    return "three values" if bits == "ternary" else f"{bits} bit{'s' if bits != '1' else ''}"


CLAIMS = (
    *(_claim(f"clip_{bits}", f"The best uniform grid of {_bits(bits)} for N(0, 1) ends at {clip}.",
             f"{QUARTET}, code", clip, Printed()) for bits, (clip, _) in CLIPS.items()),
    *(_claim(f"mse_{bits}", f"The best uniform grid of {_bits(bits)} for N(0, 1) has a mean squared error of {mse}.",
             f"{QUARTET}, code", mse, Printed()) for bits, (_, mse) in CLIPS.items()),
    _claim("mse_at_clips", "The printed clips have the printed errors.", f"{QUARTET}, code",
           [mse for _, mse in CLIPS.values()], Printed()),
    _claim("e2m1_scale", "The best scale of E2M1 for N(0, 1) is 0.487079.", f"{QUARTET}, code", "0.487079", Printed()),
    _claim("e2m1_mse", "Its mean squared error is 0.0126849.", f"{QUARTET}, code", "0.0126849", Printed()),
    _claim("bin_bias_e2m1", "Of E2M1's values .5 to 4 those with unequal gaps are biased: -.125 at 2 and -.25 at 4, "
           "none elsewhere.", SHRINKAGE, [0.0, 0.0, 0.0, -0.125, 0.0, -0.25], Equal()),
    _claim("bin_bias_uniform", "Uniform grids (INT4, E1M2) have no such bias.", SHRINKAGE, [0.0] * 12, Equal()),
    _claim("shrinkage_e2m1", "E2M1 shortens Gaussian blocks of 16 (exact scales) along themselves by 4.1e-3.",
           f"{SHRINKAGE} (recomputed)", 4.1e-3, Within(relative=0.02, why=_RANDOM)),
    _claim("shrinkage_int4", "INT4 lengthens them by 6.6e-4.", f"{SHRINKAGE} (recomputed)", -6.6e-4,
           Within(relative=0.02, why=_RANDOM)),
    _claim("sqnr_e2m1", "The signal over noise of these E2M1 blocks is 20.53 dB.", f"{SHRINKAGE} (recomputed)", 20.53,
           _NOISE),
    _claim("sqnr_int4", "That of INT4 is 21.39 dB.", f"{SHRINKAGE} (recomputed)", 21.39, _NOISE),
    _claim("rotation_directions", "On heavy-tailed data a random Hadamard transform helps uniform 4-bit grids and "
           "hurts E2M1.", SHRINKAGE, [True, True], Equal()),
    _claim("rotation_numbers", "SQNR of E1M2 without and after the transform, then of E2M1: 19.94, 23.19, 21.90, 20.00 "
           f"dB. The paper's data are not stated; here N(0, 1) exp({SIGMA} N(0, 1)), which is fitted, blocks of 16, "
           "E4M3 and tensor scales, the mean of the blocks' decibels.", SHRINKAGE, [19.94, 23.19, 21.90, 20.00],
           Within(relative=0.02, why=_RANDOM)),
    _claim("few_bits_up", "Stochastic rounding with few bits goes up with probability 0, 1/2, 0 (a fraction of 1/4, "
           "one bit) and 3/4, 1, 1 (7/8, two bits) in variants A, B, C.", P3109,
           [0.0, 0.5, 0.0, 0.75, 1.0, 1.0], Equal()),
    _claim("few_bits_bias", "Variant A is biased by -.125 of a gap with 2 bits and -.0625 with 3 (continuous inputs).",
           f"{P3109} (derived)", ["-0.125", "-0.0625"], Printed()),
    _claim("few_bits_measured", "Measured biases are -.124 with 2 bits and -.047 with 3 (here: sources with 9 and with "
           "5 discarded bits).", "measured values, their paper not known here (cf. arXiv:2504.20634)",
           ["-0.124", "-0.047"], Printed()),
    _claim("few_bits_unbiased", "Variants B and C have no bias on continuous inputs (each with 2 and 3 bits).",
           f"{P3109} (derived)", [0.0] * 4, Equal()),
    _claim("decode_codes", "Decoding blocks with BF16 scales in BF16 rounds 28 to 43% of operands (E2M1 and INT4; all "
           "nonzero elements and all significands equally often).", "recomputed", [0.28, 0.43], Between(0.28, 0.43)),
    _claim("decode_gaussian", "The same of Gaussian blocks of 32 (E2M1 and INT4, scales from the largest magnitude).",
           "recomputed", [0.28, 0.43], Between(0.28, 0.43)),
    _claim("sqrt3", "Training stalls where |g| falls below sqrt(3) times the quantization noise: half a step, below "
           "which a number rounds to zero, is sqrt(3) times the noise of even steps.",
           "arXiv:2505.19115 (derived here)", 3**0.5, Within(relative=1e-3, why="inputs on a fine grid")),
    _claim("scale_formats_best", "E3M4 and E4M3 are the best scales of E2M1 blocks of 16 (here: least mean relative "
           "noise of blocks whose log2 amplitudes have a standard deviation of 2, tensor scale).",
           "arXiv:2505.19115", ["ue3m4", "ue4m3"], Equal()),
    _claim("scale_formats_worst", "E1M6 is the worst.", "arXiv:2505.19115", "ue1m6", Equal()),
    _claim("layer_norm_collapse", "LayerNorm weights between .88 and .91 in one MXFP8 (E4M3) block all become one "
           "value.",
           "arXiv:2506.20752", True, Equal()),
    _claim("layer_norm_share", "Weights close to a level lose their differences in E4M3 where the level lies in the "
           "last eighth of a binade, and not below (share of weights clamped at .94 and at .8, 2% spread).",
           "arXiv:2506.20752 (a consequence)", [1.0, 0.0], Within(absolute=0.05, why="the block's spread")),
    _claim("underflow_e4m3", "Without a tensor scale blocks of small numbers become all zero under E4M3 scales (share "
           "at a standard deviation of 2^-13).", "NVFP4, arXiv:2509.25149 (a consequence)", 1.0, Between(low=0.99)),
    _claim("maxima", f"The largest values of {', '.join(MAXIMA)}.", "the standards of the formats",
           list(MAXIMA.values()), Equal()),
    _claim("nf4_values", "NF4's values are normalized quantiles of N(0, 1), of 9 and 8 even shares up to .9677083.",
           f"{QLORA}, code", list(NF4), Within(absolute=2e-7, why="the table is float32")),
    _claim("nf4_bins", "Each NF4 value is used equally often (least and most used of 16, in sixteenths; Gaussian "
           "blocks of 64).", QLORA, [1.0, 1.0], Between(0.9, 1.1)),
)  # fmt: skip


def _uniform() -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    at_clips = []
    flat = "The error is flat around its minimum; the printed clip has the printed error, and a lower one exists."
    for bits, (clip, mse) in CLIPS.items():
        cells = uniform_cells(3 if bits == "ternary" else 1 << int(bits))
        scale, error = best_scale(cells, GAUSSIAN)
        at_clips.append(float(moments_of(cells, GAUSSIAN, float(clip)).error))
        found[f"clip_{bits}"] = Measured(scale, note="" if abs(scale - float(clip)) < 5e-7 else flat)
        found[f"mse_{bits}"] = Measured(error, note=flat if error < 0.9999 * float(mse) else "")
    scale, error = best_scale(cells_of(plain_format(E2M1)), GAUSSIAN)
    return {**found, "mse_at_clips": Measured(at_clips), "e2m1_scale": Measured(scale), "e2m1_mse": Measured(error)}


def _shrinkage(seeds: int, rows: int) -> dict[str, Measured]:
    exact = {name: blocked(scaled(name, block=16), GAUSSIAN) for name in (E2M1, UNIFORM)}
    each = []
    for seed in range(seeds):
        x = heavy_tailed(rows, SIGMA, seed)
        each.append([*rotated(x, UNIFORM, seed), *rotated(x, E2M1, seed)])
    rotation = mean_of(each)
    gain = np.array(each)[:, [1, 2]] - np.array(each)[:, [0, 3]]
    note = "By integration. A million random numbers leave a standard error of 8e-5, more than the difference."
    fitted = "Weak: one number was fitted to four; it shows that such data exist."
    return {
        "bin_bias_e2m1": Measured(bin_bias(E2M1)),
        "bin_bias_uniform": Measured(bin_bias(UNIFORM) + bin_bias("fp4_e1m2")),
        "shrinkage_e2m1": Measured(exact[E2M1].shrinkage),
        "shrinkage_int4": Measured(exact[UNIFORM].shrinkage, note=note),
        "sqnr_e2m1": Measured(exact[E2M1].decibels),
        "sqnr_int4": Measured(exact[UNIFORM].decibels),
        "rotation_directions": Measured(np.all(gain > 0, axis=0).tolist()),
        "rotation_numbers": Measured(rotation.value, rotation.low, rotation.high, rotation.count, fitted),
    }


def _few_bits() -> dict[str, Measured]:
    cases = ((Fraction(1, 4), 1), (Fraction(7, 8), 2))
    unbiased = [continuous_bias(bits, variant) for variant in ("B", "C") for bits in (2, 3)]
    note = "The bias is -(2^-N - 2^-d) / 2 with N random, d discarded bits: 9 from fp16 to E2M1, 5 from bf16 to "
    note += "E5M2. These d were looked for; that they were the published ones is not known."
    return {
        "few_bits_up": Measured([up_probability(nu, bits, variant) for nu, bits in cases for variant in "ABC"]),
        "few_bits_bias": Measured([continuous_bias(bits) for bits in (2, 3)]),
        "few_bits_measured": Measured([float(few_bit_bias(2, 9)), float(few_bit_bias(3, 5))], note=note),
        "few_bits_unbiased": Measured(unbiased),
    }


def _scales(seeds: int, rows: int) -> dict[str, Measured]:
    share = mean_of([[decoded_share_of(gaussian_rows(rows, 1, s)[0], name) for name in (E2M1, UNIFORM)]
                     for s in range(seeds)])  # fmt: skip
    note = ("Zeros and powers of two, which Gaussian blocks have more of, need no rounding. It depends on block and "
            "element: 17 to 26% with these two in blocks of 16 to 128, 37 to 46% with INT5.")  # fmt: skip
    counted = "Which elements, blocks and scales the range is of is not stated; this count was looked for."
    noise = {name: float(np.mean([spread_noise(name, 2.0, s) for s in range(seeds)])) for name in SCALE_FORMATS}
    ranked = sorted(noise, key=noise.__getitem__)
    order = ", ".join(f"{name.removeprefix('u').upper()} {noise[name]:.4f}" for name in ranked)
    spreads = (
        "The order depends on the spread of amplitudes: near 1.5 the two are best, from 2 on E5M2 passes E3M4. Here"
    )
    weights = np.asarray(LAYER_NORM * 7, np.float32)[:32]
    return {
        "decode_codes": Measured([decoded_share(E2M1), decoded_share(UNIFORM)], note=counted),
        "decode_gaussian": Measured(share.value, share.low, share.high, share.count, note),
        "sqrt3": Measured(half_step_over_noise(), note="Weak: our reading of the number; no gradient is in it."),
        "scale_formats_best": Measured(sorted(ranked[:2]), note=f"{spreads} {order}."),
        "scale_formats_worst": Measured(ranked[-1]),
        "layer_norm_collapse": Measured(len(set(quantize(weights, "mxfp8").tolist())) == 1),
        "layer_norm_share": Measured([clamped_share(level, "mxfp8") for level in (0.94, 0.8)]),
        "underflow_e4m3": Measured(zero_blocks("ue4m3", -13)),
    }


def _constants() -> dict[str, Measured]:
    above, below = (norm.ppf(np.linspace(0.9677083, 0.5, count)[:-1]) for count in (9, 8))
    quantiles = np.sort(np.concatenate([-below, [0.0], above])) / above[0]
    used = usage(cells_of(plain_format("nf4")), GAUSSIAN, 64) * 16
    note = "Blocks have a largest magnitude, which quantiles of N(0, 1) do not know of (cf. arXiv:2306.06965)."
    return {
        "maxima": Measured([float(plain_format(name).max) for name in MAXIMA]),
        "nf4_values": Measured(quantiles.tolist()),
        "nf4_bins": Measured([float(used.min()), float(used.max())], note=note),
    }


def run(context: Context) -> Findings:
    """Integrals, then random data where integrals do not reach; half a minute at 'quick'."""
    seeds, rows = (8, 512) if context.quick else (32, 2048)
    context.report(0, 2, "claims")
    measured = {**_uniform(), **_shrinkage(seeds, rows), **_few_bits(), **_scales(seeds, rows), **_constants()}
    errors = survey(lambda done, total, what: context.report(1, 2, f"survey: {what}, {done} of {total}"))
    lloyd = {bits: -10 * np.log10(lloyd_max(1 << bits, GAUSSIAN)[1]) for bits in range(2, 9)}
    turning = rotation_table(rows)
    sigmas = np.arange(0, 2.01, 0.25)
    turned = np.array([[rotated(heavy_tailed(rows, s, 0), name, 0) for name in (UNIFORM, E2M1)] for s in sigmas])
    ranges = _ranges()
    spreads = np.arange(0, 4.01, 0.5)
    spread = {name: [spread_noise(name, s, 0) for s in spreads] for name in SCALE_FORMATS}
    return Findings(
        measured,
        {"survey": errors, "scale_ranges": ranges, "rotation": turning, "few_bits": bias_table()},
        {
            "by_bits": pictures.by_bits(errors, lloyd),
            "layouts": pictures.layouts(errors),
            "uniform": pictures.uniform(CLIPS),
            "rotation": pictures.rotation(sigmas, turned, turning),
            "scales": pictures.scales(ranges, spreads, spread),
            "layer_norm": pictures.layer_norm(*_clamped()),
        },
    )


def _ranges() -> pandas.DataFrame:
    """Decibels and all-zero blocks by the amplitude of data and the format of scales, without a tensor scale."""
    rows = [
        (name, a, -10 * np.log10(noise_at(name, a)), zero_blocks(name, a))
        for name in ("ue4m3", "ue5m3", "ue3m4", "e8m0")
        for a in np.arange(-20, 13, 0.5)
    ]
    return pandas.DataFrame(rows, columns=["scale", "log2_deviation", "sqnr_db", "zero_blocks"])


def _clamped() -> tuple[np.ndarray, dict[str, list[float]]]:
    levels = np.geomspace(0.5, 1, 60)
    ceil = scaled("fp8_e4m3", scale="e8m0", block=32, rule="tetrajet")
    rules = {"E4M3, floor": "mxfp8", "E2M3, floor": "mxfp6_e2m3", "E4M3, never saturating": ceil}
    return levels, {label: [clamped_share(float(level), fmt) for level in levels] for label, fmt in rules.items()}


STUDY = Study(
    "number_grids",
    "Grids of numbers",
    "How much of a random number does each small format keep, and what else does its grid do?",
    (QUARTET, SHRINKAGE, "arXiv:2505.19115", "arXiv:2506.20752", QLORA),
    CLAIMS,
    run,
)
