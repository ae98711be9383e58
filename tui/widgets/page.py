"""A page of lines to scroll through."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from .painted import Line, Painted

Lay = Callable[[int], Sequence[Line]]
"""The page's lines for a width."""


class Page(Painted, can_focus=True):
    """Shows as many lines as fit; the last column says where they are in the page."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("ink--dim", "ink--strong", "ink--key"),
        *("ink--good", "ink--busy", "ink--warn", "ink--bad"),
    }

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._lay: Lay = lambda width: ()
        self._laid: tuple[int, Sequence[Line]] | None = None
        self._top = 0

    def show(self, lay: Lay, *, keep_place: bool = False) -> None:
        """Show another page, from its beginning."""
        self._lay, self._laid = lay, None
        self._top = self._top if keep_place else 0
        self.repaint()

    def scroll_lines(self, count: int) -> None:
        """Down by some lines, or up."""
        self.scroll_to_line(self._top + count)

    def scroll_pages(self, count: int) -> None:
        """Down by some screens, or up; one line stays in view."""
        self.scroll_lines(count * max(1, self.size.height - 1))

    def scroll_to_line(self, line: int) -> None:
        """Bring a line to the top, as far as the page goes."""
        self._top = line
        self.repaint()

    def paint(self, width: int, height: int) -> Iterator[Line]:
        """The lines in view, and a mark at the right."""
        if self._laid is None or self._laid[0] != width:
            self._laid = width, self._lay(max(1, width - 4))
        lines = self._laid[1]
        self._top = max(0, min(self._top, len(lines) - height))
        mark = height * self._top // max(1, len(lines) - height) if len(lines) > height else -1
        for row, line in enumerate(lines[self._top : self._top + height]):
            shown = [(" ", ""), *line]
            if row == min(mark, height - 1):
                used = sum(len(text) for text, _ in shown)
                shown.append((" " * max(0, width - 1 - used) + "█", "dim"))
            yield shown

    def on_mouse_scroll_down(self) -> None:
        """The wheel scrolls."""
        self.scroll_lines(3)

    def on_mouse_scroll_up(self) -> None:
        """The wheel scrolls."""
        self.scroll_lines(-3)
