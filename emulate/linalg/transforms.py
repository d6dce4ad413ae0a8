"""Fast Fourier transforms, every real operation rounded."""

from typing import Any, NamedTuple

import numpy as np

from ...formats.rounding import Rounding
from ..rounded.arrays import RoundedArray
from .inputs import Fmt, check_axis, prepare
from .machine import Machine


class Complex(NamedTuple):
    """Complex numbers as two rounded arrays.

    Args:
        real, imag: the parts.
    """

    real: Any
    imag: Any


def fft(
    x: Any,
    fmt: Fmt = None,
    *,
    axis: int = -1,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """The discrete Fourier transform, sum over k of x[k] exp(-2 pi i j k / n), by decimation in time, radix 2.

    The elements are put in bit-reversed order. For h = 1, 2, 4, ..., n / 2 each pair of neighbouring blocks of h
    becomes one of 2 h: with w = exp(-pi i j / h), its parts rounded to the format, to nearest, from float64,

        t.real = rnd(rnd(w.real b.real) - rnd(w.imag b.imag));    a[j] = rnd(a + t), part by part
        t.imag = rnd(rnd(w.real b.imag) + rnd(w.imag b.real));    b[j] = rnd(a - t)

    where w is 1 too. ||error|| <= log2(n) eta ||result||, to first order, with eta = mu + gamma(4) (sqrt(2) + mu) and
    mu the largest error of a w (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Theorem 24.2).

    Args:
        x: (..., n, ...) real or complex, n a power of two; a `RoundedArray` or a `Complex` of two; see `dot` for the
            other arguments.
        axis: along which it runs.

    Returns:
        complex64 or complex128, whichever carries the format, in the shape of x; of rounded arrays a `Complex`.

    Raises:
        ValueError: another length; an axis that there is not.
    """
    return _transform("fft", x, fmt, axis, rounding, overflow, seed)


def ifft(
    x: Any,
    fmt: Fmt = None,
    *,
    axis: int = -1,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
) -> Any:
    """The inverse of `fft`: the same with the conjugate w, then a product with 1 / n.

    That product is exact unless it becomes subnormal.

    Args:
        x: see `fft`, also for the other arguments.
    """
    return _transform("ifft", x, fmt, axis, rounding, overflow, seed)


def _transform(name: str, x: Any, fmt: Fmt, axis: int, rounding: Any, overflow: Any, seed: Any) -> Any:
    real, imaginary = _parts(x)
    given = [real] if imaginary is None else [real, imaginary]
    machine, parts = prepare(name, given, fmt, rounding, overflow, seed)
    re, im = parts if len(parts) == 2 else (parts[0], np.zeros_like(parts[0]))
    if not re.ndim or re.shape != im.shape:
        raise ValueError(f"{name}: expected arrays of one shape, with an axis, got {re.shape} and {im.shape}")
    check_axis(name, axis, re.ndim)
    n = re.shape[axis]
    if n < 1 or n & (n - 1):
        wanted = 1 << max(n - 1, 0).bit_length()
        raise ValueError(f"{name}: expected a length that is a power of two, got {n}; pad with zeros to {wanted}")
    re, im = _stages(machine, np.moveaxis(re, axis, -1), np.moveaxis(im, axis, -1), -1 if name == "fft" else 1)
    if name == "ifft":
        exponent = 1 - n.bit_length()
        re, im = machine.scaled(re, exponent), machine.scaled(im, exponent)
    re, im = np.moveaxis(re, -1, axis), np.moveaxis(im, -1, axis)
    return Complex(machine.give(re), machine.give(im)) if machine.wraps else complex_of(re, im)


def complex_of(re: Any, im: Any) -> np.ndarray:
    """Complex numbers of two parts as they are; re + 1j * im makes NaN of infinite ones."""
    re, im = np.asarray(re), np.asarray(im)
    found = np.empty(re.shape, np.result_type(re, np.complex64))
    found.real, found.imag = re, im
    return found


def _parts(x: Any) -> tuple[Any, Any]:
    if isinstance(x, Complex):
        return x
    if isinstance(x, RoundedArray):
        return x, None
    found: Any = np.asarray(x)
    return (found.real, found.imag) if found.dtype.kind == "c" else (x, None)


def _stages(machine: Machine, re: np.ndarray, im: np.ndarray, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """The transform along the last axis."""
    shape, n = re.shape, re.shape[-1]
    order = _reversed(n)
    re, im = np.ascontiguousarray(re[..., order]), np.ascontiguousarray(im[..., order])
    half = 1
    while half < n:
        blocks = (*shape[:-1], n // (2 * half), 2, half)
        (a_re, b_re), (a_im, b_im) = (np.moveaxis(part.reshape(blocks), -2, 0) for part in (re, im))
        w_re, w_im = (machine.constant(part) for part in _roots(half, sign))
        t_re = machine.subtract(machine.multiply(w_re, b_re), machine.multiply(w_im, b_im))
        t_im = machine.add(machine.multiply(w_re, b_im), machine.multiply(w_im, b_re))
        re, im = (
            np.stack([machine.add(a, t), machine.subtract(a, t)], axis=-2).reshape(shape)
            for a, t in ((a_re, t_re), (a_im, t_im))
        )
        half *= 2
    return re, im


def _reversed(n: int) -> np.ndarray:
    """Indices in bit-reversed order."""
    order = np.zeros(1, np.int64)
    while order.size < n:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def _roots(half: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of sign * pi j / half, j < half, by the angle's distance from the nearest multiple of pi / 2."""
    j = np.arange(half)
    quarter = (2 * j + half // 2) // half
    rest = j - quarter * (half / 2)
    angle, diagonal = rest * (np.pi / half), 4 * np.abs(rest) == half
    cosine = np.where(diagonal, np.sqrt(0.5), np.cos(angle))
    sine = np.where(diagonal, np.copysign(np.sqrt(0.5), rest), np.sin(angle))
    turned = [(cosine, sine), (-sine, cosine), (-cosine, -sine)]
    re = np.choose(quarter, [real for real, _ in turned])
    im = np.choose(quarter, [imaginary for _, imaginary in turned])
    return re + 0.0, sign * im + 0.0  # no -0
