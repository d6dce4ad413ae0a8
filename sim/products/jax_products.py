"""Products of two arrays whose operands are quantized, forward and backward, in JAX.

One `jax.custom_vjp` serves linear layers, batched products and convolutions, under jit, grad, vmap, scan, remat and
shard_map. It is a pure function: seed, step and what earlier steps left come in as arrays, and what this step leaves
goes out as the cotangent of the latter.
"""

from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from ...emulate.units.accumulator import Accumulator
from ...emulate.units.matmul import matmul
from ..recipes.operands import Operand
from .floats import vanishes
from .jax_floats import FLOATS
from .jax_operands import (
    OperandData,
    Spec,
    estimated,
    first_size,
    largest_of,
    quantized,
    reads_values,
    rotated,
    step_gradient,
)
from .jax_shards import alike, largest_of_shards

Kind: TypeAlias = tuple[Any, ...]
"""What product: ('linear',), ('matmul',), or ('convolution', strides, padding as (low, high) pairs, lhs_dilation,
rhs_dilation, groups)."""


class Static(NamedTuple):
    """What is static about a product.

    Args:
        kind: see `Kind`.
        specs: the six operands.
        unit: settings of an accumulator as (name, value) pairs; empty for XLA's own product.
        precision: as `lax.dot_general` takes it.
        refusal: what is wrong with the shapes of the backward products; they are refused with it. Empty for nothing.
    """

    kind: Kind
    specs: tuple[Spec, ...]
    unit: tuple[Any, ...]
    precision: Any
    refusal: str


class Random(NamedTuple):
    """Where random words come from: (2,) uint32 seed, () step, () number of the product; the transforms' too.

    And what of the six operands is data; None for those that are not.
    """

    seed: jax.Array
    step: jax.Array
    call: jax.Array
    formats: tuple[OperandData | None, ...]


class Sizes(NamedTuple):
    """(2,) step sizes that are trained, and what to take in the place of zeros."""

    given: jax.Array
    first: jax.Array

    def taken(self) -> jax.Array:
        """The step sizes of this call."""
        return jnp.where(vanishes(FLOATS, self.given), self.first, self.given)


class Kept(NamedTuple):
    """What backward reads of forward; None where it does not."""

    a: Any
    b: Any
    a_values: Any
    b_values: Any
    a_scale: Any
    b_scale: Any
    random: Random
    sizes: Any
    largest: Any
    seen: Any


def product(a: jax.Array, b: jax.Array, static: Static) -> jax.Array:
    """The forward product of quantized operands."""
    kind = static.kind
    if kind[0] == "convolution":
        return _convolution(a, b, static)
    return _matmul(a, b.T if kind[0] == "linear" else b, static)


def _matmul(a: jax.Array, b: jax.Array, static: Static) -> jax.Array:
    """(..., m, k) times (..., k, n) of equal batch axes, by XLA or in an emulated unit."""
    if static.unit:
        return matmul(a, b, accumulator=Accumulator(**dict(static.unit)), out_dtype=a.dtype)
    batch = tuple(range(a.ndim - 2))
    dimensions = (((a.ndim - 1,), (b.ndim - 2,)), (batch, batch))
    return lax.dot_general(a, b, dimensions, precision=static.precision)


def _convolution(a: jax.Array, b: jax.Array, static: Static) -> jax.Array:
    _, strides, padding, lhs_dilation, rhs_dilation, groups = static.kind
    return lax.conv_general_dilated(
        a, b, strides, padding, lhs_dilation, rhs_dilation, feature_group_count=groups, precision=static.precision
    )  # fmt: skip


def data_gradient(e: jax.Array, b: jax.Array, a: Any, static: Static) -> jax.Array:
    """The gradient of the first operand: dgrad. Of `a` only shape and dtype are read."""
    if static.kind[0] == "convolution":
        (found,) = jax.linear_transpose(lambda x: _convolution(x, b, static), a)(e)
        return found
    return _matmul(e, b if static.kind[0] == "linear" else jnp.matrix_transpose(b), static)


def weight_gradient(e: jax.Array, a: jax.Array, b: Any, static: Static) -> jax.Array:
    """The gradient of the second operand: wgrad. Of `b` only shape and dtype are read."""
    if static.kind[0] == "convolution":
        (found,) = jax.linear_transpose(lambda w: _convolution(a, w, static), b)(e)
        return found
    if static.kind[0] == "linear":
        return _matmul(jnp.matrix_transpose(e), a, static)
    return _matmul(jnp.matrix_transpose(a), e, static)


def _forward(static: Static, a: Any, b: Any, random: Random, sizes: Any, largest: Any) -> tuple[Any, Kept]:
    """The product, and what backward reads of it."""
    first, second = (Operand(*spec) for spec in static.specs[:2])
    states = _states(static.specs, None if sizes is None else sizes.taken(), largest)
    seed, step, call, (a_data, b_data, *_) = random
    a_rotated = rotated(a, static.specs[0], seed, step, data=a_data)
    b_rotated = rotated(b, static.specs[1], seed, step, data=b_data)
    a_values, a_scale = quantized(a_rotated, static.specs[0], seed, step, states[0], call, a_data)
    b_values, b_scale = quantized(b_rotated, static.specs[1], seed, step, states[1], call, b_data)
    found = _unscaled(product(a_values, b_values, static), first, second)
    a_read, b_read = reads_values(first, a_scale, a_data), reads_values(second, b_scale, b_data)
    a_taken, b_taken = (Operand(*static.specs[k]).quantized for k in (5, 3))
    kept = Kept(
        a if not a_taken or a_read else None,
        b if not b_taken or b_read else None,
        a_values if a_taken or a_read else None,
        b_values if b_taken or b_read else None,
        a_scale,
        b_scale,
        random,
        sizes,
        largest,
        None if largest is None else [_seen(t, of) for t, of in zip((a_rotated, b_rotated), (first, second))],
    )
    return found, kept


def _seen(t: jax.Array, of: Operand) -> jax.Array:
    return largest_of(t) if of.fmt and of.scaling[0] == "delayed" else jnp.zeros((), jnp.float32)


def _states(specs: tuple[Spec, ...], sizes: Any, largest: Any) -> list[Any]:
    """Of each operand what earlier steps left: a largest magnitude, or a step size."""
    names = [Operand(*spec).scaling[0] for spec in specs]
    given = {"learned": sizes, "delayed": largest}
    return [
        None if given.get(name) is None or (name == "learned" and k > 1) else given[name][k]
        for k, name in enumerate(names)
    ]


def _unscaled(found: jax.Array, first: Operand, second: Operand) -> jax.Array:
    """The product without the prescales of its operands."""
    prescale = first.prescale * second.prescale
    return found if prescale == 1.0 else found / lax.optimization_barrier(jnp.full_like(found, prescale))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(static: Static, a: Any, b: Any, random: Random, sizes: Any, largest: Any) -> jax.Array:
    return _forward(static, a, b, random, sizes, largest)[0]


def _fwd(static: Static, a: Any, b: Any, random: Random, sizes: Any, largest: Any) -> tuple[jax.Array, Kept]:
    if static.refusal:
        raise ValueError(static.refusal)
    return _forward(static, a, b, random, sizes, largest)


def _bwd(static: Static, kept: Kept, e: jax.Array) -> tuple[Any, ...]:
    specs, seen = static.specs, {}
    a_taken, b_taken = (Operand(*specs[k]).quantized for k in (5, 3))
    a_like, b_like = (
        t if t is not None else values for t, values in ((kept.a, kept.a_values), (kept.b, kept.b_values))
    )
    left, right = _backward_operands(static, kept, e, kept.b_values if b_taken else kept.b, 2, seen)
    gradient = _unscaled(data_gradient(left, right, a_like, static), Operand(*specs[2]), Operand(*specs[3]))
    found_a, step_a = _to_input(static, kept, gradient, 0, b_taken)
    left, right = _backward_operands(static, kept, e, kept.a_values if a_taken else kept.a, 4, seen)
    gradient = _unscaled(weight_gradient(left, right, b_like, static), Operand(*specs[4]), Operand(*specs[5]))
    found_b, step_b = _to_input(static, kept, gradient, 1, a_taken)
    found_sizes = found_seen = None
    if kept.sizes is not None:
        taught = jnp.stack([step_a, step_b]).astype(kept.sizes.given.dtype)
        found_sizes = Sizes(taught, jnp.zeros_like(kept.sizes.first))
    if kept.seen is not None:
        found_seen = largest_of_shards(jnp.stack([*kept.seen, *(seen[k] for k in range(2, 6))]), kept.largest)
    return found_a.astype(a_like.dtype), found_b.astype(b_like.dtype), None, found_sizes, found_seen


def _backward_operands(
    static: Static, kept: Kept, e: jax.Array, other: Any, k: int, seen: dict[int, jax.Array]
) -> list[jax.Array]:
    """Operands k and k + 1, of a backward product, rotated and quantized; their largest magnitudes into `seen`."""
    states, found = _states(static.specs, None, kept.largest), []
    seed, step, call, formats = kept.random
    for i, t in ((k, e), (k + 1, other)):
        turned = rotated(t, static.specs[i], seed, step, data=formats[i])
        seen[i] = _seen(turned, Operand(*static.specs[i]))
        found.append(quantized(turned, static.specs[i], seed, step, states[i], call, formats[i])[0])
    return found


def _to_input(static: Static, kept: Kept, gradient: jax.Array, k: int, turned: bool) -> tuple[jax.Array, jax.Array]:
    """The gradient of forward operand k, and of the step size it was rounded with.

    Args:
        gradient: of the operand, or, where `turned`, of the transformed one.
    """
    spec, of = static.specs[k], Operand(*static.specs[k])
    t, values, scale = ((kept.a, kept.a_values, kept.a_scale), (kept.b, kept.b_values, kept.b_scale))[k]
    seed, step, _, formats = kept.random
    turn = partial(rotated, spec=spec, seed=seed, step=step, data=formats[k])
    if not reads_values(of, scale, formats[k]):
        return turn(gradient, inverse=True) if turned else gradient, jnp.zeros(())
    inner = gradient if turned else turn(gradient)
    inside = turn(t)
    found = estimated(inner, inside, values, scale, spec, seed, step, formats[k])
    taught = jnp.zeros(())
    if scale is not None and of.scaling[0] == "learned":
        taught = step_gradient(inner, inside, values, scale, spec)
    return turn(found, inverse=True), taught


_product.defvjp(_fwd, _bwd)


def quantized_product(
    a: jax.Array,
    b: jax.Array,
    kind: Kind,
    specs: tuple[Spec, ...],
    seed: Any,
    step: Any,
    *,
    sizes: Any = None,
    starts: Any = None,
    largest: Any = None,
    unit: tuple[Any, ...] = (),
    call: Any = 0,
    precision: Any = None,
    refusal: str = "",
    formats: tuple[OperandData | None, ...] = (None,) * 6,
) -> jax.Array:
    """The product of two arrays, all six operands of forward and backward quantized.

    Args:
        a, b: as the kind of product takes them: x (..., m, k) and w (n, k) for 'linear', whose leading axes are one
            axis of tokens; (..., m, k) and (..., k, n) with equal batch axes for 'matmul'; x (n, c, *space) and
            w (o, c / groups, *kernel) of a convolution.
        kind: see `Kind`.
        specs: the six operands, see `operands.operands_of`.
        seed: (2,) uint32. step: () integer. call: number of the product among those of one seed and step. All three
            may be traced.
        sizes: (2,) step sizes of both forward operands that are trained, or None.
        starts: (2,) what to take where a size is 0, its gradient going to that 0; by default `initial_sizes`.
        largest: (6,) float32 largest magnitudes of earlier steps, for delayed scaling; 0 where there are none yet. Its
            cotangent is no derivative: it holds the largest finite magnitudes of this step.
            Inside of a loop pass one row for each turn, since cotangents of what turns have in common add up.
        unit: settings of an accumulator as (name, value) pairs; empty for XLA's own product.
        precision: as `jax.lax.dot_general` takes it.
        refusal: what is wrong with the shapes of the backward products, raised as a ValueError where they are taken.
        formats: what of each operand is data, in the place of what its spec says; None for nothing.

    Returns:
        The product in the dtype of `jax.lax.dot_general`. It has gradients in reverse mode; both backward products are
        computed with their operands quantized, and XLA leaves out what nothing reads. Members of a `jax.vmap` that
        share a seed draw random words of their own.
    """
    rows = a.reshape(-1, a.shape[-1]) if kind[0] == "linear" else a
    seed, step, call = (jnp.asarray(word).astype(jnp.uint32) for word in (seed, step, call))
    random = Random(seed, step, call, formats)
    if sizes is not None:
        first = initial_sizes(rows, b, specs) if starts is None else starts
        sizes = Sizes(sizes, first.astype(sizes.dtype))
    rows, b, sizes = alike(rows, b, sizes)
    found: Any = _product(Static(kind, specs, unit, precision, refusal), rows, b, random, sizes, largest)
    return found.reshape(*a.shape[:-1], b.shape[0]) if kind[0] == "linear" else found


def initial_sizes(a: jax.Array, b: jax.Array, specs: tuple[Spec, ...]) -> jax.Array:
    """(2,) float32 step sizes to begin with: 2 * mean |x| / sqrt(largest) of both forward operands.

    Source: arXiv:1902.08153, 2.1.
    """
    return jnp.stack([first_size(lax.stop_gradient(t), spec) for t, spec in zip((a, b), specs)])
