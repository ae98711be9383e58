"""The line in which an address is typed, with completions and a clear word when there is no such place."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError
from svdtui.engine.model import Model
from svdtui.engine.naming import complete, find

from .overlay import Overlay

EXAMPLES = "12 a layer · 12.5 a head · 12.5.q a head's matrix · 12.q_proj a whole matrix · lm_head"
SHOWN = 60
"""Completions asked for; as many are shown as fit on a line."""


class Goto(ModalScreen[Address | None], Overlay[Address | None]):
    """Gives back an address that exists, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False, id="goto-cancel"),
        Binding("tab", "complete", "Complete", show=False, priority=True, id="goto-complete"),
    ]

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._input = Input(placeholder="12.5.q", id="goto-input", compact=True)
        self._said = Static(Content(EXAMPLES), id="goto-said")

    def compose(self) -> ComposeResult:
        """A prompt, and a line of completions or of what is wrong."""
        with Vertical(id="goto-box"):
            yield Static(Content("Go to · tab completes"), id="goto-title")
            yield self._input
            yield self._said

    def on_input_changed(self, event: Input.Changed) -> None:
        """Offer what the text may become."""
        text = event.value.strip()
        self._say(self._offer(text) if text else EXAMPLES)

    def _offer(self, text: str) -> str:
        found = complete(self._model, text, SHOWN)
        if not found:
            return self._problem(text) or ""
        width = max(20, self._said.size.width)
        words: list[str] = []
        for place in found:
            if sum(len(word) + 2 for word in words) + len(place) > width - 2:
                words.append("…")
                break
            words.append(place)
        return "  ".join(words)

    def _problem(self, text: str) -> str | None:
        """Why there is no such place, as a sentence."""
        try:
            find(self._model, text)
        except AddressError as error:
            return str(error)
        return None

    def action_complete(self) -> None:
        """Complete as far as all completions agree."""
        found = complete(self._model, self._input.value.strip(), SHOWN)
        if found:
            first, last = min(found), max(found)
            agreed = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
            self._input.value = first[:agreed]
            self._input.cursor_position = agreed

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go there, or to the only place that begins so, or say why not."""
        text = event.value.strip()
        problem = self._problem(text)
        if problem and len(found := complete(self._model, text, SHOWN)) == 1 and not self._problem(found[0]):
            text, problem = found[0], None
        if problem:
            self._say(problem, bad=True)
        else:
            self.dismiss(find(self._model, text))

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._said.set_class(bad, "-bad")
        self._said.update(Content(text))

    def action_cancel(self) -> None:
        """Stay where we are."""
        self.dismiss(None)

    def on_click(self, event: events.Click) -> None:
        """A click beside the box closes it."""
        if event.widget is self:
            self.dismiss(None)
