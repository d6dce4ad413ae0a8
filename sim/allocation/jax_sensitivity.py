"""How a JAX function of a pytree of parameters suffers if one array is quantized; see `sensitivity`.

`fisher_diagonal` and `hutchinson` are pure functions of their own, to be called under jit or over shards.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...emulate.quantize import quantize
from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.scaled import ScaledFormat
from ..costs.cost import stored_bits
from ..recipes.recipe import OPERANDS, Recipe
from .sensitivity import METRICS, SIGNS, chosen, named, table_of

Loss = Callable[[Any, Any], Any]

KNOWN = tuple(name for name in METRICS if name not in ("layer_error", "output_error"))


def fisher_diagonal(loss: Loss, params: Any, batch: Any) -> Any:
    """The diagonal of the empirical Fisher information: mean squares of the gradients of single examples.

    Args:
        loss: takes params and a batch, and returns the mean loss over it.
        params: a pytree of float arrays.
        batch: a pytree of arrays, whose first axes are the examples.

    Returns:
        A pytree like params, float32 or wider.

    Example:
        >>> fisher_diagonal(lambda w, x: (w * x).sum(), jnp.array(2.0), jnp.array([1.0, 3.0])).item()
        5.0
    """

    def squares(example: Any) -> Any:
        single = jax.tree.map(lambda leaf: leaf[None], example)
        return jax.tree.map(lambda g: jnp.square(_wide(g)), jax.grad(loss)(params, single))

    return jax.tree.map(lambda total: total.mean(0), jax.vmap(squares)(batch))


def hutchinson(loss: Loss, params: Any, batch: Any, *, seed: Any = 0, probes: int = 16) -> Any:
    """Samples of the trace of each array's block of the Hessian: v . H v of random signs v on all arrays at once.

    The mean over probes estimates the trace, their standard deviation over the square root of their number its error.
    The product with the Hessian is the derivative of the gradient along v (jvp of grad), so that no Hessian is formed.

    Args:
        loss, params, batch: as in `fisher_diagonal`.
        seed: an integer or key; the signs are those of torch models of the same arrays in the same order.
        probes: how many.

    Returns:
        A pytree like params of (probes,) arrays.

    Source: M. Hutchinson, Commun. Statist. Simula. 19(2), 1990.

    Example:
        >>> hutchinson(lambda w, x: (x * w**2).sum(), jnp.zeros(3), jnp.array([1.0, 2.0, 3.0]), probes=2).tolist()
        [12.0, 12.0]
    """
    leaves, tree = jax.tree.flatten(params)

    def sample(probe: Any) -> list[Any]:
        signs = [signs_like(leaf, seed, probe, stream) for stream, leaf in enumerate(leaves)]
        along = jax.tree.unflatten(tree, signs)
        bent = jax.jvp(lambda p: jax.grad(loss)(p, batch), (params,), (along,))[1]
        return [_wide(v * h).sum() for v, h in zip(signs, jax.tree.leaves(bent))]

    return jax.tree.unflatten(tree, jax.lax.map(sample, jnp.arange(probes)))


def signs_like(leaf: Any, seed: Any, probe: Any, stream: int) -> Any:
    """Random signs of the shape of an array, the same for every dtype and framework."""
    zeros = jnp.zeros(leaf.shape, jnp.float32)
    return quantize(zeros, SIGNS, rounding="stochastic", seed=seed, step=probe, stream=stream).astype(leaf.dtype)


def sensitivity(
    params: Any,
    loss: Loss,
    batches: list[Any],
    recipes: dict[str, Recipe],
    metrics: tuple[str, ...],
    names: Sequence[str] | None,
    *,
    seed: int,
    probes: int,
    fisher: str,
    chip: Any,
) -> Any:
    """See `sensitivity.sensitivity`."""
    if metrics == METRICS:
        metrics = KNOWN
    chosen(metrics, KNOWN)
    if chip is not None:
        raise ValueError("a pytree says nothing about its products, which seconds need; leave chip out")
    formats = {label: _format_of(label, recipe) for label, recipe in recipes.items()}
    arrays = arrays_of(params)
    graded = jax.jit(jax.value_and_grad(loss))
    base = _mean([graded(params, batch) for batch in batches])
    _check(base[0])
    means = _means(loss, params, batches, metrics, seed, probes, fisher)
    rows = {}
    for name in named(names, list(arrays)):
        for label, fmt in formats.items():
            leaf = arrays[name]
            changed = leaf if fmt is None else quantize(leaf, fmt, pad=True, axis=_axis(fmt), **_random(fmt, seed))
            row = _of_array(leaf, changed, means, name, metrics)
            if "loss" in metrics or "weight_divergence" in metrics:
                moved = _mean([graded(_with(params, name, changed), batch) for batch in batches])
                both = {"loss": float(moved[0] - base[0]), "weight_divergence": _divergence(params, base[1], moved[1])}
                row |= {metric: both[metric] for metric in both if metric in metrics}
            plain = 8 * leaf.dtype.itemsize * leaf.size
            row["bits"] = float(plain if fmt is None else stored_bits(fmt, tuple(leaf.shape), _axis(fmt)).total)
            rows[name, label] = row
    return table_of(rows)


def arrays_of(params: Any) -> dict[str, Any]:
    """The arrays of two and more axes of a pytree, by path: 'layers.0.kernel'.

    Raises:
        ValueError: none.
    """
    found = {
        _name(path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
        if isinstance(leaf, jax.Array) and leaf.ndim > 1 and jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    if not found:
        raise ValueError("expected a pytree with float arrays of two or more axes, or a torch.nn.Module; found none")
    return found


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") or "model"


def _with(params: Any, name: str, changed: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, leaf: changed if _name(path) == name else leaf, params)


def _format_of(label: str, recipe: Recipe) -> Any:
    """The format of a candidate's weights, or None of 'identity'."""
    others = [name for name in OPERANDS if name != "fprop_w" and getattr(recipe, name).fmt is not None]
    fmt = None if recipe.fprop_w.fmt is None else any_format(recipe.fprop_w.fmt)
    if others or recipe.fprop_w.transform or isinstance(fmt, ComplexFormat):
        raise ValueError(
            f"{label}: in JAX candidates are formats of weights, such as 'mxfp4'; recipes of other operands are for "
            "torch models"
        )
    return fmt


def _axis(fmt: Any) -> int | None:
    """Blocks along the inputs: the last axis but one of a kernel (inputs, outputs), as JAX's libraries store it."""
    return -2 if isinstance(fmt, ScaledFormat) and fmt.blocks.rest == 1 and len(fmt.blocks.axes) == 1 else None


def _random(fmt: Any, seed: int) -> dict[str, Any]:
    stochastic = isinstance(fmt, ScaledFormat) and fmt.rounding.startswith("stochastic")
    return {"seed": seed} if stochastic else {}


def _means(
    loss: Loss, params: Any, batches: list[Any], metrics: tuple[str, ...], seed: int, probes: int, fisher: str
) -> dict[str, dict[str, Any]]:
    """Fisher's diagonal and samples of traces, by path, over all batches."""
    found: dict[str, dict[str, Any]] = {}
    if "fisher" in metrics:
        squared = jax.jit(lambda p, batch: _squares(loss, p, batch, fisher))
        sizes = [jax.tree.leaves(batch)[0].shape[0] if fisher == "examples" else 1 for batch in batches]
        parts = [jax.tree.map(lambda x, n=n: x * n, squared(params, batch)) for batch, n in zip(batches, sizes)]
        found["fisher"] = arrays_of(jax.tree.map(lambda *xs: sum(xs) / sum(sizes), *parts))
    if "hessian" in metrics:
        sampled = jax.jit(lambda p, batch: hutchinson(loss, p, batch, seed=seed, probes=probes))
        samples = jax.tree.map(lambda *xs: sum(xs) / len(xs), *[sampled(params, batch) for batch in batches])
        flat = jax.tree_util.tree_flatten_with_path(samples)[0]
        found["hessian"] = {_name(path): leaf for path, leaf in flat}
    return found


def _squares(loss: Loss, params: Any, batch: Any, fisher: str) -> Any:
    if fisher == "examples":
        return fisher_diagonal(loss, params, batch)
    return jax.tree.map(lambda g: jnp.square(_wide(g)), jax.grad(loss)(params, batch))


def _of_array(
    leaf: Any, changed: Any, means: dict[str, dict[str, Any]], name: str, metrics: tuple[str, ...]
) -> dict[str, float]:
    moved = jnp.square(_wide(changed) - _wide(leaf))
    norm = float(jnp.square(_wide(leaf)).sum())
    row = {"parameters": float(leaf.size)}
    if "weight_error" in metrics:
        row["weight_error"] = float(moved.sum()) / norm if norm else 0.0
    if "fisher" in means:
        row["fisher"] = float((moved * means["fisher"][name]).sum())
    if "hessian" in means:
        samples = means["hessian"][name]
        trace, error = float(samples.mean()), float(samples.std(ddof=1)) / math.sqrt(samples.shape[0])
        row |= {"trace": trace, "trace_error": error, "hessian": trace / leaf.size * float(moved.sum())}
    return row


def _divergence(params: Any, before: Any, after: Any) -> float:
    """The sum of |g' - g| / |w| over all arrays of two and more axes; those that are all zero count nothing."""
    first, second = arrays_of(before), arrays_of(after)
    norms = {name: float(jnp.linalg.norm(_wide(leaf))) for name, leaf in arrays_of(params).items()}
    return math.fsum(
        float(jnp.linalg.norm(_wide(second[name]) - _wide(first[name]))) / norm for name, norm in norms.items() if norm
    )


def _mean(found: list[Any]) -> Any:
    return jax.tree.map(lambda *xs: sum(xs) / len(xs), *found)


def _wide(leaf: Any) -> Any:
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _check(loss: Any) -> None:
    if not math.isfinite(float(loss)):
        raise ValueError(f"the loss is {float(loss)}; expected a finite one")
