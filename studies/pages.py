"""The scorecard as pages: one HTML file that needs nothing else, and Markdown for the documentation."""

import base64
from html import escape
from pathlib import Path
from typing import Any

from .catalogue import study as study_by_name
from .records import captions
from .running import folder_of
from .scorecard import Scorecard

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #0072b2; --bad: #d55e00; --open: #7a7a7a; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87em; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: Canvas; }
td.number { font-variant-numeric: tabular-nums; min-width: 6em; overflow-wrap: anywhere; }
.verdict { white-space: nowrap; font-weight: 600; }
.reproduced { color: var(--good); } .not { color: var(--bad); } .inconclusive { color: var(--open); }
.note, figcaption, .source { opacity: .75; font-size: .93em; }
figure { display: inline-block; margin: 1rem 1rem 1rem 0; max-width: 36rem; vertical-align: top; }
img { max-width: 100%; background: white; }
@media print { th { position: static; } figure { break-inside: avoid; } }
"""
_MARKS = {"reproduced": ("reproduced", "✓"), "not reproduced": ("not", "✗"), "inconclusive": ("inconclusive", "○")}


def html_page(card: Scorecard, out: Path) -> str:
    """The scorecard as one self-contained HTML page, pictures embedded.

    Args:
        card: the scorecard.
        out: the folder of runs, whose pictures are shown.
    """
    frame = card.frame()
    counts = card.counts()
    head = "".join(f"<th>{escape(str(name))}</th>" for name in ("kind", *counts.columns))
    body = "".join(
        f"<tr><td>{kind}</td>" + "".join(f"<td class=number>{n}</td>" for n in row) + "</tr>"
        for kind, row in counts.iterrows()
    )
    sections = "".join(_section(name, card, out) for name in card.records)
    failed = "".join(
        f"<p class=not>{escape(name)} failed: {escape(str(error))}</p>" for name, error in card.failures.items()
    )
    links = " · ".join(f'<a href="#{name}">{escape(study_by_name(name).title)}</a>' for name in card.records)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>halfulp scorecard</title>'
        f"<style>{_STYLE}</style></head><body><h1>Scorecard</h1>"
        f"<p>{len(frame)} published claims from {len(card.papers())} papers, each with the rule that decides its "
        "verdict. A claim that is not reproduced is a result too.</p>"
        f"{failed}<div class=wide><table><tr>{head}</tr>{body}</table></div><p>{links}</p>{sections}</body></html>\n"
    )


def _section(name: str, card: Scorecard, out: Path) -> str:
    study, record = study_by_name(name), card.records[name]
    versions = ", ".join(f"{package} {version}" for package, version in record.versions.items())
    table = "".join(_row(row) for row in card.rows(name))
    pictures = "".join(_figures(folder_of(study, record.scale, out)))
    return (
        f'<h2 id="{name}">{escape(study.title)}</h2><p>{escape(study.question)}</p>'
        f"<p class=source>{escape(', '.join(study.papers))}; scale {record.scale}, "
        f"{escape(record.finished)}; {escape(versions)}</p>"
        "<div class=wide><table><tr><th>claim</th><th>published</th><th>measured</th><th>95% interval</th>"
        f"<th>kind</th><th>verdict</th></tr>{table}</table></div>{pictures}"
    )


def _row(row: dict[str, Any]) -> str:
    style, mark = _MARKS[row["verdict"]]
    note = f"<div class=note>{escape(row['note'])}</div>" if row["note"] else ""
    return (
        f"<tr><td>{escape(row['statement'])}<div class=source>{escape(row['source'])}; counts as reproduced: "
        f"{escape(row['rule'])}</div>{note}</td><td class=number>{escape(row['published'])}</td>"
        f"<td class=number>{escape(row['measured'])}</td><td class=number>{escape(row['interval'])}</td>"
        f'<td>{row["kind"]}</td><td class="verdict {style}">{mark} {row["verdict"]}</td></tr>'
    )


def _figures(folder: Path) -> list[str]:
    found = []
    for name, caption in captions(folder).items():
        data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        found.append(
            f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return found


def markdown_page(card: Scorecard) -> str:
    """The scorecard as a page of the documentation."""
    frame = card.frame()
    lines = [
        "# Scorecard",
        "",
        f"{len(frame)} published claims from {len(card.papers())} papers. `halfulp scorecard` (or `make scorecard`) "
        "runs the studies and prints this table;",
        "each claim has a rule that decides its verdict, and a run keeps the hash of its rules.",
        "",
        "Claims by kind and verdict:",
        "",
        *_table([["kind", *map(str, card.counts().columns)],
                 *[[str(kind), *map(str, row)] for kind, row in card.counts().iterrows()]]),
    ]  # fmt: skip
    for name in card.records:
        study, record = study_by_name(name), card.records[name]
        about = f"{', '.join(study.papers)}; scale {record.scale}, {record.finished[:10]}"
        lines += ["", f"## {study.title}", "", f"{study.question} ({about})", ""]
        body = [
            [f"{row['statement']} *{row['source']}*" + (f" {row['note']}" if row["note"] else ""), row["published"],
             row["measured"] + (f" {row['interval']}" if row["interval"] else ""), row["kind"], row["verdict"]]
            for row in card.rows(name)
        ]  # fmt: skip
        lines += _table([["claim", "published", "measured", "kind", "verdict"], *body])
    return "\n".join(lines) + "\n"


def _table(rows: list[list[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [
        f"| {' | '.join(cells[0])} |",
        f"|{'---|' * len(cells[0])}",
        *(f"| {' | '.join(row)} |" for row in cells[1:]),
    ]
