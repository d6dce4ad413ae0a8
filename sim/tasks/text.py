"""Text to predict token by token: the sources of Python's standard library, a file, or the files of a folder."""

import platform
import sysconfig
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .arrays import Data, existing
from .bpe import Bpe, learn

END = b"\0"
"""What ends each file; no text has it."""
_EVERY = 10
"""Of the files, in the order of their names, every tenth validates."""
_SKIPPED = frozenset(
    ("test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "pydoc_data", "__pycache__")
)
"""Folders of the standard library: tests, what was installed, and tables of characters."""


class Text(NamedTuple):
    """A text as samples.

    Fields:
        data: tokens of (n, context + 1), uint8 or uint16; a sample predicts all but its first, and the next one begins
            with its last, so that each token is predicted once.
        encoding: of the tokens.
        bytes_per_token: of what the validation samples predict.
    """

    data: Data
    encoding: Bpe
    bytes_per_token: float


def text(
    path: Any = None, *, vocabulary: int = 256, context: int = 128, valid_samples: int = 512, glob: str = "**/*"
) -> Text:
    """A text as samples of a context.

    Args:
        path: a file, of which the last tenth validates, or a folder, of which every tenth file does; None takes the
            standard library.
        vocabulary: 256 tokens are the bytes; more are learned from the training text by byte-pair encoding.
        context: tokens a sample predicts.
        valid_samples: at most so many, spread evenly, validate.
        glob: of the files of a folder; hidden ones are left out.

    Raises:
        FileNotFoundError: nothing at the path, no files, or a standard library without sources.
        ValueError: files that are not text, a text that is too short, or numbers out of range.
    """
    for name, value in (("context", context), ("valid_samples", valid_samples)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"text: expected {name} >= 1, got {value!r}")
    train, valid, source = _parts(path, glob)
    encoding = learn(train, vocabulary)
    rows = _samples(encoding.encode(valid), context, source, "validation")
    rows = rows[np.arange(min(valid_samples, len(rows))) * len(rows) // min(valid_samples, len(rows))]
    lengths = np.array([len(token) for token in encoding.tokens])
    data = Data({"tokens": _samples(encoding.encode(train), context, source, "training")}, {"tokens": rows}, source)
    return Text(data, encoding, float(lengths[rows[:, 1:]].mean()))


def _parts(path: Any, glob: str) -> tuple[bytes, bytes, str]:
    """Training text, validation text, and where they are from."""
    if path is None:
        root = Path(sysconfig.get_path("stdlib"))
        files = [file for file in root.rglob("*.py") if not _SKIPPED & set(file.relative_to(root).parts)]
        name, advice = f"standard library of Python {platform.python_version()}", "pass path= a text file or folder"
    else:
        root = existing(path, "a text file or a folder of text files")
        if root.is_file():
            return _halves(root)
        files = [f for f in root.glob(glob) if f.is_file() and not any(p[0] == "." for p in f.relative_to(root).parts)]
        name, advice = str(root), f"no file matches glob={glob!r}; pass another, as glob='**/*.txt'"
    files.sort(key=lambda file: file.relative_to(root).as_posix())
    if len(files) < _EVERY:
        raise FileNotFoundError(f"{root}: expected {_EVERY} text files or more, found {len(files)}; {advice}")
    contents = [_read(file) + END for file in files]
    train = b"".join(content for k, content in enumerate(contents) if k % _EVERY != _EVERY - 1)
    valid = b"".join(contents[_EVERY - 1 :: _EVERY])
    return train, valid, _source(name, len(files), contents)


def _halves(file: Path) -> tuple[bytes, bytes, str]:
    content = _read(file)
    cut = content.rfind(b"\n", 0, len(content) * (_EVERY - 1) // _EVERY) + 1 or len(content) * (_EVERY - 1) // _EVERY
    return content[:cut] + END, content[cut:] + END, _source(str(file), 1, [content])


def _read(file: Path) -> bytes:
    content = file.read_bytes()
    if END in content:
        raise ValueError(f"{file}: expected text, found zero bytes; leave the file out with glob=, or save it as UTF-8")
    return content


def _source(name: str, files: int, contents: Sequence[bytes]) -> str:
    digest = sha256()
    for content in contents:
        digest.update(content)
    size = sum(len(content) for content in contents)
    return f"{name}: {files} files, {size} bytes, sha256 {digest.hexdigest()[:12]}"


def _samples(tokens: np.ndarray, context: int, source: str, part: str) -> np.ndarray:
    """(n, context + 1) tokens; what is left over at the end is dropped."""
    count = (len(tokens) - 1) // context
    if count < 1:
        raise ValueError(
            f"{source}: the {part} text has {len(tokens)} tokens, too few for a sample of context={context}; pass a "
            "smaller context or more text"
        )
    windows = np.lib.stride_tricks.sliding_window_view(tokens, context + 1)
    return windows[: count * context : context].copy()
