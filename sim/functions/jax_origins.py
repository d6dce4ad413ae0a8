"""Where the values of a JAX function come from, so that products know their parameters and cotangents.

Parameters are followed through what only moves them, and through what is computed of parameters alone, such as the
product of low-rank factors or a normalized weight. What data touches is data.
"""

from collections.abc import Sequence
from enum import IntEnum
from math import prod
from typing import Any, NamedTuple

from .jax_names import Path


class Role(IntEnum):
    """What a value is. What is computed of several has the last of their roles, constants with parameters but data.

    Constants are the arrays that a function holds, and whose name is not known.
    """

    NOTHING = 0
    CONSTANT = 1
    PARAMETER = 2
    DATA = 3
    COTANGENT = 4


class Origin(NamedTuple):
    """Where a value comes from.

    Args:
        role: what it is.
        path: of a parameter.
        direct: whether it was only moved, not computed with.
    """

    role: Role
    path: Path | None = None
    direct: bool = True


NOTHING = Origin(Role.NOTHING)
CONSTANT = Origin(Role.CONSTANT)
DATA = Origin(Role.DATA)
COTANGENT = Origin(Role.COTANGENT)

MOVES = frozenset((
    "reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "convert_element_type", "copy", "copy_p",
    "slice", "dynamic_slice", "rev", "reduce_precision", "stop_gradient", "sharding_constraint", "layout_constraint",
    "mesh_cast", "reshard", "name", "pvary", "pcast", "all_gather", "all_gather_reduced", "psum", "psum_invariant",
    "psum2", "ppermute", "all_to_all", "bitcast_convert_type",
))  # fmt: skip
"""Primitives that only move the values of their first operand, or gather the shards of it."""
EACH = frozenset(("optimization_barrier", "device_put", "all_gather", "psum", "psum_invariant", "psum2", "pvary"))
"""Primitives that may take several operands at once, each of which only moves."""


def after(equation: Any, origins: Sequence[Origin]) -> list[Origin]:
    """The origins of the results of an equation without a jaxpr of its own."""
    name, results = equation.primitive.name, len(equation.outvars)
    if name in EACH and len(origins) == results:
        return list(origins)
    if name in MOVES or (name == "gather" and _picks(equation)):
        return [origins[0]] * results
    return [combined(origins, [v.aval for v in equation.invars])] * results


def _picks(equation: Any) -> bool:
    """Whether a gather picks one slice, such as a layer of a stack, rather than the rows of tokens."""
    indices = equation.invars[1].aval.shape
    return prod(indices[:-1]) == 1


def combined(origins: Sequence[Origin], avals: Sequence[Any]) -> Origin:
    """The origin of what is computed of several values."""
    roles = {origin.role for origin in origins}
    if not roles:
        return NOTHING
    last = max(roles)
    if last is Role.PARAMETER and Role.CONSTANT in roles:
        return DATA
    if last is not Role.PARAMETER:
        return Origin(last, direct=last not in (Role.CONSTANT,))
    known = [(origin, aval) for origin, aval in zip(origins, avals) if origin.role is Role.PARAMETER]
    main, _ = max(known, key=lambda each: (len(each[1].shape), prod(each[1].shape)))
    return Origin(Role.PARAMETER, main.path, False)


def joined(first: Origin, second: Origin) -> Origin:
    """The origin of a value that is one or the other: the carry of a loop, the result of a branch."""
    if first == second:
        return first
    if NOTHING in (first, second):  # zeros to begin with tell nothing
        return second if first == NOTHING else first
    if first.role is second.role is Role.PARAMETER:
        return Origin(Role.PARAMETER, first.path, first.direct and second.direct)
    last = max(first.role, second.role)
    return DATA if last in (Role.CONSTANT, Role.PARAMETER) else Origin(last)


def as_weight(origin: Origin, rank: int, batched: bool) -> int:
    """How much an operand of a product looks like its weight; 0 for not at all.

    Args:
        batched: whether the product has batch axes; what was computed of parameters is a weight only without.
    """
    if origin.role is Role.CONSTANT:
        return 1 if origin.direct and rank > 1 else 0
    if origin.role is not Role.PARAMETER or (batched and not origin.direct):
        return 0
    return 2 + 2 * origin.direct + (rank > 1)
