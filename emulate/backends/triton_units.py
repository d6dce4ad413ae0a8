"""Drives tensors through the Triton kernel of the matrix unit, where that gives the bits of the NumPy path.

It knows sums one after the other, in chunks or not, in float formats and integers that saturate, with deterministic
roundings, as far as the formats and dtypes of the operands promise that products are exact in float32 or float64.
Nothing looks at the data or waits for the device.
"""

from math import prod
from typing import Any

import torch

from ..layouts import FLOAT32, Layout
from ..rounded.context import Arithmetic, extent
from ..tables import mode_of, tabulate
from ..units.accumulator import Accumulator
from ..units.operands import Terms
from ..units.routes import FUSED, NATIVE, ODD, Route, carrier_of_binary, route_for
from . import cpu
from .torch_kernel import torch_dtype
from .triton_memory import launch
from .triton_tables import device_parameters, ends

ROWS, COLUMNS = 32, 64
"""Results of a program."""


def multiply(a: Terms, b: Terms, unit: Accumulator, target: Layout) -> torch.Tensor | None:
    """The products of (..., m, k) and (..., k, n) tensors; None where the kernel does not know the case."""
    if unit.exact or unit.order not in ("sequential", "blocked") or a.scales is not None or b.scales is not None:
        return None
    route = route_for(unit.arithmetic, a.span, b.span, unit.fma, pairwise=False, flushes=False)
    if route is None or (unit.order == "blocked" and not _adds_outside(unit)):
        return None
    return run(route, a.factor, b.factor, unit, target)


def _adds_outside(unit: Accumulator) -> bool:
    """Whether sums of chunks are added in binary32, and have no more bits than that."""
    inner, outer = extent(unit.arithmetic.fmt), unit.outer
    return carrier_of_binary(outer) is FLOAT32 and inner.precision <= extent(outer.fmt).precision


def run(
    route: Route,
    a: torch.Tensor,
    b: torch.Tensor,
    unit: Accumulator,
    target: Layout,
    tile: tuple[int, int] | None = None,
) -> torch.Tensor:
    """The products by the kernel; results do not depend on the tile."""
    from . import triton_unit_kernels

    carrier, (rows, columns) = torch_dtype(route.carrier), tile or (ROWS, COLUMNS)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (m, k), n = a.shape[-2:], b.shape[-1]
    if b.dim() == 2:
        x, y = a.reshape(1, prod(a.shape[:-1]), k), b[None]
    else:
        x = a.expand(*batch, m, k).reshape(prod(batch), m, k)
        y = b.expand(*batch, k, n).reshape(prod(batch), k, n)
    x, y = x.detach().to(carrier).contiguous(), y.detach().to(carrier).contiguous()
    x = -x if route.negated else x
    out = torch.empty(*x.shape[:2], n, dtype=carrier, device=x.device)
    across = -(-n // columns)
    programs = x.shape[0] * -(-x.shape[1] // rows) * across
    p, flags = _parameters(route, unit.arithmetic, x.device)
    launch(
        triton_unit_kernels.sequential, programs, x.device,
        x, y, out, p, x.shape[1], n, k, unit.chunk or max(k, 1), across,
        M=route.carrier.mantissa_bits, WIDTH=route.carrier.width, NATIVE=route.kind == NATIVE,
        NEAREST=unit.arithmetic.rounding == cpu.NEAREST_EVEN, **flags, ODD=route.total == ODD,
        FUSED=route.total == FUSED, ROUNDS=route.rounds, NEGATED=route.negated, OUTER=unit.order == "blocked",
        ROWS=rows, COLUMNS=columns,
    )  # fmt: skip
    return out.reshape(*batch, m, n).to(torch_dtype(target))


def _parameters(route: Route, arithmetic: Arithmetic, device: torch.device) -> tuple[torch.Tensor, dict[str, bool]]:
    """What the kernel reads of the format, and the flags that shorten it."""
    if route.kind == NATIVE:
        nothing: Any = torch.zeros(1, dtype=torch.int32, device=device)
        return nothing, {"SAME": True, "CLAMPS": True, "KEEPS": True}
    layout = route.carrier
    table: Any = tabulate(arithmetic.fmt, layout, arithmetic.overflow)
    mode = mode_of(route.rounding, layout.work_width)
    return device_parameters(table, layout, mode, arithmetic.overflow, -1, device), ends(route.parameters)
