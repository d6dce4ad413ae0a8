"""JAX arrays: pure functions under jit, grad, jvp, vmap and scan, formats static or traced.

The portable kernel is traced and compiled by XLA. Random words come from a primitive of their own, because
`vmap` must give members that share a seed streams of their own, and only a primitive sees the batching.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from ...formats.exact import OVERFLOWS
from ...formats.registry import Format
from ...formats.rounding import Rounding
from .. import kernels
from ..layouts import Layout
from ..philox import Shard, check_word, fold_words, philox, row_major_strides, seed_words
from ..plan import Plan, Randomness
from ..tables import Codebook, Grid, TracedFormat
from . import numpy as numpy_backend

_WORD = 0xFFFFFFFF

jax.tree_util.register_dataclass(TracedFormat, data_fields=["table"], meta_fields=["layout"])


class JaxIntegers:
    """`kernels.Integers` over int32 or int64 arrays."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.dtype = jnp.int64 if width == 64 else jnp.int32

    def where(self, condition, a, b):
        if isinstance(condition, bool | np.bool_):
            return a if condition else b
        return jnp.where(condition, self.integer(a), self.integer(b))

    def clip(self, a, low, high):
        return jnp.clip(a, low, high)

    def integer(self, a):
        return jnp.asarray(a).astype(self.dtype)

    def shift_right_logical(self, a, n):
        return lax.shift_right_logical(a, jnp.asarray(n, self.dtype))

    def floor_log2(self, a):
        if self.width == 64:
            return (lax.bitcast_convert_type(a.astype(jnp.float64), jnp.int64) >> 52) - 1023
        return (lax.bitcast_convert_type(a.astype(jnp.float32), jnp.int32) >> 23) - 127

    def wide_product(self, a, b):
        a, b = a.astype(jnp.uint32), b.astype(jnp.uint32)
        return _high_product(a, b).astype(self.dtype), (a * b).astype(self.dtype)

    def count_not_above(self, ascending, a):
        method = "compare_all" if ascending.shape[-1] <= 64 else "scan_unrolled"
        return jnp.searchsorted(ascending, a, side="right", method=method).astype(self.dtype)

    def take(self, table, index):
        return jnp.asarray(table)[index]


def _high_product(a: jax.Array, b: jax.Array | int) -> jax.Array:
    """High 32 bits of a product of uint32, from 16-bit halves: `lax.mulhi` does not lower inside shard_map."""
    a_low, a_high = a & 0xFFFF, a >> 16
    b_low, b_high = (jnp.uint32(b & 0xFFFF), jnp.uint32(b >> 16)) if isinstance(b, int) else (b & 0xFFFF, b >> 16)
    middle = a_high * b_low + (a_low * b_low >> 16)
    return a_high * b_high + (middle >> 16) + ((a_low * b_high + (middle & 0xFFFF)) >> 16)


class JaxWords:
    """`philox.Words` over uint32 arrays."""

    def multiply(self, constant, a):
        return _high_product(a, constant), a * jnp.uint32(constant)

    def add(self, a, b):
        return a + jnp.uint32(b)

    def repeat(self, times, body, state):
        """A loop XLA keeps: unrolled, its CPU fusion computes every round once per output word."""
        zero = sum(part * 0 for part in state)  # gives every part one shape, and inside shard_map one axis type
        return lax.fori_loop(0, times, lambda _, s: body(s), tuple(part + zero for part in state))


# ---------------------------------------------------------------- random words


@dataclass(frozen=True, slots=True)
class _Place:
    """The static half of where an array lies: the shape of the larger one if a Shard was given."""

    global_shape: tuple[int, ...] | None
    words: int


def _index_words(start: jax.Array, shape: tuple[int, ...], global_shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Low and high word of the logical index of every element of a Shard."""
    low = high = jnp.zeros(shape, jnp.uint32)
    for axis, stride in enumerate(row_major_strides(global_shape)):
        along = lax.broadcasted_iota(jnp.uint32, shape, axis) + start[axis]
        part_low, part_high = along * jnp.uint32(stride & _WORD), along * jnp.uint32(stride >> 32)
        part_high = part_high + _high_product(along, stride & _WORD)
        low, high = _add_words(low, high, part_low, part_high)
    return low, high


def _add_words(low, high, other_low, other_high):
    total = low + other_low
    return total, high + other_high + (total < low).astype(jnp.uint32)


def _consecutive_words(key: jax.Array, start: jax.Array, count: int) -> jax.Array:
    """(count,) words from word index `start` (low, high) on: every block is computed once."""
    blocks = (count + 3) // 4 + 1
    low, high = (start[0] >> 2) | (start[1] << 30), start[1] >> 2
    local = lax.iota(jnp.uint32, blocks)
    low, high = _add_words(local, jnp.zeros_like(local), low, high)
    words = jnp.stack(philox(JaxWords(), (low, high, key[0], key[1]), (key[2], key[3])), axis=-1)
    return lax.dynamic_slice(words.reshape(-1), ((start[0] & 3).astype(jnp.int32),), (count,))


def _member_words(key: jax.Array, start: jax.Array, shape: tuple[int, ...], place: _Place) -> jax.Array:
    """(words, *shape) uint32: the words of each element, first one first."""
    if place.global_shape is None:
        first = start if place.words == 1 else jnp.stack([start[0] << 1, (start[1] << 1) | (start[0] >> 31)])
        count = int(np.prod(shape)) * place.words
        return jnp.moveaxis(_consecutive_words(key, first, count).reshape(*shape, place.words), -1, 0)
    low, high = _index_words(start, shape, place.global_shape)
    return jnp.stack([_word_at(key, *_times(low, high, place.words, part)) for part in range(place.words)])


def _times(low, high, words: int, part: int):
    return (low, high) if words == 1 else ((low << 1) | part, (high << 1) | (low >> 31))


def _word_at(key, low, high):
    counter = ((low >> 2) | (high << 30), high >> 2, key[0], key[1])
    w0, w1, w2, w3 = philox(JaxWords(), counter, (key[2], key[3]))
    return jnp.where(low & 2, jnp.where(low & 1, w3, w2), jnp.where(low & 1, w1, w0))


def _words_impl(x, key, start, *, place: _Place):
    """x: (*batch, *shape), key: (*batch, 4), start: (*batch, n). Returns (*batch, words, *shape) uint32."""
    batch = key.ndim - 1
    words = partial(_member_words, shape=x.shape[batch:], place=place)
    for _ in range(batch):
        words = jax.vmap(words)
    return words(key, start)


_words_p = Primitive("halfulp_random_words")
_words_p.def_impl(_words_impl)
mlir.register_lowering(_words_p, mlir.lower_fun(_words_impl, multiple_results=False))


@_words_p.def_abstract_eval
def _(x, key, start, *, place):
    batch = key.ndim - 1
    return x.update(shape=(*x.shape[:batch], place.words, *x.shape[batch:]), dtype=np.dtype(np.uint32))


def _words_batch(arguments, dims, *, place):
    """A mapped key is used as it is; a key shared by mapped arrays is folded with the member's index."""
    size = next(a.shape[d] for a, d in zip(arguments, dims) if d is not None)
    x, key, start = (
        jnp.broadcast_to(a[None], (size, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(arguments, dims)
    )
    if dims[1] is None and dims[0] is not None:
        member = lax.broadcasted_iota(jnp.uint32, key.shape[:-1], 0)
        key = key.at[..., 0].set(fold_words(JaxWords(), key[..., 0], member))
    return _words_p.bind(x, key, start, place=place), 0


batching.primitive_batchers[_words_p] = _words_batch


# ---------------------------------------------------------------- the kernel, and its gradient


@dataclass(frozen=True, slots=True)
class _Static:
    """What one compiled program is for; formats are not in it."""

    rounding: Rounding
    overflow: str | None
    source: Layout
    layout: Layout
    target: Layout
    place: _Place | None
    ste: str = "clip"


_UNSIGNED = {16: jnp.uint16, 32: jnp.uint32, 64: jnp.uint64}
_SIGNED = {16: jnp.int16, 32: jnp.int32, 64: jnp.int64}


def _load(static: _Static, x: jax.Array) -> tuple[JaxIntegers, jax.Array]:
    """Bits of x in the compute dtype, sign-extended."""
    bits = lax.bitcast_convert_type(x, _SIGNED[static.source.width])
    xp = JaxIntegers(static.layout.work_width)
    bits = bits.astype(xp.dtype)
    if static.layout is not static.source:
        bits = kernels.convert(xp, static.source, static.layout, bits)
    return xp, bits


def _store(static: _Static, bits: jax.Array) -> jax.Array:
    """Floats of the target dtype from bits of the compute dtype."""
    if static.layout is not static.target:
        xp = JaxIntegers(max(static.layout.work_width, static.target.work_width))
        bits = kernels.convert(xp, static.layout, static.target, bits.astype(xp.dtype))
    return lax.bitcast_convert_type(bits.astype(_SIGNED[static.target.width]), jnp.dtype(static.target.name))


def _words(static: _Static, x: jax.Array, noise) -> jax.Array | None:
    if static.place is None:
        return None
    key, start = noise
    words = _words_p.bind(lax.stop_gradient(x), key, start, place=static.place)
    if static.place.words == 1:
        return words[0].astype(jnp.int32)
    return (words[0].astype(jnp.int64) << 32) | words[1].astype(jnp.int64)


def _rounded(static: _Static, x: jax.Array, table: Grid | Codebook, noise, overflow: str | None):
    """Bits of the rounded values in the compute dtype, and for codebooks the indices."""
    xp, bits = _load(static, x)
    words = _words(static, x, noise)
    if isinstance(table, Codebook):
        index = kernels.round_to_codebook(xp, static.layout, table, bits, static.rounding, words)
        not_a_number = (bits & static.layout.magnitude_mask) > static.layout.infinity
        return jnp.where(not_a_number, static.layout.nan, xp.take(table.values, index)), (index, not_a_number)
    return kernels.round_to_grid(xp, static.layout, table, bits, static.rounding, overflow, words), None


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _quantize(static: _Static, x: jax.Array, table: Grid | Codebook, noise):
    return _store(static, _rounded(static, x, table, noise, static.overflow)[0])


@_quantize.defjvp
def _(static: _Static, primals, tangents):
    x, table, noise = primals
    result = _quantize(static, x, table, noise)
    tangent = tangents[0].astype(result.dtype)
    if static.ste == "clip":
        tangent = jnp.where(_in_range(static, x, table, noise), tangent, jnp.zeros_like(tangent))
    return result, tangent


def _in_range(static: _Static, x: jax.Array, table: Grid | Codebook, noise) -> jax.Array:
    """Where |x| rounds to at most the largest value. XLA shares the work with the rounding itself."""
    if isinstance(table, Codebook):
        xp, bits = _load(static, x)
        key, top = (kernels.key_of(xp, static.layout, b) for b in (bits, jnp.asarray(table.values)[-1]))
        return (key >= table.keys[0]) & (key <= top)
    bits, _ = _rounded(static, x, table, noise, kernels.MARK)
    return bits != static.layout.nan


@partial(jax.jit, static_argnums=0, inline=True)
def _quantize_jit(static: _Static, x, table, noise):
    return _quantize(static, x, table, noise)


@partial(jax.jit, static_argnums=0, inline=True)
def _encode_jit(static: _Static, x, table, noise, nan_code):
    bits, found = _rounded(static, x, table, noise, static.overflow)
    if found is not None:
        index, not_a_number = found
        return jnp.where(not_a_number, nan_code, jnp.asarray(table.codes)[index])
    return kernels.encode_grid(JaxIntegers(static.layout.work_width), static.layout, table, bits, nan_code)


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
    static, noise = _prepare(x, plan, randomness)
    return _quantize_jit(static, x, _as_data(plan), noise)


def _prepare(x: jax.Array, plan: Plan, randomness: Randomness):
    _require_x64(plan.layout, plan.target)
    place, noise = None, None
    if plan.rounding.stochastic:
        place, start = _place(randomness.offset, x.shape, plan.layout.words)
        noise = (_key(randomness), start)
    return _Static(plan.rounding, plan.overflow, plan.source, plan.layout, plan.target, place, plan.ste), noise


def _require_x64(*layouts: Layout) -> None:
    if any(layout.width == 64 for layout in layouts) and not jax.config.jax_enable_x64:
        raise ValueError("this needs float64, which JAX has off; call jax.config.update('jax_enable_x64', True) first")


def _as_data(plan: Plan) -> Grid | Codebook:
    """The kernel's integers as arrays, so that jit does not compile anew for each format."""
    return plan.table if isinstance(plan.fmt, TracedFormat) else _arrays(plan.table, plan.layout)


def _key(randomness: Randomness) -> jax.Array:
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


def _place(offset: Any, shape: tuple[int, ...], words: int) -> tuple[_Place, jax.Array]:
    """What is static about the array's place, and its start as uint32 words."""
    if isinstance(offset, Shard):
        offset.check(shape)
        if not all(isinstance(s, int) for s in offset.start) or offset.run_start(shape) is None:
            start = [jnp.asarray(s).astype(jnp.uint32).reshape(()) for s in offset.start]
            return _Place(offset.global_shape, words), jnp.stack(start) if start else jnp.zeros(0, jnp.uint32)
        offset = offset.run_start(shape)
    if isinstance(offset, int | np.integer):
        start = jnp.asarray(np.array(seed_words(int(offset)), np.uint32))
    else:
        start = jnp.stack([jnp.asarray(offset).astype(jnp.uint32), jnp.uint32(0)])
    return _Place(None, words), start


def code_dtype_name(fmt: Format) -> str:
    """Name of the codes' dtype."""
    return numpy_backend.code_dtype_name(fmt)


def encode(x: jax.Array, plan: Plan, randomness: Randomness, nan: float | None, out: None) -> jax.Array:
    """`emulate.encode` on JAX arrays."""
    fmt: Any = plan.fmt
    static, noise = _prepare(x, plan, randomness)
    nan_code = fmt.nan_code
    if nan is not None:
        nan_code = numpy_backend.encode_number(fmt, nan)
    elif nan_code is None:
        _refuse_nan(static, x, plan, noise, fmt.name)
    codes = _encode_jit(static, x, _as_data(plan), noise, -1 if nan_code is None else nan_code)
    return codes.astype(numpy_backend.code_dtype(fmt.bits))


def _refuse_nan(static: _Static, x: jax.Array, plan: Plan, noise, name: str) -> None:
    if isinstance(x, jax.core.Tracer):
        raise ValueError(f"{name} has no code for NaN, and a trace cannot look for NaN; pass nan=0.0")
    values, layout = x, static.source
    if plan.overflow in ("special", "wrap"):
        layout = static.layout
        values = _quantize_jit(replace(static, target=layout), x, _as_data(plan), noise)
    bits = lax.bitcast_convert_type(values, _SIGNED[layout.width])
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
    _require_x64(target)
    if not isinstance(codes, jax.core.Tracer):
        numpy_backend.check_codes(np.asarray(codes), fmt)
    static = _Static(Rounding("toward_zero"), None, target, target, target, None)
    if fmt.bits > 16:
        xp = JaxIntegers(target.work_width)
        bits = kernels.decode_grid(xp, target, numpy_backend.grid_of(fmt, target), codes.astype(xp.dtype))
        return _store(static, bits)
    table = jnp.asarray(numpy_backend.decoding_table(fmt, target))
    index = codes.astype(jnp.int32)
    known = (index >= 0) & (index < 1 << fmt.bits)
    bits = jnp.where(known, table[jnp.where(known, index, 0)], target.nan)
    return _store(static, bits)


def traced(table: Grid | Codebook, layout: Layout) -> TracedFormat:
    """A traced format of arrays that JAX takes."""
    return TracedFormat(_arrays(table, layout), layout.name)


def _arrays(table: Grid | Codebook, layout: Layout) -> Grid | Codebook:
    integer = np.int64 if layout.width == 64 else np.int32
    return type(table)(*(np.asarray(field, integer) for field in table))
