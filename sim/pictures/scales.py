"""Which exponents the scales of blocks have: of arrays in scaled formats, or as a probe recorded them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...emulate.quantize import scales as scales_of
from ...formats.catalogue import format as any_format
from ...formats.scaled import ScaledFormat
from ..probes.records import exponents_of
from .runs import check_columns
from .style import COLOURS, INK, SMALL, plain, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 40
"""Histograms of one picture."""
_FAR = 12
"""Exponents without a block that part the smallest one from the others."""


class Histogram(NamedTuple):
    """Of one tensor: its name, (n,) exponents ascending, (n,) blocks with each; how many have no scale, zero or NaN."""

    name: str
    exponents: np.ndarray
    counts: np.ndarray
    without: int = 0

    @property
    def blocks(self) -> int:
        """All of them."""
        return int(self.counts.sum()) + self.without

    def near(self) -> "Histogram":
        """Without the smallest exponent where it lies far below the others: the format's smallest scale, which blocks
        of zeros take.
        """
        if len(self.counts) < 2 or self.exponents[1] - self.exponents[0] <= _FAR:
            return self
        return self._replace(exponents=self.exponents[1:], counts=self.counts[1:])


def plot_scales(
    tensors: Any,
    formats: "str | ScaledFormat | Sequence[str | ScaledFormat] | None" = None,
    *,
    title: str | None = None,
    width: str | float = "column",
    height: float | None = None,
    into: Any = None,
    **options: Any,
) -> "Figure":
    """Draw how many blocks have a scale from 2^k to 2^(k+1), for each k: one histogram below another.

    A triangle below a histogram is its median. Scales of two levels, as NVFP4 has them, are multiplied first. Blocks of
    zeros are named in the text beside it: they have no scale, or the smallest of the format, far from the others.

    Args:
        tensors: an array, or a mapping of names to arrays, of NumPy, torch or JAX; or a DataFrame with the columns
            'scale_counts' and 'scale_min', as `Probe.frame()` returns it: a histogram for each row that has scales,
            named by its columns layer, tensor, format and step as far as they differ.
        formats: scaled formats for arrays. None for a DataFrame.
        title, width, height, into: as in `halfulp.plot_heat_map`.
        options: as `halfulp.scales` takes them, pad=True for shapes that are no multiple of the block.

    Raises:
        TypeError: formats for a DataFrame.
        ValueError: no formats for arrays, a format without scales, more than 40 histograms, blocks that are all zero.
    """
    if hasattr(tensors, "columns") and hasattr(tensors, "groupby"):
        if formats is not None or options:
            raise TypeError("a DataFrame holds scales already; leave formats and options out")
        found = _of_records(tensors)
    else:
        found = _of_arrays(tensors, formats, options)
    if len(found) > MOST:
        raise ValueError(f"{len(found)} histograms are more than one picture holds ({MOST}); pass some of the rows")
    if not any(len(each.counts) for each in found):
        raise ValueError("every block is zero, and none has a scale to draw")
    tall = 0.62 + 0.42 * len(found) + 0.2 * (title is not None)
    with sheet(width, min(tall, 9.0) if height is None else height, into) as figure:
        _draw(figure, found)
        if title is not None:
            figure.suptitle(plain(title, 200), fontsize="medium", x=0.01, ha="left")
    return figure  # pyright: ignore[reportReturnType]


def _of_arrays(tensors: Any, formats: Any, options: dict[str, Any]) -> list[Histogram]:
    if formats is None:
        raise ValueError("expected formats for the arrays; pass e.g. formats=['mxfp4', 'nvfp4']")
    named = tensors if isinstance(tensors, Mapping) else {"": tensors}
    chosen = [formats] if isinstance(formats, str | ScaledFormat) else list(formats)
    if not named or not chosen:
        raise ValueError("there is nothing to draw; pass one array and one scaled format at least")
    found = []
    for tensor, array in named.items():
        for fmt in map(any_format, chosen):
            decoded = _on_cpu(scales_of(array, fmt, **options).decode)  # pyright: ignore[reportArgumentType]
            found.append(_histogram(", ".join(filter(None, (str(tensor), fmt.name))), decoded))
    return found


def _on_cpu(array: Any) -> np.ndarray:
    """Any library's array in NumPy, without importing one."""
    moved = array.detach().cpu() if hasattr(array, "detach") else array
    return np.asarray(moved, np.float64)


def _histogram(name: str, scales: np.ndarray) -> Histogram:
    """Exponents are floor(log2(scale)), exactly."""
    usable = np.isfinite(scales) & (scales > 0)
    exponents, counts = np.unique(np.frexp(scales[usable])[1] - 1, return_counts=True)
    return Histogram(name, exponents, counts, int(scales.size - usable.sum()))


def _of_records(frame: Any) -> list[Histogram]:
    check_columns(frame, ("scale_counts", "scale_min"), "a probe's records")
    rows = [row for _, row in frame.iterrows() if len(row["scale_counts"])]
    if not rows:
        raise ValueError("none of these rows has scales; keep those of a scaled format, such as 'mxfp4'")
    columns = [column for column in ("layer", "product", "tensor", "format", "step") if column in frame.columns]
    telling = [column for column in columns if len({row[column] for row in rows}) > 1] or columns[:1]
    return [
        Histogram(" ".join(str(row[column]) for column in telling), np.array(exponents_of(row)),
                  np.asarray(row["scale_counts"], np.int64))
        for row in rows
    ]  # fmt: skip


def _draw(figure: Any, found: list[Histogram]) -> None:
    from matplotlib.ticker import MaxNLocator

    all_axes = np.atleast_1d(figure.subplots(len(found), 1, sharex=True, gridspec_kw={"hspace": 0}))
    shown = [each.near() for each in found]
    known = np.concatenate([each.exponents for each in shown])
    widest = max(100 * float(each.counts.max()) / of.blocks for each, of in zip(shown, found) if len(each.counts))
    for k, (axes, each, of) in enumerate(zip(all_axes, shown, found)):
        colour = COLOURS[k % len(COLOURS)]
        axes.bar(each.exponents, 100 * each.counts / max(of.blocks, 1), width=0.92, color=colour, linewidth=0)
        if len(each.counts):
            middle = each.exponents[np.searchsorted(np.cumsum(each.counts), each.counts.sum() / 2)]
            axes.plot(middle, -0.06 * widest, marker="^", color=colour, markersize=3, clip_on=False)
        axes.set_xlim(known.min() - 1.5, known.max() + 1.5)
        axes.set_ylim(0, 1.75 * widest)
        axes.set_yticks([0, _round(widest)])
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.text(0.005, 0.97, _title(each, of), transform=axes.transAxes, va="top", fontsize=SMALL, color=INK)
        if k < len(found) - 1:
            axes.tick_params(axis="x", length=0, labelbottom=False)
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    all_axes[-1].set_xlabel("exponent of the scale, base 2")
    figure.supylabel("blocks (%)", fontsize="medium")


def _title(shown: Histogram, of: Histogram) -> str:
    """The name, and what of the blocks is not drawn."""
    notes = []
    if len(shown.counts) < len(of.counts):
        notes.append(f"{100 * of.counts[0] / of.blocks:.2g}% at 2^{of.exponents[0]}")
    if of.without:
        notes.append(f"{100 * of.without / of.blocks:.2g}% without scale")
    return plain(of.name, 30) + (f" ({', '.join(notes)})" if notes else "")


def _round(value: float) -> float:
    """One digit, not above the value."""
    unit = 10.0 ** np.floor(np.log10(value))
    return float(np.floor(value / unit) * unit)
