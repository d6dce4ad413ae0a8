"""Low-bit methods beyond formats: what can be recomputed of them without training a model.

Where numbers of Gaussian weights were published as drawn, they are integrated here; what is drawn comes with the
interval of its mean.
"""

from typing import Any

import numpy as np
import pandas

from ...emulate.quantize import quantize
from ...formats.residual import bayesian_bits
from ..claims import FORMULA, Claim, Measured
from ..errors.densities import GAUSSIAN
from ..errors.exact import best_scale, uniform_cells
from ..errors.samples import generator, mean_of
from ..figures import COLOURS, COLUMN, MARKERS, canvas
from ..rules import Between, Equal, Printed, Within
from ..study import Context, Findings, Picture, Study
from . import codes as codes
from . import updates as updates

SAMPLED = Within(relative=0.02, why="published from random data, good to 2%")
DRAWN, GAUSSIAN_DATA = "; recomputed on random data", " of Gaussian weights"
FAIRY, BITNET, BIPFT, CNN = "arXiv:2508.05571", "arXiv:2402.17764", "arXiv:2312.08937", "arXiv:2603.13931"
SHIFT, STATSQ, GALORE = "arXiv:2406.05981 (ShiftAddLLM)", "arXiv:2302.02210 (OFQ)", "arXiv:2407.08296 (Q-GaLore)"
ECO = "ECO, as its code has it; recomputed, set-up not stated"
UPDATES, SIZE = 100, 0.1
PROBLEM = (f"A quadratic of {updates.QUADRATIC.size} coordinates, minima uniform in (-1, 1), gradient noise "
           f"{updates.QUADRATIC.noise}, learning rate {updates.QUADRATIC.rate}, momentum {updates.QUADRATIC.decay}, "
           "weights on a grid of 1/16 (set-up ours).")  # fmt: skip


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


CLAIMS = (
    _claim("phase_stages", "One to four stages of phases leave these shares of the power" + GAUSSIAN_DATA + ".",
           f"{FAIRY} (iFairy) and Fairy2i{DRAWN}", [0.363, 0.130, 0.058, 0.033], SAMPLED),
    _claim("phase_is_one_bit", "A phase, two bits for two numbers, loses what a sign with the mean magnitude loses, "
           "1 - 2/pi.", FAIRY + DRAWN, 0.363380, SAMPLED),
    _claim("widely_linear", "U z + W conj(z) gives the real matrix and its product back to below 1e-15 (largest "
           "relative error).", "Fairy2i; recomputed", 1e-15, Between(high=1e-15)),
    _claim("ternary_zeros", "BitNet's rounding makes 31.0% of Gaussian weights zero.", BITNET + DRAWN, "0.310",
           Printed()),
    _claim("ternary_error", "It leaves .2635 of their power.", BITNET + DRAWN, 0.2635, SAMPLED),
    _claim("ternary_refit", "With the best scale for its codes it leaves .2131.", BITNET + DRAWN, 0.2131, SAMPLED),
    _claim("hgf_gap", "HGF's loss of .9306 closes 54.8% of the gap from BitNet's 1.0294 to .8490 in full "
           "precision.", "arXiv:2602.05269 (HGF)", "54.8", Printed()),
    _claim("binary_scores", "Binary queries and keys (32 x 64, Gaussian) give scores with a relative error of .763.",
           f"{BIPFT} (BiPFT){DRAWN}", 0.763, SAMPLED),
    _claim("binary_scores_theory", "In theory it is sqrt(1 - (2/pi)^2) = .771.", BIPFT, "0.771", Printed()),
    _claim("residual_identity", "The four products of binary parts and residuals add up to the scores, to 7e-15.",
           BIPFT, 7e-15, Between(high=1e-14)),
    _claim("tanh_decay", "Clipped by 3 tanh(w/3) after each of 39100 steps a weight of .3 becomes .018546.", CNN +
           "; recomputed", "0.018546", Printed()),
    _claim("tanh_formula", "w0 / sqrt(1 + 2 w0^2 t / 27) says so (relative difference from the iteration).", CNN +
           "; recomputed", 0.0, Between(high=1e-4)),
    _claim("fifteen_values", "Weights of a layer have exactly 15 values (256 x 256, uniform as PyTorch begins).", CNN,
           15, Equal()),
    _claim("vgg_parameters", "The VGG for 10 classes has 3,251,018 parameters.", CNN, 3_251_018, Equal()),
    _claim("sums_of_two_signs", "Two signs with two scales leave .131 found greedily, .1177 found in turn" +
           GAUSSIAN_DATA + ".", SHIFT + DRAWN, [0.131, 0.1177], SAMPLED),
    _claim("sums_of_three_signs", "Three leave .059 and .037.", SHIFT + DRAWN, [0.059, 0.037], SAMPLED),
    _claim("signs_in_turn", "The library's alternating refit of drawn rows (1 x 65536) comes within 2% of the best "
           "sums of two and of three signs (larger relative difference).", SHIFT, 0.0, Between(high=0.02)),
    _claim("statsq", "StatsQ with 2, 3, 4 bits leaves .138, .071, .049.", STATSQ + DRAWN, [0.138, 0.071, 0.049],
           SAMPLED),
    _claim("nearest_stands_still", "100 updates of a tenth of a step move no INT8 weight that is rounded to nearest.",
           GALORE + "; recomputed", 0.0, Equal()),
    _claim("stochastic_arrives", "Rounded at random they move by 9.998 steps on average.", GALORE + DRAWN, 9.998,
           SAMPLED),
    _claim("stochastic_spread", "With a standard deviation of 3.", GALORE + DRAWN, 3.0, SAMPLED),
    _claim("eco_losses", "Losses with a master copy, to nearest, at random, ECO to nearest and ECO at random: 1.6e-4, "
           f".192, 9.5e-4, 1.8e-4, 2.1e-4. {PROBLEM}", ECO, [1.6e-4, 0.192, 9.5e-4, 1.8e-4, 2.1e-4], SAMPLED),
    _claim("eco_near_master", "ECO, to nearest and at random, loses at most a third more than a master copy (ratios). "
           "Same problem.", ECO, [1.125, 1.3125], Between(high=4 / 3)),
    _claim("eco_below_rounding", "Without ECO, to nearest and at random, the loss is at least 4 times that with it "
           "(ratios). Same problem.", ECO, [1067.0, 4.52], Between(low=4.0)),
    _claim("eggroll_floor", "EGGROLL's integer layer is the floor of the exact product of the perturbed matrix, for "
           "both members of a pair (both shifts round down at once).", "EGGROLL's int8 formula; recomputed", True,
           Equal()),
    _claim("eggroll_scale", "Divided by 16 sqrt n its outputs have the standard deviation of its inputs, 1 (64 x 256, "
           "Gaussian).", "EGGROLL's int8 formula; recomputed", 1.0, SAMPLED),
    _claim("nested_gates", "With all gates open nested residuals are the quantizer of the most bits, to its last bit "
           "(16 bits, 4096 numbers).", "arXiv:2005.07093 (Bayesian Bits), for Bayesian-LoRA", True, Equal()),
    _claim("packing", "Packing 1 to 8 bits gives back what was packed, in as many bytes as the bits need.",
           "dense bit streams", True, Equal()),
)  # fmt: skip


def nested_is_fine(bits: int, seed: int) -> bool:
    """Whether open gates give the multiples of the finest step that rounding directly gives."""
    limit = (2**bits - 1) / 2
    x = generator(seed, 9).uniform(-limit, limit, 4096)
    # limit chosen so, the finest step is 1; a tie may go either way, and drawn numbers have none
    return bool(np.array_equal(quantize(x, bayesian_bits(limit, bits, bits)), np.clip(np.rint(x), -limit, limit)))


def floor_of_exact(seed: int) -> bool:
    """Whether both members of an antithetic pair are the floors of their exact products."""
    layer, x = updates.eggroll(seed)
    each = (np.array_equal(layer.outputs(x, sign), np.clip(np.floor(layer.exact(x, sign)), -127, 127))
            for sign in (1, -1))  # fmt: skip
    return all(each)


def _values_of_a_layer() -> int:
    """Distinct values of a 256 x 256 layer with one scale."""
    w = generator(6).uniform(-1 / 16, 1 / 16, (256, 256)).astype(np.float32)
    return len(np.unique(quantize(w, "int4_per_tensor")))


def _in_turn(seed: int, best: dict[int, float]) -> float:
    """The larger relative difference of the library's sums of two and three signs from the best ones."""
    x = generator(seed, 10).standard_normal((1, 65536)).astype(np.float32)
    found = {bits: np.sum((quantize(x, f"bcq{bits}") - x) ** 2, dtype=np.float64) / 65536 for bits in best}
    return max(abs(float(found[bits]) / error - 1) for bits, error in best.items())


def _codes(seeds: int) -> dict[str, Measured]:
    kept, greedy = codes.ternary(), [codes.signs_greedy(bits) for bits in (2, 3)]
    best = {bits: codes.signs_best(bits) for bits in (2, 3)}
    scores = [codes.binary_scores(seed) for seed in range(40 * seeds)]
    phases = np.stack([codes.phase_errors(seed, (128, 256)) for seed in range(seeds)])
    return {
        "phase_stages": mean_of(phases),
        "phase_is_one_bit": mean_of(phases[:, 0]),
        "widely_linear": Measured(max(codes.widely_linear_error(seed) for seed in range(20))),
        "ternary_zeros": Measured(kept.zeros),
        "ternary_error": Measured(kept.error),
        "ternary_refit": Measured(kept.refitted),
        "hgf_gap": Measured(100 * (1.0294 - 0.9306) / (1.0294 - 0.8490), note="Of the printed losses; nothing is "
                            "trained."),
        "binary_scores": mean_of([each.error for each in scores]),
        "binary_scores_theory": Measured(float(np.sqrt(1 - (2 / np.pi) ** 2))),
        "residual_identity": Measured(max(each.identity for each in scores[:10]),
                                      note="The largest of ten draws, in units of scores of deviation 8."),
        "fifteen_values": Measured(_values_of_a_layer()),
        "vgg_parameters": Measured(codes.convolutional_parameters(),
                                   note="With biases, and batch normalization also of the hidden layer of 512."),
        "sums_of_two_signs": Measured([greedy[0], best[2]]),
        "sums_of_three_signs": Measured([greedy[1], best[3]]),
        "signs_in_turn": mean_of([_in_turn(seed, best) for seed in range(4)]),
        "statsq": Measured([codes.statsq(bits) for bits in (2, 3, 4)]),
        "nested_gates": Measured(nested_is_fine(16, 0)),
        "packing": Measured(all(codes.packs_back(bits, 0) for bits in range(1, 9))),
    }  # fmt: skip


def _updates(seeds: int) -> tuple[dict[str, Measured], pandas.DataFrame]:
    tanh = updates.clipped_by_tanh(0.3, 39_100, 3.0)
    still = updates.written_back(1000, UPDATES, SIZE, "nearest_even", 0)
    drawn = [updates.written_back(20_000, UPDATES, SIZE, "stochastic", seed) for seed in range(seeds)]
    losses = pandas.DataFrame(
        [{way: updates.quadratic_loss(way, seed) for way in updates.WAYS} for seed in range(seeds)]
    )
    master, nearest, stochastic, *eco = (losses[way].to_numpy() for way in updates.WAYS)
    sizes = [float(layer.exact(x).std() / x.std()) for layer, x in (updates.eggroll(seed) for seed in range(2 * seeds))]
    found = mean_of(losses[list(updates.WAYS)].to_numpy())
    return {
        "tanh_decay": Measured(tanh),
        "tanh_formula": Measured(abs(updates.clipped_in_time(0.3, 39_100, 3.0) / tanh - 1)),
        "nearest_stands_still": Measured(float(np.abs(still).max())),
        "stochastic_arrives": mean_of([float(each.mean(dtype=np.float64)) for each in drawn]),
        "stochastic_spread": mean_of([float(each.std(dtype=np.float64)) for each in drawn]),
        "eco_losses": Measured(found.value, found.low, found.high, found.count, "The published problem is not stated; "
                               "to nearest nothing moves, so that the loss is half the mean square of the minima."),
        "eco_near_master": mean_of(np.stack([each / master.mean() for each in eco], axis=1)),
        "eco_below_rounding": mean_of(np.stack([nearest / eco[0].mean(), stochastic / eco[1].mean()], axis=1)),
        "eggroll_floor": Measured(all(floor_of_exact(seed) for seed in range(4)),
                                  note="So each member is biased by -1/2 of a unit; their difference is not."),
        "eggroll_scale": mean_of(sizes),
    }, losses  # fmt: skip


def _codes_picture() -> Picture:
    figure, axes = canvas(width=COLUMN)
    stages = range(1, 5)
    axes.plot(stages, [codes.signs_greedy(bits) for bits in stages], "--", color=COLOURS[1], label="signs, greedy")
    axes.plot(stages, [codes.signs_best(bits) for bits in stages], MARKERS[1] + "-", color=COLOURS[1],
              label="signs, best scales")  # fmt: skip
    uniform = [best_scale(uniform_cells(1 << bits), GAUSSIAN)[1] for bits in stages]
    axes.plot(stages, uniform, ":", color="0.2", label="uniform grid, best scale", zorder=3)
    axes.plot(stages[1:], [codes.statsq(bits) for bits in stages[1:]], MARKERS[2] + "-", color=COLOURS[2],
              label="StatsQ")  # fmt: skip
    axes.plot(np.log2(3), codes.ternary().error, MARKERS[3], color=COLOURS[3], label="ternary, mean magnitude")
    axes.set(xlabel="bits a weight", ylabel="relative squared error", yscale="log", xticks=stages)
    axes.legend(loc="lower left")
    return Picture(figure, "What few bits leave of Gaussian weights, scales aside.")


def _updates_picture(losses: pandas.DataFrame) -> Picture:
    figure, axes = canvas(width=COLUMN)
    published = next(claim for claim in CLAIMS if claim.id == "eco_losses").published
    for place, way in enumerate(updates.WAYS):
        found = mean_of(losses[way].to_numpy())
        axes.errorbar(place - 0.1, found.value, [[found.value - found.low], [found.high - found.value]], fmt="o",
                      color=COLOURS[0], capsize=3, label="here" if not place else None)  # fmt: skip
        axes.plot(place + 0.1, published[place], MARKERS[1], color=COLOURS[1], label=None if place else "published")
    labels = [way.replace(", ", ",\n") for way in updates.WAYS]
    axes.set(yscale="log", ylabel="loss of the average iterate", xticks=range(len(labels)), xticklabels=labels)
    axes.legend(loc="upper right")
    return Picture(figure, "SGD with momentum on a noisy quadratic, weights on a grid of 1/16.")


def run(context: Context) -> Findings:
    """Integrate, draw and compare; some ten seconds at 'quick'."""
    seeds = 12 if context.quick else 48
    context.report(0, 2, "codes")
    found = _codes(seeds)
    context.report(1, 2, "updates")
    more, losses = _updates(seeds)
    pictures = {"codes": _codes_picture(), "updates": _updates_picture(losses)}
    return Findings({**found, **more}, {"quadratic": losses}, pictures)


STUDY = Study(
    "low_bit_methods",
    "Low-bit methods beyond formats",
    "Do the formulas of methods for one to four bits give the numbers that were published with them?",
    (
        FAIRY,
        BITNET,
        "arXiv:2602.05269",
        BIPFT,
        CNN,
        "arXiv:2406.05981",
        "arXiv:2302.02210",
        "arXiv:2407.08296",
        "arXiv:2005.07093",
    ),
    CLAIMS,
    run,
    ("quick", "full"),
)
