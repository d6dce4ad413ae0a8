"""When a claim counts as reproduced: rules as data, fixed before a run is stored.

A numeric rule accepts a region around what was published. What was measured is a number or an interval: inside of the
region the claim is *reproduced*, outside of it *not reproduced*, and where the interval crosses its border the data
cannot tell, so that the claim is *inconclusive*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import inf, isnan
from typing import Any

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Printed:
    """The printed digits come out: within half a unit of the last digit that was published (a decimal as text)."""

    def region(self, published: Any) -> tuple[float, float]:
        """The numbers that round to what was published."""
        number = decimal(published)
        half = Decimal(10) ** int(number.as_tuple().exponent) / 2
        # The borders are exact decimals; a float that is meant to lie on one may be an ulp beside it.
        slack = half * Decimal("1e-9")
        return float(number - half - slack), float(number + half + slack)

    @property
    def text(self) -> str:
        """The rule in words."""
        return "agrees in every printed digit"


@dataclass(frozen=True, slots=True)
class Within:
    """Close enough: within a share of what was published, or a distance from it; `why` says why that much.

    Args:
        relative: share of the published magnitude.
        absolute: distance.
        why: where the allowance comes from, e.g. the sampling error of published random data.
    """

    relative: float = 0.0
    absolute: float = 0.0
    why: str = ""

    def __post_init__(self) -> None:
        if not self.relative >= 0 or not self.absolute >= 0 or self.relative + self.absolute == 0:
            raise ValueError(f"expected a positive allowance, got relative={self.relative}, absolute={self.absolute}")
        if not self.why:
            raise ValueError("say why this allowance, e.g. why='sampling error of 10 seeds'")

    def region(self, published: Any) -> tuple[float, float]:
        """The published number give or take the allowance."""
        number = float(published)
        distance = max(self.relative * abs(number), self.absolute)
        return number - distance, number + distance

    @property
    def text(self) -> str:
        """The rule in words."""
        shares = [f"{self.relative:.3g} of it"] if self.relative else []
        distances = [f"{self.absolute:.3g}"] if self.absolute else []
        return f"within {' or '.join(shares + distances)} ({self.why})"


@dataclass(frozen=True, slots=True)
class Between:
    """Inside of stated bounds, whatever number was published beside them.

    Args:
        low, high: the bounds, both allowed.
    """

    low: float = -inf
    high: float = inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"expected low < high, got {self.low} and {self.high}")

    def region(self, _: Any) -> tuple[float, float]:
        """The bounds."""
        return self.low, self.high

    @property
    def text(self) -> str:
        """The rule in words."""
        if self.high == inf:
            return f"at least {self.low:.6g}"
        return f"at most {self.high:.6g}" if self.low == -inf else f"from {self.low:.6g} to {self.high:.6g}"


@dataclass(frozen=True, slots=True)
class Equal:
    """Exactly what was published: a word, a yes or no, a list of names."""

    @property
    def text(self) -> str:
        """The rule in words."""
        return "equal"


Rule = Printed | Within | Between | Equal


def decimal(published: Any) -> Decimal:
    """A published number with the digits it was printed with.

    Raises:
        ValueError: no text, or no number.
    """
    if not isinstance(published, str):
        raise ValueError(f"expected the printed digits as text, e.g. '27.30', got {published!r}")
    try:
        number = Decimal(published)
    except InvalidOperation:
        raise ValueError(f"expected a decimal number such as '27.30' or '1.5e-3', got {published!r}") from None
    if not number.is_finite():
        raise ValueError(f"expected a finite number, got {published!r}")
    return number


def verdict(rule: Rule, published: Any, value: Any, low: Any = None, high: Any = None) -> str:
    """What a rule says of a measurement.

    Args:
        rule: the claim's.
        published: what was published; a list for several numbers that must all come out.
        value: what was measured, in the same shape.
        low, high: its interval, in the same shape; None where it is exact.

    Returns:
        'reproduced', 'not reproduced' or 'inconclusive'; of a list the worst, in the order not reproduced,
        inconclusive, reproduced. A measurement that is not a number is not reproduced.

    Raises:
        ValueError: a measurement of another shape than what was published.
    """
    if isinstance(rule, Equal):
        return REPRODUCED if plain(value) == plain(published) else NOT_REPRODUCED
    if not isinstance(published, (list, tuple)):
        return _of_number(rule, published, value, low, high)
    count = len(published)
    parts = [_as_list(part, count) for part in (value, low, high)]
    found = {_of_number(rule, p, *each) for p, *each in zip(published, *parts)}
    return next(worst for worst in (NOT_REPRODUCED, INCONCLUSIVE, REPRODUCED) if worst in found)


def plain(value: Any) -> Any:
    """Tuples as lists, so that a claim equals what was read back of it."""
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _as_list(part: Any, count: int) -> Sequence[Any]:
    if part is None:
        return [None] * count
    if not isinstance(part, (list, tuple)) or len(part) != count:
        raise ValueError(f"expected {count} numbers as published, got {part!r}")
    return part


def _of_number(rule: Printed | Within | Between, published: Any, value: Any, low: Any, high: Any) -> str:
    first, last = rule.region(published)
    low, high = value if low is None else low, value if high is None else high
    if isnan(value) or isnan(low) or isnan(high):
        return NOT_REPRODUCED
    if not low <= value <= high:
        raise ValueError(f"expected an interval around the measured {value}, got {low} to {high}")
    if first <= low and high <= last:
        return REPRODUCED
    return NOT_REPRODUCED if high < first or low > last else INCONCLUSIVE
