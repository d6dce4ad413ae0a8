"""Einstein summation of two tensors as one matrix product: which letters are batches, rows, contracted and columns."""

from string import ascii_letters
from typing import NamedTuple


class Contraction(NamedTuple):
    """The letters of a summation, each as a string: those of the tensors and the result, and their roles.

    Args:
        a, b, out: letters of the axes, the ellipsis written out.
        batch: in all three. rows: of a and the result. contracted: of a and b. columns: of b and the result.
    """

    a: str
    b: str
    out: str
    batch: str
    rows: str
    contracted: str
    columns: str


def contraction_of(equation: str, a_axes: int, b_axes: int) -> Contraction:
    """The roles of the letters of an equation, such as 'bij,bkj->bik'.

    Args:
        a_axes, b_axes: numbers of axes, for ellipses.

    Raises:
        ValueError: not two terms, or a letter twice in a term.

    Example:
        >>> contraction_of("bij,...kj->bik", 3, 2)[3:]
        ('', 'bi', 'j', 'k')
    """
    terms, arrow, out = equation.replace(" ", "").partition("->")
    parts = terms.split(",")
    if len(parts) != 2:
        raise ValueError(
            f"einsum {equation!r}: expected two operands, got {len(parts)}; write it as one after the other"
        )
    free = "".join(c for c in ascii_letters if c not in equation)
    a, b = (_written_out(term, axes, free) for term, axes in zip(parts, (a_axes, b_axes)))
    if not arrow:
        letters = parts[0] + parts[1]
        out = "..." * ("..." in terms) + "".join(sorted(c for c in set(letters) - {"."} if letters.count(c) == 1))
    widest = max(
        a_axes - len(parts[0]) + 3 if "..." in parts[0] else 0, b_axes - len(parts[1]) + 3 if "..." in parts[1] else 0
    )
    out = out.replace("...", free[:widest][::-1])
    for term in (a, b, out):
        if len(set(term)) < len(term):
            raise ValueError(f"einsum {equation!r}: a letter occurs twice in a term; take the diagonal first")
    return Contraction(
        a,
        b,
        out,
        "".join(c for c in out if c in a and c in b),
        "".join(c for c in out if c in a and c not in b),
        "".join(c for c in a if c in b and c not in out),
        "".join(c for c in out if c in b and c not in a),
    )


def _written_out(term: str, axes: int, free: str) -> str:
    """A term with letters in place of its ellipsis; the last axis takes the first of the free letters."""
    count = axes - len(term.replace("...", ""))
    if count < 0 or (count and "..." not in term):
        raise ValueError(f"einsum term {term!r} does not go with a tensor of {axes} axes")
    return term.replace("...", free[:count][::-1])
