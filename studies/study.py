"""A study: one published question, its claims, and how they are checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .claims import Claim, Measured, hash_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

QUICK, FULL, GPU = "quick", "full", "gpu"
SCALES = (QUICK, FULL, GPU)


@dataclass(frozen=True, slots=True)
class Context:
    """What a study is given.

    Args:
        scale: 'quick', 'full' or 'gpu'.
        folder: where it may keep a store of runs, so that a killed study goes on where it stopped.
        data: folder of optional data that the user has; None where none was given.
        report: called with (done, all, what) as work proceeds.
    """

    scale: str = QUICK
    folder: Path | None = None
    data: Path | None = None
    report: Callable[[int, int, str], None] = lambda done, total, what: None

    @property
    def quick(self) -> bool:
        """Whether minutes matter."""
        return self.scale == QUICK

    def store(self, name: str = "runs") -> Path | None:
        """The file of a store of runs; None keeps it in memory."""
        return None if self.folder is None else self.folder / f"{name}.db"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, and the sentence that stands below it."""

    figure: "Figure"
    caption: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a study found.

    Args:
        measured: by the ids of claims.
        tables: by name; each is written as CSV.
        pictures: by name; each is written as PNG and SVG.
        runs: what was run, a row a run; empty for a study without.
    """

    measured: Mapping[str, Measured]
    tables: Mapping[str, "DataFrame"] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    runs: "DataFrame | None" = None


@dataclass(frozen=True, slots=True)
class Study:
    """A published question and how it is checked.

    Args:
        name: of its file, e.g. 'fp_scaling_law'.
        title: in a few words.
        question: a sentence that ends in a question mark.
        papers: identifiers of the papers whose claims are checked.
        claims: with their rules.
        run: does the work.
        scales: at which it can be run; 'full' and 'gpu' fall back to what is there.

    Raises:
        ValueError: no claims, two of one id, a question that is none.
    """

    name: str
    title: str
    question: str
    papers: tuple[str, ...]
    claims: tuple[Claim, ...]
    run: Callable[[Context], Findings]
    scales: tuple[str, ...] = (QUICK,)

    def __post_init__(self) -> None:
        if not self.claims:
            raise ValueError(f"study {self.name!r} has no claims")
        ids = [claim.id for claim in self.claims]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"study {self.name!r} has two claims of one id: {', '.join(twice)}")
        if not self.question.endswith("?"):
            raise ValueError(f"study {self.name!r}: expected a question, got {self.question!r}")
        if QUICK not in self.scales or not set(self.scales) <= set(SCALES):
            raise ValueError(f"study {self.name!r}: expected 'quick' and others of {SCALES}, got {self.scales}")

    @property
    def hash(self) -> str:
        """Of its claims and rules."""
        return hash_of(self.claims)

    def scale(self, asked: str) -> str:
        """The scale at which it runs when another is asked for: the largest that it has up to that one.

        Raises:
            ValueError: an unknown scale.
        """
        if asked not in SCALES:
            raise ValueError(f"expected a scale of {', '.join(SCALES)}, got {asked!r}")
        return next(name for name in reversed(SCALES[: SCALES.index(asked) + 1]) if name in self.scales)

    def checked(self, findings: Findings) -> Findings:
        """The findings, if they answer every claim and no other.

        Raises:
            ValueError: a claim without a measurement, or a measurement without a claim.
        """
        ids = {claim.id for claim in self.claims}
        missing, extra = ids - set(findings.measured), set(findings.measured) - ids
        if missing or extra:
            parts = [f"{what}: {', '.join(sorted(some))}" for what, some in
                     (("nothing was measured for", missing), ("no claim is called", extra)) if some]  # fmt: skip
            raise ValueError(f"study {self.name!r}: {'; '.join(parts)}")
        for claim in self.claims:
            claim.judged(findings.measured[claim.id])
        return findings


def rows(study: Study, measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """The claims of a study with what was measured, as rows of a table."""
    from .claims import interval_shown, shown

    return [
        {
            "study": study.name,
            "claim": claim.id,
            "statement": claim.statement,
            "source": claim.source,
            "published": shown(claim.published),
            "measured": shown(found.value),
            "interval": interval_shown(found),
            "kind": claim.kind,
            "rule": claim.rule.text,
            "verdict": claim.judged(found),
            "note": found.note,
        }
        for claim in study.claims
        for found in [measured[claim.id]]
    ]
