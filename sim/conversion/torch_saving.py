"""Converted models to files, and what they weigh: one list of the tensors of a model serves both."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2s
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import nn

from ...emulate.packing import Packed
from ..wrapping.torch_modules import Wrapped
from ..wrapping.torch_wrapping import inner
from .entries import StoredLayer, StoredModel, StoredWeight
from .files import write
from .torch_layers import BUFFERS, Settled
from .torch_packed import BitStreams, PackedWeight

COLUMNS = ("kind", "format", "shape", "elements", "bits", "bytes")


class Stored(NamedTuple):
    """A tensor of a model.

    Args:
        name: in files. kind: 'packed', 'parameter', 'buffer', or 'derived' of a buffer that is in no state_dict.
        array: packed or ordinary. same: the name of an earlier tensor that it is, or empty.
    """

    name: str
    kind: str
    array: Any
    same: str


def tensors_of(root: nn.Module) -> Iterator[Stored]:
    """All tensors that a file of the model holds; what is shared comes under each of its names."""
    known: dict[Any, str] = {}
    modules: Any = root.named_modules()
    for prefix, module in modules:
        if isinstance(module, PackedWeight | BitStreams):
            continue  # listed under the layers that have it
        inside = f"{prefix}." if prefix else ""
        for leaf in getattr(module, "_packed_names", ()):
            yield from _packed(inside + leaf, module._modules[leaf], known)
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                yield Stored(inside + leaf, "parameter", parameter, _first(known, id(parameter), inside + leaf))
        for leaf, buffer in module._buffers.items():
            if buffer is not None and leaf not in BUFFERS:
                derived = leaf in module._non_persistent_buffers_set
                key = (
                    _content(buffer) if derived and not buffer.is_meta else id(buffer)
                )  # masks that layers make for themselves are equal
                kind = "derived" if derived else "buffer"
                yield Stored(inside + leaf, kind, buffer, _first(known, key, inside + leaf))


def _packed(name: str, weight: Any, known: dict[Any, str]) -> Iterator[Stored]:
    """The arrays of a packed weight: one of its name, or several of its name and a number."""
    for k, part in enumerate(weight.bits()):
        own = name if weight.stored.way == "bits" else f"{name}.{k}"
        yield Stored(own, "packed", part.packed, _first(known, id(part), own))


def _first(known: dict[Any, str], key: Any, name: str) -> str:
    """The name under which a tensor was met before; empty where it is new."""
    first = known.setdefault(key, name)
    return "" if first == name else first


def _content(t: torch.Tensor) -> tuple[Any, ...]:
    data = t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return t.dtype, tuple(t.shape), blake2s(data.tobytes()).digest()


def save_model(model: nn.Module, path: str | Path) -> Path:
    """See `conversion.save_model`."""
    from ... import __version__

    root = _saved(model)
    for name, module in root.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise ValueError(f"{name or 'the model'}: extra state of a module is not saved; keep it in a buffer")
    for name, t in (*root.named_parameters(), *root.named_buffers()):
        if t.is_meta:
            raise ValueError(f"{name} is on the meta device and has no numbers; load them before hu.save_model")
    found = list(tensors_of(root))
    shared = {each.name: each.same for each in found if each.same}
    derived = tuple(each.name for each in found if each.kind == "derived")
    modules: Any = dict(root.named_modules())
    layers = {name: _entry(m) for name, m in modules.items() if isinstance(m, Settled) and m._packed is not None}
    counting = tuple(name for name, m in modules.items() if "_packed_random" in m.__dict__)
    arrays = {each.name: each.array for each in found if not each.same}
    return write(path, arrays, StoredModel(layers, shared, derived, counting, __version__))


def _entry(layer: Any) -> StoredLayer:
    """What a file says of a layer, whose seed and step, and the dtype of its weights, may be others by now."""
    if "_packed_step" not in layer._buffers:
        return layer._packed
    seed: Any = tuple(int(word) for word in layer._packed_seed)
    weights = {leaf: _now(layer, leaf, stored) for leaf, stored in layer._packed.weights.items()}
    return replace(layer._packed, seed=seed, step=int(layer._packed_step), weights=weights)


def _now(layer: nn.Module, leaf: str, stored: StoredWeight) -> StoredWeight:
    """How a weight is stored, in its present dtype; values that are no codes have their own."""
    owner, _, name = leaf.rpartition(".")
    weight = layer.get_submodule(owner)._modules.get(name)
    return weight.stored if isinstance(weight, PackedWeight) else stored


def _saved(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    root = inner(model)
    modules = list(root.modules())
    if not any(isinstance(module, Settled) for module in modules):
        turn = "hu.convert it first" if any(isinstance(module, Wrapped) for module in modules) else (
            "quantize it with hu.quantize_ and convert it with hu.convert, or save its state_dict"
        )  # fmt: skip
        raise ValueError(f"the model is not converted; {turn}")
    return root


class Bits(pd.DataFrame):
    """A DataFrame whose text shows all rows, and the total."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __str__(self) -> str:
        total, count = (int(sum(self[name])) for name in ("bytes", "elements"))
        return f"{self.to_string(float_format='{:.4g}'.format)}\n{count} elements in {total} bytes"

    __repr__ = __str__


def model_bits(model: nn.Module) -> pd.DataFrame:
    """See `conversion.model_bits`."""
    records = {each.name: _record(each) for each in tensors_of(_saved(model)) if not each.same}
    found = Bits(records.values(), index=list(records), columns=list(COLUMNS))
    found.index.name = "tensor"
    return found


def _record(each: Stored) -> tuple[Any, ...]:
    array, shape = each.array, tuple(each.array.shape)
    count = 1
    for length in shape:
        count *= length
    packed = isinstance(array, Packed)
    size = array.nbytes if packed else array.numel() * array.element_size()
    fmt = array.fmt.name if packed else str(array.dtype).removeprefix("torch.")
    return each.kind, fmt, shape, count, 8 * size / count if count else float("nan"), size
