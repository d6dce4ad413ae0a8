"""What is computed, as data: each task has a halfulp row per library and any number of peers' rows."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import halfulp as hu
import numpy as np

from .arrays import dtype_of

LARGE = 1 << 24
"""The size of the main table: 64 MiB of float32, beyond any cache."""

SWEEP = (1 << 6, 1 << 10, 1 << 16, 1 << 20, LARGE, 1 << 26)
"""The sizes of the tasks that show how time grows with size."""

NUMPY, TORCH, JAX = "halfulp NumPy", "halfulp torch", "halfulp JAX jit"
EVERY = (NUMPY, TORCH, JAX)


@dataclass(frozen=True, slots=True)
class Task:
    """One operation on one dtype.

    Args:
        name: as it stands in the table.
        fmt: the format.
        operation: quantize, quantize in place, encode, pack or unpack.
        options: of the operation.
        dtype: of the input.
        libraries: those whose halfulp row is timed.
        target: the time, in copies of the input, that the NumPy row is to reach at 2^24 on two cores.
        sizes: numbers of elements.
        moved: bytes read and written per element, where it is not twice the input's.
    """

    name: str
    fmt: str
    operation: str = "quantize"
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    libraries: tuple[str, ...] = (NUMPY,)
    target: float | None = None
    sizes: tuple[int, ...] = (LARGE,)
    moved: float | None = None

    @property
    def bytes_per_element(self) -> float:
        """Bytes read and written per element, each once."""
        return self.moved or 2 * dtype_of(self.dtype).itemsize


_STOCHASTIC = {"rounding": "stochastic", "seed": 1}
_FIRST = {"axis": 0}

TASKS = (
    Task("E4M3", "fp8_e4m3", libraries=EVERY, target=1.3, sizes=SWEEP),
    Task("E4M3, in place", "fp8_e4m3", "quantize in place"),
    Task("E4M3, toward zero", "fp8_e4m3", options={"rounding": "toward_zero"}, target=1.6),
    Task("E4M3, up", "fp8_e4m3", options={"rounding": "up"}, target=1.6),
    Task("E4M3, stochastic", "fp8_e4m3", options=_STOCHASTIC, libraries=EVERY, target=2.5, sizes=SWEEP),
    Task("E4M3 of float64", "fp8_e4m3", dtype="float64", target=1.6),
    Task("E4M3 of bfloat16", "fp8_e4m3", dtype="bfloat16", libraries=EVERY),
    Task("E4M3 of float16", "fp8_e4m3", dtype="float16"),
    Task("binary16 of float64", "binary16", dtype="float64", target=1.6),
    Task("MXFP8", "mxfp8_e4m3", libraries=EVERY, target=1.6),
    Task("MXFP8, first axis", "mxfp8_e4m3", options=_FIRST, target=2.5),
    Task("MXFP4", "mxfp4", libraries=EVERY, target=1.6, sizes=SWEEP),
    Task("MXFP4, first axis", "mxfp4", options=_FIRST, target=2.5),
    Task("MXFP4, stochastic", "mxfp4", options=_STOCHASTIC),
    Task("Hadamard-32 + MXFP4", "mxfp4", options={"transform": "hadamard32"}, libraries=(NUMPY, TORCH), target=3.0),
    Task("NVFP4", "nvfp4", libraries=EVERY, target=2.0),
    Task("INT8 per row", "int8_per_row", libraries=EVERY, target=1.6),
    Task("NF4", "nf4"),
    Task("E4M3, encode", "fp8_e4m3", "encode", moved=5),
    Task("E2M1, pack to 4 bits", "fp4_e2m1", "pack", target=1.3, moved=4.5),
    Task("E2M1, unpack from 4 bits", "fp4_e2m1", "unpack", moved=4.5),
)


def available() -> list[Task]:
    """The tasks whose options this version of halfulp has."""
    known = inspect.signature(hu.quantize).parameters
    return [task for task in TASKS if set(task.options) <= set(known)]


def matching(pattern: str) -> list[Task]:
    """The tasks whose name matches a shell pattern, or contains it, whatever the case.

    Raises:
        ValueError: no such task.
    """
    tasks, wanted = available(), pattern.lower()
    found = [task for task in tasks if fnmatchcase(task.name.lower(), wanted)]
    found = found or [task for task in tasks if wanted in task.name.lower()]
    if not found:
        names = "; ".join(task.name for task in tasks)
        raise ValueError(f"no row matches {pattern!r}; expected a part of, or a pattern for, one of: {names}")
    return found


def exact(task: Task, x: np.ndarray) -> list[np.ndarray]:
    """The results a correct library may give: one array, or for stochastic rounding both neighbours."""
    if task.operation in ("pack", "unpack"):
        return [np.asarray(hu.quantize(x, task.fmt))]
    call = hu.encode if task.operation == "encode" else hu.quantize
    if task.options.get("rounding") != "stochastic":
        return [np.asarray(call(x, task.fmt, **task.options))]
    return [np.asarray(call(x, task.fmt, rounding=rounding)) for rounding in ("down", "up")]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How results compare with those of exact arithmetic.

    Args:
        share: of the results that exact arithmetic does not give.
        relative: the median of the differences in units of the exact result, over the results that differ.
    """

    share: float
    relative: float


def disagreement(task: Task, x: np.ndarray, result: np.ndarray) -> Disagreement:
    """Compare results with the exact ones.

    Args:
        result: in the shape of x up to reshaping; for pack and unpack the values that come back.
    """
    values = np.asarray(result).reshape(x.shape)
    allowed = exact(task, x)
    wrong = np.logical_and.reduce([values != a for a in allowed])
    if not wrong.any():
        return Disagreement(0.0, 0.0)
    off = np.float64(values[wrong])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = min(np.median(np.abs(off / np.float64(a[wrong]) - 1)) for a in allowed)
    return Disagreement(float(wrong.mean()), float(relative))
