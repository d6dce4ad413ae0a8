"""What becomes of each primitive of JAX where every operation is rounded.

A rule takes the run, the equation of the jaxpr and its operands, values of the format, and returns the results.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..layouts import LAYOUTS
from . import jax as jax_backend
from .jax_ieee import bits_in
from .jax_rounded_run import Run, subnormal, symmetric, with_gradient_of
from .jax_rounded_sums import convolve, cumulative, dot_general, reduce_sum, scatter_add, window_sum

Equation: TypeAlias = Any
"""An equation of a jaxpr: `primitive`, `params`, `invars`, `outvars`."""
Rule: TypeAlias = Callable[..., Any]
"""(run, equation, *operands) -> results."""

MOVES = frozenset((
    "reshape", "broadcast_in_dim", "transpose", "rev", "slice", "dynamic_slice", "dynamic_update_slice", "gather",
    "scatter", "concatenate", "pad", "squeeze", "expand_dims", "select_n", "split", "copy", "copy_p",
    "optimization_barrier", "stop_gradient", "device_put", "sharding_constraint", "layout_constraint", "mesh_cast",
    "reshard",
))  # fmt: skip
"""Primitives that only move values, or choose among them."""

ORDERS = frozenset((
    "max", "min", "reduce_max", "reduce_min", "cummax", "cummin", "sort", "argmax", "argmin", "clamp", "top_k",
    "reduce_window_max", "reduce_window_min", "lt", "le", "gt", "ge", "eq", "ne", "eq_to", "le_to", "lt_to",
))  # fmt: skip
"""Primitives that compare values and round nothing."""

FUNCTIONS = frozenset((
    "exp", "exp2", "log", "log1p", "expm1", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "asinh", "acosh", "atanh", "atan2", "erf", "erfc", "erf_inv", "logistic", "rsqrt", "cbrt", "pow", "lgamma",
    "digamma", "polygamma", "zeta", "igamma", "igammac", "igamma_grad_a", "random_gamma_grad",
    "regularized_incomplete_beta", "bessel_i0e", "bessel_i1e", "floor", "ceil", "round", "rem", "cumlogsumexp",
))  # fmt: skip
"""Functions that are computed in the carrier and rounded once."""

MADE = frozenset((
    "iota", "bitcast_convert_type", "reduce_precision", "nextafter", "pure_callback", "io_callback",
))  # fmt: skip
"""Primitives whose results are rounded, whatever they are computed in."""


def apply(run: Run, equation: Equation, operands: list[Any]) -> list[Any]:
    """The results of an equation without parts of its own.

    Raises:
        TypeError: a primitive that is not made of rounded operations; complex numbers.
    """
    name = equation.primitive.name
    floats = [jnp.issubdtype(v.aval.dtype, jnp.floating) for v in equation.outvars]
    if any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in equation.outvars):
        raise TypeError(f"hu.rounded: complex numbers, in {name}; compute with two arrays, of real and imaginary parts")
    if name in ORDERS:
        found = _ordered(run, equation, operands)
    elif name in MOVES or not any(floats):
        found = bind(equation, operands)
    elif name in RULES:
        found = RULES[name](run, equation, *operands)
    elif name in FUNCTIONS:
        found = _function(run, equation, operands)
    elif name in MADE:
        found = bind(equation, operands)
        found = [run.round(x) if is_float else x for x, is_float in zip(_listed(equation, found), floats)]
    else:
        raise TypeError(
            f"hu.rounded: {name} is not made of rounded operations; leave it outside of the function and round its "
            "result with hu.quantize, or write it in elementary operations"
        )
    return _listed(equation, found)


def bind(equation: Equation, operands: list[Any]) -> Any:
    """The primitive itself."""
    return equation.primitive.bind(*operands, **equation.primitive.get_bind_params(equation.params))


def _listed(equation: Equation, found: Any) -> list[Any]:
    return list(found) if equation.primitive.multiple_results or isinstance(found, list | tuple) else [found]


def _function(run: Run, equation: Equation, operands: list[Any]) -> Any:
    """16-bit floats are computed in float32."""
    target = equation.outvars[0].aval.dtype
    narrow = target.itemsize == 2
    return run.round(bind(equation, [_widened(x) for x in operands] if narrow else operands), target)


def _widened(x: Any) -> Any:
    float16 = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize == 2
    return jax_backend.floats(LAYOUTS["float32"], bits_in(LAYOUTS["float32"], x)) if float16 else x


# ---------------------------------------------------------------- arithmetic


def _elementary(name: str) -> Rule:
    return lambda run, equation, *operands: run.operate(name, *operands)


def _square(run: Run, equation: Equation, x: Any) -> Any:
    return run.operate("multiply", x, x)


def _integer_pow(run: Run, equation: Equation, x: Any) -> Any:
    """x**n by squares: the factors x**(2**i) of n's ones, from the lowest; 1 over that for negative n."""
    n, power, found = abs(equation.params["y"]), x, None
    while n:
        if n & 1:
            found = power if found is None else run.operate("multiply", found, power)
        n >>= 1
        power = run.operate("multiply", power, power) if n else power
    one = jnp.full(jnp.shape(x), run.constant(1.0, x.dtype))
    found = one if found is None else found
    return run.operate("divide", one, found) if equation.params["y"] < 0 else found


def _negative(run: Run, equation: Equation, x: Any) -> Any:
    found = bind(equation, [x])
    return found if symmetric(run.arithmetic) else run.exact(found)


def _sign(run: Run, equation: Equation, x: Any) -> Any:
    layout = LAYOUTS[jax_backend.dtype_name(x)]
    magnitude = lax.bitcast_convert_type(x, jax_backend.SIGNED[layout.width]) & layout.magnitude_mask
    negative = lax.bitcast_convert_type(x, jax_backend.SIGNED[layout.width]) < 0
    kept = (magnitude == 0) | (magnitude > layout.infinity)
    return run.exact(jnp.where(kept, x, jnp.where(negative, -1.0, 1.0).astype(x.dtype)))


def _convert(run: Run, equation: Equation, x: Any) -> Any:
    """Between floats that hold the format nothing is lost; subnormals survive, unlike in XLA's casts."""
    target = equation.params["new_dtype"]
    return run.round(x if jnp.issubdtype(x.dtype, jnp.floating) else bind(equation, [x]), target)


def _sum(rule: Rule, **options: Any) -> Rule:
    """A rule of `jax_rounded_sums`, in the dtype of the result."""

    def call(run: Run, equation: Equation, *operands: Any) -> Any:
        dtype = equation.outvars[0].aval.dtype
        is_float = [jnp.issubdtype(x.dtype, jnp.floating) for x in operands]
        operands = tuple(run.exact_in(x, dtype) if floating else x for x, floating in zip(operands, is_float))
        return rule(run, *operands, **(equation.params | options))

    return call


RULES: dict[str, Rule] = {
    "add": _elementary("add"),
    "add_any": _elementary("add"),
    "sub": _elementary("subtract"),
    "mul": _elementary("multiply"),
    "div": _elementary("divide"),
    "sqrt": _elementary("sqrt"),
    "square": _square,
    "integer_pow": _integer_pow,
    "neg": _negative,
    "abs": _negative,
    "sign": _sign,
    "convert_element_type": _convert,
    "reduce_sum": _sum(reduce_sum),
    "reduce_prod": _sum(reduce_sum, name="multiply"),
    "cumsum": _sum(cumulative),
    "cumprod": _sum(cumulative, name="multiply"),
    "dot_general": _sum(dot_general),
    "conv_general_dilated": _sum(convolve),
    "reduce_window_sum": _sum(window_sum),
    "scatter-add": _sum(scatter_add),
}
"""Primitives made of rounded operations."""


# ---------------------------------------------------------------- comparisons


def _ordered(run: Run, equation: Equation, operands: list[Any]) -> Any:
    """Integers in the order of the floats are compared where XLA would take values of the format for zero."""
    kinds = [jnp.issubdtype(x.dtype, jnp.floating) for x in operands]
    names = [jax_backend.dtype_name(x) for x, is_float in zip(operands, kinds) if is_float]
    plain = bind(equation, operands)
    if not any(subnormal(run.arithmetic, name) for name in names):
        return plain
    name = equation.primitive.name
    if name in _COMPARISONS:
        return _COMPARISONS[name](*operands)
    if name == "clamp":
        low, x, high = (jnp.broadcast_to(x, operands[1].shape) for x in operands)
        return with_gradient_of(plain, _by_keys(lax.min, False, _by_keys(lax.max, True, x, low), high))
    keys = [_keys(x, "min" not in name) if is_float else x for x, is_float in zip(operands, kinds)]
    found = _listed(equation, bind(equation, keys))
    values = []
    for each, want, old in zip(found, equation.outvars, _listed(equation, plain)):
        floating = jnp.issubdtype(want.aval.dtype, jnp.floating)
        values.append(with_gradient_of(old, _from_keys(each, want.aval.dtype)) if floating else each)
    return values


def _keys(x: Any, nan_above: bool) -> Any:
    """Integers in the order of the numbers, -0 below +0, and NaN above or below all."""
    layout = LAYOUTS[jax_backend.dtype_name(x)]
    bits = lax.bitcast_convert_type(x, jax_backend.SIGNED[layout.width])
    magnitude = bits & layout.magnitude_mask
    ends = np.iinfo(bits.dtype)
    key = jnp.where(bits < 0, ~magnitude, magnitude)
    return jnp.where(magnitude > layout.infinity, ends.max if nan_above else ends.min, key)


def _from_keys(keys: Any, dtype: Any) -> Any:
    layout = LAYOUTS[np.dtype(dtype).name]
    bits = jnp.where(keys < 0, ~(keys & layout.magnitude_mask), keys)
    bits = jnp.where((bits & layout.magnitude_mask) > layout.infinity, layout.nan, bits)
    return jax_backend.floats(layout, bits)


def _by_keys(function: Rule, nan_above: bool, a: Any, b: Any) -> Any:
    return _from_keys(function(_keys(a, nan_above), _keys(b, nan_above)), a.dtype)


def _compared(compare: Rule, unordered: bool, a: Any, b: Any) -> Any:
    layout = LAYOUTS[jax_backend.dtype_name(a)]
    keys, nan = [], False
    for x in (a, b):
        magnitude = lax.bitcast_convert_type(x, jax_backend.SIGNED[layout.width]) & layout.magnitude_mask
        keys.append(jnp.where(magnitude == 0, 0, _keys(x, True)))
        nan = nan | (magnitude > layout.infinity)
    return jnp.where(nan, unordered, compare(*keys))


_COMPARISONS: dict[str, Rule] = {
    name: partial(_compared, getattr(jax.lax, name), name == "ne") for name in ("lt", "le", "gt", "ge", "eq", "ne")
}
