"""What all pictures share: sizes, type, colours, and how names of the caller become text.

Colours are Okabe and Ito's, which colour-blind readers tell apart, and cividis (doi:10.1371/journal.pone.0199239);
kinds of formats have a marker each besides. Type is 7 points and larger at the printed size. The style holds inside
`sheet` only: no setting of the caller's matplotlib is read or changed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...formats.suggest import unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

WIDTHS = {"column": 3.3, "page": 6.9}
"""Inches: a column of two, and the whole page."""
TALLEST = 9.0
"""Inches that a page holds."""
SMALL, NORMAL = 7.0, 7.5
"""Points."""
LINE = 1.3 * SMALL
"""Points from line to line of small type."""
INK, GREY, PALE = "0.15", "0.45", "0.85"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's (jfly.uni-koeln.de/color), without the yellow that white paper swallows."""
SEQUENTIAL = "cividis"
_HANDLE = 29.0
"""Points of a legend's line and the space around it."""
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it: the same picture on every machine
    "font.size": NORMAL,
    "axes.titlesize": NORMAL + 0.5,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "0.3",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "hatch.linewidth": 0.5,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.dpi": 100,
    "svg.hashsalt": "halfulp",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
"""Settings of matplotlib, over its defaults."""


class Kind(NamedTuple):
    """How a kind of formats is drawn."""

    label: str
    colour: str
    marker: str


KINDS = {
    "float": Kind("minifloat", COLOURS[0], "o"),
    "integer": Kind("integer", COLOURS[1], "s"),
    "codebook": Kind("codebook", COLOURS[2], "^"),
    "tapered": Kind("tapered", COLOURS[3], "D"),
    "scaled": Kind("block scales", COLOURS[4], "P"),
    "residual": Kind("stack", COLOURS[5], "X"),
    "complex": Kind("complex", COLOURS[6], "*"),
}
"""By the column 'kind' of a sweep."""

WORDS = {
    "bits": "bits of a code",
    "exponent_bits": "exponent bits",
    "mantissa_bits": "mantissa bits",
    "learning_rate": "learning rate",
    "picojoules": "energy (pJ)",
    "seconds": "time (s)",
    "bitops": "bit operations",
    "sqnr_db": "signal to quantization noise (dB)",
    "loss": "training loss",
    "train_loss": "training loss",
    "gradient_norm": "norm of the gradient",
    "saturated_percent": "saturated elements (%)",
    "underflow_percent": "elements rounded to zero (%)",
}
"""What columns are called on an axis."""


class Quantity(NamedTuple):
    """A column on an axis: its name there, and what its values are multiplied with."""

    label: str
    factor: float


def quantity(column: str, labels: Mapping[str, str] | None = None) -> Quantity:
    """The axis of a column: the caller's words; accuracies in percent; else a known name, or the column's own."""
    if labels and column in labels:
        return Quantity(plain(labels[column]), 1.0)
    words = WORDS.get(column, plain(column.replace("_", " ")))
    return Quantity(f"{words} (%)", 100.0) if column.endswith("accuracy") else Quantity(words, 1.0)


def plain(name: Any, most: int = 40) -> str:
    """A name as matplotlib shows it letter for letter: no mathematics, one line, its middle left out where long."""
    text = f"{name:g}" if isinstance(name, float | np.floating) else str(name)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if len(text) > most:
        text = f"{text[: most // 2]}\u2026{text[len(text) - (most - most // 2 - 1) :]}"
    return text.replace("$", r"\$") or "(no name)"


def fitting(name: Any, points: float) -> str:
    """A name as `plain` makes it, in small type no wider than some points (but four letters at least)."""
    for most in range(40, 4, -2):
        text = plain(name, most)
        if text_points(text) <= points:
            return text
    return plain(name, 4)


def width_points(figure: Any) -> float:
    """How wide a figure is, in points."""
    return 72 * figure.bbox.width / figure.figure.dpi


def unescaped(text: str) -> str:
    """What is seen of a text of `plain`."""
    return text.replace(r"\$", "$")


def inches(width: "str | float") -> float:
    """The width of a picture.

    Raises:
        ValueError: no name of `WIDTHS`, nor a number from 1 to 50.
    """
    if isinstance(width, str):
        if width not in WIDTHS:
            raise ValueError(unknown("width", width, WIDTHS))
        return WIDTHS[width]
    if not 1 <= width <= 50:
        raise ValueError(f"expected a width of 1 to 50 inches, got {width}; or 'column' or 'page'")
    return float(width)


@contextmanager
def sheet(width: "str | float", height: float, into: Any = None) -> "Iterator[Figure | SubFigure]":
    """A figure to draw on in the style; what is drawn is laid out at the end.

    Args:
        width: a name of `WIDTHS`, or inches. height: inches.
        into: a Figure or SubFigure to draw on in place of a new one, which keeps its size.

    Raises:
        TypeError: `into` is no figure.
        ValueError: a size out of range.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure, FigureBase

    if into is not None and not isinstance(into, FigureBase):
        raise TypeError(f"expected a matplotlib Figure or SubFigure to draw into, got {type(into).__name__}")
    size = inches(width), height
    if not 0.5 <= height <= 50:
        raise ValueError(f"expected a height of 0.5 to 50 inches, got {height}")
    with style.context(["default", STYLE]):
        figure: Any = into
        if figure is None:
            figure = Figure(figsize=size, layout="constrained")
            FigureCanvasAgg(figure)
        yield figure
        lay_out(figure)
        if into is None:  # another pass would move things by fractions of a point, and names away from their points
            figure.set_layout_engine("none")


def lay_out(figure: "Figure | SubFigure") -> None:
    """Find where everything lies, and make all ticks while the style holds."""
    root: Any = figure.figure
    root.draw_without_rendering()


def text_points(text: str, size: float = SMALL) -> float:
    """How wide a line of text is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    shown = unescaped(text)
    return text_to_path.get_text_width_height_descent(shown, FontProperties(family="DejaVu Sans", size=size), False)[0]


def axes_points(axes: "Axes") -> tuple[float, float]:
    """Width and height of laid out axes, in points."""
    box, dpi = axes.get_window_extent(), axes.figure.figure.dpi
    return 72 * box.width / dpi, 72 * box.height / dpi


def ticks_of_log(axis: Any) -> None:
    """Ticks of a logarithmic axis or colour bar that suit its range, as plain numbers where those are short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low)
    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(LogLocator(10, subs=()))
    else:
        axis.set_major_locator(LogLocator(10, subs=(1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 2, 4)))
    plain_numbers = low >= 1e-4 and high < 1e5
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if plain_numbers else _scientific(value)))
    axis.set_minor_formatter(NullFormatter())


def _scientific(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    front = value / 10.0**exponent
    return f"$10^{{{exponent}}}$" if abs(front - 1) < 1e-6 else f"${front:g}\\cdot10^{{{exponent}}}$"


def legend_text(name: str) -> str:
    """A label that a legend shows also where it begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def legend_below(figure: Any, handles: list[Any], title: str | None, grow: bool) -> Any:
    """A legend outside of the axes, in as many columns as there is room for.

    Args:
        grow: whether the figure grows by the height of the legend, so that the axes keep theirs.
    """
    room = width_points(figure) - 8
    widest = max((text_points(str(handle.get_label())) for handle in handles), default=0.0) + _HANDLE
    columns = max(1, min(int(room / widest), len(handles)))
    rows = -(-len(handles) // columns)
    columns = -(-len(handles) // rows)  # as even as can be
    if grow:
        figure.set_figheight(figure.get_figheight() + (rows + (title is not None)) * LINE / 72)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)
    legend.get_title().set_color(INK)
    return legend
