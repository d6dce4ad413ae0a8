"""Formats as data that JAX can trace and map over."""

from collections.abc import Sequence
from typing import Any

from ..formats.registry import Format
from ..formats.registry import plain_format as named_format
from .layouts import require_fit
from .plan import dtype_name, layout_named
from .tables import TracedFormat, stack, tabulate


def format_data(formats: str | Format | Sequence[str | Format], dtype: Any = "float32") -> TracedFormat:
    """A format, or a stack of formats, as a pytree of integers for `quantize` in JAX.

    One compiled program then serves every format, and `jax.vmap` maps over a stack.

    Args:
        formats: one format or name, or a sequence of them. Floats and integers stack with each other,
            codebooks with codebooks.
        dtype: dtype of the arrays that will be quantized.

    Returns:
        A pytree of int32 (int64 for float64); with a leading axis where a sequence was given.

    Raises:
        ValueError: values that do not fit the dtype, an empty sequence, or the two kinds mixed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> stack = format_data(["fp4_e2m1", "int4"])
        >>> jax.vmap(lambda fmt: quantize(jnp.float32(2.6), fmt))(stack).tolist()
        [3.0, 3.0]
    """
    from .backends import jax as jax_backend

    layout = layout_named(dtype_name(dtype), "dtype")
    single = isinstance(formats, str | Format)
    resolved = [named_format(fmt) for fmt in ([formats] if isinstance(formats, str | Format) else formats)]
    if not resolved:
        raise ValueError("expected one or more formats, got an empty sequence")
    for fmt in resolved:
        require_fit(fmt, layout)
    tables = [tabulate(fmt, layout) for fmt in resolved]
    return jax_backend.traced(tables[0] if single else stack(tables), layout)
