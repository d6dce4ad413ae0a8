"""Pictures of what a probe recorded: one number over steps, a line a layer; or over layers and formats.

Colours are Okabe and Ito's, which colour-blind readers tell apart, with a marker of its own for each layer.
"""

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats.suggest import unknown
from .records import NUMBERS, TENSORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("steps", "formats")

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_WORDS = {
    "sqnr_db": "signal to quantization noise (dB)",
    "saturated_percent": "saturated elements (%)",
    "underflow_percent": "elements rounded to zero (%)",
    "zeros_percent": "elements that were zero (%)",
    "amax": "largest magnitude",
    "rms": "root mean square",
    "scale_min": "exponent of the smallest scale",
    "scale_median": "median exponent of scales",
    "scale_max": "exponent of the largest scale",
    "gradient_to_noise": "gradient norm / quantization noise",
    "gradient_cosine": "cosine with the unquantized gradient",
}
_LOGARITHMIC = ("amax", "rms", "gradient_to_noise")
_STALLS = 3**0.5
"""Below this ratio of gradient to noise training stalls (arXiv:2505.19115)."""
_MOST_IN_LEGEND = 14


def picture(
    rows: list[dict[str, Any]], kind: str, kinds: Any, number: str, tensor: str, fmt: str | None, step: int | None
) -> "Figure":
    """See `Probe.plot`.

    Args:
        rows: of the table, one or more.
    """
    for what, given, known in (("kind", kind, kinds), ("number", number, NUMBERS), ("tensor", tensor, TENSORS)):
        if given not in known:
            raise ValueError(unknown(what, str(given), known))
    shown = [row for row in rows if row["tensor"] == tensor and np.isfinite(row[number])]
    shown = [row for row in shown if row["training"]] or shown
    if not shown:
        known = sorted({row["tensor"] for row in rows if np.isfinite(row[number])})
        raise ValueError(
            f"no finite {number} of {tensor} was recorded; there is one of {', '.join(known) or 'nothing'}"
        )
    return _over_steps(shown, number, tensor, fmt) if kind == "steps" else _over_formats(shown, number, tensor, step)


def _place(row: dict[str, Any]) -> str:
    return f"{row['layer']} {row['product']}".strip()


def _format(row: dict[str, Any]) -> str:
    if row["in_use"]:
        return f"{row['format']} (in use)"
    return row["format"] if row["recipe"] in ("", row["format"]) else f"{row['format']} ({row['recipe']})"


def _over_steps(rows: list[dict[str, Any]], number: str, tensor: str, fmt: str | None) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    used = [row for row in rows if row["in_use"]]
    if fmt is not None:
        chosen = [row for row in rows if row["format"] == fmt]
        if not chosen:
            raise ValueError(unknown("format", fmt, sorted({row["format"] for row in rows})))
        title = fmt
    else:
        chosen = used or [row for row in rows if row["format"] == rows[0]["format"]]
        title = "formats in use" if used else rows[0]["format"]
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in chosen:
        lines.setdefault(_place(row), []).append((row["step"], row[number]))
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (name, points), colour, marker in zip(lines.items(), cycle(_COLOURS), cycle(_MARKERS)):
        steps, values = zip(*points)
        axes.plot(steps, values, color=colour, marker=marker, markersize=4, linewidth=1.3, label=name)
    if number == "gradient_to_noise":
        axes.axhline(_STALLS, color="0.4", linestyle="--", linewidth=1, label="sqrt(3): training stalls below")
    if number in _LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize=8)
    axes.set_xlabel("step")
    axes.set_ylabel(_WORDS[number])
    axes.set_title(f"{tensor}, {title}")
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(lines) <= _MOST_IN_LEGEND:
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), title="layer", title_fontsize=8)
    return figure


def _over_formats(rows: list[dict[str, Any]], number: str, tensor: str, step: int | None) -> "Figure":
    from matplotlib.figure import Figure

    steps = sorted({row["step"] for row in rows})
    at = steps[-1] if step is None else step
    if at not in steps:
        raise ValueError(f"step {at} was not recorded; expected one of {', '.join(map(str, steps))}")
    rows = [row for row in rows if row["step"] == at]
    layers = list(dict.fromkeys(map(_place, rows)))
    formats = list(dict.fromkeys(map(_format, sorted(rows, key=lambda row: not row["in_use"]))))
    grid = np.full((len(layers), len(formats)), np.nan)
    for row in rows:
        grid[layers.index(_place(row)), formats.index(_format(row))] = row[number]
    figure = Figure(figsize=(2.6 + 1.1 * len(formats), max(1.6 + 0.36 * len(layers), 3.4)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(grid, cmap="viridis", aspect="auto")
    axes.set_facecolor("0.85")
    axes.set_xticks(range(len(formats)), formats, rotation=30, ha="right")
    axes.set_yticks(range(len(layers)), layers)
    axes.set_ylabel("layer")
    axes.set_title(f"{tensor}, step {at}")
    for (down, across), value in np.ndenumerate(grid):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            text = f"{value:#.3g}".removesuffix(".")
            axes.text(across, down, text, ha="center", va="center", color="white" if dark else "black", fontsize=8)
    figure.colorbar(image, ax=axes, label=_WORDS[number])
    return figure
