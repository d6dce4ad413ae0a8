"""The multiple-choice knapsack: one option of each group, the least sensitivity within limits on costs.

The mixed-integer program goes to HiGHS (`scipy.optimize.milp`). What it returns is checked; an assignment that is over
a limit by the solver's tolerance is cut off before it solves again.
"""

from collections.abc import Mapping, Sequence
from math import fsum, inf
from typing import NamedTuple

_RANGE = 1e4
"""The largest coefficient of the objective: HiGHS stops within 1e-6 of the optimum, in these units."""


class Option(NamedTuple):
    """A format of a group of tied layers.

    Args:
        format: its name. sensitivity: the sum over the group. costs: the sums, in the order of the limits.
    """

    format: str
    sensitivity: float
    costs: tuple[float, ...]


Groups = dict[tuple[str, ...], list[Option]]
"""The options of each group of layers."""


def within(chosen: Sequence[Option], limits: Mapping[str, float]) -> bool:
    """Whether an assignment keeps to the limits, by sums that are rounded once."""
    return all(fsum(option.costs[k] for option in chosen) <= limit for k, limit in enumerate(limits.values()))


def optimum(groups: Groups, limits: Mapping[str, float]) -> tuple[list[Option], float]:
    """The assignment of least sensitivity, and a bound on it from below.

    Raises:
        ValueError: limits that no assignment keeps to at once.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    options = [option for each in groups.values() for option in each]
    sizes = [len(each) for each in groups.values()]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    one = csr_array((np.ones(len(options)), (owner, np.arange(len(options)))))
    constraints = [LinearConstraint(one, 1, 1)]
    for k, limit in enumerate(limits.values()):
        if limit != inf:
            unit = limit or 1.0
            constraints.append(
                LinearConstraint(np.array([option.costs[k] for option in options]) / unit, -np.inf, limit / unit)
            )
    lowest = [min(option.sensitivity for option in each) for each in groups.values()]
    above = np.array([option.sensitivity for option in options]) - np.repeat(lowest, sizes)
    unit = (float(above.max()) or 1.0) / _RANGE
    while True:
        found = milp(
            above / unit, integrality=np.ones(len(options)), bounds=Bounds(0, 1), constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
        if found.x is None:
            wanted = ", ".join(f"{name} <= {limit:.10g}" for name, limit in limits.items())
            raise ValueError(
                f"no assignment keeps to all of {wanted} at once, though each can be kept to alone; raise one"
            )
        picks = [int(start + np.argmax(found.x[start : start + size])) for start, size in zip(_starts(sizes), sizes)]
        chosen = [options[k] for k in picks]
        if within(chosen, limits):
            return chosen, fsum([*lowest, float(found.mip_dual_bound) * unit])
        row = np.zeros(len(options))
        row[picks] = 1.0
        constraints.append(LinearConstraint(row, -np.inf, len(sizes) - 1))


def _starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:k]) for k in range(len(sizes))]


def greedy(groups: Groups, limits: Mapping[str, float]) -> list[Option]:
    """From the cheapest options up, each time the step that lowers sensitivity most for its cost and still fits."""
    scale = [limit if 0 < limit < inf else 1.0 for limit in limits.values()]

    def price(option: Option) -> float:
        return fsum(cost / unit for cost, unit in zip(option.costs, scale))

    chosen = [min(options, key=lambda option: (price(option), option.sensitivity)) for options in groups.values()]
    if not within(chosen, limits):
        raise ValueError("the cheapest formats together do not keep to all limits; use method='milp'")
    while True:
        best: tuple[float, float, int, Option] | None = None
        for k, (options, now) in enumerate(zip(groups.values(), chosen)):
            for option in options:
                gain, more = now.sensitivity - option.sensitivity, price(option) - price(now)
                if gain <= 0 or not within([*chosen[:k], option, *chosen[k + 1 :]], limits):
                    continue
                rate = inf if more <= 0 else gain / more
                if best is None or (rate, gain) > best[:2]:
                    best = (rate, gain, k, option)
        if best is None:
            return chosen
        chosen[best[2]] = best[3]
