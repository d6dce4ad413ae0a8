"""Pictures of the study int_fp."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..figures import COLOURS, canvas
from ..study import Picture


def crest_picture(pairs: Mapping[str, Any], dots: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Picture:
    """Decibels against crest factor: formulas as lines, measurements as dots, the crossover as a ring.

    Args:
        pairs: the formulas. dots: by the same names, crest factors (n,) and decibels (2, n).
    """
    figure, panels = canvas(columns=len(pairs), width=7.0, height=2.5)
    for axes, (name, pair) in zip(panels, pairs.items()):
        most = np.sqrt(pair.block)
        kappa = np.linspace(1.5, 8.5 if name == "mx8" else most, 300)
        for j, (label, curve) in enumerate((("INT", pair.of_integer(kappa)), ("FP", pair.of_float(kappa)))):
            axes.plot(kappa, curve, color=COLOURS[j], label=label)
            axes.plot(dots[name][0], dots[name][1][j], "o", color=COLOURS[j], ms=2.5)
        axes.plot(kappa, pair.of_integer(kappa, exact=True), "--", color=COLOURS[0], lw=0.8)
        axes.plot(*pair.crossover(), "o", ms=8, mfc="none", mec="0.2")
        if name == "mx8":
            axes.axvline(most, color="0.5", ls="--", lw=0.8)
        axes.set(xlabel="crest factor", title=pair.name)
    panels[0].set_ylabel("signal over noise (dB)")
    panels[0].legend(loc="upper right")
    caption = (
        "Signal over noise of a block against its crest factor: formulas (lines), measurements (dots), crossovers of "
        "the formulas (rings). Dashed curves: integers with the steps that they have. No block of 32 has a crest "
        "factor beyond the vertical line."
    )
    return Picture(figure, caption)


def table_picture(table: Any) -> Picture:
    """Bars of decibels by element and data, the published numbers as ticks."""
    figure, panels = canvas(columns=2, sharey=True, height=2.5, width_ratios=[3, 1])
    for axes, scales in zip(panels, ("mx", "nv")):
        part = table[table["data"].str.endswith(scales)]
        names = list(dict.fromkeys(part["element"]))
        for j, data in enumerate(("gaussian", "laplace")):
            rows = part[part["data"].str.startswith(data)]
            places = np.arange(len(rows)) + (j - 0.5) * 0.38
            axes.bar(places, rows["measured_db"], 0.36, color=COLOURS[j], label=data.capitalize())
            axes.plot(places, rows["published_db"], "_", color="black", ms=10, label="published" if j else None)
        short = [
            name.removesuffix("_narrow").removeprefix("fp8_").removeprefix("fp6_").removeprefix("fp4_")
            for name in names
        ]
        axes.set_xticks(range(len(names)), [name.upper() for name in short])
        axes.set_title("blocks of 32, powers of two" if scales == "mx" else "blocks of 16, E4M3")
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel("signal over noise (dB)")
    panels[0].legend(loc="upper right")
    return Picture(figure, "Signal over noise of integers and floats of 8, 6 and 4 bits on random numbers.")
