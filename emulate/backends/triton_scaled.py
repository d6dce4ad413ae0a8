"""Drives torch tensors through the Triton kernels of scaled formats, where those give the portable kernels' bits.

The structures are those of the fused CPU kernel (`cpu_scaled.arguments_of`), but nothing depends on the data: the
GPU has gradual underflow, and the kernels take care of the ends of the exponent range themselves.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ...formats.rounding import ROUNDINGS, Rounding
from ...formats.scaled import ScaledFormat
from ..layouts import FLOAT32, Layout
from ..scaled_plan import ScaledPlan
from ..scaled_run import work_of
from ..scales import Work
from ..tables import Grid, mode_of
from . import cpu, cpu_scaled
from .torch_kernel import BITS, Offset
from .triton import Rotation, memory_layout, rotation_arguments
from .triton_memory import BLOCK, Flat, launch, row_starts
from .triton_tables import PARAMETERS, device_codebook, device_parameters, device_table, ends, uses_few_bits
from .triton_tiles import Blocks, Tile, blocks_of

_SHIFTED_MODES = ("nearest_even", "nearest_away", "nearest_zero", "toward_zero")
"""Modes that do not tell zero from what underflows when it is divided by a power of two."""
_LOWEST_QUANTUM = FLOAT32.bias - 90
"""Exponent field of the smallest element, so far above 2**-126 that what underflows rounds to zero in those modes,
and has no bit in a random word's fraction."""


@dataclass(frozen=True, slots=True)
class Task:
    """One pass of rounding over a tensor; see `triton.Task`.

    Args:
        codes: (code of NaN elements, of elements in blocks that are NaN) to write codes, None for values.
    """

    plan: ScaledPlan
    key: torch.Tensor | None
    offset: Offset
    source: Layout
    codes: tuple[int, int] | None = None
    rotation: Rotation | None = None
    block: int = BLOCK


def quantize(bits: torch.Tensor, plan: ScaledPlan, key: torch.Tensor | None, offset: Offset, out: torch.Tensor) -> bool:
    """Round numbers given by their bits into `out`, bits of the target dtype of any strides."""
    return run(Task(plan, key, offset, plan.source), bits, out)


def encode(
    bits: torch.Tensor,
    plan: ScaledPlan,
    key: torch.Tensor | None,
    offset: Offset,
    codes: tuple[int, int],
    elements: torch.Tensor,
    scales: torch.Tensor,
) -> bool:
    """Codes of numbers given by their bits into `elements`, and the values of their scales into `scales`; see `run`."""
    return run(Task(plan, key, offset, plan.source, codes), bits, elements, scales)


def quantize_rotated(
    x: torch.Tensor, plan: ScaledPlan, rotation: Rotation, key: torch.Tensor | None, offset: Offset, out: torch.Tensor
) -> bool:
    """As `triton.quantize_rotated`."""
    rotation.check(x.shape)
    bits, target = x.view(BITS[x.element_size() * 8]), out.view(BITS[out.element_size() * 8])
    return run(Task(plan, key, offset, memory_layout(x), rotation=rotation), bits, target)


def run(task: Task, bits: torch.Tensor, out: torch.Tensor, scales: torch.Tensor | None = None) -> bool:
    """One pass; False where only the portable kernels serve.

    Args:
        scales: where codes are written, float32 bits over the grid of scales, which takes their values; with an
            outer scale one more, which comes first.
    """
    plan, work = task.plan, work_of(task.plan, tuple(bits.shape))
    if not bits.numel():
        return True
    blocks, program = blocks_of(work, bits.numel()), _program(plan)
    if blocks is None or program is None:
        return False
    size = task.rotation.size if task.rotation else 0
    tile = blocks.tile(task.block, size)
    if size and not blocks.transforms(tile, size):
        return False
    if program.nvidia and (tile.long or work.groups is None or any(n > 1 for n in work.groups.grid)):
        return False
    starts, together = None, False
    if plan.rounding.stochastic:
        starts, together = row_starts(task.offset, bits.shape, bits.device)
        if starts.numel() != 1:
            return False
    with Flat(bits, out, ordered=True) as flat:
        _launch(task, program, blocks, tile, flat, starts, together and blocks.quads(tile), scales)
    return True


def decode(
    codes: torch.Tensor, element: Any, scales: torch.Tensor, work: Work, target: Layout, out: torch.Tensor
) -> bool:
    """Values of codes that are in range into `out`, bits of the target dtype; False where blocks lie otherwise.

    Args:
        element: format of the codes, of up to 16 bits.
        scales: float32 bits of what a unit is worth, over the grid of scales.
    """
    from . import triton_scaled_kernels as kernels

    blocks = blocks_of(work, codes.numel())
    if blocks is None:
        return False
    tile, table = blocks.tile(BLOCK, 0), device_table(element, FLOAT32, codes.device)
    with Flat(codes, out, ordered=True) as flat:
        launch(
            kernels.decoding, blocks.programs(tile), codes.device,
            flat.source, flat.target, table, scales.to(torch.int32).contiguous(),
            TARGET=target.name, **blocks.arguments(), **tile.arguments(),
        )  # fmt: skip
    return True


def _launch(
    task: Task, program: "Program", blocks: Blocks, tile: Tile, flat: Flat,
    starts: torch.Tensor | None, quads: bool, scales: torch.Tensor | None,
) -> None:  # fmt: skip
    from . import triton_scaled_kernels as kernels

    device, plan = flat.source.device, task.plan
    programs = blocks.programs(tile)
    common = {**blocks.arguments(), **rotation_arguments(task.rotation), **tile.arguments(), "SOURCE": task.source.name}
    tops = None
    if program.nvidia or tile.long:
        tops = torch.zeros(1 if program.nvidia else blocks.outer * blocks.groups, dtype=torch.int32, device=device)
        launch(kernels.maxima, programs, device, flat.source, tops, TENSOR=program.nvidia, **common)
    launch(
        kernels.quantize, programs, device,
        flat.source, flat.target, scales, tops,
        starts=starts, key=None if task.key is None else task.key.to(device),
        bad_code=0 if task.codes is None else task.codes[1],
        TARGET=plan.target.name if task.codes is None else "codes",
        KNOWN=tile.long, QUADS=quads,
        **program.arguments(device, None if task.codes is None else task.codes[0]), **common,
    )  # fmt: skip


def _program(plan: ScaledPlan) -> "Program | None":
    if plan.scale_rounding is not None or plan.overflow != "saturate" or not isinstance(plan.fmt, ScaledFormat):
        return None
    if 64 in (plan.source.width, plan.target.width) or plan.layout is not FLOAT32:
        return None
    return _cached(plan.fmt, plan.rounding)


@dataclass(frozen=True, slots=True)
class Program:
    """What the kernels know of a format and the rounding of its elements."""

    fmt: ScaledFormat
    rounding: Rounding
    fused: cpu_scaled.Fused
    element: Grid | None
    scale_parameters: np.ndarray
    numbers: np.ndarray
    flags: tuple[tuple[str, Any], ...]

    @property
    def nvidia(self) -> bool:
        """Whether the maximum of the tensor decides an outer scale."""
        return self.fused.nvidia

    def arguments(self, device: torch.device, nan_code: int | None) -> dict[str, Any]:
        """All that the kernel reads of the format, on a device; `nan_code` where codes are written."""
        found: dict[str, Any] = dict(self.flags)
        sp, powers = _on_device(self.fmt, self.rounding, device)
        found |= {"sp": sp, "powers": powers, "p": None, "thresholds": None, "results": None}
        found |= {"STEPS": 0, "specials": 0}
        if self.element is not None:
            mode, code = mode_of(self.rounding, 32), -1 if nan_code is None else nan_code
            found["p"] = device_parameters(self.element, FLOAT32, mode, "saturate", code, device)
        else:
            book = device_codebook(self.fmt.element, FLOAT32, self.rounding, "saturate", nan_code, device)
            found |= {"thresholds": book.thresholds, "results": book.results}
            found |= {"STEPS": book.steps, "specials": book.specials}
        return found


@lru_cache(maxsize=256)
def _on_device(fmt: ScaledFormat, rounding: Rounding, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    program = _cached(fmt, rounding)
    if program is None:
        raise ValueError(f"{fmt.name}: only the portable kernels serve")
    packed = np.concatenate([program.scale_parameters[:PARAMETERS], np.zeros(6, np.int32), program.numbers])
    powers = torch.from_numpy(program.fused.powers.copy().view(np.int32))
    return torch.from_numpy(packed).to(device), powers.to(device)


@lru_cache(maxsize=256)
def _cached(fmt: ScaledFormat, rounding: Rounding) -> Program | None:
    from ..scaled_tables import structure_of, tabulate_scaled

    fused = cpu_scaled.arguments_of(fmt, rounding)
    if fused is None:
        return None
    structure, table = structure_of(fmt), tabulate_scaled(fmt, FLOAT32)
    element = table.element if isinstance(table.element, Grid) else None
    if rounding.stochastic and element is None:
        return None
    if structure.shifts and not _shifts_exactly(element, rounding, fused):
        return None
    if fused.nvidia and (table.outer is None or table.outer.mantissa_bits != FLOAT32.mantissa_bits):
        return None
    linear, add, threshold, emax, divides = (int(n) for n in fused.how[:5])
    goal = table.inverse_goal if fused.nvidia else int(fused.numbers[:1].view(np.int32)[0])
    of_zeros = 0 if table.scale.zero else table.smallest
    numbers = [add, threshold, emax, goal, table.smallest, of_zeros, table.numerator]
    scale_mode = ROUNDINGS["up" if structure.inverse else "nearest_even"]
    kind = "codebook" if element is None else "stochastic" if rounding.stochastic else "deterministic"
    flags = {
        "KIND": kind, "NEAREST": rounding == cpu.NEAREST_EVEN, "FEW": uses_few_bits(mode_of(rounding, 32)),
        "LINEAR": bool(linear), "GOAL": goal != 0, "MULTIPLIES": bool(fused.how[7]), "DIVIDES": bool(divides),
        "NVIDIA": fused.nvidia, "SHIFTS": structure.shifts, "S_NEAREST": scale_mode == cpu.NEAREST_EVEN,
    }  # fmt: skip
    flags |= ends(fused.p) if element is not None else {"SAME": True, "CLAMPS": True, "KEEPS": True}
    flags |= {f"S_{name}": flag for name, flag in ends(fused.sp if not linear else _no_scale()).items()}
    sp = _no_scale() if linear else fused.sp
    return Program(fmt, rounding, fused, element, sp, np.array(numbers, np.int32), tuple(flags.items()))


def _no_scale() -> np.ndarray:
    """Parameters that nothing reads: scales are powers of two from a table."""
    return np.zeros(32, np.int32)


def _shifts_exactly(element: Grid | None, rounding: Rounding, fused: cpu_scaled.Fused) -> bool:
    """Whether dividing by a power of two, and rounding, is exact in float32 for any input and scale of the format."""
    sticky = False
    if rounding.stochastic:
        transform = cpu.word_transform(mode_of(rounding, 32), np.dtype(np.uint32))
        sticky = transform is not None and bool(transform[5])
    decided = rounding.name in _SHIFTED_MODES or (rounding.stochastic and not sticky)
    invertible = bool((fused.powers >= 2.0**-127).all())
    return element is not None and decided and invertible and int(element.quantum_field) >= _LOWEST_QUANTUM
