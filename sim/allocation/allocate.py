"""Which format for which layer: the least sensitivity within a budget, a multiple-choice knapsack.

With s and c the sensitivity and cost of layer l in format f, and x[l, f] = 1 where l takes f,

    minimize    sum s[l, f] x[l, f]
    such that   sum over f of x[l, f] = 1    for each layer        (layers that are tied are one)
                sum c[l, f] x[l, f] <= budget    for each limit

as HAWQ-V3 (arXiv:2011.10680) has it. Sensitivities are taken to add up, which is the method's assumption, not a fact.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf, isfinite
from typing import Any

from ...formats.suggest import unknown
from .knapsack import Groups, Option, greedy, optimum
from .sensitivity import METRICS, candidate, candidates

METHODS = ("milp", "greedy")
"""The optimum; and what takes the best step at a time, to compare."""

_NOT_COSTS = ("layer", "format", "trace", "trace_error", *METRICS)


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which layer takes which format.

    Args:
        formats: by layer.
        objective: the sum of sensitivities.
        cost: the sums of costs, by column; budget: their limits.
        bound: no assignment within the budget has a smaller objective; -inf of a greedy one.
        method: that found it.
    """

    formats: dict[str, str]
    objective: float
    cost: dict[str, float]
    budget: dict[str, float]
    bound: float
    method: str

    @property
    def gap(self) -> float:
        """How much smaller an objective could be, relative to this one."""
        if self.objective == self.bound:
            return 0.0
        return (self.objective - self.bound) / abs(self.objective) if self.objective else inf

    def rules(self, recipes: Sequence[Any] = ()) -> list[tuple[str, Any]]:
        """Rules for `halfulp.quantize_`: (layer, recipe) pairs.

        Args:
            recipes: the candidates that were recipes; others are formats, which quantize weights alone.

        Raises:
            ValueError: a candidate that is neither.
        """
        known = candidates(recipes) if recipes else {}
        found = []
        for layer, name in self.formats.items():
            try:
                found.append((layer, known[name] if name in known else candidate(name)))
            except ValueError as error:
                raise ValueError(f"{layer}: {error}; pass recipes of your own as rules([recipe, ...])") from None
        return found

    def __str__(self) -> str:
        limits = ", ".join(f"{name} {self.cost[name]:.6g} of {limit:.6g}" for name, limit in self.budget.items())
        lines = [f"{self.objective:.6g} by {self.method}, gap {self.gap:.2g}; {limits}"]
        width = max(map(len, self.formats))
        return "\n".join([*lines, *(f"  {layer:<{width}}  {name}" for layer, name in self.formats.items())])


def allocate(
    table: Any,
    budget: "float | Mapping[str, float] | None" = None,
    *,
    cost: str = "bits",
    average: float | None = None,
    sensitivity: str | None = None,
    tie: Iterable[Sequence[str]] = (),
    method: str = "milp",
) -> Allocation:
    """Choose a format for each layer.

    Args:
        table: a pandas DataFrame with layer and format in its index or columns, as `halfulp.sensitivity` returns it;
            other columns are sensitivities and costs. Every layer may have formats of its own.
        budget: the limit on the sum of a cost; or limits by column, {"bits": 2e6, "seconds": 1e-3}.
        cost: the column that a number limits: 'bits', 'bitops', 'seconds', or one of yours.
        average: in place of a budget, the cost a parameter: 4.5 bits a weight. It takes a column 'parameters'.
        sensitivity: the column to minimize; without it the first there is of 'loss', 'output_error', 'fisher',
            'hessian', 'weight_error'.
        tie: groups of layers that take the same format.
        method: 'milp' for the optimum, 'greedy' for the baseline: from the cheapest formats up, each time the step
            that lowers sensitivity most for its cost.

    Raises:
        ValueError: unknown columns, layers or methods; NaN or infinite numbers; negative costs; a layer twice with one
            format, or tied to one without a format in common; a budget below the smallest possible, which the message
            gives; no budget, or two.
        TypeError: no DataFrame.

    Example:
        >>> import pandas
        >>> table = pandas.DataFrame({"layer": ["a", "a", "b", "b"], "format": ["int4", "int8"] * 2,
        ...                           "loss": [0.9, 0.1, 0.2, 0.1], "bits": [4, 8, 4, 8]})
        >>> allocate(table, 12).formats
        {'a': 'int8', 'b': 'int4'}
    """
    if method not in METHODS:
        raise ValueError(unknown("method", method, METHODS))
    rows, target, limits = _prepared(table, budget, cost, average, sensitivity)
    groups = _grouped(rows, target, list(limits), tie)
    _check_feasible(groups, limits)
    chosen, bound = optimum(groups, limits) if method == "milp" else (greedy(groups, limits), -inf)
    return _allocation(groups, chosen, rows, limits, bound, method)


def pareto(
    table: Any,
    budgets: "Sequence[float] | int" = 16,
    *,
    cost: str = "bits",
    sensitivity: str | None = None,
    tie: Iterable[Sequence[str]] = (),
    method: str = "milp",
) -> Any:
    """Allocations over budgets: sensitivity against cost.

    Args:
        budgets: limits on the cost; or how many, evenly from the smallest possible to that of the least sensitivity.
        table, cost, sensitivity, tie, method: as in `allocate`.

    Returns:
        A pandas DataFrame, ascending by budget: budget, cost, objective, gap, and the format of each layer in a column
        of its name; allocations of two budgets that are the same are one row, that of the smaller budget.

    Raises:
        ValueError, TypeError: as `allocate`; fewer than two budgets to choose.
    """
    import pandas

    ties = [tuple(group) for group in tie]
    how = {"cost": cost, "sensitivity": sensitivity, "tie": ties, "method": method}
    rows = []
    for limit in _budgets(table, budgets, cost, sensitivity, ties):
        found = allocate(table, limit, **how)
        clash = {"budget", "cost", "objective", "gap"} & set(found.formats)
        if clash:
            raise ValueError(f"a layer is called {clash.pop()!r}, as a column of the result is; rename it")
        rows.append(
            {"budget": limit, "cost": found.cost[cost], "objective": found.objective, "gap": found.gap, **found.formats}
        )
    frame = pandas.DataFrame(rows)
    layers = [name for name in frame.columns if name not in ("budget", "cost", "objective", "gap")]
    return frame.drop_duplicates(subset=layers).reset_index(drop=True)


def _budgets(table: Any, given: Any, cost: str, sensitivity: str | None, tie: Any) -> list[float]:
    if not isinstance(given, int):
        return sorted(float(limit) for limit in given)
    if given < 2:
        raise ValueError(f"expected two budgets or more, got {given}; for one call allocate")
    rows, target, limits = _prepared(table, inf, cost, None, sensitivity)
    groups = _grouped(rows, target, list(limits), tie)
    low = fsum(min(option.costs[0] for option in options) for options in groups.values())
    best = [min(options, key=lambda option: (option.sensitivity, option.costs[0])) for options in groups.values()]
    high = fsum(option.costs[0] for option in best)
    steps = [low + (high - low) * k / (given - 1) for k in range(given)]
    return [low, *steps[1:-1], max(low, high)]


def _prepared(
    table: Any, budget: Any, cost: str, average: float | None, sensitivity: str | None
) -> tuple[list[dict[str, Any]], str, dict[str, float]]:
    """Rows of the table, the column to minimize, and the limits by column."""
    import pandas

    if not isinstance(table, pandas.DataFrame):
        raise TypeError(f"expected a pandas DataFrame such as hu.sensitivity returns, got {type(table).__name__}")
    named = [name for name in table.index.names if name is not None]
    frame = table.reset_index() if named else table
    for name in ("layer", "format"):
        if name not in frame.columns:
            raise ValueError(
                f"expected a table with {name!r} in its index or columns, got columns {list(frame.columns)}"
            )
    if frame.empty:
        raise ValueError("expected a table with a row for each layer and format, got none")
    target = _target(list(frame.columns), sensitivity)
    limits = _limits(frame, budget, cost, average)
    for name in limits:
        if name not in frame.columns:
            known = [column for column in frame.columns if column not in _NOT_COSTS]
            raise ValueError(unknown("cost", name, known))
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    _check_rows(rows, target, list(limits))
    return rows, target, limits


def _target(columns: list[str], sensitivity: str | None) -> str:
    preferred = ("loss", "output_error", "fisher", "hessian", "weight_error")
    if sensitivity is None:
        found = next((name for name in preferred if name in columns), None)
        if found is None:
            raise ValueError(f"expected a column of {', '.join(preferred)}, got {columns}; name yours by sensitivity=")
        return found
    if sensitivity not in columns:
        raise ValueError(unknown("sensitivity", sensitivity, columns))
    return sensitivity


def _limits(frame: Any, budget: Any, cost: str, average: float | None) -> dict[str, float]:
    if (budget is None) == (average is None):
        raise ValueError("expected a budget or an average; pass one of them, such as budget=2e6 or average=4.5")
    if average is not None:
        if "parameters" not in frame.columns:
            raise ValueError("an average takes a column 'parameters'; pass a budget")
        weights = frame.drop_duplicates("layer")["parameters"].sum()
        return {cost: float(average) * float(weights)}
    found = (
        {name: float(limit) for name, limit in budget.items()} if isinstance(budget, Mapping) else {cost: float(budget)}
    )
    for name, limit in found.items():
        if not limit >= 0:
            raise ValueError(f"expected a budget of 0 or more for {name!r}, got {limit}")
    if not found:
        raise ValueError("expected limits by column such as {'bits': 2e6}, got none")
    return found


def _check_rows(rows: list[dict[str, Any]], target: str, costs: list[str]) -> None:
    seen = set()
    for row in rows:
        key = (row["layer"], row["format"])
        if key in seen:
            raise ValueError(f"layer {key[0]!r} has format {key[1]!r} twice; leave one row")
        seen.add(key)
        for name in (target, *costs):
            if not isfinite(row[name]):
                raise ValueError(
                    f"layer {key[0]!r} in {key[1]!r}: expected a finite {name}, got {row[name]}; drop the row"
                )
            if name in costs and row[name] < 0:
                raise ValueError(f"layer {key[0]!r} in {key[1]!r}: expected a {name} of 0 or more, got {row[name]}")


def _grouped(rows: list[dict[str, Any]], target: str, costs: list[str], tie: Iterable[Sequence[str]]) -> Groups:
    """The options of each group: formats that all its layers have, with sums over them."""
    layers: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        layers.setdefault(row["layer"], {})[row["format"]] = row
    found: Groups = {}
    for group in _groups(list(layers), tie):
        shared = [name for name in layers[group[0]] if all(name in layers[layer] for layer in group)]
        if not shared:
            raise ValueError(f"tied layers {', '.join(group)} have no format in common")
        found[group] = [
            Option(
                name,
                fsum(layers[layer][name][target] for layer in group),
                tuple(fsum(layers[layer][name][each] for layer in group) for each in costs),
            )
            for name in shared
        ]
    return found


def _groups(layers: list[str], tie: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Each layer in one group; ties that share a layer are one."""
    of = {layer: {layer} for layer in layers}
    for group in tie:
        if isinstance(group, str):
            raise ValueError(f"expected groups of layers such as [['a', 'b']], got the name {group!r}")
        for layer in group:
            if layer not in of:
                raise ValueError(unknown("tied layer", str(layer), layers))
        union = set[str]().union(*(of[layer] for layer in group))
        for layer in union:
            of[layer] = union
    found = [tuple(layer for layer in layers if layer in of[first]) for first in layers]
    return list(dict.fromkeys(found))


def _check_feasible(groups: Groups, limits: dict[str, float]) -> None:
    for k, (name, limit) in enumerate(limits.items()):
        least = fsum(min(option.costs[k] for option in options) for options in groups.values())
        if least > limit:
            raise ValueError(
                f"a budget of {limit:.10g} {name} is below the smallest possible, {least:.10g}; pass that or more"
            )


def _allocation(
    groups: Groups,
    chosen: list[Option],
    rows: list[dict[str, Any]],
    limits: dict[str, float],
    bound: float,
    method: str,
) -> Allocation:
    by_layer = {layer: option.format for group, option in zip(groups, chosen) for layer in group}
    formats = {layer: by_layer[layer] for layer in dict.fromkeys(row["layer"] for row in rows)}
    cost = {name: fsum(option.costs[k] for option in chosen) for k, name in enumerate(limits)}
    objective = fsum(option.sensitivity for option in chosen)
    return Allocation(formats, objective, cost, limits, min(bound, objective), method)
