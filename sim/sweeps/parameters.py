"""Parameters of a space: listed values or a range, and on what they depend."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...formats.suggest import unknown
from .choices import expand_names, identity, names_formats, plain, without_repeats

_DIGITS = 12
"""Significant digits of numbers from a range: the last bits of exp and log differ between machines."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, both included; see `between`."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    levels: int | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high", "log", "integer", "levels"):
            object.__setattr__(self, name, plain(getattr(self, name), name))
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"expected a number for {name}, got {value!r}")
            if self.integer and value != int(value):
                raise ValueError(f"expected an integer for {name} of an integer range, got {value}")
            object.__setattr__(self, name, int(value) if self.integer else float(value))
        for name in ("log", "integer"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"expected true or false for {name}, got {getattr(self, name)!r}")
        if not self.low < self.high:
            raise ValueError(
                f"expected low < high, got {self.low} and {self.high}; list a single value as [{self.low}]"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"expected low > 0 for a logarithmic range, got {self.low}")
        if self.levels is not None:
            if not isinstance(self.levels, int) or isinstance(self.levels, bool) or self.levels < 2:
                raise ValueError(f"expected 2 or more levels, got {self.levels!r}")
            if len(set(self._levels())) < self.levels:
                raise ValueError(
                    f"expected at most as many levels as there are different numbers from {self.low} to {self.high}, "
                    f"got {self.levels}; {len(set(self._levels()))} are different"
                )

    @property
    def listed(self) -> tuple[Any, ...] | None:
        """Its levels, or every integer of an integer range; None for a continuous one."""
        if self.levels is not None:
            return self._levels()
        return tuple(range(int(self.low), int(self.high) + 1)) if self.integer else None

    def _levels(self) -> tuple[Any, ...]:
        steps = (self.levels or 2) - 1
        return (self.low, *(self._between(k / steps) for k in range(1, steps)), self.high)

    def _between(self, share: float) -> Any:
        """The number at a share of the way, in logarithms where the range is logarithmic."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.integer else self.shortened(value)

    def shortened(self, value: float) -> float:
        """A number of the range without the digits that differ between machines."""
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def at(self, u: float) -> Any:
        """The number for u in [0, 1), uniform in the range or in its logarithm."""
        if self.levels is not None:
            return self._levels()[int(u * self.levels)]
        if not self.integer:
            return self._between(u)
        if not self.log:
            return int(self.low) + int(u * (self.high - self.low + 1))
        low, high = self.low - 0.5, self.high + 0.5
        return min(max(round(low * (high / low) ** u), int(self.low)), int(self.high))

    def share(self, value: Any) -> float:
        """The probability of one of its listed numbers."""
        if self.levels is not None:
            return 1 / self.levels
        if not self.log:
            return 1 / (self.high - self.low + 1)
        return math.log((value + 0.5) / (value - 0.5)) / math.log((self.high + 0.5) / (self.low - 0.5))

    def holds(self, value: Any) -> bool:
        """Whether a number is within the bounds, whatever the levels."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


def between(low: float, high: float, *, log: bool = False, integer: bool = False, levels: int | None = None) -> Range:
    """Numbers from low to high for a parameter of `halfulp.space`.

    Args:
        low, high: the bounds, both included.
        log: even in the logarithm; for learning rates and the like.
        integer: whole numbers only.
        levels: how many of them, evenly spaced, bounds included; a grid and pairs need it unless integer is set.

    Raises:
        ValueError: bounds that are not finite or not ascending, a logarithm of what is not positive, fewer than 2
            levels or more than there are numbers.

    Example:
        >>> between(0.001, 0.1, log=True, levels=3).listed
        (0.001, 0.01, 0.1)
    """
    return Range(low, high, log, integer, levels)


@dataclass(frozen=True, slots=True)
class Given:
    """Values with a condition; see `given`."""

    values: Any
    when: Mapping[str, Any]
    expand: bool | None = None


def given(values: Any, when: Mapping[str, Any] | None = None, *, expand: bool | None = None) -> Given:
    """Values of a parameter that exists only where other parameters have certain values.

    Args:
        values: a list, or what `between` gives.
        when: the names of other parameters, each with a value or a list of them; all must hold. Where one does not,
            or the other parameter is absent itself, this one is absent from the configuration.
        expand: whether [a-b] inside text stands for the numbers a to b; None: where the parameter's name ends in
            format, fmt or recipe.

    Example:
        >>> from halfulp.sim.sweeps.space import space
        >>> parameters = {"optimizer": ["sgd", "muon"], "momentum": given([0.9, 0.95], when={"optimizer": "muon"})}
        >>> [tuple(each.values()) for each in space(parameters).configurations()]
        [('sgd',), ('muon', 0.9), ('muon', 0.95)]
    """
    return Given(values, when or {}, expand)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a space.

    Args:
        name: of it, also in configurations.
        domain: the listed values, plain data without repeats, or a range.
        when: pairs of another parameter's name and the values with which this one exists; all must hold.
        expand: whether [a-b] inside text stands for numbers.
    """

    name: str
    domain: tuple[Any, ...] | Range
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    expand: bool = False

    @property
    def listed(self) -> tuple[Any, ...] | None:
        """Its values; None for a continuous range."""
        return self.domain.listed if isinstance(self.domain, Range) else self.domain

    def at(self, u: float) -> Any:
        """The value for u in [0, 1): listed values have bins of one width."""
        return self.domain.at(u) if isinstance(self.domain, Range) else self.domain[int(u * len(self.domain))]

    def share(self, value: Any) -> float:
        """The probability of one of its listed values."""
        return self.domain.share(value) if isinstance(self.domain, Range) else 1 / len(self.domain)

    def matching(self, wanted: Any) -> tuple[Any, ...]:
        """A value or a list of values as plain data; a list that is a value of this parameter is that value."""
        value = plain(wanted, self.name)
        known = {identity(each) for each in self.listed or ()}
        values = value if isinstance(value, list) and identity(value) not in known else [value]
        return without_repeats(expand_names(values) if self.expand else values)


_RANGE_KEYS = ("low", "high", "log", "integer", "levels")
_KEYS = (*_RANGE_KEYS, "values", "when", "expand")


def parameter(name: Any, value: Any) -> Parameter:
    """A parameter as `halfulp.space` and sweep files take it: values, a range, either with a condition, or one value.

    Raises:
        ValueError, TypeError: see `halfulp.space`.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"expected the name of a parameter, got {name!r}")
    table = _table(name, value)
    expand = table.get("expand")
    if expand is not None and not isinstance(expand, bool):
        raise TypeError(f"{name}: expected true or false for expand, got {expand!r}")
    expand = names_formats(name) if expand is None else expand
    when = table.get("when", {})
    if not isinstance(when, Mapping):
        raise TypeError(f"{name}: expected when={{name: value}}, got {when!r}")
    conditions = []
    for other, wanted in when.items():
        allowed = wanted if isinstance(wanted, list | tuple) else [wanted]
        if not allowed:
            raise ValueError(f"{name}: the condition on {other!r} allows no value; list at least one")
        conditions.append((other, tuple(allowed)))
    return Parameter(name, _domain(name, table, expand), tuple(sorted(conditions)), expand)


def _table(name: str, value: Any) -> dict[str, Any]:
    """Everything that can be given for a parameter, as the table that a sweep file has for it."""
    if isinstance(value, Given):
        if isinstance(value.values, Given):
            raise TypeError(
                f"{name}: expected values or a range, got given(...) inside given(...); join the conditions"
            )
        return {**_table(name, value.values), "when": value.when, "expand": value.expand}
    if isinstance(value, Range):
        return {"values": value}
    if not isinstance(value, Mapping):
        return {"values": value}
    for key in value:
        if key not in _KEYS:
            advice = "a dict that is one value goes into a list"
            raise ValueError(f"{name}: {unknown('key of a parameter', str(key), _KEYS)}; {advice}")
    ranged = [key for key in _RANGE_KEYS if key in value]
    if "values" in value and ranged:
        raise ValueError(f"{name}: expected values or a range, got values and {', '.join(ranged)}; leave one out")
    if "values" in value:
        return dict(value)
    missing = [key for key in ("low", "high") if key not in value]
    if missing:
        raise ValueError(f"{name}: expected values, or low and high, got {', '.join(map(str, value)) or 'neither'}")
    try:
        made = Range(**{key: value[key] for key in ranged})
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return {"values": made, **{key: value[key] for key in ("when", "expand") if key in value}}


def _domain(name: str, table: Mapping[str, Any], expand: bool) -> tuple[Any, ...] | Range:
    values = table["values"]
    if isinstance(values, Range):
        return values
    if isinstance(values, set | frozenset):
        raise TypeError(f"{name}: a set has no order; pass a list")
    found = plain(values, name)
    if isinstance(found, dict):
        raise TypeError(f"{name}: expected a list of values, got a dict; a dict that is one value goes into a list")
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise ValueError(f"{name} has no values; list at least one, or leave the parameter out")
    return without_repeats(expand_names(listed) if expand else listed)
