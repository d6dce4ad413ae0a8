"""What callers bring to a scaled format, as bits: scales over the grid of blocks, or a largest magnitude."""

from math import prod
from typing import Any

import numpy as np

from ..encoded import Amax, Scales
from ..scaled_plan import ScaledPlan
from ..scaled_run import work_of
from . import numpy as plain

Given = tuple | Amax | None
"""What the caller brought: scales as bits over the grid, or the bits of the tensor's largest magnitude."""


def amax_bits(plan: ScaledPlan, value: Any) -> int:
    """The largest magnitude as bits of the compute dtype.

    Raises:
        ValueError: anything but one finite number >= 0.
    """
    with np.errstate(over="ignore"):
        number = np.asarray(value, plain.FLOATS[plan.layout.name])
    if number.size != 1 or not 0 <= number.reshape(()) < np.inf:
        raise ValueError(f"amax: expected one finite number >= 0, got {value}")
    return int(np.abs(number).reshape(1).view(plain.BITS[plan.layout.width])[0])


def given_bits(plan: ScaledPlan, given: Any, shape: tuple[int, ...]) -> Given:
    """Scales the caller brought as bits over the grid, or the largest magnitude.

    Raises:
        TypeError, ValueError: scales of another shape or kind; the message says which were expected.
    """
    if given is None:
        return None
    if isinstance(given, Amax):
        return Amax(amax_bits(plan, given.value))
    scales = given if isinstance(given, Scales) else Scales(given)
    check_given(plan, scales)
    view = work_of(plan, shape).view
    grid = view.grid
    floats = plain.FLOATS[plan.layout.name]
    decode = np.asarray(scales.decode, None if hasattr(scales.decode, "dtype") else floats)  # lists and numbers
    floating = decode.dtype.kind == "f" or decode.dtype.name == "bfloat16"
    if not floating or decode.dtype.itemsize > floats.itemsize:
        raise TypeError(f"scale: expected {floats} or narrower floats, got {decode.dtype}; convert them with astype")
    integer = plain.BITS[plan.layout.width]
    offset = scales.zero_point
    return (
        _over_grid("scale", decode, grid).astype(floats).view(integer),
        None if offset is None else _over_grid("zero_point", np.asarray(offset), grid).astype(integer),
        tuple(
            _micro(np.asarray(bits), grid, view.block_size // size).astype(integer)
            for bits, size in zip(scales.micro, plan.structure.micro)
        ),
    )


def _micro(bits: np.ndarray, grid: tuple[int, ...], count: int) -> np.ndarray:
    if bits.shape != (*grid, count) or not np.isin(bits, (0, 1)).all():
        raise ValueError(f"micro: expected zeros and ones of shape {(*grid, count)}, got {bits.dtype}{bits.shape}")
    return bits


def check_given(plan: ScaledPlan, scales: Scales) -> None:
    """Raise where scales lack what the format needs besides."""
    name, zero_point, levels = plan.name, plan.structure.zero_point, len(plan.structure.micro)
    if zero_point != (scales.zero_point is not None):
        need = "needs zero points as well" if zero_point else "has no zero points"
        raise ValueError(f"scale: {name} {need}; pass what hu.scales(x, {name!r}) returns")
    if levels != len(scales.micro):
        raise ValueError(
            f"scale: {name} has {levels} levels of micro exponents, got {len(scales.micro)}; "
            f"pass what hu.scales(x, {name!r}) returns"
        )


def _over_grid(name: str, a: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    if a.shape != grid and a.size != 1:
        raise ValueError(f"{name}: expected one number or an array of shape {grid}, a number a block, got {a.shape}")
    return np.broadcast_to(a.reshape(grid) if a.size == prod(grid) else a.reshape(()), grid)
