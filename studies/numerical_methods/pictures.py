"""The pictures of numerical methods."""

import numpy as np

from ...emulate import analysis
from ..figures import COLOURS, MARKERS, canvas
from ..study import Picture
from .heat import time_steps
from .refinement import GEOMETRIC, ONE_SMALL, SINGLE
from .results import CELLS, DEPTHS, FORMATS, Results
from .sums import LENGTHS

_ROUNDINGS = {"nearest_even": "to nearest", "stochastic": "stochastic"}


def pictures(results: Results) -> dict[str, Picture]:
    """All of them, by name."""
    return {
        "refinement": _refinement(results),
        "growth": _growth(results),
        "heat": _heat(results),
        "accumulators": _accumulators(results),
    }


def _refinement(results: Results) -> Picture:
    figure, (left, right) = canvas(columns=2, width_ratios=(1.5, 1))
    for index, (name, found) in enumerate(results.sweep.items()):
        kappa = 10.0 ** np.array([each for each, _ in found])
        error = np.clip([each.forward for _, each in found], 1e-17, 3.0)
        left.plot(kappa, error, marker=MARKERS[index], color=COLOURS[index], label=name)
    left.axhline(SINGLE, color="0.5", lw=0.8, ls="--")
    left.set(
        xscale="log",
        yscale="log",
        xlabel="condition number",
        ylabel="forward error",
        xticks=10.0 ** np.arange(0, 17, 4),
    )
    left.legend(loc="lower right")
    left.text(2e16, SINGLE / 3, "u of fp32", ha="right", va="top", fontsize=7, color="0.4")
    for index, (mode, label) in enumerate(((GEOMETRIC, "geometric"), (ONE_SMALL, "all 1 but one"))):
        found = [results.limits[mode, fmt] for fmt in FORMATS]
        center = np.array([each.value for each in found])
        bars = [center - [each.low for each in found], [each.high for each in found] - center]
        place = np.array(list(FORMATS.values())) + 0.15 * (1 - 2 * index)
        right.errorbar(place, center, bars, fmt=MARKERS[index], color=COLOURS[index], capsize=2, label=label)
    bits = np.array([4, 15])
    right.plot(bits, bits * np.log10(2), color="0.5", lw=0.8, ls="--", label="1 / u of the factors")
    right.set(
        xlabel="significant bits of the LU factors", ylabel="log10 of the limiting condition number", ylim=(0, 7.5)
    )
    right.legend(loc="upper left", title="singular values")
    caption = (
        "Refinement of binary32 with residuals of binary64. Left: forward errors of one matrix, n = 24. Right: the "
        "condition numbers up to which LU factors give full accuracy, n = 32, mean and 95% interval."
    )
    return Picture(figure, caption)


def _growth(results: Results) -> Picture:
    figure, axes = canvas(columns=3, sharey=True)
    titles = {"uniform": "uniform in [0, 1]", "centred": "uniform in [-1, 1]", "constant": "constant"}
    lengths = np.array(LENGTHS, np.float64)
    for axis, (data, title) in zip(axes, titles.items()):
        for index, (rounding, name) in enumerate(_ROUNDINGS.items()):
            errors, estimate = results.growth[data, rounding]
            label = f"{name}, $n^{{{estimate.value:.2f}}}$"
            axis.plot(
                lengths,
                np.sqrt(np.square(errors).mean(axis=1)),
                MARKERS[index] + "-",
                color=COLOURS[index],
                label=label,
            )
        bound = [analysis.gamma_tilde(n, "fp16", "stochastic") for n in LENGTHS]
        axis.plot(lengths, bound, color="0.5", lw=0.8, ls="--", label="99% bound, stochastic")
        axis.set(xscale="log", yscale="log", xlabel="length n", title=title, ylim=(5e-5, 20))
        axis.legend(loc="upper left")
    axes[0].set_ylabel("error / $|x|^T|y|$")
    return Picture(
        figure, "Inner products in fp16: root-mean-square backward errors and the powers of n that fit them."
    )


def _heat(results: Results) -> Picture:
    figure, (left, right) = canvas(columns=2)
    nearest, stochastic = (results.heat[rounding][CELLS.index(64)] for rounding in _ROUNDINGS)
    points = np.arange(1, 64) / 64
    left.plot(points, nearest.exact, color="0.5", lw=3, alpha=0.5, label="float64")
    left.plot(points, nearest.path[-1, 0], color=COLOURS[0], label="fp16, to nearest")
    left.plot(points, stochastic.path[-1, 0], color=COLOURS[1], lw=1, label="fp16, stochastic")
    left.set(xlabel="x", ylabel="u at t = 1/2", ylim=(0.95, 2.5))
    left.legend(loc="upper left", ncols=1)
    for index, (rounding, name) in enumerate(_ROUNDINGS.items()):
        runs = results.heat[rounding]
        steps = time_steps([each.cells for each in runs])
        errors = np.array([np.sqrt(np.square(each.error).mean()) for each in runs])
        rate = errors[0] * (steps[0] / steps) ** (1.0, 0.25)[index]
        right.plot(steps, errors, MARKERS[index], color=COLOURS[index], label=name)
        right.plot(steps, rate, color=COLOURS[index], lw=0.8, ls="--")
        power = (r"$\Delta t^{-1}$", r"$\Delta t^{-1/4}$")[index]
        right.annotate(power, (steps[1], rate[1]), (4, 4), textcoords="offset points", fontsize=7, color="0.3")
    right.set(xscale="log", yscale="log", xlabel=r"time step $\Delta t$", ylabel="root-mean-square error")
    right.set_ylim(3e-4, 2)
    right.legend(loc="upper right")
    caption = (
        "The heat equation in fp16. Left: 63 inner points after 8192 steps. Right: error against the time step, and "
        "the published rates (dashed, through the first point)."
    )
    return Picture(figure, caption)


def _accumulators(results: Results) -> Picture:
    figure, axes = canvas(width=4.8, height=3.0)
    for index, (name, errors) in enumerate(results.fp8.items()):
        largest = errors.max(axis=(2, 3)).mean(axis=1)
        shown = largest > 0
        axes.plot(np.array(DEPTHS)[shown], largest[shown], MARKERS[index] + "-", color=COLOURS[index], label=name)
    axes.axhline(0.02, color="0.5", lw=0.8, ls="--")
    axes.text(DEPTHS[0], 0.017, "2%", fontsize=7, color="0.4", va="top")
    axes.set_xscale("log", base=2)
    axes.set(yscale="log", xlabel="length of the sums", ylabel="largest relative error", xticks=DEPTHS)
    axes.set_xticklabels([str(depth) for depth in DEPTHS])
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = "Products of uniform FP8 matrices in several accumulators, 32 by 32 results; what is exact is left out."
    return Picture(figure, caption)
