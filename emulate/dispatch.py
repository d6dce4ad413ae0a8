"""Which backend serves an object, without importing a framework the user never imported."""

import sys
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

_BACKENDS = {"torch": "torch", "jax": "jax", "jaxlib": "jax"}


def backend_of(x: Any) -> ModuleType:
    """The module of `emulate.backends` for x: torch or JAX arrays by their type, NumPy for all else.

    The class hierarchy finds parameters, tracers and subclasses as well.
    """
    return _backend(type(x), "")


def scaled_backend_of(x: Any) -> ModuleType:
    """The module for scaled formats of x."""
    return _backend(type(x), "_scaled")


def complex_backend_of(x: Any) -> ModuleType:
    """The module for complex numbers of x."""
    return _backend(type(x), "_complex")


def residual_backend_of(x: Any) -> ModuleType:
    """The module for residual stacks of x."""
    return _backend(type(x), "_residual")


def transforms_backend_of(x: Any) -> ModuleType:
    """The module for transforms of x."""
    return _backend(type(x), "_transforms")


def packing_backend_of(x: Any) -> ModuleType:
    """The module that packs codes of x."""
    return packing_backend(_library(type(x)))


def packing_backend(library: str) -> ModuleType:
    """The module that packs codes of a library."""
    return import_module(f".backends.{library}_packing", __package__)


@lru_cache(maxsize=256)
def _backend(kind: type, suffix: str) -> ModuleType:
    return import_module(f".backends.{_library(kind)}{suffix}", __package__)


def _library(kind: type) -> str:
    for base in kind.__mro__:
        name = _BACKENDS.get(base.__module__.partition(".")[0])
        if name is not None:
            return name
    return "numpy"


def library_of(x: Any) -> str:
    """'torch', 'jax' or 'numpy', by the type of x."""
    return _library(type(x))


def torch_is_compiling() -> bool:
    """Whether `torch.compile` or `torch.export` is tracing this call."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()
