"""Operations on several rounded arrays and plain numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import RoundedArray
from .context import Arithmetic
from .draws import Draws
from .operands import operand
from .operations import operate
from .promotion import promoted
from .reductions import dot_general, next_of


def common(operands: Sequence[Any]) -> tuple[Arithmetic, Draws | None]:
    """The arithmetic of the result of an operation, and the first draws there are.

    Raises:
        TypeError: formats or roundings that do not go together; no rounded array.
    """
    rounded = [x for x in operands if isinstance(x, RoundedArray)]
    if not rounded:
        raise TypeError("expected a rounded array among the operands; make one with hu.array(x, fmt)")
    draws = next((x.draws for x in rounded if x.draws is not None), None)
    return promoted(*(x.arithmetic for x in rounded)), draws


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once: a fused multiply-add.

    Args:
        a, b, c: arrays, at least one of them rounded.

    Raises:
        TypeError: no rounded array among them.

    Example:
        >>> from .arrays import array
        >>> x = array(1.0625, "bf16")
        >>> x * x + 2.0**-100, fma(x, x, 2.0**-100)
        (RoundedArray(1.125, bfloat16), RoundedArray(1.133, bfloat16))
    """
    rounded = [x for x in (a, b, c) if isinstance(getattr(x, "arithmetic", None), Arithmetic)]
    if not rounded:
        raise TypeError("fma: expected a rounded array among the three; make one with hu.array(x, fmt)")
    if not isinstance(rounded[0], RoundedArray):
        from ..backends.torch_rounded import combined as combined_tensors

        return combined_tensors("fma", a, b, c)
    return combined("fma", a, b, c)


def combined(name: str, *operands: Any) -> RoundedArray:
    """One of `operations.OPERATIONS` on rounded arrays and plain numbers."""
    target, draws = common(operands)
    values = [operand(x, target, draws) for x in operands]
    return RoundedArray(operate(name, target, values, next_of(draws)), target, draws)


def matrix_product(a: Any, b: Any, order: str = "sequential") -> RoundedArray:
    """`np.matmul` of rounded arrays and plain ones.

    Raises:
        ValueError: shapes that do not go together.
    """
    target, draws = common((a, b))
    left, right = operand(a, target, draws), operand(b, target, draws)
    if not left.ndim or not right.ndim:
        raise ValueError("matmul: expected arrays with axes, got a number; use * for products with numbers")
    rows, columns = left.ndim > 1, right.ndim > 1
    left, right = left if rows else left[None], right if columns else right[:, None]
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul: the contracted axes have {left.shape[-1]} and {right.shape[-2]} elements")
    found = dot_general(target, left, right, order, draws)
    found = found if columns else found[..., 0]
    found = found if rows else found[..., 0, :] if columns else found[..., 0]
    return RoundedArray(np.asarray(found), target, draws)
