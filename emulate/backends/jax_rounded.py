"""Functions of JAX arrays in which every operation is rounded to a format.

`transformed` traces a function to a jaxpr and evaluates that anew, with the rules of `jax_rounded_rules` for its
primitives. Constants are rounded where they are read, so that every float in the evaluation is a value of the format.

Steps of the random words are counted while the evaluation is traced. A loop's body is one part, whose steps begin
where its iteration does; the iterations of a while loop, of which there may be any number, have a stream of their own.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..philox import fold_words
from ..rounded.context import Arithmetic
from .jax_ieee import operate
from .jax_integers import JaxWords
from .jax_rounded_rules import Equation, apply, bind
from .jax_rounded_run import Run, with_gradient_of

__all__ = ["operate", "transformed"]


def transformed(fn: Callable[..., Any], arithmetic: Arithmetic, seed: Any, order: str) -> Callable[..., Any]:
    """`halfulp.rounded` for functions of JAX arrays.

    - Integer powers are products of squares, as JAX forms them; rsqrt and pow are computed and rounded once.
    - Functions such as exp are computed in the dtype of the arrays, float32 where that has 16 bits; XLA takes float32
      subnormals among their arguments for zero.
    - Convolutions are matrix products over input channels, then places in the window; scattered sums run in row-major
      order of the indices; sums over windows in that of the window.
    - Functions with rules for derivatives of their own, such as `jax.nn.relu`, keep these.

    Args:
        fn: a function of pytrees of arrays, as `jax.jit` takes it.
        arithmetic: its values must fit the dtypes of all arrays.
        seed: of stochastic rounding: an integer, two uint32 words or a JAX key; otherwise None.
        order: one of `reductions.ORDERS`.

    Returns:
        A function of the same arguments; its results have the dtypes that those of `fn` have. It is compiled.

    Raises:
        ValueError: when called, a dtype that does not hold the format's values.
        TypeError: when called, formats that take rational arithmetic, complex numbers, and primitives that are not made
            of rounded operations, such as the factorizations of `jax.numpy.linalg`.
    """

    @jax.jit
    def compiled(args: Any, kwargs: Any) -> Any:
        closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args, **kwargs)
        run = Run(arithmetic, order, seed)
        leaves = [_as_array(x) for x in jax.tree.leaves((args, kwargs))]
        found = _evaluate(run, closed.jaxpr, _values(run, closed.consts), _values(run, leaves))
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    @wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled(args, kwargs)

    return call


def _as_array(x: Any) -> Any:
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError("hu.rounded: expected real numbers, got complex ones; pass the real and imaginary parts")
    return array


def _values(run: Run, arrays: Any) -> list[Any]:
    """Floating arrays rounded."""
    return [run.round(x) if _is_float(x) else x for x in arrays]


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _evaluate(run: Run, jaxpr: Any, consts: Any, operands: Any) -> list[Any]:
    """The results of a jaxpr; constants and operands are values of the format."""
    found: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *operands)))

    def read(v: Any) -> Any:
        if not hasattr(v, "val"):
            return found[v]
        return run.constant(v.val, v.aval.dtype) if jnp.issubdtype(v.aval.dtype, jnp.floating) else v.val

    for equation in jaxpr.eqns:
        rule = _PARTS.get(equation.primitive.name, apply)
        found.update(zip(equation.outvars, rule(run, equation, [read(v) for v in equation.invars])))
    return [read(v) for v in jaxpr.outvars]


def _closed(run: Run, closed: Any, operands: Any) -> list[Any]:
    """As `_evaluate`, with constants still to be rounded."""
    return _evaluate(run, closed.jaxpr, _values(run, closed.consts), operands)


def _steps(run: Run, closed: Any, operands: Any) -> int:
    """How many steps a part takes."""
    if not run.random:
        return 0
    part = run.part(0)
    jax.eval_shape(lambda *xs: _closed(part, closed, xs), *operands)
    return part.taken


# ---------------------------------------------------------------- primitives with parts of their own


def _inline(run: Run, equation: Equation, operands: list[Any]) -> list[Any]:
    closed = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return _closed(run, closed, operands)


def _with_rule(run: Run, equation: Equation, operands: list[Any]) -> list[Any]:
    """Functions with a rule for derivatives of their own keep it, straight through the roundings."""
    plain = bind(equation, operands)
    value = _closed(run, equation.params["call_jaxpr"], operands)
    return [with_gradient_of(a, b) if _is_float(b) else b for a, b in zip(plain, value)]


def _checkpoint(run: Run, equation: Equation, operands: list[Any]) -> list[Any]:
    params, part = equation.params, run.part(run.step())

    def body(*xs: Any) -> list[Any]:
        return _evaluate(part, params["jaxpr"], (), xs)

    found = jax.checkpoint(body, prevent_cse=params["prevent_cse"], policy=params["policy"])(*operands)
    run.take(part.taken)
    return found


def _cond(run: Run, equation: Equation, operands: list[Any]) -> list[Any]:
    index, *rest = operands
    parts = [run.part(run.step()) for _ in equation.params["branches"]]

    def branch(part: Run, closed: Any) -> Callable[..., list[Any]]:
        return lambda *xs: _closed(part, closed, xs)

    found = lax.switch(index, [branch(*each) for each in zip(parts, equation.params["branches"])], *rest)
    run.take(max(part.taken for part in parts))
    return found


def _scan(run: Run, equation: Equation, operands: list[Any]) -> list[Any]:
    params = equation.params
    closed, length, kept = params["jaxpr"], params["length"], params["num_consts"] + params["num_carry"]
    consts, carry, rows = operands[: params["num_consts"]], operands[params["num_consts"] : kept], operands[kept:]
    per_row = _steps(run, closed, [*consts, *carry, *(_row(x) for x in rows)])
    start = run.step()

    def body(state: list[Any], row: Any) -> tuple[list[Any], list[Any]]:
        k, xs = row
        found = _closed(run.part(start + k * np.uint32(per_row)), closed, [*consts, *state, *xs])
        return found[: len(carry)], found[len(carry) :]

    count = jnp.arange(length, dtype=jnp.uint32)
    state, ys = lax.scan(body, carry, (count, rows), length, params["reverse"], params["unroll"])
    run.take(length * per_row)
    return [*state, *ys]


def _row(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)


def _while(run: Run, equation: Equation, operands: list[Any]) -> list[Any]:
    params, of_test = equation.params, equation.params["cond_nconsts"]
    test, body = params["cond_jaxpr"], params["body_jaxpr"]
    kept = of_test + params["body_nconsts"]
    test_consts, body_consts, start = operands[:of_test], operands[of_test:kept], operands[kept:]
    per_test = _steps(run, test, [*test_consts, *start])
    per_turn = per_test + _steps(run, body, [*body_consts, *start])
    stream = None
    if run.random:
        stream = fold_words(JaxWords(), jnp.uint32(run.stream), jnp.asarray(run.step(), jnp.uint32))
        run.take()

    def part(turn: Any, later: int) -> Run:
        return run.part(turn * np.uint32(per_turn) + np.uint32(later), stream)

    def go_on(state: tuple[Any, list[Any]]) -> Any:
        return _closed(part(state[0], 0), test, [*test_consts, *state[1]])[0]

    def turn(state: tuple[Any, list[Any]]) -> tuple[Any, list[Any]]:
        return state[0] + 1, _closed(part(state[0], per_test), body, [*body_consts, *state[1]])

    return lax.while_loop(go_on, turn, (jnp.uint32(0), start))[1]


_PARTS: dict[str, Callable[[Run, Equation, list[Any]], list[Any]]] = {
    "jit": _inline,
    "pjit": _inline,
    "closed_call": _inline,
    "core_call": _inline,
    "custom_jvp_call": _with_rule,
    "custom_vjp_call": _with_rule,
    "remat2": _checkpoint,
    "checkpoint": _checkpoint,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
"""Primitives that hold jaxprs."""
