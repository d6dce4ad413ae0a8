"""Products of jaxprs in the shapes that quantized ones take, and their results as the jaxpr has them.

A product without batch axes is linear, x (m, k) times w (n, k) transposed, with its axes flattened: those contracted in
the order of its dimension numbers. With batch axes it is a matrix product a (..., m, k) times b (..., k, n).
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..products.jax_products import Kind


class Canonical(NamedTuple):
    """A product in canonical form.

    Args:
        a, b: its operands.
        kind: as `jax_products.Kind`.
        back: takes its result to that of the jaxpr.
    """

    a: jax.Array
    b: jax.Array
    kind: Kind
    back: Callable[[jax.Array], jax.Array]


def dot_general(params: Any, lhs: jax.Array, rhs: jax.Array, weight: int | None, kind: str) -> Canonical:
    """A forward product.

    Args:
        params: of the equation.
        weight: which operand is the weight, and so comes second; None for neither.
        kind: 'linear' or 'matmul'.
    """
    swapped = weight == 0
    first, second = (1, 0) if swapped else (0, 1)
    a = _matrix(params, (lhs, rhs)[first], first, free_first=True)
    b = _matrix(params, (lhs, rhs)[second], second, free_first=kind == "linear")
    return Canonical(a, b, (kind,), _back(params, lhs, rhs, swapped))


def cotangent(params: Any, lhs: jax.Array, rhs: jax.Array, side: int, to_data: bool) -> Canonical:
    """A product of a cotangent E and another operand: a is E, b the other one, as backward products have them.

    For dgrad E (..., m, n) and the other one w (n, k), or b (..., k, n) with batch axes; for wgrad E (..., m, n) and
    x or a (..., m, k). Its result is dX (..., m, k), dW (n, k), or dB (..., k, n).

    Args:
        side: which operand is E.
        to_data: whether it is dgrad.
    """
    (_, _), (batch, _) = params["dimension_numbers"]
    both = (lhs, rhs)
    e = _matrix(params, both[side], side, free_first=to_data)
    other = _matrix(params, both[1 - side], 1 - side, free_first=to_data and bool(batch))
    other_first = bool(batch) and not to_data  # dB (k, n) has the rows of the other one
    swapped = other_first if side == 0 else not other_first
    return Canonical(e, other, ("matmul",) if batch else ("linear",), _back(params, lhs, rhs, swapped))


def _axes(params: Any, ndim: int, side: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Batch, free and contracted axes of an operand."""
    contracted, batch = (tuple(each[side]) for each in params["dimension_numbers"])
    return batch, tuple(k for k in range(ndim) if k not in batch and k not in contracted), contracted


def _matrix(params: Any, t: jax.Array, side: int, free_first: bool) -> jax.Array:
    """(*batch, free, contracted), or the last two exchanged."""
    batch, free, contracted = _axes(params, t.ndim, side)
    last = (free, contracted) if free_first else (contracted, free)
    shape = [t.shape[k] for k in batch] + [prod(t.shape[k] for k in axes) for axes in last]
    return t.transpose((*batch, *last[0], *last[1])).reshape(shape)


def second_shape(params: Any, shapes: Sequence[tuple[int, ...]], weight: int | None, kind: str) -> tuple[int, ...]:
    """The shape of the second factor: w (n, k), or b (*batch, k, n)."""
    side = 1 if weight is None else weight
    batch, free, contracted = _axes(params, len(shapes[side]), side)
    last = (contracted, free) if kind == "matmul" else (free, contracted)
    lengths = [prod(shapes[side][k] for k in axes) for axes in last]
    return (*(shapes[side][k] for k in batch), *lengths)


def _back(params: Any, lhs: jax.Array, rhs: jax.Array, swapped: bool) -> Callable[[jax.Array], jax.Array]:
    """What takes (*batch, free, free) to the axes of the jaxpr; `swapped` where those of rhs come first."""
    batch, left, _ = _axes(params, lhs.ndim, 0)
    _, right, _ = _axes(params, rhs.ndim, 1)
    kept, left, right = ([t.shape[k] for k in axes] for t, axes in ((lhs, batch), (lhs, left), (rhs, right)))

    def back(y: jax.Array) -> jax.Array:
        if not swapped:
            return y.reshape(*kept, *left, *right)
        y = y.reshape(*kept, *right, *left)
        n, r, m = len(kept), len(right), len(left)
        return y.transpose((*range(n), *range(n + r, n + r + m), *range(n, n + r)))

    return back


def convolution(params: Any, lhs: jax.Array, rhs: jax.Array) -> Canonical:
    """A convolution with images (n, c, ...) and kernels (o, i, ...)."""
    numbers = params["dimension_numbers"]
    kind = (
        "convolution",
        tuple(params["window_strides"]),
        tuple(tuple(pair) for pair in params["padding"]),
        tuple(params["lhs_dilation"]),
        tuple(params["rhs_dilation"]),
        params["feature_group_count"],
    )
    order = sorted(range(lhs.ndim), key=numbers.out_spec.__getitem__)
    return Canonical(
        lhs.transpose(numbers.lhs_spec), rhs.transpose(numbers.rhs_spec), kind, lambda y: y.transpose(order)
    )  # fmt: skip


def widened(operands: Sequence[jax.Array], preferred: Any) -> list[jax.Array]:
    """Operands of one dtype, wide enough that their product has at least the preferred one: values do not change."""
    dtype = jnp.result_type(*operands)
    if preferred is not None:
        dtype = jnp.promote_types(dtype, preferred)
    return [t.astype(dtype) for t in operands]


def placed(y: jax.Array, params: Any, dtype: Any) -> jax.Array:
    """The result in the dtype and sharding of the equation."""
    sharding = params.get("out_sharding")
    y = y.astype(dtype)
    return y if sharding is None else jax.sharding.reshard(y, sharding)
