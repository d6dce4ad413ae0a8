"""JAX arrays: pure functions under jit, grad, jvp, vmap and scan, formats static or traced.

The portable kernel is traced and compiled by XLA; formats are run-time data to the compiled program.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from ...formats.registry import Format
from .. import codebook_kernels, kernels, numbers
from ..layouts import Layout
from ..philox import Shard, check_word, seed_words
from ..plan import Plan, Randomness
from ..tables import Codebook, Grid, Mode, TracedFormat, TracedRounding
from . import numpy as numpy_backend
from .jax_integers import JaxIntegers
from .jax_words import Place, words_p

jax.tree_util.register_dataclass(TracedFormat, data_fields=["table"], meta_fields=["layout"])
jax.tree_util.register_dataclass(TracedRounding, data_fields=["mode"], meta_fields=["width", "stochastic"])


# ---------------------------------------------------------------- the kernel, and its gradient


@dataclass(frozen=True, slots=True)
class _Static:
    """What one compiled program is for; neither formats nor roundings are in it."""

    overflow: str | None
    source: Layout
    layout: Layout
    target: Layout
    place: Place | None
    ste: str = "clip"


class _Data(NamedTuple):
    """What is run-time data to it: format, rounding, and (key, start) of the random words or None."""

    table: Grid | Codebook
    mode: Mode
    noise: tuple[jax.Array, jax.Array] | None


SIGNED = {16: jnp.int16, 32: jnp.int32, 64: jnp.int64}


def _load(static: _Static, x: jax.Array) -> tuple[JaxIntegers, jax.Array]:
    """Bits of x in the compute dtype, sign-extended."""
    bits = lax.bitcast_convert_type(x, SIGNED[static.source.width])
    xp = JaxIntegers(static.layout.work_width)
    bits = bits.astype(xp.dtype)
    if static.layout is not static.source:
        bits = numbers.convert(xp, static.source, static.layout, bits)
    return xp, bits


def _store(static: _Static, bits: jax.Array) -> jax.Array:
    """Floats of the target dtype from bits of the compute dtype."""
    if static.layout is not static.target:
        xp = JaxIntegers(max(static.layout.work_width, static.target.work_width))
        bits = numbers.convert(xp, static.layout, static.target, bits.astype(xp.dtype))
    return floats(static.target, bits)


def floats(target: Layout, bits: jax.Array) -> jax.Array:
    """Floats of a dtype from their bits."""
    return lax.bitcast_convert_type(bits.astype(SIGNED[target.width]), jnp.dtype(target.name))


def words_of(place: Place | None, x: jax.Array, noise: Any) -> jax.Array | None:
    """Random words of every element of x, as integers of the kernel; None for deterministic modes."""
    if place is None:
        return None
    words = words_p.bind(lax.stop_gradient(x), *noise, place=place)
    if place.words == 1:
        return words[0].astype(jnp.int32)
    return (words[0].astype(jnp.int64) << 32) | words[1].astype(jnp.int64)


def _rounded(static: _Static, x: jax.Array, data: _Data, overflow: str | None):
    """Bits of the rounded values in the compute dtype, and for codebooks the indices."""
    xp, bits = _load(static, x)
    words = words_of(static.place, x, data.noise)
    if isinstance(data.table, Codebook):
        index = codebook_kernels.round_to_codebook(xp, static.layout, data.table, bits, data.mode, words)
        return xp.take(data.table.values, index), index
    return kernels.round_to_grid(xp, static.layout, data.table, bits, data.mode, overflow, words), None


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _quantize(static: _Static, x: jax.Array, data: _Data):
    return _store(static, _rounded(static, x, data, static.overflow)[0])


@_quantize.defjvp
def _(static: _Static, primals, tangents):
    x, data = primals
    result = _quantize(static, x, data)
    tangent = tangents[0].astype(result.dtype)
    if static.ste == "clip":
        tangent = jnp.where(_in_range(static, x, data), tangent, jnp.zeros_like(tangent))
    return result, tangent


def _in_range(static: _Static, x: jax.Array, data: _Data) -> jax.Array:
    """Where |x| rounds to at most the largest value. XLA shares the work with the rounding itself."""
    if isinstance(data.table, Codebook):
        xp, bits = _load(static, x)
        key = codebook_kernels.key_of(xp, static.layout, bits)
        return (key >= data.table.ends[0]) & (key <= data.table.ends[1])
    bits, _ = _rounded(static, x, data, kernels.MARK)
    return bits != static.layout.nan


@partial(jax.jit, static_argnums=0, inline=True)
def _quantize_jit(static: _Static, x, data):
    return _quantize(static, x, data)


@partial(jax.jit, static_argnums=0, inline=True)
def _encode_jit(static: _Static, x, data, nan_code):
    bits, index = _rounded(static, x, data, static.overflow)
    if index is not None:
        codes = jnp.asarray(data.table.codes)[index]
        return jnp.where(codes < 0, nan_code, codes)
    return kernels.encode_grid(JaxIntegers(static.layout.work_width), static.layout, data.table, bits, nan_code)


# ---------------------------------------------------------------- entry points


def as_array(x: jax.Array) -> jax.Array:
    """x, if it holds real floats.

    Raises:
        TypeError: another dtype; the message says what to call.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"expected floats, got {x.dtype}; convert with x.astype('float32')")
    return x


def dtype_name(x: jax.Array) -> str:
    """The dtype's plain name."""
    return np.dtype(x.dtype).name


def check_out(out: Any, like: jax.Array, dtype: str) -> None:
    """JAX arrays cannot be written to.

    Raises:
        TypeError: always.
    """
    raise TypeError("out= is for NumPy and torch; JAX arrays are immutable, and jit reuses donated buffers")


def quantize(x: jax.Array, plan: Plan, randomness: Randomness, out: None) -> jax.Array:
    """`emulate.quantize` on JAX arrays."""
    static, data = _prepare(x, plan, randomness)
    return _quantize_jit(static, x, data)


def _prepare(x: jax.Array, plan: Plan, randomness: Randomness) -> tuple[_Static, _Data]:
    require_x64(plan.layout, plan.target)
    place, noise = None, None
    if plan.rounding.stochastic:
        place, start = place_of(randomness.offset, x.shape, plan.layout.words)
        noise = (key_of(randomness), start)
    static = _Static(plan.overflow, plan.source, plan.layout, plan.target, place, plan.ste)
    table = plan.table if isinstance(plan.fmt, TracedFormat) else arrays(plan.table, plan.layout)
    return static, _Data(table, arrays(plan.mode, plan.layout), noise)


def require_x64(*layouts: Layout) -> None:
    """Raise where a dtype is float64 and JAX has that off."""
    if any(layout.width == 64 for layout in layouts) and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ValueError("this needs float64, which JAX has off; call jax.config.update('jax_enable_x64', True) first")


def key_of(randomness: Randomness) -> jax.Array:
    """(stream, step, seed low word, seed high word) as uint32."""
    return jnp.concatenate(
        [_word("stream", randomness.stream), _word("step", randomness.step), _seed_words(randomness.seed)]
    )


def _word(name: str, value: Any) -> jax.Array:
    if isinstance(value, int | np.integer):
        value = np.uint32(check_word(name, int(value)))
    return jnp.asarray(value).astype(jnp.uint32).reshape(1)


def _seed_words(seed: Any) -> jax.Array:
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        seed = jax.random.key_data(seed)
    if not isinstance(seed, jax.Array):
        return jnp.asarray(np.array(numpy_backend.seed_pair(seed), np.uint32))
    if seed.ndim == 0:
        high = (seed >> 32).astype(jnp.uint32) if seed.dtype.itemsize == 8 else jnp.uint32(0)
        return jnp.stack([seed.astype(jnp.uint32), high])
    if seed.shape != (2,):
        raise ValueError(f"expected a seed of one integer, two words or a JAX key, got shape {seed.shape}")
    return seed.astype(jnp.uint32)


def place_of(offset: Any, shape: tuple[int, ...], words: int) -> tuple[Place, jax.Array]:
    """What is static about the array's place, and its start as uint32 words."""
    if isinstance(offset, Shard):
        offset.check(shape)
        if not all(isinstance(s, int) for s in offset.start) or offset.run_start(shape) is None:
            start = [jnp.asarray(s).astype(jnp.uint32).reshape(()) for s in offset.start]
            return Place(offset.global_shape, words), jnp.stack(start) if start else jnp.zeros(0, jnp.uint32)
        offset = offset.run_start(shape)
    if isinstance(offset, int | np.integer):
        start = jnp.asarray(np.array(seed_words(int(offset)), np.uint32))
    else:
        start = jnp.stack([jnp.asarray(offset).astype(jnp.uint32), jnp.uint32(0)])
    return Place(None, words), start


def code_dtype_name(fmt: Format) -> str:
    """Name of the codes' dtype."""
    return numpy_backend.code_dtype_name(fmt)


def encode(x: jax.Array, plan: Plan, randomness: Randomness, nan: float | None, out: None) -> jax.Array:
    """`emulate.encode` on JAX arrays."""
    fmt: Any = plan.fmt
    static, data = _prepare(x, plan, randomness)
    nan_code = fmt.nan_code
    if nan is not None:
        nan_code = numpy_backend.encode_number(fmt, nan)
    elif nan_code is None:
        _refuse_nan(static, x, data, fmt.name)
    codes = _encode_jit(static, x, data, -1 if nan_code is None else nan_code)
    return codes.astype(numpy_backend.code_dtype(fmt.bits))


def _refuse_nan(static: _Static, x: jax.Array, data: _Data, name: str) -> None:
    if isinstance(x, Tracer):
        raise ValueError(f"{name} has no code for NaN, and a trace cannot look for NaN; pass nan=0.0")
    values, layout = x, static.source
    if static.overflow in ("special", "wrap"):
        layout = static.layout
        values = _quantize_jit(replace(static, target=layout), x, data)
    bits = lax.bitcast_convert_type(values, SIGNED[layout.width])
    numpy_backend.refuse_nan(bool(((bits & layout.magnitude_mask) > layout.infinity).any()), name)


def as_codes(codes: jax.Array) -> jax.Array:
    """Codes as they are, if they are integers.

    Raises:
        TypeError: anything but integers.
    """
    if not jnp.issubdtype(codes.dtype, jnp.integer):
        raise TypeError(f"expected integer codes, got {codes.dtype}; encode makes them")
    return codes


def decode(codes: jax.Array, fmt: Format, target: Layout, out: None) -> jax.Array:
    """`emulate.decode` on JAX arrays."""
    require_x64(target)
    if not isinstance(codes, Tracer):
        numpy_backend.check_codes(np.asarray(codes), fmt)
    if fmt.bits <= 16:
        return _look_up(target, codes, numpy_backend.decoding_table(fmt, target))
    return _decode_jit(target, codes, arrays(numpy_backend.grid_of(fmt, target), target))


@partial(jax.jit, static_argnums=0)
def _look_up(target: Layout, codes: jax.Array, table: jax.Array) -> jax.Array:
    index = codes.astype(jnp.int32)
    known = (index >= 0) & (index < table.size)
    bits = jnp.where(known, jnp.asarray(table)[jnp.where(known, index, 0)], target.nan)
    return floats(target, bits)


@partial(jax.jit, static_argnums=0)
def _decode_jit(target: Layout, codes: jax.Array, grid: Grid) -> jax.Array:
    xp = JaxIntegers(target.work_width)
    return floats(target, kernels.decode_grid(xp, target, grid, codes.astype(xp.dtype)))


def traced(table: Grid | Codebook, layout: Layout) -> TracedFormat:
    """A traced format of arrays that JAX takes."""
    return TracedFormat(arrays(table, layout), layout.name)


def arrays(table: Any, layout: Layout) -> Any:
    """The integers as arrays, so that jit does not compile anew for each format or rounding."""
    return integers(table, 64 if layout.width == 64 else 32)


def integers(table: Any, width: int) -> Any:
    """`arrays` for integers of a width; what is traced stays as it is."""
    integer = np.int64 if width == 64 else np.int32
    return type(table)(*(field if isinstance(field, jax.Array) else np.asarray(field, integer) for field in table))
