"""The tree of layers, heads and matrices, with a mark for the state of each."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from svdtui.engine.address import Address
from svdtui.engine.model import Model

from ..keys import bindings
from .outline import Node, Outline
from .painted import Line, Painted, clipped

if TYPE_CHECKING:
    from ..marks import Mark

WHEEL = 3
"""Lines that the mouse's wheel scrolls."""

MARGIN = 2
"""Rows kept between the cursor and the edge while there is more beyond it."""


class ModelTree(Painted, can_focus=True):
    """Moves a cursor through an `Outline`. `mark` tells the state of a node."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "ink--dim",
        "ink--good",
        "ink--busy",
        "ink--bad",
        "ink--cursor",
        "ink--cursor-away",
        "ink--strong",
    }
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tree")]

    class Moved(Message):
        """The cursor is on another node."""

        def __init__(self, node: Node) -> None:
            super().__init__()
            self.node = node

        def can_replace(self, message: Message) -> bool:
            """Only where the cursor ends up matters."""
            return isinstance(message, ModelTree.Moved)

    def __init__(self, model: Model, mark: "Callable[[Node], Mark | None]") -> None:
        super().__init__("tree")
        self.outline = Outline(model)
        self._mark = mark
        self._cursor = 0
        self._top = 0
        self._is_scrolled = False
        """Whether the user has turned the wheel since the cursor moved: it may be out of view."""
        self._announced = self.node.key

    @property
    def node(self) -> Node:
        """The node under the cursor."""
        return self.outline[self._cursor]

    def select(self, address: Address, *, tidy: bool = False) -> None:
        """Put the cursor on a place, opening what holds it; with `tidy`, close the branches that are left behind."""
        if tidy:
            self.outline.close_others(address)  # stepping from layer to layer leaves no trail
        self._move(self.outline.reveal(address))

    def paint(self, width: int, height: int) -> Iterator[Line]:
        """The visible part of the outline."""
        if not self._is_scrolled:
            self._keep_in_view(height)
        self._top = max(0, min(self._top, len(self.outline) - height))
        for index in range(self._top, min(self._top + height, len(self.outline))):
            yield self._line(index, width)

    def _line(self, index: int, width: int) -> Line:
        node = self.outline[index]
        twig = ("▾ " if self.outline.is_open(node) else "▸ ") if node.expandable else "  "
        start = "  " * max(0, node.depth - 1) + ("" if node.kind == "model" else twig)
        mark = self._mark(node)
        room = width - len(start) - 3
        label = clipped(node.label, room)
        detail = f" {node.detail}" if node.detail and len(label) + len(node.detail) < room else ""
        pad = " " * max(0, room + 1 - _cells(label) - len(detail))
        shape = mark.shape if mark else " "
        if index == self._cursor:
            ink = "cursor" if self.has_focus else "cursor-away"
            return [(f"{start}{label}{detail}{pad}{shape} ", ink)]
        name = "strong" if node.kind == "model" else ""
        return [(start, "dim"), (label, name), (detail, "dim"), (pad, ""), (shape, mark.ink if mark else ""), (" ", "")]

    def _keep_in_view(self, height: int) -> None:
        """Scroll by a third of the screen when the cursor reaches an edge: each scroll sends every line again."""
        margin = min(MARGIN, (height - 1) // 2)
        step = height // 3
        if self._cursor < self._top + margin:
            self._top = self._cursor - margin - step if self._cursor > margin else 0
        elif self._cursor > self._top + height - 1 - margin:
            self._top = self._cursor + margin + 1 + step - height

    def _move(self, index: int) -> None:
        self._cursor = max(0, min(index, len(self.outline) - 1))
        self._is_scrolled = False
        self.repaint()
        if self.node.key != self._announced:
            self._announced = self.node.key
            self.post_message(self.Moved(self.node))

    def action_up(self) -> None:
        """One line up."""
        self._move(self._cursor - 1)

    def action_down(self) -> None:
        """One line down."""
        self._move(self._cursor + 1)

    def action_page(self, direction: int) -> None:
        """A page up or down."""
        self._move(self._cursor + direction * max(1, self.size.height - 2 * MARGIN))

    def action_end(self, direction: int) -> None:
        """The first or the last line."""
        self._move(len(self.outline) - 1 if direction > 0 else 0)

    def action_collapse(self) -> None:
        """Close the node; on a closed one, go to its parent."""
        if self.outline.collapse(self._cursor):
            self._is_scrolled = False
            self.repaint()
        else:
            self._move(self.outline.parent(self._cursor))

    def action_expand(self) -> None:
        """Open the node; on an open one, go to its first child."""
        if self.outline.is_open(self.node):
            self._move(self._cursor + 1)
        else:
            self._expand()

    def action_open_close(self) -> None:
        """Open or close the node."""
        if self.outline.collapse(self._cursor):
            self._is_scrolled = False
            self.repaint()
        else:
            self._expand()

    def _expand(self) -> None:
        """Open the node, scrolling so that what appeared is in view as far as the node itself stays."""
        appeared = self.outline.expand(self._cursor)
        bottom = self._cursor + appeared + MARGIN
        if bottom >= self._top + self.size.height:
            self._top = min(self._cursor - MARGIN, bottom - self.size.height + 1)
        self._is_scrolled = False
        self.repaint()

    def on_focus(self) -> None:
        """The cursor is drawn stronger while keys go here."""
        self.repaint()

    def on_blur(self) -> None:
        """The cursor is drawn weaker while keys go elsewhere."""
        self.repaint()

    def on_resize(self) -> None:
        """The cursor stays in view."""
        self.repaint()

    def on_click(self, event: events.Click) -> None:
        """A click selects; on the arrow, or twice, it also opens or closes."""
        index = self._top + event.y
        if index < len(self.outline):
            self._move(index)
            on_arrow = event.x < 2 * max(1, self.node.depth)
            if on_arrow or event.chain == 2:
                self.action_open_close()

    def on_mouse_scroll_down(self) -> None:
        """The wheel scrolls, and selects nothing."""
        self._scroll(WHEEL)

    def on_mouse_scroll_up(self) -> None:
        """The wheel scrolls, and selects nothing."""
        self._scroll(-WHEEL)

    def _scroll(self, lines: int) -> None:
        self._top += lines
        self._is_scrolled = True
        self.repaint()


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
