"""The right side of the screen: curves above, figures below, in one widget.

One, because Textual sends the whole of a widget, twice, whenever its size changes; here the border between curves and
table moves without that.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from svdtui.engine.address import Address

from ..keys import bindings
from .painted import Line, Painted
from .rows import HEAD_LINES, Rows
from .stage import Look, Stage
from .table import Table
from .tree import WHEEL

if TYPE_CHECKING:
    from svdtui.engine.overview import Overview

    from ..scene import Scene
    from .overview_table import OverviewTable


class Results(Painted, can_focus=True):
    """Shows a scene. Keys move through its table while it has the focus."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("ink--dim", "ink--strong", "ink--busy", "ink--bad", "ink--warn", "ink--cursor"),
        *("ink--q", "ink--k", "ink--v", "ink--o", "ink--whole"),
        *("ink--q-band", "ink--k-band", "ink--v-band", "ink--o-band"),
        *("ink--pin-a", "ink--pin-b", "ink--pin-c", "ink--pin-d"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("table")]

    class Opened(Message):
        """The user asked for the matrix of a line."""

        def __init__(self, address: Address) -> None:
            super().__init__()
            self.address = address

    class Sorted(Message):
        """The user asked for heads or layers in the order of a column."""

        def __init__(self, by: str) -> None:
            super().__init__()
            self.by = by

    def __init__(self, k: int) -> None:
        super().__init__("results")
        self._title = ""
        self._stage = Stage()
        self._matrices = Table(k)
        self._overview: OverviewTable | None = None
        self._table: Rows = self._matrices
        self._table_only = False

    @property
    def has_table(self) -> bool:
        """Whether there are lines to move through."""
        return self._table.has_cursor

    @property
    def address(self) -> Address | None:
        """The matrix under the table's cursor, while keys go there."""
        return self._table.address if self.has_focus and self.has_table else None

    def show(self, scene: "Scene", look: Look) -> None:
        """Show another scene, or the same in another way."""
        self._table_only = scene.content is None
        moved, self._title = scene.title != self._title, scene.title
        if scene.content is not None:
            self._stage.show(scene.title, scene.content, look, letters=self.app.no_color)
        if scene.overview is not None:
            self._table = self._show_overview(scene.overview, scene.table_title, look)
        else:
            self._table = self._matrices
            self._matrices.show(
                scene.scope, scene.table_title, scene.entries, remarks=scene.remarks, hidden=look.hidden
            )
        if moved:
            self._table.follow()
        self.repaint()

    def _show_overview(self, seen: "Overview", title: str, look: Look) -> Rows:
        from .overview_table import OverviewTable

        self._overview = self._overview or OverviewTable()
        self._overview.show(seen, title, look)
        return self._overview

    def overview_text(self) -> str:
        """The table of heads or layers as it stands, tab-separated."""
        return self._overview.text() if self._overview else ""

    def overview_csv(self) -> str:
        """The medians and bands of the heads or layers that are shown; empty elsewhere."""
        is_shown = self._overview is not None and self._table is self._overview
        return self._overview.csv() if self._overview and is_shown else ""

    def paint(self, width: int, height: int) -> Iterator[Line]:
        """Curves and figures, or figures alone; a blank column on the left keeps them off the border."""
        split = self._split(height)
        inner = max(0, width - 1)
        upper = self._stage.lines(inner, split, self._table.number if self.has_focus else None) if split else []
        yield from ([(" ", ""), *line] for line in upper[:split])
        yield from ([] for _ in range(split - len(upper)))
        for line in self._table.lines(inner, height - split, focused=self.has_focus):
            yield [(" ", ""), *line]

    def _split(self, height: int) -> int:
        """The line on which the table begins."""
        if self._table_only:
            return 0
        return max(0, height - self._table.lines_beside_curves(height))

    def _change(self, change: Callable[[], None]) -> None:
        change()
        self.repaint()

    def scroll_columns(self, step: int) -> None:
        """Move the columns with figures."""
        self._change(lambda: self._table.scroll_columns(step))

    def action_up(self) -> None:
        """A line up."""
        self._change(lambda: self._table.move(-1))

    def action_down(self) -> None:
        """A line down."""
        self._change(lambda: self._table.move(1))

    def action_page(self, direction: int) -> None:
        """A page up or down."""
        self._change(lambda: self._table.page(direction))

    def action_end(self, direction: int) -> None:
        """The first or the last line."""
        self._change(lambda: self._table.end(direction))

    def action_left(self) -> None:
        """Earlier columns."""
        self.scroll_columns(-1)

    def action_right(self) -> None:
        """Later columns."""
        self.scroll_columns(1)

    def action_open(self) -> None:
        """Show the matrix of the line under the cursor."""
        if self._table.has_cursor and self._table.address is not None:
            self.post_message(self.Opened(self._table.address))

    def on_focus(self) -> None:
        """The cursor shows only while keys go here."""
        self.repaint()

    def on_blur(self) -> None:
        """The cursor shows only while keys go here."""
        self.repaint()

    def on_click(self, event: events.Click) -> None:
        """A click selects a line; twice, it opens it. One on the head of a column sorts."""
        y = event.y - self._split(self.size.height)
        index = self._table.index_at(y)
        if y == HEAD_LINES - 1 and (by := self._table.heading_at(event.x - 1)) is not None:
            if self._table is self._matrices:
                self._change(lambda: self._matrices.sort(by))
            else:
                self.post_message(self.Sorted(by))
        elif index is not None:
            self._change(lambda: self._table.move_to(index))
            if event.chain == 2:
                self.action_open()

    def on_mouse_scroll_down(self) -> None:
        """The wheel scrolls the table."""
        self._change(lambda: self._table.scroll_lines(WHEEL))

    def on_mouse_scroll_up(self) -> None:
        """The wheel scrolls the table."""
        self._change(lambda: self._table.scroll_lines(-WHEEL))
