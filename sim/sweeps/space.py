"""What a sweep runs, as data: parameters with their values, and a design that chooses configurations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from .choices import Configuration, plain, without_repeats
from .choices import expand_names as expand_names
from .conditions import Exclusion, exclusion, is_excluded, ordered
from .designs import DESIGNS, Design, listed
from .parameters import Parameter, parameter

_LISTED = ("grid", "pairwise")


@dataclass(frozen=True, slots=True)
class Space:
    """Parameters and a design; `space` makes one.

    Args:
        parameters: each after those it depends on, otherwise by name.
        design: which configurations are chosen.
        exclude: combinations that are left out.
        rows: the configurations themselves, of the design 'list'.
    """

    parameters: tuple[Parameter, ...]
    design: Design = Design()  # noqa: RUF009  frozen
    exclude: tuple[Exclusion, ...] = ()
    rows: tuple[Configuration, ...] = ()

    def configurations(self) -> list[Configuration]:
        """The chosen configurations, new dicts of plain data, each once.

        They depend on the values and the seed only, not on the order in which parameters were written. A grid has them
        by the names of parameters, the last varying fastest; a list as listed.

        Raises:
            ValueError: more than the space has, more than a grid may have, or none.
        """
        if self.design.kind == "list":
            found = without_repeats(self.rows)
            found = [row for row in found if not is_excluded(row, self.exclude)]
        else:
            found = DESIGNS[self.design.kind](self.parameters, self.exclude, seed=self.design.seed, n=self.design.n)
        if not found:
            raise ValueError("exclude leaves no configuration; leave some of it out")
        return [{name: _copied(value) for name, value in row.items()} for row in found]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters, sorted."""
        return tuple(sorted(each.name for each in self.parameters))

    def __len__(self) -> int:
        return len(self.configurations())

    def __iter__(self) -> Iterator[Configuration]:
        return iter(self.configurations())


def _copied(value: Any) -> Any:
    return deepcopy(value) if isinstance(value, list | dict) else value


def space(
    parameters: "Mapping[str, Any] | Iterable[Mapping[str, Any]] | Space",
    *,
    design: str | None = None,
    n: int | None = None,
    seed: int = 0,
    exclude: Sequence[Mapping[str, Any]] = (),
) -> Space:
    """What a sweep runs.

    Args:
        parameters: by name a list of values, a single value, `between(low, high)` or `given(values, when=...)`; values
            are text, numbers, truth values, None, formats, and lists and dicts of them. Ranges in names of formats and
            recipes count: 'e[1-5]m[0-4]'. Or a list of configurations; or a space, which is returned as it is.
        design: 'grid' (every combination), 'random' (n draws, none twice), 'sobol' (n points of a scrambled Sobol
            sequence), 'pairwise' (any two values of two parameters meet at least once), 'list' (of configurations).
        n: how many, of 'random' and 'sobol'. seed: of 'random', 'sobol' and 'pairwise'.
        exclude: combinations to leave out, such as {"format": "e1m0", "learning_rate": 1.0}; a list of values stands
            for any of them, `between(low, high)` for all numbers in it.

    Raises:
        ValueError: empty or unknown values, conditions in a circle or that cannot be met, an exclusion that leaves
            nothing out, a continuous range in a grid or in pairs, n greater than the space.
        TypeError: values that JSON cannot keep.

    Example:
        >>> grid = space({"format": ["e[2-3]m1", "int4"], "seed": range(2)})
        >>> len(grid), grid.configurations()[0]
        (6, {'format': 'e2m1', 'seed': 0})
        >>> from halfulp.sim.sweeps.parameters import between
        >>> rates = space({"learning_rate": between(0.001, 1, log=True)}, design="random", n=2, seed=1)
        >>> rates.configurations() == rates.configurations()
        True
    """
    if isinstance(parameters, Space):
        if design is not None or n is not None or seed or exclude:
            raise TypeError("a space has its design and exclusions already; pass the parameters to give others")
        return parameters
    if isinstance(exclude, Mapping):
        raise TypeError(f"expected a list of combinations to exclude, got one; pass exclude=[{dict(exclude)}]")
    if not isinstance(parameters, Mapping):
        return _of_rows(parameters, Design("list" if design is None else design, n, seed), exclude)
    chosen = Design("grid" if design is None else design, n, seed)
    if chosen.kind == "list":
        raise ValueError("design 'list' takes a list of configurations, got parameters with values; leave design out")
    return of_parameters(dict(parameters), chosen, exclude)


def of_parameters(parameters: Mapping[Any, Any], design: Design, exclude: Sequence[Mapping[str, Any]]) -> Space:
    """A space of parameters as `space` takes them."""
    if not parameters:
        raise ValueError("the space has no parameters; give at least one, such as {'format': ['e4m3', 'e5m2']}")
    found = ordered(parameter(name, value) for name, value in parameters.items())
    if design.kind in _LISTED:
        listed(found, design.kind)
    return Space(found, design, tuple(exclusion(each, found) for each in exclude))


def _of_rows(given: Any, design: Design, exclude: Sequence[Mapping[str, Any]]) -> Space:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"expected parameters by name, or a list of configurations, got {given!r}")
    if design.kind != "list":
        raise ValueError(f"a list of configurations has the design 'list', got {design.kind!r}; leave design out")
    rows = []
    for number, row in enumerate(given, 1):
        if not isinstance(row, Mapping):
            raise TypeError(f"configuration {number}: expected a dict of values by name, got {row!r}")
        rows.append({name: plain(row[name], f"configuration {number}, {name}") for name in _names(row, number)})
    if not rows:
        raise ValueError("the list of configurations is empty; give at least one")
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    parameters = tuple(Parameter(name, without_repeats(values[name])) for name in sorted(values))
    left_out = tuple(exclusion(each, parameters) for each in exclude)
    for asked, each in zip(exclude, left_out):
        if not any(map(each.matches, rows)):
            raise ValueError(f"exclude {dict(asked)} leaves nothing out: no configuration of the list has all of it")
    return Space(parameters, design, left_out, tuple(rows))


def _names(row: Mapping[Any, Any], number: int) -> list[str]:
    wrong = [name for name in row if not isinstance(name, str) or not name]
    if wrong:
        raise TypeError(f"configuration {number}: expected names of parameters as keys, got {wrong[0]!r}")
    return list(row)
