"""Which backend serves an object, without importing a framework the user never imported."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_BACKENDS = {"torch": "torch", "jax": "jax", "jaxlib": "jax"}


def backend_of(x: Any) -> ModuleType:
    """The module of `emulate.backends` for x: torch or JAX arrays by their type, NumPy for all else.

    The class hierarchy finds parameters, tracers and subclasses as well.
    """
    return import_module(f".backends.{_backend_name(x)}", __package__)


def scaled_backend_of(x: Any) -> ModuleType:
    """The module for scaled formats of x."""
    return import_module(f".backends.{_backend_name(x)}_scaled", __package__)


def complex_backend_of(x: Any) -> ModuleType:
    """The module for complex numbers of x."""
    return import_module(f".backends.{_backend_name(x)}_complex", __package__)


def residual_backend_of(x: Any) -> ModuleType:
    """The module for residual stacks of x."""
    return import_module(f".backends.{_backend_name(x)}_residual", __package__)


def packing_backend_of(x: Any) -> ModuleType:
    """The module that packs codes of x."""
    return packing_backend(_backend_name(x))


def packing_backend(library: str) -> ModuleType:
    """The module that packs codes of a library."""
    return import_module(f".backends.{library}_packing", __package__)


def _backend_name(x: Any) -> str:
    for base in type(x).__mro__:
        name = _BACKENDS.get(base.__module__.partition(".")[0])
        if name is not None:
            return name
    return "numpy"


def torch_is_compiling() -> bool:
    """Whether `torch.compile` or `torch.export` is tracing this call."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()
