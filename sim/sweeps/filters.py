"""Conditions on a table of runs, as they are typed: `format=e4m3`, `test_loss<0.5`, `format~e[45]m*`."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import translate
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats.suggest import unknown

if TYPE_CHECKING:
    import pandas

OPERATORS = ("!=", "!~", "<=", ">=", "=", "~", "<", ">")
"""Longer ones first, so that `a<=1` is not read as `a<` and `=1`."""
_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_CONDITION = re.compile(rf"\s*(.+?)\s*({'|'.join(map(re.escape, OPERATORS))})\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: a column, one of `OPERATORS`, and a value as it was typed."""

    column: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.column}{self.operator}{self.value}"


def parse_condition(text: str) -> Condition:
    """A condition from its text, COLUMN OPERATOR VALUE, blanks around them ignored.

    Raises:
        ValueError: no column or no operator.

    >>> parse_condition("test_loss <= 0.5")
    Condition(column='test_loss', operator='<=', value='0.5')
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise ValueError(f"expected COLUMN OPERATOR VALUE such as 'test_loss<0.5', got {text!r}; {_operators()}")
    return Condition(*found.groups())


def _operators() -> str:
    return f"operators are {' '.join(sorted(OPERATORS, key=len))}"


def filter_runs(
    runs: "pandas.DataFrame", where: str | Condition | Iterable[str | Condition] = ()
) -> "pandas.DataFrame":
    """The runs that meet every condition, in their order.

    | condition | keeps runs whose column |
    |---|---|
    | `format=e4m3`, `format!=e4m3` | is the value, is not; numbers compare as numbers, flags with `true`, `false` |
    | `error=`, `error!=` | is empty (or not a number), is not |
    | `test_loss<0.5`, `<=`, `>`, `>=` | is a smaller, ... number; of texts that are no numbers: earlier, ... in order |
    | `format~e[45]m*`, `format!~*fnuz` | as text matches, does not match the pattern: `*`, `?`, `[abc]`, `[!abc]` |

    Empty cells meet no condition but `=` without a value, `!=` and `!~`.

    Args:
        runs: a row a run.
        where: conditions; all of them must hold.

    Raises:
        ValueError: an unknown column, no operator, or a value that the column cannot be compared with.
    """
    chosen = np.ones(len(runs), bool)
    for item in [where] if isinstance(where, str | Condition) else where:
        condition = parse_condition(item) if isinstance(item, str) else item
        chosen &= _mask(column_of(runs, condition.column), condition)
    found: Any = runs[chosen]
    return found


def column_of(runs: "pandas.DataFrame", name: str) -> "pandas.Series":
    """A column by its name.

    Raises:
        ValueError: there is none; the message names the closest.
    """
    require_columns(runs, [name])
    found: Any = runs.iloc[:, [str(each) for each in runs.columns].index(name)]
    return found


def require_columns(runs: "pandas.DataFrame", names: Sequence[str]) -> list[str]:
    """The names, all of them columns of the runs.

    Raises:
        ValueError: one that is not; the message names the closest, and what there is.
    """
    known = [str(name) for name in runs.columns]
    for name in names:
        if name not in known:
            raise ValueError(unknown("column", name, known))
    return list(names)


def sort_runs(runs: "pandas.DataFrame", column: str, descending: bool = False) -> "pandas.DataFrame":
    """The runs in the order of a column, numbers before texts, int4 before int16, empty cells last either way.

    Raises:
        ValueError: an unknown column.
    """
    cells = column_of(runs, column)
    if cells.dtype.kind in "biuf":
        return runs.sort_values(cells.name, kind="stable", ascending=not descending, na_position="last")
    ranked = [(as_text(cell), cell) for cell in cells.tolist()]
    known = [place for place, (text, _) in enumerate(ranked) if text]
    known.sort(key=lambda place: _rank(*ranked[place]), reverse=descending)
    found: Any = runs.iloc[known + [place for place, (text, _) in enumerate(ranked) if not text]]
    return found


def _rank(text: str, cell: Any) -> tuple[Any, ...]:
    return (1, natural(text)) if isinstance(cell, str) or not isinstance(cell, int | float) else (0, cell)


def natural(text: str) -> list[tuple[Any, ...]]:
    """A key to sort texts by, under which int4 comes before int16."""
    return [
        (0, int(part)) if part[0] in "0123456789" else (1, part) for part in re.findall(r"[0-9]{1,18}|[^0-9]+", text)
    ]


def _mask(column: "pandas.Series", condition: Condition) -> np.ndarray:
    """Which cells meet the condition; equal cells are decided once."""
    from pandas import factorize

    codes, kinds = factorize(_hashable(column))  # missing cells have the code -1
    meets = _test(condition, kinds)
    decided = np.array([meets(cell) for cell in kinds] + [_meets_empty(condition)], bool)
    return decided[codes]


def _hashable(column: "pandas.Series") -> "pandas.Series":
    """Lists, mappings and dates as texts."""
    if column.dtype.kind in "biuf":
        return column
    return column.map(lambda cell: cell if cell is None or isinstance(cell, str | int | float) else as_text(cell))


def _meets_empty(condition: Condition) -> bool:
    if condition.value.lower() in ("", "nan"):
        return condition.operator == "="
    return condition.operator in ("!=", "!~")


def _test(condition: Condition, cells: Iterable[Any]) -> Callable[[Any], bool]:
    """The condition as a function of a cell that is not empty."""
    operator, value = condition.operator, condition.value
    if operator.endswith("~"):
        matches, wanted = re.compile(translate(value), re.IGNORECASE).match, operator == "~"
        return lambda cell: bool(matches(as_text(cell))) is wanted
    target = parse_value(value)
    if operator in ("=", "!="):
        wanted = operator == "="
        return lambda cell: _equal(cell, target, value) is wanted
    return _ordered(condition, target, cells)


def _equal(cell: Any, target: Any, typed: str) -> bool:
    return cell == typed if isinstance(cell, str) else bool(cell == target)


def _ordered(condition: Condition, target: Any, cells: Iterable[Any]) -> Callable[[Any], bool]:
    cells = list(cells)
    of_numbers = isinstance(target, int | float) and not isinstance(target, bool)
    if cells and not any(isinstance(cell, str) is not of_numbers for cell in cells):
        what = "texts" if of_numbers else "numbers"
        wanted = "'~' or '='" if of_numbers else "a number such as 0.5"
        raise ValueError(f"{str(condition)!r}: column {condition.column!r} holds {what}; use {wanted}")
    compare: dict[str, Callable[[Any, Any], Any]] = {
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }
    of = compare[condition.operator]
    other = target if of_numbers else condition.value
    return lambda cell: isinstance(cell, str) is not of_numbers and bool(of(cell, other))


def parse_value(text: str) -> Any:
    """A typed value as a flag, an exact integer, a float, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def as_text(cell: Any) -> str:
    """A cell as it is shown: texts as they are, numbers in the shortest exact form, the rest as JSON; '' if empty."""
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell)).lower()
    if isinstance(cell, int | np.integer):
        return str(int(cell))
    if isinstance(cell, float | np.floating):
        return str(int(cell)) if float(cell).is_integer() and abs(cell) < 2**53 else repr(float(cell))
    if isinstance(cell, date):  # a datetime is one
        return cell.isoformat()
    return json.dumps(cell.tolist() if isinstance(cell, np.ndarray) else cell, default=str, ensure_ascii=False)
