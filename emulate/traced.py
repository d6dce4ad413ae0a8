"""Formats as data that JAX can trace and map over."""

from collections.abc import Sequence
from typing import Any

from ..formats.catalogue import AnyFormat
from ..formats.catalogue import format as any_format
from ..formats.complexes import ComplexFormat
from ..formats.rounding import Rounding
from ..formats.rounding import rounding as named_rounding
from ..formats.scaled import ScaledFormat
from ..formats.suggest import unknown
from .layouts import Layout, require_fit
from .plan import dtype_name, layout_named
from .scaled_plan import Options, plan_for, work_layout
from .scaled_tables import TracedScaled, stack_scaled, structure_of, tabulate_scaled
from .tables import TracedRounding, mode_of, stack, stack_modes, tabulate


def format_data(
    formats: str | AnyFormat | Sequence[str | AnyFormat], dtype: Any = "float32", *, library: str = "jax"
) -> Any:
    """A format, or a stack of formats, as data, so that one compiled program serves all.

    For JAX a pytree of integers, over a stack of which `jax.vmap` maps. For torch a tensor that holds the
    format's name, which a function under `torch.compile` takes as an argument without being compiled anew.

    Args:
        formats: one format or name, or a sequence of them. Floats and integers stack with each other,
            codebooks with codebooks, scaled formats with those that share blocks, rule and order.
        dtype: dtype of the arrays that will be quantized.
        library: 'jax' or 'torch'; for torch one format, no sequence.

    Returns:
        A pytree of int32 (int64 for float64); with a leading axis where a sequence was given. For torch a uint8
        tensor on the CPU.

    Raises:
        ValueError: values that do not fit the dtype, an empty sequence, formats that do not stack, or an unknown
            library.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> stack = format_data(["fp4_e2m1", "int4"])
        >>> jax.vmap(lambda fmt: quantize(jnp.float32(2.6), fmt))(stack).tolist()
        [3.0, 3.0]
    """
    if library not in ("jax", "torch"):
        raise ValueError(unknown("library", str(library), ("jax", "torch")))
    layout = layout_named(dtype_name(dtype), "dtype")
    if library == "torch":
        return _spelled_out(formats, layout)
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


def _spelled_out(fmt: Any, layout: Layout) -> Any:
    """The name of a format as a tensor of characters; padded, so that most names have one shape."""
    if not isinstance(fmt, str) and isinstance(fmt, Sequence):
        raise ValueError("for torch expected one format, got a sequence; make one tensor each")
    resolved = any_format(fmt)
    plan_for(resolved, layout.name, Options())
    from .backends.torch_kernel import characters

    return characters(resolved.name if _names(resolved.name, resolved) else resolved.spec)


def _names(name: str, fmt: Any) -> bool:
    """Whether the name, which is shorter than the spec of a list of values, means the format."""
    try:
        return any_format(name) == fmt
    except ValueError:
        return False


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


def rounding_data(roundings: str | Rounding | Sequence[str | Rounding], dtype: Any = "float32") -> TracedRounding:
    """A rounding, or a stack of roundings, as data for JAX, so that one compiled program serves all.

    Args:
        roundings: one mode or name, or a sequence of them: all deterministic, or all stochastic.
        dtype: dtype of the arrays that will be quantized.

    Returns:
        A pytree of int32 (int64 for float64); with a leading axis where a sequence was given.

    Raises:
        ValueError: an unknown name, an empty sequence, or both kinds in one stack.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> stack = rounding_data(["nearest_even", "down", "up"])
        >>> jax.vmap(lambda mode: quantize(jnp.float32(2.6), "fp4_e2m1", rounding=mode))(stack).tolist()
        [3.0, 2.0, 3.0]
    """
    width = layout_named(dtype_name(dtype), "dtype").work_width
    single = isinstance(roundings, str | Rounding)
    modes = [named_rounding(mode) for mode in ([roundings] if single else roundings)]  # pyright: ignore
    if not modes:
        raise ValueError("expected one or more roundings, got an empty sequence")
    random = [mode.stochastic for mode in modes]
    if any(random) and not all(random):
        raise ValueError("deterministic and stochastic roundings do not stack; stack the two kinds apart")
    from .backends import jax as jax_backend  # registers the data as a pytree

    tables = [mode_of(mode, width) for mode in modes]
    integers = jax_backend.integers(tables[0] if single else stack_modes(tables), width)
    return TracedRounding(integers, width, random[0])
