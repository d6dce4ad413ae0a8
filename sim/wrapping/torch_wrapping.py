"""Wrap a model in place, and take it back; or functions, for a while."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..products.torch_multiply import Products
from ..recipes.plan import plan_of
from ..recipes.published import recipe as any_recipe
from ..recipes.quantizer import Quantizer
from ..recipes.recipe import OPERANDS, Recipe
from ..recipes.rules import rules_of
from ..recipes.seeds import seed_words
from .torch_calls import begin, end
from .torch_functional import Functional
from .torch_modules import SLOW, Shielded, Wrapped, in_force, layers_of, unwrap, wrap
from .torch_survey import Row, survey


def inner(model: nn.Module) -> nn.Module:
    """The model inside of `torch.compile` and `DistributedDataParallel`, so that names do not depend on them."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(model._modules.get("_orig_mod"), nn.Module):
            model = model._modules["_orig_mod"]  # pyright: ignore[reportAssignmentType]
        else:
            return model


def quantize_(
    model: nn.Module, given: Any, filter_fn: Callable[[nn.Module, str], bool] | None = None, *, seed: int = 0
) -> nn.Module:
    """See `wrapping.quantize_`."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    seed_words(seed, "")
    root = inner(model)
    rows = survey(root, rules_of(given), filter_fn)
    chosen = [row for row in rows if row.mixin is not None]
    device = next((t.device for t in (*root.parameters(), *root.buffers())), torch.device("cpu"))
    for row in chosen:
        wrap(row.module, row.mixin)
        if row.mixin is not Shielded:
            _prepare(row, rows, seed, device)
    for module in list(root.modules()):
        for kind, mixin in SLOW.items():
            if isinstance(module, kind) and any(isinstance(each, Wrapped) for each in module.modules()):
                wrap(module, mixin)
    random = [layer for layer in layers_of(root).values() if layer._halfulp_recipe.stochastic]
    if random:
        root._halfulp_random = random  # pyright: ignore[reportArgumentType]
        root.register_forward_pre_hook(begin)
        root.register_forward_hook(end)
    return model


def _prepare(row: Row, rows: list[Row], seed: int, device: torch.device) -> None:
    """Give a layer its plan, its seed, and room for its scales."""
    module, recipe = row.module, row.recipe
    inside = f"{row.name}." if row.name else ""
    others = [other for other in rows if other is not row and other.mixin is not None]
    must = row.slots is None and not any(other.name.startswith(inside) for other in others)
    module._halfulp_recipe = recipe
    module._halfulp_prints = []
    module._halfulp_name = row.name or type(module)._halfulp_base.__name__
    module._halfulp_must = must
    device = next((p.device for p in module.parameters()), device)
    words = torch.tensor(seed_words(seed, row.name), dtype=torch.int64, device=device)
    module.register_buffer("_halfulp_seed", words, persistent=False)
    module.register_buffer("_halfulp_step", torch.zeros((), dtype=torch.int64, device=device), persistent=False)
    slots = row.slots or 1
    scalings = [of.scaling for each in _recipes(recipe) for of in _quantizers(each)]
    steps = [int(dict(scaling.parameters)["history"]) for scaling in scalings if scaling.name == "delayed"]
    learned = any(scaling.name == "learned" for scaling in scalings)
    history = torch.zeros(slots, 6, max(steps), device=device) if steps else None
    seen = torch.zeros(slots, 6, device=device) if steps else None
    sizes = torch.zeros(slots, 2, device=device, requires_grad=True) if learned else None
    for name, buffer in (("history", history), ("seen", seen), ("sizes", sizes)):
        module.register_buffer(f"_halfulp_{name}", buffer, persistent=False)
    in_force(module, 0)


def _recipes(recipe: Recipe) -> list[Recipe]:
    """A recipe and those of its schedule."""
    return [recipe, *(later for _, later in recipe.schedule)]


def _quantizers(recipe: Recipe) -> list[Quantizer]:
    return [getattr(recipe, name) for name in OPERANDS]


def dequantize_(model: nn.Module) -> nn.Module:
    """See `wrapping.dequantize_`."""
    root = inner(model)
    for module in [module for module in root.modules() if isinstance(module, Wrapped)]:
        unwrap(module)
    for module in root.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook in (begin, end)]:
                del hooks[key]
        module.__dict__.pop("_halfulp_random", None)
    return model


class _Functions:
    """What messages of functions begin with."""

    _halfulp_name = "quantized_functions"


def quantized_functions(recipe: Any, *, seed: int = 0, step: Any = 0) -> Functional:
    """See `wrapping.quantized_functions`."""
    found = any_recipe(recipe)
    for of in _quantizers(found):
        if of.scaling.name in ("delayed", "learned"):
            raise ValueError(
                f"{_Functions._halfulp_name}: {found.name} keeps {of.scaling.name} scales from step to step, which "
                "layers do and functions do not; use hu.quantize_, or a recipe whose scales follow the data"
            )
    step = torch.as_tensor(step, dtype=torch.int64)
    words = torch.tensor(seed_words(seed, _Functions._halfulp_name))
    now = found.at(int(step))
    return Functional(Products(_Functions, plan_of(now), words, step) if now.active else None)
