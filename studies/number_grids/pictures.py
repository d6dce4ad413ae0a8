"""Pictures of the study number_grids."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors.densities import GAUSSIAN
from ..errors.exact import moments_of, uniform_cells
from ..figures import COLOURS, COLUMN, MARKERS, canvas
from ..study import Picture

_DATA = {"gaussian": "Gaussian", "laplace": "Laplace", "student_t5": "Student's t, 5 degrees"}


def by_bits(errors: Any, lloyd: Mapping[int, float]) -> Picture:
    """Decibels against bits: integers, the best minifloat, codebooks and tapered formats, and the bound."""
    figure, panels = canvas(columns=3, sharey=True, height=2.7)
    nearest = errors[(errors["rounding"] == "nearest") & (errors["scales"] == "absmax 32")]
    for axes, (data, title) in zip(panels, _DATA.items()):
        part = nearest[nearest["data"] == data]
        integers = part[part["format"].str.fullmatch(r"int\d_narrow|ternary")]
        floats = part[part["format"].str.fullmatch(r"e[2-7]m\d")]
        best = floats.groupby("bits")["sqnr_db"].max()
        axes.plot(integers["bits"], integers["sqnr_db"], "o-", color=COLOURS[0], label="INT, ternary")
        axes.plot(best.index, best.values, "s-", color=COLOURS[1], label="best minifloat")
        for j, (name, label) in enumerate((("nf4", "NF4"), ("posit8", "posit8"), ("takum8", "takum8"))):
            row = part[part["format"] == name]
            axes.plot(row["bits"], row["sqnr_db"], MARKERS[j + 2], color=COLOURS[j + 2], label=label)
        axes.set(xlabel="bits of an element", title=title)
    panels[0].plot(list(lloyd), list(lloyd.values()), ":", color="0.4", label="Lloyd-Max")
    panels[0].set_ylabel("signal over noise (dB)")
    panels[0].legend(loc="upper left")
    caption = (
        "Signal over noise of formats in blocks of 32 with exact scales of the largest magnitude, nearest rounding. "
        "Lloyd-Max: the best values under one scale."
    )
    return Picture(figure, caption)


def layouts(errors: Any) -> Picture:
    """Decibels over exponent and mantissa bits."""
    figure, panels = canvas(columns=3, sharey=True, height=2.5)
    part = errors[(errors["rounding"] == "nearest") & (errors["scales"] == "absmax 32")]
    for axes, (data, title) in zip(panels, _DATA.items()):
        grid = np.full((8, 7), np.nan)
        for name, value in part[part["data"] == data][["format", "sqnr_db"]].itertuples(index=False):
            if len(name) == 4 and name[0] == "e" and name[2] == "m":
                grid[int(name[1]), int(name[3])] = value
        axes.imshow(grid[1:], origin="lower", extent=(-0.5, 6.5, 0.5, 7.5), cmap="viridis", aspect="auto")
        for e in range(1, 8):
            for m in range(7):
                if np.isfinite(grid[e, m]):
                    dark = grid[e, m] < 32
                    axes.text(
                        m, e, f"{grid[e, m]:.1f}", ha="center", va="center", fontsize=5.5, color="w" if dark else "k"
                    )
        axes.set(xlabel="mantissa bits", title=title)
        axes.grid(visible=False)
    panels[0].set_ylabel("exponent bits")
    return Picture(figure, "Signal over noise (dB) of minifloats in blocks of 32 with exact scales, nearest rounding.")


def uniform(clips: Mapping[str, tuple[str, str]]) -> Picture:
    """Mean squared error of uniform grids against the clip, with the printed optima."""
    figure, axes = canvas(width=COLUMN, height=2.8)
    ends = np.linspace(0.5, 5.5, 200)
    for index, (bits, (clip, mse)) in enumerate(clips.items()):
        cells = uniform_cells(3 if bits == "ternary" else 1 << int(bits))
        error = moments_of(cells, GAUSSIAN, ends).error
        axes.plot(ends, error, color=COLOURS[index % len(COLOURS)], lw=1)
        axes.plot(float(clip), float(mse), "o", color=COLOURS[index % len(COLOURS)])
        axes.text(5.55, error[-1], bits, fontsize=6, va={"2": "bottom", "ternary": "top"}.get(bits, "center"))
    axes.set(yscale="log", xlabel="last value of the grid (standard deviations)", ylabel="mean squared error")
    axes.set_xlim(0.4, 6.4)
    return Picture(figure, "Uniform grids of N(0, 1) by bits: every clip (lines) and the printed optimum (dots).")


def rotation(sigmas: np.ndarray, turned: np.ndarray, grids: Any) -> Picture:
    """Decibels without and after the transform of two grids, and what it gains on many.

    Args:
        turned: (sigmas, 2 grids, 2). grids: a table of format, sigma, without_db and after_db.
    """
    figure, (left, right) = canvas(columns=2, height=2.8)
    for j, name in enumerate(("E1M2 = INT4", "E2M1")):
        left.plot(sigmas, turned[:, j, 0], MARKERS[j] + "--", mfc="w", color=COLOURS[j], label=f"{name}, as it is")
        left.plot(sigmas, turned[:, j, 1], MARKERS[j] + "-", color=COLOURS[j], label=f"{name}, transformed")
    left.set(xlabel="heaviness of the tails (sigma of log amplitude)", ylabel="signal over noise (dB)")
    left.legend(loc="upper left")
    left.set_ylim(top=left.get_ylim()[1] + 2.5)
    names = list(dict.fromkeys(grids["format"]))
    for j, sigma in enumerate(dict.fromkeys(grids["sigma"])):
        part = grids[grids["sigma"] == sigma]
        gain = part["after_db"] - part["without_db"]
        right.barh(np.arange(len(names)) + 0.27 * (1 - j), gain, 0.26, color=COLOURS[j + 2], label=f"sigma {sigma:g}")
    right.set_yticks(range(len(names)), [name.removesuffix("_narrow").removeprefix("fp8_").upper() for name in names])
    right.axvline(0, color="0.2", lw=0.8)
    right.set_xlabel("gain by the transform (dB)")
    right.legend(loc="upper right")
    right.grid(axis="y", visible=False)
    caption = "What a random Hadamard transform of 16 does to grids in blocks of 16, E4M3 scales, heavy-tailed data."
    return Picture(figure, caption)


def scales(ranges: Any, spreads: np.ndarray, spread: Mapping[str, Sequence[float]]) -> Picture:
    """Scale formats against the amplitude of data, and against the spread of blocks.

    Args:
        ranges: a table of scale, log2_deviation and sqnr_db. spread: mean noise at each spread by format.
    """
    figure, (left, right) = canvas(columns=2)
    for j, (name, part) in enumerate(ranges.groupby("scale", sort=False)):
        left.plot(part["log2_deviation"], part["sqnr_db"], color=COLOURS[j], label=name.upper())
    left.set(
        xlabel="log2 of the standard deviation", ylabel="signal over noise (dB)", title="one amplitude, no tensor scale"
    )
    left.legend(loc="lower center")
    for j, (name, values) in enumerate(spread.items()):
        right.plot(spreads, values, MARKERS[j] + "-", color=COLOURS[j], label=name.removeprefix("u").upper(), ms=3)
    right.set(yscale="log", xlabel="spread of block amplitudes (binades)", ylabel="mean relative noise")
    right.set_title("many amplitudes, tensor scale")
    right.legend(loc="upper left", ncol=2)
    return Picture(figure, "Formats of the scales of E2M1 blocks of 16.")


def layer_norm(levels: np.ndarray, clamped: Mapping[str, Sequence[float]]) -> Picture:
    """The share of close-by weights that are clamped to one value, over a binade."""
    figure, axes = canvas(width=COLUMN)
    for j, (label, values) in enumerate(clamped.items()):
        axes.plot(levels, 100 * np.asarray(values), color=COLOURS[j], label=label)
    axes.set(xlabel="level of the weights", ylabel="clamped (%)")
    axes.legend(loc="upper left")
    return Picture(figure, "LayerNorm weights within 2% of a level, blocks of 32: the share beyond the largest value.")
