"""Matrix products in an emulated matrix unit."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from ...formats.catalogue import AnyFormat
from ...formats.rounding import Rounding
from ..dispatch import backend_of, torch_is_compiling
from ..layouts import FLOAT32, FLOAT64, Layout, fits, require_fit
from ..plan import dtype_name, layout_named
from ..rounded.draws import Draws, draws_for
from .accumulator import Accumulator, accumulator_of
from .operands import Operand, product_shape, with_chunks


def matmul(
    a: Any,
    b: Any,
    a_format: str | AnyFormat | None = None,
    b_format: str | AnyFormat | None = None,
    accumulator: Any = "fp32",
    *,
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
    """The matrix product as a matrix unit computes it: operands in one format, sums in another, in a stated order.

    Every product and every sum is rounded once, as if it had been exact, in every format and rounding. The result
    depends on nothing else: not on threads, sizes of tiles, flushed subnormals, or the library of the operands.

    Args:
        a, b: (..., m, k) and (..., k, n) float16, bfloat16, float32 or float64, of NumPy, torch or JAX, whose batch
            axes broadcast; one axis alone is a vector, as in NumPy's matmul. Lists and numbers come back as NumPy.
        a_format, b_format: what operands are rounded to first, by `halfulp.quantize` with the format's own rounding;
            None takes them as they are, for any other rounding. Blocks of scaled formats lie along the products, axis
            -1 of a and -2 of b; a ragged last block is scaled by the elements it has.
        accumulator: the format of products and sums, 'kulisch' for exact ones, or an `Accumulator`.
        order, chunk, outer, aligned_bits, rounding, overflow, fma: of the accumulator, see `Accumulator`. Beside a
            whole `Accumulator` they must not say otherwise.
        seed: of stochastic roundings, an integer; see `Accumulator`. Sums of a place, and products of a place, count as
            one operation: the i-th draws the words of step i, indexed by the row-major place in the result.
        out_dtype: of the result, in place of float32, or float64 where values of the accumulator need it.

    Returns:
        The product, values of the accumulator's format, of the outer one where there is one. Without products +0.
        torch tensors and JAX arrays have a straight-through gradient: that of the exact product of the quantized
        operands, and of `halfulp.quantize`.

    Raises:
        ValueError: shapes that do not go together; unknown names; options that are missing, contradict each other or
            say nothing; a stochastic rounding without a seed; a dtype that does not hold the result.
        TypeError: operands that are no floats, or of two libraries or devices.

    Example:
        >>> import numpy as np
        >>> x = np.ones((1, 4096), np.float32)
        >>> float(matmul(x, x.T, accumulator="fp16")[0, 0]), float(matmul(x, x.T, accumulator="bf16")[0, 0])
        (2048.0, 256.0)
    """
    options = {
        "order": order, "chunk": chunk, "outer": outer, "aligned_bits": aligned_bits, "rounding": rounding,
        "overflow": overflow, "fma": fma,
    }  # fmt: skip
    if torch_is_compiling():
        return uncompiled(matmul, a, b, a_format, b_format, accumulator, **options, seed=seed, out_dtype=out_dtype)
    job = Job.of(accumulator, options, seed, out_dtype, "matmul")
    library = library_of(a, b)
    a, b = library.operand("a", a), library.operand("b", b)
    shape = product_shape(tuple(a.shape), tuple(b.shape))
    left, right = Operand.of("a", a_format, -1), Operand.of("b", b_format, -2 if b.ndim > 1 else -1)
    unit, apart = job.unit, job.takes_apart(left, right)
    if apart:
        products, operands = a.shape[-1], ((left, a), (right, b))
        blocks = {operand.name: operand.block_along(tuple(x.shape)) for operand, x in operands}
        unit = with_chunks(unit, {name: n for name, n in blocks.items() if n < products}, products)
        apart = 0 not in (*a.shape, *b.shape)
    first, second = library.terms(left, a, apart), library.terms(right, b, apart)
    if a.ndim == 1:
        first = first.map(lambda x: x[None])
    if b.ndim == 1:
        second = second.map(lambda x: x[:, None])
    return library.multiply(first, second, unit, job.draws, job.target).reshape(shape)


def uncompiled(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function gives while `torch.compile` traces: it is called outside of the graph."""
    from ..backends.torch_units import uncompiled as call

    return call(function, *arguments, **named)


@dataclass(frozen=True, slots=True)
class Job:
    """What a call says about sums and results.

    Args:
        unit: the accumulator.
        draws: of stochastic rounding, or None.
        target: dtype of the result.
    """

    unit: Accumulator
    draws: Draws | None
    target: Layout

    @classmethod
    def of(cls, accumulator: Any, options: dict[str, Any], seed: Any, out_dtype: Any, name: str) -> "Job":
        """From the arguments of a call."""
        unit = accumulator_of(accumulator, options)
        return cls(unit, draws_for(unit.draws, seed, name), target_of(unit, out_dtype))

    def takes_apart(self, *operands: Operand) -> bool:
        """Whether elements are multiplied without their scales.

        Raises:
            ValueError: 'blocked' without a chunk, where no scaled format has one.
        """
        blocked, scaled = self.unit.order == "blocked", any(operand.scaled for operand in operands)
        if blocked and not scaled and self.unit.chunk is None:
            raise ValueError("order='blocked' needs chunk=, the products that are added inside, e.g. chunk=128")
        return blocked and scaled


def target_of(unit: Accumulator, out_dtype: Any) -> Layout:
    """The dtype of results.

    Raises:
        ValueError: one that does not hold them.
    """
    fmt = unit.result.fmt
    if out_dtype is None:
        return FLOAT32 if fits(fmt, FLOAT32) else FLOAT64
    target = layout_named(dtype_name(out_dtype), "out_dtype")
    require_fit(fmt, target, "sums")
    return target


def library_of(a: Any, b: Any) -> ModuleType:
    """The module that takes the operands.

    Raises:
        TypeError: operands of two libraries.
    """
    names = {backend_of(x).__name__.rpartition(".")[2] for x in (a, b)}
    if len(names) > 1:
        raise TypeError(
            f"expected both operands of one library, got {type(a).__name__} and {type(b).__name__}; convert one with "
            "torch.as_tensor, jnp.asarray or np.asarray"
        )
    found = names.pop()
    return import_module(".arrays" if found == "numpy" else f"..backends.{found}_units", __package__)
