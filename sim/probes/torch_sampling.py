"""A part of large tensors that stands for all of them: whole blocks, and whole rows of products, spread evenly."""

from functools import lru_cache
from typing import Any

import torch

from ...emulate.views import View
from ..products.torch_products import Kind, data_gradient, product, unscaled, weight_gradient
from .sums import Grid, Sums, exponents_of_scales, sums_of
from .torch_space import SPACE

_LEFT = {0: (-2, 0), 2: (-2, 0), 4: (-1, 1)}
"""By the first operand of a product: the axis of it whose every index gives results of its own, of matrix products and
convolutions."""
_WEIGHT = {"linear": 0, "matmul": -1, "convolution": 0, "transposed": 1}
"""The axis of the weight that belongs to that of E."""


@lru_cache(maxsize=256)
def _spread(length: int, count: int, device: torch.device) -> torch.Tensor:
    """(count,) indices below a length: one at a place that looks random in each of as many equal parts."""
    parts = torch.arange(count, device=device)
    jitter = (parts * 2654435761 + 12345) % (1 << 16)
    starts, ends = parts * length // count, (parts + 1) * length // count
    return starts + jitter * (ends - starts) // (1 << 16)


def sampled_sums(
    x: torch.Tensor, values: torch.Tensor, times: float, fmt: Any, grid: Grid | None, limit: int | None
) -> Sums:
    """`sums_of`, of about as many elements as the limit, in whole blocks; the largest magnitude and scales of all.

    Args:
        times: what x was multiplied with before it was rounded.
        limit: None for all elements.
    """
    part, part_values, part_grid = (x, values, grid) if limit is None else _part(x, values, grid, limit)
    found = sums_of(SPACE, part if times == 1.0 else part * times, part_values, fmt, part_grid)
    amax = SPACE.largest(x) if grid is None or grid.amax is None else grid.amax
    every = found.blocks if grid is None or part is x else exponents_of_scales(SPACE, grid.decode)
    signal, noise = found.signal / times**2, found.noise / times**2
    return found._replace(signal=signal, noise=noise, amax=SPACE.wide(amax), blocks=every)


def _part(
    x: torch.Tensor, values: torch.Tensor, grid: Grid | None, limit: int
) -> tuple[torch.Tensor, torch.Tensor, Grid | None]:
    """Whole blocks of x, along the axis that has most of them, with their values and scales."""
    shape = tuple(x.shape) if grid is None else grid.view.lengths
    extents = (1,) * len(shape) if grid is None else grid.view.extents
    whole = [n // b if n % b == 0 else 1 for n, b in zip(shape, extents)]
    axis = max(range(len(shape)), key=whole.__getitem__)
    count = max(whole[axis] * limit // x.numel(), 1)
    if count >= whole[axis]:
        return x, values, grid
    blocks, size = _spread(whole[axis], count, x.device), extents[axis]
    indices = blocks if size == 1 else (blocks[:, None] * size + torch.arange(size, device=x.device)).reshape(-1)
    part, part_values = (t.reshape(shape).index_select(axis, indices) for t in (x, values))
    if grid is None:
        return part, part_values, None
    lengths = tuple(part.shape)
    scales = grid.decode.reshape(grid.view.grid).index_select(axis, blocks)
    return part, part_values, Grid(View(lengths, lengths, extents), scales)


def rows_of(kind: Kind, k: int, left: torch.Tensor, result: int, limit: int | None) -> tuple[int, torch.Tensor] | None:
    """The axis of a product's first operand, and those of its indices whose results stand for all; None for all.

    Args:
        k: number of that operand. result: elements of the product.
        limit: elements that are wanted, or None.
    """
    convolution = kind[0] in ("convolution", "transposed")
    if limit is None or result <= limit or (convolution and k == 4 and kind[5] > 1):
        return None
    axis = _LEFT[k][convolution]
    length = left.shape[axis]
    return axis, _spread(length, max(length * limit // result, 1), left.device)


def multiplied(
    k: int, left: torch.Tensor, right: torch.Tensor, like: torch.Tensor, kind: Kind, unit: Any, specs: Any, rows: Any
) -> torch.Tensor:
    """The product of operands k and k + 1, of some rows, without their prescales.

    Args:
        like: the factor whose gradient it is; not read of the forward product.
        rows: see `rows_of`.
    """
    if rows is not None:
        axis, indices = rows
        left = left.index_select(axis, indices)
        if k == 2:
            like = like.index_select(axis, indices)
        if k == 4:
            like = like.index_select(_WEIGHT[kind[0]], indices)
    if k == 0:
        found = product(left, right, kind, unit)
    else:
        found = (data_gradient if k == 2 else weight_gradient)(left, right, like, kind, unit)
    return found if specs is None else unscaled(found, specs[k], specs[k + 1])
