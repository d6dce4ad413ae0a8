"""Arrays that XLA computes once on a CPU, as a JAX primitive: it fuses through `lax.optimization_barrier`.

A branch ends a fusion. The scales of blocks are then computed in vectors, beside each other, and not in the loop over
the elements of each block. It is a primitive because `vmap` would make a choice of the branch.
"""

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

_NEVER = -1 << 31
"""What no array that passes holds."""


def fenced(*arrays: jax.Array) -> list[jax.Array]:
    """The arrays as they are.

    Args:
        arrays: of int32, the first of numbers above -2**31.
    """
    return fence_p.bind(*arrays)


def _passed(*arrays: jax.Array) -> list[jax.Array]:
    def never(*arrays: jax.Array) -> list[jax.Array]:
        return [~a for a in arrays]

    return lax.cond(arrays[0].reshape(-1)[0] == _NEVER, never, lambda *arrays: list(arrays), *arrays)


def _batch(arguments, dims):
    return fence_p.bind(*arguments), dims


fence_p = Primitive("halfulp_fence")
fence_p.multiple_results = True
fence_p.def_impl(_passed)
fence_p.def_abstract_eval(lambda *arrays: arrays)
mlir.register_lowering(fence_p, mlir.lower_fun(_passed, multiple_results=True))
batching.primitive_batchers[fence_p] = _batch
