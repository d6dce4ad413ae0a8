"""The same products in torch and in JAX, and what entered them, for the tests that compare both bit for bit."""

from contextlib import contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from halfulp.sim.products import jax_products, torch_products


class Found(NamedTuple):
    """Of one product: its operands in the order of `OPERANDS`, its result, gradients of both factors and of states."""

    operands: list
    result: np.ndarray
    grads: list


def array(x):
    """A NumPy array of a tensor or array; 16-bit floats become float32, subnormals kept."""
    if isinstance(x, torch.Tensor):
        x = x.detach()
        return (x.float() if x.element_size() == 2 else x).numpy()
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def same(a, b):
    """Whether all numbers are equal, signs of zeros too; NaN equals NaN."""
    a, b = array(a), array(b)
    return a.shape == b.shape and bool((((a == b) & (np.signbit(a) == np.signbit(b))) | ((a != a) & (b != b))).all())


@contextmanager
def watched(module):
    """The operands of the products that a module makes, as a list."""
    names, found, inside = ("product", "data_gradient", "weight_gradient"), [], []
    originals = {name: getattr(module, name) for name in names}

    def watch(original):
        def call(first, second, *rest):
            if inside:
                return original(first, second, *rest)
            found.extend((first, second))
            inside.append(1)
            try:
                return original(first, second, *rest)
            finally:
                inside.pop()

        return call

    for name, original in originals.items():
        setattr(module, name, watch(original))
    try:
        yield found
    finally:
        for name, original in originals.items():
            setattr(module, name, original)


def tensor(x, dtype):
    return torch.from_numpy(np.array(x)).to(getattr(torch, dtype))


def in_torch(run, a, b, e, dtype="float32", sizes=None):
    """`run(a, b)` of tensors, its gradients for a cotangent e."""
    a, b = (tensor(x, dtype).requires_grad_() for x in (a, b))
    inputs = [a, b] if sizes is None else [a, b, sizes.requires_grad_()]
    with watched(torch_products) as operands:
        y = run(a, b)
        grads = torch.autograd.grad(y, inputs, tensor(e, dtype))
    return Found([x.detach() for x in operands], y.detach(), list(grads))


def in_jax(run, a, b, e, dtype="float32", states=()):
    """`run(a, b, *states)` of arrays, not compiled as a whole, so that operands are seen."""
    with watched(jax_products) as operands:
        y, pull = jax.vjp(run, *(jnp.asarray(x).astype(dtype) for x in (a, b)), *states)
        grads = pull(jnp.asarray(e).astype(dtype))
    return Found(list(operands), y, list(grads))


def hard(*shape, seed=0):
    """Normal numbers, and blocks of subnormals, zeros, huge, tiny and spread out ones."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    x[0] *= np.float32(1e-39)
    x[1] = 0.0
    x[2] *= np.float32(1e3)
    x[3, ::3] = -0.0
    x[4] *= np.float32(2.0**-60)
    x[5] *= np.exp2(rng.integers(-30, 0, x[5].shape)).astype(np.float32)
    return x
