"""Help: the keys, the marks, and what each figure means, all from the lists that the program itself works by."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ..keys import KEYS, Owner

_TITLES: dict[Owner, str] = {
    "tree": "In the tree",
    "table": "In the table",
    "explorer": "Everywhere",
    "app": "The program",
}

_ADDRESSES = (
    ("12", "layer 12: a table of its heads"),
    ("12.5", "head 5 of layer 12: its Q, K, V and O"),
    ("12.5.q", "one matrix of a head: q, k, v or o"),
    ("12.q_proj", "a whole matrix of a layer"),
    ("lm_head", "a matrix outside the layers"),
)

_CURVES = (
    ("σ", "the singular values, largest first"),
    ("σ/σ₁", "the same ÷ the largest: compares the shapes of curves"),
    ("cumulative energy", "share of Σσ² in the values so far"),
)


class Help(ModalScreen[None]):
    """A page to scroll through."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,enter", "dismiss", "Close", show=False, id="help-close"),
        Binding("j", "scroll_page('down')", "Down", show=False, id="help-down"),
        Binding("k", "scroll_page('up')", "Up", show=False, id="help-up"),
    ]

    def __init__(self, k: int) -> None:
        super().__init__()
        self._k = k

    def compose(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(id="help-page"):
            yield Static(Content.assemble(*self._parts()), id="help-text")

    def action_scroll_page(self, direction: str) -> None:
        """Scroll by a line."""
        page = self.query_one("#help-page", VerticalScroll)
        (page.scroll_down if direction == "down" else page.scroll_up)(animate=False)

    def _parts(self) -> list[tuple[str, str]]:
        from svdtui.engine.metrics import METRICS

        from ..marks import FLAWED, MARKS

        parts: list[tuple[str, str]] = [("svdtui", "bold"), ("    ↑ ↓ scroll · esc closes\n", "$text-muted")]
        for owner, title in _TITLES.items():
            rows = [(key.shown, key.tooltip) for key in KEYS if key.owner == owner]
            parts += _section(title, rows, 10)
        marks = [(f"{mark.shape}  {mark.word}", "") for mark in (*MARKS.values(), FLAWED)]
        parts += _section("Marks in the tree", marks, 30)
        parts += _section("Addresses", list(_ADDRESSES), 12)
        parts += _section("Curves", list(_CURVES), 20)
        parts += [
            ("\nFigures", "bold $text-primary"),
            ("  σ singular values, λ = σ², n of them, p = σ/Σσ\n", "$text-muted"),
        ]
        for metric in METRICS:
            label, formula = metric.label(self._k), metric.formula(self._k)
            parts += [(f"  {label:<12}", "bold"), (f"{formula}\n", "")]
            source = f" ({metric.source.format(k=self._k)})" if metric.source else ""
            parts.append((f"{'':14}{metric.meaning.format(k=self._k)}{source}\n", "$text-muted"))
        return parts


def _section(title: str, rows: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    parts = [(f"\n{title}\n", "bold $text-primary")]
    for left, right in rows:
        parts += [(f"  {left:<{width}}", "bold"), (f"  {right}\n", "")]
    return parts
