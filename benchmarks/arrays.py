"""The arrays every row works on, and the copies every row is measured by."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from .timing import Call

THREADS_FROM = 1 << 18
"""Elements from which the copy takes two threads; below, waking a thread takes longer than the copy."""


def shape_of(size: int) -> tuple[int, int]:
    """A matrix of that many elements, a power of two, as square as it gets, and at least 32 wide."""
    columns = max(32, 1 << (size.bit_length() // 2))
    if size % columns or size < columns:
        raise ValueError(f"expected a size that is a power of two and at least 64, got {size}; pass e.g. 2^20")
    return size // columns, columns


def dtype_of(name: str) -> np.dtype:
    """A dtype of NumPy or ml_dtypes by name."""
    return np.dtype(getattr(ml_dtypes, name, name))


@lru_cache(maxsize=2)
def array_of(size: int, dtype: str) -> np.ndarray:
    """Standard normal numbers, the same in every process."""
    x = np.random.default_rng(0).standard_normal(shape_of(size), np.float32)
    return x.astype(dtype_of(dtype), copy=False)


_pool = lru_cache(maxsize=1)(lambda: ThreadPoolExecutor(2))


_PAGE = 4096


def half_a_page_off(x: np.ndarray) -> np.ndarray:
    """An empty array like x that lies half a page off it, modulo pages.

    Large arrays begin where pages do, all at the same offset, and there the `rep movsb` that memcpy uses is up to
    ten times slower on some processors (glibc bug 30994): a unit that would flatter every row.
    """
    room = np.empty(x.nbytes + _PAGE, np.uint8)
    start = (x.ctypes.data + _PAGE // 2 - room.ctypes.data) % _PAGE
    return room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)


def two_thread_copy(x: np.ndarray) -> Call:
    """One np.copyto of each half, in two threads; the unit of every ratio."""
    out, half = half_a_page_off(x), len(x) // 2
    if x.size < THREADS_FROM:
        return lambda: np.copyto(out, x)
    parts = [(out[part], x[part]) for part in (slice(half), slice(half, None))]

    def copy() -> None:
        for done in [_pool().submit(np.copyto, *part) for part in parts]:
            done.result()

    return copy


def jax_copy(x: np.ndarray) -> Call:
    """A jitted pass over the array: x + 1, since XLA drops x + 0. It allocates its result, as JAX always does."""
    return jitted(lambda a: a + 1)(x)


def jitted(function: Callable[[Any], Any]) -> Callable[[np.ndarray], Call]:
    """How to make a call of a jitted function of one array that waits for its result."""
    import jax

    def make(x: np.ndarray) -> Call:
        a, compiled = jax.device_put(x), jax.jit(function)
        return lambda: compiled(a).block_until_ready()

    return make


def as_tensor(x: np.ndarray) -> Any:
    """The torch tensor that shares an array's memory."""
    import torch

    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def as_numpy(result: Any) -> np.ndarray:
    """Whatever a row returned, as an array."""
    if hasattr(result, "numpy") and "torch" in type(result).__module__:
        import torch

        result = result.detach()
        return result.float().numpy() if result.dtype == torch.bfloat16 else result.numpy()
    return np.asarray(result)
