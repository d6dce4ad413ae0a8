"""The values of formats as ticks, one line below another on a shared axis."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.residual import ResidualFormat
from ...formats.show import line_values
from ...formats.suggest import unknown
from .style import COLOURS, SMALL, TALLEST, axes_points, fitting, lay_out, plain, sheet, width_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = ("linear", "symlog", "log2")
"""All values; all of them, logarithmic beyond the smallest; the positive ones, logarithmic."""
MOST = 60
"""Lines of one picture."""


def plot_number_lines(
    formats: "str | Sequence[Any]",
    axis: str = "linear",
    *,
    relative: bool = False,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
) -> "Figure":
    """Draw every value of some formats as a tick, a line for each format.

    Args:
        formats: formats or their names, of 12 bits or fewer. Of scaled formats the elements are drawn.
        axis: 'linear', 'symlog' (both signs, logarithmic from the smallest value on), or 'log2' (positive values).
        relative: whether values are divided by the largest magnitude of their format, as a scale would.
        title, width, height, into: as in `halfulp.plot_heat_map`.

    Raises:
        ValueError: an unknown format or axis; one of more than 12 bits, with complex values, or a sum of formats; one
            without positive values on 'log2'; no format, or more than 60.
    """
    if axis not in AXES:
        raise ValueError(unknown("axis", str(axis), AXES))
    chosen = [formats] if isinstance(formats, str) or not hasattr(formats, "__iter__") else list(formats)
    if not 1 <= len(chosen) <= MOST:
        raise ValueError(f"expected 1 to {MOST} formats, got {len(chosen)}")
    lines = [_line(fmt, axis, relative) for fmt in chosen]
    tall = 0.42 + 0.215 * len(lines) + 0.2 * (title is not None)
    with sheet(width, min(max(tall, 0.8), TALLEST) if height is None else height, into) as figure:
        _draw(figure, lines, axis, relative)
        if title is not None:
            figure.suptitle(plain(title, 200), fontsize="medium", x=0.01, ha="left")
    return figure  # pyright: ignore[reportReturnType]


def _line(name: Any, axis: str, relative: bool) -> tuple[str, np.ndarray]:
    """The label and values of a format."""
    fmt = any_format(name)
    element: Any = getattr(fmt, "element", fmt)
    if isinstance(element, ComplexFormat | ResidualFormat) or not hasattr(element, "bits"):
        raise ValueError(f"{fmt.name} has no number line; expected formats of single real numbers, such as 'fp4_e2m1'")
    values = np.array(line_values(element))
    values = values[np.isfinite(values)]
    if relative:
        values = values / np.abs(values).max()
    if axis == "log2":
        values = values[values > 0]
    if not len(values):
        raise ValueError(f"{fmt.name} has no positive values; draw it on 'linear'")
    return fmt.name, values


def _draw(figure: Any, lines: list[tuple[str, np.ndarray]], axis: str, relative: bool) -> None:
    axes: Any = figure.add_subplot()
    if axis == "log2":
        axes.set_xscale("log", base=2)
    elif axis == "symlog":
        smallest = min(float(np.abs(values[values != 0]).min()) for _, values in lines if np.any(values))
        axes.set_xscale("symlog", base=2, linthresh=smallest)
    for row, (_, values) in enumerate(lines):
        colour = COLOURS[row % len(COLOURS)]
        axes.plot([values.min(), values.max()], [row, row], color="0.8", linewidth=0.6, zorder=1)
        thin = 0.8 if len(values) <= 64 else 0.4
        axes.vlines(values, row - 0.3, row + 0.3, color=colour, linewidth=thin, zorder=2)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_yticks(range(len(lines)), [fitting(name, 0.35 * width_points(figure)) for name, _ in lines])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.02)
    axes.set_xlabel("value over the largest" if relative else "positive values" if axis == "log2" else "value")
    lay_out(figure)
    if axis == "symlog":
        _thin(axes, float(axes.xaxis.get_transform().linthresh))
    for label, k in zip(axes.get_yticklabels(), range(len(lines))):
        label.set_color(COLOURS[k % len(COLOURS)])


def _thin(axes: Any, smallest: float) -> None:
    """Powers of two on both sides of zero, as many as have room."""
    low, high = axes.get_xlim()
    first, last = int(np.floor(np.log2(smallest))), int(np.floor(np.log2(max(-low, high))))
    room = axes_points(axes)[0] / (3.2 * SMALL)
    every = max(1, int(np.ceil((last - first + 1) / max(room / (2 if low < 0 else 1) - 1, 1))))
    powers = [2.0**k for k in range(last, first - 1, -every)]
    powers = powers[:-1] if every > 1 and len(powers) > 1 and powers[-1] < smallest * 2 ** (every - 1) else powers
    ticks = sorted([-p for p in powers if -p >= low] + [0.0] + [p for p in powers if p <= high])
    axes.set_xticks(ticks, [_power(tick) for tick in ticks])
    axes.set_xticks([], minor=True)


def _power(value: float) -> str:
    """A small number as it is, others as a power of two."""
    if value == 0 or 0.25 <= abs(value) < 1024:
        return f"{value:g}".replace("-", "\u2212")
    return f"${'-' if value < 0 else ''}2^{{{int(np.log2(abs(value)))}}}$"
