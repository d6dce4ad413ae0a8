"""Formats as data that JAX can trace and map over."""

from collections.abc import Sequence
from typing import Any

from ..formats.catalogue import AnyFormat
from ..formats.catalogue import format as any_format
from ..formats.complexes import ComplexFormat
from ..formats.scaled import ScaledFormat
from .layouts import Layout, require_fit
from .plan import dtype_name, layout_named
from .scaled_plan import work_layout
from .scaled_tables import TracedScaled, stack_scaled, structure_of, tabulate_scaled
from .tables import TracedFormat, stack, tabulate


def format_data(
    formats: str | AnyFormat | Sequence[str | AnyFormat], dtype: Any = "float32"
) -> TracedFormat | TracedScaled:
    """A format, or a stack of formats, as a pytree of integers for `quantize` in JAX.

    One compiled program then serves every format, and `jax.vmap` maps over a stack.

    Args:
        formats: one format or name, or a sequence of them. Floats and integers stack with each other,
            codebooks with codebooks, scaled formats with those that share blocks, rule and order.
        dtype: dtype of the arrays that will be quantized.

    Returns:
        A pytree of int32 (int64 for float64); with a leading axis where a sequence was given.

    Raises:
        ValueError: values that do not fit the dtype, an empty sequence, or formats that do not stack.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> stack = format_data(["fp4_e2m1", "int4"])
        >>> jax.vmap(lambda fmt: quantize(jnp.float32(2.6), fmt))(stack).tolist()
        [3.0, 3.0]
    """
    layout = layout_named(dtype_name(dtype), "dtype")
    single = isinstance(formats, str) or not isinstance(formats, Sequence)
    resolved = [any_format(fmt) for fmt in ([formats] if single else formats)]  # pyright: ignore
    if not resolved:
        raise ValueError("expected one or more formats, got an empty sequence")
    if any(isinstance(fmt, ScaledFormat) for fmt in resolved):
        return _scaled_data(resolved, layout, single)
    from .backends import jax as jax_backend

    for fmt in resolved:
        if isinstance(fmt, ComplexFormat):
            raise TypeError(f"{fmt.name}: complex formats are not traced; pass the name")
        require_fit(fmt, layout)
    tables = [tabulate(fmt, layout) for fmt in resolved]
    return jax_backend.traced(tables[0] if single else stack(tables), layout)


def _scaled_data(formats: list[Any], source: Layout, single: bool) -> TracedScaled:
    from .backends import jax_scaled

    plain = [fmt.name for fmt in formats if not isinstance(fmt, ScaledFormat)]
    if plain:
        names = ", ".join(plain)
        raise ValueError(f"scaled formats cannot be stacked with unscaled ones, got {names}; stack the two kinds apart")
    first = formats[0]
    layout = max((work_layout(fmt, source) for fmt in formats), key=lambda found: found.width)
    for fmt in formats[1:]:
        if structure_of(fmt) != structure_of(first) or fmt.rounding != first.rounding:
            raise ValueError(
                f"{fmt.name} cannot be stacked with {first.name}: blocks, rule and order differ; stack them apart"
            )
    tables = [tabulate_scaled(fmt, layout) for fmt in formats]
    table = jax_scaled.as_arrays(tables[0] if single else stack_scaled(tables), layout)
    return TracedScaled(table, layout.name, structure_of(first), first.rounding)
