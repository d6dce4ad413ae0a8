"""Texts and numbers of table cells: how many digits, and what Markdown and LaTeX take for commands."""

import unicodedata
from decimal import Decimal
from math import isfinite, isinf, isnan
from typing import NamedTuple

_SMALL, _LARGE = 1e-4, 1e6
"""Magnitudes below and from which numbers have an exponent."""


class Number(NamedTuple):
    """A number as texts, each of them times 10**exponent; an interval that is not there is empty."""

    value: str
    error: str = ""
    low: str = ""
    high: str = ""
    exponent: int = 0


def written(value: float, low: float, high: float, digits: int) -> Number:
    """A number with as many digits as its interval says: that of its larger side to two significant digits.

    Args:
        low, high: the interval; NaN for none.
        digits: significant ones of a number without an interval, or of one without width.
    """
    if not isfinite(value) or isnan(low) or isnan(high):
        return _alone(value, digits)
    error = max(high - value, value - low, 0.0)
    if isinf(error) or error == 0:
        return _alone(value, digits)._replace(error=_plain(error), low=_plain(low), high=_plain(high))
    largest = max(abs(value), error)
    exponent = Decimal(largest).adjusted() if not _SMALL <= largest < _LARGE else 0
    last = int(f"{error:.1e}".partition("e")[2]) - 1  # the place of the second digit, after rounding to two
    texts = [_rounded(each, last, exponent) for each in (value, error, low, high)]
    return Number(texts[0], texts[1], texts[2], texts[3], exponent)


def _rounded(number: float, place: int, exponent: int) -> str:
    """A number to the digit worth 10**place, over 10**exponent."""
    rounded = Decimal(repr(float(number))).scaleb(-exponent)
    shifted = place - exponent
    text = f"{round(rounded, -shifted):f}" if shifted <= 0 else f"{int(round(rounded, -shifted)):d}"
    return text.lstrip("-") if not float(text) else text


def _plain(number: float) -> str:
    return f"{number:g}".replace("inf", "∞")


def _alone(value: float, digits: int) -> Number:
    if not isfinite(value):
        return Number("" if isnan(value) else _plain(value))
    if 10**digits <= abs(value) < _LARGE:
        return Number(f"{value:.0f}")  # no exponent where digits before the point tell as much
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return Number(mantissa if float(mantissa) else "0", exponent=int(exponent or 0))


def one_line(text: str) -> str:
    """Text whose line breaks and runs of white space are single spaces."""
    return " ".join(text.split())


_MARKDOWN = {ord(character): f"\\{character}" for character in "\\`*_[]~$|"} | {
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord("&"): "&amp;",
}


def markdown(text: str) -> str:
    """Text that GitHub shows as it is in a cell of a table: nothing is emphasis, code, a formula, HTML or a border."""
    printed = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in one_line(text))
    return printed.translate(_MARKDOWN)


_LATEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "`": r"\textasciigrave{}", '"': r"{\char34}",
    "\N{NO-BREAK SPACE}": "~", "\N{EN DASH}": "--", "\N{EM DASH}": "---", "…": r"\ldots{}", "€": r"\texteuro{}",
    "\N{LEFT SINGLE QUOTATION MARK}": "`{}", "\N{RIGHT SINGLE QUOTATION MARK}": "'{}", "“": "``{}", "”": "''{}",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}",
    "Ł": r"\L{}", "§": r"\S{}", "©": r"\copyright{}", "\N{FRACTION SLASH}": "/",
}  # fmt: skip
_LATEX_MATH = {
    "±": r"\pm", "\N{MULTIPLICATION SIGN}": r"\times", "÷": r"\div", "·": r"\cdot", "\N{MINUS SIGN}": "-", "µ": r"\mu",
    "∞": r"\infty", "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "√": r"\sqrt{}", "°": r"^{\circ}",
    "→": r"\to", "←": r"\leftarrow", "↑": r"\uparrow", "↓": r"\downarrow", "∂": r"\partial", "ϵ": r"\epsilon",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_GREEK = {
    "alpha": "A", "beta": "B", "gamma": "", "delta": "", "epsilon": "E", "zeta": "Z", "eta": "H", "theta": "",
    "iota": "I", "kappa": "K", "lambda": "", "mu": "M", "nu": "N", "xi": "", "omicron": "O", "pi": "", "rho": "P",
    "sigma": "", "tau": "T", "upsilon": "", "phi": "", "chi": "X", "psi": "", "omega": "",
}  # fmt: skip
"""Letters, and the capitals that LaTeX has as Latin ones only."""


def latex(text: str) -> str:
    """Text that LaTeX sets as it is, in any engine and encoding; what it has no letter for becomes [U+1F600]."""
    line = one_line(text)
    # -- would be set as a dash, '' as a quotation mark
    apart = ("{}" if here == after and here in "-'," else "" for here, after in zip(line, line[1:] + " "))
    return "".join(_latex_character(each) + gap for each, gap in zip(line, apart))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii() and character.isprintable():
        return character
    mathematical = _LATEX_MATH.get(character) or _greek(character)
    if mathematical:
        return f"${mathematical}$"
    kind, *parts = unicodedata.decomposition(character).split() or [""]
    if kind in ("<super>", "<sub>") and len(parts) == 1:
        return f"${'^' if kind == '<super>' else '_'}{{{latex(chr(int(parts[0], 16)))}}}$"
    accented = unicodedata.normalize("NFD", character)
    if len(accented) > 1 and accented[0].isascii() and all(each in _ACCENTS for each in accented[1:]):
        written = accented[0]
        for accent in accented[1:]:
            written = f"\\{_ACCENTS[accent]}{{{written}}}"
        return written
    simpler = unicodedata.normalize("NFKD", character)
    if simpler != character and all(each in _LATEX or (each.isascii() and each.isprintable()) for each in simpler):
        return latex(simpler)
    return f"{{[}}U+{ord(character):04X}{{]}}"


def _greek(character: str) -> str:
    """The command of a Greek letter without accents, or nothing."""
    words = unicodedata.name(character, "").lower().replace("lamda", "lambda").split()
    if len(words) != 4 or words[0] != "greek" or words[2] != "letter" or words[3] not in _GREEK:
        return ""
    if words[1] == "small":
        return "o" if words[3] == "omicron" else f"\\{words[3]}"
    latin = _GREEK[words[3]]
    return f"\\mathrm{{{latin}}}" if latin else f"\\{words[3].capitalize()}"
