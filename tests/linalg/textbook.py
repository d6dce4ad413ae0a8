"""The algorithms as their docstrings have them: loops over `operate`, or over single numbers in rational arithmetic."""

import numpy as np
from halfulp.emulate.backends.numpy import FLOATS
from halfulp.emulate.linalg.inputs import prepare
from halfulp.emulate.rounded.operations import operate
from halfulp.emulate.rounded.rational import exactly
from halfulp.formats.exact import quantize_exact

ROUNDINGS = (
    "nearest_even", "nearest_away", "nearest_zero", "toward_zero", "away", "up", "down", "to_odd",
)  # fmt: skip
RANDOM = ("stochastic", "stochastic:8B", "stochastic_equal")


def same(a, b):
    """Whether arrays have the same bits, NaN aside."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))


def held(ar, x):
    """Numbers of the format, to nearest, in the dtype that the arithmetic carries them in."""
    _, (found,) = prepare("test", (x,), ar.fmt)
    return found.astype(FLOATS[ar.carrier.name])


def one(arithmetic, name, *row):
    """An operation of single numbers by definition."""
    found = exactly(name, [float(x) for x in row], arithmetic.rounding.name == "down")
    return float(quantize_exact(arithmetic.fmt, found, arithmetic.rounding, arithmetic.overflow))


def dot(arithmetic, x, y):
    """The sequential inner product of single numbers."""
    total = 0.0
    for a, b in zip(x, y):
        total = one(arithmetic, "add", total, one(arithmetic, "multiply", a, b))
    return total


class Loops:
    """Operations of arrays, each drawing the random words of one step."""

    def __init__(self, arithmetic, draws=None):
        self.arithmetic, self.draws = arithmetic, draws

    def do(self, name, *operands):
        words = None if self.draws is None else self.draws.next()
        return operate(name, self.arithmetic, [np.asarray(x) for x in operands], words)

    def minus_product(self, c, a, b):
        return self.do("subtract", c, self.do("multiply", a, b))

    def lu(self, a):
        a, order = a.copy(), np.arange(len(a))
        for k in range(min(a.shape)):
            p = k + int(np.argmax(np.abs(a[k:, k])))
            a[[k, p]], order[[k, p]] = a[[p, k]], order[[p, k]]
            a[k + 1 :, k] = self.do("divide", a[k + 1 :, k], a[k, k])
            a[k + 1 :, k + 1 :] = self.minus_product(a[k + 1 :, k + 1 :], a[k + 1 :, k, None], a[k, None, k + 1 :])
        return a, order

    def cholesky(self, a):
        a = a.T.copy()
        for k in range(len(a)):
            a[k, k] = self.do("sqrt", a[k, k])
            a[k, k + 1 :] = self.do("divide", a[k, k + 1 :], a[k, k])
            a[k + 1 :, k + 1 :] = self.minus_product(a[k + 1 :, k + 1 :], a[k, k + 1 :, None], a[k, None, k + 1 :])
        return np.triu(a).T

    def substitute(self, t, b, lower, unit=False):
        x, n = b.copy(), len(b)
        for j in range(n) if lower else range(n - 1, -1, -1):
            if not unit:
                x[j] = self.do("divide", x[j], t[j, j])
            rest = slice(j + 1, n) if lower else slice(0, j)
            x[rest] = self.minus_product(x[rest], t[rest, j, None], x[None, j])
        return x
