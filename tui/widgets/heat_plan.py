"""How a heat map is laid out in a block of text: how wide a cell, how many layers on a line, in how many bands."""

from dataclasses import dataclass

MARGIN = 2
"""Cells beside a layer's number: a mark before it, a space after it."""

GAP = 2
"""Cells between two bands."""

WIDEST = 8
"""Columns of the widest cell: three KV heads should not fill the screen."""

COMFORT = 3
"""Columns of a cell from which on room beside the map is worth more than wider cells."""

BESIDE = 16
"""Columns of that room: for the layers' medians."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where layers and columns go. Bands stand side by side, each holding the layers after those of the one before."""

    layers: int
    """Layers in view."""
    columns: int
    """Columns in view."""
    cell: int
    """Width of a cell."""
    per_row: int
    """Layers on a line of text: 1, or 2 where each gets half of it."""
    rows: int
    """Lines of text."""
    bands: int
    label: int
    """Width of the layer numbers with their margins."""

    @property
    def band(self) -> int:
        """Width of a band."""
        return self.label + self.columns * self.cell

    @property
    def width(self) -> int:
        """Width of all bands."""
        return self.bands * self.band + (self.bands - 1) * GAP

    def layers_at(self, band: int, row: int) -> range:
        """The layers on a line of a band, counted from the first one in view."""
        first = (band * self.rows + row) * self.per_row
        return range(first, min(first + self.per_row, self.layers))

    def cell_at(self, x: int, y: int) -> tuple[int, int] | None:
        """Layer and column at `x` on line `y`, counted from the first ones in view; of two layers the upper."""
        band, rest = divmod(x, self.band + GAP)
        column = (rest - self.label) // self.cell
        if not (0 <= band < self.bands and 0 <= y < self.rows and 0 <= column < self.columns):
            return None
        found = self.layers_at(band, y)
        return (found.start, column) if found else None


def plan(layers: int, columns: int, digits: int, width: int, height: int, *, halves: bool) -> Plan:
    """The layout that shows as much as possible: whole lines, then half lines (with `halves`), then bands, then a part.

    `digits` is how many the largest layer number has; `width` × `height` is the block for the cells and their labels.
    """
    height, label = max(1, height), digits + MARGIN
    per_row = 2 if halves and layers > height else 1
    lines = -(-layers // per_row)
    bands = -(-lines // height)
    if bands * (label + columns) + (bands - 1) * GAP > width:
        bands = 1
    rows = min(height, -(-lines // bands))
    room = max(1, (width - (bands - 1) * GAP) // bands - label)
    beside = (room - BESIDE) // columns if bands == 1 else 0
    cell = max(1, min(WIDEST, beside if beside >= COMFORT else room // columns))
    return Plan(min(layers, rows * per_row * bands), min(columns, room // cell), cell, per_row, rows, bands, label)


def scrolled(first: int, cursor: int, shown: int, count: int, step: int = 1) -> int:
    """The first of `shown` out of `count` in view, moved by a third of them when the cursor would leave them.

    It is a multiple of `step`, so that layers that share a line go on sharing it. A scroll sends every cell again:
    better seldom and far than with every key.
    """
    third = shown // 3
    if cursor < first:
        first = (cursor - third) // step * step
    elif cursor >= first + shown:
        first = -(-(cursor - shown + 1 + third) // step) * step
    last = -(-max(0, count - shown) // step) * step
    return min(max(0, first), last)
