"""The page: one HTML file that needs no other."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ._arms import ComparedArms, read_comparison
from ._figures import Section
from ._finding import Finding, Table
from ._run import Run, runs_of, tasks_of
from ._style_sheet import STYLE_SHEET
from ._tables import comparison_tables, task_table
from ._words import counted

_BADGES = {"good": "evidence", "bad": "needs attention", "open": "no warning", "missing": "not measured"}
_OPEN = "no evidence either way"


def page(
    title: str,
    records: Mapping[str, Mapping[str, Any]],
    comparison: Mapping[str, Any] | None,
    found: Sequence[Finding],
    sections: Sequence[Section],
    images: Mapping[str, bytes],
) -> str:
    """Return the page as HTML.

    Args:
        title: Its heading.
        records: {name of the run: its record}.
        comparison: What `Comparison.record` returned.
        found: The answers.
        sections: The figures.
        images: The figures as PNG, by the names of their panels.
    """
    runs, arms = runs_of(records), read_comparison(comparison)
    titles = {section.key: section.title for section in sections}
    parts = [
        f"<header><h1>{escape(title)}</h1><p class='lead'>{escape(_lead(runs, arms))}</p></header>",
        _answers(found, titles),
        _tables("Tasks", [task_table(runs)]),
    ]
    for section in sections:
        tables = comparison_tables(arms) if section.key == "comparison" else []
        parts.append(_section(section, tables, images))
    parts.append("<footer>Written by lightning-mtl. The figures are in the folder beside this page, as PNG.</footer>")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE_SHEET}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'


def _lead(runs: Sequence[Run], arms: ComparedArms | None) -> str:
    steps = [series[-1][0] for run in runs for series in (run.record.get("series") or {}).values() if series]
    parts = [counted(len(tasks_of(runs)) or len(arms.tasks if arms else ()), "task")]
    parts += [f"{len(runs)} runs: {', '.join(run.name for run in runs)}"] if len(runs) > 1 else []
    parts += [counted(max(steps), "step")] if steps else []
    return " \u00b7 ".join(parts)


def _answers(found: Sequence[Finding], titles: Mapping[str, str]) -> str:
    cards = "\n".join(_card(finding, titles) for finding in found)
    return f"<section id='questions'><h2>Five questions</h2><div class='answers'>\n{cards}\n</div></section>"


def _card(finding: Finding, titles: Mapping[str, str]) -> str:
    badge = _OPEN if finding.tone == "open" and "no evidence" in finding.answer else _BADGES[finding.tone]
    lines = "".join(f"<li>{escape(line)}</li>" for line in finding.evidence)
    links = ", ".join(f"<a href='#{key}'>{escape(titles[key])}</a>" for key in finding.sections if key in titles)
    return (
        f"<article class='card {finding.tone}'><div><h3>{escape(finding.question)}</h3><p class='badge'>{badge}</p>"
        + (f"<p class='links'>Figures: {links}</p>" if links else "")
        + f"</div><div><p class='answer'>{_code(finding.answer)}</p>"
        + (_table(finding.table) if finding.table else "")
        + (f"<ul>{lines}</ul>" if lines else "")
        + "</div></article>"
    )


def _code(sentence: str) -> str:
    """Mark what is in backquotes as code."""
    parts = escape(sentence).split("`")
    if len(parts) % 2 == 0:
        return escape(sentence)
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _section(section: Section, tables: Sequence[Table], images: Mapping[str, bytes]) -> str:
    figures = "\n".join(
        f"<figure class='panel{' wide' if panel.wide else ''}'>"
        f"<img src='data:image/png;base64,{b64encode(images[panel.name]).decode()}' alt='{escape(panel.alt)}' "
        f"width='{round(100 * panel.figure.get_figwidth())}' height='{round(100 * panel.figure.get_figheight())}'>"
        + (f"<figcaption>{escape(panel.caption)}</figcaption>" if panel.caption else "")
        + "</figure>"
        for panel in section.panels
    )
    shown = "".join(map(_table, tables))
    return f"<section id='{section.key}'><h2>{escape(section.title)}</h2>{shown}<div class='panels'>\n{figures}\n</div></section>"


def _tables(title: str, tables: Sequence[Table]) -> str:
    shown = "".join(map(_table, tables))
    return f"<section id='{title.lower()}'><h2>{escape(title)}</h2>{shown}</section>" if shown else ""


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in table.header)
    rows = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>"
        + "".join(
            f"<td data-label='{escape(name)}'>{escape(cell)}</td>"
            for name, cell in zip(table.header[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
