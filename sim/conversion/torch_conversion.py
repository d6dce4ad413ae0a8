"""Convert a wrapped model: a copy whose weights are the bits that its forward products read."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ..recipes.published import recipe as any_recipe
from ..wrapping.torch_modules import Quantized, QuantizedAround, Shielded, Wrapped, layers_of, unwrap
from ..wrapping.torch_wrapping import dequantize_, inner
from .entries import StoredLayer, StoredWeight
from .torch_encoding import Encoding, dtype_name, same_bits
from .torch_layers import SCALES, Settled, become, finish
from .torch_packed import PackedWeight
from .torch_weights import encodings_of, factors_of

Stored = PackedWeight | nn.Parameter
"""What takes the place of a parameter."""

_ROLES = {Quantized: "products", QuantizedAround: "around", Shielded: "shielded"}
_VALUES = "values without codes, as they are rounded"


@torch.no_grad()
def convert(model: nn.Module, keep_decoded: bool = False, cross_attention: Sequence[str] = ()) -> nn.Module:
    """See `conversion.convert`."""
    root = _checked(model)
    layers = {name: m for name, m in root.named_modules() if isinstance(m, tuple(_ROLES)) and _serves(m)}
    cross = _cross(root, layers, cross_attention)
    known: dict[int, list[Stored]] = {}
    entries: dict[str, StoredLayer] = {}
    stored: dict[str, dict[str, Stored]] = {}
    for name, layer in layers.items():
        entries[name], encodings = _entry(name, layer, name in cross)
        stored[name] = {
            leaf: _shared(layer.get_parameter(leaf), encoding, entries[name].weights[leaf], keep_decoded, known)
            for leaf, encoding in encodings.items()
        }
    return _twin(root, layers, entries, stored)


def _checked(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    root = inner(model)
    if any(isinstance(module, Settled) for module in root.modules()):
        raise ValueError("the model is converted already; use it as it is, or hu.save_model it")
    if not layers_of(root):
        raise ValueError("the model is not quantized; call hu.quantize_(model, recipe) first")
    for name, p in (*root.named_parameters(), *root.named_buffers()):
        if p.is_meta:
            raise ValueError(f"{name} is on the meta device and has no numbers; load the model before hu.convert")
        if hasattr(p, "full_tensor"):
            raise ValueError(
                f"{name} is sharded over processes; gather the weights into a model of one process "
                "(torch.distributed.checkpoint.state_dict), quantize that and convert it"
            )
    return root


def _serves(module: Any) -> bool:
    return isinstance(module, Shielded) or module._halfulp is not None


def _cross(root: nn.Module, layers: Mapping[str, Any], patterns: Sequence[str]) -> set[str]:
    """The names of attentions whose keys are of another tensor than their queries."""
    if isinstance(patterns, str):
        raise TypeError(f"cross_attention: expected a list of names, got {patterns!r}; write [{patterns!r}]")
    names = [name for name, layer in layers.items() if isinstance(layer, nn.MultiheadAttention)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = ", ".join(map(repr, names)) or "none"
            raise ValueError(f"cross_attention: {pattern!r} matches no quantized MultiheadAttention; there are {known}")
    decoders = [name for name, module in root.named_modules() if isinstance(module, nn.TransformerDecoderLayer)]
    found = {f"{name}.multihead_attn" if name else "multihead_attn" for name in decoders}
    return found | {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _entry(name: str, layer: Any, cross: bool) -> tuple[StoredLayer, dict[str, Encoding]]:
    """What files say of a layer, and its weights as products read them."""
    base = type(layer)._halfulp_base
    role = next(role for mixin, role in _ROLES.items() if isinstance(layer, mixin))
    if role == "shielded":
        return StoredLayer(base.__name__, role, any_recipe("identity")), {}
    step = int(layer._halfulp_step)
    recipe = layer._halfulp_recipe.at(step).with_(schedule=())
    seed: Any = tuple(int(word) for word in layer._halfulp_seed)
    entry = StoredLayer(base.__name__, role, recipe, seed, step, layer._halfulp_must)
    if role == "around" or not recipe.fprop_w.active:
        return entry, {}
    factors, note = factors_of(layer, base)
    encodings, projections = encodings_of(name, layer, factors, cross)
    note = _VALUES if any(each.way == "values" for each in encodings.values()) else note
    weights = {}
    for leaf, each in encodings.items():
        weight = layer.get_parameter(leaf)
        weights[leaf] = StoredWeight(tuple(weight.shape), dtype_name(weight.dtype), each.way)
    return replace(entry, projections=projections, weights=weights, note=note), encodings


def _shared(
    weight: nn.Parameter, encoding: Encoding, stored: StoredWeight, keep: bool, known: dict[int, list[Stored]]
) -> Stored:
    """What takes the place of a weight; the same for layers that share it and read the same of it."""
    made: Stored
    if encoding.parts:
        made = PackedWeight(encoding.parts, stored, keep)
    else:
        made = nn.Parameter(encoding.values.to(weight.dtype), requires_grad=False)
    for other in known.setdefault(id(weight), []):
        if _same(made, other):
            return other
    known[id(weight)].append(made)
    return made


def _same(a: Stored, b: Stored) -> bool:
    if isinstance(a, PackedWeight) and isinstance(b, PackedWeight):
        return a.text == b.text and all(torch.equal(x, y) for x, y in zip(a.streams(), b.streams()))
    return isinstance(a, nn.Parameter) and isinstance(b, nn.Parameter) and same_bits(a, b)


def _twin(
    root: nn.Module,
    layers: Mapping[str, Any],
    entries: Mapping[str, StoredLayer],
    stored: Mapping[str, Mapping[str, Stored]],
) -> nn.Module:
    """The converted copy. Parameters that nothing in it keeps are not copied."""
    gone = {f"{name}.{leaf}" if name else leaf for name, weights in stored.items() for leaf in weights}
    kept = {id(p) for name, p in root.named_parameters(remove_duplicate=False) if name not in gone}
    memo: Any = {id(p): p for p in root.parameters() if id(p) not in kept}
    for module in root.modules():  # what a call left behind, such as pruned weights, is the result of operations
        held = [t for t in tree_leaves(module.__dict__) if isinstance(t, torch.Tensor) and not t.is_leaf]
        memo |= {id(t): t.detach().clone() for t in held}
    counting = [name for name, module in root.named_modules() if "_halfulp_random" in module.__dict__]
    twin = dequantize_(copy.deepcopy(root, memo))
    for module in [module for module in twin.modules() if isinstance(module, Wrapped)]:
        unwrap(module)  # those of two derived classes
    for name, entry in entries.items():
        layer, module = layers[name], twin.get_submodule(name)
        if entry.role != "shielded":
            for own, buffer in SCALES.items():
                state = getattr(layer, own)
                module.register_buffer(buffer, None if state is None else state.detach().clone())
        device = getattr(layer, "_halfulp_seed", torch.empty(0)).device
        become(module, name, entry, stored[name], device)
    finish(twin, counting)
    return twin.requires_grad_(False).eval()
