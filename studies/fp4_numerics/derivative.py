"""The derivative of a block quantizer with a smooth stand-in for its steps, and whether it is one.

    f(x) = Q(s x) / s        s = 6 / max|x|        Q = E2M1, or a smooth function through the middles of its steps

    df_j/dx_i = [i = j] Q'(s x_j)  +  (ds/dx_i) ((x_j / s) Q'(s x_j) - Q(s x_j) / s^2)
    ds/dx_i   = -(s / x_i) where |x_i| is the largest, else 0

The layer of arXiv:2509.17791 multiplies the gradient of each element with its own derivative, the diagonal of this. The
largest element moves the scale of its whole block, though, and the rest of its column is as much part of the Jacobian.
Where s is rounded to a format, s is constant between two of its values: the second term is an estimate then.
"""

from typing import Any

import numpy as np

from ...formats.exact import numbers
from ...formats.registry import plain_format

VALUES = np.array([float(value) for value in numbers(plain_format("fp4_e2m1"))])
LARGEST = float(VALUES[-1])
POWER, SHARPNESS, CAP = 5.0, 4.0, 3.0
"""k of DGE, the sharpness of the spline, and where DGE's derivative is cut off."""
SURROGATES = ("dge", "spline", "identity")


def surrogate(name: str, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smooth step function through the values of E2M1, and its derivative; beyond the ends it goes on straight.

    With t = 2 (y - a) / (b - a) - 1 in [-1, 1] between two values a and b, which Q goes through:

        dge       Q = a + (b - a) / 2 (1 + sign(t) |t|^(1/k))           Q' = |t|^(1/k - 1) / k       arXiv:2501.17116
        spline    Q = a + (b - a) / 2 (1 + tanh(c t) / tanh(c))         Q' = c / (cosh(c t)^2 tanh(c))
        identity  Q = y                                                 Q' = 1                       straight through

    Args:
        y: numbers on the scale of elements.

    Returns:
        Q(y) and Q'(y), not capped.

    Raises:
        ValueError: an unknown name.
    """
    if name not in SURROGATES:
        raise ValueError(f"expected one of {', '.join(SURROGATES)}, got {name!r}")
    place = np.clip(np.searchsorted(VALUES, y), 1, len(VALUES) - 1)
    low, width = VALUES[place - 1], VALUES[place] - VALUES[place - 1]
    t = 2 * (y - low) / width - 1
    if name == "identity":
        return y.copy(), np.ones_like(y)
    if name == "dge":
        inner = np.maximum(np.abs(t), 1e-12)
        value, slope = np.sign(t) * inner ** (1 / POWER), inner ** (1 / POWER - 1) / POWER
        end = 1 / POWER
    else:
        value = np.tanh(SHARPNESS * t) / np.tanh(SHARPNESS)
        slope = SHARPNESS / (np.cosh(SHARPNESS * t) ** 2 * np.tanh(SHARPNESS))
        end = SHARPNESS / (np.cosh(SHARPNESS) ** 2 * np.tanh(SHARPNESS))
    outside = np.abs(t) > 1
    value = np.where(outside, np.sign(t) * (1 + end * (np.abs(t) - 1)), value)
    return low + width / 2 * (1 + value), np.where(outside, end, slope)


def scale_of(x: np.ndarray, power_of_two: bool) -> float:
    """s = 6 / max|x|, or the largest power of two up to it."""
    s = LARGEST / float(np.abs(x).max())
    return float(2.0 ** np.floor(np.log2(s))) if power_of_two else s


def quantized(x: np.ndarray, name: str, power_of_two: bool = False) -> np.ndarray:
    """f of a block (n,)."""
    s = scale_of(x, power_of_two)
    return surrogate(name, s * x)[0] / s


def jacobian(x: np.ndarray, name: str, power_of_two: bool = False) -> np.ndarray:
    """(n, n) df_j/dx_i in row j and column i; the scale's rounding is passed straight through."""
    s = scale_of(x, power_of_two)
    value, slope = surrogate(name, s * x)
    largest = int(np.argmax(np.abs(x)))
    found = np.diag(slope)
    found[:, largest] += -(s / x[largest]) * (x / s * slope - value / s**2)
    return found


def elementwise(x: np.ndarray, name: str) -> np.ndarray:
    """(n,) the published layer's derivative of each element by itself."""
    return np.diag(jacobian(x, name)).copy()


def differences(x: np.ndarray, name: str, power_of_two: bool = False, step: float = 1e-6) -> np.ndarray:
    """(n, n) central finite differences of f."""
    found: list[Any] = []
    for i in range(len(x)):
        moved = [x.copy(), x.copy()]
        moved[0][i] += step * abs(x[i])
        moved[1][i] -= step * abs(x[i])
        up, down = (quantized(each, name, power_of_two) for each in moved)
        found.append((up - down) / (2 * step * abs(x[i])))
    return np.stack(found, axis=1)


def capped_share(power: float = POWER, cap: float = CAP) -> float:
    """The share of an interval in which DGE's derivative would be above its cap: |t| < (k cap)^(-k / (k - 1))."""
    return float((power * cap) ** (-power / (power - 1)))
