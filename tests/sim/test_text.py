"""Text as samples: which bytes go where, tokens that come back exactly, and errors that say what to type next."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from halfulp.sim.tasks import bpe
from halfulp.sim.tasks.bpe import Bpe, learn
from halfulp.sim.tasks.loading import task
from halfulp.sim.tasks.text import END, text
from hypothesis import given, settings
from hypothesis import strategies as st

RNG = np.random.default_rng(0)
WORDS = [bytes(RNG.choice(list(b"aeionrst"), size).tolist()) for size in RNG.integers(2, 8, 300)]
PROSE = b" ".join(WORDS[k] for k in RNG.integers(0, 300, 2500)) + b".\n"


@pytest.fixture
def folder(tmp_path):
    """Twenty files, one of them hidden."""
    for k in range(20):
        (tmp_path / f"{k:02}.txt").write_bytes(b"file %02d " % k + PROSE[: 60 * k + 200])
    (tmp_path / ".hidden").write_bytes(b"\0")
    return tmp_path


def test_the_standard_library_is_there():
    found = text(context=64, valid_samples=100)
    assert found.data.train["tokens"].shape[1] == 65
    assert len(found.data.train["tokens"]) > 10000
    assert found.data.valid["tokens"].shape == (100, 65)
    assert found.data.train["tokens"].dtype == np.uint8
    assert found.bytes_per_token == 1
    assert "standard library of Python" in found.data.source


def test_every_tenth_file_validates_and_each_token_is_predicted_once(folder):
    found = text(folder, context=16, valid_samples=10**6)
    contents = [file.read_bytes() + END for file in sorted(folder.glob("*.txt"))]
    valid = contents[9] + contents[19]
    train = b"".join(c for k, c in enumerate(contents) if k % 10 != 9)
    for rows, whole in ((found.data.train["tokens"], train), (found.data.valid["tokens"], valid)):
        joined = rows[0, :1].tobytes() + rows[:, 1:].tobytes()
        assert whole.startswith(joined)
        assert len(whole) - len(joined) < 16


def test_a_file_validates_with_its_last_tenth(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(PROSE)
    found = text(path, context=32)
    assert found.data.train["tokens"][0].tobytes().startswith(PROSE[:20])
    assert 0.07 < len(found.data.valid["tokens"]) / len(found.data.train["tokens"]) < 0.15


def test_pairs_shorten_a_text_and_count_its_bytes_exactly(folder):
    found = text(folder, context=16, vocabulary=300, valid_samples=10**6)
    tokens = found.data.valid["tokens"]
    assert found.encoding.vocabulary == 300
    assert tokens.dtype == np.uint16
    predicted = found.encoding.decode(tokens[:, 1:])
    assert found.bytes_per_token == len(predicted) / tokens[:, 1:].size
    assert found.bytes_per_token > 1.5
    assert task("text", size="50k", path=folder, vocabulary=300, context=16).bytes_per_token == found.bytes_per_token


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"context": 0}, ValueError, "expected context >= 1, got 0"),
        ({"context": 10**6}, ValueError, "too few for a sample of context=1000000; pass a smaller context"),
        ({"vocabulary": 255}, ValueError, "expected a vocabulary of 256"),
        ({"vocabulary": 5000}, ValueError, r"pairs for \d+ tokens only; pass vocabulary="),
        ({"valid_samples": 0}, ValueError, "expected valid_samples >= 1, got 0"),
        ({"glob": "*.py"}, FileNotFoundError, r"found 0; no file matches glob='\*.py'"),
        ({"glob": "1*.txt"}, ValueError, "the validation text has"),
    ],
)
def test_texts_that_are_none(folder, options, kind, message):
    with pytest.raises(kind, match=message):
        text(folder, **{"context": 2000, **options})


def test_files_that_are_no_text_are_named(folder):
    (folder / "03.txt").write_bytes(b"a\0b")
    with pytest.raises(ValueError, match="03.txt: expected text, found zero bytes; leave the file out"):
        text(folder)
    with pytest.raises(FileNotFoundError, match="expected a text file or a folder"):
        text(folder / "none")


def test_without_sources_a_path_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="found 0; pass path= a text file or folder"):
        task("text")


# byte-pair encoding


def test_pairs_are_learned_by_frequency_and_ties_go_to_the_smaller_tokens():
    assert learn(b"ab\nab\nab\ncd\ncd\ncd", 258).tokens[256:] == [b"ab", b"cd"]
    assert learn(b"aaaa\naaaa", 258).tokens[256:] == [b"aa", b"aaaa"]
    assert learn(b"xx", 256) == Bpe()


def test_pairs_do_not_cross_words_or_ends_of_files():
    for token in learn(PROSE.replace(b"\n", b"\0"), 300).tokens[256:]:
        assert b"\0" not in token
        assert b" " not in token[1:]


ENCODING = learn(PROSE, 320)


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="the cat mat\n_0.", max_size=200).map(str.encode)))
@settings(max_examples=200, deadline=None)
def test_every_text_comes_back(content):
    tokens = ENCODING.encode(content)
    assert ENCODING.decode(tokens) == content
    assert len(tokens) <= len(content)


def test_learning_is_deterministic_and_equals_counting_anew():
    """The counts that are kept up to date give what counting every pair again after each merge gives."""
    source = (b"low lower lowest newer new wide widest " * 3 + b"aaa aaaa banana bananas\n") * 2
    found = learn(source, 285)
    assert learn(source, 285) == found
    words = [list(word) for word in bpe._WORDS.findall(source)]
    for k, merge in enumerate(found.merges):
        counts = Counter(pair for word in words for pair in pairwise(word))
        assert merge == min(counts, key=lambda pair: (-counts[pair], pair))
        words = [bpe._replaced(word, merge, 256 + k) for word in words]


def test_decoding_refuses_other_numbers():
    with pytest.raises(ValueError, match="expected tokens from 0 to 255, got 3 to 256"):
        Bpe().decode(np.array([3, 256]))
