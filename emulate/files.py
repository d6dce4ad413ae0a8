"""Packed arrays on disk: safetensors files whose metadata names the formats.

Each stream is a tensor of bytes named NAME.elements, NAME.scales, ...; ordinary arrays keep their own names. The
metadata entry 'halfulp' is JSON: a version, and for each packed array its format, shape and dtype. A file that
does not match its metadata is refused. There is no second entry, because safetensors puts several in any order, and
the same arrays should make the same file.
"""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from ..formats.catalogue import format as any_format
from ..formats.complexes import ComplexFormat
from .dispatch import packing_backend, packing_backend_of
from .packing import Packed, stream_bits, stream_shapes

_VERSION = 1
_STREAMS = ("elements", "scales", "outer", "zero_points", "micro0", "micro1")


_DTYPES = (
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("bool", "float16", "bfloat16", "float32", "float64", "complex64"),
)


class FileError(ValueError):
    """A file that cannot be read, or does not match its metadata; the message says what is wrong."""


def save(path: str | Path, arrays: dict[str, Any]) -> Path:
    """Write packed and ordinary NumPy, torch or JAX arrays to a safetensors file.

    Args:
        path: the file; its folder is made where missing. Written under another name first, so that a file
            that is there stays whole if this fails.
        arrays: by name; `Packed` ones keep their format.

    Returns:
        The path.

    Raises:
        ValueError: two tensors of one name.
        TypeError: something that is neither packed nor an array.
        ModuleNotFoundError: safetensors is missing; the message says how to install it.
        OSError: a place that cannot be written.
    """
    return write(path, arrays, {})


def write(path: str | Path, arrays: Mapping[str, Any], more: Mapping[str, Any]) -> Path:
    """`save`, with more entries of the JSON beside 'version' and 'packed', which `read` gives back."""
    safetensors = _safetensors()
    tensors: dict[str, Any] = {}
    packed: dict[str, Any] = {}
    for name, array in arrays.items():
        if isinstance(array, Packed):
            packed[name] = {"format": array.fmt.spec, "shape": list(array.shape), "dtype": array.dtype}
            found = {f"{name}.{stream}": bytes_ for stream, bytes_ in array.streams.items()}
        else:
            found = {name: array}
        for tensor, value in found.items():
            if tensor in tensors:
                raise ValueError(f"two arrays would be named {tensor!r} in the file; rename one")
            tensors[tensor] = _on_host(tensor, value)
    for name in packed:
        if clash := [f"{name}.{stream}" for stream in _STREAMS if f"{name}.{stream}" in arrays]:
            raise ValueError(f"{clash} would read as parts of the packed {name!r}; rename them")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"halfulp": json.dumps({**more, "version": _VERSION, "packed": packed}, sort_keys=True)}
    beside = path.with_name(path.name + ".part")
    try:
        safetensors.save_file(tensors, str(beside), metadata=metadata)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _safetensors() -> Any:
    try:
        import safetensors.numpy as safetensors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("files need safetensors; pip install 'halfulp[files]'") from error
    return safetensors


def _on_host(name: str, array: Any) -> Any:
    if not hasattr(array, "dtype"):
        raise TypeError(f"{name}: expected a packed or ordinary array, got {type(array).__name__}")
    try:
        found = packing_backend_of(array).on_host(array)
    except TypeError as error:
        raise TypeError(f"{name}: NumPy has no such dtype ({error}); view it as integers, or pack it") from error
    if found.dtype.name not in _DTYPES:
        raise TypeError(f"{name}: safetensors holds no {found.dtype} through NumPy; view it as integers, or pack it")
    return found


def load(path: str | Path, library: str = "numpy") -> dict[str, Any]:
    """Read a file that `save` wrote.

    Args:
        library: 'numpy', 'torch' or 'jax', for the arrays that come back.

    Returns:
        `Packed` and ordinary arrays by name.

    Raises:
        FileError: no safetensors file, one that is cut off, one without halfulp's metadata, or one whose
            tensors do not match it.
        ValueError: an unknown library.
        FileNotFoundError: no file.
    """
    return read(path, library)[0]


def read(path: str | Path, library: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`load`, and the JSON of the file's metadata."""
    if library not in ("numpy", "torch", "jax"):
        raise ValueError(f"expected library 'numpy', 'torch' or 'jax', got {library!r}")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file at {path}")
    if path.is_dir():
        raise FileError(f"{path} is a folder, expected a safetensors file")
    tensors, described = _read(path)
    found = {name: _packed(path, name, entry, tensors) for name, entry in described["packed"].items()}
    if clash := set(found) & set(tensors):
        raise FileError(f"{path}: {sorted(clash)} are both packed and ordinary arrays")
    return {name: _into(array, library) for name, array in (found | tensors).items()}, described


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    _safetensors()
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise FileError(f"{path} is no safetensors file or is damaged ({error})") from error
    if "halfulp" not in metadata:
        raise FileError(f"{path} has no halfulp metadata; read it with safetensors itself")
    try:
        described = dict(json.loads(metadata["halfulp"]))
        version, described["packed"] = described["version"], dict(described["packed"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: the halfulp metadata cannot be read ({error})") from error
    if version != _VERSION:
        raise FileError(f"{path} has version {version}, expected {_VERSION}; update halfulp")
    return tensors, described


def _packed(path: Path, name: str, entry: Any, tensors: dict[str, Any]) -> Packed:
    """The packed array of a metadata entry; its streams are taken out of the tensors.

    Raises:
        FileError: an entry that makes no sense, or streams that do not match it.
    """
    try:
        fmt, shape, dtype = any_format(entry["format"]), tuple(entry["shape"]), str(entry["dtype"])
        if len(shape) > 64 or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
            raise ValueError(f"shape {shape}")
        if dtype.startswith("complex of ") and not isinstance(fmt, ComplexFormat):
            raise ValueError(f"dtype {dtype!r} of a real format")
        widths, shapes = stream_bits(fmt, dtype), stream_shapes(fmt, shape)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path}: {name!r} is described wrongly ({error})") from error
    if dtype.removeprefix("complex of ") not in ("float16", "bfloat16", "float32", "float64"):
        raise FileError(f"{path}: {name!r} is described wrongly (dtype {dtype!r})")
    streams = {}
    for stream, of_shape in shapes.items():
        tensor = tensors.pop(f"{name}.{stream}", None)
        expected = -(-prod(of_shape) * widths[stream] // 8)
        if tensor is None or tensor.dtype != "uint8" or tensor.shape != (expected,):
            got = "nothing" if tensor is None else f"{tensor.dtype}{tensor.shape}"
            raise FileError(
                f"{path}: {name!r} is {fmt.name} of shape {shape}, so {stream} should have {expected} bytes, got {got}"
            )
        streams[stream] = tensor
    if left := [stream for stream in _STREAMS if f"{name}.{stream}" in tensors]:
        raise FileError(f"{path}: {name!r} is {fmt.name}, which has no {' or '.join(left)}")
    return Packed(fmt, shape, dtype, streams)


def _into(array: Any, library: str) -> Any:
    if isinstance(array, Packed):
        return Packed(array.fmt, array.shape, array.dtype, {k: _into(v, library) for k, v in array.streams.items()})
    return packing_backend(library).from_host(array)
