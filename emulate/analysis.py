"""Bounds and measures of rounding errors.

Sources, unless said otherwise: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002.
"""

from dataclasses import dataclass
from math import exp, floor, inf, log, log10, nan, sqrt
from operator import index
from typing import Any

import numpy as np

from ..formats.floats import FloatFormat
from ..formats.registry import Format
from ..formats.rounding import Rounding
from ..formats.suggest import unknown
from .linalg.factor import LU
from .linalg.orthogonal import QR
from .linalg.residuals import differences, magnitudes, norm, plus, ratio, residual, scaled, times
from .linalg.scaling import equilibrated
from .linalg.transforms import Complex, complex_of
from .random_runs import Spread as Spread
from .random_runs import significant_digits as significant_digits
from .random_runs import spread as spread
from .rounded.context import Arithmetic, arithmetic

_KINDS = ("normwise", "componentwise")
_CONDITIONS = ("normwise", "skeel", "bauer")


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """The numbers that characterize a floating-point format; made by `finfo`.

    Args:
        name: of the format.
        bits: of a code.
        precision: bits of a significand, p.
        eps: the distance from 1 to the next number, 2**(1 - p).
        unit_roundoff: the largest relative error of rounding to nearest, 2**-p.
        digits: decimal digits that survive, floor((p - 1) log10(2)).
        max: the largest number.
        smallest_normal: the smallest positive number of full precision.
        smallest_subnormal: the smallest positive number.
    """

    name: str
    bits: int
    precision: int
    eps: float
    unit_roundoff: float
    digits: int
    max: float
    smallest_normal: float
    smallest_subnormal: float


def finfo(fmt: "str | Format | Arithmetic") -> FloatInfo:
    """What characterizes a floating-point format.

    Args:
        fmt: a binary floating-point format or its name.

    Raises:
        ValueError: a format whose precision is not the same everywhere: integers, posits, lists of values.

    Example:
        >>> finfo("bf16").eps, finfo("bf16").max
        (0.0078125, 3.3895313892515355e+38)
    """
    found = _floating(arithmetic(fmt))
    p = found.mantissa_bits + 1
    smallest = found.min_normal
    return FloatInfo(
        name=found.name,
        bits=found.bits,
        precision=p,
        eps=2.0 ** (1 - p),
        unit_roundoff=2.0**-p,
        digits=floor((p - 1) * log10(2)),
        max=float(found.max),
        smallest_normal=float(found.min_positive if smallest is None else smallest),
        smallest_subnormal=float(found.min_positive),
    )


def unit_roundoff(fmt: "str | Format | Arithmetic", rounding: str | Rounding | None = None) -> float:
    """The largest relative error of an operation whose result is a normal number: 2**-p to nearest, else 2**(1 - p).

    Args:
        fmt: a binary floating-point format of p bits, or its name.
        rounding: as in `halfulp.quantize`; default nearest_even, or that of the arithmetic.

    Example:
        >>> unit_roundoff("fp16"), unit_roundoff("fp16", "stochastic")
        (0.00048828125, 0.0009765625)
    """
    target = arithmetic(fmt, rounding)
    p = _floating(target).mantissa_bits + 1
    return 2.0**-p if target.rounding.name.startswith("nearest") else 2.0 ** (1 - p)


def gamma(n: int, fmt: "str | Format | Arithmetic", rounding: str | Rounding | None = None) -> float:
    """n u / (1 - n u), which bounds |(1 + d_1)...(1 + d_n) - 1| for |d_i| <= u (Lemma 3.1).

    Raises:
        ValueError: n u >= 1, where there is no bound; n that is no number of roundings.
    """
    u = unit_roundoff(fmt, rounding)
    n = _count("gamma", n)
    if n * u >= 1:
        raise ValueError(
            f"gamma: {n} roundings of {arithmetic(fmt).fmt.name} have no bound, n u = {n * u:g}; take a wider format, "
            "or gamma_tilde"
        )
    return n * u / (1 - n * u)


def gamma_tilde(
    n: int, fmt: "str | Format | Arithmetic", rounding: str | Rounding | None = None, *, probability: float = 0.99
) -> float:
    """exp(k sqrt(n) u + n u**2 / (1 - u)) - 1, which bounds what `gamma` does with a probability.

    k = sqrt(2 log(2 / (1 - probability))) / (1 - u). The errors must be independent in mean, with mean zero: stochastic
    rounding makes them so, rounding to nearest is observed to, often.

    Source: Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41(5), 2019,
    Theorem 2.4; for stochastic rounding Connolly, Higham and Mary, SIAM J. Sci. Comput. 43(1), 2021.
    """
    if not 0 < probability < 1:
        raise ValueError(f"gamma_tilde: expected a probability between 0 and 1, got {probability}")
    u, n = unit_roundoff(fmt, rounding), _count("gamma_tilde", n)
    k = sqrt(2 * log(2 / (1 - probability))) / (1 - u)
    return exp(k * sqrt(n) * u + n * u * u / (1 - u)) - 1


def forward_error(x: Any, reference: Any, *, kind: str = "normwise", p: float = inf) -> float:
    """||x - y|| / ||y||, or the largest |x_i - y_i| / |y_i|, for a reference y.

    Args:
        x: an array, plain or rounded, real or complex; or a `Complex` of `fft`.
        reference: an array of its shape: float64, longdouble, complex, or Fractions and integers (dtype object), with
            which differences are exact.
        kind: 'normwise' or 'componentwise'; 0 / 0 counts as 0.
        p: of the norm: 1, 2 or infinity, of all elements as one vector.

    Raises:
        TypeError: a complex x with a reference of objects.
    """
    _check("kind", kind, _KINDS)
    y = np.asarray(reference)
    found: Any = complex_of(*x) if isinstance(x, Complex) else np.asarray(x)
    found = found.astype(np.complex128 if found.dtype.kind == "c" else np.float64)
    if found.shape != y.shape:
        raise ValueError(f"forward_error: expected a reference of shape {found.shape}, got {y.shape}")
    if not np.isfinite(found).all():
        return inf
    if not y.size:
        return 0.0
    error, size = differences(found.ravel(), y.ravel())
    return _largest(ratio(error, size) if kind == "componentwise" else ratio(norm(error, p), norm(size, p)))


def backward_error(a: Any, x: Any, b: Any, *, kind: str = "normwise", p: float = inf) -> float:
    """The smallest relative change of A and b for which x solves A x = b.

    normwise         ||r|| / (||A|| ||x|| + ||b||), with r = b - A x (Rigal and Gaches 1967; Theorem 7.1)
    componentwise    max |r|_i / (|A||x| + |b|)_i, 0 / 0 counting as 0 (Oettli and Prager 1964; Theorem 7.3)

    r is computed as if in twice float64's precision, and no product overflows or underflows.

    Args:
        a: (m, n).
        x: (n,), plain or rounded; infinite or NaN elements make an infinite error, those of a and b NaN.
        b: (m,).
        kind: 'normwise' or 'componentwise'.
        p: of the norms: 1, 2 or infinity.
    """
    _check("kind", kind, _KINDS)
    a, x, b = (_real("backward_error", value) for value in (a, x, b))
    if a.ndim != 2 or x.shape != a.shape[1:] or b.shape != a.shape[:1]:
        raise ValueError(
            f"backward_error: expected shapes (m, n), (n,) and (m,), got {a.shape}, {x.shape} and {b.shape}"
        )
    if not np.isfinite(x).all():
        return inf
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return nan
    if not a.size:
        return float(b.any())
    operands = b[:, None], a, x[:, None]
    if kind == "componentwise":
        return _largest(ratio(residual(*operands), magnitudes(*operands)))
    size = plus(times(norm(scaled(a), p), norm(scaled(x), p)), norm(scaled(b), p))
    value, exponent = residual(*operands)
    return _largest(ratio(norm(scaled(value[:, 0], exponent[:, 0]), p), size))


def factorization_error(a: Any, factors: Any, *, kind: str = "normwise") -> float:
    """How far the product of factors is from the matrix.

    |              | normwise, Frobenius        | componentwise                            |
    |--------------|----------------------------|------------------------------------------|
    | `LU`         | ||A - L U|| / ||A||        | max of |A - L U| / |L||U|, Theorem 9.3   |
    | Cholesky's L | ||A - L L'|| / ||A||       | max of |A - L L'| / |L||L'|, Theorem 10.3 |
    | `QR`         | ||A - Q R|| / ||A||        | max of ||a_j - Q r_j|| / ||a_j||, columns |

    Residuals are computed as if in twice float64's precision; of Q `orthogonality` tells the rest.

    Args:
        a: (m, n) the matrix; for Cholesky's factor its lower triangle is read.
        factors: an `LU`, a `QR`, or the factor of `cholesky`.
        kind: 'normwise' or 'componentwise'.
    """
    _check("kind", kind, _KINDS)
    a = _matrix("factorization_error", a)
    if isinstance(factors, LU):
        a, left, right = a[factors.permutation], factors.l, factors.u
    elif isinstance(factors, QR):
        left, right = factors
    else:
        a, left = np.tril(a) + np.tril(a, -1).T, factors
        right = np.asarray(factors).T
    left, right = (_matrix("factorization_error", factor) for factor in (left, right))
    if not a.size:
        return 0.0
    r = residual(a, left, right)
    if kind == "normwise":
        return _largest(ratio(norm(r), norm(scaled(a))))
    if isinstance(factors, QR):
        columns = zip(r.value.T, r.exponent.T, a.T)
        return max(_largest(ratio(norm(scaled(value, e)), norm(scaled(column)))) for value, e, column in columns)
    return _largest(ratio(r, magnitudes(np.zeros_like(a), left, right)))


def orthogonality(q: Any) -> float:
    """||Q'Q - I|| in the Frobenius norm, of (m, n) Q; infinite beyond float64."""
    q = _matrix("orthogonality", q)
    if not q.shape[1]:
        return 0.0
    return float(norm(residual(np.eye(q.shape[1]), q.T, q)).plain)


def condition_number(a: Any, x: Any = None, *, kind: str = "normwise", p: float = 2) -> float:
    """How much a solution of A x = b may change relative to the data.

    normwise    ||A|| ||A^-1||
    skeel       || |A^-1||A| ||, or || |A^-1||A||x| || / ||x|| where x is given, in the maximum norm: for componentwise
                changes (Skeel 1979; section 7.2)
    bauer       the spectral radius of |A^-1||A|: the least condition number in the maximum norm under scaling of rows
                and columns (Bauer 1963; section 7.3)

    Computed in float64, so trust no result beyond 1e15.

    Args:
        a: (n, n), plain or rounded.
        x: (n,) for 'skeel'.
        kind: one of the above.
        p: of the norm: 1, 2, infinity or 'fro'.

    Returns:
        Infinity of a matrix that float64 cannot tell from a singular one: once rows and columns are scaled by powers
        of two, its least singular value is at most n 2**-52 of the largest. 1 of an empty one.

    Raises:
        ValueError: a matrix that is not square, infinities and NaN.
    """
    _check("kind", kind, _CONDITIONS)
    a = _matrix("condition_number", a)
    if a.shape[0] != a.shape[1]:
        raise ValueError(f"condition_number: expected a square matrix, got shape {a.shape}")
    if x is not None and kind != "skeel":
        raise ValueError(f"condition_number: x goes with kind='skeel', got kind={kind!r}")
    ones = np.ones(len(a)) if x is None else np.abs(_real("condition_number", x))
    if ones.shape != a.shape[:1]:
        raise ValueError(f"condition_number: expected x of shape {a.shape[:1]}, got {ones.shape}")
    if not (np.isfinite(a).all() and np.isfinite(ones).all()):
        raise ValueError("condition_number: expected finite numbers, got infinities or NaN; replace them first")
    if not a.size:
        return 1.0
    if _singular(a):
        return inf
    if kind == "normwise":
        return float(np.linalg.cond(a, p))
    with np.errstate(all="ignore"):
        both = np.abs(np.linalg.inv(a)) @ np.abs(a)
    if kind == "bauer":
        return float(np.abs(np.linalg.eigvals(both)).max())
    return _largest(ratio(scaled((both @ ones).max()), scaled(ones.max())))


def _singular(a: np.ndarray) -> bool:
    """Whether float64 cannot tell a matrix from a singular one, however its rows and columns are scaled."""
    rows, columns = equilibrated(a)
    values = np.linalg.svd(np.ldexp(np.ldexp(a, rows[:, None]), columns), compute_uv=False)
    return bool(values[-1] <= len(a) * 2.0**-52 * values[0])


def _floating(target: Arithmetic) -> FloatFormat:
    if not isinstance(target.fmt, FloatFormat) or not target.fmt.exponent_bits:
        raise ValueError(
            f"{target.fmt.name}: relative errors have no bound, its precision is not the same everywhere; expected a "
            "floating-point format, e.g. 'fp16'"
        )
    return target.fmt


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(unknown(what, str(name), known))


def _count(name: str, n: Any) -> int:
    if not hasattr(n, "__index__") or index(n) < 0:
        raise ValueError(f"{name}: expected a number of roundings, got {n}")
    return index(n)


def _real(name: str, x: Any) -> np.ndarray:
    if np.iscomplexobj(np.asarray(x)):
        raise TypeError(f"{name}: expected real numbers, got complex ones; pass real and imaginary parts in turn")
    return np.asarray(x, np.float64)


def _matrix(name: str, a: Any) -> np.ndarray:
    a = _real(name, a)
    if a.ndim != 2:
        raise ValueError(f"{name}: expected a matrix, got shape {a.shape}")
    return a


def _largest(ratios: np.ndarray) -> float:
    return float(ratios.max(initial=0))
