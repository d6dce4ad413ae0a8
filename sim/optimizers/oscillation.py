"""Weights that jump between two values of their format: three ways to calm them, over an array namespace.

Let w be the master weight, q its rounding, l <= w <= u the values of the format next to it.

    Q-EMA       q = whichever of l and u is nearer to a moving average of w             arXiv:2502.20853
    Q-Ramping   elements with a large R = sum |dq| / sum |dw| are updated less often    arXiv:2502.20853
    CGA         elements that are not near (l + u) / 2 are frozen                       arXiv:2302.02210
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ...formats.suggest import unknown
from .namespace import Array, Arrays


@dataclass(frozen=True, slots=True)
class Ramping:
    """Weights that oscillate are updated less often, with what gradients they had meanwhile (Q-Ramping).

    Over a window of steps, R = sum |change of the rounded weight| / sum |change of the master weight|, element by
    element. In the next window an element is updated every factor * floor(R / divisor) + 1 steps.

    Args:
        window: steps over which R is taken.
        divisor, factor: as above.
        limit: the longest period, or None.

    Raises:
        ValueError: numbers that are not positive, or not integers where steps are counted.

    Source: arXiv:2502.20853.
    """

    window: int = 30
    divisor: float = 16.0
    factor: int = 5
    limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("window", "divisor", "factor", "limit"):
            value = getattr(self, name)
            whole = name != "divisor"
            if value is None and name == "limit":
                continue
            if not isinstance(value, int if whole else int | float) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"ramping: expected a positive {name}{', an integer' * whole}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Freezing:
    """Weights that do not oscillate are frozen, so that those which do come to rest one after another (CGA).

    Args:
        reach: a weight moves only while it is that near to the middle between two values, in steps of the grid.
        start: the step from which on weights are frozen.

    Raises:
        ValueError: a reach that is not above 0 and up to 1/2, or a negative start.

    Source: arXiv:2302.02210, confidence-guided annealing.
    """

    reach: float = 0.005
    start: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.reach, int | float) or not 0 < self.reach <= 0.5:
            raise ValueError(f"freezing: expected a reach above 0 and up to 0.5, such as 0.005, got {self.reach!r}")
        if not isinstance(self.start, int) or isinstance(self.start, bool) or self.start < 0:
            raise ValueError(f"freezing: expected a start of 0 or more, an integer, got {self.start!r}")


def method_of(name: str, kind: Any, given: Any) -> Any:
    """What was written down: a `Ramping` or `Freezing`, a table of its settings, True for the published ones, or None.

    Raises:
        ValueError: unknown settings.
        TypeError: none of these.
    """
    if given is None or isinstance(given, kind):
        return given
    if given is True:
        return kind()
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: expected {kind.__name__}(...), a table of its settings or True, got {given!r}")
    known = [f.name for f in fields(kind)]
    for key in given:
        if key not in known:
            raise ValueError(unknown(f"setting of {name}", str(key), known))
    return kind(**given)


def near_average(xp: Arrays, average: Array, lower: Array, upper: Array, nearest: Array) -> Array:
    """Of two values the one nearer to the average; in the middle, and where that is not finite, the nearest to w."""
    below, above = average - lower, upper - average
    return xp.where(below < above, lower, xp.where(above < below, upper, nearest))


def moved_average(xp: Arrays, decay: float, average: Array, master: Array) -> Array:
    """decay * average + (1 - decay) * w, three operations."""
    return xp.product(average, decay) + xp.product(master, 1 - decay)


def frozen(xp: Arrays, of: Freezing, master: Array, lower: Array, upper: Array, step: Any) -> Array:
    """Where a weight stays: farther than `reach` steps from the middle of l and u; also on a value, and beyond all."""
    off = xp.absolute((master - lower) - (upper - master))
    return ((off > xp.product(upper - lower, 2 * of.reach)) | (lower == upper)) & (step >= of.start)


def first_sums(zeros: Array) -> dict[str, Array]:
    """What Q-Ramping remembers of a tensor.

    Returns:
        All in the shape of the tensor: gradients since the last update and how many; the period; sums of magnitudes of
        the changes of master and weights in this window.
    """
    names = ("ramping_gradients", "ramping_count", "ramping_master", "ramping_weights")
    return {**dict.fromkeys(names, zeros), "ramping_period": zeros + 1}


def collected(xp: Arrays, memory: Mapping[str, Array], gradient: Array, step: Any) -> tuple[Array, dict[str, Array]]:
    """The mean of gradients since the last update where an element is due, else 0; and what is remembered."""
    total, count = memory["ramping_gradients"] + gradient, memory["ramping_count"] + 1
    mean = total / count
    return xp.where(due(memory, step), mean, 0.0), {**memory, "ramping_gradients": total, "ramping_count": count}


def due(memory: Mapping[str, Array], step: Any) -> Array:
    """Which elements are updated in a step, the first of which is 0."""
    return (step + 1) % memory["ramping_period"] == 0


def ramped(xp: Arrays, memory: Mapping[str, Array], before: Array, after: Array, step: Any) -> Array:
    """Where an element is due its update, times the number of gradients it is the mean of; else the element as it was.

    So with SGD it is the sum of the updates that were left out.
    """
    return xp.where(due(memory, step), before + xp.product(after - before, memory["ramping_count"]), before)


def counted(
    xp: Arrays, of: Ramping, memory: Mapping[str, Array], master: Array, weights: Array, step: Any
) -> dict[str, Array]:
    """What is remembered after a step.

    Args:
        master, weights: magnitudes of the changes of this step.
    """
    was_due, period = due(memory, step), memory["ramping_period"]
    moved, jumped = memory["ramping_master"] + master, memory["ramping_weights"] + weights
    ratio = xp.where(moved > 0, jumped / xp.where(moved > 0, moved, 1.0), 0.0)
    longer = xp.product(xp.floor(ratio / of.divisor), float(of.factor)) + 1
    if of.limit is not None:
        longer = xp.where(longer > of.limit, float(of.limit), longer)
    ends = (moved >= 0) & ((step + 1) % of.window == 0)

    def kept(name: str) -> Array:
        return xp.where(was_due, 0.0, memory[name])

    return {
        **memory,
        "ramping_gradients": kept("ramping_gradients"),
        "ramping_count": kept("ramping_count"),
        "ramping_period": xp.where(ends, longer, period),
        "ramping_master": xp.where(ends, 0.0, moved),
        "ramping_weights": xp.where(ends, 0.0, jumped),
    }
