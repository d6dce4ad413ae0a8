"""JAX arrays in and out of the matrix unit, with straight-through gradients.

The NumPy path computes, called back by XLA while the program runs: under jit, grad, jvp, scan and vmap, on the CPU.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..layouts import LAYOUTS, Layout
from ..rounded.draws import Draws
from ..units.accumulator import Accumulator
from ..units.arrays import in_layout, product_of_arrays
from ..units.operands import Operand, Terms
from . import jax as plain
from .jax import dtype_name as dtype_name


def operand(name: str, x: jax.Array) -> jax.Array:
    """x, if it holds real floats; integers in a float dtype that holds them.

    Raises:
        TypeError: another dtype.
    """
    if jnp.issubdtype(x.dtype, jnp.integer):
        wide = jax.dtypes.canonicalize_dtype(np.float64)
        if x.dtype.itemsize > wide.itemsize // 2:
            raise TypeError(f"{name}: {wide} does not hold all of {x.dtype}; convert it with astype")
        x = x.astype(wide)
    try:
        found = plain.as_array(x)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    if dtype_name(found) not in LAYOUTS:
        raise TypeError(
            f"{name}: expected float16, bfloat16, float32 or float64, got {found.dtype}; convert it with astype"
        )
    return found


def terms(of: Operand, x: jax.Array, apart: bool) -> Terms:
    """x quantized; with elements and scales apart where asked for."""
    dtype = dtype_name(x)
    values, span = of.quantized(x, dtype), of.span(dtype, apart)
    if not apart:
        return Terms(values, span)
    wide = np.dtype("float64" if dtype == "float64" else "float32")

    def parts(x: Any) -> tuple[np.ndarray, ...]:
        elements, scales = of.parts(np.array(x))
        ones = np.ones(elements.shape) if scales is None else scales
        return elements.astype(wide), ones.astype(wide)

    shape = jax.ShapeDtypeStruct(x.shape, wide)
    elements, scales = _called(parts, (shape, shape), lax.stop_gradient(x))
    return Terms(values, span, elements, scales if of.scaled else None)


def windows(x: jax.Array, geometry: Any) -> jax.Array:
    """(n, c, *space, *kernel) what a kernel sees at every place, of x (n, c, *space) with zeros around it."""
    axes = len(geometry.kernel)
    found = jnp.pad(x, ((0, 0), (0, 0), *((pad, pad) for pad in geometry.padding)))
    for axis in reversed(range(axes)):
        starts = np.arange(geometry.space[axis]) * geometry.stride[axis]
        places = starts[:, None] + np.arange(geometry.kernel[axis]) * geometry.dilation[axis]
        found = jnp.take(found, jnp.asarray(places), axis=2 + axis)
    order = [2 + 2 * axis + part for part in (0, 1) for axis in range(axes)]
    return found.transpose(0, 1, *order)


def permute(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """x with its axes in that order."""
    return x.transpose(axes)


class _Job(NamedTuple):
    """What is static about a product: the unit, seed and step of its random words or None, the result's dtype."""

    unit: Accumulator
    noise: tuple[int, int] | None
    target: Layout


class _Factors(NamedTuple):
    """What is multiplied in the place of values: elements and scales, or None."""

    a: Any
    b: Any
    a_scales: Any
    b_scales: Any


def multiply(a: Terms, b: Terms, unit: Accumulator, draws: Draws | None, target: Layout) -> jax.Array:
    """The products of (..., m, k) and (..., k, n) arrays; the gradient is that of their exact product."""
    plain.require_x64(target)
    noise = None if draws is None else (draws.seed, draws.step)
    factors = _Factors(a.elements, b.elements, a.scales, b.scales)
    return _product(_Job(unit, noise, target), a.values, b.values, factors)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _product(job: _Job, a: jax.Array, b: jax.Array, factors: _Factors) -> jax.Array:
    def run(a: Any, b: Any, factors: _Factors) -> np.ndarray:
        first, second = np.array(a if factors.a is None else factors.a), np.array(b if factors.b is None else factors.b)
        left, right = (None if x is None else np.array(x) for x in (factors.a_scales, factors.b_scales))
        draws = None if job.noise is None else Draws(*job.noise)
        return in_layout(product_of_arrays(first, second, left, right, job.unit, draws), job.target)

    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    return _called(run, jax.ShapeDtypeStruct(shape, jnp.dtype(job.target.name)), a, b, factors)


@_product.defjvp
def _(job: _Job, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
    """ta b + a tb, in float32 or float64."""
    (a, b, factors), (a_tangent, b_tangent, _) = primals, tangents
    found = _product(job, a, b, factors)
    wide = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    a, b, a_tangent, b_tangent = (x.astype(wide) for x in (a, b, a_tangent, b_tangent))
    return found, (jnp.matmul(a_tangent, b) + jnp.matmul(a, b_tangent)).astype(found.dtype)


def _called(function: Any, results: Any, *arguments: Any) -> Any:
    """A function of NumPy arrays, one member of a map after the other."""
    return jax.pure_callback(function, results, *arguments, vmap_method="sequential")
