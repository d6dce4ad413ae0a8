"""Einstein summation with quantized operands."""

from typing import Any

import torch

from ..products.torch_multiply import MATMUL, Products
from .einsum import contraction_of


def einsum(products: Products, equation: str, *operands: Any) -> torch.Tensor:
    """`torch.einsum` of two tensors as one product; of one tensor, or without a contraction, torch's own.

    Raises:
        ValueError: more than two tensors, or a letter twice in a term.
    """
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    if len(tensors) == 1:
        return _plain(equation, tensors)
    a, b = tensors if len(tensors) == 2 else (tensors[0], tensors[0])
    found = contraction_of(equation, a.dim(), b.dim())
    if not found.contracted:
        return _plain(equation, tensors)
    a, a_letters = _summed(a, found.a, found.b + found.out)
    b, b_letters = _summed(b, found.b, found.a + found.out)
    size = {c: n for letters, t in ((a_letters, a), (b_letters, b)) for c, n in zip(letters, t.shape) if n != 1}
    left = _arranged(a, a_letters, (found.batch, found.rows, found.contracted), size)
    right = _arranged(b, b_letters, (found.batch, found.contracted, found.columns), size)
    y = products.finished(products.multiply(left, right, MATMUL), None)
    given = found.batch + found.rows + found.columns
    y = y.reshape([size.get(c, 1) for c in given])
    return y.permute([given.index(c) for c in found.out])


def _plain(equation: str, tensors: Any) -> torch.Tensor:
    with torch._C.DisableTorchFunction():
        return torch.einsum(equation, *tensors)


def _summed(t: torch.Tensor, letters: str, others: str) -> tuple[torch.Tensor, str]:
    """The sum over axes that occur nowhere else."""
    alone = [k for k, c in enumerate(letters) if c not in others]
    return (t.sum(alone), "".join(c for c in letters if c in others)) if alone else (t, letters)


def _arranged(t: torch.Tensor, letters: str, groups: tuple[str, str, str], size: dict[str, int]) -> torch.Tensor:
    """(batch, rows, columns) of a tensor, by groups of its letters."""
    order = "".join(groups)
    t = t.permute([letters.index(c) for c in order]).expand([size.get(c, 1) for c in order])
    lengths = []
    for group in groups:
        total = 1
        for c in group:
            total *= size.get(c, 1)
        lengths.append(total)
    return t.reshape(lengths) if groups[0] else t.reshape(lengths[1:])
