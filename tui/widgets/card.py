"""What stands where the curves would be while there are none: what is being read, what failed, what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from svdtui.engine.text import printable

from ..formats import done_of, megabytes
from .figures import wrapped
from .painted import Line, Span

if TYPE_CHECKING:
    from svdtui.engine.events import Failure, Progress, State

MAX_WIDTH = 72
MAX_BAR = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """How far something is, from 0 to 1, between its name and the same in words."""

    name: str
    share: float
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A headline with its ink, and sentences and bars below it."""

    headline: str
    ink: str
    body: Sequence[Bar | str]


def card(job: str, state: "State", progress: "Progress | None", failure: "Failure | None", wait: str) -> Card:
    """The card of a job: `job` says what it is, `wait` what it waits for."""
    from svdtui.engine.events import State

    if state is State.FAILED:
        if failure is None:
            return Card(f"✗ {job} failed", "bad", ["Press r to try again."])
        return Card(f"✗ {failure.title}", "bad", [failure.message, failure.hint or "Press r to try again."])
    if state is State.RUNNING:
        return Card(f"◐ {job}", "busy", _bars(progress) if progress else ["Starting …"])
    if state is State.WAITING:
        return Card(f"◔ {job}", "busy", [wait])
    return Card(f"○ {job}", "dim", ["Not computed yet."])


def _bars(progress: "Progress") -> list[Bar | str]:
    """Bytes read and matrices done."""
    read = done_of(progress.bytes_read, progress.bytes_total)
    speed = f" · {megabytes(progress.bytes_per_second)}/s" if progress.bytes_per_second > 0 else ""
    return [
        Bar("reading", progress.bytes_read / max(1, progress.bytes_total), read + speed),
        Bar("spectra", progress.done / max(1, progress.total), f"{progress.done} of {progress.total}"),
    ]


def _bar_line(bar: Bar, room: int) -> Line:
    """`reading  ━━━━━━────────  54 of 80 MB`: light and heavy strokes, so that it reads without colour."""
    cells = min(MAX_BAR, max(4, room - len(bar.name) - 4 - 24))
    filled = round(max(0.0, min(1.0, bar.share)) * cells)
    return [(f"{bar.name}  ", "dim"), ("━" * filled, "busy"), ("─" * (cells - filled), "dim"), (f"  {bar.text}", "")]


def card_lines(content: Card, width: int, height: int) -> Iterator[Line]:
    """The card in the upper part of a block, its text broken to fit."""
    room = max(10, min(MAX_WIDTH, width - 4))
    indent: Span = (" " * max(1, min(6, (width - room) // 2)), "")
    lines: list[Line] = [[(line, content.ink)] for line in wrapped(printable(content.headline), room, 3)]
    lines.append([])
    for item in content.body:
        text = wrapped(printable(item), room, 8) if isinstance(item, str) else []
        lines += [_bar_line(item, room)] if isinstance(item, Bar) else [[(line, "")] for line in text]
    yield from ([] for _ in range(max(0, (height - len(lines)) // 3)))
    yield from ([indent, *line] for line in lines)
