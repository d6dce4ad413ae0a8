"""One HTML file of a table of runs: style, script, pictures and data within it, and nothing fetched from elsewhere."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

from .report_data import script_json

_BAD = ' class="bad"'


class Tile(NamedTuple):
    """A number at the top of the page."""

    value: str
    label: str
    bad: bool = False


class Picture(NamedTuple):
    """A picture as the bytes of a PNG or SVG file."""

    caption: str
    media_type: str
    content: bytes


def render(
    title: str,
    tiles: Sequence[Tile],
    pictures: Sequence[Picture],
    provenance: Mapping[str, str],
    data: Mapping[str, Any],
) -> str:
    """The page as text, to be written as UTF-8.

    A content security policy names the one script by its hash and forbids every address but `data:`, so that
    nothing in a run's texts could run or load anything even if it got past the escapes.
    """
    style, script = _part("page.css"), _part("page.js") + _part("curves.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_part("page.html")).substitute(
        policy=policy,
        title=_text(title),
        style=style,
        summary=_tiles(tiles),
        pictures=_pictures(pictures),
        provenance=_facts(provenance),
        data=script_json(data),
        script=script,
    )


def _part(name: str) -> str:
    return files(__name__.rpartition(".")[0]).joinpath("page", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _text(text: str) -> str:
    """Text for HTML; what is no character, as a lone surrogate, becomes a question mark."""
    return escape(text.encode("utf-8", "replace").decode(), quote=True)


def _tiles(tiles: Sequence[Tile]) -> str:
    items = "".join(
        f"<li{_BAD if tile.bad else ''}><b>{_text(tile.value)}</b><span>{_text(tile.label)}</span></li>"
        for tile in tiles
    )
    return f'<ul class="tiles">{items}</ul>'


def _pictures(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    figures = "".join(
        f'<figure><img alt="{_text(each.caption)}" src="data:{each.media_type};base64,'
        f'{b64encode(each.content).decode("ascii")}"><figcaption>{_text(each.caption)}</figcaption></figure>'
        for each in pictures
    )
    return (
        '<section aria-labelledby="pictures-title"><h2 id="pictures-title">Pictures</h2>'
        f'<div class="pictures">{figures}</div></section>'
    )


def _facts(facts: Mapping[str, str]) -> str:
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>'
