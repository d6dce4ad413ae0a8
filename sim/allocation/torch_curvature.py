"""Second-order measures of a torch model's weights: the diagonal of the Fisher information, traces of the Hessian."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...emulate.quantize import quantize
from .sensitivity import SIGNS
from .torch_weights import Layer

Loss = Callable[[Any, Any], Any]


def scalar(found: Any) -> torch.Tensor:
    """A loss.

    Raises:
        TypeError: no scalar. ValueError: one that is not finite.
    """
    if not isinstance(found, torch.Tensor) or found.numel() != 1:
        what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise TypeError(f"expected loss(model, batch) to return a scalar tensor, got {what}; return its mean")
    if not torch.isfinite(found):
        raise ValueError(f"the loss is {float(found.detach())}; expected a finite one (see hu.check_finite)")
    return found.reshape(())


def fisher_diagonal(
    model: Any, loss: Loss, batches: list[Any], layers: Sequence[Layer], of: str
) -> dict[str, dict[str, torch.Tensor]]:
    """Mean squares of gradients of each weight, by layer and name: over examples, or over batches.

    Raises:
        ValueError: batches that cannot be cut into examples.
    """
    weights = [p for layer in layers for p in layer.weights.values()]
    sums, count = [torch.zeros_like(p, dtype=torch.float64) for p in weights], 0
    for batch in batches:
        for part in _examples(batch) if of == "examples" else [batch]:
            grads = torch.autograd.grad(scalar(loss(model, part)), weights, allow_unused=True)
            for total, g in zip(sums, grads):
                total += 0 if g is None else g.to(torch.float64).square()
            count += 1
    found = iter(total / count for total in sums)
    return {layer.name: {name: next(found) for name in layer.weights} for layer in layers}


def _examples(batch: Any) -> list[Any]:
    """A batch cut along the first axis of all its tensors."""
    leaves, tree = pytree.tree_flatten(batch)
    lengths = {t.shape[0] for t in leaves if isinstance(t, torch.Tensor) and t.dim()}
    if len(lengths) != 1:
        raise ValueError(
            "expected tensors of one length along their first axis, to cut a batch into examples, got "
            f"{sorted(lengths)}; pass fisher='batches'"
        )
    cut = [
        [t[k : k + 1] if isinstance(t, torch.Tensor) and t.dim() else t for t in leaves] for k in range(lengths.pop())
    ]
    return [pytree.tree_unflatten(each, tree) for each in cut]


def signs_like(p: torch.Tensor, seed: int, probe: int, stream: int) -> torch.Tensor:
    """Random signs of the shape of a tensor, the same for every dtype, device and framework."""
    zeros = torch.zeros(p.shape, dtype=torch.float32)
    return quantize(zeros, SIGNS, rounding="stochastic", seed=seed, step=probe, stream=stream).to(p)


def hutchinson(
    model: Any, loss: Loss, batches: list[Any], layers: Sequence[Layer], probes: int, seed: int
) -> dict[str, tuple[float, float]]:
    """The trace of each layer's block of the Hessian of the mean loss, and the standard error of its estimate.

    With signs v on all weights at once v_l^T (H v)_l has the expectation trace H_ll, since the other blocks of v are
    independent of v_l: one product with the Hessian serves all layers.

    Source: M. Hutchinson, Commun. Statist. Simula. 19(2), 1990; Z. Dong et al., arXiv:1911.03852.
    """
    weights = [p for layer in layers for p in layer.weights.values()]
    samples = torch.zeros(probes, len(weights), dtype=torch.float64)
    for batch in batches:
        grads = gradients_of(scalar(loss(model, batch)), weights, graph=True)
        for probe in range(probes):
            signs = [signs_like(p, seed, probe, stream) for stream, p in enumerate(weights)]
            product = sum((g * v).sum() for g, v in zip(grads, signs))
            bent: list[Any] = [None] * len(weights)
            if isinstance(product, torch.Tensor) and product.requires_grad:
                bent = list(torch.autograd.grad(product, weights, retain_graph=True, allow_unused=True))
            for k, (v, h) in enumerate(zip(signs, bent)):
                samples[probe, k] += 0.0 if h is None else float((v * h).sum(dtype=torch.float64)) / len(batches)
    found, start = {}, 0
    for layer in layers:
        own = samples[:, start : start + len(layer.weights)].sum(1)
        start += len(layer.weights)
        found[layer.name] = (float(own.mean()), float(own.std() / math.sqrt(probes)))
    return found


def gradients_of(loss: torch.Tensor, weights: Sequence[torch.Tensor], graph: bool = False) -> list[torch.Tensor]:
    """Of a loss; zeros of weights it does not depend on."""
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in weights]
    found = torch.autograd.grad(loss, weights, create_graph=graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(weights, found)]
