"""Every claim of every study in one table: what was published, what was measured, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .catalogue import STUDIES
from .catalogue import study as study_by_name
from .claims import KINDS
from .records import Record
from .rules import VERDICTS
from .running import OUT, run_all
from .study import QUICK, rows

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ["study", "claim", "statement", "source", "published", "measured", "interval", "kind", "rule", "verdict",
           "note"]  # fmt: skip
"""Of the table of claims."""


@dataclass(frozen=True, slots=True)
class Scorecard:
    """The claims of studies with their verdicts.

    Args:
        records: by study, in the order of the scorecard.
        failures: studies that ended with an error, and the error.
    """

    records: Mapping[str, Record]
    failures: Mapping[str, Exception]

    def frame(self) -> "DataFrame":
        """A row per claim: its source, what was published and measured, rule and verdict; see `COLUMNS`."""
        import pandas

        found = [row for name in self.records for row in self.rows(name)]
        return pandas.DataFrame(found, columns=COLUMNS)

    def rows(self, study: str) -> list[dict[str, Any]]:
        """The rows of one study."""
        return rows(study_by_name(study), self.records[study].measured)

    def counts(self) -> "DataFrame":
        """How many claims of each kind got each verdict, with sums."""
        return counts_of(self.frame())

    def papers(self) -> list[str]:
        """The papers whose claims are among these."""
        return sorted({paper for name in self.records for paper in study_by_name(name).papers})


def counts_of(frame: "DataFrame") -> "DataFrame":
    """Claims by kind and verdict, formula, refit and training apart, with a row and a column of sums."""
    import pandas

    table = pandas.crosstab(frame["kind"], frame["verdict"]).reindex(index=KINDS, columns=VERDICTS, fill_value=0)
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table


def scorecard(
    names: Sequence[str] | None = None,
    *,
    scale: str = QUICK,
    out: str | Path = OUT,
    workers: int = 2,
    again: bool = False,
    data: str | Path | None = None,
    report: Callable[[str, Record | Exception], None] | None = None,
) -> Scorecard:
    """Run every study that has no stored run, and gather their claims.

    Studies that train for long come with results of their own, which count as stored.

    Args:
        names: of studies; None for all.
        scale: 'quick', 'full' or 'gpu'.
        out: folder of runs; those of this code in it are not repeated.
        workers: how many studies at a time.
        again: repeat stored ones too, and those that are shipped.
        data: folder of optional data.
        report: called with the name and the record, or the error, of each study as it ends.

    Returns:
        The scorecard; a study that failed is among its `failures`, the others are whole.

    Raises:
        ValueError: an unknown study or scale, or fewer than one worker.
    """
    if workers < 1:
        raise ValueError(f"expected at least one worker, got {workers}")
    chosen = list(STUDIES if names is None else dict.fromkeys(names))
    for name in chosen:
        study_by_name(name).scale(scale)
    ended: dict[str, Record | Exception] = {}
    for name, result in run_all(chosen, scale, Path(out), workers, again, Path(data) if data is not None else None):
        ended[name] = result
        if report is not None:
            report(name, result)
    return Scorecard(
        {name: result for name in chosen if isinstance(result := ended[name], Record)},
        {name: result for name in chosen if isinstance(result := ended[name], Exception)},
    )
