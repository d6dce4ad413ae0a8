"""Tables, files and the record of a run."""

import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from .outcomes import OWN, Outcome, fastest
from .results import Comparison, Report, Result, comparisons, geometric_mean, main_results, verdicts
from .timing import Spread

RESULTS = Path(__file__).with_name("RESULTS.md")
PREAMBLE = """# Benchmark results

The latest run of every machine; `make bench` prints one, `make bench BENCH=--record` writes it here.

The unit of *time / copy* is a copy of the same input by two threads, one `np.copyto` of a half each (below 2^18
elements by one), timed within milliseconds of the row; the ratio is the median over repetitions, with its quartiles.
Outputs are made beforehand where a library can write into them. *Memory* is the peak growth of the process during a
call, in percent of the input, results included where they are allocated. *First call* is that of a fresh process,
libraries imported and compiled code on disk; *cold* is one with none there. Results are compared with exact rounding,
of stochastic rounding with both neighbours, and the note says where a library differs. Inputs are standard normal, so
that nothing overflows. Slow peers are timed at smaller sizes, against copies of that size.

*Arithmetic* is whole computations in which every operation is rounded, two for a multiply-add; slow libraries do
smaller problems, and what is compared is operations a second. Results are compared with the textbook loop.

*Training steps* are forward, backward and an SGD update of a model wrapped by `quantize_`, in steps of the plain model
timed in turn, both eager or both compiled.
"""


def power(size: int) -> str:
    """2^24 for 16777216."""
    return f"2^{size.bit_length() - 1}" if size & (size - 1) == 0 else str(size)


def seconds_text(seconds: float | None) -> str:
    """Seconds with three digits, in the unit that suits."""
    if seconds is None:
        return ""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1 or unit == "us":
            return f"{_three_digits(seconds * factor)} {unit}"
    raise ValueError(f"expected seconds, got {seconds}")


def _three_digits(value: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{_three_digits(spread.median)} ({_three_digits(spread.low)}..{_three_digits(spread.high)})"


def _percent(share: float | None, measured: bool) -> str:
    if share is None:
        return "n/a" if measured else ""
    return f"{100 * share:.0f}%"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> Table:
    table = Table(title=title, box=MARKDOWN, title_justify="left", title_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def main_table(report: Report) -> Table:
    """Every row at its main size."""
    columns = (
        *("task", "library", "size", "median", "GB/s", "time / copy", "time / JAX copy", "memory", "first call"),
        *("cold", "note"),
    )
    rows = [
        (
            result.row.task.name,
            result.row.library,
            power(result.size),
            seconds_text(result.seconds and result.seconds.median),
            "" if result.gigabytes_per_second is None else _three_digits(result.gigabytes_per_second),
            _spread(result.ratio),
            _spread(result.jax_ratio),
            _percent(result.memory, result.differs is not None),
            seconds_text(result.first_call),
            seconds_text(result.cold_call),
            result.note,
        )
        for result in main_results(report.results)
    ]
    return _table("rows", columns, rows, ("task", "library", "note"))


def size_table(report: Report) -> Table | None:
    """Time and ratio over the size, of the rows timed at several; None where there are none."""
    sizes = sorted({result.size for result in report.results})
    found: dict[tuple[str, str], dict[int, Result]] = {}
    for result in report.results:
        found.setdefault((result.row.task.name, result.row.library), {})[result.size] = result
    rows = [(*name, *(_size_cell(at.get(size)) for size in sizes)) for name, at in found.items() if len(at) > 1]
    if not rows:
        return None
    columns = ("task", "library", *map(power, sizes))
    return _table("time of a call, and in copies, by size", columns, rows, ("task", "library"))


def _size_cell(result: Result | None) -> str:
    if result is None or result.seconds is None or result.ratio is None:
        return ""
    return f"{seconds_text(result.seconds.median)} ({_three_digits(result.ratio.median)})"


def latency_table(report: Report) -> Table:
    """Calls on 64 elements, and the import."""
    rows = [
        (
            entry.name,
            seconds_text(entry.seconds.median),
            f"{seconds_text(entry.seconds.low)}..{seconds_text(entry.seconds.high)}",
        )
        if entry.seconds
        else (entry.name, entry.error, "")
        for entry in report.latencies
    ]
    return _table("overheads", ("call", "median", "quartiles"), rows, ("call",))


def arithmetic_table(report: Report) -> Table | None:
    """Whole computations, every operation rounded; None where none was timed."""
    if not report.outcomes:
        return None
    rows = []
    for found in report.outcomes:
        own = fastest(report.outcomes, found.computation.name, OWN)
        faster = own / found.gigaflops if own and found.gigaflops and not found.way.library.startswith(OWN) else None
        rows.append(
            (
                found.computation.name,
                found.way.library,
                power(found.way.size),
                seconds_text(found.seconds and found.seconds.median),
                "" if found.gigaflops is None else f"{found.gigaflops:.3g}",
                "" if faster is None else f"{_three_digits(faster)} x",
                found.note,
            )
        )
    columns = ("computation", "library", "size", "median", "Gflop/s", "halfulp is faster by", "note")
    return _table("arithmetic, every operation rounded", columns, rows, ("computation", "library", "note"))


def training_table(report: Report) -> Table | None:
    """Steps of wrapped models; None where none was timed."""
    if not report.trainings:
        return None
    rows = [
        (each.model, each.library, seconds_text(each.seconds and each.seconds.median), _spread(each.ratio), each.error)
        for each in report.trainings
    ]
    columns = ("model", "library", "step", "step / plain step", "note")
    return _table("training steps", columns, rows, ("model", "library", "note"))


def target_table(report: Report) -> Table:
    """Every target that was measured, and whether it was reached."""
    rows = [
        (v.name, _with_unit(v.target, v.unit), _with_unit(v.found, v.unit), "reached" if v.reached else "missed")
        for v in verdicts(report)
    ]
    return _table("targets", ("what", "target", "found", ""), rows, ("what", ""))


def _with_unit(value: float, unit: str) -> str:
    return seconds_text(value) if unit == "s" else f"{value:.2f} {unit}"


def comparison_table(compared: Sequence[Comparison]) -> Table:
    """The fastest peer of every halfulp row."""
    rows = [
        (
            c.own.row.task.name,
            c.own.row.library,
            c.best.row.library if c.best else "no peer",
            power(c.best.size) if c.best else "",
            "" if c.faster is None else f"{_three_digits(c.faster)} x",
            c.best.note if c.best else "",
        )
        for c in compared
    ]
    columns = ("task", "library", "best peer", "size", "faster by", "the peer")
    return _table("against the fastest peer", columns, rows, ("task", "library", "best peer", "the peer"))


def tables(report: Report) -> list[Table]:
    """All tables of a run."""
    compared = comparisons(report.results)
    made = [
        *(main_table(report), size_table(report), arithmetic_table(report), training_table(report)),
        latency_table(report),
        target_table(report),
    ]
    return [table for table in made if table] + ([comparison_table(compared)] if compared else [])


def summary(report: Report) -> str:
    """The run in two lines."""
    found, compared = verdicts(report), comparisons(report.results)
    mean = geometric_mean(compared)
    missed = "; ".join(v.name for v in found if not v.reached)
    lines = [
        f"targets reached: {sum(v.reached for v in found)} of {len(found)}" + (f". Missed: {missed}" if missed else "")
    ]
    if mean:
        count = sum(c.faster is not None for c in compared)
        lines.append(f"against the fastest peer of each of {count} rows: {mean:.1f} times faster (geometric mean)")
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """The tables and the summary as Markdown."""
    parts = [f"{date.today().isoformat()}; " + ", ".join(f"{k} {v}" for k, v in report.versions.items())]
    for table in tables(report):
        title, table.title = table.title, None
        buffer = io.StringIO()
        Console(file=buffer, width=10_000).print(table)
        text = re.sub("-{4,}", "---", re.sub(" +", " ", buffer.getvalue().strip())).replace(" \n", "\n")
        parts.append(f"### {str(title).capitalize()}\n\n{text}")
    parts.append(f"### Summary\n\n{summary(report).replace(chr(10), '  ' + chr(10))}")
    return "\n\n".join(parts)


def recorded(old: str, machine: str, text: str) -> str:
    """The record with this machine's section replaced, or added at the end; other sections stay as they are."""
    sections = [section.rstrip() for section in ("\n" + old).split("\n## ")[1:]]
    new = f"{machine}\n\n{text.strip()}"
    places = [k for k, section in enumerate(sections) if section.splitlines()[0].strip() == machine]
    at = places[0] if places else len(sections)
    return "\n\n## ".join([PREAMBLE.rstrip(), *sections[:at], new, *sections[at + 1 :]]) + "\n"


def record(report: Report, path: Path = RESULTS) -> None:
    """Write a run into the record."""
    old = path.read_text() if path.exists() else ""
    path.write_text(recorded(old, report.machine, markdown(report)))


def flat(result: Result) -> dict[str, Any]:
    """A result as one row of a table of plain values."""
    row, values = result.row, asdict(result)
    spreads = {
        f"{name}_{part}": value
        for name in ("seconds", "ratio", "jax_ratio")
        for part, value in (values[name] or dict.fromkeys(("median", "low", "high"))).items()
    }
    plain = {name: values[name] for name in ("memory", "first_call", "cold_call", "error", "remark")}
    return {
        "task": row.task.name,
        "library": row.library,
        "peer": row.peer,
        "dtype": row.task.dtype,
        "size": result.size,
        "target": row.task.target,
        **spreads,
        "gigabytes_per_second": result.gigabytes_per_second,
        "differs": result.differs and result.differs.share,
        "differs_relative": result.differs and result.differs.relative,
        **plain,
        "note": row.note,
    }


def flat_outcome(found: Outcome) -> dict[str, Any]:
    """A computation as one row of a table of plain values."""
    return {
        "computation": found.computation.name,
        "library": found.way.library,
        "size": found.way.size,
        "seconds": found.seconds and asdict(found.seconds),
        "gigaflops": found.gigaflops,
        "differs": found.differs,
        "note": found.note,
    }


def save(report: Report, folder: Path) -> list[Path]:
    """Write results.csv and results.json; seconds, shares, ratios."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    rows = [flat(result) for result in report.results]
    frame = pd.DataFrame(rows).assign(machine=report.machine, versions=json.dumps(report.versions))
    paths = [folder / "results.csv", folder / "results.json"]
    frame.to_csv(paths[0], index=False)
    latencies = [asdict(entry) for entry in report.latencies]
    outcomes = [flat_outcome(found) for found in report.outcomes]
    data = {
        "machine": report.machine,
        "versions": report.versions,
        "results": rows,
        "latencies": latencies,
        "arithmetic": outcomes,
        "trainings": [asdict(each) for each in report.trainings],
    }
    paths[1].write_text(json.dumps(data, indent=1))
    return paths
