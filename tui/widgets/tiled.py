"""A painted block whose lines are sent in parts.

Textual sends a line from a widget's left edge to its last changed cell. Where every cell has a colour of its own that
is kilobytes, so here the lines are shown by narrow tiles that stand side by side.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from .painted import Painted, changed_cells

TILES = 10
"""Sixteen cells each on a terminal of 160 columns."""


class Tile(Widget):
    """A part of the lines of the `Tiled` that holds it."""

    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, whole: "Tiled", number: int) -> None:
        super().__init__()
        self._whole = whole
        self._number = number
        self._shown: dict[int, Strip] = {}

    def render_line(self, y: int) -> Strip:
        """The part of the line that lies here."""
        self._shown[y] = strip = self._part(self._whole.parts(y))
        return strip

    def bring_up_to_date(self, y: int, parts: Sequence[Strip]) -> None:
        """Send the line, of which these are the parts, as far as it has changed here."""
        before, after = self._shown.get(y), self._part(parts)
        cells = self.size.width if before is None else changed_cells(before, after)
        if cells:
            self.refresh(Region(0, y, cells, 1))

    def _part(self, parts: Sequence[Strip]) -> Strip:
        return parts[self._number] if self._number < len(parts) else Strip.blank(self.size.width)


class Tiled(Painted):
    """Base of painted widgets with many colours on a line."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._tiles = [Tile(self, number) for number in range(TILES)]

    def compose(self) -> ComposeResult:
        """The tiles, from left to right."""
        yield from self._tiles

    def line(self, y: int) -> Strip:
        """One line."""
        return super().render_line(y)

    def parts(self, y: int) -> Sequence[Strip]:
        """The parts of a line that the tiles show."""
        return self.line(y).divide([tile.region.right - self.region.x for tile in self._tiles])

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - it lies under the tiles
        """Nothing: this would be divided and then covered."""
        return Strip.blank(self.size.width)

    def send(self, changed: Mapping[int, int]) -> None:
        """Send what has changed in each tile."""
        for y in changed:
            parts = self.parts(y)
            for tile in self._tiles:
                tile.bring_up_to_date(y, parts)

    def send_all(self) -> None:
        """Send every tile."""
        for tile in self._tiles:
            tile.refresh()
