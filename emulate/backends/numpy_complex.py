"""Complex numbers of NumPy arrays."""

from typing import Any

import numpy as np

from ...formats.complexes import ComplexFormat
from ..arithmetic import narrow
from ..encoded import Encoded
from ..layouts import LAYOUTS, Layout
from ..numbers import convert
from ..phase_kernels import Stage, phase_stages, phase_values
from ..philox import fold_stream
from ..views import View
from . import numpy as plain
from .integers import NumpyIntegers


def parts(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary part.

    Raises:
        TypeError: no complex numbers.
    """
    array: Any = np.asarray(x)
    if array.dtype.kind != "c":
        raise TypeError(f"expected complex numbers or a pair (re, im), got {array.dtype}")
    if array.dtype.itemsize > 16:
        raise TypeError(f"expected complex64 or complex128, got {array.dtype}; convert with x.astype('complex128')")
    return np.ascontiguousarray(array.real), np.ascontiguousarray(array.imag)


def joined(re: Any, im: Any) -> np.ndarray:
    """The complex array of two parts."""
    re, im = np.asarray(re), np.asarray(im)
    result = np.empty(re.shape, np.complex128 if re.dtype.itemsize == 8 else np.complex64)
    result.real, result.imag = re, im
    return result[()] if result.ndim == 0 else result


def concatenated(arrays: list[np.ndarray], axis: int) -> np.ndarray:
    """Arrays side by side."""
    return np.concatenate(arrays, axis)


def folded(stream: Any, member: int) -> int:
    """The stream of a member."""
    return fold_stream(int(stream), member)


def phase(re: np.ndarray, im: np.ndarray, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """Values of both parts."""
    bits = phase_bits(plain.bits_of(re, layout), plain.bits_of(im, layout), fmt, layout, view)
    return tuple(part.view(plain.FLOATS[layout.name]).astype(re.dtype, copy=False) for part in bits)


def work_layout(layout: Layout) -> Layout:
    """The dtype phases and scales are computed in: float32, or float64 for float64 input."""
    return LAYOUTS["float64"] if layout.width == 64 else LAYOUTS["float32"]


def _stages(re: np.ndarray, im: np.ndarray, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    work = work_layout(layout)
    xp = NumpyIntegers(work.work_width)
    wide = [np.ascontiguousarray(part).reshape(-1).astype(xp.dtype) for part in (re, im)]
    if work is not layout:
        wide = [convert(xp, layout, work, part) for part in wide]
    split = [view.split(xp, part) for part in wide]
    return xp, work, phase_stages(xp, work, view, split[0], split[1], fmt.stages)


def phase_bits(re: np.ndarray, im: np.ndarray, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """Bits of the values of both parts, in the dtype they came in."""
    if not re.size:
        return re, im
    xp, work, stages = _stages(re, im, fmt, layout, view)
    return narrowed(xp, work, layout, view, phase_values(xp, work, view, stages))


def narrowed(xp: NumpyIntegers, work: Layout, layout: Layout, view: View, values: tuple) -> tuple:
    """Both parts, joined and rounded to the dtype they came in; finite ones stay finite."""
    parts = [view.join(np.broadcast_to(part, split_shape(view))) for part in values]
    if work is not layout:
        parts = [narrow(xp, work, layout, part) for part in parts]
    return tuple(np.ascontiguousarray(part).astype(plain.BITS[layout.width]) for part in parts)


def split_shape(view: View) -> list[int]:
    """Shape of the split array."""
    return [n for pair in zip(view.grid, view.extents) for n in pair]


def phase_codes(re: np.ndarray, im: np.ndarray, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """Codes of all stages (stages, *shape), and bits of their scales (stages, 2, *grid)."""
    return phase_codes_of_bits(plain.bits_of(re, layout), plain.bits_of(im, layout), fmt, layout, view)


def phase_codes_of_bits(re: np.ndarray, im: np.ndarray, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """As `phase_codes`, of bits."""
    _, work, stages = _stages(re, im, fmt, layout, view)
    codes = np.stack([view.join(stage.codes) for stage in stages]).astype(np.uint8)
    scales = np.stack([np.stack([stage.scale_re, stage.scale_im]) for stage in stages])
    return codes, scales.view(np.uint64 if work.width == 64 else np.uint32)


def phase_decoded(encoded: Encoded, layout: Layout, view: View) -> tuple:
    """Values of both parts."""
    return tuple(part.view(plain.FLOATS[layout.name]) for part in phase_decoded_bits(encoded, layout, view))


def phase_decoded_bits(encoded: Encoded, layout: Layout, view: View) -> tuple:
    """Bits of the values of both parts."""
    work = work_layout(layout)
    xp = NumpyIntegers(work.work_width)
    if encoded.elements.size and encoded.elements.max() > 3:
        raise ValueError(f"expected codes of 2 bits, got {encoded.elements.max()}")
    scales = encoded.scales.astype(np.uint64 if work.width == 64 else np.uint32).view(xp.dtype)
    stages = [Stage(view.split(xp, codes.astype(xp.dtype)), s[0], s[1]) for codes, s in zip(encoded.elements, scales)]
    return narrowed(xp, work, layout, view, phase_values(xp, work, view, stages))
