"""One product of a jaxpr, with its operands quantized by the recipe in force at a step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...emulate.backends.jax_integers import JaxWords
from ...emulate.philox import fold_words
from ..products.jax_multiply import multiply
from ..products.jax_products import initial_sizes
from ..products.jax_shards import varying
from ..recipes.operands import Operand, operands_of
from ..recipes.plan import KindPlan, Plan, plan_of
from ..recipes.recipe import Recipe
from ..recipes.seeds import name_words
from . import jax_canonical as canonical
from . import jax_state
from .jax_canonical import Canonical
from .jax_evaluation import Equation, Traced, bind
from .jax_names import MARK
from .jax_rules import Row
from .jax_sites import Product, Site

_OPERANDS = {"dgrad": (2, 3), "wgrad": (4, 5)}
"""The operands of a backward product."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Computes products by their rows.

    Args:
        rows: by site.
        first: whether the gradients of step sizes shall be those to begin with.
    """

    rows: Mapping[Site, Row]
    first: bool = False

    def __call__(self, traced: Traced, product: Product, equation: Equation, operands: list[Any]) -> jax.Array:
        """The result of a product, in the shape, dtype and sharding of its equation."""
        row = self.rows[product.site]
        recipe = row.recipe or Recipe()
        branches = [self._branch(each, row, traced, equation) for each in (recipe, *(r for _, r in recipe.schedule))]
        if len(branches) == 1:
            return branches[0](*operands)
        index = sum((traced.step >= first).astype(jnp.int32) for first, _ in recipe.schedule)
        return lax.switch(index, branches, *operands)

    def _branch(self, recipe: Recipe, row: Row, traced: Traced, equation: Equation) -> Callable[..., jax.Array]:
        """The product with one recipe; as it is where that does nothing."""
        recipe = recipe.with_(schedule=())
        if not recipe.active:
            return lambda *operands: bind(equation, operands)[0]
        return lambda *operands: self._quantized(recipe, row, traced, equation, operands)

    def _quantized(self, recipe: Recipe, row: Row, traced: Traced, equation: Equation, operands: Any) -> jax.Array:
        product, params, dtype = row.product, equation.params, equation.outvars[0].aval.dtype
        lhs, rhs = canonical.widened(operands, params["preferred_element_type"])
        form = form_of(product, params, lhs, rhs)
        plan = plan_of(recipe)
        how = {"call": call_number(product, traced), "precision": params["precision"]}
        if recipe.name in traced.formats:
            how["formats"] = traced.formats[recipe.name]
        place = (row.slot, product_seed(product, traced, plan, operands), traced.step)
        with jax.named_scope(MARK):
            if product.part != "forward":
                found = _backward(product, form, plan, place, how)
            else:
                found = self._forward(row, traced, form, plan, place, how)
        return canonical.placed(form.back(found), params, dtype)

    def _forward(
        self, row: Row, traced: Traced, form: Canonical, plan: tuple[Any, ...], place: tuple[Any, ...], how: Any
    ) -> jax.Array:
        history = traced.state.get("history", {}).get(row.slot)
        sizes = traced.state.get("sizes", {}).get(row.slot)
        if history is not None:
            if not all(_tracked(axis) for axis in jax.sharding.get_abstract_mesh().manual_axes):
                raise ValueError(
                    f"{row.slot}: the shards of jax.shard_map with check_vma=False cannot agree on the largest "
                    "magnitudes of a step; leave that out, or use a recipe whose scales follow the data"
                )
            how["largest"] = jax_state.largest_of(history, jax_state.probe_of(form.a, form.b))
        if not self.first or sizes is None:
            return multiply(form.a, form.b, form.kind, plan, *place, sizes=sizes, **how)
        found = multiply(form.a, form.b, form.kind, plan, *place, sizes=lax.stop_gradient(sizes), **how)
        specs = KindPlan(*getattr(Plan(*plan), form.kind[0])).specs
        return jax_state.with_first(found, sizes, initial_sizes(form.a, form.b, specs))


def form_of(product: Product, params: Any, lhs: jax.Array, rhs: jax.Array) -> Canonical:
    """The operands in the shapes that quantized products take."""
    if product.kind == "convolution":
        return canonical.convolution(params, lhs, rhs)
    if product.part == "forward":
        return canonical.dot_general(params, lhs, rhs, product.weight, product.kind)
    return canonical.cotangent(params, lhs, rhs, product.weight or 0, product.part == "dgrad")


def call_number(product: Product, traced: Traced) -> Any:
    """The number of a product in this turn of the loops around it."""
    found: Any = product.first
    for turn, stride in zip(traced.counters, product.strides):
        found = found + turn * jnp.uint32(stride)
    return found


def product_seed(product: Product, traced: Traced, plan: tuple[Any, ...], operands: Any) -> jax.Array:
    """The words of a product, of the user's seed, its name, and the shard that it computes."""
    words = _folded(traced.seed, np.array(name_words(product.stream), np.uint32))
    if not Plan(*plan).random:
        return words
    for axis in _manual_axes(operands):
        words = words.at[0].set(fold_words(JaxWords(), words[0], lax.axis_index(axis).astype(jnp.uint32)))
    return words


@jax.jit
def _folded(seed: jax.Array, names: jax.Array) -> jax.Array:
    """Each word of a seed with one of a name; one function of a program for all products."""
    return fold_words(JaxWords(), seed, names)


def _manual_axes(operands: Any) -> list[str]:
    """The axes of `jax.shard_map` along which the shards of a product differ; all where JAX does not track them."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    differing = frozenset[str]().union(*(varying(x) for x in operands))
    return [axis for axis in axes if axis in differing or not _tracked(axis)]


def _tracked(axis: str) -> bool:
    """Whether JAX tracks along which axes of `jax.shard_map` arrays vary: unless check_vma=False."""
    return bool(varying(lax.axis_index(axis)))


def _backward(product: Product, form: Canonical, plan: tuple[Any, ...], place: tuple[Any, ...], how: Any) -> jax.Array:
    """A product of a cotangent E, as the gradient of the forward product that it belongs to.

    The forward operand that it is the gradient of is zero, and unused.
    """
    e, other, kind = form.a, form.b, form.kind
    plan = _only(plan, kind[0], product.part)
    batch, (m, n) = e.shape[:-2], e.shape[-2:]
    if product.part == "dgrad":
        k = other.shape[-2] if kind == ("matmul",) else other.shape[-1]
        like, call = jnp.zeros((*batch, m, k), e.dtype), lambda t: multiply(t, other, kind, plan, *place, **how)
    else:
        shape = (*batch, other.shape[-1], n) if kind == ("matmul",) else (n, other.shape[-1])
        like, call = jnp.zeros(shape, e.dtype), lambda t: multiply(other, t, kind, plan, *place, **how)
    _, pull = jax.vjp(call, like)
    return pull(e)[0]


@lru_cache(maxsize=1024)
def _only(plan: tuple[Any, ...], kind: str, part: str) -> tuple[Any, ...]:
    """A plan in which only a backward product is quantized, and what it takes of the forward one."""
    full, idle = KindPlan(*getattr(Plan(*plan), kind)), operands_of(Recipe(), kind)
    wanted = set(_OPERANDS[part])
    taken = {3: 1, 5: 0}[max(wanted)]
    if Operand(*full.specs[max(wanted)]).quantized:
        wanted |= {0, 1}
    straight = [tuple(Operand(*spec)._replace(gradient=("identity",))) for spec in full.specs]
    specs = tuple(straight[k] if k in wanted else idle[k] for k in range(6))
    blocks = tuple(block for block in full.blocks if block[0] in wanted and block[0] != 1 - taken)
    return tuple(Plan(*plan)._replace(**{kind: full._replace(specs=specs, blocks=blocks)}, output=""))
