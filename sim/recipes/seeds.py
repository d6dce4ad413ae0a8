"""The seed of what draws random words, of the user's seed and its name; the same in every framework."""

from hashlib import blake2s

from ...emulate.philox import fold_stream
from ...emulate.philox import seed_words as words_of


def seed_words(seed: int, name: str) -> tuple[int, int]:
    """Two words of 32 bits of a user's seed and the name of what draws.

    Raises:
        ValueError: no integer from 0 to 2**64 - 1.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 64:
        raise ValueError(f"expected a seed from 0 to 2**64 - 1, got {seed!r}")
    (low, high), (first, second) = words_of(seed), name_words(name)
    return fold_stream(low, first), fold_stream(high, second)


def name_words(name: str) -> tuple[int, int]:
    """Two words of 32 bits that stand for a name."""
    digest = blake2s(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
