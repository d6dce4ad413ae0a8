"""Tables of results that paste into a README or a paper."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...formats.suggest import unknown
from .measured import DIRECTIONS, choice
from .table_text import Number, latex, markdown, one_line, written

if TYPE_CHECKING:
    import pandas

STYLES = ("plus_minus", "brackets")


class _Column(NamedTuple):
    """A column: its heading, of each row a text or a number, which rows are bold, and whether there are numbers."""

    heading: str
    cells: list[str | Number]
    bold: list[bool]
    numeric: bool


def table_markdown(
    frame: "pandas.DataFrame",
    columns: Sequence[str] | None = None,
    *,
    style: str = "plus_minus",
    names: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    best: Mapping[str, str] | None = None,
    digits: int = 4,
) -> str:
    """A table in GitHub's Markdown.

    Args:
        frame: such as `intervals`, `compare` or `pareto_front` return. A column X beside X_low and X_high, or estimate
            beside low and high, becomes one: its number with its interval, and as many digits as that interval's larger
            side has to two significant ones.
        columns: which, in which order; None for all, without a `note` that is empty.
        style: 'plus_minus', 1.234 ± 0.012, the larger side; or 'brackets', 1.234 [1.220, 1.249].
        names: headings; others are the column's name with spaces.
        units: put behind headings, in parentheses.
        best: columns and 'minimize' or 'maximize'; the best of each is bold, and those that equal it.
        digits: significant ones of numbers without an interval.

    Returns:
        The table, ended by a newline. Texts show as they are, whatever they hold, on one line each; what is missing is
        empty.

    Raises:
        ValueError: an unknown column, style or direction; no columns; two of one name.
        TypeError: no DataFrame.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"format": ["e2m1", "e4m3"], "loss": [0.3123, 0.2], "loss_low": [0.3, 0.19]})
        >>> frame["loss_high"] = [0.3211, 0.214]
        >>> print(table_markdown(frame, units={"loss": "nats"}, best={"loss": "minimize"}), end="")
        | format |       loss (nats) |
        |:-------|------------------:|
        | e2m1   |     0.312 ± 0.012 |
        | e4m3   | **0.200 ± 0.014** |
    """
    made = _columns(frame, columns, names, units, best, digits, style)
    texts = [[markdown(each.heading), *map(_markdown_cell(style), each.cells, each.bold)] for each in made]
    widths = [max(3, *map(len, column)) for column in texts]
    rows = [[column[row] for column in texts] for row in range(len(frame) + 1)]
    lines = [_padded(row, widths, made) for row in rows]
    rule = ["-" * (width + 1) + ":" if each.numeric else ":" + "-" * (width + 1) for width, each in zip(widths, made)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]]) + "\n"


def table_latex(
    frame: "pandas.DataFrame",
    columns: Sequence[str] | None = None,
    *,
    style: str = "plus_minus",
    names: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    best: Mapping[str, str] | None = None,
    digits: int = 4,
    caption: str | None = None,
    label: str | None = None,
) -> str:
    r"""A table in LaTeX, for the package booktabs.

    Args:
        frame, columns, style, names, units, best, digits: as in `table_markdown`. All are text and no commands.
        caption: above the table, as text.
        label: for \ref. With a caption or a label the tabular is in a table environment.

    Returns:
        The table, in ASCII, ended by a newline; accented and Greek letters and common signs as commands, others as
        their code points.

    Raises:
        ValueError, TypeError: as `table_markdown`; a label of other characters than letters, digits and :._/-.
    """
    if label is not None and not re.fullmatch(r"[A-Za-z0-9:._/-]+", label):
        raise ValueError(f"expected a label of letters, digits and :._/-, got {label!r}; pass e.g. 'tab:formats'")
    made = _columns(frame, columns, names, units, best, digits, style)
    texts = [[latex(each.heading), *map(_latex_cell(style), each.cells, each.bold)] for each in made]
    rows = [_latex_row([column[row] for column in texts]) for row in range(len(frame) + 1)]
    aligned = "".join("r" if each.numeric else "l" for each in made)
    body = [f"\\begin{{tabular}}{{{aligned}}}", "\\toprule", rows[0], "\\midrule", *rows[1:], "\\bottomrule"]
    body.append("\\end{tabular}")
    if caption is not None or label is not None:
        above = ["\\begin{table}", "\\centering"]
        above += [f"\\caption{{{latex(caption)}}}"] if caption is not None else []
        above += [f"\\label{{{label}}}"] if label is not None else []
        body = [*above, *body, "\\end{table}"]
    return "\n".join(["% \\usepackage{booktabs}", *body]) + "\n"


def _columns(
    frame: Any,
    columns: Sequence[str] | None,
    names: Mapping[str, str] | None,
    units: Mapping[str, str] | None,
    best: Mapping[str, str] | None,
    digits: int,
    style: str,
) -> list[_Column]:
    """What both kinds of table show."""
    import pandas

    if not isinstance(frame, pandas.DataFrame):
        raise TypeError(f"expected a DataFrame, got {type(frame).__name__}; pass what hu.intervals returns")
    choice("style", style, STYLES)
    if digits < 1:
        raise ValueError(f"expected one digit or more, got {digits}; pass e.g. digits=4")
    frame = _flat(frame)
    known = list(frame.columns)
    merged = {name: ends for name in known if (ends := _ends(name)) and set(ends) <= set(known)}
    hidden = {end for ends in merged.values() for end in ends}
    empty = {"note"} if "note" in known and not frame["note"].astype(bool).any() else set()
    shown = list(columns) if columns is not None else [name for name in known if name not in hidden | empty]
    for name in [*shown, *(names or {}), *(units or {}), *(best or {})]:
        if name not in known:
            raise ValueError(unknown("column", str(name), known))
    if not shown:
        raise ValueError("expected a table of one column or more, got none; pass columns=")
    made = []
    for name in shown:
        low, high = (frame[end].tolist() for end in merged[name]) if name in merged else ([None] * len(frame),) * 2
        cells = [_cell(*each, digits) for each in zip(frame[name].tolist(), low, high)]
        unit = f" ({units[name]})" if units and name in units else ""
        heading = (names or {}).get(name, name.replace("_", " ")) + unit
        numeric = any(isinstance(cell, Number) for cell in cells)
        made.append(_Column(heading, cells, _best(frame[name], (best or {}).get(name)), numeric))
    return made


def _flat(frame: Any) -> Any:
    """The frame with one text a column, and an index that has a name as columns."""
    frame = frame.reset_index() if any(name is not None for name in frame.index.names) else frame
    names = [" ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in frame.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"expected columns of different names, got {twice!r} twice; rename one")
    return frame.set_axis(names, axis=1)


def _ends(name: str) -> tuple[str, str]:
    return ("low", "high") if name == "estimate" else (f"{name}_low", f"{name}_high")


def _cell(value: Any, low: Any, high: Any, digits: int) -> str | Number:
    import pandas

    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)) and low is None:
        return Number(str(int(value)))
    if isinstance(value, (int, float, np.integer, np.floating)):
        # an end that is missing, in whatever way, is no number
        ends = [float(end) if isinstance(end, (int, float, np.integer, np.floating)) else np.nan for end in (low, high)]
        return written(float(value), ends[0], ends[1], digits)
    missing: Any = pandas.isna(value) if pandas.api.types.is_scalar(value) else False
    return "" if missing else one_line(str(value))


def _best(column: Any, direction: str | None) -> list[bool]:
    """Which rows hold the best value."""
    if direction is None:
        return [False] * len(column)
    choice("direction", direction, DIRECTIONS)
    try:
        values = np.array(column, float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the best of {column.name!r}: expected numbers, got {error}; leave it out of best="
        ) from error
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [False] * len(column)
    return (values == (finite.min() if direction == "minimize" else finite.max())).tolist()


def _markdown_cell(style: str) -> Any:
    def cell(of: str | Number, bold: bool) -> str:
        if isinstance(of, str):
            return markdown(of)
        power = f"e{of.exponent:+03d}" if of.exponent else ""
        text = f"{of.value}{power}"
        if of.error:
            text = f"{of.value} ± {of.error}" if style == "plus_minus" else f"{of.value} [{of.low}, {of.high}]"
            text = f"({text}){power}" if power else text
        return f"**{text}**" if bold else text

    return cell


def _latex_cell(style: str) -> Any:
    def cell(of: str | Number, bold: bool) -> str:
        if isinstance(of, str):
            return latex(of)
        if not of.value:
            return ""
        text = of.value
        if of.error:
            text += rf" \pm {of.error}" if style == "plus_minus" else rf"\ [{of.low}, {of.high}]"
        power = rf" \times 10^{{{of.exponent}}}" if of.exponent else ""
        text = f"({text}){power}" if power and of.error else text + power
        text = text.replace("∞", r"\infty")
        return f"$\\mathbf{{{text}}}$" if bold else f"${text}$"

    return cell


def _latex_row(cells: list[str]) -> str:
    text = " & ".join(cells)
    # after \\ and rules LaTeX takes these for options
    return f"{'{}' if text.startswith(('[', '*', '(')) else ''}{text} \\\\"


def _padded(row: list[str], widths: list[int], made: list[_Column]) -> str:
    cells = [text.rjust(width) if each.numeric else text.ljust(width) for text, width, each in zip(row, widths, made)]
    return f"| {' | '.join(cells)} |"
