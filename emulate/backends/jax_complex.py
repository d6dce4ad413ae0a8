"""Complex numbers of JAX arrays: gradients pass straight through a phase."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ...formats.complexes import ComplexFormat
from ..arithmetic import narrow
from ..encoded import Encoded
from ..layouts import Layout
from ..numbers import convert
from ..phase_kernels import Stage, phase_stages, phase_values
from ..philox import fold_words
from ..views import View
from . import jax as plain
from .jax_integers import JaxIntegers, JaxWords
from .numpy_complex import split_shape, work_layout


def parts(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part.

    Raises:
        TypeError: no complex numbers.
    """
    if not jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"expected complex numbers or a pair (re, im), got {x.dtype}")
    return lax.real(x), lax.imag(x)


def joined(re: jax.Array, im: jax.Array) -> jax.Array:
    """The complex array of two parts; 16-bit parts become float32."""
    wide = [part.astype(jnp.float32) if part.dtype.itemsize == 2 else part for part in (re, im)]
    return lax.complex(*wide)


def concatenated(arrays: list[jax.Array], axis: int) -> jax.Array:
    """Arrays side by side."""
    return jnp.concatenate(arrays, axis)


def folded(stream: Any, member: int) -> jax.Array:
    """The stream of a member."""
    return fold_words(JaxWords(), jnp.asarray(stream).astype(jnp.uint32), jnp.uint32(member))


def phase(re: jax.Array, im: jax.Array, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """Values of both parts."""
    plain.require_x64(layout)
    return _phase_jit(fmt.stages, layout, view, re, im) if re.size else (re, im)


def _split(layout: Layout, view: View, part: jax.Array) -> tuple[JaxIntegers, Layout, jax.Array]:
    work = work_layout(layout)
    xp = JaxIntegers(work.work_width)
    bits = lax.bitcast_convert_type(part, plain.SIGNED[layout.width]).astype(xp.dtype)
    return xp, work, view.split(xp, bits if work is layout else convert(xp, layout, work, bits))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _phase(stages: int, layout: Layout, view: View, re: jax.Array, im: jax.Array) -> tuple:
    (xp, work, re), (_, _, im) = (_split(layout, view, part) for part in (re, im))
    return _floats(xp, work, layout, view, phase_values(xp, work, view, phase_stages(xp, work, view, re, im, stages)))


def _floats(xp: JaxIntegers, work: Layout, layout: Layout, view: View, values: tuple) -> tuple:
    joined_parts = [view.join(xp.broadcast(part, split_shape(view))) for part in values]
    narrowed = joined_parts if work is layout else [narrow(xp, work, layout, part) for part in joined_parts]
    return tuple(plain.floats(layout, part) for part in narrowed)


@_phase.defjvp
def _(stages, layout, view, primals, tangents):
    return _phase(stages, layout, view, *primals), tangents


@partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def _phase_jit(stages, layout, view, re, im):
    return _phase(stages, layout, view, re, im)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _codes_jit(stages, layout, view, re, im):
    (xp, work, re), (_, _, im) = (_split(layout, view, part) for part in (re, im))
    found = phase_stages(xp, work, view, re, im, stages)
    codes = jnp.stack([view.join(stage.codes) for stage in found]).astype(jnp.uint8)
    return codes, jnp.stack([jnp.stack([stage.scale_re, stage.scale_im]) for stage in found])


def phase_codes(re: jax.Array, im: jax.Array, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """Codes of all stages and bits of their scales."""
    plain.require_x64(layout)
    codes, scales = _codes_jit(fmt.stages, layout, view, re, im)
    return codes, lax.bitcast_convert_type(scales, jnp.uint64 if scales.dtype.itemsize == 8 else jnp.uint32)


def phase_decoded(encoded: Encoded, layout: Layout, view: View) -> tuple:
    """Values of both parts."""
    plain.require_x64(layout)
    return _decoded_jit(layout, view, encoded.elements, encoded.scales)


@partial(jax.jit, static_argnums=(0, 1))
def _decoded_jit(layout, view, elements, scales):
    work = work_layout(layout)
    xp = JaxIntegers(work.work_width)
    bits = lax.bitcast_convert_type(scales, xp.dtype)
    stages = [Stage(view.split(xp, codes.astype(xp.dtype)), s[0], s[1]) for codes, s in zip(elements, bits)]
    return _floats(xp, work, layout, view, phase_values(xp, work, view, stages))
