"""A widget that is a block of painted lines, and that sends only the lines that changed.

Over SSH every byte counts. Textual's own widgets send themselves whole when they scroll or update; here the new lines
are compared with those on screen, and a line is sent up to its last changed cell.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Span = tuple[str, str]
"""A piece of a line: the text, and the name of its ink (empty for the widget's own colours)."""

Line = Sequence[Span]


class Painted(Widget):
    """Base of the widgets that paint. A subclass gives `paint`, and calls `repaint` when what it shows has changed.

    An ink is a component class: `dim` is drawn in the colours that the stylesheet gives `.ink--dim`.
    """

    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, name: str | None = None) -> None:
        super().__init__(id=name)
        self._lines: list[Line] = []
        self._strips: list[Strip] = []
        self._stale = False
        self._inks: dict[str, Style] = {}

    def paint(self, width: int, height: int) -> Iterable[Line]:
        """The lines of a block of `width` × `height` cells; missing ones are blank, spare ones are left out.

        A line that is the very same object as before counts as unchanged.
        """
        raise NotImplementedError

    def repaint(self) -> None:
        """Bring the screen up to date with what `paint` now says."""
        if not (self.is_mounted and self.size and self.display):
            return
        fits, old = self._fits(), self._strips
        self._strips = self._painted()
        if not fits:
            self.send_all()
            return
        changed = {
            y: cells
            for y, (before, after) in enumerate(zip(old, self._strips, strict=True))
            if before is not after and (cells := changed_cells(before, after))
        }
        if changed:
            self.send(changed)

    def send(self, changed: Mapping[int, int]) -> None:
        """Send the lines that changed, each as many cells from the left as are given for it."""
        self.refresh(*(Region(0, y, cells, 1) for y, cells in changed.items()))

    def send_all(self) -> None:
        """Send everything."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line, as the compositor wants it."""
        if self._stale or not self._fits():
            self._strips = self._painted()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)

    def notify_style_update(self) -> None:
        """Ask for the inks anew: the theme, a class or a pseudo class has changed."""
        super().notify_style_update()
        self._inks.clear()
        self._stale = True
        self.call_later(self.repaint)

    def ink(self, name: str) -> Style:
        """The colours of an ink on this widget's ground."""
        found = self._inks.get(name)
        if found is None:
            found = self.get_component_rich_style(f"ink--{name}") if name else self.rich_style
            self._inks[name] = found
        return found

    def _fits(self) -> bool:
        """Whether the lines were painted for the widget's present size."""
        sizes = {strip.cell_length for strip in self._strips[:1]}
        return len(self._strips) == self.size.height and sizes == {self.size.width}

    def _painted(self) -> list[Strip]:
        width, height = self.size
        before = {} if self._stale or not self._fits() else dict(zip(map(id, self._lines), self._strips, strict=False))
        self._stale = False
        lines = [line for line, _ in zip(self.paint(width, height), range(height), strict=False)]
        strips = [before.get(id(line)) or self._strip(line, width) for line in lines]
        self._lines = lines
        blank = self._strip((), width)
        return strips + [blank] * (height - len(strips))

    def _strip(self, line: Line, width: int) -> Strip:
        """A line exactly `width` cells wide, as few segments as its inks need."""
        segments: list[Segment] = []
        left = width
        for whole, ink in line:
            cells = len(whole) if whole.isascii() else cell_len(whole)
            text = whole if cells <= left else set_cell_size(whole, left)
            if cells := min(cells, left):
                style = self.ink(ink)
                if segments and text.isspace() and _same_ground(segments[-1].style, style):
                    style = segments[-1].style or style
                segments.append(Segment(text, style))
                left -= cells
        if left:
            segments.append(Segment(" " * left, self.ink(line[-1][1] if _fills(line) else "")))
        return Strip(segments, width).simplify()


def _same_ground(one: Style | None, other: Style) -> bool:
    """Whether blanks look the same in two inks, so that they need no change of colour."""
    return one is not None and one.bgcolor == other.bgcolor and not (one.reverse or other.reverse or one.underline)


def _fills(line: Line) -> bool:
    """Whether the last ink goes on to the end of the line, as a bar's does."""
    return bool(line) and line[-1][1].startswith("cursor")


def changed_cells(before: Strip, after: Strip) -> int:
    """How many cells from the left must be sent to turn one line into the other; 0 when they are equal."""
    old, new = list(before), list(after)
    if old == new:
        return 0
    if before.cell_length != after.cell_length:
        return after.cell_length
    end = after.cell_length
    while old and new and old[-1] == new[-1]:
        end -= cell_len(new.pop().text)
        old.pop()
    if old and new and old[-1].style == new[-1].style:
        one, other = old[-1].text, new[-1].text
        if one.isascii() and other.isascii():
            same = 0
            while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
                same += 1
            end -= same
    return end


def clipped(text: str, cells: int) -> str:
    """`text` in at most `cells` cells, with `…` for what does not fit."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, max(0, cells - 1)).rstrip() + "…" if cells > 0 else ""
