"""Python's operators on rounded tensors."""

from collections.abc import Callable
from typing import Any

import torch


def _called(name: str, *operands: Any) -> Any:
    from .torch_rounded_functions import call

    return call(name, getattr(torch, name), operands, {})


def _operator(name: str, reflected: bool = False) -> Callable[[Any, Any], Any]:
    def operator(self: Any, other: Any) -> Any:
        return _called(name, other, self) if reflected else _called(name, self, other)

    return operator


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    """`a += b` and the like: into the memory of a, unless operations are recorded."""

    def operator(self: Any, other: Any) -> Any:
        found = _operator(name)(self, other)
        if found.arithmetic != self.arithmetic:
            raise TypeError(
                f"the result is in {found.arithmetic!r} and cannot be written to {self.arithmetic!r}; write a = a + b, "
                "or convert an operand with .astype(...)"
            )
        if found.shape != self.shape:
            raise ValueError(f"the result has shape {tuple(found.shape)} and cannot be written to {tuple(self.shape)}")
        if found.requires_grad or self.requires_grad:
            return found
        self.values.copy_(found.values)
        return self

    return operator


class Operators:
    """Operators, each by way of torch's function of that name."""

    __slots__ = ()
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    __add__, __radd__, __iadd__ = _operator("add"), _operator("add", True), _in_place("add")
    __sub__, __rsub__, __isub__ = _operator("sub"), _operator("sub", True), _in_place("sub")
    __mul__, __rmul__, __imul__ = _operator("mul"), _operator("mul", True), _in_place("mul")
    __truediv__, __rtruediv__, __itruediv__ = _operator("div"), _operator("div", True), _in_place("div")
    __pow__, __rpow__, __ipow__ = _operator("pow"), _operator("pow", True), _in_place("pow")
    __mod__, __rmod__, __imod__ = _operator("remainder"), _operator("remainder", True), _in_place("remainder")
    __floordiv__, __rfloordiv__ = _operator("floor_divide"), _operator("floor_divide", True)
    __ifloordiv__ = _in_place("floor_divide")
    __lt__, __le__, __gt__, __ge__ = _operator("lt"), _operator("le"), _operator("gt"), _operator("ge")
    __eq__, __ne__ = _operator("eq"), _operator("ne")  # pyright: ignore[reportAssignmentType]

    def __neg__(self) -> Any:
        return _called("neg", self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return _called("abs", self)
