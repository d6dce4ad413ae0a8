"""The compiled search in a list of values.

Numba keys its disk cache on one file, so what is compiled here calls into no other; see `numba`.
"""

import numpy as np

from .numba import compiled

TILE = 4096
"""Elements per tile, as in `numba`."""


@compiled
def codebook_tile(piece, target, keys, index, p, thresholds, results):
    """A tile of `codebook`."""
    i = p.dtype.type
    mask, infinity, specials = p[0], p[1], np.uint32(p[2])
    for k in range(piece.size):
        u = i(piece[k])
        magnitude = i(u & mask)
        keys[k] = i(~magnitude) if u < i(0) and magnitude > i(0) else magnitude
        index[k] = np.uint32(0)
    step = np.uint32((thresholds.size + 1) // 2)
    while step > 0:
        for k in range(piece.size):
            probe = np.uint32(index[k] + step)
            index[k] = probe if thresholds[np.uint32(probe - np.uint32(1))] <= keys[k] else index[k]
        step = np.uint32(step >> np.uint32(1))
    for k in range(piece.size):
        u = i(piece[k])
        magnitude = i(u & mask)
        special = np.uint32(2) if magnitude > infinity else np.uint32(u < i(0))
        target[k] = results[np.uint32(specials + special) if magnitude >= infinity else index[k]]


@compiled
def codebook(x, out, p, thresholds, results):
    """results[index], index counting the thresholds not above the key of x, or pointing at what a special becomes.

    A binary search that takes each step for a whole tile before the next, so that it runs in vectors.

    Args:
        p: (magnitude mask, infinity bits, index of what +Inf becomes; -Inf and NaN come next).
        thresholds: ascending, padded with the largest integer to a power of two less one.
    """
    keys, index = np.empty(min(TILE, x.size), p.dtype), np.empty(min(TILE, x.size), np.uint32)
    for lo in range(0, x.size, TILE):
        codebook_tile(x[lo : lo + TILE], out[lo : lo + TILE], keys, index, p, thresholds, results)
