"""What may occur together: conditions of parameters on others, and combinations that are excluded.

A condition asks for all of its parameters, and these ask for theirs. That is a conjunction: for each parameter it
leaves a set of values, and it can be met exactly when none of these sets is empty.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...formats.suggest import unknown
from .choices import closest, identity, shown
from .parameters import Parameter, Range
from .parameters import parameter as parsed


def ordered(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """Parameters by name, each after those it depends on, with conditions checked and as values of those.

    Raises:
        ValueError: a condition on an unknown parameter or value, on a continuous range, on itself by a circle, or one
            that can never be met.
    """
    by_name = {each.name: each for each in sorted(parameters, key=lambda each: each.name)}
    resolved = {name: replace(each, when=_resolved(each, by_name)) for name, each in by_name.items()}
    done: dict[str, Parameter] = {}
    for name in resolved:
        _place(name, resolved, done, [])
    for each in done.values():
        required([(each.name, None)], done, f"{each.name} can never occur")
    return tuple(done.values())


def _resolved(parameter: Parameter, by_name: Mapping[str, Parameter]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    found = []
    for other, wanted in parameter.when:
        if other not in by_name:
            raise ValueError(f"condition of {parameter.name}: {unknown('parameter', str(other), by_name)}")
        if by_name[other].listed is None:
            raise ValueError(
                f"condition of {parameter.name}: {other} is a continuous range; give {other} listed values or levels="
            )
        found.append((other, tuple(_known(by_name[other], list(wanted), f"condition of {parameter.name}"))))
    return tuple(found)


def _place(name: str, all_of: Mapping[str, Parameter], done: dict[str, Parameter], path: list[str]) -> None:
    if name in path:
        circle = " -> ".join([*path[path.index(name) :], name])
        raise ValueError(f"conditions in a circle: {circle}; leave one of them out")
    if name in done:
        return
    for other, _ in all_of[name].when:
        _place(other, all_of, done, [*path, name])
    done[name] = all_of[name]


def _known(parameter: Parameter, wanted: Any, where: str) -> list[Any]:
    """Values of a parameter that are meant by others, as the parameter has them."""
    listed = {identity(each): each for each in parameter.listed or ()}
    values = parameter.matching(wanted)
    for value in values:
        if identity(value) not in listed:
            raise ValueError(f"{where}: {parameter.name} is never {shown(value)}; {closest(value, listed.values())}")
    return [listed[identity(value)] for value in values]


def required(
    wanted: Sequence[tuple[str, Iterable[Any] | None]], by_name: Mapping[str, Parameter], otherwise: str
) -> dict[str, set[Hashable]]:
    """The values that other parameters must have where some parameters have certain values.

    Args:
        wanted: names with values, or with None for any value.
        otherwise: what a message begins with where that is impossible.

    Returns:
        By name, the identities of values; parameters that are not among them may have any value.

    Raises:
        ValueError: it is impossible.
    """
    left: dict[str, set[Hashable]] = {}
    pending = list(wanted)
    while pending:
        name, values = pending.pop()
        if values is not None:
            allowed = {identity(each) for each in values}
            left[name] = left[name] & allowed if name in left else allowed
            if not left[name]:
                raise ValueError(f"{otherwise}: no value of {name} meets all of its conditions; change one of them")
        pending.extend(by_name[name].when)
    return left


def is_active(parameter: Parameter, configuration: Mapping[str, Any]) -> bool:
    """Whether a parameter exists, by the values of those before it."""
    for other, allowed in parameter.when:
        if other not in configuration or identity(configuration[other]) not in map(identity, allowed):
            return False
    return True


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A combination that is left out.

    Args:
        terms: pairs of a name and the identities of values, or a range of numbers. A configuration is left out where
            it has all of these parameters with such values.
    """

    terms: tuple[tuple[str, frozenset[Hashable] | Range], ...]

    def matches(self, configuration: Mapping[str, Any]) -> bool:
        """Whether a configuration is left out."""
        for name, values in self.terms:
            if name not in configuration:
                return False
            value = configuration[name]
            if not (values.holds(value) if isinstance(values, Range) else identity(value) in values):
                return False
        return True


def is_excluded(configuration: Mapping[str, Any], exclusions: Iterable[Exclusion]) -> bool:
    """Whether any exclusion leaves a configuration out."""
    return any(each.matches(configuration) for each in exclusions)


def exclusion(given: Any, parameters: Sequence[Parameter]) -> Exclusion:
    """A combination to leave out, as `halfulp.space` takes it, checked to leave something out.

    Raises:
        ValueError: unknown names, values that never occur, a combination that never occurs.
        TypeError: no dict.
    """
    by_name = {each.name: each for each in parameters}
    if not isinstance(given, Mapping) or not given:
        raise TypeError(f"expected exclude=[{{name: value, ...}}, ...], got {given!r} in it")
    terms, wanted = [], []
    for name, value in sorted(given.items(), key=lambda item: str(item[0])):
        if name not in by_name:
            raise ValueError(f"exclude: {unknown('parameter', str(name), by_name)}")
        values, possible = _term(by_name[name], value)
        terms.append((name, values))
        wanted.append((name, possible))
    required(wanted, by_name, f"exclude {dict(given)} leaves nothing out")
    return Exclusion(tuple(terms))


def _term(parameter: Parameter, value: Any) -> tuple[frozenset[Hashable] | Range, list[Any] | None]:
    """What is excluded, and which listed values that may be."""
    if isinstance(value, Mapping) and {"low", "high"} & set(value):
        value = parsed(parameter.name, value).domain
    if isinstance(value, Range):
        if parameter.listed is None:
            domain = parameter.domain
            inside: list[Any] | None = None
            some = isinstance(domain, Range) and value.low <= domain.high and domain.low <= value.high
        else:
            inside = [each for each in parameter.listed if value.holds(each)]
            some = bool(inside)
        if not some:
            raise ValueError(f"exclude: {parameter.name} is never from {value.low} to {value.high}; change the bounds")
        return value, inside
    if parameter.listed is None:
        raise ValueError(
            f"exclude: {parameter.name} is a continuous range, got the single value {shown(value)}; "
            "exclude halfulp.between(low, high) of it"
        )
    values = _known(parameter, value, "exclude")
    if not values:
        raise ValueError(f"exclude: {parameter.name} has no value in it; list at least one")
    return frozenset(map(identity, values)), values
