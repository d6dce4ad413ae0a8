# ruff: noqa: D102 (the protocol says what the methods do)
"""The few functions of arrays in which NumPy, torch and JAX differ, under one name each."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from ...emulate.dispatch import library_of


class Space(Protocol):
    """Functions of the arrays of one library; `xp` is its module, for functions that are alike in all."""

    xp: Any

    def pad(self, a: Any, widths: Sequence[int]) -> Any:
        """Zeros at the end of each axis."""
        ...

    def given(self, numbers: Any, like: Any) -> Any:
        """An array of numbers, in the dtype and on the device of another."""
        ...

    def wide(self, a: Any) -> Any:
        """An array in float32, or float64 where it is."""
        ...

    def narrow(self, a: Any) -> Any:
        """An array in float32; beyond its range the largest number."""
        ...

    def bits(self, a: Any) -> Any:
        """The bits of float32 as int32."""
        ...

    def floats(self, bits: Any) -> Any:
        """The float32 of int32 bits."""
        ...

    def largest(self, a: Any, axes: tuple[int, ...] | None = None) -> Any:
        """The largest magnitude along axes, which vanish, or of all; NaN where there is one."""
        ...

    def dot(self, a: Any, b: Any) -> Any:
        """The sum of the products of elements."""
        ...

    def count_nonzero(self, a: Any) -> Any:
        """How many elements are not zero, or true."""
        ...

    def bincount(self, indices: Any, length: int) -> Any:
        """(length,) int32: how many of (n,) indices have each value."""
        ...

    def first(self, a: Any) -> Any:
        """The first index of (n,) booleans that is true."""
        ...

    def zeros(self, length: int, like: Any) -> Any:
        """(length,) int32 zeros on the device of an array."""
        ...


class NumpySpace:
    """The functions in NumPy."""

    xp = np

    def pad(self, a: Any, widths: Sequence[int]) -> Any:
        return np.pad(a, [(0, width) for width in widths])

    def given(self, numbers: Any, like: Any) -> Any:
        return np.asarray(numbers, dtype=like.dtype)

    def wide(self, a: Any) -> Any:
        return a if a.dtype in (np.float32, np.float64) else a.astype(np.float32)

    def narrow(self, a: Any) -> Any:
        largest = np.finfo(np.float32).max
        return np.clip(a, -largest, largest).astype(np.float32)

    def bits(self, a: Any) -> Any:
        return a.view(np.int32)

    def floats(self, bits: Any) -> Any:
        return np.int32(bits).view(np.float32)

    def largest(self, a: Any, axes: tuple[int, ...] | None = None) -> Any:
        return np.abs(a).max(axis=axes)

    def dot(self, a: Any, b: Any) -> Any:
        return (a * b).sum()

    def count_nonzero(self, a: Any) -> Any:
        return np.count_nonzero(a)

    def bincount(self, indices: Any, length: int) -> Any:
        return np.bincount(indices, minlength=length).astype(np.int32)

    def first(self, a: Any) -> Any:
        return np.argmax(a)

    def zeros(self, length: int, like: Any) -> Any:
        return np.zeros(length, np.int32)


NUMPY: Space = NumpySpace()


def space_of(x: Any) -> Space:
    """The functions for the library of an array."""
    library = library_of(x)
    return NUMPY if library == "numpy" else import_module(f".{library}_space", __package__).SPACE
