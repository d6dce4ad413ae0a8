"""Claims: what was published, where, and the rule that decides whether it was found again."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import isfinite
from typing import Any

from .rules import Equal, Printed, Rule, decimal, plain, verdict

FORMULA, REFIT, TRAINING = "formula", "refit", "training"
KINDS = (FORMULA, REFIT, TRAINING)
"""Recomputed from a formula or on random data; fitted anew to published data; trained here."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One published statement that can be checked.

    Args:
        id: short, lower case, unique within its study, e.g. 'critical_data_bf16'.
        statement: a sentence that can be true or false.
        source: paper and place, e.g. 'arXiv:2501.02423v3, section 4.2'.
        published: what was published: printed digits as text for `Printed`, a number, text, yes or no, a list.
        kind: 'formula', 'refit' or 'training'.
        rule: decides the verdict; a stored run holds its hash.

    Raises:
        ValueError: an empty part, an unknown kind, a published value that the rule cannot read.
    """

    id: str
    statement: str
    source: str
    published: Any
    kind: str
    rule: Rule

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+", self.id):
            raise ValueError(f"expected an id of lower-case letters, digits and _, got {self.id!r}")
        if not self.statement or not self.source:
            raise ValueError(f"claim {self.id!r} needs a statement and a source")
        if self.kind not in KINDS:
            raise ValueError(f"claim {self.id!r}: expected a kind of {', '.join(KINDS)}, got {self.kind!r}")
        each = self.published if isinstance(self.published, (list, tuple)) else [self.published]
        if not isinstance(self.rule, Equal):
            for number in each:
                decimal(number) if isinstance(self.rule, Printed) else self.rule.region(number)

    def judged(self, measured: "Measured") -> str:
        """The verdict on a measurement."""
        return verdict(self.rule, self.published, measured.value, measured.low, measured.high)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a study found for a claim.

    Args:
        value: in the shape of the claim's published value.
        low, high: its 95% interval where it was sampled; None where it is exact.
        count: how many seeds or samples stand behind the interval.
        note: the reason where it disagrees, or what to know.
    """

    value: Any
    low: Any = None
    high: Any = None
    count: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("expected both ends of the interval, or none")


def hash_of(claims: Iterable[Claim]) -> str:
    """A digest of claims and their rules, which stored runs hold: a run cannot be judged by rules made after it."""
    described = [
        {**asdict(claim), "published": plain(claim.published), "rule": [type(claim.rule).__name__, asdict(claim.rule)]}
        for claim in claims
    ]
    return sha256(json.dumps(described, sort_keys=True, default=_bound).encode()).hexdigest()[:16]


def _bound(value: Any) -> str:
    raise ValueError(f"expected text, numbers, yes or no in a claim, got {value!r}")


def shown(value: Any) -> str:
    """A published or measured value as text for tables."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(shown(each) for each in value)
    if isinstance(value, float):
        return f"{value:.5g}" if isfinite(value) else str(value)
    return str(value)


def interval_shown(measured: Measured) -> str:
    """The interval as text; empty where the measurement is exact."""
    if measured.low is None:
        return ""
    if isinstance(measured.low, (list, tuple)):
        return " ".join(f"[{shown(low)}, {shown(high)}]" for low, high in zip(measured.low, measured.high))
    return f"[{shown(measured.low)}, {shown(measured.high)}]"
