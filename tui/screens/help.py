"""Help: the keys, the marks, and what each figure means, all from the lists that the program itself works by."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ..keys import KEYS, Owner
from ..widgets.figures import wrapped
from .overlay import Overlay

Part = tuple[str, str]
"""A piece of text and its style."""

DIM, BOLD, TITLE = "$dim", "bold", "bold $text-primary"

OWNERS: dict[Owner, str] = {
    "explorer": "Keys in the explorer",
    "heat": "Keys in the heat map",
    "findings": "Keys in the findings",
    "tree": "Keys in the tree",
    "table": "Keys in the table",
    "app": "Keys that work everywhere",
}

ADDRESSES = (
    ("12", "layer 12: its heads, side by side"),
    ("12.5", "head 5 of layer 12: its Q, K, V and O"),
    ("12.5.q", "one matrix of a head: q, k, v or o"),
    ("12.kv1.k", "one of a KV head: k or v"),
    ("12.q_proj", "a whole matrix of a layer; 12.whole is all of them"),
    ("lm_head", "a matrix outside the layers"),
    ("model", "the whole model: its layers, side by side"),
    ("a tensor", "by its full name: the whole matrix that it is"),
)

CURVES = (
    ("σ", "The singular values, largest first."),
    ("σ/σ₁", "The same ÷ the largest one: compares the shapes of curves."),
    ("energy", "The share of Σσ² that the values up to i hold."),
)

MARGIN, NAMES = 4, 14
"""Cells left free at the sides; cells for the first column."""


class Help(ModalScreen[None], Overlay[None]):
    """A page to scroll through. The keys of `here`, the screen below, come first, and those of other screens last."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,enter", "dismiss", "Close", show=False, id="help-close"),
        Binding("j", "scroll_page(1)", "Down", show=False, id="help-down"),
        Binding("k", "scroll_page(-1)", "Up", show=False, id="help-up"),
        Binding("g", "goto", "Go to…", show=False, id="help-goto"),
        Binding("E", "app.picture", "Save a picture", show=False, id="help-picture"),
    ]

    def __init__(self, k: int, here: Sequence[Owner]) -> None:
        super().__init__()
        self._k = k
        self._here = here
        self._page = VerticalScroll(id="help-page")
        self._text = Static(id="help-text")

    def compose(self) -> ComposeResult:
        """The page."""
        with self._page:
            yield self._text

    def on_resize(self, event: events.Resize) -> None:
        """Break the lines anew."""
        self._text.update(Content.assemble(*self._parts(event.size.width - 2 * MARGIN)))

    def action_scroll_page(self, lines: int) -> None:
        """Scroll by some lines."""
        self._page.scroll_relative(y=lines, animate=False)

    async def action_goto(self) -> None:
        """Ask for an address where this was opened."""
        below = self.app.screen_stack[-2]
        if hasattr(below, "action_goto"):
            self.dismiss()
            below.action_goto()

    def _parts(self, width: int) -> Iterator[Part]:
        from svdtui.engine.metrics import METRICS

        from ..marks import FLAWED, MARKS

        yield from [("svdtui", BOLD), ("   ↑ ↓ scroll, esc closes\n", DIM)]
        yield from self._keys([owner for owner in OWNERS if owner in self._here], width)
        marks = ((mark.shape, mark.word) for mark in (*MARKS.values(), FLAWED))
        yield from _section("Marks in the tree", marks, width)
        yield from _section("Addresses", ADDRESSES, width)
        yield from _section("Curves", CURVES, width)
        yield ("\nFigures", TITLE)
        yield ("   σ singular values, λ = σ², n of them, p = σ/Σσ\n", DIM)
        for metric in METRICS:
            yield from _entry(metric.label(self._k), metric.formula(self._k), width)
            source = f" ({metric.source.format(k=self._k)})" if metric.source else ""
            yield from _entry("", metric.meaning.format(k=self._k) + source, width, DIM)
        yield from self._keys([owner for owner in OWNERS if owner not in self._here], width)

    @staticmethod
    def _keys(owners: Iterable[Owner], width: int) -> Iterator[Part]:
        for owner in owners:
            yield from _section(OWNERS[owner], ((key.shown, key.tooltip) for key in KEYS if key.owner == owner), width)


def _section(title: str, entries: Iterable[tuple[str, str]], width: int) -> Iterator[Part]:
    yield (f"\n{title}\n", TITLE)
    for name, meaning in entries:
        yield from _entry(name, meaning, width)


def _entry(name: str, meaning: str, width: int, style: str = "") -> Iterator[Part]:
    """A name, and its meaning in as many lines as it needs beside it."""
    for number, line in enumerate(wrapped(meaning, width - NAMES, 9)):
        yield (f"  {'' if number else name:<{NAMES - 2}}", BOLD)
        yield (f"{line}\n", style)
