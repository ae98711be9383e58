"""The screen while a model is looked up on the Hub: what is waited for, how long already, and how to leave."""

from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from svdtui.engine.errors import EngineError
from svdtui.engine.model import Model
from svdtui.engine.text import shortened

from ..keys import KEYS
from ..opener import Opener
from ..widgets.card import Card, begun, card_lines
from ..widgets.lines import KeyBar, title_line
from ..widgets.painted import Line, Painted

BEAT = 0.1
"""Seconds between two looks at what the thread does."""

PATIENCE = 2
"""Seconds after which they are counted on screen."""


class OpeningTitle(Painted):
    """The header of a model of which no more than the name is known."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"ink--dim", "ink--strong"}

    def __init__(self, name: str) -> None:
        super().__init__("header")
        self._model = name

    def paint(self, width: int, height: int) -> Iterator[Line]:  # noqa: ARG002 - one line always
        """The line."""
        yield title_line(self._model, "", "", width)


class OpeningCard(Painted):
    """What is being waited for."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"ink--dim", "ink--busy"}

    def __init__(self, opener: Opener) -> None:
        super().__init__("opening")
        self._opener = opener
        self._since = monotonic()

    def paint(self, width: int, height: int) -> Iterator[Line]:
        """A card as the explorer has them."""
        waited = monotonic() - self._since
        doing = begun(shortened(self._opener.doing, 300)) or "Starting …"
        seconds = [f"{waited:.0f} s"] if waited > PATIENCE else []
        card = Card(f"◐ Opening {self._opener.name}", "busy", [doing, *seconds, "", "q or esc leaves."])
        yield from card_lines(card, width, height)


class Opening(Screen[None]):
    """Starts the opener once the first frame is out, and hands the model over when nothing lies above this screen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.quit", "Leave", show=False, id="opening-leave")]

    class Opened(Message):
        """There is a model to explore."""

        def __init__(self, model: Model) -> None:
            super().__init__()
            self.model = model

    class Failed(Message):
        """There is none, and this is why."""

        def __init__(self, error: EngineError) -> None:
            super().__init__()
            self.error = error

    def __init__(self, opener: Opener) -> None:
        super().__init__()
        self._opener = opener
        self._card = OpeningCard(opener)
        self._model: Model | None = None
        self._beat: Timer | None = None

    def compose(self) -> ComposeResult:
        """Header, card, keys: the explorer's outlines."""
        yield OpeningTitle(self._opener.name)
        yield self._card
        yield KeyBar([key for key in KEYS if key.owner == "app"])

    def on_mount(self) -> None:
        """Begin, and look up now and then."""
        self.call_after_refresh(self._opener.start, self._done)
        self._beat = self.set_interval(BEAT, self._card.repaint)

    def _done(self, found: Model | EngineError) -> None:
        """In the opener's thread, from which only messages may come."""
        with suppress(RuntimeError):  # the user has left just now: the event loop is closed
            self.post_message(self.Failed(found) if isinstance(found, EngineError) else self.Opened(found))

    def on_opening_opened(self, message: "Opening.Opened") -> None:
        """Keep the model while help or something else is being looked at."""
        if self.app.screen is self:
            self._model = None
            if self._beat:
                self._beat.stop()
        else:
            self._model = message.model
            message.stop()

    def on_screen_resume(self) -> None:
        """What lay above has gone."""
        if self._model is not None:
            self.post_message(self.Opened(self._model))
