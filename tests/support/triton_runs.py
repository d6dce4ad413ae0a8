"""The Triton drivers on CPU tensors behind the signature of `hu.quantize`, for Triton's interpreter."""

import numpy as np
import torch
from halfulp.emulate.backends import triton, triton_scaled
from halfulp.emulate.backends.torch_kernel import BITS, Offset, key_of
from halfulp.emulate.plan import Plan, Randomness
from halfulp.emulate.scaled_plan import Options, plan_for

LARGE = 1 << 15
"""Elements of a program: the interpreter takes its time for each program, hardly for each element."""


def bits_of(x):
    """A tensor's bits."""
    return x.view(BITS[x.element_size() * 8])


def quantize(
    x, fmt, *, seed=None, step=0, stream=0, offset=0, block=LARGE, out=None, rotation=None, **options
):  # fmt: skip
    """The result, or None where the driver leaves the work to the portable kernels."""
    source = "float32" if rotation else str(x.dtype).removeprefix("torch.")
    if rotation:
        options.setdefault("out_dtype", str(x.dtype).removeprefix("torch."))
    plan = plan_for(fmt, source, Options(**options))
    key = None if seed is None else key_of(Randomness(seed, step, stream), x.device)
    if out is None:
        out = torch.empty_like(x, dtype=getattr(torch, plan.target.name))
    driver = triton if isinstance(plan, Plan) else triton_scaled
    task = driver.Task(
        plan, key, Offset.of(offset), triton.memory_layout(x), rotation=rotation, block=block
    )  # fmt: skip
    return out if driver.run(task, bits_of(x), bits_of(out)) else None


def differences(got, want):
    """How many elements of two tensors differ in their bits."""
    assert got is not None, "left to the portable kernels"
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    return int((bits_of(got) != bits_of(want)).sum())


def butterfly(x, size, signs=None):
    """The definition: signs, stages of half-distance 1, 2, 4, ..., one multiplication; all in float32."""
    y = x.astype(np.float32).reshape(-1, size)
    if signs is not None:
        y = y * signs
    half = 1
    while half < size:
        a, b = np.moveaxis(y.reshape(-1, size // (2 * half), 2, half), 2, 0)
        y = np.stack([a + b, a - b], 2).reshape(-1, size)
        half *= 2
    return (y * np.float32(1 / np.sqrt(size))).reshape(x.shape)
