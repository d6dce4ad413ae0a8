"""The CPU copy of the Hadamard transform: butterflies on tiles that stay in the L1 cache, in vectors.

Pinned bit for bit to `emulate.transform_kernels`; every sum is the same IEEE operation, so nothing here may be
compiled with fastmath. All that runs stands in this file, on which Numba keys its disk cache.

Two stages share a pass over the tile, and the first three share one over groups of eight. Long loops read and write
slices. Those over eight neighbours would spend their time on testing slices for overlap: they index one array at
distances that LLVM knows, unsigned, without the wraparound of negative indices; and their bound it does not know,
lest it unroll the loop before it makes vectors of it.
"""

from functools import partial

import numba
import numpy as np

from .numba import compiled as compiled_exactly

_u = np.uint64
_inner = numba.njit(nogil=True, boundscheck=False, error_model="numpy")

TILE = 4096
"""Elements of a tile, at least a block."""


compiled = partial(compiled_exactly, error_model="numpy")


@_inner
def _pairs(a, half):
    """The stage of half-distance `half` on every block of a (n,), in place."""
    for base in range(0, a.size, 2 * half):
        low, high = a[base : base + half], a[base + half : base + 2 * half]
        for k in range(half):
            x, y = low[k], high[k]
            low[k], high[k] = x + y, x - y


@_inner
def _quads(a, half):
    """The stages of half-distances `half` and 2 * half, in place."""
    for base in range(0, a.size, 4 * half):
        first, second = a[base : base + half], a[base + half : base + 2 * half]
        third, fourth = a[base + 2 * half : base + 3 * half], a[base + 3 * half : base + 4 * half]
        for k in range(half):
            w, x, y, z = first[k], second[k], third[k], fourth[k]
            w, x, y, z = w + x, w - x, y + z, y - z
            first[k], second[k], third[k], fourth[k] = w + y, x + z, w - y, x - z


@_inner
def _scaled(y, scale, nan):
    """y * scale, NaN canonical; y itself where there is no scale."""
    if scale is None:
        return y
    product = y * scale
    return product if product == product else nan


@_inner
def _pairs_of_8(a, eight, scale, nan):
    """`_pairs` of half-distance 8; results are multiplied with the scale where there is one."""
    for base in range(_u(0), _u(a.size), _u(16)):
        for k in range(base, base + eight):
            x, y = a[k], a[k + _u(8)]
            a[k], a[k + _u(8)] = _scaled(x + y, scale, nan), _scaled(x - y, scale, nan)


@_inner
def _quads_of_8(a, eight, scale, nan):
    """`_quads` of half-distance 8, likewise."""
    for base in range(_u(0), _u(a.size), _u(32)):
        for k in range(base, base + eight):
            w, x, y, z = a[k], a[k + _u(8)], a[k + _u(16)], a[k + _u(24)]
            w, x, y, z = w + x, w - x, y + z, y - z
            a[k], a[k + _u(8)] = _scaled(w + y, scale, nan), _scaled(x + z, scale, nan)
            a[k + _u(16)], a[k + _u(24)] = _scaled(w - y, scale, nan), _scaled(x - z, scale, nan)


@_inner
def _first_1(x, out):
    """The stage of half-distance 1."""
    for k in range(_u(0), _u(x.size), _u(2)):
        a, b = x[k], x[k + _u(1)]
        out[k], out[k + _u(1)] = a + b, a - b


@_inner
def _first_2(x, out):
    """The stages of half-distances 1 and 2."""
    for k in range(_u(0), _u(x.size), _u(4)):
        a, b, c, d = x[k], x[k + _u(1)], x[k + _u(2)], x[k + _u(3)]
        a, b, c, d = a + b, a - b, c + d, c - d
        out[k], out[k + _u(1)], out[k + _u(2)], out[k + _u(3)] = a + c, b + d, a - c, b - d


@_inner
def _first_3(x, out):
    """The stages of half-distances 1, 2 and 4."""
    for k in range(_u(0), _u(x.size), _u(8)):
        a, b, c, d = x[k], x[k + _u(1)], x[k + _u(2)], x[k + _u(3)]
        e, f, g, h = x[k + _u(4)], x[k + _u(5)], x[k + _u(6)], x[k + _u(7)]
        a, b, c, d, e, f, g, h = a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h
        a, b, c, d, e, f, g, h = a + c, b + d, a - c, b - d, e + g, f + h, e - g, f - h
        out[k], out[k + _u(1)], out[k + _u(2)], out[k + _u(3)] = a + e, b + f, c + g, d + h
        out[k + _u(4)], out[k + _u(5)], out[k + _u(6)], out[k + _u(7)] = a - e, b - f, c - g, d - h


@_inner
def _stages(a, half, end):
    """The stages of half-distances half, 2 * half, ... below `end`, in place."""
    while 4 * half <= end:
        _quads(a, half)
        half *= 4
    if half < end:
        _pairs(a, half)


@_inner
def _signed(x, out, signs):
    """x times signs, which are as many."""
    for k in range(x.size):
        out[k] = x[k] * signs[k]


@_inner
def _finished(a, scale, nan):
    """a times the scale, in place; NaN canonical."""
    for k in range(a.size):
        a[k] = _scaled(a[k], scale, nan)


@_inner
def _block_tile(x, out, size, scale, nan):
    """Whole blocks without signs."""
    eight = _u(8)
    if size == 16:
        _first_3(x, out)
        _pairs_of_8(out, eight, scale, nan)
        return
    if size == 32:
        _first_3(x, out)
        _quads_of_8(out, eight, scale, nan)
        return
    if size == 2:
        _first_1(x, out)
    elif size == 4:
        _first_2(x, out)
    else:
        _first_3(x, out)
        if size > 16:
            _quads_of_8(out, eight, None, nan)
            _stages(out, 32, size)
    _finished(out, scale, nan)


@compiled
def transform_rows(x, out, size, signs, inverse, scale, nan):
    """Transform blocks of consecutive elements.

    Args:
        x, out: (n,) contiguous floats, n a multiple of size; may be the same memory.
        size: elements of a block.
        signs: (max(size, TILE),) the +-1 of blocks that fill a tile, or None.
        inverse: whether signs come last.
        scale, nan: what every sum is multiplied with, and the canonical NaN.
    """
    step = max(TILE // size, 1) * size
    for lo in range(0, x.size, step):
        source, a = x[lo : lo + step], out[lo : lo + step]
        if signs is not None and not inverse:
            _signed(source, a, signs[: a.size])
            _block_tile(a, a, size, scale, nan)
        else:
            _block_tile(source, a, size, scale, nan)
        if signs is not None and inverse:
            _signed(a, a, signs[: a.size])
            _finished(a, x.dtype.type(1), nan)


@compiled
def transform_columns(x, out, left, right, signs, inverse, scale, nan):
    """Transform blocks along the middle axis of x (blocks, size, columns), columns left to right of it.

    Args:
        out: contiguous like x; may be the same memory.
        signs: (size,) of +-1, or None.
        inverse, scale, nan: as for `transform_rows`.
    """
    size = x.shape[1]
    width = min(max(TILE // size, 32), right - left)
    scratch = np.empty(size * width, x.dtype)
    for block in range(x.shape[0]):
        for start in range(left, right, width):
            w = min(width, right - start)
            a = scratch[: size * w]
            for r in range(size):
                sign = x.dtype.type(1) if signs is None or inverse else signs[r]
                source, target = x[block, r, start : start + w], a[r * w : (r + 1) * w]
                for k in range(w):
                    target[k] = source[k] * sign
            _stages(a, w, w * size)
            for r in range(size):
                sign = x.dtype.type(1) if signs is None or not inverse else signs[r]
                source, target = a[r * w : (r + 1) * w], out[block, r, start : start + w]
                for k in range(w):
                    y = source[k] * sign * scale
                    target[k] = y if y == y else nan
