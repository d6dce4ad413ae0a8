"""Models on disk: a safetensors file of `halfulp.save` with one more entry of metadata, which describes the layers.

`halfulp.load` reads its arrays without torch. The entry 'halfulp_model' is JSON, see `conversion_entries.StoredModel`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..emulate.dispatch import packing_backend_of
from ..emulate.files import FileError
from ..emulate.packing import Packed
from .conversion_entries import StoredModel

ENTRY = "halfulp_model"
_ARRAYS_VERSION = 1


def write(path: str | Path, arrays: Mapping[str, Any], model: StoredModel) -> Path:
    """Write a model under another name beside the file, and then in its place.

    Args:
        arrays: packed and ordinary ones by name.

    Raises:
        ValueError: two tensors of one name.
        TypeError: a dtype that NumPy does not have.
        ModuleNotFoundError: safetensors is missing.
        OSError: a place that cannot be written.
    """
    try:
        from safetensors.numpy import save_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("files need safetensors; pip install 'halfulp[files]'") from error
    tensors: dict[str, Any] = {}
    packed: dict[str, Any] = {}
    for name, array in arrays.items():
        found = {name: array}
        if isinstance(array, Packed):
            packed[name] = {"format": array.fmt.spec, "shape": list(array.shape), "dtype": array.dtype}
            found = {f"{name}.{stream}": part for stream, part in array.streams.items()}
        for tensor, value in found.items():
            if tensor in tensors:
                raise ValueError(f"two tensors would be named {tensor!r} in the file; rename a module or a buffer")
            tensors[tensor] = _on_host(tensor, value)
    metadata = {"halfulp": json.dumps({"version": _ARRAYS_VERSION, "packed": packed}, sort_keys=True)}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    try:
        save_file(tensors, str(beside), metadata=metadata | {ENTRY: model.to_json()})
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _on_host(name: str, tensor: Any) -> Any:
    try:
        return packing_backend_of(tensor).on_host(tensor)
    except TypeError as error:
        raise TypeError(f"{name}: NumPy has no such dtype ({error}); convert it to another one first") from error


def described(path: str | Path) -> StoredModel:
    """What a file says of its model.

    Raises:
        FileError: a file of arrays alone, or an entry that cannot be read.
    """
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        metadata = file.metadata() or {}
    if ENTRY not in metadata:
        raise FileError(f"{path} holds arrays and no model; read it with hu.load")
    try:
        return StoredModel.from_json(metadata[ENTRY])
    except ValueError as error:
        raise FileError(f"{path}: the description of the model cannot be read: {error}") from error
