"""`quantize`, `encode`, `decode` and `scales`: the one place where arguments are checked."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..formats.catalogue import AnyFormat
from ..formats.catalogue import format as any_format
from ..formats.codebooks import ChannelCodebooks
from ..formats.complexes import ComplexFormat
from ..formats.residual import RESIDUAL, ResidualFormat
from ..formats.rounding import Rounding
from ..formats.scaled import ScaledFormat
from ..formats.transform import Hadamard
from .channels import decode_channels, encode_channels, quantize_channels
from .complexes import decode_complex, encode_complex, quantize_complex, quantize_complex_compiled
from .dispatch import backend_of, scaled_backend_of, torch_is_compiling
from .encoded import Amax, Encoded, Scales
from .layouts import LAYOUTS, fits, require_fit
from .plan import Randomness, dtype_name, layout_named
from .residual import quantize_residual
from .scaled_plan import Options, ScaledPlan, check_amax, check_randomness, plan_for
from .scaled_tables import TracedScaled
from .tables import TracedFormat, TracedRounding
from .transforms import quantize_pieces, transform_first

_WITHOUT_AMAX = (ComplexFormat, ResidualFormat, ChannelCodebooks)
_AMAX_IS_FOR = "amax= is for real arrays in scaled formats; leave it out, or quantize the parts apart"


def quantize(
    x: Any,
    fmt: str | AnyFormat | TracedFormat | TracedScaled,
    *,
    rounding: "str | Rounding | TracedRounding | None" = None,
    overflow: str | None = None,
    seed: Any = None,
    step: Any = 0,
    stream: Any = 0,
    offset: Any = 0,
    scale: Any = None,
    amax: Any = None,
    scale_rounding: str | Rounding | None = None,
    axis: int | tuple[int, ...] | None = None,
    pad: bool = False,
    ste: str | None = None,
    transform: str | Hadamard | None = None,
    out: Any = None,
    out_dtype: Any = None,
) -> Any:
    """Round every element of x to the nearest values of a format; the result stays in x's dtype.

    Each input is rounded once, also from float64, by integer arithmetic on its bits: the same bits come
    out of NumPy, PyTorch and JAX, with flushed subnormals, under jit and `torch.compile`.

    Args:
        x: float16, bfloat16, float32 or float64; a NumPy array, torch tensor or JAX array of any shape
            and strides, or a scalar or list, which come back as NumPy. Complex arrays, and pairs
            (re, im) of arrays, are rounded by component, or by phase in a complex format.
        fmt: a format or its name, see `halfulp.format`; in JAX and torch also one as data, see `format_data`.
        rounding: nearest_even, nearest_away, nearest_zero, toward_zero, away, up, down, to_odd,
            stochastic, stochastic_equal, or a `Rounding` such as `halfulp.stochastic(bits=8)`; in JAX also one as
            data, see `rounding_data`. Default: the format's own, which is nearest_even for all but HiF4.
        overflow: what a rounded value beyond the largest becomes: 'saturate' the largest, infinities too;
            'propagate' the largest, infinities kept where the format has them; 'special' Inf, or NaN where
            there is no Inf; 'wrap' modulo 2**bits, integers only. Default: 'special' for floats of 15 bits
            and more, otherwise 'saturate'. Elements of scaled formats saturate or become 'special'.
        seed: for stochastic modes: an integer below 2**64, two uint32 words, a torch tensor, or a JAX key.
        step, stream: words that separate uses of one seed, 0 to 2**32 - 1; like seed they may be tensors.
        offset: position of x in a larger array, whose random bits it draws: the row-major index of its
            first element, or a `Shard`. Seed, step, stream and offset do nothing to deterministic modes.
        scale: of a scaled format: the scales to use in place of those of the data, as `scales` returns
            them, or an array of one number a block.
        amax: of a format with one scale, or one outer scale, for the tensor: the largest magnitude to go by in
            place of that of x, such as one that all ranks agreed on or that of an earlier step. One finite
            number >= 0; larger elements saturate.
        scale_rounding: of a scaled format: a rounding of the ideal scales in place of the format's rule.
        axis: of a scaled format: the axis, or axes, along which its blocks run.
        pad: whether a last block may be ragged; it is then scaled by the elements it has.
        ste: the gradient of a straight-through estimator: 'clip' passes where the magnitude rounds to at
            most the largest value, 'identity' everywhere. Default: 'clip', but 'identity' where scales
            follow the data.
        transform: what `hadamard` does to x first, in float32 (float64 for float64 input) and without rounding to
            x's dtype; the result stays in the transformed basis. It runs along the axis of the blocks where that is
            a single one, else along `axis`, by default the last. Random signs take seed and step.
        out: array the result is written to and returned; x itself to work in place. Not for JAX.
        out_dtype: dtype of the result where it is not x's.

    Returns:
        Values of the format, in the type, shape, dtype and device of x. Values of a scaled format, elements
        times scales, are rounded once to that dtype and never become infinite.

    Raises:
        ValueError: an unknown name; a dtype that does not hold the format's values; a stochastic mode
            without a seed; an `out` of another shape or that cannot be written; blocks that do not divide
            the shape; options that do not go with the format.
        TypeError: input, scales or `out` of another type or dtype.

    Example:
        >>> quantize([0.3, 1.75, 5.0, 100.0], "fp4_e2m1")
        array([0.5, 2. , 4. , 6. ])
        >>> quantize([0.3, 1.75, 5.0, 127.0], "int8_per_tensor")
        array([  0.,   2.,   5., 127.])
    """
    if scale is not None and amax is not None:
        raise ValueError("scale= and amax= say the same twice; leave one out")
    if transform is not None:
        options = Options(rounding, scale_rounding, overflow, out_dtype, ste, axis, pad, scale is not None)
        randomness = Randomness(seed, step, stream, offset)
        found = quantize_pieces(x, fmt, transform, options, randomness, out) if amax is None else None
        if found is not None:
            return found
        x, axis, dtype = transform_first(x, fmt, transform, axis, seed, step)
        out_dtype = dtype if out_dtype is None else out_dtype
    if torch_is_compiling():
        from .backends.torch import quantize_compiled

        residual = isinstance(fmt, ResidualFormat) or (isinstance(fmt, str) and fmt in RESIDUAL)
        if amax is not None and (residual or isinstance(x, tuple) or x.is_complex()):
            raise ValueError(_AMAX_IS_FOR)
        if residual:
            options = Options(rounding, scale_rounding, overflow, out_dtype, ste, axis, pad, scale is not None)
            stack: Any = RESIDUAL[fmt] if isinstance(fmt, str) else fmt
            return quantize_residual(x, stack, options, Randomness(seed, step, stream, offset), out, quantize)
        if isinstance(x, tuple) or x.is_complex():
            options = Options(rounding, scale_rounding, overflow, out_dtype, ste, axis, pad, scale is not None)
            return quantize_complex_compiled(x, fmt, options, Randomness(seed, step, stream, offset), quantize)
        return quantize_compiled(
            x, fmt, rounding, overflow, seed, step, stream, offset, scale, amax, scale_rounding, axis, pad,
            ste, out, out_dtype,
        )  # fmt: skip
    options = Options(rounding, scale_rounding, overflow, out_dtype, ste, axis, pad, scale is not None)
    randomness = Randomness(seed, step, stream, offset)
    resolved = any_format(fmt) if isinstance(fmt, str) else fmt
    if amax is not None and (isinstance(resolved, _WITHOUT_AMAX) or _is_complex(x)):
        raise ValueError(_AMAX_IS_FOR)
    if isinstance(resolved, ComplexFormat) or _is_complex(x):
        return quantize_complex(x, fmt, options, randomness, out, quantize)
    if isinstance(resolved, ResidualFormat):
        return _as_given(x, quantize_residual(x, resolved, options, randomness, out, quantize), out)
    if isinstance(resolved, ChannelCodebooks):
        return quantize_channels(x, resolved, options, randomness, out, quantize)
    backend = backend_of(x)
    array = backend.as_array(x)
    if _is_traced(fmt, rounding, scale_rounding) and not hasattr(backend, "traced"):
        raise TypeError(
            "traced formats and roundings are for JAX arrays; pass a format or its name, and that of a mode"
        )
    plan = plan_for(fmt, backend.dtype_name(array), options)
    check_randomness(plan, randomness)
    if out is not None:
        backend.check_out(out, array, plan.target.name)
    given = scale
    if amax is not None:
        check_amax(plan)
        given = Amax(amax)
    if isinstance(plan, ScaledPlan):
        return _as_given(x, scaled_backend_of(x).quantize(array, plan, randomness, given, out), out)
    return _as_given(x, backend.quantize(array, plan, randomness, out), out)


def _is_traced(fmt: Any, *roundings: Any) -> bool:
    return isinstance(fmt, TracedFormat | TracedScaled) or any(isinstance(mode, TracedRounding) for mode in roundings)


def encode(
    x: Any,
    fmt: str | AnyFormat,
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    step: Any = 0,
    stream: Any = 0,
    offset: Any = 0,
    scale_rounding: str | Rounding | None = None,
    axis: int | tuple[int, ...] | None = None,
    pad: bool = False,
    nan: float | None = None,
    transform: str | Hadamard | None = None,
    out: Any = None,
) -> Any:
    """Round every element of x and return the codes, one unsigned integer an element.

    Args:
        x, fmt, rounding, overflow, seed, step, stream, offset, scale_rounding, axis, pad, transform: as in
            `quantize`; the values need not fit the dtype of x.
        nan: the number whose code stands for NaN in a format without NaN. Under `jax.jit` such formats
            need it, since a trace cannot look for NaN; a scale that has a NaN marks the blocks that hold one.
        out: integer array of the codes' dtype to write to; not for scaled formats.

    Returns:
        uint8, uint16 or uint32, the narrowest that holds a code, in the shape of x. For scaled and complex
        formats an `Encoded`: codes of elements, of scales, and whatever else the format has.

    Raises:
        ValueError: as `quantize`; NaN in x, or from overflow, for a format that has no code for it.

    Example:
        >>> encode([1.0, -1.0, 448.0, float("nan")], "fp8_e4m3")
        array([ 56, 184, 126, 127], dtype=uint8)
        >>> encode([0.5, -3.0, 127.0, 0.0], "int8_per_tensor").elements
        array([  0, 253, 127,   0], dtype=uint8)
    """
    if isinstance(fmt, TracedFormat | TracedScaled):
        raise TypeError("encode needs a format that is not traced; pass its name")
    if transform is not None:
        x, axis, dtype = transform_first(x, fmt, transform, axis, seed, step)
        codes = encode(
            x, fmt, rounding=rounding, overflow=overflow, seed=seed, step=step, stream=stream, offset=offset,
            scale_rounding=scale_rounding, axis=axis, pad=pad, nan=nan, out=out,
        )  # fmt: skip
        return replace(codes, dtype=dtype) if isinstance(codes, Encoded) else codes
    options = Options(rounding, scale_rounding, overflow, axis=axis, pad=pad, codes=True)
    randomness = Randomness(seed, step, stream, offset)
    if isinstance(any_format(fmt), ComplexFormat):
        return encode_complex(x, fmt, options)
    if isinstance(x, tuple) and _is_complex(x):
        raise TypeError("encode takes real numbers in a real format; encode the real and imaginary parts apart")
    if isinstance(fmt, ChannelCodebooks):
        return encode_channels(x, fmt, options, randomness, nan, out, encode)
    backend = backend_of(x)
    array = backend.as_array(x)
    plan = plan_for(fmt, backend.dtype_name(array), options)
    check_randomness(plan, randomness)
    if isinstance(plan, ScaledPlan):
        if out is not None:
            raise ValueError(f"{plan.name}: codes of scaled formats are several arrays; leave out out=")
        return scaled_backend_of(x).encode(array, plan, randomness, nan)
    if out is not None:
        backend.check_out(out, array, backend.code_dtype_name(plan.fmt))
    return _as_given(x, backend.encode(array, plan, randomness, nan, out), out)


def decode(codes: Any, fmt: str | AnyFormat | None = None, *, out_dtype: Any = None, out: Any = None) -> Any:
    """The values of codes.

    Args:
        codes: integers, in any shape; 0 <= code < 2**bits. Under `jax.jit` that is not checked, and
            other codes give NaN. Or an `Encoded` of a scaled or complex format.
        fmt: a format or its name; not needed for `Encoded`.
        out_dtype: float16, bfloat16, float32 or float64; default float32, or float64 where the values
            need it; of an `Encoded` the dtype that was encoded.
        out: float array to write to. Not for JAX.

    Returns:
        Values in the shape of codes; NaN for codes without a value.

    Raises:
        ValueError: a code out of range, a dtype that does not hold the format's values, or arrays of
            shapes that do not go together.
        TypeError: codes that are not integers.

    Example:
        >>> decode([0, 1, 2, 3, 4, 5, 6, 7], "fp4_e2m1")
        array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ], dtype=float32)
        >>> decode(encode([0.5, -3.0, 127.0, 0.0], "int8_per_tensor"))
        array([  0.,  -3., 127.,   0.])
    """
    if isinstance(codes, Encoded):
        return _decode_encoded(codes, fmt, out_dtype, out)
    backend = backend_of(codes)
    array = backend.as_codes(codes)
    if fmt is None:
        raise TypeError("decode needs the format of the codes; pass its name")
    resolved: Any = any_format(fmt)
    if isinstance(resolved, ChannelCodebooks):
        return decode_channels(array, resolved, out_dtype, out, decode)
    if isinstance(resolved, ScaledFormat | ComplexFormat | ResidualFormat):
        raise TypeError(f"{resolved.name}: expected what hu.encode returns, got {type(codes).__name__} of codes alone")
    default = "float32" if fits(resolved, LAYOUTS["float32"]) else "float64"
    target = layout_named(dtype_name(out_dtype or default), "out_dtype")
    require_fit(resolved, target)
    if out is not None:
        backend.check_out(out, array, target.name)
    return _as_given(codes, backend.decode(array, resolved, target, out), out)


def _decode_encoded(codes: Encoded, fmt: Any, out_dtype: Any, out: Any) -> Any:
    if fmt is not None and any_format(fmt) != codes.fmt:
        raise ValueError(f"the codes are of {codes.fmt.name}, got {any_format(fmt).name}; leave the format out")
    if isinstance(codes.fmt, ComplexFormat):
        if out_dtype is not None:
            raise ValueError("complex results keep the dtype that was encoded; leave out_dtype out")
        return decode_complex(codes, out)
    target = layout_named(dtype_name(out_dtype or codes.dtype), "out_dtype")
    if out is not None:
        backend_of(codes.elements).check_out(out, codes.elements, target.name)
    return scaled_backend_of(codes.elements).decode(codes, target, out)


def scales(
    x: Any,
    fmt: str | ScaledFormat,
    *,
    seed: Any = None,
    step: Any = 0,
    stream: Any = 0,
    offset: Any = 0,
    scale_rounding: str | Rounding | None = None,
    axis: int | tuple[int, ...] | None = None,
    pad: bool = False,
    transform: str | Hadamard | None = None,
) -> Scales:
    """The scales that `quantize` would use, to look at or to pass to it as `scale=`.

    Args:
        x: as in `quantize`, of one or more elements.
        fmt: a scaled format or its name.
        seed, step, stream, offset, scale_rounding, axis, pad, transform: as in `quantize`.

    Returns:
        `Scales` in float32 (float64 for float64 input), over the grid of blocks; 0 for blocks that are
        zero (the smallest scale where the format has no zero), NaN for blocks that are NaN.

    Raises:
        ValueError: as `quantize`; a format without scales; an empty array.

    Example:
        >>> scales([0.5, -3.0, 448.0, 0.0], "mxfp4", pad=True).decode
        array([64.])
    """
    if transform is not None:
        x, axis, _ = transform_first(x, fmt, transform, axis, seed, step)
    backend = backend_of(x)
    array = backend.as_array(x)
    plan = plan_for(fmt, backend.dtype_name(array), Options(None, scale_rounding, axis=axis, pad=pad))
    if not isinstance(plan, ScaledPlan):
        name = "a traced format" if isinstance(plan.fmt, TracedFormat) else plan.fmt.name
        raise ValueError(f"{name} has no scales; expected a scaled format, e.g. 'mxfp4' or 'int8_per_row'")
    randomness = Randomness(seed, step, stream, offset)
    check_randomness(plan, randomness)
    return scaled_backend_of(x).find_scales(array, plan, randomness)


def _is_complex(x: Any) -> bool:
    """Whether x holds complex numbers, or is a pair of arrays."""
    if isinstance(x, tuple):
        return bool(x) and all(hasattr(part, "dtype") for part in x)
    if isinstance(x, list):
        return np.iscomplexobj(x)
    dtype = getattr(x, "dtype", None)
    return isinstance(x, complex) or (dtype is not None and _is_complex_dtype(dtype))


@lru_cache(maxsize=64)
def _is_complex_dtype(dtype: Any) -> bool:
    return "complex" in str(dtype)


def _as_given(x: Any, result: Any, out: Any) -> Any:
    """Scalars come back as NumPy scalars, as from any ufunc."""
    return result[()] if out is None and isinstance(x, int | float) else result
