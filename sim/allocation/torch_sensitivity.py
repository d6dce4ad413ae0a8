"""How a torch model suffers if one layer is quantized; see `sensitivity`."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..costs.accelerators import roofline, unit_for
from ..costs.cost import Gemm, bit_operations, stored_bits
from ..costs.torch_gemms import plain_attention, recorded
from ..recipes.operands import Operand, operands_of
from ..recipes.recipe import Recipe
from ..recipes.seeds import seed_words
from ..wrapping.torch_survey import kind_of
from ..wrapping.torch_wrapping import dequantize_, inner, quantize_
from .sensitivity import named, table_of
from .torch_curvature import Loss, fisher_diagonal, gradients_of, hutchinson, scalar
from .torch_weights import Layer, layers_of, quantized_weight


class Base(NamedTuple):
    """What the model does as it is, batch by batch.

    Args:
        losses: of each batch. outputs: of the model; layer_outputs: of each layer, by name.
        gradients: of all weights, the mean over batches; none where nobody asks.
    """

    losses: list[float]
    outputs: list[torch.Tensor]
    layer_outputs: dict[str, list[torch.Tensor]]
    gradients: list[torch.Tensor]


_DTYPES = {torch.float64: "binary32", torch.float32: "binary32", torch.float16: "binary16"}
"""What products that are not quantized multiply, for bit operations and times; float64 counts as binary32."""


def sensitivity(
    model: Any,
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
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module or a pytree of JAX arrays, got {type(model).__name__}")
    root = inner(model)
    known = layers_of(root)
    layers = [known[name] for name in named(names, list(known))]
    words = torch.tensor(seed_words(seed, "sensitivity"), dtype=torch.int64)
    with _evaluated(root):
        products = recorded(root, lambda: loss(model, batches[0]))
        base = _run(model, root, loss, batches, layers, metrics)
        squares = fisher_diagonal(model, loss, batches, layers, fisher) if "fisher" in metrics else {}
        traces = hutchinson(model, loss, batches, layers, probes, seed) if "hessian" in metrics else {}
        rows = {}
        for layer in layers:
            for label, recipe in recipes.items():
                row = _of_weights(layer, recipe, words, squares.get(layer.name), traces.get(layer.name), metrics)
                row |= _of_runs(model, root, loss, batches, layer, recipe, base, metrics, seed)
                row |= _costs(layer, recipe, products, chip)
                rows[layer.name, label] = row
    return table_of(rows)


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """As `model.eval()` and back, with attention that can be derived twice."""
    training = [module for module in model.modules() if module.training]
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.eval()
        for p, _ in wanted:
            p.requires_grad_(p.is_floating_point())
        with plain_attention():
            yield
    finally:
        for module in training:
            module.training = True
        for p, before in wanted:
            p.requires_grad_(before)


def _of_weights(
    layer: Layer,
    recipe: Recipe,
    words: torch.Tensor,
    squares: dict[str, torch.Tensor] | None,
    trace: tuple[float, float] | None,
    metrics: tuple[str, ...],
) -> dict[str, float]:
    wide = torch.float64
    errors, size, norm, weighted, count = 0.0, 0.0, 0.0, 0.0, 0
    for name, p in layer.weights.items():
        moved = (quantized_weight(p, layer, recipe, words).to(wide) - p.detach().to(wide)).square()
        errors, norm, count = (
            errors + float(moved.sum()),
            norm + float(p.detach().to(wide).square().sum()),
            count + p.numel(),
        )
        weighted += float((moved * squares[name].to(wide)).sum()) if squares else 0.0
    found = {"parameters": float(count)}
    if "weight_error" in metrics:
        found["weight_error"] = errors / norm if norm else 0.0
    if "fisher" in metrics:
        found["fisher"] = weighted
    if trace is not None:
        size = trace[0] / count
        found |= {"trace": trace[0], "trace_error": trace[1], "hessian": size * errors}
    return found


def _run(
    model: Any, root: nn.Module, loss: Loss, batches: list[Any], layers: Sequence[Layer], metrics: tuple[str, ...]
) -> Base:
    """The model over all batches."""
    outputs: list[torch.Tensor] = []
    own: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in layers}
    handles = []
    if "output_error" in metrics:
        handles.append(root.register_forward_hook(_keeping(outputs)))
    if "layer_error" in metrics:
        handles += [layer.module.register_forward_hook(_keeping(own[layer.name])) for layer in layers]
    graded = "weight_divergence" in metrics
    weights = _all_weights(root) if graded else []
    losses, sums = [], [torch.zeros_like(p, dtype=torch.float64) for p in weights]
    try:
        for batch in batches:
            with torch.set_grad_enabled(graded):
                found = scalar(loss(model, batch))
            losses.append(float(found.detach()))
            for total, g in zip(sums, gradients_of(found, weights) if graded else []):
                total += g.to(torch.float64) / len(batches)
    finally:
        for handle in handles:
            handle.remove()
    return Base(losses, outputs, own, sums)


def _keeping(into: list[torch.Tensor]) -> Callable[..., None]:
    def hook(module: Any, args: Any, found: Any) -> None:
        leaves = [t for t in pytree.tree_leaves(found) if isinstance(t, torch.Tensor) and t.is_floating_point()]
        into.extend(t.detach().clone() for t in leaves)

    return hook


def _all_weights(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.dim() > 1 and p.is_floating_point()]


def _of_runs(
    model: Any,
    root: nn.Module,
    loss: Loss,
    batches: list[Any],
    layer: Layer,
    recipe: Recipe,
    base: Base,
    metrics: tuple[str, ...],
    seed: int,
) -> dict[str, float]:
    wanted = [name for name in ("layer_error", "output_error", "loss", "weight_divergence") if name in metrics]
    if not wanted or not recipe.active:
        return dict.fromkeys(wanted, 0.0)
    quantize_(root, [(layer.pattern, recipe)], seed=seed)
    try:
        found = _run(model, root, loss, batches, [layer], metrics)
    finally:
        dequantize_(root)
    measured = {
        "layer_error": lambda: _error(base.layer_outputs[layer.name], found.layer_outputs[layer.name]),
        "output_error": lambda: _error(base.outputs, found.outputs),
        "loss": lambda: (math.fsum(found.losses) - math.fsum(base.losses)) / len(batches),
        "weight_divergence": lambda: _divergence(_all_weights(root), base.gradients, found.gradients),
    }
    return {name: measured[name]() for name in wanted}


def _error(before: list[torch.Tensor], after: list[torch.Tensor]) -> float:
    """|after - before|**2 / |before|**2 over all of them."""
    wide = torch.float64
    norm = sum(float(t.to(wide).square().sum()) for t in before)
    error = sum(float((b.to(wide) - a.to(wide)).square().sum()) for a, b in zip(before, after))
    return error / norm if norm else 0.0


def _divergence(weights: list[nn.Parameter], before: list[torch.Tensor], after: list[torch.Tensor]) -> float:
    """The sum of |g' - g| / |w|; weights that are all zero count nothing."""
    norms = [float(p.detach().to(torch.float64).norm()) for p in weights]
    return math.fsum(float((b - a).norm()) / norm for a, b, norm in zip(before, after, norms) if norm)


def _costs(layer: Layer, recipe: Recipe, products: Sequence[Gemm], chip: Any) -> dict[str, float]:
    """Bits of the weights, and bit operations and seconds of the layer's forward products of a batch."""
    spec = Operand(*operands_of(recipe, kind_of(layer.module))[1])
    dtype = _DTYPES.get(next(iter(layer.weights.values())).dtype, "bfloat16")
    along = spec.along or None
    weights = list(layer.weights.values())
    if spec.fmt:
        bits = sum(stored_bits(spec.fmt, tuple(p.shape), along, matrix=True).total for p in weights)
    else:
        bits = sum(8 * p.element_size() * p.numel() for p in weights)
    found = {"bits": float(bits)}
    first, second = recipe.fprop_x.fmt or dtype, recipe.fprop_w.fmt or dtype
    own = [each for each in products if each.name == layer.name or each.name.startswith(f"{layer.name}.product")]
    found["bitops"] = float(sum(each.times * bit_operations(first, second, each.m, each.k, each.n) for each in own))
    if chip is not None:
        plain = None if recipe.fprop_x.fmt and recipe.fprop_w.fmt else unit_for(chip, "bfloat16", "bfloat16")
        found["seconds"] = float(
            sum(each.times * roofline(chip, first, second, each.m, each.k, each.n, unit=plain).seconds for each in own)
        )
    return found
