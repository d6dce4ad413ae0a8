"""Drives torch tensors through the Triton kernels, where those give the bits of the portable ones.

Tensors come as bits (`torch_kernel.BITS`). Every driver says whether it did the work: it leaves float64, wrapping,
formats without zero and whatever else `cpu.parameters` leaves to the portable kernels. Nothing here asks what
device a tensor is on, `available` does, so that Triton's interpreter runs the same drivers on CPU tensors.
Nothing waits for the device: keys, offsets, tables and maxima are read by the kernels.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from ..layouts import FLOAT32, Layout
from ..plan import Plan, layout_named
from ..tables import Codebook, TracedFormat
from . import cpu
from .torch_kernel import BITS, Offset, dtype_name
from .triton_memory import BLOCK, Flat, launch, row_starts
from .triton_tables import (
    device_codebook,
    device_parameters,
    device_table,
    ends,
    layout_arguments,
    uses_few_bits,
)

OLDEST = 8
"""Major compute capability from which on Triton compiles for a device."""


def available(x: torch.Tensor) -> bool:
    """Whether a tensor is on an NVIDIA device that Triton, which is installed, compiles for."""
    return x.device.type == "cuda" and _compiles_for(x.device)


@cache
def _compiles_for(device: torch.device) -> bool:
    nvidia = torch.version.hip is None and find_spec("triton") is not None
    return nvidia and torch.cuda.get_device_capability(device)[0] >= OLDEST


@dataclass(frozen=True, slots=True)
class Rotation:
    """A Hadamard transform of blocks of consecutive elements along the last axis, before they are rounded.

    Args:
        size: elements of a block, a power of two from 2 to 4096 that divides the last axis.
        signs: (size,) float32 of 1 and -1 by which elements are multiplied first, or None.

    Raises:
        ValueError: another size, or signs of another shape.
    """

    size: int
    signs: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.size <= BLOCK or self.size & (self.size - 1):
            raise ValueError(f"Hadamard size: expected a power of two from 2 to {BLOCK}, got {self.size}")
        if self.signs is not None and tuple(self.signs.shape) != (self.size,):
            raise ValueError(f"signs: expected shape {(self.size,)}, got {tuple(self.signs.shape)}")

    @property
    def norm(self) -> float:
        """1 / sqrt(size) as float32 holds it."""
        return float(np.float32(1 / np.sqrt(self.size)))

    def check(self, shape: torch.Size) -> None:
        """Raise unless whole blocks fill the last axis."""
        if not shape or shape[-1] % self.size:
            raise ValueError(
                f"Hadamard blocks of {self.size} need a last axis that is a multiple, got shape {tuple(shape)}"
            )


def rotation_arguments(rotation: Rotation | None) -> dict[str, Any]:
    """What kernels read of a transform."""
    if rotation is None:
        return {"signs": None, "norm": 1.0, "HADAMARD": 0, "STAGES": 0}
    signs = None if rotation.signs is None else rotation.signs.to(torch.float32).contiguous()
    stages = rotation.size.bit_length() - 1
    return {"signs": signs, "norm": rotation.norm, "HADAMARD": rotation.size, "STAGES": stages}


@dataclass(frozen=True, slots=True)
class Task:
    """One pass of rounding over a tensor.

    Args:
        plan: what to round to. Where there is a rotation, `plan.source` is float32: the transform's dtype.
        key: (stream, step, seed low word, seed high word), for stochastic modes.
        offset: where the tensor lies in the random stream.
        source: dtype in memory.
        nan_code: None for values, else codes are written and this one for NaN.
        rotation: a transform that comes first.
        block: elements of a program; results do not depend on it.
    """

    plan: Plan
    key: torch.Tensor | None
    offset: Offset
    source: Layout
    nan_code: int | None = None
    rotation: Rotation | None = None
    block: int = BLOCK

    @property
    def target(self) -> str:
        """What kernels write."""
        return self.plan.target.name if self.nan_code is None else "codes"


def quantize(bits: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: Offset, out: torch.Tensor) -> bool:
    """Round numbers given by their bits into `out`, bits of the target dtype of any strides."""
    return run(Task(plan, key, offset, plan.source), bits, out)


def quantize_rotated(
    x: torch.Tensor, plan: Plan, rotation: Rotation, key: torch.Tensor | None, offset: Offset, out: torch.Tensor
) -> bool:
    """Transform x (float16, bfloat16 or float32) and round the float32 results into `out`.

    Args:
        plan: with float32 as its source and the dtype of `out` as its target.
    """
    rotation.check(x.shape)
    bits, target = x.view(BITS[x.element_size() * 8]), out.view(BITS[out.element_size() * 8])
    return run(Task(plan, key, offset, memory_layout(x), rotation=rotation), bits, target)


def memory_layout(x: torch.Tensor) -> Layout:
    """The layout of a float tensor."""
    return layout_named(dtype_name(x), "x")


def hadamard(x: torch.Tensor, rotation: Rotation, out: torch.Tensor) -> None:
    """The transform alone, computed in float32 and rounded once into `out`, whose float dtype may differ."""
    from . import triton_elements

    rotation.check(x.shape)
    bits, target = x.view(BITS[x.element_size() * 8]), out.view(BITS[out.element_size() * 8])
    with Flat(bits, target, ordered=True) as flat:
        launch(
            triton_elements.rotation, -(-flat.size // BLOCK), flat.source.device,
            flat.source, flat.target, flat.size,
            SOURCE=memory_layout(x).name, TARGET=memory_layout(out).name,
            BLOCK=BLOCK, **rotation_arguments(rotation),
        )  # fmt: skip


def run(task: Task, bits: torch.Tensor, out: torch.Tensor) -> bool:
    """One pass; False where only the portable kernels serve."""
    plan = task.plan
    if 64 in (plan.source.width, plan.layout.width, plan.target.width) or isinstance(plan.fmt, TracedFormat):
        return False
    if task.rotation is not None and plan.layout is not FLOAT32:
        return False
    if not bits.numel():
        return True
    if isinstance(plan.table, Codebook):
        return False if plan.rounding.stochastic else _codebook(task, bits, out)
    code = -1 if task.nan_code is None else task.nan_code
    p = cpu.parameters(plan.table, plan.layout, plan.mode, plan.overflow, code)
    wide = plan.table.twos_complement and plan.table.code_bits > plan.layout.mantissa_bits + 1  # see `encode_grid`
    if p is None or (task.nan_code is not None and wide):
        return False
    on_device = device_parameters(plan.table, plan.layout, plan.mode, plan.overflow, code, bits.device)
    kernel = _stochastic if plan.rounding.stochastic else _deterministic
    kernel(task, bits, out, on_device, ends(p))
    return True


def _deterministic(
    task: Task, bits: torch.Tensor, out: torch.Tensor, p: torch.Tensor, at_ends: dict[str, bool]
) -> None:
    from . import triton_elements

    plan = task.plan
    with Flat(bits, out, ordered=task.rotation is not None) as flat:
        launch(
            triton_elements.deterministic, -(-flat.size // task.block), flat.source.device,
            flat.source, flat.target, p, flat.size,
            SOURCE=task.source.name, TARGET=task.target, NEAREST=plan.rounding == cpu.NEAREST_EVEN,
            BLOCK=task.block, **at_ends, **layout_arguments(plan.layout), **rotation_arguments(task.rotation),
        )  # fmt: skip


def _stochastic(task: Task, bits: torch.Tensor, out: torch.Tensor, p: torch.Tensor, at_ends: dict[str, bool]) -> None:
    from . import triton_elements

    plan = task.plan
    if task.key is None:
        raise ValueError("stochastic rounding needs random words")
    starts, together = row_starts(task.offset, bits.shape, bits.device)
    with Flat(bits, out, ordered=True) as flat:
        size = flat.size // starts.numel()
        blocks = -(-size // task.block)
        launch(
            triton_elements.stochastic, starts.numel() * blocks, flat.source.device,
            flat.source, flat.target, p, size, task.key.to(bits.device), starts, blocks,
            SOURCE=task.source.name, TARGET=task.target, FEW=uses_few_bits(plan.mode), QUADS=together,
            BLOCK=task.block, **at_ends, **layout_arguments(plan.layout), **rotation_arguments(task.rotation),
        )  # fmt: skip


def _codebook(task: Task, bits: torch.Tensor, out: torch.Tensor) -> bool:
    from . import triton_elements

    plan = task.plan
    book = device_codebook(plan.fmt, plan.layout, plan.rounding, plan.overflow, task.nan_code, bits.device)
    with Flat(bits, out, ordered=task.rotation is not None) as flat:
        launch(
            triton_elements.codebook, -(-flat.size // task.block), flat.source.device,
            flat.source, flat.target, book.thresholds, book.results, flat.size, book.specials, STEPS=book.steps,
            SOURCE=task.source.name, TARGET=task.target, BLOCK=task.block,
            **layout_arguments(plan.layout), **rotation_arguments(task.rotation),
        )  # fmt: skip
    return True


def encode(
    bits: torch.Tensor, plan: Plan, key: torch.Tensor | None, offset: Offset, nan_code: int, out: torch.Tensor
) -> bool:
    """Codes of numbers given by their bits into `out`, `nan_code` for NaN."""
    return run(Task(plan, key, offset, plan.source, nan_code), bits, out)


def decode(codes: torch.Tensor, fmt: Any, target: Layout, out: torch.Tensor) -> None:
    """Bits of the values of codes in range, of a format of up to 16 bits, into `out`."""
    from . import triton_elements

    table = device_table(fmt, target, codes.device)
    with Flat(codes, out, ordered=False) as flat:
        programs = -(-flat.size // BLOCK)
        launch(
            triton_elements.decoding, programs, codes.device, flat.source, flat.target, table, flat.size, BLOCK=BLOCK
        )
