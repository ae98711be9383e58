"""What stands where the curves would be while there are none: what is being read, what failed, what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from svdtui.engine.errors import REOPEN
from svdtui.engine.text import printable

from ..formats import done_of, megabytes, size
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


def card(
    job: str,
    state: "State",
    progress: "Progress | None" = None,
    failure: "Failure | None" = None,
    wait: str = "",
    remote: int | None = 0,
) -> Card:
    """The card of a job: `job` says what it is, `wait` what it waits for, `remote` how many bytes come from the Hub."""
    from svdtui.engine.events import State

    if state is State.FAILED:
        if failure is None:
            return Card(f"✗ {job} failed", "bad", ["Press r to try again."])
        is_said = failure.hint == REOPEN or "press r" in failure.hint.lower()
        again = "" if is_said else "Press r to try again."
        return Card(f"✗ {failure.title}", "bad", list(filter(None, (failure.message, failure.hint, again))))
    amount = [f"{size(remote)} from the Hub."] if remote else []
    if state is State.RUNNING:
        body = _bars(progress) if progress else ["Starting …"]
        return Card(f"◐ {job}", "busy", [*body, *(f"{words} Esc stops it." for words in amount)])
    if state is State.WAITING:
        return Card(f"◔ {job}", "busy", [wait, *amount])
    return Card(f"○ {job}", "dim", ["Not computed yet."])


def held_card(what: str, remote: int | None, *, stopped: bool) -> Card:
    """The card of what is not read until the user says so; `remote` is None where the size is not known yet."""
    body = ["Stopped."] if stopped else []
    if remote:
        body.append(f"{size(remote)} will be read from the Hub.")
    return Card(f"○ {what}", "dim", [*body, "Press r to read it again." if stopped else "Press r to read it."])


def begun(words: str) -> str:
    """`words` as the beginning of a sentence."""
    return words[:1].upper() + words[1:]


def _bars(progress: "Progress") -> list[Bar | str]:
    """Bytes read and matrices done; before they can be counted, what is waited for."""
    waiting = [f"{begun(progress.waiting)}."] if progress.waiting else []
    if not progress.bytes_total:
        return [*(waiting or ["Starting …"])]
    read = done_of(progress.bytes_read, progress.bytes_total)
    speed = f" · {megabytes(progress.bytes_per_second)}/s" if progress.bytes_per_second > 0 else ""
    return [
        Bar("reading", progress.bytes_read / progress.bytes_total, read + speed),
        Bar("spectra", progress.done / max(1, progress.total), f"{progress.done} of {progress.total}"),
        *waiting,
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
        text = (wrapped(printable(item), room, 8) or [""]) if isinstance(item, str) else []
        lines += [_bar_line(item, room)] if isinstance(item, Bar) else [[(line, "")] for line in text]
    yield from ([] for _ in range(max(0, (height - len(lines)) // 3)))
    yield from ([indent, *line] for line in lines)
