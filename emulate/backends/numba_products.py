"""Compiled sums of products in which every product and every sum is rounded, in the order of the terms.

Loops run in vectors along a row of the result, so that the order of its sums stays what it is. Numba keys its disk
cache on one file, so the entry points close over a digest of the files they call into; see `numba_scaled`.
"""

import hashlib
from pathlib import Path

import numba

from . import numba as tiles
from . import numba_odd
from .numba import constants, rounded
from .numba_odd import as_float, as_integer, compiled, odd_product, odd_sum

WIDTH = 512
"""Columns of the result that stay in the first cache while the terms go by."""

_inner = numba.njit(nogil=True, boundscheck=False, error_model="numpy")


@_inner
def _products(c, a, b, first, last, p, plain, odd, subtract, down):
    k0 = constants(p)
    zero = c.dtype.type(0)
    sign = c.dtype.type(-1 if subtract else 1)
    side = c.dtype.type(-1 if down else 1)
    for left in range(first, last, WIDTH):
        right = min(left + WIDTH, last)
        for i in range(c.shape[0]):
            row = c[i, left:right]
            for k in range(a.shape[1]):
                factor = a[i, k]
                other = b[k, left:right]
                for j in range(row.size):
                    if odd is None:
                        product = as_float(rounded(as_integer(factor * other[j]), k0, p, plain, None, None))
                        total = row[j] + sign * product
                        row[j] = as_float(rounded(as_integer(total), k0, p, plain, None, None))
                    else:
                        product = odd_product(factor, other[j])
                        product = as_float(rounded(as_integer(product), k0, p, plain, None, None))
                        total = side * odd_sum(side * row[j], side * (sign * product))
                        row[j] = as_float(rounded(as_integer(total), k0, p, plain, None, None))
    return zero


def _kernels(digest):
    """The entry points; `digest`, a number, is in their cache keys and adds nothing to their results."""

    @compiled
    def add_products(c, a, b, first, last, p, plain, odd, subtract, down):
        """c[i, j] = rnd(c[i, j] +- rnd(a[i, k] * b[k, j])) for k = 0, 1, ...

        Args:
            c: (m, n) floats of the carrier, contiguous like a and b; changed in place.
            a: (m, k); b: (k, n).
            first, last: the columns of the result to do.
            p, plain: of the rounding, as for `numba.rounded`.
            odd: None where the carrier's own operations may come before the rounding; anything else for odd ones.
            subtract: whether products are subtracted.
            down: whether results are rounded down, where a sum of zero is -0.
        """
        _products(c, a, b, first, last, p, plain, odd, subtract, down)
        return digest

    return add_products


WATCHED = [tiles, numba_odd]
_DIGEST = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in WATCHED)).digest()
add_products = _kernels(int.from_bytes(_DIGEST[:6], "big"))
