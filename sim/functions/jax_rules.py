"""Which product of a function gets which recipe: the one place that decides it, for rewriting and for explaining."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..recipes.quantizer import Quantizer
from ..recipes.recipe import OPERANDS, Recipe
from ..recipes.rules import Entry, Match, Rule, around_of, resolved
from .jax_names import RULE
from .jax_sites import EMPTY, Product

KEPT = ("delayed", "learned")
"""Ways to find scales that keep something from step to step."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a product gets.

    Args:
        product: itself.
        slot: its own name among the products of the function.
        recipe: with its schedule; None where it is left alone.
        note: what to know about it.
    """

    product: Product
    slot: str
    recipe: Recipe | None
    note: str = ""

    @property
    def history(self) -> int:
        """How many steps of largest magnitudes it keeps; 0 for none."""
        found = [of.scaling for of in _quantizers(self.recipe) if of.scaling.name == "delayed"]
        return max((int(dict(scaling.parameters)["history"]) for scaling in found), default=0)

    @property
    def learns(self) -> bool:
        """Whether step sizes are trained."""
        return any(of.scaling.name == "learned" for of in _quantizers(self.recipe))


def recipes_of(recipe: Recipe | None) -> list[Recipe]:
    """A recipe and those of its schedule."""
    return [] if recipe is None else [recipe, *(later for _, later in recipe.schedule)]


def _quantizers(recipe: Recipe | None) -> list[Quantizer]:
    return [getattr(each, name) for each in recipes_of(recipe) for name in OPERANDS]


def assigned(products: Sequence[Product], rules: Sequence[Rule]) -> list[Row]:
    """What every product of a function gets.

    Raises:
        ValueError: a function without products; a rule without effect; a function that contains its gradient; a recipe
            that a product cannot have.
    """
    if not products:
        raise ValueError(
            "the function has no matrix product and no convolution; nothing can be quantized. Pass the function that "
            "computes the loss or the model's output"
        )
    slots = _slots(products)
    root = _root(products)
    entries = [Entry(f"{slot}#", _types(each), _names(each, root)) for each, slot in zip(products, slots)]
    known = {name for entry in entries for name in entry.also}
    around = {outer: None for name in known for outer in around_of(name) if outer not in known}
    matches = resolved(rules, [*entries, *(Entry(name, ()) for name in around)], "product")
    rows = [_row(*each, rules) for each in zip(products, slots, matches)]
    _check_effect(rows, matches, rules)
    for row in rows:
        if row.recipe is not None:
            _check(row)
    return rows


def _row(product: Product, slot: str, match: Match | None, rules: Sequence[Rule]) -> Row:
    if product.note or match is None:
        return Row(product, slot, None, product.note or "no rule matches")
    rule = rules[match.rule]
    if not rule.recipe.active:
        return Row(product, slot, None, "left alone")
    if not (product.parameter or match.named):
        return Row(product, slot, None, "no parameter feeds it, and no rule names it")
    return Row(product, slot, rule.recipe, "of a rule for derivatives" if product.scope.gradient == RULE else "")


def _slots(products: Sequence[Product]) -> list[str]:
    counts: dict[str, int] = {}
    found = []
    for each in products:
        k = counts.get(each.layer, 0)
        counts[each.layer] = k + 1
        found.append(f"{each.layer}#{k}" if k else each.layer)
    return found


def _types(product: Product) -> tuple[str, ...]:
    primitive = "conv_general_dilated" if product.kind == "convolution" else "dot_general"
    return (product.kind, primitive) if product.kind in ("linear", "matmul", "convolution") else (product.kind,)


def _root(products: Sequence[Product]) -> str:
    """The scope around all products, such as the class of a Flax model; empty for none."""
    first = {each.scope.names[:1] for each in products}
    inner = any(len(each.scope.names) > 1 for each in products)
    return next(iter(first))[0] if len(first) == 1 and inner and () not in first else ""


def _names(product: Product, root: str) -> tuple[str, ...]:
    """The names that patterns are written for: layer, parameter, scope, the scope within the root."""
    scope = product.scope.names
    scopes = [scope, scope[1:]] if root else [scope]
    names = [product.layer, *(product.path.names if product.path else ()), *(".".join(each) for each in scopes)]
    return tuple(name for name in dict.fromkeys(names) if name)


# ---------------------------------------------------------------- refusals


def _check_effect(rows: Sequence[Row], matches: Sequence[Match | None], rules: Sequence[Rule]) -> None:
    """Raise for a rule that changes nothing."""
    for k, rule in enumerate(rules):
        mine = [row for row, match in zip(rows, matches) if match is not None and match.rule == k]
        empty = bool(mine) and all(row.product.note == EMPTY for row in mine)
        if not rule.recipe.active or empty or any(row.recipe is not None for row in mine):
            continue
        kinds = ", ".join(f"{row.slot} ({row.product.kind}: {row.note})" for row in mine[:5])
        raise ValueError(
            f"rule {k + 1} {rule.pattern!r} matched nothing that can be quantized{': ' if kinds else ''}{kinds}; "
            "parameters are the arrays in the first argument: params= names other arguments, and rules such as "
            "'type:matmul' products that no parameter feeds"
        )


def _check(row: Row) -> None:
    """Raise for a recipe that a product cannot have."""
    product, name = row.product, row.slot
    if product.scope.gradient not in ("", RULE):
        raise ValueError(
            f"{name}: the function already contains its gradient ({product.scope.gradient} of it); take the gradient "
            "outside: jax.grad(hu.quantized(fn, rules))"
        )
    for recipe in recipes_of(row.recipe):
        problem = _problem(product, recipe)
        if problem:
            raise ValueError(f"{name}: {problem}")


def _problem(product: Product, recipe: Recipe) -> str:
    """Why a product cannot have a recipe, and what to do; empty if it can."""
    if recipe.bias:
        return (
            f"{recipe.name} rounds biases to {recipe.bias}, and a JAX function adds its biases itself; use "
            "recipe.with_(bias=None), and hu.quantize on the bias in the function"
        )
    kept = [of.scaling.name for of in _quantizers(recipe.with_(schedule=())) if of.scaling.name in KEPT]
    places = {"while": "a while loop", "custom": "a function with its own rule for derivatives"}
    around = [text for place, text in places.items() if place in product.inside]
    if kept and around:
        return (
            f"{recipe.name} keeps {kept[0]} scales from step to step, which cannot leave {around[0]}; write a scan in "
            "its place, or give the product a recipe whose scales follow the data"
        )
    if "batch groups" in product.inside:
        return (
            "a convolution with batch_group_count, as gradients of grouped ones are, has no quantized version; take "
            f"the gradient outside of hu.quantized, or leave it out by a rule ({product.layer!r}, None)"
        )
    if product.kind == "convolution" and recipe.accumulator:
        return (
            f"the emulated matrix unit of {recipe.name} multiplies matrices, not convolutions; leave the product out "
            f"by a rule ({product.layer!r}, None), or give it a recipe without accumulator"
        )
    return ""
