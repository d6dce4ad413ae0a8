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
    for base in type(x).__mro__:
        name = _BACKENDS.get(base.__module__.partition(".")[0])
        if name is not None:
            return import_module(f".backends.{name}", __package__)
    return import_module(".backends.numpy", __package__)


def torch_is_compiling() -> bool:
    """Whether `torch.compile` or `torch.export` is tracing this call."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()
