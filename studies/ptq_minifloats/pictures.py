"""The pictures of the study of small formats after training."""

from typing import Any

import numpy as np

from ..errors.samples import mean_of
from ..figures import COLOURS, MARKERS, PAGE, canvas
from ..study import Picture
from .analysis import Table, best_minifloat, formats_of
from .formats import LAYOUTS, is_integer

_SHOWN = {"cnn": "digits, convolutional network", "llama": "bytes, language model"}
_METHODS = {"equalize": "equalization", "smooth": "SmoothQuant", "bias": "bias correction", "gptq": "GPTQ",
            "adaround": "learned rounding"}  # fmt: skip
_COSTS = {"area": "area of the unit (NAND2)", "accumulator": "bits of the accumulator"}
_TRIED = ("int4", "e2m1", "int3", "e2m0")
_INTEGER, _FLOAT = COLOURS[0], COLOURS[1]


def bits_picture(table: Table) -> Picture:
    """Loss and divergence against bits: integers, the best minifloat, and every layout."""
    models = list(dict.fromkeys(table["model"]))
    figure, grid = canvas(2, len(models), height=2.3, sharex=True, squeeze=False)
    for column, model in enumerate(models):
        own = table[table["model"] == model]
        original = own[(own["weights"] == "") & (own["activations"] == "")].set_index("seed")["loss"]
        same = formats_of(own)
        same["more"] = same["loss"] - same["seed"].map(original)
        for axes, metric in zip(grid[:, column], ("more", "divergence")):
            _layouts(axes, same, metric)
            _band(axes, same, metric)
        grid[0, column].axhline(0, color="0.3", lw=1, ls="--")
        grid[0, column].set_yscale("symlog", linthresh=0.01)
        grid[0, column].set(title=_SHOWN.get(model, model), ylim=(-0.004, None))
        grid[1, column].set(yscale="log", xlabel="bits of weights and activations", xticks=list(LAYOUTS))
    grid[0, 0].set(ylabel="loss beyond float32's (nats)")
    grid[1, 0].set(ylabel="divergence (nats)")
    grid[0, 0].legend(loc="lower left", bbox_to_anchor=(0.0, 0.2))
    caption = (
        "Loss beyond that of the original, and divergence from its predictions, of weights and activations in one "
        "format, rounded to nearest: means with 95% intervals over trained networks. Grey: every layout, by its "
        "exponent bits."
    )
    return Picture(figure, caption)


def _layouts(axes: Any, same: Table, metric: str) -> None:
    floats = same[~same["integer"]]
    means = floats.groupby(["format", "bits"])[metric].mean().reset_index()
    for row in means.itertuples():
        axes.plot(row.bits + 0.32, getattr(row, metric), marker=f"${row.format[1]}$", color="0.55", ms=4.5, zorder=1)


def _band(axes: Any, same: Table, metric: str) -> None:
    """Integers and the best minifloats with their intervals."""
    integers = same[same["integer"]].pivot(index="seed", columns="bits", values=metric)
    best = np.stack([best_minifloat(same, metric, bits) for bits in LAYOUTS], 1)
    for place, (values, colour, marker, label) in enumerate(
        ((integers.to_numpy(), _INTEGER, "s", "integer"), (best, _FLOAT, "o", "best minifloat"))
    ):
        found = mean_of(values)
        at = np.array(list(LAYOUTS)) + 0.14 * (place - 0.5)
        value, low, high = (np.array(each) for each in (found.value, found.low, found.high))
        low = np.maximum(low, value / 20) if metric == "divergence" else low  # a log axis
        axes.errorbar(at, value, yerr=[value - low, high - value], color=colour, marker=marker, capsize=2, lw=1.2,
                      label=label, zorder=3)  # fmt: skip


def front_picture(front: Table) -> Picture:
    """Divergence against what a unit costs, a point a format, with the fronts."""
    models = list(dict.fromkeys(front["model"]))
    chosen = front[front["quality"] == "divergence"]
    figure, grid = canvas(len(models), len(_COSTS), width=PAGE, height=2.7, sharey="row", squeeze=False)
    for row, model in enumerate(models):
        for axes, cost in zip(grid[row], _COSTS):
            _front(axes, chosen[(chosen["model"] == model) & (chosen["by"] == cost)])
            axes.set(xscale="log", yscale="log")
        grid[row, 0].set(ylabel=f"divergence (nats)\n{_SHOWN.get(model, model)}")
    for axes, label in zip(grid[-1], _COSTS.values()):
        axes.set(xlabel=label)
    ticks = {"area": (200, 400, 800, 1600, 3200), "accumulator": (16, 32, 64, 128, 256)}
    for column, cost in enumerate(_COSTS):
        for axes in grid[:, column]:
            axes.xaxis.set_ticks(ticks[cost], labels=[str(tick) for tick in ticks[cost]])
            axes.xaxis.set_ticks([], minor=True)
            axes.set_xlim(left=0.65 * ticks[cost][0])
    grid[0, 1].legend(loc="center left", bbox_to_anchor=(1.0, 0.0), title="exponent bits")
    return Picture(figure, "What quantization does to predictions against what a unit that multiplies and accumulates "
                           "costs, with an exact accumulator for the longest sums of the network; means over trained "
                           "networks. The line is the front, whose formats are named.")  # fmt: skip


def _front(axes: Any, points: Table) -> None:
    exponents = points["format"].map(lambda name: 0 if is_integer(name) else int(name[1]))
    for number, exponent in enumerate((0, 2, 3, 4, 5, 6, 7)):
        own = points[exponents == exponent]
        axes.plot(own["cost"], own["mean"], MARKERS[number], ls="", color=COLOURS[number], ms=5 if exponent else 6,
                  label=f"E{exponent}" if exponent else "integer", zorder=2)  # fmt: skip
    on = points[points["on_front"]].sort_values("cost")
    axes.plot(on["cost"], on["mean"], color="0.5", lw=1, drawstyle="steps-post", zorder=1)
    for row in on.itertuples():
        # integers and minifloats of one width are close to each other: their names stand on two sides
        place, side = ((-5, -5), "right") if is_integer(row.format) else ((5, 1), "left")
        name, at = row.format.upper(), (row.cost, row.mean)
        axes.annotate(name, at, place, textcoords="offset points", fontsize=6, ha=side)


def effects_picture(found: Table) -> Picture:
    """What methods do to the divergence, a row a method."""
    models = list(dict.fromkeys(found["model"]))
    figure, columns = canvas(columns=len(models), height=3.4, sharey=True, squeeze=False)
    kinds = [(alone, name) for alone in (True, False) for name in _METHODS]
    used = [kind for kind in kinds if len(_of_kind(found, *kind))]
    places = {kind: -(index + 0.8 * (not kind[0])) for index, kind in enumerate([*used, (False, "")])}
    for axes, model in zip(columns[0], models):
        own = found[found["model"] == model]
        axes.axvline(1, color="0.3", lw=1)
        for number, fmt in enumerate(_TRIED):
            for kind, place in places.items():
                one = _of_kind(own[own["weights"] == fmt], *kind)
                if one.empty:
                    continue
                at, row = place + 0.18 * (1.5 - number), one.iloc[0]
                axes.plot(np.exp([row["low"], row["high"]]), [at, at], color=COLOURS[number], lw=1.5)
                axes.plot(np.exp(row["effect"]), at, MARKERS[number], color=COLOURS[number], ms=4)
        for number, fmt in enumerate(_TRIED):
            axes.plot([], [], MARKERS[number], color=COLOURS[number], label=fmt.upper(), ms=4)
        axes.set(title=_SHOWN.get(model, model), xscale="log", xlabel="divergence / that of nearest rounding")
        ticks = (0.1, 0.2, 0.5, 1, 2)
        axes.xaxis.set_ticks(ticks, labels=[str(tick) for tick in ticks])
        axes.xaxis.set_ticks([], minor=True)
    names = [f"{_METHODS.get(name, 'all that apply')} ({'W' if alone else 'W, A'})" for alone, name in places]
    columns[0][0].set_yticks(list(places.values()), names)
    columns[0][-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Picture(figure, "What methods do to the divergence, with 95% intervals over trained networks: left is "
                           "better. W: weights quantized alone; W, A: activations too.")  # fmt: skip


def _of_kind(found: Table, alone: bool, name: str) -> Table:
    """The effects of a method with weights alone or not; of all methods together for ''."""
    own = found[(found["activations"] == "") == alone]
    return own[own["method"].str.contains("+", regex=False)] if not name else own[own["method"] == name]
