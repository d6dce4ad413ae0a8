"""Which module gets which recipe: ordered rules on names and types, the first that matches wins. No framework here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from .published import recipe as any_recipe
from .recipe import Recipe

TYPE = "type:"
"""What a pattern of types begins with."""
_ALIKE = 0.3
"""How alike two names are, at least, to suggest one for the other."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern and the recipe of what it matches.

    Args:
        pattern: of a module's qualified name, with the wildcards of a shell (* also matches dots), or 'type:' and one
            of the name of its class or of a class it derives from. What is inside of a module that matches is matched.
        recipe: a recipe or the name of one; None and 'identity' leave alone what matches.

    Raises:
        ValueError: an empty pattern, or an unknown recipe.
        TypeError: a pattern that is no string, or what is neither a recipe nor a name.
    """

    pattern: str
    recipe: Any

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise TypeError(f"expected a pattern such as 'layers.*.attn' or 'type:Linear', got {self.pattern!r}")
        if not self.pattern.removeprefix(TYPE):
            raise ValueError(f"expected a pattern such as 'layers.*.attn' or 'type:Linear', got {self.pattern!r}")
        object.__setattr__(self, "recipe", any_recipe("identity" if self.recipe is None else self.recipe))

    @property
    def idle(self) -> bool:
        """Whether it leaves alone what it matches."""
        return not self.recipe.active and self.recipe.after_step is None

    @property
    def names(self) -> bool:
        """Whether it names what it matches: a type, or a last part of a name without wildcards."""
        return self.pattern.startswith(TYPE) or not set("*?[") & set(self.pattern.rpartition(".")[2])

    def matches(self, name: str, types: Sequence[str]) -> bool:
        """Whether it matches a module itself, by its name or those of its classes."""
        if self.pattern.startswith(TYPE):
            return any(fnmatchcase(each, self.pattern.removeprefix(TYPE)) for each in types)
        return fnmatchcase(name, self.pattern)


class Entry(NamedTuple):
    """A module: its qualified name, and the names of its class and those it derives from.

    Args:
        also: the names that patterns are written for, where its own is none of them; messages show the first.
    """

    name: str
    types: tuple[str, ...]
    also: tuple[str, ...] = ()

    def found_by(self, rule: Rule) -> set[str]:
        """Those of its names by which a rule matches it."""
        if rule.pattern.startswith(TYPE):
            return {self.name} if rule.matches(self.name, self.types) else set()
        return {name for name in self.also or (self.name,) if rule.matches(name, self.types)}


class Match(NamedTuple):
    """What a module gets: the number of its rule, and whether the rule names it, rather than what it is inside of."""

    rule: int
    named: bool


def rules_of(given: Any) -> tuple[Rule, ...]:
    """The rules that were written down: a recipe or its name stands for [('*', recipe)].

    Raises:
        ValueError: no rules, or an unknown recipe.
        TypeError: neither a recipe nor pairs of a pattern and a recipe.
    """
    if isinstance(given, str | Recipe):
        return (Rule("*", given),)
    if isinstance(given, Rule):
        return (given,)
    if not isinstance(given, Iterable):
        raise TypeError(f"expected a recipe, its name, or a list of (pattern, recipe), got {type(given).__name__}")
    found = tuple(each if isinstance(each, Rule) else _pair(each, k) for k, each in enumerate(given))
    if not found:
        raise ValueError("expected one rule or more, got none; write [('*', recipe)] for all layers")
    return found


def _pair(given: Any, k: int) -> Rule:
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise TypeError(f"rule {k + 1}: expected a pair such as ('layers.*.attn', 'mxfp4'), got {given!r}")
    return Rule(*given)


def resolved(rules: Sequence[Rule], entries: Sequence[Entry], what: str = "module") -> list[Match | None]:
    """The first rule that matches each module or a module around it; None where none does.

    Args:
        entries: of all modules, and of those around them.
        what: what messages call them.

    Raises:
        ValueError: a rule that matches no module, or for all of whose modules an earlier one comes first.
    """
    direct = [{name for entry in entries for name in entry.found_by(rule)} for rule in rules]
    for k, (rule, names) in enumerate(zip(rules, direct)):
        if not names:
            closest = _closest(rule.pattern, entries, what)
            raise ValueError(f"rule {k + 1} {rule.pattern!r} matched no {what}{closest}")
    found = [_first(direct, rules, entry) for entry in entries]
    used = {match.rule for match in found if match is not None}
    for k, rule in enumerate(rules):
        if k not in used:
            first = next(m.rule for m, e in zip(found, entries) if m is not None and e.found_by(rule))
            raise ValueError(
                f"rule {k + 1} {rule.pattern!r} is never used: rule {first + 1} {rules[first].pattern!r} comes before "
                f"it and matches the same {what}s; put it first"
            )
    return found


def _first(direct: list[set[str]], rules: Sequence[Rule], entry: Entry) -> Match | None:
    own = (entry.name, *entry.also)
    around = [outer for name in own for outer in around_of(name)]
    for k, names in enumerate(direct):
        if not names.isdisjoint(own):
            return Match(k, rules[k].names)
        if any(outer in names for outer in around):
            return Match(k, False)
    return None


def around_of(name: str) -> list[str]:
    """The names of the modules a module is inside of, the model itself ('') first."""
    parts = name.split(".")
    return ["", *(".".join(parts[:k]) for k in range(1, len(parts)))] if name else []


def _closest(pattern: str, entries: Sequence[Entry], what: str) -> str:
    """The end of a message: the name most like a pattern, or what names there are."""
    kind, wanted = (TYPE, pattern.removeprefix(TYPE)) if pattern.startswith(TYPE) else ("", pattern)
    known = [name for entry in entries for name in entry.types] if kind else [(e.also or (e.name,))[0] for e in entries]
    known = [name for name in dict.fromkeys(known) if name]
    scores = {name: SequenceMatcher(None, wanted, name).ratio() for name in known}
    best = max(known, key=scores.__getitem__, default="")
    if scores.get(best, 0) >= _ALIKE:
        return f"; closest: {kind + best!r}"
    return f"; {'types' if kind else f'{what}s'}: {', '.join(known[:20]) or 'none but the model itself'}"
