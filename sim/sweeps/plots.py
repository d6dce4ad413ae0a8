"""Pictures of a sweep: accuracy over exponent and mantissa bits, and accuracy over bits.

Colours are Okabe and Ito's, which colour-blind readers tell apart, with a marker of its own for each kind.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS = {
    "float": ("minifloat", "#0072B2", "o"),
    "integer": ("integer", "#D55E00", "s"),
    "codebook": ("codebook", "#009E73", "^"),
    "tapered": ("tapered", "#CC79A7", "D"),
}


def summarize(runs: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row per format, at its best learning rate: that of the lowest mean training loss, so that no test
    data chooses.

    Args:
        runs: a table of `sweep`.

    Returns:
        format, kind, bits, exponent_bits, mantissa_bits, learning_rate, accuracy (mean over seeds),
        spread (standard deviation over seeds, 0 for one seed), seeds, diverged (how many runs did).
    """
    columns = ["format", "kind", "bits", "exponent_bits", "mantissa_bits", "learning_rate"]
    table: Any = (
        runs.groupby(columns, sort=False, dropna=False)
        .agg(
            accuracy=("test_accuracy", "mean"),
            spread=("test_accuracy", "std"),
            train_loss=("train_loss", lambda losses: losses.mean(skipna=False)),
            seeds=("seed", "nunique"),
            diverged=("diverged", "sum"),
        )
        .reset_index()
    )
    table["train_loss"] = table["train_loss"].fillna(np.inf)
    best = table.loc[table.groupby("format", sort=False)["train_loss"].idxmin()]
    return best.drop(columns="train_loss").fillna({"spread": 0.0}).reset_index(drop=True)


def heat_map(runs: "pandas.DataFrame") -> "Figure":
    """Test accuracy of the minifloats, exponent bits across and mantissa bits up, at each one's best rate.

    Formats all of whose runs diverged are grey.

    Raises:
        ValueError: no minifloats of fewer than 16 bits among the runs.
    """
    from matplotlib.figure import Figure

    table: Any = summarize(runs)
    floats = table[(table["kind"] == "float") & (table["bits"] < 16)]
    if floats.empty:
        raise ValueError("no minifloats of fewer than 16 bits among these runs; sweep e.g. 'e[1-5]m[0-4]'")
    floats = floats.assign(shown=(100 * floats["accuracy"]).where(floats["diverged"] < floats["seeds"]))
    grid = floats.pivot_table(
        index="mantissa_bits", columns="exponent_bits", values="shown", aggfunc="max", dropna=False
    )
    figure = Figure(figsize=(1.9 + 0.95 * grid.shape[1], 1.6 + 0.62 * grid.shape[0]), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(grid.to_numpy(), origin="lower", cmap="viridis", aspect="auto")
    axes.set_facecolor("0.8")
    axes.set_xticks(range(grid.shape[1]), [f"E{int(e)}" for e in grid.columns])
    axes.set_yticks(range(grid.shape[0]), [f"M{int(m)}" for m in grid.index])
    axes.set_xlabel("exponent bits")
    axes.set_ylabel("mantissa bits")
    axes.set_title(f"{_task(runs)}: test accuracy (%), mean of {int(floats['seeds'].max())} seeds")
    known = {(int(e), int(m)) for e, m in zip(floats["exponent_bits"], floats["mantissa_bits"])}
    for (row, column), value in np.ndenumerate(grid.to_numpy()):
        if (int(grid.columns[column]), int(grid.index[row])) in known:
            _write_cell(axes, column, row, value, image)
    figure.colorbar(image, ax=axes, label="test accuracy (%)")
    return figure


def _write_cell(axes: "Axes", column: int, row: int, value: float, image) -> None:
    if np.isnan(value):
        axes.text(column, row, "diverged", ha="center", va="center", color="black", fontsize=8)
        return
    red, green, blue, _ = image.cmap(image.norm(value))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    axes.text(column, row, f"{value:.1f}", ha="center", va="center", color="white" if dark else "black", fontsize=9)


_TICKS = [0, 50, 80, 90, 95, 97, 98, 99, 99.5, 99.9]
_CLOSEST = 0.05


def _stretch(accuracy: Any) -> Any:
    """Accuracy in percent to an axis on which halving the error is a constant distance."""
    return -np.log10(np.maximum(100 - np.asarray(accuracy, float), _CLOSEST))


def _unstretch(position: Any) -> Any:
    return 100 - 10 ** -np.asarray(position, float)


def accuracy_by_bits(runs: "pandas.DataFrame") -> "Figure":
    """Test accuracy over the bits of a code, each format at its best rate, with the spread over seeds.

    The accuracy axis is logarithmic in the error. Formats of one width stand side by side, the best
    minifloat of each width is named, a dashed line is the unquantized reference, and formats all of whose
    runs diverged lie hollow at the bottom.

    Raises:
        ValueError: no format of fewer than 16 bits among the runs.
    """
    from matplotlib.figure import Figure

    table: Any = summarize(runs)
    narrow = table[table["bits"] < 16]
    if narrow.empty:
        raise ValueError("no formats of fewer than 16 bits among these runs; sweep e.g. 'int[2-8]'")
    figure = Figure(figsize=(8.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yscale("function", functions=(_stretch, _unstretch))
    trained = narrow[narrow["diverged"] < narrow["seeds"]]
    lowest = 100 * (trained["accuracy"] - trained["spread"]).min() if len(trained) else 50.0
    floor = max(_unstretch(_stretch(lowest) - 0.25), 0.0)
    for kind, rows in narrow.groupby("kind", sort=False):
        _draw_kind(axes, rows, str(kind), floor)
    _name_best(axes, trained)
    for row in table[table["bits"] >= 16].itertuples():
        axes.axhline(100 * row.accuracy, color="0.35", ls="--", lw=1, label=f"{row.format} ({100 * row.accuracy:.1f}%)")
    axes.set_yticks([tick for tick in _TICKS if tick >= floor])
    axes.set_yticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(floor, min(99.95, _unstretch(_stretch(100 * table["accuracy"].max()) + 0.3)))
    axes.set_xlabel("bits of a code")
    axes.set_ylabel("test accuracy (%), logarithmic in the error")
    axes.set_xticks(sorted(set(narrow["bits"])))
    axes.set_title(f"{_task(runs)}: accuracy by bits; bars are one standard deviation over seeds")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False)
    return figure


def _draw_kind(axes: "Axes", rows: Any, kind: str, floor: float) -> None:
    label, colour, marker = _KINDS[kind]
    x = rows["bits"].to_numpy(float) + _offsets(rows["bits"].to_numpy(), kind)
    lost = (rows["diverged"] >= rows["seeds"]).to_numpy()
    y, spread = 100 * rows["accuracy"].to_numpy(), 100 * rows["spread"].to_numpy()
    if not lost.all():
        axes.errorbar(
            x[~lost], y[~lost], spread[~lost], fmt=marker, color=colour, ms=5, capsize=2.5, lw=1.2, label=label
        )
    if lost.any():
        bottom = np.full(lost.sum(), floor)
        axes.plot(
            x[lost], bottom, marker, mfc="white", mec=colour, ms=7, ls="none", clip_on=False, label=f"{label}, diverged"
        )


def _name_best(axes: "Axes", trained: Any) -> None:
    floats = trained[trained["kind"] == "float"]
    for bits, rows in floats.groupby("bits"):
        best = rows.loc[rows["accuracy"].idxmax()]
        x = bits + _offsets(rows["bits"].to_numpy(), "float")[list(rows.index).index(best.name)]
        name = f"E{int(best['exponent_bits'])}M{int(best['mantissa_bits'])}"
        top = 100 * (best["accuracy"] + best["spread"])
        axes.annotate(name, (x, top), (0, 4), textcoords="offset points", ha="center", fontsize=8, color="#0072B2")


def _offsets(bits: np.ndarray, kind: str) -> np.ndarray:
    """Small shifts that keep formats of one width apart; integers to the right of minifloats."""
    base = {"float": -0.1, "integer": 0.25, "codebook": 0.37, "tapered": 0.45}[kind]
    offsets = np.zeros(len(bits))
    for width in set(bits):
        same = np.flatnonzero(bits == width)
        offsets[same] = base + 0.08 * (np.arange(len(same)) - (len(same) - 1) / 2)
    return offsets


def _task(runs: "pandas.DataFrame") -> str:
    return ", ".join(map(str, runs["task"].unique()))


def save(figure: "Figure", path: str | Path) -> Path:
    """Write a figure as PNG, its folder made where missing.

    Raises:
        OSError: a place that cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
