"""Quantized operands for models that call torch's functions directly."""

from typing import Any

import torch

from .plan import plan_of
from .recipe import OPERANDS
from .recipes import recipe as any_recipe
from .torch_functional import Functional
from .torch_multiply import Products
from .torch_wrapping import seed_words

NAME = "quantized_functions"


class _Owner:
    _halfulp_name = NAME


def quantized_functions(recipe: Any, *, seed: int = 0, step: Any = 0) -> Functional:
    """See `wrapping.quantized_functions`."""
    found = any_recipe(recipe)
    for name in OPERANDS:
        scaling = getattr(found, name).scaling.name
        if scaling in ("delayed", "learned"):
            raise ValueError(
                f"{NAME}: {found.name} keeps {scaling} scales from step to step, which layers do and functions do not; "
                "use hu.quantize_, or a recipe whose scales follow the data"
            )
    if not found.active:
        return Functional(None)
    step = torch.as_tensor(step, dtype=torch.int64)
    return Functional(Products(_Owner, plan_of(found.at(int(step))), torch.tensor(seed_words(seed, NAME)), step))
