"""The layers of a torch model that have weights, and what a recipe makes of those."""

from typing import NamedTuple

import torch
from torch import nn

from ..products.torch_operands import quantized, rotated
from ..products.torch_values import complex_values
from ..recipes.operands import Operand, operands_of
from ..recipes.plan import KindPlan, Plan, plan_of
from ..recipes.recipe import Recipe
from ..recipes.rules import rules_of
from ..wrapping.torch_modules import Quantized
from ..wrapping.torch_survey import Row, kind_of, projection_of, survey
from .sensitivity import candidate


class Layer(NamedTuple):
    """A layer with weights.

    Args:
        name: qualified. pattern: of the rule that matches it alone.
        module: itself. weights: its matrices, by name.
    """

    name: str
    pattern: str
    module: nn.Module
    weights: dict[str, nn.Parameter]


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """The layers with weights that `halfulp.quantize_` wraps where a rule says '*', by name.

    Raises:
        ValueError: none.
    """
    rows = survey(model, rules_of(candidate("binary32")))
    found = {}
    for row in rows:
        weights = _weights(row)
        if row.mixin is Quantized and weights:
            name = row.name or "model"
            found[name] = Layer(name, row.name or "*", row.module, weights)
    if not found:
        raise ValueError("expected a model with layers that can be quantized, such as torch.nn.Linear; found none")
    return found


def _weights(row: Row) -> dict[str, nn.Parameter]:
    """Its matrices; an attention layer's output projection is one of them."""
    own = dict(row.module.named_parameters(recurse=False))
    if isinstance(row.module, nn.MultiheadAttention):
        own |= {f"{projection_of('')}.{name}": p for name, p in row.module.out_proj.named_parameters()}
    return {name: p for name, p in own.items() if p.dim() > 1 and p.is_floating_point()}


def quantized_weight(p: torch.Tensor, layer: Layer, recipe: Recipe, words: torch.Tensor) -> torch.Tensor:
    """A weight as the forward product takes it, transformed back.

    Raises:
        ValueError: blocks or transforms that do not divide its axes.
    """
    p, module = p.detach(), layer.module
    if recipe.is_complex:
        return complex_values(p, recipe.fprop_w.fmt or "")
    kind = kind_of(module)
    plan = Plan(*plan_of(recipe))
    wrong = _misfit(p, KindPlan(*getattr(plan, kind)))
    if wrong:
        raise ValueError(f"{layer.name}: {wrong}")
    spec = Operand(*operands_of(recipe, kind)[1])
    if isinstance(module, nn.Embedding):
        spec = Operand(*plan.rows)
    if not spec.fmt:
        return p
    whole = KindPlan(*getattr(plan, kind)).whole[1] if spec.transform else 1
    axis = spec.axis % p.dim()
    missing = -p.shape[axis] % whole
    padded = nn.functional.pad(p, [0, 0] * (p.dim() - 1 - axis) + [0, missing]) if missing else p
    step = torch.zeros((), dtype=torch.int64)
    words, step = words.to(p.device), step.to(p.device)
    values, _ = quantized(rotated(padded, tuple(spec), words, step), tuple(spec), words, step)
    return rotated(values / spec.prescale, tuple(spec), words, step, inverse=True).narrow(axis, 0, p.shape[axis])


def _misfit(p: torch.Tensor, kind: KindPlan) -> str:
    """What is wrong with the blocks of the second forward operand for a weight; empty where nothing is."""
    for index, axis, _, size, name in kind.blocks:
        if index == 1 and not kind.ragged and p.shape[axis] % size:
            return (
                f"a weight of shape {tuple(p.shape)} is no whole number of blocks of {size} elements ({name}) "
                f"along axis {axis}; give the recipe pad=True (recipe.with_(pad=True)), or leave the layer out"
            )
    return ""
