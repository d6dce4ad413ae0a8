"""Walks a jaxpr, and those inside of it, to find its products before anything is rewritten.

Origins of values and numbers of products go through what holds jaxprs of its own. A loop's body is one part, whose
products come again in every turn; of the branches of a condition, and of a value and its rule, one runs.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from jax.extend.core import Literal

from .jax_derived import derived
from .jax_names import MARK, RULE, Path
from .jax_origins import COTANGENT, NOTHING, Origin, after, joined
from .jax_sites import KINDS, Equation, Survey, Where, multiplies, record

CALLS = frozenset(("jit", "pjit", "closed_call", "core_call"))
"""Primitives that call a jaxpr."""
CUSTOM = frozenset(("custom_jvp_call", "custom_vjp_call"))
"""Primitives that have a rule for derivatives of their own."""


def walk(
    survey: Survey, jaxpr: Any, consts: Sequence[Origin], operands: Sequence[Origin], where: Where
) -> list[Origin]:
    """Find the products of a jaxpr; returns the origins of its results."""
    found: dict[Any, Origin] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *operands)))
    reads = [*(v for equation in jaxpr.eqns for v in equation.invars), *jaxpr.outvars]
    used = {v for v in reads if not isinstance(v, Literal)}
    owners = _owners(jaxpr, where.owned) if any(where.owned) else {}

    def read(v: Any) -> Origin:
        return NOTHING if isinstance(v, Literal) else found[v]

    for k, equation in enumerate(jaxpr.eqns):
        origins = [read(v) for v in equation.invars]
        scope = where.scope.inside(equation.source_info.name_stack)
        name = equation.primitive.name
        if name in PARTS:
            inner = where.into(k, 0, scope)._replace(owned=tuple(owners.get(v) for v in equation.outvars))
            with equation.ctx.manager:
                results = PARTS[name](survey, equation, origins, inner)
        else:
            if not survey.quiet and not used.isdisjoint(equation.outvars):
                record(survey, equation, origins, where._replace(site=(*where.site, k), scope=scope), owners)
            results = after(equation, origins)
        found.update(zip(equation.outvars, results))
    return [read(v) for v in jaxpr.outvars]


def _owners(jaxpr: Any, owned: Sequence[Path | None]) -> dict[Any, Path]:
    """The parameter whose gradient each value becomes, back to the product that made it."""
    found = {v: path for v, path in zip(jaxpr.outvars, owned) if path is not None and not isinstance(v, Literal)}
    for equation in reversed(jaxpr.eqns):
        paths = [found[v] for v in equation.outvars if v in found]
        if paths and equation.primitive.name not in KINDS and equation.primitive.name not in PARTS:
            found |= {v: paths[0] for v in equation.invars if not isinstance(v, Literal) and v not in found}
    return found


# ---------------------------------------------------------------- equations with jaxprs of their own

Part: TypeAlias = Callable[[Survey, Equation, list[Origin], Where], list[Origin]]


def _closed(survey: Survey, closed: Any, operands: Sequence[Origin], where: Where) -> list[Origin]:
    return walk(survey, closed.jaxpr, [survey.constant(x) for x in closed.consts], operands, where)


def _call(survey: Survey, equation: Equation, origins: list[Origin], where: Where) -> list[Origin]:
    return _closed(survey, equation.params.get("jaxpr", equation.params.get("call_jaxpr")), origins, where)


def _open(survey: Survey, equation: Equation, origins: list[Origin], where: Where) -> list[Origin]:
    """A jaxpr without constants: of a checkpoint, or of the shards of arrays."""
    return walk(survey, equation.params["jaxpr"], (), origins, where)


def _cond(survey: Survey, equation: Equation, origins: list[Origin], where: Where) -> list[Origin]:
    found, taken = [], {}
    for k, branch in enumerate(equation.params["branches"]):
        with survey.part() as counts:
            found.append(_closed(survey, branch, origins[1:], where._replace(site=(*where.site[:-1], k))))
        taken = {name: max(counts.get(name, 0), taken.get(name, 0)) for name in {**counts, **taken}}
    survey.add(taken)
    first, *others = found
    for other in others:
        first = [joined(a, b) for a, b in zip(first, other)]
    return first


def _settled(survey: Survey, turn: Callable[[list[Origin]], list[Origin]], carry: list[Origin]) -> list[Origin]:
    """The origins of what a loop carries, whatever the turn."""
    loud, survey.quiet = survey.quiet, True
    while True:
        later = [joined(a, b) for a, b in zip(carry, turn(carry))]
        if later == carry:
            survey.quiet = loud
            return carry
        carry = later


def _scan(survey: Survey, equation: Equation, origins: list[Origin], where: Where) -> list[Origin]:
    params = equation.params
    first, length = params["num_consts"], params["length"]
    kept = first + params["num_carry"]
    where = where._replace(loops=(*where.loops, length))

    def turn(carry: list[Origin]) -> list[Origin]:
        return _closed(survey, params["jaxpr"], [*origins[:first], *carry, *origins[kept:]], where)[: kept - first]

    carry = _settled(survey, turn, origins[first:kept])
    with survey.part(loop=True) as counts:
        found = _closed(survey, params["jaxpr"], [*origins[:first], *carry, *origins[kept:]], where)
    survey.add(counts, length)
    return [*carry, *found[kept - first :]]


def _while(survey: Survey, equation: Equation, origins: list[Origin], where: Where) -> list[Origin]:
    params, test = equation.params, equation.params["cond_nconsts"]
    first = test + params["body_nconsts"]
    where = where._replace(
        loops=(*where.loops, 0), inside=where.inside | {"while"}, turns=f"{where.turns}@while{survey.whiles}"
    )

    def turn(carry: list[Origin]) -> list[Origin]:
        inner = where._replace(site=(*where.site[:-1], 1))
        return _closed(survey, params["body_jaxpr"], [*origins[test:first], *carry], inner)

    carry = _settled(survey, turn, origins[first:])
    if not survey.quiet:
        survey.whiles += 1
    with survey.part(loop=True):
        _closed(survey, params["cond_jaxpr"], [*origins[:test], *carry], where)
        turn(carry)
    return carry


def _custom(survey: Survey, equation: Equation, origins: list[Origin], where: Where) -> list[Origin]:
    """A function with a rule for derivatives of its own: of its value and its rule, one runs."""
    closed = equation.params["call_jaxpr"]
    kept = where.scope.gradient == RULE or MARK in where.scope.names  # in a rule, which is not differentiated again
    if survey.quiet or kept or (equation.primitive.name == "custom_jvp_call" and not multiplies(closed.jaxpr)):
        return _closed(survey, closed, origins, where)
    rule = derived(equation)
    survey.rules[where.site[:-1]] = rule
    inner = where._replace(inside=where.inside | {"custom"}, owned=())
    site = where.site[:-1]
    with survey.part() as plain:
        found = _closed(survey, closed, origins, inner)
    with survey.part() as forward:
        scope = where.scope._replace(gradient=RULE)
        through = _closed(survey, rule.forward, origins, inner._replace(site=(*site, 1), scope=scope))
    survey.add({name: max(plain.get(name, 0), forward.get(name, 0)) for name in {**plain, **forward}})
    cotangents = [COTANGENT] * len(rule.backward.jaxpr.invars[len(through) - len(found) :])
    owned = tuple(origin.path for origin in origins[rule.consts :])
    inside = inner._replace(site=(*site, 2), scope=where.scope._replace(gradient=RULE), owned=owned)
    _closed(survey, rule.backward, [*through[len(found) :], *cotangents], inside)
    return found


PARTS: dict[str, Part] = {
    **dict.fromkeys(CALLS, _call),
    **dict.fromkeys(CUSTOM, _custom),
    **dict.fromkeys(("remat2", "checkpoint", "shard_map"), _open),
    "cond": _cond,
    "scan": _scan,
    "while": _while,
}
"""Primitives that hold jaxprs, which are walked."""
