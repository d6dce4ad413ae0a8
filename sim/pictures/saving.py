"""Write a figure to a file, the same bytes every time."""

from pathlib import Path
from typing import TYPE_CHECKING

from ...formats.suggest import unknown
from .style import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METADATA = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": "halfulp"},
    ".pdf": {"CreationDate": None, "Creator": "halfulp", "Producer": None},
}
"""By suffix: what files say of themselves; no dates or versions, so that a picture that did not change is not another
file."""


def save_figure(figure: "Figure", path: str | Path, *, dpi: float = 300) -> Path:
    """Write a figure as PNG, SVG or PDF by the suffix of the path, its folder made where missing.

    The bytes are the same every time: no dates, and names of SVG elements follow from what is drawn. Letters of an SVG
    are outlines; a PDF embeds its fonts.

    Args:
        figure: of any of the `plot_` functions, or another matplotlib Figure.
        path: ending in .png, .svg or .pdf.
        dpi: dots an inch of a PNG.

    Returns:
        The path.

    Raises:
        TypeError: no figure.
        ValueError: another suffix.
        OSError: a place that cannot be written.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    if not isinstance(figure, Figure):
        raise TypeError(f"expected a matplotlib Figure, got {type(figure).__name__}")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in METADATA:
        raise ValueError(unknown("suffix", suffix, METADATA) + f"; the path was {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with style.context(["default", STYLE]):
        figure.savefig(path, format=suffix[1:], dpi=dpi, metadata=METADATA[suffix])
    return path
