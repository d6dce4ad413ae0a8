"""What the update rules ask of an array library, besides operators."""

from typing import Any, Protocol

Array = Any
"""A NumPy array, torch tensor or JAX array of floats; float32, or float64 where the weights are."""


class Arrays(Protocol):
    """An array library."""

    def where(self, condition: Array, a: Any, b: Any) -> Array:
        """a where the condition holds, else b."""
        ...

    def absolute(self, a: Array) -> Array:
        """Magnitudes."""
        ...

    def sqrt(self, a: Array) -> Array:
        """Square roots."""
        ...

    def tanh(self, a: Array) -> Array:
        """Hyperbolic tangents."""
        ...

    def floor(self, a: Array) -> Array:
        """The largest integers that are not larger."""
        ...

    def product(self, a: Array, b: Any) -> Array:
        """a * b, rounded before anything is added to it: compilers fuse the two, and the last bit changes."""
        ...

    def settled(self, a: Array) -> Array:
        """An array whose last operation is fused with none that follows."""
        ...


class Plain:
    """NumPy or torch, whose operations are single ones.

    Args:
        library: the module.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def where(self, condition: Array, a: Any, b: Any) -> Array:
        """See `Arrays`."""
        return self._library.where(condition, a, b)

    def absolute(self, a: Array) -> Array:
        """See `Arrays`."""
        return abs(a)

    def sqrt(self, a: Array) -> Array:
        """See `Arrays`."""
        return self._library.sqrt(a)

    def tanh(self, a: Array) -> Array:
        """See `Arrays`."""
        return self._library.tanh(a)

    def floor(self, a: Array) -> Array:
        """See `Arrays`."""
        return self._library.floor(a)

    def product(self, a: Array, b: Any) -> Array:
        """See `Arrays`."""
        return a * b

    def settled(self, a: Array) -> Array:
        """See `Arrays`."""
        return a
