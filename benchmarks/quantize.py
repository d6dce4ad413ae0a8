"""Time rounding 2**24 float32, to E4M3 or as a row says, against a copy of the same array and against the peers.

Protocol: outputs are preallocated, since page faults on fresh memory would dominate; the denominator is a
copy by two threads, each np.copyto of one half; every row is the median of several calls, and the copy is
timed again between the rows, so that a noisy machine shows. JAX allocates its results whatever is asked,
so its rows stand beside a jitted copy of its own.

    python -m benchmarks.quantize             print the table
    python -m benchmarks.quantize --record    and write it into benchmarks/RESULTS.md
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import halfulp as hu
import ml_dtypes
import numpy as np

SIZE = 1 << 24
RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True)
class Timing:
    name: str
    median: float
    low: float
    high: float
    copy: float

    @property
    def ratio(self) -> float:
        return self.median / self.copy


def measure(call: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call, after one that compiles and touches memory."""
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def two_thread_copy(x: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    pool, half = ThreadPoolExecutor(2), x.size // 2

    def copy() -> None:
        parts = [pool.submit(np.copyto, out[part], x[part]) for part in (slice(half), slice(half, None))]
        for part in parts:
            part.result()

    return copy


def numpy_rows(x: np.ndarray, out: np.ndarray) -> dict[str, Callable[[], object]]:
    codes = np.empty(x.size, np.uint8)
    eighth = np.empty(x.size, ml_dtypes.float8_e4m3fn)
    x64, out64 = x.astype(np.float64), np.empty(x.size)
    half_in, half_out = x.astype(np.float16), np.empty(x.size, np.float16)

    def ml_dtypes_round_trip() -> None:
        np.copyto(eighth, x, casting="unsafe")
        np.copyto(out, eighth)

    return {
        "halfulp NumPy, nearest even": lambda: hu.quantize(x, "fp8_e4m3", out=out),
        "halfulp NumPy, up": lambda: hu.quantize(x, "fp8_e4m3", rounding="up", out=out),
        "halfulp NumPy, to odd": lambda: hu.quantize(x, "fp8_e4m3", rounding="to_odd", out=out),
        "halfulp NumPy, stochastic": lambda: hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=1, out=out),
        "halfulp NumPy, nearest even, in place": lambda: hu.quantize(out, "fp8_e4m3", out=out),
        "halfulp NumPy, encode": lambda: hu.encode(x, "fp8_e4m3", out=codes),
        "halfulp NumPy, nf4": lambda: hu.quantize(x, "nf4", out=out),
        "halfulp NumPy, float64 to binary16": lambda: hu.quantize(x64, "binary16", out=out64),
        "halfulp NumPy, float16": lambda: hu.quantize(half_in, "fp8_e4m3", out=half_out),
        "ml_dtypes cast and back": ml_dtypes_round_trip,
    }


def scaled_rows(x: np.ndarray, out: np.ndarray) -> dict[str, Callable[[], object]]:
    """Scaled formats of a 4096 x 4096 matrix, and torchao's where it has them."""
    import torch
    from torchao.prototype.mx_formats.mx_tensor import MXTensor

    square, result = x.reshape(4096, 4096), out.reshape(4096, 4096)
    names = ("mxfp8_e4m3", "mxfp4", "nvfp4", "nvfp4_2d", "int8_per_row", "int8_per_tensor")
    rows: dict[str, Callable[[], object]] = {
        f"halfulp NumPy, {name}": lambda name=name: hu.quantize(square, name, out=result) for name in names
    }
    for name in ("mxfp8_e4m3", "mxfp4"):
        rows[f"halfulp NumPy, {name}, first axis"] = lambda name=name: hu.quantize(square, name, axis=0, out=result)
    rows["halfulp NumPy, mxfp4, stochastic"] = lambda: hu.quantize(
        square, "mxfp4", rounding="stochastic", seed=1, out=result
    )
    t, o = torch.from_numpy(square), torch.from_numpy(result)
    rows["halfulp torch, mxfp4"] = lambda: hu.quantize(t, "mxfp4", out=o)
    kinds = {"mxfp8_e4m3": torch.float8_e4m3fn, "mxfp4": torch.float4_e2m1fn_x2}
    for name, kind in kinds.items():
        rows[f"torchao {name} and back, eager"] = lambda kind=kind: o.copy_(MXTensor.to_mx(t, kind, 32).dequantize())
    return rows


def torch_rows(x: np.ndarray, out: np.ndarray) -> dict[str, Callable[[], object]]:
    import torch

    t, o = torch.from_numpy(x), torch.from_numpy(out)
    eighth = torch.empty(t.shape, dtype=torch.float8_e4m3fn)

    def round_trip(t: torch.Tensor) -> torch.Tensor:
        return t.to(torch.float8_e4m3fn).to(torch.float32)

    compiled = torch.compile(lambda t, o: o.copy_(round_trip(t)))
    return {
        "halfulp torch, nearest even": lambda: hu.quantize(t, "fp8_e4m3", out=o),
        "halfulp torch, stochastic": lambda: hu.quantize(t, "fp8_e4m3", rounding="stochastic", seed=1, out=o),
        "torch cast and back, eager": lambda: o.copy_(eighth.copy_(t)),
        "torch cast and back, compiled": lambda: compiled(t, o),
    }


def jax_rows(x: np.ndarray) -> dict[str, Callable[[], object]]:
    import jax
    import jax.numpy as jnp

    a = jnp.asarray(x)
    functions = {
        "JAX copy (x + 1), jit": lambda a: a + 1,
        "halfulp JAX, nearest even, jit": lambda a: hu.quantize(a, "fp8_e4m3"),
        "halfulp JAX, stochastic, jit": lambda a: hu.quantize(a, "fp8_e4m3", rounding="stochastic", seed=1),
        "JAX cast and back, jit": lambda a: a.astype(jnp.float8_e4m3fn).astype(jnp.float32),
    }

    def row(f: Callable) -> Callable[[], object]:
        jitted = jax.jit(f)
        return lambda: jitted(a).block_until_ready()

    return {name: row(f) for name, f in functions.items()}


def run(repeats: int) -> list[Timing]:
    x = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    out = np.empty_like(x)
    copy = two_thread_copy(x, out)
    timings = []
    for name, call in {**numpy_rows(x, out), **scaled_rows(x, out), **torch_rows(x, out), **jax_rows(x)}.items():
        reference = statistics.median(measure(copy, repeats))
        seconds = sorted(measure(call, repeats if "torchao" not in name else min(repeats, 5)))
        timings.append(Timing(name, statistics.median(seconds), seconds[0], seconds[-1], reference))
    return timings


def table(timings: list[Timing]) -> str:
    lines = [
        "| 2^24 float32, to E4M3 where a row names no format | median ms | min..max ms | GB/s | time / copy |",
        "|---|---|---|---|---|",
    ]
    for t in timings:
        median, spread = f"{1e3 * t.median:.1f}", f"{1e3 * t.low:.1f}..{1e3 * t.high:.1f}"
        lines.append(f"| {t.name} | {median} | {spread} | {2 * 4 * SIZE / t.median / 1e9:.1f} | {t.ratio:.2f} |")
    copies = sorted(t.copy for t in timings)
    lines.append(
        f"| copy by two threads (the unit) | {1e3 * statistics.median(copies):.1f} | "
        f"{1e3 * copies[0]:.1f}..{1e3 * copies[-1]:.1f} | {8 * SIZE / statistics.median(copies) / 1e9:.1f} | 1 |"
    )
    return "\n".join(lines)


def machine() -> str:
    """The processor, its cores, and the versions that ran."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("halfulp", "numpy", "numba", "torch", "jax", "ml_dtypes")
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}; {packages}"


def record(text: str, name: str) -> None:
    """Replace this machine's section of RESULTS.md, or add one."""
    head = f"## {name}"
    old = (
        RESULTS.read_text()
        if RESULTS.exists()
        else "# Benchmark results\n\nThe latest run per machine; `make bench` prints one, `--record` writes it here.\n"
    )
    sections = [part for part in old.split("\n## ") if not part.startswith(name)]
    RESULTS.write_text("\n## ".join(sections).rstrip() + f"\n\n{head}\n\n{text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="calls a row (default: 15)")
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/RESULTS.md")
    options = parser.parse_args()
    name, text = machine(), table(run(options.repeats))
    print(f"{name}\n\n{text}")
    if options.record:
        record(text, name)


if __name__ == "__main__":
    main()
