"""Philox4x32-10 in Python integers, and the word of an element: independent of the package."""

MASK = 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def word(index, seed, step=0, stream=0):
    """The 32-bit word at a word index."""
    block = index >> 2
    return philox((block & MASK, block >> 32, stream, step), (seed & MASK, seed >> 32))[index & 3]


def element_word(index, seed, width, step=0, stream=0):
    """The random word of element `index`: 32 bits, or 64 for float64."""
    if width != 64:
        return word(index, seed, step, stream)
    return word(2 * index, seed, step, stream) << 32 | word(2 * index + 1, seed, step, stream)
