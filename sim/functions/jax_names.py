"""How the arrays and products of a JAX function are called: paths in pytrees of parameters, and scopes of names."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

BOXES = ("value", "raw_value")
"""Attributes by which boxes around an array, such as Flax's variables, hold it; no part of a name."""
COLLECTION = "params"
"""What Flax calls the parameters among its variables; no part of a layer's name."""

MARK = "halfulp_quantized"
"""The scope of names of products that are quantized."""
RULE = "rule"
"""What stands for a transformation where a function has its own rule for derivatives."""


class Path(NamedTuple):
    """Where a parameter is.

    Args:
        argument: name of the argument of which it is a part; empty for what the function itself holds.
        keys: of the pytree, from the outside in; none where the argument is the array.
    """

    argument: str
    keys: tuple[str, ...]

    @property
    def layer(self) -> str:
        """Name of the layer whose parameter it is: the path without the last key, as modules of torch are called.

        A parameter that is in no container of its own is a layer, and so is an argument.
        """
        keys = self.keys[1:] if len(self.keys) > 1 and self.keys[0] == COLLECTION else self.keys
        return ".".join(keys[:-1] if len(keys) > 1 else keys) or self.argument

    @property
    def names(self) -> tuple[str, ...]:
        """All names by which patterns find it: of layer and parameter, with and without the argument's."""
        short = self.keys[1:] if len(self.keys) > 1 and self.keys[0] == COLLECTION else self.keys
        argument = (self.argument,) if self.argument else ()
        paths = [each for keys in (short, self.keys) for each in (keys, (*argument, *keys))]
        found = [self.layer, *(".".join(keys[:end]) for end in (-1, None) for keys in paths)]
        return tuple(name for name in dict.fromkeys(found) if name and name != COLLECTION)


def keys_of(path: Sequence[Any]) -> tuple[str, ...]:
    """The keys of a path in a pytree as text."""
    kept = list(path)
    while len(kept) > 1 and isinstance(kept[-1], jax.tree_util.GetAttrKey) and kept[-1].name in BOXES:
        kept.pop()
    return tuple(_text(key) for key in kept)


def _text(key: Any) -> str:
    for name in ("name", "key", "idx"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)


def argument_names(fn: Callable[..., Any], count: int) -> list[str]:
    """Names of the first positional arguments of a function; their numbers where it tells none."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [p.name for p in parameters if p.kind in by_position]
    return [known[k] if k < len(known) else str(k) for k in range(count)]


def is_array(x: Any) -> bool:
    """Whether a leaf of a pytree is traced; everything else is static."""
    return isinstance(x, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)


def is_bare(tree: Any) -> bool:
    """Whether it is an array, or a number, rather than a container."""
    return jax.tree_util.treedef_is_leaf(jax.tree.structure(tree))


def held_by(fn: Any) -> dict[int, Path]:
    """Paths of the arrays in containers that a function holds, by the arrays' identity.

    Looked at are the function itself, where it is a pytree, such as a module of Equinox, the object whose method it
    is, the arguments of `functools.partial`, and the variables that a function takes from around it.
    """
    found: dict[int, Path] = {}
    for name, tree in _held(fn):
        for path, leaf in _leaves(tree):
            if is_array(leaf) and path:
                found.setdefault(id(leaf), Path(name, keys_of(path)))
    return found


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    """(path, leaf) of a pytree; none of what is no pytree, such as settings in a dictionary with keys of all kinds."""
    try:
        return jax.tree_util.tree_flatten_with_path(tree)[0]
    except (TypeError, ValueError):
        return []


def _held(fn: Any) -> Iterable[tuple[str, Any]]:
    """(name, pytree) of what a function holds."""
    if isinstance(fn, functools.partial):
        yield from zip(argument_names(fn.func, len(fn.args)), fn.args)
        yield from fn.keywords.items()
        yield from _held(fn.func)
    elif inspect.ismethod(fn):
        yield "", fn.__self__
    elif hasattr(fn, "__wrapped__"):  # jax.jit, jax.vmap and the like
        yield from _held(fn.__wrapped__)
    elif inspect.isfunction(fn):
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or ()):
            try:
                yield name, cell.cell_contents
            except ValueError:  # a variable that is not set yet
                continue
        yield from ((name, fn.__globals__[name]) for name in fn.__code__.co_names if name in fn.__globals__)
    else:
        yield "", fn


class Scope(NamedTuple):
    """The composed scope of names of an equation.

    Args:
        names: of `jax.named_scope`, from the outside in, without those of transformations.
        gradient: the transformation that differentiated it, 'transpose' or 'jvp'; empty for none, and `RULE` inside
            of a rule for derivatives.
    """

    names: tuple[str, ...] = ()
    gradient: str = ""

    def inside(self, stack: Any) -> "Scope":
        """The scope of an equation within, whose own stack of names is relative."""
        names, transforms = [], []
        for entry in stack.stack:
            if type(entry).__name__ == "Transform":
                transforms.append(entry.name)
            elif "->" not in entry.name:  # not the formula of an einsum
                names.append(entry.name)
        found = "transpose" if "transpose" in transforms else "jvp" if "jvp" in transforms else ""
        kept = self.gradient in ("transpose", RULE)
        return Scope((*self.names, *names), self.gradient if kept else found or self.gradient)

    def __str__(self) -> str:
        return ".".join(name for name in self.names if name != MARK)
