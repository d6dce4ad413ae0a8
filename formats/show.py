"""A format at a glance: its facts, and its values on a number line, as text and as a picture."""

from typing import TYPE_CHECKING

from .catalogue import AnyFormat, facts, scaled_facts
from .codebooks import ChannelCodebooks
from .complexes import ComplexFormat
from .exact import numbers
from .registry import Format
from .residual import ResidualFormat
from .scaled import ScaledFormat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 1 << 12


def fact_lines(fmt: AnyFormat) -> list[tuple[str, str]]:
    """(fact, value) pairs for people, missing facts left out."""
    if isinstance(fmt, ComplexFormat):
        return [("spec", fmt.spec), ("bits", f"{fmt.bits} a complex number"), ("source", fmt.source)]
    if isinstance(fmt, ResidualFormat):
        stages = " + ".join(stage.name for stage in fmt.open)
        return [("spec", fmt.spec), ("bits", f"{fmt.bits_per_element():.7g}"), ("stages", stages),
                ("refit", fmt.refit), ("source", fmt.source)]  # fmt: skip
    if isinstance(fmt, ChannelCodebooks):
        return [
            ("bits", str(fmt.bits)),
            ("channels", f"{len(fmt.books)} along axis {fmt.axis}"),
            ("source", fmt.source),
        ]
    table = scaled_facts(fmt) if isinstance(fmt, ScaledFormat) else facts(fmt)
    units = {"dynamic_range_db": " dB"}
    lines = [("spec", fmt.spec)]
    for name, value in table.items():
        if value is None or name == "name":
            continue
        text = f"{value:.7g}" if isinstance(value, float) else str(value)
        lines.append((name.replace("_db", "").replace("_", " "), text + units.get(name, "")))
    return lines


def line_values(fmt: Format) -> list[float]:
    """The values a number line shows: all of them up to 4096, otherwise none.

    Raises:
        ValueError: a format with more values than a line can show.
    """
    if fmt.bits > 12:
        raise ValueError(
            f"{fmt.name} has 2**{fmt.bits} codes, more than a number line shows; pick one of 12 bits or fewer"
        )
    return [float(value) for value in numbers(fmt)][:_MOST]


def text_line(fmt: Format, width: int = 72) -> str:
    """The number line in characters: '|' for one value in a column, '#' for several, and the ends below."""
    values = line_values(fmt)
    low, high = values[0], values[-1]
    counts = [0] * width
    for value in values:
        counts[round((value - low) / (high - low) * (width - 1))] += 1
    line = "".join(" |#"[min(count, 2)] for count in counts)
    left, right = f"{low:.4g}", f"{high:.4g}"
    zero = round((0 - low) / (high - low) * (width - 1))
    middle = [" "] * width
    middle[: len(left)] = left
    middle[width - len(right) :] = right
    if len(left) < zero < width - len(right) - 1 and low < 0 < high:
        middle[zero] = "0"
    return line + "\n" + "".join(middle)


def number_line(fmt: Format) -> "Figure":
    """The values as ticks: on a linear axis, and the positive ones on a base-2 logarithmic axis."""
    from matplotlib.figure import Figure

    values = line_values(fmt)
    positive = [value for value in values if value > 0]
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    linear, logarithmic = figure.subplots(2, 1)
    linear.vlines(values, 0, 1, color="#0072B2", lw=0.9)
    linear.set_xlabel(f"{len(values)} values of {fmt.name}")
    logarithmic.set_xlabel("the positive ones, logarithmic" if positive else "no positive values")
    if positive:
        logarithmic.vlines(positive, 0, 1, color="#D55E00", lw=0.9)
        logarithmic.set_xscale("log", base=2)
    for axes in (linear, logarithmic):
        axes.set_yticks([])
        axes.set_ylim(0, 1)
        axes.spines[["left", "right", "top"]].set_visible(False)
    smallest = f", smallest positive {positive[0]:.6g}" if positive else ""
    figure.suptitle(f"{fmt.name}: {fmt.bits} bits, largest {float(fmt.max):.6g}{smallest}", fontsize=11)
    return figure
