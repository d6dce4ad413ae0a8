"""`quantize`, `encode` and `decode`: the one place where arguments are checked."""

from typing import Any

from ..formats.registry import Format
from ..formats.registry import plain_format as named_format
from ..formats.rounding import Rounding
from .dispatch import backend_of, torch_is_compiling
from .layouts import LAYOUTS, fits, require_fit
from .plan import Plan, Randomness, dtype_name, layout_named, make_plan
from .tables import TracedFormat


def quantize(
    x: Any,
    fmt: str | Format | TracedFormat,
    *,
    rounding: str | Rounding = "nearest_even",
    overflow: str | None = None,
    seed: Any = None,
    step: Any = 0,
    stream: Any = 0,
    offset: Any = 0,
    ste: str = "clip",
    out: Any = None,
    out_dtype: Any = None,
) -> Any:
    """Round every element of x to the nearest values of a format; the result stays in x's dtype.

    Each input is rounded once, also from float64, by integer arithmetic on its bits: the same bits come
    out of NumPy, PyTorch and JAX, with flushed subnormals, under jit and `torch.compile`.

    Args:
        x: float16, bfloat16, float32 or float64; a NumPy array, torch tensor or JAX array of any shape
            and strides, or a scalar or list, which come back as NumPy.
        fmt: a format or its name, see `halfulp.format`; in JAX also a traced one, see `format_data`.
        rounding: nearest_even, nearest_away, nearest_zero, toward_zero, away, up, down, to_odd,
            stochastic, stochastic_equal, or a `Rounding` such as `halfulp.stochastic(bits=8)`.
        overflow: what a rounded value beyond the largest becomes: 'saturate' the largest, infinities too;
            'propagate' the largest, infinities kept where the format has them; 'special' Inf, or NaN where
            there is no Inf; 'wrap' modulo 2**bits, integers only. Default: 'special' for floats of 15 bits
            and more, otherwise 'saturate'.
        seed: for stochastic modes: an integer below 2**64, two uint32 words, a torch tensor, or a JAX key.
        step, stream: words that separate uses of one seed, 0 to 2**32 - 1; like seed they may be tensors.
        offset: position of x in a larger array, whose random bits it draws: the row-major index of its
            first element, or a `Shard`. Seed, step, stream and offset do nothing to deterministic modes.
        ste: the gradient of a straight-through estimator: 'clip' passes where the magnitude rounds to at most the
            largest value, 'identity' everywhere.
        out: array the result is written to and returned; x itself to work in place. Not for JAX.
        out_dtype: dtype of the result where it is not x's.

    Returns:
        Values of the format, in the type, shape, dtype and device of x.

    Raises:
        ValueError: an unknown name; a dtype that does not hold the format's values; a stochastic mode
            without a seed; an `out` of another shape or that cannot be written.
        TypeError: input or `out` of another type or dtype.

    Example:
        >>> quantize([0.3, 1.75, 5.0, 100.0], "fp4_e2m1")
        array([0.5, 2. , 4. , 6. ])
    """
    if torch_is_compiling():
        from .backends.torch import quantize_compiled

        return quantize_compiled(x, fmt, rounding, overflow, seed, step, stream, offset, ste, out, out_dtype)
    backend = backend_of(x)
    array = backend.as_array(x)
    if isinstance(fmt, TracedFormat) and not hasattr(backend, "traced"):
        raise TypeError("traced formats are for JAX arrays; pass a format or its name")
    plan = make_plan(fmt, rounding, overflow, backend.dtype_name(array), out_dtype, ste)
    randomness = _randomness(plan, seed, step, stream, offset)
    if out is not None:
        backend.check_out(out, array, plan.target.name)
    return _as_given(x, backend.quantize(array, plan, randomness, out), out)


def encode(
    x: Any,
    fmt: str | Format,
    *,
    rounding: str | Rounding = "nearest_even",
    overflow: str | None = None,
    seed: Any = None,
    step: Any = 0,
    stream: Any = 0,
    offset: Any = 0,
    nan: float | None = None,
    out: Any = None,
) -> Any:
    """Round every element of x and return the codes, one unsigned integer an element.

    Args:
        x, fmt, rounding, overflow, seed, step, stream, offset: as in `quantize`; the values need not fit
            the dtype of x.
        nan: the number whose code stands for NaN in a format without NaN. Under `jax.jit` such formats
            need it, since a trace cannot look for NaN.
        out: integer array of the codes' dtype to write to.

    Returns:
        uint8, uint16 or uint32, the narrowest that holds a code, in the shape of x.

    Raises:
        ValueError: as `quantize`; NaN in x, or from overflow, for a format that has no code for it.

    Example:
        >>> encode([1.0, -1.0, 448.0, float("nan")], "fp8_e4m3")
        array([ 56, 184, 126, 127], dtype=uint8)
    """
    backend = backend_of(x)
    array = backend.as_array(x)
    if isinstance(fmt, TracedFormat):
        raise TypeError("encode needs a format that is not traced; pass its name")
    plan = make_plan(fmt, rounding, overflow, backend.dtype_name(array), None, codes=True)
    randomness = _randomness(plan, seed, step, stream, offset)
    if out is not None:
        backend.check_out(out, array, backend.code_dtype_name(plan.fmt))
    return _as_given(x, backend.encode(array, plan, randomness, nan, out), out)


def decode(codes: Any, fmt: str | Format, *, out_dtype: Any = None, out: Any = None) -> Any:
    """The values of codes.

    Args:
        codes: integers, in any shape; 0 <= code < 2**bits. Under `jax.jit` that is not checked, and
            other codes give NaN.
        fmt: a format or its name.
        out_dtype: float16, bfloat16, float32 or float64; default float32, or float64 where the values
            need it.
        out: float array to write to. Not for JAX.

    Returns:
        Values in the shape of codes; NaN for codes without a value.

    Raises:
        ValueError: a code out of range, or a dtype that does not hold the format's values.
        TypeError: codes that are not integers.

    Example:
        >>> decode([0, 1, 2, 3, 4, 5, 6, 7], "fp4_e2m1")
        array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ], dtype=float32)
    """
    backend = backend_of(codes)
    array = backend.as_codes(codes)
    resolved = named_format(fmt)
    default = "float32" if fits(resolved, LAYOUTS["float32"]) else "float64"
    target = layout_named(dtype_name(out_dtype or default), "out_dtype")
    require_fit(resolved, target)
    if out is not None:
        backend.check_out(out, array, target.name)
    return _as_given(codes, backend.decode(array, resolved, target, out), out)


def _randomness(plan: Plan, seed: Any, step: Any, stream: Any, offset: Any) -> Randomness:
    if plan.rounding.stochastic and seed is None:
        raise ValueError(f"rounding {plan.rounding.name!r} needs a seed; pass seed=0, and step= to vary it")
    if isinstance(offset, int) and offset < 0:
        raise ValueError(f"expected offset >= 0, got {offset}")
    return Randomness(seed, step, stream, offset)


def _as_given(x: Any, result: Any, out: Any) -> Any:
    """Scalars come back as NumPy scalars, as from any ufunc."""
    return result[()] if out is None and isinstance(x, int | float) else result
