"""Convolutions in an emulated matrix unit."""

from dataclasses import dataclass
from math import prod
from typing import Any

from ...formats.catalogue import AnyFormat
from ...formats.rounding import Rounding
from ..dispatch import torch_is_compiling
from .matmul import Job, library_of, uncompiled
from .operands import Operand, with_chunks


def convolve(
    x: Any,
    w: Any,
    a_format: str | AnyFormat | None = None,
    b_format: str | AnyFormat | None = None,
    accumulator: Any = "fp32",
    *,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    order: str = "sequential",
    chunk: int | None = None,
    outer: Any = None,
    aligned_bits: int | None = None,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    fma: bool = False,
    seed: Any = None,
    out_dtype: Any = None,
) -> Any:
    """The convolution, without flipping the kernel, as a matrix unit computes it: an implicit matrix product.

    The products of a result are in the order of the places of the kernel, row by row, and at each place in that of the
    channels: (place 0, channel 0), (place 0, channel 1), ..., as of the matrix product that hardware makes of channels
    that are last in memory. Places outside of x multiply +0.

    Args:
        x: (n, c, *space) of one to three axes of space, float16, bfloat16, float32 or float64, of NumPy,
            torch or JAX.
        w: (o, c / groups, *kernel).
        a_format, b_format: of x and of w, as in `matmul`; blocks of scaled formats lie along the channels, axis 1.
        accumulator, order, chunk, outer, aligned_bits, rounding, overflow, fma, seed, out_dtype: as in `matmul`. A
            chunk of 'blocked' with scaled formats lies at one place of the kernel. Stochastic rounding counts results
            in the order (groups, n, *space, o / groups).
        stride, padding, dilation: one number, or one for each axis of space; as in torch's convolutions.
        groups: of channels; each is convolved with its share of w.

    Returns:
        (n, o, *space) values of the accumulator's format, of the outer one where there is one.

    Raises:
        ValueError, TypeError: as `matmul`; shapes, groups, strides, paddings and dilations that do not go together.

    Example:
        >>> import numpy as np
        >>> x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
        >>> convolve(x, w, "fp8_e4m3", "fp8_e4m3", "fp16", padding=1)[0, 0, :2, :3].tolist()
        [[12.0, 18.0, 18.0], [18.0, 27.0, 27.0]]
    """
    options = {
        "order": order, "chunk": chunk, "outer": outer, "aligned_bits": aligned_bits, "rounding": rounding,
        "overflow": overflow, "fma": fma,
    }  # fmt: skip
    place = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if torch_is_compiling():
        return uncompiled(
            convolve, x, w, a_format, b_format, accumulator, **place, **options, seed=seed, out_dtype=out_dtype
        )
    job = Job.of(accumulator, options, seed, out_dtype, "convolve")
    library = library_of(x, w)
    x, w = library.operand("x", x), library.operand("w", w)
    geometry = Geometry.of(tuple(x.shape), tuple(w.shape), **place)
    left, right = Operand.of("a", a_format, 1 - x.ndim), Operand.of("b", b_format, 1 - x.ndim)
    unit, apart = job.unit, job.takes_apart(left, right)
    if apart:
        blocks = {
            operand.name: (operand.block_along(tuple(z.shape)), z.shape[1]) for operand, z in ((left, x), (right, w))
        }
        lengths = {name: length for name, (length, channels) in blocks.items() if length < channels}
        lengths |= {"channels": geometry.channels} if prod(geometry.kernel) > 1 or groups > 1 else {}
        unit = with_chunks(unit, lengths, geometry.products)
        apart = 0 not in (*x.shape, *w.shape)
    first = library.terms(left, x, apart).map(lambda z: geometry.rows(library.windows(z, geometry), library.permute))
    second = library.terms(right, w, apart).map(lambda z: geometry.kernels(z, library.permute))
    return geometry.result(library.multiply(first, second, unit, job.draws, job.target), library.permute)


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the kernel moves.

    Args:
        batch: of x.
        filters: of w.
        channels: of a group.
        kernel: places of the kernel, along each axis of space.
        stride, padding, dilation: along each.
        groups: of channels.
        space: extents of the result.
    """

    batch: int
    filters: int
    channels: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    space: tuple[int, ...]

    @classmethod
    def of(
        cls, x: tuple[int, ...], w: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: Any
    ) -> "Geometry":
        """From the arguments of a call.

        Raises:
            ValueError: what does not go together.
        """
        if not 3 <= len(x) <= 5 or len(w) != len(x):
            raise ValueError(
                "convolve: expected x (n, c, *space) and w (o, c / groups, *kernel) of one to three axes of space, got "
                f"shapes {x} and {w}"
            )
        if not isinstance(groups, int) or groups < 1 or x[1] % groups or w[0] % groups:
            raise ValueError(
                f"groups: expected a divisor of the {x[1]} channels of x and the {w[0]} filters of w, got {groups!r}"
            )
        if w[1] * groups != x[1]:
            raise ValueError(
                f"convolve: w must have the channels of a group, {x[1]} / {groups} = {x[1] // groups}, got shape {w}"
            )
        kernel, axes = w[2:], len(x) - 2
        strides, dilations = _each("stride", stride, axes, 1), _each("dilation", dilation, axes, 1)
        paddings = _each("padding", padding, axes, 0)
        whole = [length + 2 * pad for length, pad in zip(x[2:], paddings)]
        reach = [d * (size - 1) + 1 for d, size in zip(dilations, kernel)]
        if 0 in kernel or any(length < size for length, size in zip(whole, reach)):
            raise ValueError(
                f"convolve: a kernel of shape {kernel} with dilation {dilations} reaches over {tuple(reach)}, more "
                f"than x with its padding, {tuple(whole)}; use a smaller one, or padding="
            )
        space = tuple((length - size) // step + 1 for length, size, step in zip(whole, reach, strides))
        return cls(x[0], w[0], w[1], kernel, strides, paddings, dilations, groups, space)

    @property
    def products(self) -> int:
        """Of a result."""
        return self.channels * prod(self.kernel)

    @property
    def reach(self) -> tuple[int, ...]:
        """What a kernel covers along each axis of space."""
        return tuple(d * (size - 1) + 1 for d, size in zip(self.dilation, self.kernel))

    def rows(self, windows: Any, permute: Any) -> Any:
        """(groups, n * space, products) of windows (n, c, *space, *kernel)."""
        axes = len(self.kernel)
        split = windows.reshape(self.batch, self.groups, self.channels, *self.space, *self.kernel)
        moved = permute(split, (1, 0, *range(3, 3 + 2 * axes), 2))
        return moved.reshape(self.groups, self.batch * prod(self.space), self.products)

    def kernels(self, w: Any, permute: Any) -> Any:
        """(groups, products, o / groups) of w."""
        split = w.reshape(self.groups, self.filters // self.groups, self.channels, *self.kernel)
        moved = permute(split, (0, *range(3, 3 + len(self.kernel)), 2, 1))
        return moved.reshape(self.groups, self.products, self.filters // self.groups)

    def result(self, found: Any, permute: Any) -> Any:
        """(n, o, *space) of (groups, n * space, o / groups)."""
        axes = len(self.kernel)
        split = found.reshape(self.groups, self.batch, *self.space, self.filters // self.groups)
        moved = permute(split, (1, 0, 2 + axes, *range(2, 2 + axes)))
        return moved.reshape(self.batch, self.filters, *self.space)


def _each(name: str, given: Any, axes: int, least: int) -> tuple[int, ...]:
    """One number for each axis of space.

    Raises:
        ValueError: another number of them, or one that is too small.
    """
    found = (given,) * axes if isinstance(given, int) else tuple(given)
    if len(found) != axes or any(not isinstance(n, int) or n < least for n in found):
        raise ValueError(f"{name}: expected {least} or more for each of {axes} axes of space, got {given!r}")
    return found
