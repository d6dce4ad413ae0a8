"""Compiled sums that no array operation serves: compensated ones, each number needing the one before it, and recursive
ones with stochastic rounding.

One number at a time; what a sum costs is the latency of its roundings. Numba keys its disk cache on one file, so the
entry points close over a digest of the files they call into; see `numba_scaled`.
"""

import hashlib
from pathlib import Path

import numba
import numpy as np

from . import numba as tiles
from . import numba_odd
from .numba import constants, philox_words, rounded, rounded_randomly
from .numba_odd import as_float, as_integer, compiled, odd_sum

_inner = numba.njit(nogil=True, boundscheck=False, error_model="numpy")


@_inner
def _add(a, b, p, plain, odd, side):
    """a + b, rounded."""
    total = a + b if odd is None else side * odd_sum(side * a, side * b)
    return as_float(rounded(as_integer(total), constants(p), p, plain, None, None))


@_inner
def _kahan(x, p, plain, odd, side):
    s, e = x[0], x.dtype.type(0)
    for k in range(1, x.size):
        y = _add(x[k], e, p, plain, odd, side)
        t = _add(s, y, p, plain, odd, side)
        e = _add(_add(s, -t, p, plain, odd, side), y, p, plain, odd, side)
        s = t
    return s


@_inner
def _neumaier(x, p, plain, odd, side):
    s, c = x[0], x.dtype.type(0)
    for k in range(1, x.size):
        t = _add(s, x[k], p, plain, odd, side)
        large, small = (s, x[k]) if abs(s) >= abs(x[k]) else (x[k], s)
        e = _add(_add(large, -t, p, plain, odd, side), small, p, plain, odd, side)
        c = _add(c, e, p, plain, odd, side)
        s = t
    return _add(s, c, p, plain, odd, side)


@_inner
def _doubly(x, p, plain, odd, side):
    s, c = x[0], x.dtype.type(0)
    for k in range(1, x.size):
        y = _add(c, x[k], p, plain, odd, side)
        u = _add(x[k], -_add(y, -c, p, plain, odd, side), p, plain, odd, side)
        t = _add(y, s, p, plain, odd, side)
        v = _add(y, -_add(t, -s, p, plain, odd, side), p, plain, odd, side)
        z = _add(u, v, p, plain, odd, side)
        before = t
        s = _add(t, z, p, plain, odd, side)
        c = _add(z, -_add(s, -before, p, plain, odd, side), p, plain, odd, side)
    return s


def _kernels(digest):
    """The entry points; `digest`, a number, is in their cache keys and adds nothing to their results."""

    @compiled
    def compensated(x, out, method, p, plain, odd, down):
        """Sums of rows; `linalg.sums` has the methods.

        Args:
            x: (m, n) floats of the carrier, contiguous, n >= 1.
            out: (m,).
            method: 0 Kahan's, 1 Neumaier's, 2 doubly compensated, of rows in decreasing magnitude.
            p, plain, odd, down: see `numba_products.add_products`.
        """
        side = x.dtype.type(-1 if down else 1)
        for i in range(out.size):
            if method == 0:
                out[i] = _kahan(x[i], p, plain, odd, side)
            elif method == 1:
                out[i] = _neumaier(x[i], p, plain, odd, side)
            else:
                out[i] = _doubly(x[i], p, plain, odd, side)
        return digest

    @compiled
    def randomly(x, out, p, transform, word_like, stream, first, low, high):
        """Recursive sums of columns with stochastic rounding: out[j] = rnd(out[j] + x[k, j]) for k = 0, 1, ...

        Args:
            x: (n, m) floats of the carrier, contiguous.
            out: (m,), changed in place.
            p: of the rounding.
            transform: of words, in their dtype, as for `numba.rounded_randomly`; never None.
            word_like: an empty array of the words' dtype, uint32 or uint64.
            stream, first: the stream of step 0, and the step of the first term.
            low, high: the seed.
        """
        per_element = word_like.itemsize // 4
        words = np.empty((out.size * per_element + 3) // 4 * 4, np.uint32)
        i = p.dtype.type
        w = word_like.dtype.type
        c = constants(p)
        mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
        for k in range(x.shape[0]):
            step = first + np.uint64(k)
            philox_words(words, np.uint64(0), (stream + (step >> half)) & mask, step & mask, low, high)
            for j in range(out.size):
                if per_element == 1:
                    word = w(words[j])
                else:
                    word = w(np.uint64(words[2 * j]) << half | np.uint64(words[2 * j + 1]))
                total = as_integer(odd_sum(out[j], x[k, j]))
                out[j] = as_float(i(rounded_randomly(i(total), word, c, p, word_like, None, transform)))
        return digest

    return compensated, randomly


WATCHED = [tiles, numba_odd]
_DIGEST = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in WATCHED)).digest()
compensated, randomly = _kernels(int.from_bytes(_DIGEST[:6], "big"))
