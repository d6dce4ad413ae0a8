"""Converted models from files, into a model of the same architecture that has no weights yet."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ...emulate.files import FileError
from ...emulate.packing import Packed
from ..wrapping.torch_modules import Wrapped
from ..wrapping.torch_wrapping import inner
from .entries import StoredModel, StoredWeight
from .files import read
from .torch_layers import SCALES, become, finish
from .torch_packed import PackedWeight

_SHOWN = 3
"""Names in a message."""


@torch.no_grad()
def load_model(path: str | Path, skeleton: nn.Module, keep_decoded: bool = False) -> nn.Module:
    """See `conversion.load_model`."""
    if not isinstance(skeleton, nn.Module):
        raise TypeError(f"expected a torch.nn.Module as skeleton, got {type(skeleton).__name__}")
    root = inner(skeleton)
    if any(isinstance(module, Wrapped) for module in root.modules()):
        raise ValueError(
            "the skeleton is quantized or converted already; build a plain one, the file says what to quantize"
        )
    found = _Contents(path, *read(path, "torch"))
    _check_layers(found, root)
    _check_tensors(found, root)
    _check_derived(found, root)
    weights = {name: found.weights(name, keep_decoded, _place(root, name)) for name in found.model.layers}
    _fill(found, root)
    _turn(found, root, weights)
    return skeleton.requires_grad_(False).eval()


class _Contents:
    """A file: its arrays by all names they have, and what it says of them."""

    def __init__(self, path: Any, arrays: Mapping[str, Any], model: StoredModel) -> None:
        self.path, self.model = path, model
        self.arrays = dict(arrays)
        for name, other in model.shared.items():
            if other not in arrays:
                raise FileError(f"{path}: {name!r} is the same as {other!r}, which is missing")
            self.arrays[name] = arrays[other]
        self.described = {
            (f"{layer}.{leaf}" if layer else leaf): weight
            for layer, entry in model.layers.items()
            for leaf, weight in entry.weights.items()
        }
        self._made: dict[tuple[Any, ...], PackedWeight | nn.Parameter] = {}

    def other(self, problem: str) -> FileError:
        """The error of a skeleton that is no model like that of the file."""
        return FileError(f"{self.path} is of another architecture: {problem}; build the model that was converted")

    def names(self, name: str) -> list[str]:
        """The names of the arrays that a weight is stored in."""
        if self.described[name].way in ("bits", "values"):
            return [name]
        found = [f"{name}.0"]
        while f"{name}.{len(found)}" in self.arrays:
            found.append(f"{name}.{len(found)}")
        return found

    def plain(self) -> dict[str, Any]:
        """The parameters and buffers that are stored as they are."""
        parts = {part for name in self.described for part in self.names(name)}
        return {name: array for name, array in self.arrays.items() if name not in parts and not self._is_state(name)}

    def _is_state(self, name: str) -> bool:
        """Whether a tensor is what a converted layer carries besides its parameters."""
        owner, _, leaf = name.rpartition(".")
        return leaf in SCALES.values() and owner in self.model.layers

    def weights(self, layer: str, keep: bool, device: torch.device) -> dict[str, PackedWeight | nn.Parameter]:
        """What takes the place of the weights of a layer; one for those that are the same arrays on a device."""
        found = {}
        for leaf, stored in self.model.layers[layer].weights.items():
            name = f"{layer}.{leaf}" if layer else leaf
            parts = [self.arrays.get(part) for part in self.names(name)]
            if any(part is None for part in parts):
                raise FileError(f"{self.path}: {name!r} is missing")
            key = (device, *map(id, parts))
            if key not in self._made:
                made = self._new(name, stored, parts, keep).to(device)
                self._made[key] = made if isinstance(made, PackedWeight) else nn.Parameter(made, requires_grad=False)
            found[leaf] = self._made[key]
        return found

    def _new(self, name: str, stored: StoredWeight, parts: list[Any], keep: bool) -> PackedWeight | torch.Tensor:
        if any(isinstance(part, Packed) != (stored.way != "values") for part in parts):
            raise FileError(f"{self.path}: {name!r} is stored as {stored.way}, and its arrays are not of that kind")
        try:
            made: Any = PackedWeight(tuple(parts), stored, keep) if stored.way != "values" else parts[0]
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise FileError(f"{self.path}: {name!r} cannot be decoded ({error})") from error
        longer = [axis for axis, (a, b) in enumerate(zip(made.shape, stored.shape)) if a != b]
        whole = len(made.shape) == len(stored.shape) and all(made.shape[axis] > stored.shape[axis] for axis in longer)
        if not whole or len(longer) > 1:
            raise FileError(f"{self.path}: {name!r} should have shape {stored.shape}, got {tuple(made.shape)}")
        return made


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _check_layers(found: _Contents, root: nn.Module) -> None:
    """Raise unless the skeleton has the layers of the file."""
    modules = dict(root.named_modules())
    missing = [name for name in (*found.model.layers, *found.model.counting) if name not in modules]
    if missing:
        raise found.other(f"the skeleton has no {_listed(missing)}")
    for name, layer in found.model.layers.items():
        kind = type(modules[name]).__name__
        if kind != layer.kind:
            where = name or "the model"
            raise found.other(f"{where} is a {kind} in the skeleton and a {layer.kind} in the file")
        if "forward" in modules[name].__dict__:
            raise ValueError(f"{name}: the forward of this {kind} was replaced on the object; load before that")


def _tensors(root: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any, str]]:
    """(name, its module, name there, tensor, kind) of what a model holds."""
    for prefix, module in root.named_modules():
        inside = f"{prefix}." if prefix else ""
        for leaf, parameter in list(module._parameters.items()):
            if parameter is not None:
                yield inside + leaf, module, leaf, parameter, "parameter"
        for leaf, buffer in list(module._buffers.items()):
            if buffer is not None:
                kind = "derived" if leaf in module._non_persistent_buffers_set else "buffer"
                yield inside + leaf, module, leaf, buffer, kind


def _check_tensors(found: _Contents, root: nn.Module) -> None:
    """Raise unless names and shapes of parameters and buffers are those of the file."""
    own = {
        name: None if isinstance(t, UninitializedParameter | UninitializedBuffer) else tuple(t.shape)
        for name, _, _, t, kind in _tensors(root)
        if kind != "derived"
    }
    plain = found.plain()
    theirs = {name: tuple(array.shape) for name, array in plain.items() if name not in found.model.derived}
    theirs |= {name: weight.shape for name, weight in found.described.items()}
    missing, extra = [name for name in own if name not in theirs], [name for name in theirs if name not in own]
    if missing or extra:
        parts = [f"the file has no {_listed(missing)}"] if missing else []
        raise found.other("; ".join([*parts, *([f"the skeleton has no {_listed(extra)}"] if extra else [])]))
    wrong = [f"{name} is {own[name]} in the skeleton and {theirs[name]} in the file" for name in own]
    wrong = [text for text, name in zip(wrong, own) if own[name] != theirs[name]]
    if wrong:
        raise found.other(_listed(wrong))
    packed = [name for name, array in plain.items() if isinstance(array, Packed)]
    if packed:
        raise FileError(f"{found.path}: {_listed(packed)} should be ordinary arrays, and are packed")


def _check_derived(found: _Contents, root: nn.Module) -> None:
    left = [
        name for name, _, _, t, kind in _tensors(root) if t.is_meta and kind == "derived" and name not in found.arrays
    ]
    if left:
        raise found.other(f"it has no numbers for {_listed(left)}, which the skeleton has on the meta device")


def _fill(found: _Contents, root: nn.Module) -> None:
    """Parameters and buffers that are stored as they are, each where the skeleton has it."""
    made: dict[int, nn.Parameter] = {}
    for name, module, leaf, t, kind in _tensors(root):
        if name in found.described or (kind == "derived" and name not in found.arrays):
            continue
        array = found.arrays[name]
        if kind == "parameter":
            made.setdefault(id(array), nn.Parameter(array.to(_device(t)), requires_grad=False))
            setattr(module, leaf, made[id(array)])
        else:
            module._buffers[leaf] = array.clone().to(_device(t))


def _device(t: torch.Tensor) -> torch.device:
    return torch.device("cpu") if t.is_meta else t.device


def _place(root: nn.Module, name: str) -> torch.device:
    """The device of a layer."""
    return next((_device(p) for p in root.get_submodule(name).parameters()), torch.device("cpu"))


def _turn(found: _Contents, root: nn.Module, weights: Mapping[str, Mapping[str, Any]]) -> None:
    """The layers become converted ones."""
    for name, layer in found.model.layers.items():
        module = root.get_submodule(name)
        device = _place(root, name)
        inside = f"{name}." if name else ""
        if layer.role != "shielded":
            for buffer in SCALES.values():
                state = found.arrays.get(inside + buffer)
                module.register_buffer(buffer, None if state is None else state.to(device))
        become(module, name, layer, weights[name], device)
    finish(root, found.model.counting)
