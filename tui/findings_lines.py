"""The findings as lines of text for a screen: the verdicts at a glance, then each with its numbers and its caveat."""

import textwrap
from collections.abc import Iterable, Iterator

from rich.cells import cell_len

from svdtui.engine.finding import Finding, Table, Verdict
from svdtui.engine.findings import Findings
from svdtui.engine.text import plural, printable

from .widgets.painted import Line, clipped

VERDICTS = {Verdict.HOLDS: ("✓", "good"), Verdict.FAILS: ("✗", "bad"), Verdict.UNKNOWN: ("?", "warn")}
"""Sign and ink of a verdict; its word always stands beside it."""

WIDEST = 110
"""Cells of the longest line of prose."""

_VERDICT_CELLS = max(map(len, Verdict)) + 3


def findings_lines(findings: Findings, width: int, *, is_again: bool = False) -> tuple[list[Line], list[int]]:
    """The page, `width` cells wide, and on which of its lines each finding begins.

    It says so where the statements are being tested again.
    """
    lines: list[Line] = [*_head(findings, width, is_again=is_again)]
    starts = []
    for number, finding in enumerate(findings.findings, 1):
        starts.append(len(lines))
        lines += _finding(number, finding, width)
    return lines, starts


def _head(findings: Findings, width: int, *, is_again: bool) -> Iterator[Line]:
    yield from _prose(
        "Statements of “Unveiling the Inner Workings of LLMs: A Singular Value Perspective” (2024), tested on this "
        "model's attention heads. A verdict is about these weights and this criterion, not about what the model can "
        "do.",
        width,
        "dim",
    )
    yield []
    count = f"{findings.computed:,} of {plural(findings.layers, 'layer')}"
    if is_again:
        yield from _prose(f"◐ Tested on {count}; being tested again, as other layers are there now.", width, "busy")
    elif findings.computed < findings.layers:
        yield from _prose(f"{count} computed; s computes the rest.", width, "warn")
    for note in findings.notes:
        yield from _prose(printable(note), width, "warn")
    for number, finding in enumerate(findings.findings, 1):
        sign, ink = VERDICTS[finding.verdict]
        verdict = f"{sign} {finding.verdict}".ljust(_VERDICT_CELLS)
        yield [(f" {number}  ", "key"), (verdict, ink), (clipped(finding.title, width - _VERDICT_CELLS - 5), "")]
    yield []


def _finding(number: int, finding: Finding, width: int) -> Iterator[Line]:
    title = f"─ {number} · {clipped(finding.title, width - 8)} "
    yield [(title + "─" * max(0, width - cell_len(title)), "dim")]
    yield from _prose(finding.statement, width, "strong")
    sign, ink = VERDICTS[finding.verdict]
    yield []
    yield from _prose(f"{sign} {finding.verdict.capitalize()}. {finding.because}".rstrip(), width, ink)
    for part in finding.parts:
        sign, ink = VERDICTS[part.verdict]
        yield from _prose(f"{part.claim}: {part.verdict} ({part.why})", width, "", first=f" {sign} ", ink_first=ink)
    for paragraph in finding.paragraphs:
        yield []
        yield from _prose(paragraph, width)
    for table in finding.tables:
        yield []
        yield from _table(table, width)
    yield []
    yield from _prose(finding.criterion, width, "dim", first="Criterion  ")
    yield from _prose(finding.caveat, width, "dim", first="Caveat     ")
    yield []


def _prose(text: str, width: int, ink: str = "", *, first: str = "", ink_first: str = "dim") -> Iterator[Line]:
    """Broken lines; `first` stands before the first of them, and the others are indented as far."""
    room = max(20, min(width, WIDEST) - len(first))
    for number, line in enumerate(textwrap.wrap(printable(text), room, break_on_hyphens=False) or [""]):
        yield [(" " * len(first) if number else first, ink_first), (line, ink)]


def _table(table: Table, width: int) -> Iterator[Line]:
    """Columns as wide as they need; text to the left, figures to the right."""
    yield from _prose(f"{table.title}:", width)
    titles = [column.title for column in table.columns]
    rows = [[printable(cell) for cell in line] for line in table.lines()]
    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    is_text = [column.kind == "text" for column in table.columns]
    yield [(_row(titles, widths, is_text, width), "dim")]
    for row in rows:
        yield [(_row(row, widths, is_text, width), "")]


def _row(cells: Iterable[str], widths: list[int], is_text: list[bool], width: int) -> str:
    padded = (
        cell + " " * (room - cell_len(cell)) if left else " " * (room - cell_len(cell)) + cell
        for cell, room, left in zip(cells, widths, is_text, strict=True)
    )
    return clipped("  " + "  ".join(padded), width)
