"""Formats and roundings on a device: what the Triton kernels read, kept per device."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ...formats.rounding import Rounding
from ..layouts import Layout
from ..tables import Grid, Mode, mode_of, tabulate
from . import cpu
from . import numpy as numpy_backend


def layout_arguments(layout: Layout) -> dict[str, Any]:
    """What kernels know of the compute dtype."""
    return {"LAYOUT": layout.name, "M": layout.mantissa_bits, "WIDTH": layout.width}


def ends(p: np.ndarray) -> dict[str, bool]:
    """What shortens the end of a rounding program: limits that are the same for both signs, a largest number that
    takes all beyond it, zeros that keep their sign."""
    return {
        "SAME": cpu.same_on_both_sides(p),
        "CLAMPS": bool((p[12:14] == p[14:16]).all() and (p[12:14] == p[16:18]).all()),
        "KEEPS": bool(p[18] != 0),
    }


def uses_few_bits(mode: Mode) -> bool:
    """Whether random words are transformed."""
    return cpu.word_transform(mode, np.dtype(np.uint32)) is not None


PARAMETERS = 32
"""How many of `cpu.parameters` the kernels read; what follows them in one array begins here."""


@dataclass(frozen=True, slots=True)
class Book:
    """A codebook on a device; see `triton_kernels.in_book`."""

    thresholds: torch.Tensor
    results: torch.Tensor
    steps: int
    specials: int


@lru_cache(maxsize=256)
def device_codebook(
    fmt: Any, layout: Layout, rounding: Rounding, overflow: str | None, nan_code: int | None, device: torch.device
) -> Book:
    """The search that rounds to a listed format, to values or where there is a code for NaN to codes."""
    book: Any = tabulate(fmt, layout, overflow)
    (_, _, specials), thresholds = cpu.codebook_parameters(book, layout, mode_of(rounding, layout.work_width))
    results = book.values if nan_code is None else np.where(book.codes < 0, nan_code, book.codes)
    on_device = (torch.from_numpy(a.astype(np.int32)).to(device) for a in (thresholds, results))
    return Book(*on_device, steps=int(thresholds.size).bit_length(), specials=int(specials))


@lru_cache(maxsize=1024)
def device_parameters(
    grid: Grid, layout: Layout, mode: Mode, overflow: str | None, nan_code: int, device: torch.device
) -> torch.Tensor:
    """`cpu.parameters` and `cpu.word_transform` (zeros where there is none) as int32 on a device."""
    p = cpu.parameters(grid, layout, mode, overflow, nan_code)
    if p is None:
        raise ValueError("this format has no parameters; `cpu.parameters` says which")
    transform = cpu.word_transform(mode, np.dtype(np.uint32))
    few = np.zeros(6, np.int32) if transform is None else transform.view(np.int32)
    return torch.from_numpy(np.concatenate([p[:PARAMETERS], few])).to(device)


@lru_cache(maxsize=256)
def device_table(fmt: Any, target: Layout, device: torch.device) -> torch.Tensor:
    """`numpy.decoding_table` on a device."""
    return torch.from_numpy(numpy_backend.decoding_table(fmt, target).copy()).to(device)
