"""Complex numbers: rounding by component, phase quantization, and the widely-linear view of real matrices."""

from collections.abc import Callable
from typing import Any

from ..formats.catalogue import COMPLEX, COMPLEX_ALIASES
from ..formats.catalogue import format as any_format
from ..formats.complexes import ComplexFormat
from .dispatch import backend_of, complex_backend_of
from .encoded import Encoded
from .layouts import Layout
from .plan import Randomness, layout_named
from .scaled_plan import Options
from .views import View, view_of

IMAGINARY_MEMBER = 0xFFFFFFFE
"""Imaginary parts draw from the stream of the real parts folded with this."""


def quantize_complex(x: Any, fmt: Any, options: Options, randomness: Randomness, out: Any, quantize: Callable) -> Any:
    """`quantize` of complex arrays and of pairs (re, im).

    Args:
        quantize: the function for real arrays.

    Raises:
        TypeError: a pair of different types or dtypes.
        ValueError: parts of different shapes, or options that do not go with complex numbers.
    """
    if options.out_dtype is not None:
        raise ValueError("complex results keep the dtype of the input; leave out_dtype out")
    if out is not None:
        raise ValueError("complex results are new arrays; leave out= out")
    backend, re, im = _parts(x)
    resolved = any_format(fmt)
    if isinstance(resolved, ComplexFormat):
        _check_phase_options(resolved, options, randomness)
        layout, view = _phase_view(resolved, re, options.pad, backend)
        parts = backend.phase(re, im, resolved, layout, view)
    else:
        parts = _by_component(re, im, resolved, options, randomness, backend, quantize)
    return parts if isinstance(x, tuple) else backend.joined(*parts)


def quantize_complex_compiled(x: Any, fmt: Any, options: Options, randomness: Randomness, quantize: Callable) -> Any:
    """`quantize_complex` while `torch.compile` traces: names are looked up, nothing is parsed."""
    from .backends import torch_complex as backend

    re, im = x if isinstance(x, tuple) else (x.real, x.imag)
    spec = fmt if isinstance(fmt, str) else fmt.spec
    if COMPLEX_ALIASES.get(spec, spec) in COMPLEX or spec.startswith("phase("):
        parts = backend.phase_compiled(re, im, spec, options.pad)
    else:
        parts = _by_component(re, im, fmt, options, randomness, backend, quantize)
    return parts if isinstance(x, tuple) else backend.joined(*parts)


def _parts(x: Any) -> tuple[Any, Any, Any]:
    """The backend and the two real arrays of a complex array, number, list or pair."""
    if isinstance(x, tuple):
        if len(x) != 2:
            raise TypeError(f"expected a complex array or a pair (re, im), got a tuple of {len(x)}")
        re, im = (backend_of(part).as_array(part) for part in x)
        backend = complex_backend_of(re)
        if type(re) is not type(im) or re.dtype != im.dtype:
            raise TypeError(f"expected a pair of one type and dtype, got {re.dtype} and {im.dtype}")
        if re.shape != im.shape:
            raise ValueError(f"expected a pair of one shape, got {tuple(re.shape)} and {tuple(im.shape)}")
        return backend, re, im
    backend = complex_backend_of(x)
    return backend, *backend.parts(x)


def _by_component(
    re: Any, im: Any, fmt: Any, options: Options, randomness: Randomness, backend: Any, quantize: Callable
) -> tuple:
    if options.given:
        raise ValueError("scale= is for real arrays; quantize the real and imaginary parts apart")
    shared = {
        "rounding": options.rounding, "scale_rounding": options.scale_rounding, "overflow": options.overflow,
        "ste": options.ste, "axis": options.axis, "pad": options.pad,
        "seed": randomness.seed, "step": randomness.step, "offset": randomness.offset,
    }  # fmt: skip
    other = randomness.stream if randomness.seed is None else backend.folded(randomness.stream, IMAGINARY_MEMBER)
    return quantize(re, fmt, stream=randomness.stream, **shared), quantize(im, fmt, stream=other, **shared)


def _check_phase_options(fmt: ComplexFormat, options: Options, randomness: Randomness) -> None:
    given = {
        "rounding": options.rounding, "scale_rounding": options.scale_rounding, "overflow": options.overflow,
        "axis": options.axis, "scale": options.given or None, "seed": randomness.seed,
    }  # fmt: skip
    extra = [name for name, value in given.items() if value is not None]
    if extra:
        raise ValueError(f"{fmt.name} rounds by phase, so {' and '.join(extra)} say nothing; leave them out")
    if options.ste == "clip":
        raise ValueError(f"{fmt.name} has no range to clip to; pass ste='identity' or leave it out")


def _phase_view(fmt: ComplexFormat, re: Any, pad: bool, backend: Any) -> tuple[Layout, View]:
    layout = layout_named(backend_of(re).dtype_name(re), "x")
    return layout, view_of(fmt.blocks, tuple(re.shape), pad, fmt.name)


def encode_complex(x: Any, fmt: Any, options: Options) -> Encoded:
    """`encode` of complex arrays and of pairs (re, im) in a complex format."""
    backend, re, im = _parts(x)
    resolved = any_format(fmt)
    _check_phase_options(resolved, options, Randomness())
    layout, view = _phase_view(resolved, re, options.pad, backend)
    if not view.block_size or 0 in view.grid:
        raise ValueError(f"expected an array with elements, got shape {tuple(re.shape)}; an empty one has no scales")
    elements, scales = backend.phase_codes(re, im, resolved, layout, view)
    dtype = layout.name if isinstance(x, tuple) else f"complex of {layout.name}"
    return Encoded(resolved, tuple(re.shape), dtype, elements, scales)


def decode_complex(encoded: Encoded, out: Any) -> Any:
    """`decode` of codes of a complex format: a complex array, or a pair where one was encoded."""
    if out is not None:
        raise ValueError("complex results are new arrays; leave out= out")
    fmt: Any = encoded.fmt
    pair = not encoded.dtype.startswith("complex of ")
    layout = layout_named(encoded.dtype.removeprefix("complex of "), "dtype")
    view = view_of(fmt.blocks, tuple(encoded.shape), True, fmt.name)
    expected = ((fmt.stages, *encoded.shape), (fmt.stages, 2, *view.grid))
    found = (tuple(encoded.elements.shape), tuple(encoded.scales.shape))
    if found != expected:
        raise ValueError(f"{fmt.name}: expected elements and scales of shapes {expected}, got {found}")
    backend = complex_backend_of(encoded.elements)
    parts = backend.phase_decoded(encoded, layout, view)
    return parts if pair else backend.joined(*parts)


def to_widely_linear(a: Any) -> tuple[Any, Any]:
    """Complex U, W with the real matrix's product: (A [Re z; Im z]) is [Re y; Im y] of y = U z + W conj(z).

    Args:
        a: (..., 2n, 2m) real matrices.

    Returns:
        U, W: (..., n, m) complex. With A in quarters, U = ((A11 + A22) + i (A21 - A12)) / 2 and
        W = ((A11 - A22) + i (A12 + A21)) / 2.

    Raises:
        ValueError: fewer than two axes, or lengths that are odd.

    Source: Fairy2i, the widely-linear form of real-linear maps.

    Example:
        >>> import numpy as np
        >>> u, w = to_widely_linear(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> u.tolist(), w.tolist()
        ([[(2.5+0.5j)]], [[(-1.5+2.5j)]])
    """
    backend = complex_backend_of(a)
    if len(a.shape) < 2 or a.shape[-1] % 2 or a.shape[-2] % 2:
        raise ValueError(f"expected real matrices with an even number of rows and columns, got shape {tuple(a.shape)}")
    n, m = a.shape[-2] // 2, a.shape[-1] // 2
    a11, a12, a21, a22 = a[..., :n, :m], a[..., :n, m:], a[..., n:, :m], a[..., n:, m:]
    u = backend.joined((a11 + a22) / 2, (a21 - a12) / 2)
    return u, backend.joined((a11 - a22) / 2, (a12 + a21) / 2)


def from_widely_linear(u: Any, w: Any) -> Any:
    """The real matrices (..., 2n, 2m) of complex U, W (..., n, m); the inverse of `to_widely_linear`.

    Raises:
        ValueError: different shapes, or fewer than two axes.
    """
    if u.shape != w.shape or len(u.shape) < 2:
        raise ValueError(f"expected two matrices of one shape, got {tuple(u.shape)} and {tuple(w.shape)}")
    backend = complex_backend_of(u)
    (u_re, u_im), (w_re, w_im) = backend.parts(u), backend.parts(w)
    top = backend.concatenated([u_re + w_re, w_im - u_im], -1)
    bottom = backend.concatenated([u_im + w_im, u_re - w_re], -1)
    return backend.concatenated([top, bottom], -2)
