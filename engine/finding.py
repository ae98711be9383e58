"""What a finding is: a statement, what speaks for it in words and tables, and a verdict. Plain data, to be pickled."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isinf
from typing import Literal


class Verdict(StrEnum):
    """What the figures say of a statement."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNKNOWN = "not enough data"


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a statement of several parts: it fails with any part, and holds only when all do."""
    found = set(verdicts)
    if Verdict.FAILS in found:
        return Verdict.FAILS
    return Verdict.HOLDS if found == {Verdict.HOLDS} else Verdict.UNKNOWN


Kind = Literal["text", "count", "figure", "p"]
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and how the cells below it are written."""

    title: str
    kind: Kind = "figure"


@dataclass(frozen=True, slots=True)
class Table:
    """Figures behind a finding, at full precision; `lines` gives them as text."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def lines(self) -> tuple[tuple[str, ...], ...]:
        """The cells as text, as short as they can be read."""
        kinds = [column.kind for column in self.columns]
        return tuple(tuple(cell_text(cell, kind) for cell, kind in zip(row, kinds, strict=True)) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Part:
    """One claim of a statement."""

    claim: str
    verdict: Verdict
    why: str
    """The numbers that decide it, in words."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement of the article, tested."""

    title: str
    statement: str
    verdict: Verdict
    because: str
    """The verdict's reason in one or two sentences: which parts hold and which do not."""
    parts: tuple[Part, ...]
    paragraphs: tuple[str, ...]
    """What else the reader of the tables should know."""
    tables: tuple[Table, ...]
    criterion: str
    """When a part counts as holding."""
    caveat: str
    """What not to conclude."""


def reason(parts: tuple[Part, ...]) -> str:
    """Which parts hold and which do not, in a sentence each."""
    named = {verdict: [part.claim for part in parts if part.verdict is verdict] for verdict in Verdict}
    said = {
        Verdict.FAILS: "Not so here: ",
        Verdict.UNKNOWN: "Cannot be told: ",
        Verdict.HOLDS: "So here: ",
    }
    if len(named[Verdict.HOLDS]) == len(parts):
        return "All of its parts hold."
    return " ".join(f"{said[verdict]}{'; '.join(claims)}." for verdict in said if (claims := named[verdict]))


def untested(title: str, statement: str, because: str, criterion: str, caveat: str) -> Finding:
    """A statement on which there are no figures at all."""
    return Finding(title, statement, Verdict.UNKNOWN, because, (), (), (), criterion, caveat)


def judged(finding: Finding, gap: str) -> Finding:
    """The finding as it is, or while figures are missing (`gap` says which) without any verdict."""
    if not gap:
        return finding
    parts = tuple(replace(part, verdict=Verdict.UNKNOWN, why=f"so far: {part.why}") for part in finding.parts)
    return replace(finding, verdict=Verdict.UNKNOWN, because=gap, parts=parts)


def cell_text(cell: Cell, kind: Kind) -> str:
    """A cell as text: figures to four digits, p-values to two, `–` for what is undefined."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if kind == "count":
        return f"{cell:,.0f}"
    return p_text(cell) if kind == "p" else number_text(cell)


def number_text(value: float | None) -> str:
    """`0.5039`, `27.71`, `1.23e-4`, `∞`, or `–`."""
    if value is None:
        return "–"
    if isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        return _exponent(f"{value:.2e}")
    return f"{value:.0f}" if size >= 1000 else f"{value:#.4g}" if size else "0"


def p_text(p: float | None) -> str:
    """`0.034`, `5.5e-6`, or `–`."""
    if p is None:
        return "–"
    return _exponent(f"{p:.1e}") if p < 1e-3 else f"{p:.2g}" if p < 0.995 else "1"


def rho_text(rho: float | None) -> str:
    """`+0.93`, `−0.40`, or `–`."""
    return "–" if rho is None else f"{rho:+.2f}".replace("-", "−")


def _exponent(text: str) -> str:
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}"
