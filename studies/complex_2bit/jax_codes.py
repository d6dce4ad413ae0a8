"""Weights in one to four bits, and products with them, in plain float32 arithmetic with straight-through gradients.

Values and gradients are those of the recipes 'bitnet', 'binary' and 'ifairy' up to the rounding of float32. The library
rounds by integer arithmetic on bits, which XLA compiles a minute or more for a small transformer; this it compiles in a
few seconds, and which code a run has is data to the program.

Sources: arXiv:2402.17764 (ternary), arXiv:2310.11453 (binary), arXiv:2508.05571 (phases) and Fairy2i (residual stages
and the view of a real matrix).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

CODES = ("float32", "ternary", "binary", "phase", "phase_t2")
"""What weights may be in; a run names one by its number."""
_EPSILON = 1e-5
"""Added to the scale that BitNet divides by."""
_LARGEST = 127.0
"""Of activations in int8."""

Product = Callable[[jax.Array], jax.Array]


class Coded:
    """Stands for the weight of a linear layer, whose product with inputs is another one than x W^T.

    Args:
        product: (..., inputs) -> (..., outputs).
    """

    __array_ufunc__ = None  # so that arrays of NumPy leave the product to it, as those of JAX do

    def __init__(self, product: Product) -> None:
        self._product = product

    @property
    def T(self) -> "Coded":  # noqa: N802 - what a layer reads of an array
        """As a layer takes it."""
        return self

    def __rmatmul__(self, x: jax.Array) -> jax.Array:
        return self._product(x)


def straight(x: jax.Array, values: jax.Array) -> jax.Array:
    """The values, with the gradient going to x as if they were it."""
    return lax.stop_gradient(values) + (x - lax.stop_gradient(x))


def ternary(w: jax.Array) -> jax.Array:
    """0 and +-mean|w|, the nearest to w."""
    mean = jnp.mean(jnp.abs(w))
    return jnp.clip(jnp.round(w / (mean + _EPSILON)), -1, 1) * mean


def binary(w: jax.Array) -> jax.Array:
    """+-mean|w| with the sign of w; that of 0 is +."""
    return jnp.where(w < 0, -1.0, 1.0) * jnp.mean(jnp.abs(w))


def phases(re: jax.Array, im: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The nearest of 1, i, -1, -i to each phase times the mean magnitude of the parts they keep; 0 becomes 1."""
    right = ((-re <= im) & (im < re)) | ((re == 0) & (im == 0))
    left = ~right & ((im > re) | (im == re)) & (im <= -re) & ~((-im < re) & (re <= im)) & ~((im <= re) & (re < -im))
    real = right | left

    def part(x: jax.Array, where: jax.Array) -> jax.Array:
        count = jnp.sum(where)
        return jnp.where(where, jnp.sum(jnp.where(where, jnp.abs(x), 0)) / jnp.maximum(count, 1), 0)

    return (
        jnp.where(right, 1.0, -1.0) * part(re, real),
        jnp.where((im > 0), 1.0, -1.0) * part(im, ~real),
    )


def widely_linear(w: jax.Array, stages: int) -> jax.Array:
    """A real matrix (2n, 2m) whose two complex matrices (n, m) are in so many stages of phases.

    With A, B, C, D its quarters, U = ((A + D) + i (C - B)) / 2 and V = ((A - D) + i (B + C)) / 2, and W x is U z +
    V conj(z) of the complex view z of x.
    """
    n, m = w.shape[0] // 2, w.shape[1] // 2
    a, b, c, d = w[:n, :m], w[:n, m:], w[n:, :m], w[n:, m:]
    u_re, u_im = _staged((a + d) / 2, (c - b) / 2, stages)
    v_re, v_im = _staged((a - d) / 2, (b + c) / 2, stages)
    return jnp.block([[u_re + v_re, v_im - u_im], [u_im + v_im, u_re - v_re]])


def _staged(re: jax.Array, im: jax.Array, stages: int) -> tuple[jax.Array, jax.Array]:
    """The sum of phases of what earlier ones left."""
    total = (jnp.zeros_like(re), jnp.zeros_like(im))
    for _ in range(stages):
        found = phases(re - total[0], im - total[1])
        total = (total[0] + found[0], total[1] + found[1])
    return total


def per_token(x: jax.Array) -> jax.Array:
    """Activations in int8, a scale for each token: its largest magnitude over 127."""
    scale = jnp.max(jnp.abs(x), axis=-1, keepdims=True) / _LARGEST
    return jnp.round(x / jnp.where(scale > 0, scale, 1)) * scale


def coded_values(code: jax.Array, w: jax.Array) -> jax.Array:
    """The values of a weight (outputs, inputs), both even, in the code of that number; straight through backward."""
    made = [lambda w: w, ternary, binary, lambda w: widely_linear(w, 1), lambda w: widely_linear(w, 2)]
    return straight(w, lax.switch(code, made, lax.stop_gradient(w)))


def coded_product(code: jax.Array, w: jax.Array) -> Product:
    """x -> x W^T with W in a code and x in int8; both as they are in float32."""
    values = coded_values(code, w)
    return lambda x: jnp.where(code > 0, straight(x, per_token(x)), x) @ values.T


def with_products(
    parameters: Mapping[str, Any], made: Callable[[str, Mapping[str, Any]], Product | None], path: str = ""
) -> dict[str, Any]:
    """Parameters in which the weights of some layers are products.

    Args:
        parameters: nested by the parts of names.
        made: (name of a layer, its parameters) -> its product, None to leave it as it is.
    """
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if not isinstance(value, Mapping):
            found[name] = value
            continue
        inner = f"{path}.{name}" if path else name
        product = made(inner, value) if getattr(value.get("weight"), "ndim", 0) == 2 else None
        found[name] = with_products(value, made, inner) if product is None else {**value, "weight": Coded(product)}
    return found
