"""One wording for every unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name nobody knows, with up to three near ones or the whole list."""
    names = list(known)
    near = get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, near))}?"
    listed = ", ".join(names[:40])
    return f"unknown {kind} {name!r}; known: {listed}{', ...' if len(names) > 40 else ''}"
