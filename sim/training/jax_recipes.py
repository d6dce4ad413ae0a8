"""Runs by the programs they share, and a task's loss with its products quantized, formats as data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from ..functions.jax_rules import KEPT, recipes_of
from ..functions.jax_wrapping import Quantized
from ..recipes.recipe import OPERANDS, Recipe
from ..recipes.rules import Rule
from ..tasks.task import Task
from .jax_recipe_data import data_of, merged, shape_of, transforms_of
from .jax_step import Member

Rules = tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that share a compiled program.

    Args:
        key: what shapes the program; part of what a run is.
        members: the different rules of its runs.
        rules: those the program is made for.
    """

    key: tuple[Any, ...]
    members: tuple[Rules, ...] = field(repr=False)
    rules: Rules

    @property
    def rewrites(self) -> bool:
        """Whether any product is quantized."""
        return any(rule.recipe.active for rule in self.rules)

    def data(self, rules: Sequence[Rules]) -> dict[str, Any]:
        """What the recipes of some runs have of their own, by the name of the program's recipe."""
        found = {}
        for k, rule in enumerate(self.rules):
            if rule.recipe.active and shape_of(rule.recipe) is not None:
                everyone = [each[k].recipe for each in self.members]
                found[rule.recipe.name] = data_of([each[k].recipe for each in rules], everyone)
        return found


def grouped(rules: Sequence[Rules]) -> list[tuple[Group, list[int]]]:
    """The programs that runs need, and the numbers of the runs of each, in the order of first appearance.

    Runs share one where their rules have the same patterns and recipes of one shape; then the program has every
    transform and random word that one of them asks for, and whether a run uses it is data. Where two runs transform an
    operand in two ways, they have programs of their own.
    """
    numbers: dict[Any, list[int]] = {}
    for number, each in enumerate(rules):
        numbers.setdefault(tuple((rule.pattern, _base(rule.recipe)) for rule in each), []).append(number)
    found: list[tuple[Group, list[int]]] = []
    for base, mine in numbers.items():
        if not _conflicting([rules[number] for number in mine]):
            found.append((_group(base, [rules[number] for number in mine]), mine))
            continue
        apart: dict[Any, list[int]] = {}
        for number in mine:
            apart.setdefault(tuple(transforms_of(rule.recipe) for rule in rules[number]), []).append(number)
        found += [(_group(base, [rules[number] for number in some]), some) for some in apart.values()]
    return sorted(found, key=lambda entry: entry[1][0])


def _base(recipe: Recipe) -> Any:
    """What decides the program of a recipe but for transforms and roundings."""
    if not recipe.active:
        return ("identity", recipe.after_step)
    shape = shape_of(recipe)
    return ("own", recipe) if shape is None else shape


def _conflicting(rules: Sequence[Rules]) -> bool:
    """Whether an operand has two transforms among runs."""
    for k in range(len(rules[0])):
        for each in zip(*(transforms_of(one[k].recipe) for one in rules)):
            if len({name for name in each if name is not None}) > 1:
                return True
    return False


def _group(base: tuple[Any, ...], members: Sequence[Rules]) -> Group:
    different = tuple(dict.fromkeys(members))
    program = []
    for k, rule in enumerate(different[0]):
        shared = rule.recipe.active and shape_of(rule.recipe) is not None
        recipe = merged([each[k].recipe for each in different]) if shared else rule.recipe
        program.append(Rule(rule.pattern, recipe.with_(name=f"grid:{k}") if shared else recipe))
    choices = jax.tree.map(lambda x: str(x.dtype), _skeleton(different, program))
    return Group((base, tuple(map(_extras, program)), repr(jax.tree.structure(choices))), different, tuple(program))


def _extras(rule: Rule) -> Any:
    """What a program has for some of its runs; formats are data."""
    operands = [getattr(rule.recipe, name) for name in OPERANDS]
    return tuple((of.transform, of.active and of.rounding) for of in operands)


def _skeleton(members: Sequence[Rules], program: Sequence[Rule]) -> dict[str, Any]:
    return Group((), tuple(members), tuple(program)).data(members[:1])


def scales_of(task: Task, group: Group) -> Callable[[Any, Any], Any]:
    """What recipes with delayed or learned scales carry before the first step, of (parameters, batch); {} of others."""
    if not any(_keeps_scales(rule.recipe) for rule in group.rules):
        return lambda parameters, batch: {}
    quantized = Quantized(task.loss, group.rules, (0,))
    return lambda parameters, batch: quantized.init(parameters, batch, jnp.zeros(2, jnp.uint32))


def _keeps_scales(recipe: Recipe) -> bool:
    operands = [getattr(each, name) for each in recipes_of(recipe) for name in OPERANDS]
    return any(of.scaling.name in KEPT for of in operands)


def loss_of(task: Task, group: Group) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The loss in a program, (parameters, scales, batch, words, member, step) -> () float32, and how scales go on."""
    if not group.rewrites:
        return (
            lambda parameters, scales, batch, words, member, step: task.loss(parameters, batch, words)
        ), _as_they_are
    quantized = Quantized(task.loss, group.rules, (0,))

    def loss(parameters: Any, scales: Any, batch: Any, words: Any, member: Member, step: Any) -> Any:
        how = {"seed": member.seed, "step": step, "state": scales, "formats": member.formats}
        return quantized.traced(parameters, batch, words, **how)

    return loss, quantized.advance


def _as_they_are(scales: Any, gradient: Any, rate: Any) -> Any:
    return scales


def measures_of(task: Task, group: Group) -> Callable[..., Any]:
    """The sums over a batch that a task reports: (batch, parameters, scales, member, step) -> by name."""
    if not group.rewrites:
        return lambda batch, parameters, scales, member, step: task.evaluate(parameters, batch, member.seed)
    quantized = Quantized(task.evaluate, group.rules, (0,))

    def measures(batch: Any, parameters: Any, scales: Any, member: Member, step: Any) -> Any:
        how = {"seed": member.seed, "step": step, "state": scales, "formats": member.formats}
        return quantized.traced(parameters, batch, member.seed, **how)

    return measures
