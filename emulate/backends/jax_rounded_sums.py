"""Sums and sums of products in JAX, every operation rounded, in the orders of `rounded.reductions`.

Loops run along the terms, each operation on all sums at once, with the random words that NumPy's would take.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .jax_rounded_run import Run


def total(run: Run, terms: Any, name: str = "add") -> Any:
    """(n, ...) terms added, or factors multiplied, along the first axis; products one after the other."""
    if not terms.shape[0]:
        return jnp.full(terms.shape[1:], float(name == "multiply"), terms.dtype)
    if run.order == "pairwise" and name == "add":
        return _tree(run, terms)
    return _one_by_one(run, terms, name, keep=False)[0]


def running(run: Run, terms: Any, name: str = "add") -> Any:
    """(n, ...) the sums, or products, of the first 1, 2, ... terms."""
    if not terms.shape[0]:
        return terms
    return jnp.concatenate([terms[:1], _one_by_one(run, terms, name, keep=True)[1]])


def _one_by_one(run: Run, terms: Any, name: str, keep: bool) -> tuple[Any, Any]:
    """The last of x[0], rnd(x[0] + x[1]), ..., and all but the first."""

    def body(found: Any, term: Any) -> tuple[Any, Any]:
        found = run.later(name, (found, term[0]), term[1])
        return found, found if keep else None

    count = terms.shape[0] - 1
    found = lax.scan(body, terms[0], (terms[1:], jnp.arange(count, dtype=jnp.uint32)))
    run.take(count)
    return found


def _tree(run: Run, terms: Any) -> Any:
    while terms.shape[0] > 1:
        pairs = terms.shape[0] // 2
        sums = run.operate("add", terms[0 : 2 * pairs : 2], terms[1 : 2 * pairs : 2])
        terms = jnp.concatenate([sums, terms[2 * pairs :]]) if terms.shape[0] % 2 else sums
    return terms[0]


def products(run: Run, a: Any, b: Any) -> Any:
    """(..., m, k) times (..., k, n) with the same batch axes: (..., m, n)."""
    if not a.shape[-1]:
        return jnp.zeros((*a.shape[:-1], b.shape[-1]), a.dtype)
    a, b = jnp.moveaxis(a, -1, 0)[..., None], jnp.moveaxis(b, -2, 0)[..., None, :]
    if run.order == "pairwise":
        return _product_tree(run, a, b)

    def body(found: Any, term: Any) -> tuple[Any, None]:
        left, right, k = term
        return run.later("add", (found, run.later("multiply", (left, right), 2 * k)), 2 * k + 1), None

    start = jnp.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]), a.dtype)
    found, _ = lax.scan(body, start, (a, b, jnp.arange(a.shape[0], dtype=jnp.uint32)))
    run.take(2 * a.shape[0])
    return found


def _product_tree(run: Run, a: Any, b: Any) -> Any:
    """The pairwise sum of (k, ...) products; k times the memory of the result."""
    of_products, of_levels = _tree_steps(a.shape[0])
    terms = _each(run, "multiply", a, b, of_products)
    for steps in of_levels:
        pairs = 2 * len(steps)
        terms = jnp.concatenate([_each(run, "add", terms[0:pairs:2], terms[1:pairs:2], steps), terms[pairs:]])
    run.take(2 * a.shape[0] - 1)
    return terms[0]


def _each(run: Run, name: str, a: Any, b: Any, steps: np.ndarray) -> Any:
    """An operation on each member of the first axis, which takes a step of its own where there are random words."""
    if not run.random:
        return run.later(name, (a, b), 0)
    return jax.vmap(lambda x, y, step: run.later(name, (x, y), step))(a, b, jnp.asarray(steps, jnp.uint32))


def _tree_steps(count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which step each product, and each sum of every level, takes where sums are formed as soon as they can be."""
    k = np.arange(count)
    before = 2 * k - np.bitwise_count(k)  # operations before the product k: k products, and their finished sums
    levels, late, nodes, level = [], int(2 * count - np.bitwise_count(np.int64(count))), count, 0
    while nodes > 1:
        last = (np.arange(nodes // 2) + 1) * (2 << level) - 1
        steps = before[np.minimum(last, count - 1)] + 1 + level
        if last[-1] >= count:  # unfinished subtrees are joined at the end
            steps[-1], late = late, late + 1
        levels.append(steps)
        nodes, level = nodes - nodes // 2, level + 1
    return before, levels


# ---------------------------------------------------------------- the primitives


def reduce_sum(run: Run, x: Any, *, axes: tuple[int, ...], name: str = "add", **_: Any) -> Any:
    """Over axes, in row-major order of the elements."""
    kept = [k for k in range(x.ndim) if k not in axes]
    moved = jnp.transpose(x, (*sorted(axes), *kept))
    count = int(np.prod([x.shape[k] for k in axes]))
    return total(run, moved.reshape(count, *(x.shape[k] for k in kept)), name)


def cumulative(run: Run, x: Any, *, axis: int, reverse: bool, name: str = "add") -> Any:
    """Along an axis, from either end."""
    terms = jnp.moveaxis(x, axis, 0)
    terms = running(run, terms[::-1] if reverse else terms, name)
    return jnp.moveaxis(terms[::-1] if reverse else terms, 0, axis)


def dot_general(run: Run, a: Any, b: Any, *, dimension_numbers: Any, **_: Any) -> Any:
    """Batch axes, those of a, those of b; several contracted axes in the order given, the last one fastest."""
    (summed_a, summed_b), (batch_a, batch_b) = dimension_numbers
    rest_a = [k for k in range(a.ndim) if k not in (*summed_a, *batch_a)]
    rest_b = [k for k in range(b.ndim) if k not in (*summed_b, *batch_b)]
    batch, count = [a.shape[k] for k in batch_a], int(np.prod([a.shape[k] for k in summed_a]))
    m, n = ([x.shape[k] for k in rest] for x, rest in ((a, rest_a), (b, rest_b)))
    a = a.transpose(*batch_a, *rest_a, *summed_a).reshape(*batch, int(np.prod(m)), count)
    b = b.transpose(*batch_b, *summed_b, *rest_b).reshape(*batch, count, int(np.prod(n)))
    return products(run, a, b).reshape(*batch, *m, *n)


def convolve(
    run: Run, x: Any, w: Any, *, window_strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any,
    dimension_numbers: Any, feature_group_count: int, batch_group_count: int, **_: Any,
) -> Any:  # fmt: skip
    """A convolution as a matrix product: terms by input channel, then by place in the window, the last axis fastest."""
    numbers, groups = dimension_numbers, feature_group_count * batch_group_count
    x, w = x.transpose(numbers.lhs_spec), w.transpose(numbers.rhs_spec)
    if batch_group_count > 1:  # groups of samples, each with features of its own, are groups of channels
        x = x.reshape(batch_group_count, -1, *x.shape[1:]).swapaxes(0, 1)
        x = x.reshape(x.shape[0], -1, *x.shape[3:])
    samples, features = x.shape[0], w.shape[0]
    edges = [(low, high, by - 1) for (low, high), by in zip(padding, lhs_dilation)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * 2 + edges)
    seen = _windows(x, w.shape[2:], window_strides, rhs_dilation)
    places = seen.shape[3:]
    seen = jnp.moveaxis(seen, 0, 2).reshape(groups, -1, samples * int(np.prod(places)))
    found = products(run, w.reshape(groups, features // groups, -1), seen)
    return found.reshape(features, samples, *places).swapaxes(0, 1).transpose(np.argsort(numbers.out_spec))


def _windows(x: Any, window: Any, strides: Any, dilation: Any) -> Any:
    """(n, c, places in the window, outputs...) of (n, c, ...)."""
    rank = len(window)
    for axis, (size, step, by) in enumerate(zip(window, strides, dilation)):
        length = x.shape[2 + 2 * axis]
        outputs = np.arange(max((length - (size - 1) * by - 1) // step + 1, 0)) * step
        x = jnp.take(x, np.arange(size)[:, None] * by + outputs, axis=2 + 2 * axis, mode="clip")
    x = x.transpose(0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2))
    return x.reshape(*x.shape[:2], int(np.prod(window)), *x.shape[2 + rank :])


def window_sum(
    run: Run, x: Any, *, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
    window_dilation: Any,
) -> Any:  # fmt: skip
    """Sums over windows, their elements in row-major order, +0 where they reach beyond the array."""
    edges = [(low, high, by - 1) for (low, high), by in zip(padding, base_dilation)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), edges)[None, None]
    return total(run, _windows(padded, window_dimensions, window_strides, window_dilation)[0, 0])


def scatter_add(run: Run, x: Any, indices: Any, updates: Any, *, dimension_numbers: Any, mode: Any, **_: Any) -> Any:
    """Windows of updates added one after the other, in row-major order of their indices."""
    d = dimension_numbers
    batch_axes = [k for k in range(updates.ndim) if k not in d.update_window_dims]
    index_shape = indices.shape[:-1]
    count = int(np.prod(index_shape))
    updates = updates.transpose(*batch_axes, *d.update_window_dims)
    kept = [k for k in range(x.ndim) if k not in (*d.inserted_window_dims, *d.operand_batching_dims)]
    window = iter(updates.shape[len(batch_axes) :])
    sizes = [next(window) if k in kept else 1 for k in range(x.ndim)]
    starts = [jnp.zeros(count, jnp.int32)] * x.ndim
    for place, axis in enumerate(d.scatter_dims_to_operand_dims):
        starts[axis] = indices[..., place].reshape(count).astype(jnp.int32)
    for axis, along in zip(d.operand_batching_dims, d.scatter_indices_batching_dims):
        starts[axis] = lax.broadcasted_iota(jnp.int32, index_shape, along).reshape(count)
    limits = jnp.array([length - size for length, size in zip(x.shape, sizes)], jnp.int32)
    terms = updates.reshape(count, *sizes)
    clip = mode == lax.GatherScatterMode.CLIP

    def body(found: Any, term: Any) -> tuple[Any, None]:
        update, start, k = term
        inside = jnp.all((start >= 0) & (start <= limits)) | clip
        start = jnp.clip(start, 0, limits)
        old = lax.dynamic_slice(found, start, sizes)
        new = jnp.where(inside, run.later("add", (old, update), k), old)
        return lax.dynamic_update_slice(found, new, start), None

    found = lax.scan(body, x, (terms, jnp.stack(starts, 1), jnp.arange(count, dtype=jnp.uint32)))
    run.take(count)
    return found[0]
