"""Quantize one operand of a product in torch, and estimate the gradient through it: `operand_values` over tensors.

Everything here is traced by `torch.compile`: it reads tuples of names and numbers, never objects.
"""

import sys
from typing import Any

import torch

from ..recipes.operands import Operand
from . import operand_gradients, operand_values
from .operand_gradients import reads_values as reads_values
from .operand_scales import first_size as size_of
from .operand_values import Noise, stream_of, values_of
from .torch_floats import FLOATS

Spec = tuple[Any, ...]
"""An `Operand` as a plain tuple."""


def own_storage(t: torch.Tensor) -> torch.Tensor:
    """The same memory in a storage of its own, where FSDP2 is at work on the CPU.

    NumPy, which kernels use, fixes the size of a storage it has seen, and FSDP2 frees that of a gathered weight.
    """
    if torch.compiler.is_compiling() or not t.is_cpu or "torch.distributed.fsdp._fully_shard" not in sys.modules:
        return t
    return torch.from_dlpack(t.detach())


def rotated(t: torch.Tensor, spec: Spec, seed: Any, step: Any, inverse: bool = False) -> torch.Tensor:
    """The operand after its transform, or before."""
    return operand_values.rotated(t, Operand(*spec), seed, step, inverse)


def quantized(
    t: torch.Tensor,
    spec: Spec,
    seed: Any,
    step: Any,
    state: torch.Tensor | None = None,
    seen: torch.Tensor | None = None,
    call: int = 0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """An operand as its product takes it, and the scale that was given to it, where one was.

    Args:
        t: the operand, already transformed.
        seed: (2,) int64 words; step: () int64.
        state: () the largest magnitude of earlier steps, or the step size that is learned.
        seen: () where the largest magnitude of delayed scaling is gathered, in place; None gathers nothing.
        call: which of several products of one seed and step, so that each draws its own random words.

    Returns:
        Values of the dtype of t, times the prescale.
    """
    of = Operand(*spec)
    if not of.fmt:
        return t, None
    if seen is not None and of.scaling[0] == "delayed":
        _gather(t, seen)
    state = None if state is None else state.detach()
    return values_of(FLOATS, t, of, Noise(seed, step, stream_of(of, call)), state)


def _gather(t: torch.Tensor, seen: torch.Tensor) -> None:
    """The largest magnitude into `seen`, if it is finite: a step that overflowed must not spoil those after it."""
    largest = t.detach().abs().amax().to(seen.dtype)
    seen.copy_(torch.maximum(seen, torch.where(torch.isfinite(largest), largest, seen)))


def first_size(t: torch.Tensor, spec: Spec) -> torch.Tensor:
    """() the step size to begin with."""
    return size_of(FLOATS, t.detach(), Operand(*spec).largest)


def estimated(
    gradient: torch.Tensor,
    t: torch.Tensor,
    values: torch.Tensor,
    scale: torch.Tensor | None,
    spec: Spec,
    seed: Any,
    step: Any,
) -> torch.Tensor:
    """The gradient of an operand from that of its values.

    Args:
        gradient: of the values.
        t: the operand that was rounded.
        values: what it became.
        scale: the scale that was given, or None.
    """
    noise = Noise(seed, step, 0)  # what rounds up or down draws nothing
    return operand_gradients.estimated(FLOATS, gradient, t, values, scale, Operand(*spec), noise)


def step_gradient(
    gradient: torch.Tensor, t: torch.Tensor, values: torch.Tensor, scale: torch.Tensor, spec: Spec
) -> torch.Tensor:
    """() the gradient of a learned step size."""
    return operand_gradients.step_gradient(FLOATS, gradient, t, values, scale, Operand(*spec))
