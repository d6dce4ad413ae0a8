"""Transform and quantize in one compiled pass: pieces are transformed into scratch memory and rounded from it.

What is called stands in other files, and Numba keys its disk cache on one alone, so the entry points close over a
digest of them; see `numba_scaled`.
"""

import hashlib
from pathlib import Path

import numpy as np

from . import numba_scaled, numba_transforms
from .numba_scaled import scaled_columns, scaled_rows
from .numba_transforms import compiled, transform_columns, transform_rows


def _kernels(digest):
    """The entry points; `digest`, a number, is in their cache keys and adds nothing to their results."""

    @compiled
    def rows(x, out, scratch, shape, signs, inverse, scale, nan, rest, key, first_index):
        """Transform and round blocks of consecutive elements.

        Args:
            x: (n,) contiguous floats.
            out: (n,) contiguous bits, not those of x.
            scratch: floats of a piece, in which whole blocks of both kinds fit.
            shape: elements of a block of the transform, and of one that shares a scale.
            signs, inverse, scale, nan: as for `numba_transforms.transform_rows`.
            rest: the arguments of `numba_scaled.scaled_rows` from p to powers.
            key, first_index: as there.

        Returns:
            How many blocks lie where only the portable kernels are exact.
        """
        p, plain, book, sp, how, numbers, powers = rest
        size, block = shape
        tops = np.empty(0, p.dtype)
        missed = 0
        for lo in range(0, x.size, scratch.size):
            n = min(scratch.size, x.size - lo)
            transform_rows(x[lo : lo + n], scratch[:n], size, signs, inverse, scale, nan)
            bits = scratch[:n].view(p.dtype).reshape((n // block, block))
            target = out[lo : lo + n].reshape((n // block, block))
            index = first_index + np.uint64(lo)
            missed += scaled_rows(
                bits, target, tops, p, plain, book, sp, how, numbers, powers, key, index, numbers[:0], None
            )
        return missed + digest - digest

    @compiled
    def columns(x, out, scratch, shape, signs, inverse, scale, nan, rest, key, first_index):
        """As `rows`, along the middle axis of arrays of neighbouring columns.

        Args:
            shape: (size of a transform, rows of a block, columns, columns of a block).
        """
        p, plain, book, sp, how, numbers, powers = rest
        size, block, width, run = shape
        missed = 0
        for lo in range(0, x.size, scratch.size):
            n = min(scratch.size, x.size - lo)
            cube = (n // (size * width), size, width)
            transform_columns(
                x[lo : lo + n].reshape(cube), scratch[:n].reshape(cube), 0, width, signs, inverse, scale, nan
            )
            cube = (n // (block * width), block, width)
            bits, target = scratch[:n].view(p.dtype).reshape(cube), out[lo : lo + n].reshape(cube)
            at = np.array([0, cube[0], 0, width])
            index = first_index + np.uint64(lo)
            missed += scaled_columns(bits, target, at, run, p, plain, book, sp, how, numbers, powers, key, index)
        return missed + digest - digest

    return rows, columns


WATCHED = [*numba_scaled.WATCHED, numba_scaled, numba_transforms]
_DIGEST = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in WATCHED)).digest()
transformed_rows, transformed_columns = _kernels(int.from_bytes(_DIGEST[:6], "big"))
