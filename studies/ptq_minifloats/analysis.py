"""What quantized networks say: paired differences, best layouts chosen on other seeds, fronts of each network."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas

from ...sim.costs.area import PUBLISHED
from ...sim.sweeps.pareto import on_front, pareto_front
from ..claims import Measured
from ..errors.resampled import best_on_others
from ..errors.samples import mean_of
from .claims import APPLIES, COSTS, MODELS, QUALITIES, WON
from .formats import LAYOUTS, accumulator, area, bits_of, is_integer, of_width
from .plan import INTEGERS

Table = Any
"""A pandas DataFrame, whose stubs say little of what is in it."""
LEAST = 1e-8
"""Nats: divergences below are those of float32 sums."""
PAIRS = (("e2m1", "e3m0"), ("e4m3", "e5m2"), ("e3m4", "e4m3"))
"""Layouts of one width that are compared."""


def in_one_format(table: Table, what: str = "both") -> Table:
    """Rows rounded to nearest with one format, of 'both' weights and activations, or of one of these alone.

    With columns format, bits, integer, log_divergence.
    """
    quantized = {name: table[name] != "" for name in ("weights", "activations")}
    chosen = {"both": quantized["weights"] & (table["weights"] == table["activations"]),
              "weights": quantized["weights"] & ~quantized["activations"],
              "activations": quantized["activations"] & ~quantized["weights"]}[what]  # fmt: skip
    own = table[chosen & (table["method"] == "nearest")]
    names = own["activations" if what == "activations" else "weights"]
    return own.assign(
        format=names,
        bits=names.map(bits_of),
        integer=names.map(is_integer),
        log_divergence=np.log(own["divergence"].clip(lower=LEAST)),
    )


def formats_of(table: Table) -> Table:
    """Rows of weights and activations in one format, as `in_one_format`, with what units cost: area, accumulator."""
    same = in_one_format(table)
    each = list(zip(same["format"], same["depth"].tolist()))
    return same.assign(
        area=[area(name, name, depth) for name, depth in each],
        accumulator=[accumulator(name, name, depth) for name, depth in each],
    )


def of_case(table: Table, metric: str, weights: str | None, activations: str | None, method: str = "nearest") -> Table:
    """A metric of a case by seed: a Series.

    Raises:
        ValueError: a case that was not run.
    """
    own = (table["weights"] == (weights or "")) & (table["activations"] == (activations or ""))
    found = table[own & (table["method"] == method)].set_index("seed")[metric].sort_index()
    if found.empty:
        raise ValueError(f"no network was quantized with weights {weights}, activations {activations}, {method}")
    return found


def log_ratio(table: Table, one: tuple[Any, ...], other: tuple[Any, ...]) -> np.ndarray:
    """(seeds,) the log of the divergence of a case over that of another; cases as `of_case` takes them."""
    first, second = (of_case(table, "divergence", *case).clip(lower=LEAST) for case in (one, other))
    return np.log(first / second).to_numpy()


def best_minifloat(same: Table, metric: str, bits: int) -> np.ndarray:
    """(seeds,) the metric, less being better, of the best minifloat of a width; its layout is chosen on other seeds."""
    wide = same.pivot(index="seed", columns="format", values=metric).sort_index()
    return best_on_others(wide[of_width(bits)].to_numpy())


def against_integers(same: Table, metric: str, bits: int) -> np.ndarray:
    """(seeds,) the best minifloat's metric less that of integers of as many bits."""
    integer = same[same["format"] == f"int{bits}"].set_index("seed")[metric].sort_index()
    return best_minifloat(same, metric, bits) - integer.to_numpy()


def integers_on_front(same: Table, cost: str, quality: str) -> np.ndarray:
    """(seeds,) the share of integers that are on the front of each network."""
    sign = -1 if quality == "accuracy" else 1
    shares = []
    for _, own in same.groupby("seed"):
        kept = on_front(np.stack([own[cost].to_numpy(float), sign * own[quality].to_numpy(float)], 1))
        shares.append(kept[own["integer"].to_numpy(bool)].mean())
    return np.array(shares)


def share_of(shares: np.ndarray) -> Measured:
    """The mean of shares of networks; a note says where they are all alike, so that the interval has no width."""
    found = mean_of(shares)
    return replace(found, note="The same in all networks.") if len(set(shares.tolist())) == 1 else found


def fronts(table: Table) -> Table:
    """Formats of each network with their means, and how probable it is that they are on a front."""
    found = []
    for model, own in table.groupby("model", sort=False):
        same = formats_of(own)
        for cost, quality in ((cost, quality) for cost in COSTS for quality in QUALITIES):
            directions = {quality: "maximize" if quality == "accuracy" else "minimize"}
            front = pareto_front(same, cost, quality, "format", directions=directions)
            front = front.rename(columns={cost: "cost", quality: "mean"}).assign(model=model, by=cost, quality=quality)
            found.append(front[["model", "by", "quality", "format", "cost", "mean", "on_front", "probability"]])
    return pandas.concat(found, ignore_index=True)


def premium(table: Table, least: float = PUBLISHED[0]) -> Table:
    """The share of integers on fronts of area if no minifloat's unit took less than so much more than an integer's.

    A row a network and quality: the share by our areas and by those, with intervals over seeds.
    """
    rows = []
    for model, own in table.groupby("model", sort=False):
        same = formats_of(own)
        integers = same[same["integer"]].groupby("bits")["area"].first()
        dearer = np.maximum(same["area"], (1 + least) * same["bits"].map(integers))
        raised = same.assign(area=same["area"].where(same["integer"], dearer))
        for quality in QUALITIES:
            found = {name: share_of(integers_on_front(each, "area", quality))
                     for name, each in (("ours", same), ("raised", raised))}  # fmt: skip
            cells = {f"{name}{end}": getattr(each, part) for name, each in found.items()
                     for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))}  # fmt: skip
            notes = {f"{name}_note": each.note for name, each in found.items()}
            rows.append({"model": model, "quality": quality, **cells, **notes})
    return pandas.DataFrame(rows)


def by_format(table: Table) -> Table:
    """Means over seeds of each case with 95% intervals of Student's t."""
    rows = []
    for key, own in table.groupby(["model", "weights", "activations", "method"], sort=False):
        cells = dict(zip(("model", "weights", "activations", "method"), key))
        for metric in ("loss", "accuracy", "divergence"):
            found = mean_of(own[metric])
            cells |= {metric: found.value, f"{metric}_low": found.low, f"{metric}_high": found.high}
        rows.append(cells)
    return pandas.DataFrame(rows)


def effects(table: Table) -> Table:
    """What each method does to the divergence, as the log of its ratio to nearest rounding, with intervals."""
    rows = []
    for model, own in table.groupby("model", sort=False):
        tried = own[own["method"] != "nearest"][["weights", "activations", "method"]].drop_duplicates()
        for weights, activations, method in tried.itertuples(index=False):
            ratios = log_ratio(own, (weights, activations, method), (weights, activations))
            found, case = mean_of(ratios), {"weights": weights, "activations": activations, "method": method}
            ends = {"effect": found.value, "low": found.low, "high": found.high, "seeds": found.count}
            rows.append({"model": model, **case, **ends})
    return pandas.DataFrame(rows)


def measured(table: Table) -> dict[str, Measured]:
    """What each claim is judged by."""
    return {f"{name}_{model}": found for model in MODELS
            for name, found in _of_model(table[table["model"] == model], model).items()}  # fmt: skip


def _of_model(table: Table, model: str) -> dict[str, Measured]:
    same = formats_of(table)
    found = {f"wins_{bits}": mean_of(against_integers(same, "loss", bits)) for bits in WON}
    found["closer"] = mean_of(np.mean([against_integers(same, "log_divergence", bits) for bits in WON], 0))
    for cost in COSTS:
        for quality in QUALITIES:
            found[f"integers_{cost}_{quality}"] = share_of(integers_on_front(same, cost, quality))
    for name in APPLIES[model]:
        for fmt in ("e2m1", "int4"):
            activations = fmt if name in ("smooth", "bias") else None
            found[f"{name}_{fmt}"] = mean_of(log_ratio(table, (fmt, activations, name), (fmt, activations)))
    found["smooth_int8"] = mean_of(log_ratio(table, ("int8", "int8", "smooth"), ("int8", "int8")))
    return found


def comparisons(table: Table) -> Table:
    """What no paper is known to say, of each network: one case against another, with intervals over seeds.

    'loss': the first less the second, nats; 'divergence': the log of their ratio.
    """
    rows = []
    for model, own in table.groupby("model", sort=False):
        made = [
            ("E2M0", "INT3", "loss", against_integers(formats_of(own), "loss", 3)),
            ("4 bits for weights, 8 for activations", "the reverse", "divergence", _weights_first(own)),
        ]
        for one, other in PAIRS:
            ratios = log_ratio(own, (one, one), (other, other))
            made.append((one.upper(), other.upper(), "divergence", ratios))
        for one, other, metric, values in made:
            found, case = mean_of(values), {"one": one, "other": other, "metric": metric}
            ends = {"effect": found.value, "low": found.low, "high": found.high, "seeds": found.count}
            rows.append({"model": model, **case, **ends})
    return pandas.DataFrame(rows)


def _weights_first(table: Table, few: int = 4, many: int = 8) -> np.ndarray:
    """(seeds,) log ratio of few bits for weights to few for activations, the mean of integers and minifloats."""
    each = [log_ratio(table, (family[few], family[many]), (family[many], family[few]))
            for family in (INTEGERS, LAYOUTS)]  # fmt: skip
    return np.mean(each, 0)


def best_layouts(table: Table, bits: Sequence[int] = tuple(LAYOUTS)) -> Table:
    """Of each network and width: the minifloat with the least mean divergence, and its log ratio to integers.

    Of weights and activations, and of either alone.
    """
    rows = []
    for (model, own), what in product(table.groupby("model", sort=False), ("both", "weights", "activations")):
        same = in_one_format(own, what)
        means = same.groupby("format")["divergence"].mean()
        for width in bits:
            found = mean_of(against_integers(same, "log_divergence", width))
            ends = {"log_ratio": found.value, "low": found.low, "high": found.high}
            rows.append({"model": model, "what": what, "bits": width, "best": means[of_width(width)].idxmin(), **ends})
    return pandas.DataFrame(rows)
