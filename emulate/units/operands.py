"""Operands of a matrix unit: quantized, and where scales are multiplied in later, as elements and scales."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np

from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.registry import Format
from ...formats.scaled import ScaledFormat
from ..layouts import FLOAT32, LAYOUTS, fits
from ..quantize import decode, encode, quantize, scales
from ..rounded.context import extent
from .accumulator import Accumulator
from .span import Span


@dataclass(frozen=True, slots=True)
class Operand:
    """What is said about an operand.

    Args:
        name: of the argument, for messages.
        fmt: its format, None where it is taken as it is.
        axis: along which products are added.
    """

    name: str
    fmt: AnyFormat | None
    axis: int

    @classmethod
    def of(cls, name: str, fmt: Any, axis: int) -> "Operand":
        """With the format of that name, its blocks along the axis.

        Raises:
            TypeError: a complex format.
        """
        found = None if fmt is None else any_format(fmt)
        if isinstance(found, ComplexFormat):
            raise TypeError(f"{name}_format: {found.name} is for complex numbers; this unit multiplies real ones")
        if isinstance(found, ScaledFormat) and len(found.blocks.axes) == 1 and found.blocks.rest != 0:
            found = found.along(axis)
        return cls(name, found, axis)

    @property
    def scaled(self) -> bool:
        """Whether elements have scales."""
        return isinstance(self.fmt, ScaledFormat)

    def quantized(self, x: Any, dtype: str) -> Any:
        """x rounded to the format, in a dtype that holds it: elements times scales, in float32 at least.

        Args:
            dtype: of x.
        """
        if self.fmt is None:
            return x
        if isinstance(self.fmt, ScaledFormat):
            return quantize(x, self.fmt, pad=True, out_dtype="float64" if dtype == "float64" else "float32")
        wider = None
        if isinstance(self.fmt, Format) and not fits(self.fmt, LAYOUTS[dtype]):
            wider = "float32" if fits(self.fmt, FLOAT32) else "float64"
        return quantize(x, self.fmt, out_dtype=wider)

    def span(self, dtype: str, apart: bool) -> Span:
        """What numbers may take: of the format, of elements where they are apart, else of the dtype."""
        fmt = self.fmt.element if isinstance(self.fmt, ScaledFormat) and apart else self.fmt
        if isinstance(fmt, Format):
            return replace(Span.of(extent(fmt)), finite=False)
        layout = LAYOUTS[dtype if fmt is None or LAYOUTS[dtype].width > 16 else "float32"]
        return Span(layout.mantissa_bits + 1, layout.quantum_exponent, layout.bias, finite=False)

    def block_along(self, shape: tuple[int, ...]) -> int:
        """How many numbers along the axis share a scale; all of them where there is none.

        Raises:
            ValueError: scales that are not one factor of the elements of a block.
        """
        fmt = self.fmt
        if not isinstance(fmt, ScaledFormat):
            return shape[self.axis]
        if fmt.blocks.flat or fmt.zero_point or fmt.micro:
            kind = "flat blocks" if fmt.blocks.flat else "zero points" if fmt.zero_point else "micro exponents"
            raise ValueError(
                f"{self.name}_format: {kind} of {fmt.name} are no factor of a chunk's sum, as order='blocked' "
                "needs it; use another order, which multiplies elements with their scales first"
            )
        return fmt.blocks.extents(shape)[self.axis]

    def parts(self, x: Any) -> tuple[Any, Any]:
        """Elements without their scales, and the scale of every element; (x, None) where there is no scale."""
        fmt = self.fmt
        if not isinstance(fmt, ScaledFormat):
            return self.quantized(x, str(x.dtype).removeprefix("torch.")), None
        elements = decode(encode(x, fmt, pad=True, nan=0.0).elements, fmt.element)
        elements[x != x] = float("nan")
        found = scales(x, fmt, pad=True).decode
        for axis, length in enumerate(fmt.blocks.extents(tuple(x.shape))):
            repeat = getattr(found, "repeat_interleave", found.repeat)  # of torch, and of NumPy
            found = repeat(length, axis)[(slice(None),) * axis + (slice(0, x.shape[axis]),)]
        return elements, found


@dataclass(frozen=True, slots=True)
class Terms:
    """An operand as the unit multiplies it.

    Args:
        values: of the format; what gradients know.
        span: what the numbers that are multiplied may take, by their format or dtype; not whether they are finite.
        elements, scales: what is multiplied in their place where scales come later, else None. Scales are None, too,
            where the operand has none.
    """

    values: Any
    span: Span
    elements: Any = None
    scales: Any = None

    def map(self, change: Callable[[Any], Any]) -> "Terms":
        """All arrays changed in their shape."""
        values, elements, scales = (None if x is None else change(x) for x in (self.values, self.elements, self.scales))
        return Terms(values, self.span, elements, scales)

    @property
    def factor(self) -> Any:
        """What is multiplied."""
        return self.values if self.elements is None else self.elements


def terms_of(operand: Operand, x: Any, dtype: str, detached: Any) -> Terms:
    """An operand quantized, and taken apart where there is a detached copy of it to take apart."""
    values = operand.quantized(x, dtype)
    span = operand.span(dtype, detached is not None)
    return Terms(values, span) if detached is None else Terms(values, span, *operand.parts(detached))


def with_chunks(unit: Accumulator, lengths: dict[str, int], products: int) -> Accumulator:
    """The unit with chunks whose elements are multiplied without their scales.

    Args:
        lengths: what a chunk must divide, by what they are of: blocks that do not hold all products.
        products: of a sum.

    Raises:
        ValueError: a chunk that does not lie in one block of each operand.
    """
    common = gcd(*lengths.values()) or max(products, 1)
    chunk = common if unit.chunk is None else unit.chunk
    if any(length % chunk for length in lengths.values()):
        names = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(
            f"chunk={chunk} does not divide the blocks along the products ({names}), so that a chunk would have "
            f"several scales; use chunk={common}, or leave it out"
        )
    return unit.with_chunk(chunk)


def product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the product of two arrays, as NumPy's matmul has it.

    Raises:
        ValueError: arrays without axes, or shapes that do not go together.
    """
    if not a or not b:
        raise ValueError("matmul: expected arrays of one or more axes, got a number; multiply with *")
    axis = -2 if len(b) > 1 else 0
    if a[-1] != b[axis]:
        raise ValueError(
            f"matmul: axis -1 of a and axis {axis} of b, along which products are added, must be as long, got shapes "
            f"{a} and {b}"
        )
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise ValueError(f"matmul: batch axes {a[:-2]} and {b[:-2]} do not broadcast, of shapes {a} and {b}") from None
    return (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
