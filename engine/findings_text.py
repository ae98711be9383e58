"""Findings as a Markdown page."""

import re
from collections.abc import Iterator

from .finding import Finding, Table
from .findings import Findings
from .text import plural, printable


def findings_markdown(findings: Findings) -> str:
    """A page to read or to keep: the verdicts at a glance, then each finding with its numbers and caveat."""
    return "\n".join(_page(findings)).rstrip() + "\n"


def _page(findings: Findings) -> Iterator[str]:
    revision = f" @ {escaped(findings.revision)}" if findings.revision else ""
    yield f"# Findings: {escaped(findings.model)}{revision}\n"
    yield (
        "Statements of “Unveiling the Inner Workings of LLMs: A Singular Value Perspective” (2024), tested on the "
        "singular values of this model's attention heads. A verdict is about these weights and this criterion, "
        "not about what the model can do.\n"
    )
    if findings.computed < findings.layers:
        count = plural(findings.layers, "layer")
        yield f"**Incomplete:** {findings.computed:,} of {count} computed; no verdict is given on all layers.\n"
    for note in findings.notes:
        yield f"**Note:** {escaped(note)}\n"
    yield "| | statement | verdict |\n|---|---|---|"
    for number, finding in enumerate(findings.findings, 1):
        yield f"| {number} | {escaped(finding.statement)} | **{finding.verdict}** |"
    yield ""
    for number, finding in enumerate(findings.findings, 1):
        yield from _section(number, finding)


def _section(number: int, finding: Finding) -> Iterator[str]:
    yield f"## {number}. {escaped(finding.title)}\n"
    yield f"> {escaped(finding.statement)}\n"
    yield f"**{finding.verdict.capitalize()}.** {escaped(finding.because)}".rstrip() + "\n"
    for part in finding.parts:
        yield f"- {escaped(part.claim)}: **{part.verdict}** ({escaped(part.why)})"
    if finding.parts:
        yield ""
    for paragraph in finding.paragraphs:
        yield f"{escaped(paragraph)}\n"
    for table in finding.tables:
        yield from _table(table)
    yield f"*Criterion.* {escaped(finding.criterion)}\n"
    yield f"*Caveat.* {escaped(finding.caveat)}\n"


def _table(table: Table) -> Iterator[str]:
    yield f"{escaped(table.title)}:\n"
    yield "| " + " | ".join(escaped(column.title) for column in table.columns) + " |"
    yield "|" + "|".join("---" if column.kind == "text" else "---:" for column in table.columns) + "|"
    for line in table.lines():
        yield "| " + " | ".join(map(escaped, line)) + " |"
    yield ""


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line, with nothing of it run: names come from files."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", printable(text))
