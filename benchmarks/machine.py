"""What ran where: the processor, and the versions of everything timed."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("halfulp", "numpy", "numba", "torch", "jax", "ml_dtypes", "torchao", "qwix", "pychop", "gfloat")


def machine_name() -> str:
    """The model of the processor and the cores this process may use."""
    model, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        named = [line.partition(":")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
        model = named[0].strip() if named else model
    return f"{model}, {cores()} cores"


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
