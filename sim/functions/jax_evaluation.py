"""Evaluates a jaxpr anew with the products in it quantized.

Everything without such a product is bound as it is. What holds jaxprs of its own is built anew around them: loops with
a counter, from which their products take their random words, and functions with rules for derivatives with rules in
which the products are rewritten too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal
from jax.sharding import PartitionSpec

from .jax_derived import Derived
from .jax_sites import Equation, Product, Site
from .jax_survey import CALLS, CUSTOM

Rewrite: TypeAlias = Callable[["Traced", Product, Equation, list[Any]], jax.Array]
"""(traced, product, equation, operands) -> its result."""


class Traced(NamedTuple):
    """What is traced and reaches every product.

    Args:
        seed: (2,) uint32 words of the user's seed. step: () uint32.
        counters: () uint32 turns of the loops around, from the outside in.
        state: by kind and slot, of this turn.
        formats: what of the operands of a recipe is data, by its name.
    """

    seed: jax.Array
    step: jax.Array
    counters: tuple[Any, ...]
    state: dict[str, dict[str, Any]]
    formats: dict[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a function is rewritten.

    Args:
        products: to be rewritten, by site.
        slots: of the state, by the site of their product.
        rules: rules for derivatives, by site.
        rewrite: computes a product.
    """

    products: Mapping[Site, Product]
    slots: Mapping[Site, str]
    rules: Mapping[Site, Derived]
    rewrite: Rewrite

    def touches(self, site: Site) -> bool:
        """Whether a product inside of a site is rewritten."""
        return any(each[: len(site)] == site for each in self.products)

    def run(self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[Any], traced: Traced, site: Site) -> list[Any]:
        """The results of a jaxpr."""
        found: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *operands)))

        def read(v: Any) -> Any:
            return v.val if isinstance(v, Literal) else found[v]

        for k, equation in enumerate(jaxpr.eqns):
            given, here = [read(v) for v in equation.invars], (*site, k)
            with equation.ctx.manager, _Names(equation.source_info.name_stack):
                if here in self.products:
                    results = [self.rewrite(traced, self.products[here], equation, given)]
                elif equation.primitive.name in PARTS and self.touches(here):
                    results = PARTS[equation.primitive.name](self, equation, given, traced, here)
                else:
                    results = bind(equation, given)
            found.update(zip(equation.outvars, results))
        return [read(v) for v in jaxpr.outvars]

    def closed(self, closed: Any, operands: Sequence[Any], traced: Traced, site: Site) -> list[Any]:
        """The results of a jaxpr with its constants."""
        return self.run(closed.jaxpr, closed.consts, operands, traced, site)

    def inside(self, state: dict[str, dict[str, Any]], site: Site) -> dict[str, dict[str, Any]]:
        """The state of the products inside of a site."""
        mine = {slot for each, slot in self.slots.items() if each[: len(site)] == site}
        return {kind: {slot: x for slot, x in of.items() if slot in mine} for kind, of in state.items()}


class _Names:
    """The scopes of an equation around what stands in its place; transformations put their own around again."""

    def __init__(self, stack: Any) -> None:
        names = [entry.name for entry in stack.stack if type(entry).__name__ == "Scope"]
        self.scopes = [jax.named_scope(name) for name in names]

    def __enter__(self) -> None:
        for scope in self.scopes:
            scope.__enter__()

    def __exit__(self, *error: Any) -> None:
        for scope in reversed(self.scopes):
            scope.__exit__(*error)


def bind(equation: Equation, operands: Sequence[Any]) -> list[Any]:
    """The results of an equation as it is."""
    params = equation.primitive.get_bind_params(equation.params)
    found = equation.primitive.bind(*operands, **params)
    return list(found) if equation.primitive.multiple_results else [found]


# ---------------------------------------------------------------- equations with jaxprs of their own

Part: TypeAlias = Callable[[Evaluation, Equation, list[Any], Traced, Site], list[Any]]


def _call(run: Evaluation, equation: Equation, operands: list[Any], traced: Traced, site: Site) -> list[Any]:
    """In line, with the shardings that it asks for."""
    params = equation.params
    operands = _constrained(operands, params.get("in_shardings", ()))
    found = run.closed(params.get("jaxpr", params.get("call_jaxpr")), operands, traced, (*site, 0))
    return _constrained(found, params.get("out_shardings", ()))


def _constrained(arrays: list[Any], shardings: Sequence[Any]) -> list[Any]:
    wanted = list(shardings) or [None] * len(arrays)
    return [
        lax.with_sharding_constraint(x, sharding) if isinstance(sharding, jax.sharding.Sharding) else x
        for x, sharding in zip(arrays, wanted)
    ]


def _checkpoint(run: Evaluation, equation: Equation, operands: list[Any], traced: Traced, site: Site) -> list[Any]:
    params = equation.params

    def body(traced: Traced, *xs: Any) -> list[Any]:
        return run.run(params["jaxpr"], (), xs, traced, (*site, 0))

    inner = traced._replace(state=run.inside(traced.state, site))
    return jax.checkpoint(body, prevent_cse=params["prevent_cse"], policy=params["policy"])(inner, *operands)


def _cond(run: Evaluation, equation: Equation, operands: list[Any], traced: Traced, site: Site) -> list[Any]:
    def branch(k: int, closed: Any) -> Callable[..., list[Any]]:
        return lambda traced, *xs: run.closed(closed, xs, traced, (*site, k))

    index, *rest = operands
    branches = [branch(*each) for each in enumerate(equation.params["branches"])]
    return lax.switch(index, branches, traced._replace(state=run.inside(traced.state, site)), *rest)


def _scan(run: Evaluation, equation: Equation, operands: list[Any], traced: Traced, site: Site) -> list[Any]:
    """State goes along row by row, as scanned inputs, so that cotangents of it stay those of each turn."""
    params, first = equation.params, equation.params["num_consts"]
    kept = first + params["num_carry"]
    consts, carry, rows = operands[:first], operands[first:kept], operands[kept:]

    def body(carry: list[Any], row: Any) -> tuple[list[Any], list[Any]]:
        k, state, xs = row
        inner = traced._replace(counters=(*traced.counters, k), state=state)
        found = run.closed(params["jaxpr"], [*consts, *carry, *xs], inner, (*site, 0))
        return found[: len(carry)], found[len(carry) :]

    count = jnp.arange(params["length"], dtype=jnp.uint32)
    given = (count, run.inside(traced.state, site), rows)
    carry, ys = lax.scan(body, carry, given, params["length"], params["reverse"], params["unroll"])
    return [*carry, *ys]


def _while(run: Evaluation, equation: Equation, operands: list[Any], traced: Traced, site: Site) -> list[Any]:
    params, of_test = equation.params, equation.params["cond_nconsts"]
    kept = of_test + params["body_nconsts"]
    test_consts, body_consts, start = operands[:of_test], operands[of_test:kept], operands[kept:]

    def inner(turn: Any) -> Traced:
        return traced._replace(counters=(*traced.counters, turn), state={})

    def go_on(carry: tuple[Any, list[Any]]) -> Any:
        return run.closed(params["cond_jaxpr"], [*test_consts, *carry[1]], inner(carry[0]), (*site, 0))[0]

    def turn(carry: tuple[Any, list[Any]]) -> tuple[Any, list[Any]]:
        found = run.closed(params["body_jaxpr"], [*body_consts, *carry[1]], inner(carry[0]), (*site, 1))
        return carry[0] + np.uint32(1), found

    return lax.while_loop(go_on, turn, (jnp.uint32(0), start))[1]


def _custom(run: Evaluation, equation: Equation, operands: list[Any], traced: Traced, site: Site) -> list[Any]:
    """A function with the same rule for derivatives, its products quantized."""
    value = equation.params["call_jaxpr"]
    if site not in run.rules:  # inside of another rule
        return run.closed(value, operands, traced, (*site, 0))
    rule = run.rules[site]
    kept = operands[: rule.consts]

    @jax.custom_vjp
    def call(traced: Traced, *free: Any) -> list[Any]:
        return run.closed(value, [*kept, *free], traced, (*site, 0))

    def forward(traced: Traced, *free: Any) -> tuple[list[Any], Any]:
        found = run.closed(rule.forward, [*kept, *free], traced, (*site, 1))
        return found[: rule.results], (traced, found[rule.results :])

    def backward(saved: Any, cotangents: list[Any]) -> tuple[Any, ...]:
        traced, read = saved
        found = run.closed(rule.backward, [*read, *cotangents], traced, (*site, 2))
        return (None, *(None if x.dtype == jax.dtypes.float0 else x for x in found))

    call.defvjp(forward, backward)
    return call(traced._replace(state={}), *operands[rule.consts :])


def _shard_map(run: Evaluation, equation: Equation, operands: list[Any], traced: Traced, site: Site) -> list[Any]:
    params = equation.params

    def body(traced: Traced, *xs: Any) -> tuple[Any, ...]:
        return tuple(run.run(params["jaxpr"], (), xs, traced, (*site, 0)))

    specs = (PartitionSpec(), *params["in_specs"])
    traced = traced._replace(state=run.inside(traced.state, site))
    mapped = jax.shard_map(
        body, mesh=params["mesh"], in_specs=specs, out_specs=tuple(params["out_specs"]),
        check_vma=params["check_vma"], axis_names=params["newly_manual_axes"],
    )  # fmt: skip
    return list(mapped(traced, *operands))


PARTS: dict[str, Part] = {
    **dict.fromkeys(CALLS, _call),
    **dict.fromkeys(CUSTOM, _custom),
    **dict.fromkeys(("remat2", "checkpoint"), _checkpoint),
    "cond": _cond,
    "scan": _scan,
    "while": _while,
    "shard_map": _shard_map,
}
"""Primitives that hold jaxprs, which are built anew."""
