"""Time on the GPU against the device's own copy of the same array, by CUDA events.

A row's bytes are those of input and output; GB/s counts them, so that what reads its input twice (NVFP4 and long
rows find a maximum first) shows what it costs. Copies are queued before each call that is timed, so that the host has
launched its kernels before the device gets to them: what the host takes for a call is a row of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter

import halfulp as hu
import torch
from halfulp.emulate.backends import triton, triton_packing
from halfulp.emulate.backends.torch_kernel import Offset
from halfulp.emulate.backends.triton_memory import BLOCK

from tests.support.triton_runs import quantize

SIZES = (1 << 26, 1 << 28)
COLUMNS = 4096
AHEAD = 16
"""Copies queued before a call."""
DTYPES = (torch.float32, torch.bfloat16)
TARGETS = {"nearest even": 0.85, "MX": 0.8, "stochastic": 0.7}
"""Shares of the copy's rate that the kernels were written for."""


@dataclass(frozen=True)
class Row:
    name: str
    dtype: str
    size: int
    milliseconds: float
    copy: float
    bytes_moved: int


def milliseconds(call: Callable[[], object], ahead: Callable[[], object], repeats: int = 20, warm_up: int = 3) -> float:
    """Median of the device's time of a call.

    Args:
        ahead: work that keeps the device busy while the host prepares the call.
    """
    for _ in range(warm_up):
        call()
    found = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(AHEAD):
            ahead()
        start.record()
        call()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return median(found)


def host_microseconds(device: torch.device, calls: int = 200) -> dict[str, float]:
    """What the host takes for a call of `hu.quantize` on a small tensor, launch included."""
    x, found = torch.randn(64, 64, device=device), {}
    for name, options in {"E4M3": {"fmt": "fp8_e4m3"}, "MXFP4": {"fmt": "mxfp4"}, "NVFP4": {"fmt": "nvfp4"}}.items():
        hu.quantize(x, **options)
        torch.cuda.synchronize(device)
        began = perf_counter()
        for _ in range(calls):
            hu.quantize(x, **options)
        torch.cuda.synchronize(device)
        found[name] = 1e6 * (perf_counter() - began) / calls
    return found


def rows(x: torch.Tensor, out: torch.Tensor) -> dict[str, tuple[Callable[[], object], int]]:
    """{name: (call, bytes written)}."""
    block = BLOCK
    run = partial(quantize, x, out=out, block=block)
    random = {"rounding": "stochastic", "seed": 1}
    rotation = triton.Rotation(32, torch.ones(32, device=x.device))
    codes = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    full = out.numel() * out.element_size()

    def packed() -> torch.Tensor | None:
        from halfulp.emulate.plan import make_plan

        name = str(x.dtype).removeprefix("torch.")
        plan = make_plan("fp4_e2m1", "nearest_even", None, name, None)
        bits = x.view(torch.int16 if x.element_size() == 2 else torch.int32)
        triton.encode(bits, plan, None, Offset((0,), None), 0, codes)
        return triton_packing.pack(codes, 4)

    return {
        "E4M3, nearest even": (lambda: run("fp8_e4m3"), full),
        "E4M3, up": (lambda: run("fp8_e4m3", rounding="up"), full),
        "E4M3, to odd": (lambda: run("fp8_e4m3", rounding="to_odd"), full),
        "E4M3, stochastic": (lambda: run("fp8_e4m3", **random), full),
        "INT8, nearest even": (lambda: run("int8"), full),
        "MXFP8 E4M3": (lambda: run("mxfp8_e4m3"), full),
        "MXFP4": (lambda: run("mxfp4"), full),
        "MXFP4, first axis": (lambda: run("mxfp4", axis=0), full),
        "MXFP4, stochastic": (lambda: run("mxfp4", **random), full),
        "NVFP4": (lambda: run("nvfp4"), full),
        "INT8 per row": (lambda: run("int8_per_row"), full),
        "Hadamard 32 and MXFP4": (lambda: run("mxfp4", rotation=rotation), full),
        "FP4 codes, packed": (packed, x.numel() // 2),
    }


def run(device: torch.device) -> list[Row]:
    """All rows; the copy is timed before each."""
    found = []
    for size in SIZES:
        for dtype in DTYPES:
            x = torch.randn(size // COLUMNS, COLUMNS, device=device).to(dtype)
            out = torch.empty_like(x)
            read = x.numel() * x.element_size()
            for name, (call, written) in rows(x, out).items():
                if call() is None:
                    raise RuntimeError(f"{name} of {dtype} was left to the portable kernels")
                unit = partial(out.copy_, x)
                copy = milliseconds(unit, unit)
                found.append(Row(name, str(dtype)[6:], size, milliseconds(call, unit), copy, read + written))
    return found


PRODUCTS = (("fp16", {}), ("bf16", {}), ("fp32", {"fma": True}), ("fp22", {"order": "blocked", "chunk": 128}))
"""Accumulators of the matrix unit that are timed."""


def products(device: torch.device, size: int = 1024) -> list[str]:
    """Operations a second of the matrix unit on E4M3 operands, two for a multiply-add, as lines of a table."""
    generator = torch.Generator().manual_seed(0)
    a, b = (hu.quantize(torch.randn(size, size, generator=generator), "fp8_e4m3").to(device) for _ in range(2))
    lines = ["\n| matrix unit, E4M3 operands | size | ms | Tflop/s |", "|---|---|---|---|"]
    for accumulator, options in PRODUCTS:
        call = partial(hu.matmul, a, b, accumulator=accumulator, **options)
        took = milliseconds(call, partial(torch.clone, a))
        details = "".join(f", {key}={value}" for key, value in options.items())
        lines.append(f"| {accumulator}{details} | {size} | {took:.3f} | {2 * size**3 / took / 1e9:.2f} |")
    return lines


def table(found: list[Row], host: dict[str, float], units: list[str]) -> str:
    """One row a kernel, dtype and size, the matrix unit, and the host's microseconds."""
    wanted = ", ".join(f"{name} {share:.0%}" for name, share in TARGETS.items())
    lines = [
        f"## Speed\n\nThe unit is the device's own copy. Written for: {wanted} of its rate.\n",
        "| kernel | dtype | elements | ms | GB/s | time / copy | rate / copy |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found:
        gb = r.bytes_moved / r.milliseconds / 1e6
        lines.append(
            f"| {r.name} | {r.dtype} | 2^{r.size.bit_length() - 1} | {r.milliseconds:.3f} | {gb:.0f} "
            f"| {r.milliseconds / r.copy:.2f} | {r.copy / r.milliseconds:.0%} |"
        )
    took = ", ".join(f"{name} {microseconds:.0f}" for name, microseconds in host.items())
    return "\n".join([*lines, *units, f"\nMicroseconds the host takes for a call of `quantize`: {took}."])
