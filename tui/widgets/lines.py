"""The three lines around the panes: what is open, what is going on, and which keys there are."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.geometry import Size
from textual.timer import Timer

from svdtui.engine.model import Model
from svdtui.engine.text import plural, printable

from ..keys import Key, footer
from .painted import Line, Painted, Span, clipped
from .rows import gap_of

OWN_LINES, MOST_LINES = 1, 9
"""Lines at the bottom that messages may lie over: those of the keys. And the most that messages have."""

FLASH = 3.0
"""Seconds that an answer to a key stays."""


class HeaderLine(Painted):
    """`svdtui  meta-llama/… @ e5e23bb   32 layers · 32 heads · 8 KV · bf16   cpu`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"ink--dim", "ink--strong", "ink--warn"}

    def __init__(self, model: Model) -> None:
        super().__init__("header")
        self._model = model
        self._device = ""

    def set_device(self, device: str) -> None:
        """Say what computes."""
        self._device = device
        self.repaint()

    def paint(self, width: int, height: int) -> Iterator[Line]:  # noqa: ARG002 - one line always
        """The line; the name gives way first, then the revision. A dtype that is not known yet is left out."""
        model = self._model
        facts = [plural(len(model.layers), "layer")]
        if model.heads:
            facts += [plural(model.heads, "head"), f"{model.kv_heads} KV"]
        else:
            facts.append("heads unknown")
        facts += [printable(model.dtype)]
        right = " · ".join(filter(None, facts)) + (f" │ {printable(self._device)}" if self._device else "")
        revision = f" @ {printable(model.revision)[:7]}" if model.revision else ""
        yield title_line(model.checkpoint.source.name, revision, right, width, stack_words(model))


_NAME_ROOM = 8
"""Cells that a name keeps beside what is shown of several stacks."""


def stack_words(model: Model) -> Sequence[str]:
    """Which of several stacks is shown, and which are not, from longer to shorter; nothing where there is one."""
    shown = printable(model.stack)
    others = [printable(name) for name in model.stacks.names if name != model.stack]
    if not others:
        return ()
    more = f" +{len(others) - 1}" if len(others) > 1 else ""
    return (
        f"stack {shown}, not {', '.join(others[:9])}{'' if len(others) <= 9 else ' …'}",
        f"{shown}, not {others[0]}{more}",
        f"{shown}, not {len(others)} more",
        f"{shown} +{len(others)}",
    )


def title_line(model: str, revision: str, right: str, width: int, beside: Sequence[str] = ()) -> Line:
    """The program, a model's name and revision, what may stand beside it, and at the right what is known of it.

    Of what may stand there the first that fits does.
    """
    right = clipped(right, width - 12)
    whole = width - cell_len(right) - 12
    least = min(_NAME_ROOM, cell_len(printable(model)))
    words = next((each for each in beside if cell_len(each) + 2 + least <= whole), "")
    room = whole - cell_len(words) - 2 if words else whole
    name = clipped(printable(model), room - len(revision) if room - len(revision) > 10 else room)
    if cell_len(name) + len(revision) > room:
        revision = ""
    left = whole - cell_len(name) - len(revision)
    said = f"  {words}" if words else ""
    pad = " " * max(0, left - cell_len(said) + 1)
    named: Line = [(" svdtui ", "dim"), (f" {name}", "strong"), (revision, "dim"), (said, "warn")]
    return [*named, (pad, ""), (f"{right} ", "dim")]


class StatusLine(Painted):
    """What is being read at the left, how much is ready at the right; now and then an answer to a key."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"ink--dim", "ink--busy", "ink--warn", "ink--bad"}

    def __init__(self) -> None:
        super().__init__("status")
        self._left: Span = ("", "")
        self._right = ""
        self._answer = ""
        self._question = ""
        self._is_news = False
        self._news = ""
        self._timer: Timer | None = None

    def on_mount(self) -> None:
        """Watch the messages: they lie over the keys below, and get more room where they need it."""
        for rack in self.screen.query("#textual-toastrack"):
            self.watch(rack, "virtual_size", self._make_room)

    def _make_room(self, messages: Size) -> None:
        """Move up by the lines that messages have beyond the keys': answers and questions stand here meanwhile."""
        lines = max(0, min(messages.height, MOST_LINES) - OWN_LINES)
        if lines != self.styles.margin.bottom:
            self.styles.margin = (0, 0, lines, 0)

    def show(self, left: Span, right: str) -> None:
        """Say what is going on."""
        self._left, self._right = left, right
        self.repaint()

    def flash(self, answer: str, *, is_news: bool = False) -> None:
        """Answer a key with a short sentence that goes away by itself, and with the place that it was said of.

        News is of no place, and waits until an answer has been read.
        """
        if is_news and self._answer and not self._is_news:
            self._news = answer
            return
        if self._timer:
            self._timer.stop()
        self._answer, self._is_news = answer, is_news
        self._timer = self.set_timer(FLASH, self._forget)
        self.repaint()

    def ask(self, question: str) -> None:
        """Show a question, before all else; none any more when it is empty."""
        self._question = question
        self.repaint()

    def move_on(self) -> None:
        """The user is elsewhere now."""
        if self._answer and not self._is_news:
            self._forget()

    def _forget(self) -> None:
        if self._timer:
            self._timer.stop()
        self._answer = ""
        if self._news:
            news, self._news = self._news, ""
            self.flash(news, is_news=True)
        self.repaint()

    def paint(self, width: int, height: int) -> Iterator[Line]:  # noqa: ARG002 - one line always
        """The line; the left part gives way."""
        text, ink = (answer, "") if (answer := self._question or self._answer) else self._left
        room = max(0, width - cell_len(self._right) - 4)
        text = clipped(printable(text), room)
        yield [(" ", ""), (text, ink), (" " * (room - cell_len(text) + 2), ""), (self._right, "dim"), (" ", "")]


class KeyBar(Painted):
    """The footer: as many keys as fit, the most useful first. A click does what the key does."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"ink--dim", "ink--key"}

    def __init__(self, offered: Sequence[Key]) -> None:
        super().__init__("keys")
        self._offered = offered
        self._places: list[tuple[int, int, tuple[Key, ...]]] = []

    def offer(self, keys: Sequence[Key]) -> None:
        """Show other keys."""
        if keys != self._offered:
            self._offered = keys
            self.repaint()

    def paint(self, width: int, height: int) -> Iterator[Line]:  # noqa: ARG002 - one line always
        """The line."""
        spans: list[Span] = []
        self._places = []
        at = 1
        gap = len(gap_of(width))
        for shown, word, keys in footer(self._offered):
            cells = len(shown) + 1 + len(word)
            if at + cells > width:
                break
            self._places.append((at, at + cells, keys))
            spans += [(" " * (1 if at == 1 else gap), ""), (shown, "key"), (f" {word}", "dim")]
            at += cells + gap
        yield spans

    async def on_click(self, event: events.Click) -> None:
        """Do what the key under the pointer does; of a pair, the half that was hit."""
        for start, end, keys in self._places:
            if start <= event.x < end:
                key = keys[min(len(keys) - 1, (event.x - start) // 2)]
                target = "app" if key.owner == "app" else "screen"
                await self.run_action(f"{target}.{key.action}")
