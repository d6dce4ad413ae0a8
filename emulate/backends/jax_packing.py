"""Dense streams of bits in JAX; also under jit, where nothing about values can be checked."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from ...formats.registry import Format
from ..packing import Packed, group_of, overlaps
from .numpy import code_dtype

jax.tree_util.register_dataclass(Packed, data_fields=["streams"], meta_fields=["fmt", "shape", "dtype"])


def pack(codes: jax.Array, bits: int) -> jax.Array:
    """(ceil(n * bits / 8),) uint8 of codes of any shape.

    Raises:
        TypeError: anything but integers.
        ValueError: outside a trace, a code that needs more bits.
    """
    if not jnp.issubdtype(codes.dtype, jnp.integer):
        raise TypeError(f"expected integer codes, got {codes.dtype}; encode makes them")
    if not isinstance(codes, Tracer) and codes.size and (int(codes.min()) < 0 or int(codes.max()) >> bits):
        raise ValueError(f"expected codes of {bits} bits, got {codes.min()} to {codes.max()}")
    per_group, width = group_of(bits)
    groups = -(-codes.size // per_group)
    flat = codes.reshape(-1).astype(jnp.uint32)
    flat = jnp.pad(flat, (0, groups * per_group - flat.size)).reshape(groups, per_group)
    columns = [jnp.zeros(groups, jnp.uint32)] * width
    for k, j, shift in overlaps(bits):
        columns[j] = columns[j] | (flat[:, k] << shift if shift >= 0 else flat[:, k] >> -shift)
    stream = (jnp.stack(columns, axis=-1) & 0xFF).astype(jnp.uint8)
    return stream.reshape(-1)[: -(-codes.size * bits // 8)]


def unpack(stream: jax.Array, bits: int, count: int) -> jax.Array:
    """(count,) codes.

    Raises:
        ValueError: outside a trace, last bits that are not zero.
    """
    per_group, width = group_of(bits)
    groups = -(-count // per_group)
    wide = jnp.pad(stream.astype(jnp.uint32), (0, groups * width - stream.size)).reshape(groups, width)
    columns = [jnp.zeros(groups, jnp.uint32)] * per_group
    for k, j, shift in overlaps(bits):
        columns[k] = columns[k] | (wide[:, j] >> shift if shift >= 0 else wide[:, j] << -shift)
    flat = (jnp.stack(columns, axis=-1) & jnp.uint32((1 << bits) - 1)).reshape(-1)
    if not isinstance(stream, Tracer):
        spare = count * bits % 8
        if bool(flat[count:].any()) or (spare and int(stream[-1]) >> spare):
            raise ValueError("the last bits of the stream are not zero; it holds more codes, or is damaged")
    return flat[:count].astype(code_dtype(bits))


def as_dtype(codes: jax.Array, fmt: Format, dtypes: dict[str, str]) -> jax.Array:
    """Codes as an array of ml_dtypes.

    Raises:
        ValueError: a format without a dtype.
    """
    known = {k: v for k, v in dtypes.items() if hasattr(jnp, v) and not v.startswith("float6")}  # XLA has no 6 bits
    if fmt.name not in known:
        raise ValueError(f"JAX has no dtype for {fmt.name}; it has for {', '.join(known)}")
    dtype = jnp.dtype(known[fmt.name])
    return jnp.asarray(np.asarray(codes).view(dtype)) if dtype.itemsize == 1 else lax.bitcast_convert_type(codes, dtype)


def on_host(a: jax.Array) -> np.ndarray:
    """A contiguous NumPy array of the same numbers."""
    return np.asarray(a, order="C")


def from_host(a: np.ndarray) -> jax.Array:
    """Back again."""
    return jnp.asarray(a)
