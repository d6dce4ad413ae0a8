"""Writes docs/catalogue.md and its pictures from the tables of formats; `make catalogue` runs it.

Each picture carries a digest of what it shows in its metadata, so that a test can tell whether it is current.
"""

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from halfulp.formats.catalogue import COMPLEX, facts, list_scaled_formats, scaled_facts
from halfulp.formats.codebooks import CODEBOOKS
from halfulp.formats.exact import numbers
from halfulp.formats.floats import FLOAT_ALIASES, FLOATS, p3109
from halfulp.formats.integers import INTEGERS
from halfulp.formats.registry import plain_format
from halfulp.formats.residual import RESIDUAL
from halfulp.formats.scaled_registry import SCALED
from halfulp.formats.tapered import TAPERED, TAPERED_ALIASES

HERE = Path(__file__).parent
PICTURES = HERE / "images" / "catalogue"
BLUE, ORANGE = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Picture:
    """A picture of number lines.

    Args:
        stem: its file name.
        title, names: what it shows.
        axis: 'log2' of the positive values, 'linear' of all of them, or 'precision', bits against magnitude.
    """

    stem: str
    title: str
    names: tuple[str, ...]
    axis: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return PICTURES / f"{self.stem}.png"

    def values(self) -> dict[str, list[float]]:
        """What is drawn, by name: all values, or the positive ones."""
        found = {name: [float(v) for v in numbers(plain_format(name))] for name in self.names}
        return found if self.axis == "linear" else {name: [v for v in of if v > 0] for name, of in found.items()}

    def digest(self) -> str:
        """A digest of the picture's data and wording."""
        text = json.dumps([self.title, self.axis, {name: [v.hex() for v in of] for name, of in self.values().items()}])
        return hashlib.sha256(text.encode()).hexdigest()


_EIGHT = ("fp8_e4m3", "fp8_e5m2", "binary8p3se", "posit8", "takum8", "takum_log8", "hifloat8", "lns8f3")
PICTURE = {
    picture.stem: picture
    for picture in (
        Picture(
            "floats",
            "positive values of the floating-point formats of 8 bits and fewer",
            tuple(fmt.name for fmt in FLOATS if fmt.bits <= 8 and fmt.name != "e8m0"),
            "log2",
        ),
        Picture("p3109", "positive values of 8-bit P3109 formats, signed and extended", tuple(
            p3109(8, p).name for p in range(2, 8)), "log2"),
        Picture("codebooks", "values of the codebooks", tuple(fmt.name for fmt in CODEBOOKS), "linear"),
        Picture("tapered", "positive values of tapered and logarithmic formats of 8 bits, and three floats", _EIGHT, "log2"),
        Picture("precision", "bits of precision by magnitude, formats of 8 bits", _EIGHT, "precision"),
        Picture("four_bits", "values of 4-bit formats over their largest", (
            "fp4_e2m1", "fp4_e1m2", "fp4_e3m0", "int4", "nf4", "af4", "pow2_4", "apot_4"), "linear"),
    )
}  # fmt: skip
"""The pictures by their file names."""


def draw(picture: Picture) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure

    shown = picture.values()
    rows = len(shown)
    height = 4.8 if picture.axis == "precision" else 0.9 + 0.34 * rows
    figure = Figure(figsize=(9.2, height), layout="constrained")
    (_draw_precision if picture.axis == "precision" else _draw_lines)(figure, picture, shown)
    picture.path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture.path, dpi=110, metadata={"Description": picture.digest(), "Software": None})


def _draw_lines(figure: Any, picture: Picture, shown: dict[str, list[float]]) -> None:
    axes = figure.subplots()
    axes.set_title(picture.title, fontsize=11, loc="left")
    relative = picture.stem == "four_bits"
    for row, values in enumerate(shown.values()):
        top = max(values) if relative else 1.0
        colour = BLUE if row % 2 == 0 else ORANGE
        axes.vlines([v / top for v in values], row - 0.34, row + 0.34, color=colour, lw=1.0)
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    if picture.axis == "log2":
        axes.set_xscale("log", base=2)
        if picture.stem == "tapered":
            axes.set_xlim(2.0**-28, 2.0**28)
        axes.set_xlabel(
            "value"
            + (" (takum8 goes on to 2**239, takum_log8 to 2**172, either way)" if picture.stem == "tapered" else "")
        )
    else:
        axes.set_xlabel("value / largest value" if relative else "value")


def _draw_precision(figure: Any, picture: Picture, shown: dict[str, list[float]]) -> None:
    """-log2 of half a gap over its lower end, the bits that a rounded number keeps; a panel a format."""
    panels = figure.subplots(2, -(-len(shown) // 2), sharex=True, sharey=True)
    reference = next(iter(shown))
    for (name, values), axes in zip(shown.items(), panels.flat):
        axes.step(*_precision(shown[reference]), where="post", color="#BBBBBB", lw=1.0)
        axes.step(*_precision(values), where="post", color=BLUE, lw=1.4)
        axes.set_title(name, fontsize=10)
        axes.set_xscale("log", base=2)
        axes.set_xlim(2.0**-26, 2.0**26)
        axes.set_xticks([2.0**e for e in (-20, -10, 0, 10, 20)])
        axes.set_ylim(-1.2, 5.4)
        axes.spines[["right", "top"]].set_visible(False)
    figure.supxlabel(
        f"magnitude (grey: {reference}; takum8 goes on to 2**239, takum_log8 to 2**172, either way)", fontsize=10
    )
    figure.supylabel("bits", fontsize=10)
    figure.suptitle(f"{picture.title}: -log2(half a gap / value)", fontsize=11)


def _precision(values: list[float]) -> tuple[list[float], list[float]]:
    from math import log2

    return values[:-1], [-log2((b - a) / 2 / a) for a, b in pairwise(values)]


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([
        "# Catalogue of formats",
        "",
        "This page is generated from the tables of the package by `make catalogue`; a test keeps it current.",
        "Any layout that a pattern below describes can be named as well, whether or not it has a row here.",
        "`halfulp show NAME` prints the facts of any of them and draws its number line.",
        "",
        *_floats(),
        *_p3109(),
        *_integers(),
        *_codebooks(),
        *_tapered(),
        *_scaled(),
        *_grouped(),
    ]) + "\n"  # fmt: skip


def _table(rows: list[dict[str, object]], columns: dict[str, str]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_text(row[key]) for key in columns.values()) + " |" for row in rows]
    return [*lines, ""]


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _picture(stem: str) -> list[str]:
    return [f"![{PICTURE[stem].title}](images/catalogue/{stem}.png)", ""]


_FACTS = {
    "name": "name", "bits": "bits", "largest": "max", "min normal": "min_normal", "min subnormal": "min_subnormal",
    "unit roundoff": "unit_roundoff", "range (dB)": "dynamic_range_db", "specials": "specials", "source": "source",
}  # fmt: skip
_LISTED = {"name": "name", "bits": "bits", "largest": "max", "smallest": "smallest", "specials": "specials",
           "other names": "aliases", "source": "source"}  # fmt: skip


def _aliases(name: str) -> str:
    return ", ".join(f"`{alias}`" for alias in (FLOAT_ALIASES | TAPERED_ALIASES).get(name, ()))


def _floats() -> list[str]:
    rows = [facts(fmt) | {"aliases": _aliases(fmt.name)} for fmt in FLOATS]
    columns = _FACTS | {"other names": "aliases"}
    return [
        "## Floating point", "",
        "`[u]eXmY[bBIAS][ieee|fn|fnuz][_nosub][_nozero]` names any minifloat of up to 16 exponent and 30 mantissa bits;",
        "without a suffix no code is spent on specials.", "",
        *_table(rows, columns), *_picture("floats"),
    ]  # fmt: skip


def _p3109() -> list[str]:
    rows = [facts(p3109(8, p, signed, extended)) for signed in (True, False) for extended in (True, False)
            for p in range(1, 9 - signed)]  # fmt: skip
    return [
        "## IEEE P3109 (draft)", "",
        "`binaryKpP{s|u}{e|f}` names any of the 504 formats of K = 3 to 16 bits and precision P, signed or unsigned, with",
        "the extended or the finite domain. Saturation modes: SatFinite is `overflow='saturate'`, SatPropagate",
        "`'propagate'`, SatNone `'special'`. The 8-bit ones:", "",
        *_table(rows, {k: v for k, v in _FACTS.items() if k != "source"}), *_picture("p3109"),
    ]  # fmt: skip


def _integers() -> list[str]:
    rows = [facts(fmt) | {"smallest": float(fmt.min), "aliases": ""} for fmt in INTEGERS]
    return [
        "## Integers and fixed point", "",
        "`[u]intB[_narrow|_midrise][@EXPONENT]` names any integer of 1 to 16 bits: `_narrow` leaves out the most negative",
        "code, `_midrise` puts the values half a step off zero, `@-4` makes the step 2**-4.", "",
        *_table(rows, {k: v for k, v in _LISTED.items() if v not in ("aliases", "specials")}),
    ]  # fmt: skip


def _codebooks() -> list[str]:
    rows = [facts(fmt) | {"smallest": float(fmt.min), "values": len(fmt.values)} for fmt in CODEBOOKS]
    return [
        "## Codebooks", "",
        "`pow2_B` and `apot_B` name signed powers of two and sums of them; `hu.codebook([...])` makes one of your own",
        "values, `hu.learn_codebook(x, bits)` learns one, and `axis=` one for each channel.", "",
        *_table(rows, {"name": "name", "bits": "bits", "values": "values", "smallest": "smallest", "largest": "max",
                       "source": "source"}),
        *_picture("codebooks"), *_picture("four_bits"),
    ]  # fmt: skip


def _tapered() -> list[str]:
    rows = [facts(fmt) | {"smallest": float(fmt.min_positive), "aliases": _aliases(fmt.name)} for fmt in TAPERED]
    columns = {("smallest positive" if k == "smallest" else k): v for k, v in _LISTED.items()}
    return [
        "## Tapered and logarithmic formats", "",
        "`positN[esE]`, `takumN`, `takum_logN` name any width of 3 to 16 bits, `lnsNfF` a logarithm with F fraction bits.", "",
        *_table(rows, columns), *_picture("tapered"), *_picture("precision"),
    ]  # fmt: skip


def _scaled() -> list[str]:
    rows = [scaled_facts(fmt) for fmt in SCALED.values()]
    columns = {"name": "name", "bits per element": "bits_per_element", "element": "element", "scale": "scale",
               "block": "block", "rule": "rule", "outer scale": "outer", "source": "source"}  # fmt: skip
    return [
        "## Scaled formats", "",
        "`FORMAT_per_{tensor|row|token|column|channel}` gives any format above a scale; `hu.scaled(...)` writes down any",
        "other combination. See [](scaled.md).", "",
        *_table(rows, columns),
    ]  # fmt: skip


def _grouped() -> list[str]:
    table = list_scaled_formats()
    rows = [{"name": name} | dict(table.loc[name]) for name in (*COMPLEX, *RESIDUAL)]
    columns = {"name": "name", "bits per number": "bits_per_element", "made of": "element", "scale": "scale",
               "block": "block", "rule": "rule", "source": "source"}  # fmt: skip
    return [
        "## Complex formats and stacks", "",
        "`bcqN[_greedy|_refit][_per_row|...]` names binary codings; `hu.residual(...)` stacks any formats above.", "",
        *_table(rows, columns),
    ]  # fmt: skip


def main() -> None:
    """Write the page and the pictures."""
    (HERE / "catalogue.md").write_text(page())
    for picture in PICTURE.values():
        draw(picture)


if __name__ == "__main__":
    main()
