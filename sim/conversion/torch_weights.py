"""The weights of a wrapped layer, and what its products read of each."""

from typing import Any, NamedTuple

import torch
from torch import nn

from ..recipes.operands import Operand
from ..recipes.plan import DIMENSIONS, KindPlan, Plan, misfit
from ..wrapping.torch_attention import SLOTS as PROJECTIONS
from ..wrapping.torch_recurrent import SLOTS
from ..wrapping.torch_survey import PRODUCTS, kind_of
from .torch_encoding import Encoding, Reading, encoding_of, joined_rows, same_bits

_IN = "in_proj_weight"
_SEVERAL = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)
"""Layers that multiply several times in a call."""


class Factor(NamedTuple):
    """A weight: its name from the layer on, what product it is a factor of, or 'rows', and which of its scales."""

    name: str
    kind: str
    slot: int


def factors_of(layer: Any, base: type) -> tuple[list[Factor], str]:
    """The weights of a layer, or why they stay as they are.

    Args:
        base: its class before it was wrapped.
    """
    forward: Any = getattr(base, "forward", None)
    recipe: Any = layer._halfulp_recipe.at(int(layer._halfulp_step))
    if not (any(forward is each.forward for each in PRODUCTS) or kind_of(layer) == "matmul"):
        has_weights = any(p.dim() > 1 for p in layer.parameters(recurse=False))
        return [], "a forward of its own, which may use weights in any way" if has_weights else ""
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return [], "max_norm changes its rows in each call"
    of = recipe.fprop_w
    random = of.scaling.name == "eden" or any(
        (m or "").startswith("stochastic") for m in (of.rounding, of.scale_rounding)
    )
    if random and (isinstance(layer, _SEVERAL) or layer._halfulp_repeats):
        return [], "its weights are rounded at random, anew in each of its products"
    factors = _factors(layer)
    if any(_parameter(layer, factor.name) is None for factor in factors):
        return [], "its weight is no parameter, but computed from others"
    return factors, ""


def _parameter(layer: nn.Module, name: str) -> Any:
    owner, _, leaf = name.rpartition(".")
    return layer.get_submodule(owner)._parameters.get(leaf)


def _factors(layer: Any) -> list[Factor]:
    if isinstance(layer, nn.MultiheadAttention):
        names = [_IN] if layer._qkv_same_embed_dim else ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        own = [Factor(name, "linear", slot) for slot, name in enumerate(names)]
        return [*own, Factor("out_proj.weight", "linear", PROJECTIONS - 1)]
    if isinstance(layer, nn.RNNBase):
        kinds = ("weight_ih", "weight_hh", *(["weight_hr"] if layer.proj_size else []))
        sides = ("", "_reverse") if layer.bidirectional else ("",)
        rows = [f"_l{k}{side}" for k in range(layer.num_layers) for side in sides]
        return [
            Factor(kind + row, "linear", SLOTS * k + i) for k, row in enumerate(rows) for i, kind in enumerate(kinds)
        ]
    if isinstance(layer, nn.RNNCellBase):
        return [Factor("weight_ih", "linear", 0), Factor("weight_hh", "linear", 1)]
    return [Factor("weight", "rows" if isinstance(layer, nn.Embedding) else kind_of(layer), 0)]


def encodings_of(name: str, layer: Any, factors: list[Factor], cross: bool) -> tuple[dict[str, Encoding], str]:
    """What products read of each weight, and which kind of attention its projections are for.

    Args:
        name: for messages. cross: whether an attention's keys are of another tensor than its queries.

    Raises:
        ValueError: weights that are not finite, step sizes that were never set, blocks that do not divide a weight.
    """
    found: dict[str, Encoding] = {}
    projections = ""
    for factor in factors:
        weight = layer.get_parameter(factor.name)
        where = f"{name}.{factor.name}" if name else factor.name
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"{where}: some numbers are not finite; hu.check_finite says where such numbers come from")
        try:
            if factor.name == _IN:
                found[_IN], projections = _projections(layer, weight, cross)
            else:
                found[factor.name] = _encoding(layer, weight, factor)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return found, projections


def _projections(layer: Any, weight: torch.Tensor, cross: bool) -> tuple[Encoding, str]:
    """The three projections, read together or apart, and which, where that makes a difference.

    Step sizes that are trained belong to one or the other.
    """
    learned = layer._halfulp_sizes is not None
    if learned and not cross:
        return _encoding(layer, weight, Factor(_IN, "linear", 0)), "together"
    parts = [_encoding(layer, part, Factor(_IN, "linear", k)) for k, part in enumerate(weight.chunk(3))]
    apart = joined_rows(parts)
    if learned:
        return apart, "apart"
    together = _encoding(layer, weight, Factor(_IN, "linear", 0))
    if same_bits(together.values, apart.values):
        return together, ""
    return (apart, "apart") if cross else (together, "together")


def _encoding(layer: Any, weight: torch.Tensor, factor: Factor) -> Encoding:
    """What a product reads of a weight, or of a part of it."""
    plan = Plan(*layer._halfulp)
    if factor.kind == "rows":
        spec, whole = plan.rows, 1
    else:
        of = KindPlan(*getattr(plan, factor.kind))
        wrong = _misfit(of, weight, factor.kind, getattr(layer, "groups", 1))
        if wrong:
            raise ValueError(wrong)
        spec, whole = of.specs[1], of.whole[1]
        device = weight.device.type
        if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
            weight = weight.to(torch.get_autocast_dtype(device))
    state = None
    scaling = Operand(*spec).scaling[0]
    if scaling == "learned":
        state = layer._halfulp_sizes[factor.slot, 1].detach()
        if not float(state):
            raise ValueError("its step size was never set; call the model once on data before hu.convert")
    elif scaling == "delayed":
        state = layer._halfulp_history[factor.slot, 1].amax(-1)
    reading = Reading(factor.kind, spec, plan.phase, whole, layer._halfulp_seed, layer._halfulp_step, state)
    return encoding_of(weight, reading)


def _misfit(of: KindPlan, weight: torch.Tensor, kind: str, groups: int) -> str:
    """What is wrong with the shape of a weight; empty where nothing is."""
    length = {name: weight.shape[axis] for axis, name in DIMENSIONS[kind][1].items()}
    length["n" if kind == "transposed" else "k"] *= groups
    return misfit(of, 0, length["k"], length["n"], groups, (False, False))
