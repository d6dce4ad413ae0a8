"""A quantized product with the shapes that a recipe allows: checks, padding, complex weights, the output's format."""

from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from ...emulate.quantize import quantize
from ..recipes.plan import DIMENSIONS, KindPlan, Plan, misfit
from .jax_products import Kind, initial_sizes, quantized_product
from .jax_values import complex_values


def multiply(
    a: jax.Array,
    b: jax.Array,
    kind: Kind,
    plan: tuple[Any, ...],
    name: str,
    seed: Any,
    step: Any,
    *,
    call: Any = 0,
    sizes: Any = None,
    largest: Any = None,
    precision: Any = None,
    formats: tuple[Any, ...] = (None,) * 6,
) -> jax.Array:
    """A product, all its operands quantized.

    Args:
        a, b, kind, seed, step, call, sizes, largest, precision, formats: as `quantized_product` takes them.
        plan: of a recipe, see `plan.plan_of`.
        name: what messages begin with.

    Raises:
        ValueError: shapes that the recipe's blocks do not divide; those of backward products only where a gradient is
            taken.
    """
    read = Plan(*plan)
    of = _kind(read, kind, name)
    if read.phase:
        b = _complex(b, kind, read.phase, name)
    shape = a.shape
    if kind[0] == "linear":
        a = a.reshape(-1, shape[-1])
    m, k, n = lengths(a, b, kind)
    groups = kind[5] if kind[0] == "convolution" else 1
    wrong = misfit(of, m, k, n, groups, (False, False))
    if wrong:
        fail(name, wrong)
    refusal = misfit(of, m, k, n, groups, (True, True))
    starts = None if sizes is None else initial_sizes(a, b, of.specs)
    a, b = padded(a, b, kind, of.whole)
    found = quantized_product(
        a, b, kind, of.specs, seed, step, sizes=sizes, starts=starts, largest=largest, unit=read.unit,
        call=call if read.random else 0, precision=precision, refusal=f"{name}: {refusal}" if refusal else "",
        formats=formats,
    )  # fmt: skip
    found = _cropped(found, kind, m, n)
    found = found.reshape(*shape[:-1], n) if kind[0] == "linear" else found
    return quantize(found, read.output) if read.output else found


def fail(name: str, message: str) -> NoReturn:
    """Raise a ValueError that begins with the product's name."""
    raise ValueError(f"{name}: {message}")


def _kind(plan: Plan, kind: Kind, name: str) -> KindPlan:
    if kind[0] == "convolution" and plan.unit:
        fail(
            name,
            "the emulated matrix unit multiplies matrices, not convolutions; leave the layer out, or give it a recipe "
            "without accumulator",
        )
    return KindPlan(*getattr(plan, kind[0]))


def _complex(b: jax.Array, kind: Kind, phase: str, name: str) -> jax.Array:
    if kind[0] != "linear" or b.shape[0] % 2 or b.shape[1] % 2:
        fail(
            name,
            f"complex weights ({phase}) need a linear layer with even numbers of inputs and outputs, got a {kind[0]} "
            f"product of a factor {tuple(b.shape)}; leave it out, or give it another recipe",
        )
    return complex_values(b, phase)


def lengths(a: jax.Array, b: jax.Array, kind: Kind) -> tuple[int, int, int]:
    """m, k and n of a product, k and n of all groups."""
    a_axes, b_axes, _ = DIMENSIONS[kind[0]]
    found = {name: t.shape[axis] for t, axes in ((b, b_axes), (a, a_axes)) for axis, name in axes.items()}
    return found["m"], found["k"], found["n"]


def padded(a: jax.Array, b: jax.Array, kind: Kind, whole: tuple[int, int, int]) -> tuple[jax.Array, jax.Array]:
    """Both factors with zeros at the end of axes that transforms must divide; they add nothing to any product."""
    size = dict(zip("mkn", whole))
    a_axes, b_axes, _ = DIMENSIONS[kind[0]]
    return tuple(_with_zeros(t, axes, size) for t, axes in ((a, a_axes), (b, b_axes)))  # pyright: ignore[reportReturnType]


def _with_zeros(t: jax.Array, axes: dict[int, str], size: dict[str, int]) -> jax.Array:
    widths = [(0, 0)] * t.ndim
    for axis, name in axes.items():
        widths[axis] = (0, -t.shape[axis] % size[name])
    return jnp.pad(t, widths) if any(after for _, after in widths) else t


def _cropped(y: jax.Array, kind: Kind, m: int, n: int) -> jax.Array:
    """A product without the rows and columns of added zeros."""
    return y[..., :m, :n] if kind[0] in ("linear", "matmul") else y[:m, :n]
