"""How long a call takes on 64 elements, where nothing but its overhead counts."""

from collections.abc import Callable
from dataclasses import dataclass

import halfulp as hu
import numpy as np

from .arrays import as_tensor, jitted
from .results import Latency, in_short
from .timing import Call, Spread, in_turn

FORMAT = "fp8_e4m3"
MICRO = 1e-6
BATCH = 100
"""Calls to a sample, as in a loop: a single one is as long as it takes the caches to fill."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A call on 64 float32, and the seconds it is to take."""

    name: str
    make: Callable[[np.ndarray], Call]
    target: float | None = None
    peer: bool = False


def _numpy(x: np.ndarray) -> Call:
    return lambda: hu.quantize(x, FORMAT)


def _torch(x: np.ndarray) -> Call:
    t = as_tensor(x)
    return lambda: hu.quantize(t, FORMAT)


def _torch_forward(x: np.ndarray) -> Call:
    t = as_tensor(x).clone().requires_grad_()
    return lambda: hu.quantize(t, FORMAT)


def _torch_backward(x: np.ndarray) -> Call:
    import torch

    t = as_tensor(x).clone().requires_grad_()
    ones = torch.ones_like(t)
    return lambda: torch.autograd.grad(hu.quantize(t, FORMAT), t, ones)


def _ml_dtypes(x: np.ndarray) -> Call:
    import ml_dtypes

    return lambda: x.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)


def _torch_cast(x: np.ndarray) -> Call:
    import torch

    t = as_tensor(x)
    return lambda: t.to(torch.float8_e4m3fn).to(torch.float32)


def _torch_cast_backward(x: np.ndarray) -> Call:
    import torch

    t = as_tensor(x).clone().requires_grad_()
    ones = torch.ones_like(t)
    return lambda: torch.autograd.grad(t.to(torch.float8_e4m3fn).to(torch.float32), t, ones)


def _jax_cast(x: np.ndarray) -> Call:
    import jax.numpy as jnp

    return jitted(lambda a: a.astype(jnp.float8_e4m3fn).astype(a.dtype))(x)


ENTRIES = (
    Entry("NumPy", _numpy, 10 * MICRO),
    Entry("torch without gradient", _torch, 15 * MICRO),
    Entry("torch with gradient, forward", _torch_forward, 45 * MICRO),
    Entry("torch with gradient, forward and backward", _torch_backward),
    Entry("JAX jit", jitted(lambda a: hu.quantize(a, FORMAT))),
    Entry("ml_dtypes cast and back", _ml_dtypes, peer=True),
    Entry("torch cast and back", _torch_cast, peer=True),
    Entry("torch cast and back, forward and backward", _torch_cast_backward, peer=True),
    Entry("JAX cast and back, jit", _jax_cast, peer=True),
)


def latency(entry: Entry, x: np.ndarray, budget: float) -> Latency:
    """The time of one call of an entry; its target goes with it."""
    name = f"{entry.name if entry.peer else f'halfulp {entry.name}'}, 64 elements"
    try:
        call = entry.make(x)

        def batch() -> None:
            for _ in range(BATCH):
                call()

        samples = [t / BATCH for t in in_turn({"call": batch}, budget, least=5, most=101, settle=0)["call"]]
    except Exception as error:  # a library that is missing is a line of the table
        return Latency(name, None, error=in_short(error))
    return Latency(name, Spread.of(samples), entry.target)
