"""Byte-pair encoding: tokens are bytes and pairs of tokens, the most frequent first. Texts come back exactly.

Source: R. Sennrich, B. Haddow, A. Birch: Neural machine translation of rare words with subword units
(arXiv:1508.07909), over bytes and within words as GPT-2 cuts them (a space goes with the word after it).
"""

import heapq
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BYTES = 256
LARGEST = 1 << 16
_WORDS = re.compile(
    rb"\0| ?[A-Za-z_\x80-\xff]+| ?[0-9]{1,3}| ?[^\s\0A-Za-z0-9_\x80-\xff]+|\n *|\s+"  # every byte is in one of them
)
_FEWEST = 2
"""How often a pair is in the text, at least, to become a token."""

_SPREAD, _PART = 64, 1 << 15
"""Of a long text so many parts of so many bytes are learned from, which takes seconds and costs 1% of the length."""

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Bpe:
    """An encoding: token 256 + k stands for the pair of tokens merges[k]; tokens below 256 are bytes."""

    merges: tuple[Pair, ...] = ()

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return BYTES + len(self.merges)

    @property
    def tokens(self) -> list[bytes]:
        """The bytes of each token."""
        found = [bytes([k]) for k in range(BYTES)]
        for first, second in self.merges:
            found.append(found[first] + found[second])
        return found

    def encode(self, text: bytes) -> np.ndarray:
        """Tokens of a text: (n,) uint8 where all are bytes, else uint16."""
        if not self.merges:
            return np.frombuffer(text, np.uint8)
        ranks = {pair: k for k, pair in enumerate(self.merges)}
        words = _WORDS.findall(text)
        index = {word: k for k, word in enumerate(dict.fromkeys(words))}
        if not index:
            return np.zeros(0, np.uint16)
        encoded = [_encoded(word, ranks) for word in index]
        lengths = np.array([len(each) for each in encoded])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        table = np.concatenate([np.array(each, np.uint16) for each in encoded])
        chosen = np.fromiter(map(index.__getitem__, words), np.int64, len(words))
        ends = np.cumsum(lengths[chosen])
        return table[np.arange(ends[-1]) + np.repeat(starts[chosen] - ends + lengths[chosen], lengths[chosen])]

    def decode(self, tokens: np.ndarray) -> bytes:
        """The text of tokens.

        Raises:
            ValueError: a number that is no token.
        """
        array = np.asarray(tokens)
        if array.size and not 0 <= array.min() <= array.max() < self.vocabulary:
            raise ValueError(f"expected tokens from 0 to {self.vocabulary - 1}, got {array.min()} to {array.max()}")
        known = self.tokens
        return b"".join(known[k] for k in array.ravel().tolist())


def learn(text: bytes, vocabulary: int) -> Bpe:
    """The encoding of a text with that many tokens; of two pairs as frequent the one of smaller tokens comes first.

    Raises:
        ValueError: a vocabulary of fewer than 256 or more than 65536 tokens, or of more than the text has pairs for.
    """
    if not BYTES <= vocabulary <= LARGEST:
        raise ValueError(f"expected a vocabulary of {BYTES} (bytes) to {LARGEST} tokens, got {vocabulary}")
    if vocabulary == BYTES:
        return Bpe()
    counted = Counter(_WORDS.findall(_spread(text)))
    words = [list(word) for word in counted]
    weights = list(counted.values())
    counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for k, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += weights[k]
            places[pair].add(k)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while len(merges) < vocabulary - BYTES:
        pair = _most_frequent(heap, counts)
        if pair is None:
            found = BYTES + len(merges)
            raise ValueError(
                f"the text has pairs for {found} tokens only; pass vocabulary={found} or less, or more text"
            )
        changed = _merge(pair, BYTES + len(merges), words, weights, counts, places)
        for each in changed:
            heapq.heappush(heap, (-counts[each], each))
        merges.append(pair)
    return Bpe(tuple(merges))


def _spread(text: bytes) -> bytes:
    """Parts of a long text, at even distances; a short one whole."""
    if len(text) <= _SPREAD * _PART:
        return text
    return b"".join(text[start : start + _PART] for start in range(0, len(text), -(-len(text) // _SPREAD)))


def _most_frequent(heap: list[tuple[int, Pair]], counts: Counter[Pair]) -> Pair | None:
    """The next pair; counts on the heap that have changed since are passed over, newer ones are on it too."""
    while heap:
        negative, pair = heapq.heappop(heap)
        if counts[pair] == -negative and -negative >= _FEWEST:
            return pair
    return None


def _merge(
    pair: Pair,
    token: int,
    words: list[list[int]],
    weights: list[int],
    counts: Counter[Pair],
    places: defaultdict[Pair, set[int]],
) -> set[Pair]:
    """Put the token for the pair in all words; the pairs whose counts changed."""
    changed: set[Pair] = set()
    for k in places.pop(pair):
        before = words[k]
        after = _replaced(before, pair, token)
        for sign, word in ((-weights[k], before), (weights[k], after)):
            for each in pairwise(word):
                counts[each] += sign
                changed.add(each)
        for each in pairwise(after):
            if token in each:
                places[each].add(k)
        words[k] = after
    return changed - {pair}


def _replaced(word: list[int], pair: Pair, token: int) -> list[int]:
    """A word with the token for the pair, from left to right."""
    found: list[int] = []
    k = 0
    while k < len(word):
        if k + 1 < len(word) and (word[k], word[k + 1]) == pair:
            found.append(token)
            k += 2
        else:
            found.append(word[k])
            k += 1
    return found


def _encoded(word: bytes, ranks: dict[Pair, int]) -> list[int]:
    """A word by the merges, in the order in which they were learned."""
    tokens = list(word)
    while len(tokens) > 1:
        best = min(pairwise(tokens), key=lambda pair: ranks.get(pair, LARGEST))
        if best not in ranks:
            break
        tokens = _replaced(tokens, best, BYTES + ranks[best])
    return tokens
