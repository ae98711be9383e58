"""Lines with a cursor, of which some are in view, and columns that scroll sideways: what tables have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from svdtui.engine.address import Address

from .columns import NARROW
from .painted import Line

HEAD_LINES = 2
"""Lines above the entries: the title and the headings."""

TABLE_LINES = 9
"""Lines of the lower part while there are curves above it: all figures of a matrix, or four lines and remarks."""


class Wide(Protocol):
    """A column, as far as room is concerned."""

    @property
    def width(self) -> int:
        """Cells."""


AnyColumn = TypeVar("AnyColumn", bound=Wide)


class Rows(ABC):
    """Where the cursor of a table is and what is in view."""

    def __init__(self) -> None:
        self._cursor = 0
        self._top = 0
        self._first = 0
        self._size = (0, 0)
        self._is_scrolled = False
        """Whether the user has turned the wheel since the cursor moved: it may be out of view."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many lines there are."""

    @property
    @abstractmethod
    def address(self) -> Address | None:
        """What the line under the cursor leads to."""

    @property
    def number(self) -> int | None:
        """The head or layer under the cursor, where the curves above are drawn against it."""
        return None

    @abstractmethod
    def lines(self, width: int, height: int, *, focused: bool) -> Iterator[Line]:
        """What is drawn."""

    def lines_beside_curves(self, height: int) -> int:  # noqa: ARG002 - a few matrices take what they take
        """How many of `height` lines it has below curves."""
        return 0 if self.is_empty else TABLE_LINES

    @abstractmethod
    def _last_first(self) -> int:
        """The furthest that columns scroll: until the last one is in view."""

    @property
    def has_cursor(self) -> bool:
        """Whether there are lines to move through."""
        return self.count > 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return self.count == 0

    def move_to(self, index: int) -> None:
        """Put the cursor on a line."""
        self._cursor = max(0, min(index, self.count - 1))
        self._is_scrolled = False

    def move(self, step: int) -> None:
        """Move the cursor by some lines."""
        self.move_to(self._cursor + step)

    def page(self, direction: int) -> None:
        """Move the cursor by as many lines as are in view."""
        self.move(direction * max(1, self._size[1] - HEAD_LINES - 1))

    def end(self, direction: int) -> None:
        """Move the cursor to the first or the last line."""
        self.move_to(self.count - 1 if direction > 0 else 0)

    def index_at(self, y: int) -> int | None:
        """Which entry is drawn on line `y` of the table."""
        index = self._top + y - HEAD_LINES
        return index if self.has_cursor and y >= HEAD_LINES and index < self.count else None

    @abstractmethod
    def heading_at(self, x: int) -> str | None:
        """The name of the column whose heading is drawn at `x`."""

    def scroll_lines(self, step: int) -> None:
        """Show other lines; the cursor stays where it is."""
        self._top += step
        self._is_scrolled = True

    def follow(self) -> None:
        """Show the lines around the cursor again."""
        self._is_scrolled = False

    def scroll_columns(self, step: int) -> None:
        """Move the columns with figures."""
        self._first = max(0, min(self._first + step, self._last_first()))

    def _in_view(self, room: int) -> range:
        """The lines that are drawn in `room` of them, the cursor's among them unless the user scrolled away."""
        if not self._is_scrolled:
            self._top = max(min(self._top, self._cursor), self._cursor - room + 1)
        self._top = max(0, min(self._top, self.count - room))
        return range(self._top, min(self._top + room, self.count))

    def _position(self, room: int) -> str:
        """`1–40 of 128`, where not all lines are in view."""
        if self.count <= room or room <= 0:
            return ""
        return f"{self._top + 1}–{min(self._top + room, self.count)} of {self.count:,}"


def gap_of(width: int) -> str:
    """What stands between columns."""
    return " " if width < NARROW else "  "


def fitting(columns: Sequence[AnyColumn], room: int, gap: int) -> list[AnyColumn]:
    """The first of `columns`, as many as fit into `room` cells."""
    found: list[AnyColumn] = []
    for column in columns:
        room -= column.width + (gap if found else 0)
        if room < 0:
            break
        found.append(column)
    return found


def scrolled_words(before: int, after: int) -> str:
    """`columns < 2 3 >`: how many columns are out of view at each side."""
    words = " ".join(filter(None, (f"< {before}" if before else "", f"{after} >" if after else "")))
    return f"columns {words}" if words else ""
