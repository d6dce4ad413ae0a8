"""The pictures of the study of Quartet."""

import numpy as np
import pandas

from ..figures import COLOURS, COLUMN, MARKERS, canvas
from ..study import Picture
from .fit import LEFT_OUT, Efficiency, Law, Runs
from .heldout import SIZES, SPEEDS, losses_at_budget

_SHOWN = {
    "sr": "MXFP4 stochastic",
    "rtn": "MXFP4 nearest, floor over 3/4",
    "quest": "MXFP4 QuEST",
    "mxfp4_rtn": "MXFP4 nearest, best power",
    "ocp": "MXFP4 nearest, floor",
    "mxfp4_eden": "MXFP4 EDEN",
    "nvfp4_rtn_6": "NVFP4 nearest",
    "nvfp4_sr": "NVFP4 stochastic",
    "nvfp4_eden": "NVFP4 MS-EDEN",
    "four_over_six": "NVFP4 four-over-six",
}
_UNBIASED = ("sr", "mxfp4_eden", "nvfp4_sr", "nvfp4_eden")


def law_picture(law: Law, runs: Runs, large: pandas.DataFrame) -> Picture:
    """The law over its runs, and what the smaller models predict of the larger."""
    figure, (left, right) = canvas(columns=2, gridspec_kw={"width_ratios": (3, 2)})
    ratio, shown = np.logspace(1.2, 3.1, 100), runs + LEFT_OUT
    for index, size in enumerate(np.unique(shown.parameters)):
        colour, own = COLOURS[index], shown.where(shown.parameters == size)
        left.plot(ratio, law.loss(size, size * ratio), color=colour, lw=1)
        left.plot(own.ratio, own.losses, MARKERS[index], color=colour, label=SIZES[int(size)])
    left.set(xscale="log", xlabel="tokens a parameter", ylabel="loss (nats a token)", xlim=(15, 1300))
    left.legend(title="BF16", ncols=2, loc="upper right")
    places = np.arange(len(large))
    off = 100 * (large[["free", "low", "high"]].to_numpy() / large.loss.to_numpy()[:, None] - 1)
    right.axhline(0, color="0.3", lw=1)
    right.errorbar(
        places, off[:, 0], yerr=abs(off[:, 1:] - off[:, :1]).T, fmt="o", color=COLOURS[0], capsize=3, label="free"
    )
    for index, form in enumerate(("gamma=1", "beta=1"), 1):
        each = 100 * (large[form] / large.loss - 1)
        right.plot(
            places + 0.15 * index,
            each,
            MARKERS[index],
            color=COLOURS[index],
            label=form.replace("=", " = "),
        )
    right.set_xticks(places, [f"{s}\n{t / 1e9:.0f}B" for s, t in zip(large["size"], large.tokens)])
    right.set(xlabel="model and tokens", ylabel="predicted over measured (%)", xlim=(-0.5, len(large) - 0.2))
    right.margins(y=0.25)
    right.legend(loc="best")
    caption = "Left: the law and its runs. Right: runs unseen by fits to models of up to 200M, with 95% intervals."
    return Picture(figure, caption)


def map_picture(law: Law, worth: Efficiency) -> Picture:
    """Which pair of precisions reaches the lowest loss, and by how much."""
    figure, axes = canvas(width=COLUMN, height=2.8)
    parameters, ratio = np.logspace(7.3, 11.3, 161), np.logspace(0.5, 3.5, 121)
    found = losses_at_budget(law, worth, parameters[:, None], ratio)
    others = np.min([loss for name, loss in found.items() if name != "FP4:FP4"], axis=0)
    gain = (others - found["FP4:FP4"]).T
    top = float(abs(gain).max())
    drawn = axes.contourf(parameters, ratio, gain, levels=np.linspace(-top, top, 21), cmap="RdBu")
    axes.contour(parameters, ratio, gain, levels=[0.0], colors="black", linewidths=1.2)
    axes.set(xscale="log", yscale="log", xlabel="parameters in FP8", ylabel="tokens a parameter in FP8")
    axes.text(2e9, 700, "FP4 in both passes", ha="center")
    axes.text(2e9, 18, "FP8 forward, FP4 backward", ha="center")
    axes.grid(False)
    figure.colorbar(drawn, label="gain of FP4 in both passes (nats)", format="%.2f", ticks=np.linspace(-top, top, 5))
    return Picture(figure, f"Where each of the {len(SPEEDS)} pairs of precisions is best, by the paper's speed-ups.")


def gap_picture(gap: pandas.DataFrame) -> Picture:
    """Nearest against stochastic rounding in the backward pass."""
    figure, axes = canvas(width=COLUMN)
    for index, (size, rows) in enumerate(gap.groupby("parameters")):
        axes.plot(
            rows.ratio, 1e3 * rows.gap, MARKERS[index] + "-", color=COLOURS[index], label=SIZES[int(float(str(size)))]
        )
    axes.axhline(0, color="0.3", lw=1)
    axes.set(xscale="log", xlabel="tokens a parameter", ylabel="nearest minus stochastic (mnats)")
    axes.set_xticks([25, 50, 100, 200, 400, 800], ["25", "50", "100", "200", "400", "800"])
    axes.minorticks_off()
    axes.legend(loc="lower right")
    return Picture(figure, "Backward pass in FP4: nearest rounding loses less than stochastic, until data abound.")


def errors_picture(values: pandas.DataFrame, averages: pandas.DataFrame) -> Picture:
    """Error against misalignment; and what averaging does to both."""
    figure, (left, right) = canvas(columns=2, height=3.0)
    rows = values.set_index("quantizer")
    for index, (name, label) in enumerate(_SHOWN.items()):
        row, colour = rows.loc[name], COLOURS[index % len(COLOURS)]
        marker = MARKERS[(index + 3 * (index // len(COLOURS))) % len(MARKERS)]
        filled = colour if name in _UNBIASED else "white"
        left.plot(1e3 * row.misalignment, 1e3 * row.error, marker, color=colour, mfc=filled, ms=5, ls="", label=label)
    left.set(xlabel="misalignment (thousandths)", ylabel="squared error (thousandths)", xlim=(-2, 30), ylim=(5, 38))
    left.legend(loc="upper right", labelspacing=0.3)
    for index, (kind, marker) in enumerate((("stochastic", "o"), ("nearest", "s"))):
        right.plot(averages.products, averages[kind], marker + "-", color=COLOURS[index], label=kind)
    right.plot(averages.products, averages.stochastic[0] / averages.products, ":", color="0.3", label="1 / products")
    right.set(xscale="log", yscale="log", xlabel="products averaged", ylabel="relative squared error")
    right.set_xticks(averages.products, [str(each) for each in averages.products])
    right.minorticks_off()
    right.legend(loc="lower left")
    return Picture(
        figure, "Left: quantizers of Gaussian data; filled ones are unbiased. Right: averages of NVFP4 products."
    )
