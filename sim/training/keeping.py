"""How the parameters of a run are kept from step to step: in which formats, and how they are bent after a step.

No framework here; trainers in JAX and torch do what this says, and draw the same random words for each parameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..optimizers.storage import Storage
from ..optimizers.update_rules import nothing_covered
from ..recipes.recipe import Recipe
from ..recipes.rules import Entry, Rule, resolved

_OF_OPTIMIZERS = ("master", "optimizer_state")
"""What a recipe says of the optimizer."""


class Kept(NamedTuple):
    """How one parameter is kept.

    Fields:
        name: its path, from which its random words come.
        storage: its formats, with what is done after a step; None where the optimizer keeps it in float32.
        limits: (first step, L) pairs from step 0 on, where there is no storage: L of L tanh(w / L) after a step, or
            None; empty where it is never bent.
    """

    name: str
    storage: Storage | None
    limits: tuple[tuple[int, float | None], ...]

    def limit(self, step: int) -> float | None:
        """What bends it after a step."""
        return next((limit for first, limit in reversed(self.limits) if step >= first), None)


def kept_parameters(
    rules: Sequence[Rule], storage: Storage | None, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Kept, ...]:
    """How every parameter of a model is kept, in the order given.

    Args:
        rules: of the run; the first that matches a parameter, or a layer that it is in, says how it is kept.
        storage: of the run, for all parameters, in the place of what recipes say; or None.
        shapes: by path, such as 'layers.0.weight'.

    Raises:
        ValueError: a storage that leaves all parameters alone; a rule that matches nothing, where recipes say anything.
    """
    asks = any(_asks(each) for rule in rules for each in _all(rule.recipe))
    recipes = _matched(rules, list(shapes)) if asks else [None] * len(shapes)
    found = [_kept(*each, storage) for each in zip(shapes, shapes.values(), recipes)]
    wanted = storage or next((s for rule in rules if (s := _stored(rule.recipe, None)) is not None), None)
    if wanted is not None and all(each.storage is None for each in found):
        raise ValueError(nothing_covered(wanted, shapes.values()))
    return tuple(found)


def unbent(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules without what is done after a step, for layers whose parameters are kept by these functions."""

    def without(recipe: Recipe) -> Recipe:
        later = tuple((step, replace(each, after_step=None)) for step, each in recipe.schedule)
        return replace(recipe, after_step=None, schedule=later)

    return tuple(Rule(rule.pattern, without(rule.recipe)) for rule in rules)


def check_keeping(rules: Sequence[Rule], storage: Storage | None) -> None:
    """Raise where what a run says of its parameters does not go together.

    Raises:
        ValueError: a schedule that changes the optimizer's formats; two formats for one tensor; a schedule that changes
            what is done after a step to weights in a format.
    """
    for recipe in (rule.recipe for rule in rules):
        for name in _OF_OPTIMIZERS:
            if any(getattr(each, name) != getattr(recipe, name) for each in _all(recipe)):
                raise ValueError(
                    f"{recipe.name}: an optimizer's formats are those of its first step, and the schedule changes "
                    f"{name}; give all its recipes the same"
                )
        if storage is not None and _stored(recipe, None) is not None:
            raise ValueError(
                f"{recipe.name} has a master or optimizer_state, and the run a storage; leave one of them out"
            )
        bends = {each.after_step for each in _all(recipe)}
        if storage is not None and storage.after_step is not None and bends != {None}:
            raise ValueError(f"{recipe.name} and the storage both have an after_step; leave one of them out")
        if len(bends) > 1 and _stored(recipe, storage) is not None:
            raise ValueError(
                f"{recipe.name}: weights in a format are bent before they are rounded, alike in all steps, and the "
                "schedule changes after_step; give all its recipes the same, or leave weights in float32"
            )


def check_compensation(storage: Storage | None, optimizer: str, momentum: float) -> None:
    """Raise where ECO has no momentum to put anything into.

    Raises:
        ValueError: Muon, or a momentum of 0.
    """
    if storage is None or storage.compensation is None:
        return
    if optimizer == "muon" or not momentum:
        raise ValueError(
            f"compensation 'eco' is for SGD with momentum and AdamW, got {optimizer} with momentum={momentum}; use one "
            "of these, or give weights rounding='stochastic' instead"
        )


def _all(recipe: Recipe) -> list[Recipe]:
    return [recipe, *(later for _, later in recipe.schedule)]


def _asks(recipe: Recipe) -> bool:
    return any(getattr(recipe, name) is not None for name in (*_OF_OPTIMIZERS, "after_step"))


def _stored(recipe: Recipe | None, given: Storage | None) -> Storage | None:
    """The formats of what a recipe matches, with what is done after a step."""
    if given is not None:
        after = None if recipe is None else recipe.after_step
        return given if after is None else given.with_(after_step=after)
    if recipe is None or all(getattr(recipe, name) is None for name in _OF_OPTIMIZERS):
        return None
    return Storage.from_recipe(recipe)


def _kept(name: str, shape: tuple[int, ...], recipe: Recipe | None, given: Storage | None) -> Kept:
    storage = _stored(recipe, given)
    if storage is not None and storage.covers(shape):
        return Kept(name, storage, ())
    limits: Any = (
        () if recipe is None else ((0, recipe.weight_limit), *((k, r.weight_limit) for k, r in recipe.schedule))
    )
    bends = len(shape) > 1 and any(limit is not None for _, limit in limits)
    return Kept(name, None, limits if bends else ())


def _matched(rules: Sequence[Rule], paths: Sequence[str]) -> list[Recipe | None]:
    """The recipe of each parameter."""
    around = {".".join(path.split(".")[:k]): None for path in paths for k in range(1, path.count(".") + 1)}
    layers = sorted(around, key=lambda name: name.count("."))
    entries = [Entry(path, ()) for path in dict.fromkeys([*layers, *paths])]
    matches = dict(zip((entry.name for entry in entries), resolved(rules, entries, "parameter")))
    return [rules[m.rule].recipe if (m := matches[path]) else None for path in paths]
