"""Random bits that depend on nothing but seed, step, stream and element index.

Element i of an array, counted in row-major order, draws from Philox4x32-10:

    key     = (seed low word, seed high word)
    counter = (block low word, block high word, stream, step)       block = i >> 2
    word    = output[i & 3]

float64 elements take the two words 2i (high half) and 2i + 1 (low half). These bits never change once
released; golden values in the tests pin them. Any slice of a larger array draws the bits it has there,
given its `offset` or `Shard`. Members of a `vmap` draw from streams of their own, `fold_stream`.

Source: Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011), and Random123.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Shard:
    """Where an array lies in a larger one, so that it draws the random bits of its place.

    Args:
        start: index of the array's first element in the larger array, one entry per axis; JAX takes
            traced integers.
        global_shape: shape of the larger array.

    Raises:
        ValueError: ranks that differ, or a negative entry.

    Example:
        >>> Shard(start=(128, 0), global_shape=(256, 64))      # the lower half of 256 rows
        Shard(start=(128, 0), global_shape=(256, 64))
    """

    start: tuple[Any, ...]
    global_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", tuple(self.start))
        object.__setattr__(self, "global_shape", tuple(self.global_shape))
        if len(self.start) != len(self.global_shape):
            raise ValueError(f"Shard: expected a start per axis, got {self.start} for shape {self.global_shape}")
        if any(isinstance(s, int) and s < 0 for s in self.start) or any(n < 0 for n in self.global_shape):
            raise ValueError(f"Shard: expected no negative entries, got {self.start} in {self.global_shape}")

    def strides(self) -> tuple[int, ...]:
        """Row-major strides of the larger array, in elements."""
        return row_major_strides(self.global_shape)

    def run_start(self, shape: Sequence[int]) -> Any | None:
        """Row-major index of the first element if the array is one consecutive run, else None."""
        if any(n != g for n, g in zip(shape[1:], self.global_shape[1:])):
            return None
        return sum(s * stride for s, stride in zip(self.start[:1], self.strides()[:1]))

    def check(self, shape: Sequence[int]) -> None:
        """Raise unless an array of that shape lies inside."""
        known = all(isinstance(s, int) for s in self.start)
        if len(shape) != len(self.global_shape) or (
            known and any(s + n > g for s, n, g in zip(self.start, shape, self.global_shape))
        ):
            raise ValueError(f"{self} does not hold an array of shape {tuple(shape)}")


def row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a row-major array of that shape, in elements."""
    strides, stride = [], 1
    for length in reversed(shape):
        strides.append(stride)
        stride *= length
    return tuple(reversed(strides))


class Words(Protocol):
    """What a backend supplies: arithmetic on unsigned 32-bit words, in whatever dtype holds them."""

    def multiply(self, constant: int, a: Any) -> tuple[Any, Any]:
        """High and low word of constant * a."""
        ...

    def add(self, a: Any, b: Any) -> Any:
        """a + b modulo 2**32."""
        ...

    def repeat(self, times: int, body: Callable[[Any], Any], state: Any) -> Any:
        """body applied `times` times."""
        ...


def philox(xp: Words, counter: Sequence[Any], key: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """The four output words of Philox4x32-10.

    Args:
        counter: four words, arrays or scalars that broadcast.
        key: two words.
    """

    def one_round(state):
        c0, c1, c2, c3, k0, k1 = state
        high0, low0 = xp.multiply(MULTIPLIERS[0], c0)
        high1, low1 = xp.multiply(MULTIPLIERS[1], c2)
        return high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0, xp.add(k0, WEYL[0]), xp.add(k1, WEYL[1])

    return xp.repeat(ROUNDS, one_round, (*counter, *key))[:4]


def fold_words(xp: Words, stream: Any, member: Any) -> Any:
    """`fold_stream` over an array namespace.

    The finalizer of MurmurHash3 over stream + golden * (member + 1), so that nested maps stay apart.
    """
    h = xp.add(stream, xp.multiply(WEYL[0], xp.add(member, 1))[1])
    h = xp.multiply(0x85EBCA6B, h ^ (h >> 16))[1]
    h = xp.multiply(0xC2B2AE35, h ^ (h >> 13))[1]
    return h ^ (h >> 16)


def fold_stream(stream: int, member: int) -> int:
    """The stream of one member of a vmap whose members share a seed and a stream.

    Nested maps fold from the innermost outwards.
    """
    return fold_words(_PythonWords(), check_word("stream", stream), check_word("member", member))


class PlainLoop:
    """`Words.repeat` where nothing is traced."""

    def repeat(self, times: int, body: Callable[[Any], Any], state: Any) -> Any:
        """body applied `times` times."""
        for _ in range(times):
            state = body(state)
        return state


class _PythonWords(PlainLoop):
    """`Words` over Python integers."""

    def multiply(self, constant: int, a: int) -> tuple[int, int]:
        return constant * a >> 32, constant * a & _WORD

    def add(self, a: int, b: int) -> int:
        return (a + b) & _WORD


def seed_words(seed: int) -> tuple[int, int]:
    """Low and high word of an integer seed.

    Raises:
        ValueError: a seed below 0 or from 2**64 on.
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"expected a seed from 0 to 2**64 - 1, got {seed}")
    return seed & _WORD, seed >> 32


def check_word(name: str, value: int) -> int:
    """A step or stream as a word.

    Raises:
        ValueError: a value below 0 or from 2**32 on.
    """
    if not 0 <= value <= _WORD:
        raise ValueError(f"expected {name} from 0 to 2**32 - 1, got {value}")
    return value
