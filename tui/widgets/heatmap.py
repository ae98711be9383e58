"""The heat map: layers from top to bottom, heads from left to right, a shade for each figure, and a cursor.

Imported after the first frame: it brings numpy.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from rich.color import Color
from rich.style import Style
from textual import events
from textual.message import Message

from ..colours import Depth, depth_of
from ..contrast import Colour
from .colourmap import contrast, palette
from .figures import wrapped
from .headings import heading
from .heat_axis import column_numbers, layer_label
from .heat_cells import INK, PLAIN_TEXTURES, TEXTURES, coloured, halved, textured, textures
from .heat_legend import legend_line
from .heat_plan import GAP, Plan, plan, scrolled
from .heat_profile import bar, bar_width
from .heat_scale import MISSING, UNDEFINED, ZERO, Scale, codes
from .painted import Line, Span
from .tiled import Tiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from svdtui.engine.grid import Grid

    Array = NDArray[np.float64]

AROUND = 4
"""Lines around the cells: the title, the numbers of the columns, the legend, the read-out."""


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """All that a heat map shows, the cursor aside."""

    grid: "Grid"
    scale: Scale | None
    title: str
    heads: str
    """What a column is: `head` or `KV head`."""
    label: str
    """The metric's heading."""
    text: Callable[[float], str]
    """Writes a value of the metric."""
    note: str
    """A sentence on the metric, for where there is room."""


class HeatMap(Tiled):
    """Draws a chart.

    `read_out` tells the cell under the cursor: layer and column, both counted from 0, and the cells it has for that.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("ink--dim", "ink--strong", "ink--cursor", "ink--good", "ink--busy", "ink--bad", "ink--bar"),
    }

    class Opened(Message):
        """The user asked for the cell under the cursor."""

    def __init__(self, chart: Chart, cursor: tuple[int, int], read_out: Callable[[int, int, int], Line]) -> None:
        super().__init__("heat")
        self._chart = chart
        self._read_out = read_out
        self._layer, self._column = cursor
        self._top = self._left = 0
        self._is_scrolled = False
        """Whether the user has turned the wheel since the cursor moved: it may be out of view."""
        self._plan = Plan(0, 0, 1, 1, 1, 1, 1)
        self._palette: Sequence[Colour] = ()
        self._codes: list[list[int]] = []
        self._present: set[int] = set()
        self._shares: list[float] = []
        self._rows: dict[int, Line] = {}
        self._laid_out_for: tuple[object, ...] = ()

    @property
    def cursor(self) -> tuple[int, int]:
        """Layer and column of the cell under the cursor, both counted from 0."""
        return self._layer, self._column

    def show(self, chart: Chart) -> None:
        """Show another chart; the cursor stays where it is, as far as there is such a cell."""
        self._chart = chart
        self.move_to(self._layer, self._column)

    def move_to(self, layer: int, column: int) -> None:
        """Put the cursor on a cell, or on the nearest one there is."""
        layers, columns = self._chart.grid.values.shape
        self._layer, self._column = max(0, min(layer, layers - 1)), max(0, min(column, columns - 1))
        self._is_scrolled = False
        self.repaint()

    def move(self, layers: int, columns: int) -> None:
        """Move the cursor."""
        self.move_to(self._layer + layers, self._column + columns)

    @property
    def page(self) -> int:
        """How many layers a page is."""
        return max(1, self._plan.layers - 1)

    # drawing -------------------------------------------------------------------------------------

    def paint(self, width: int, height: int) -> Iterator[Line]:
        """Title, column numbers, cells, legend and read-out; a blank column on both sides."""
        inner = max(1, width - 2)
        self._lay_out(inner, max(1, height - AROUND))
        self._follow()
        chart = self._chart
        yield [(" ", ""), *self._heading(inner)]
        yield [(" ", ""), *self._axis(inner)]
        cursor_row = (self._layer - self._top) // self._plan.per_row % self._plan.rows
        for row in range(self._plan.rows):
            if row == cursor_row:
                yield self._row(row, inner)
            else:
                if row not in self._rows:
                    self._rows[row] = self._row(row, inner)
                yield self._rows[row]
        spare = height - AROUND - self._plan.rows
        if spare > 3:
            yield []
        yield [(" ", ""), *legend_line(chart.scale, chart.text, self._swatches(), self._present, inner)]
        for line in wrapped(chart.note, inner, min(2, spare - 1)) if spare > 1 else []:
            yield [(f" {line}", "dim")]
        if spare > 0:
            yield []
        yield [(" ", ""), *self._read_out(self._layer, self._column, inner)]

    def _lay_out(self, width: int, height: int) -> None:
        """Work out plan and shades, unless they are those of the last time."""
        depth = depth_of(self.app)
        now = (self._chart, width, height, depth)
        if self._laid_out_for == now:
            return
        self._laid_out_for = now
        self._rows.clear()
        grid, scale = self._chart.grid, self._chart.scale
        layers, columns = grid.values.shape
        digits = len(str(grid.layers[-1]))
        self._palette = () if depth is Depth.FEW else palette(many=depth is Depth.MANY)
        self._plan = plan(layers, columns, digits, width, height, halves=bool(self._palette))
        found = codes(grid.values, grid.computed, scale, self._shades())
        self._codes = found.tolist()
        self._present = {code for code in (MISSING, UNDEFINED, ZERO) if (found == code).any()}
        self._shares = [] if scale is None else scale.positions(medians(grid.values)).tolist()

    def _shades(self) -> int:
        return len(self._palette) or len(PLAIN_TEXTURES if self._plan.cell == 1 else TEXTURES)

    def _follow(self) -> None:
        """Scroll so that the cursor is in view, unless the user has scrolled away from it."""
        if self._is_scrolled:
            return
        layers, columns = self._chart.grid.values.shape
        top = scrolled(self._top, self._layer, self._plan.layers, layers, self._plan.per_row)
        left = scrolled(self._left, self._column, self._plan.columns, columns)
        if (top, left) != (self._top, self._left):
            self._top, self._left = top, left
            self._rows.clear()

    def _heading(self, width: int) -> Line:
        """`─ Q · top-10 · layer × head ──────── layers 24–97 of 128 · heads 0–73 of 128 ─`."""
        grid, shown = self._chart.grid, self._plan
        layers, columns = grid.values.shape
        parts = []
        if shown.layers < layers:
            last = min(self._top + shown.layers, layers) - 1
            parts.append(f"layers {grid.layers[self._top]}–{grid.layers[last]} of {layers}")
        if shown.columns < columns:
            parts.append(f"{self._chart.heads}s {self._left}–{self._left + shown.columns - 1} of {columns}")
        in_view = " · ".join(parts)
        if not grid.computed.all():
            parts.append(f"{int(grid.computed.sum())} of {layers} layers computed")
        title = self._chart.title
        return heading([title, title.rpartition(" · ")[0] or title], width, [" · ".join(parts), in_view])

    def _axis(self, width: int) -> Line:
        """The numbers of the columns above each band; that of the cursor stands out."""
        shown = self._plan
        spans: list[Span] = []
        at_cursor = (self._layer - self._top) // (shown.per_row * shown.rows)
        for band in range(shown.bands):
            cursor = self._column - self._left if band == at_cursor else None
            spans.append((" " * (GAP * (band > 0) + shown.label), ""))
            spans += column_numbers(self._left, shown.columns, shown.cell, cursor)
        if self._bar_width(width):
            spans.append((" " * GAP + "layer median", "dim"))
        return spans

    def _row(self, row: int, width: int) -> Line:
        """A line of cells, with the number of the layer before each band."""
        spans: list[Span] = [(" ", "")]
        for band in range(self._plan.bands):
            if band:
                spans.append((" " * GAP, ""))
            layers = [self._top + i for i in self._plan.layers_at(band, row) if self._top + i < len(self._codes)]
            if not layers:
                continue
            here = self._layer in layers
            number = self._chart.grid.layers[self._layer if here else layers[0]]
            spans.append(layer_label(number, self._plan.label, cursor=here))
            for column in range(self._left, self._left + self._plan.columns):
                spans += self._cell(layers, column, here=here and column == self._column)
            if longest := self._bar_width(width):
                spans += [(" " * GAP, ""), bar([self._shares[layer] for layer in layers], longest)]
        return spans

    def _cell(self, layers: Sequence[int], column: int, *, here: bool) -> list[Span]:
        code, width = self._codes[layers[0]][column], self._plan.cell
        if not self._palette:
            return textured(code, width, cursor=here)
        if self._plan.per_row == 1:
            return coloured(code, width, cursor=here)
        below = self._codes[layers[1]][column] if len(layers) > 1 else None
        return halved(code, below, width, layers.index(self._layer) if here else None)

    def _bar_width(self, width: int) -> int:
        """Cells for the bars at the right; there are none beside bands, nor before the first value."""
        if self._plan.bands > 1 or not self._shares:
            return 0
        return bar_width(width - self._plan.width - GAP)

    def _swatches(self) -> list[Span]:
        """One of each shade, for the legend."""
        if self._palette:
            return [(" ", f"{INK}-/{code}") for code in range(len(self._palette))]
        return [(text, "") for text in textures(min(2, self._plan.cell))]

    def ink(self, name: str) -> Style:
        """Inks of cells are made of the palette, all others come from the stylesheet."""
        if not name.startswith(INK) or name in self._inks:
            return super().ink(name)
        front, _, ground = name.removeprefix(INK).partition("/")
        base = super().ink("")
        self._inks[name] = base + Style(color=self._rich(front), bgcolor=self._rich(ground), bold="!" in front)
        return self._inks[name]

    def _rich(self, code: str) -> Color | None:
        """A part of an ink (see `heat_cells`) as a colour; None for the screen's own."""
        if code == "-":
            return None
        colour = self._palette[int(code.rstrip("!"))]
        return Color.from_rgb(*(contrast(colour) if code.endswith("!") else colour))

    def notify_style_update(self) -> None:
        """The inks change with the theme."""
        super().notify_style_update()
        self._laid_out_for = ()

    # mouse ---------------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; twice, it opens the cell."""
        x, y = event.screen_x - self.region.x - 1, event.screen_y - self.region.y - 2
        found = self._plan.cell_at(x, y)
        if found is not None:
            self.move_to(self._top + found[0], self._left + found[1])
            if event.chain == 2:
                self.post_message(self.Opened())

    def on_mouse_scroll_down(self) -> None:
        """The wheel scrolls, and selects nothing."""
        self._scroll(1)

    def on_mouse_scroll_up(self) -> None:
        """The wheel scrolls, and selects nothing."""
        self._scroll(-1)

    def _scroll(self, direction: int) -> None:
        """Show other layers, a third of those in view further; the cursor stays where it is."""
        shown, count, step = self._plan.layers, len(self._codes), self._plan.per_row
        further = -(-shown // 3 // step) * step
        last = -(-max(0, count - shown) // step) * step
        self._top = min(max(0, self._top + direction * further), last)
        self._is_scrolled = True
        self._rows.clear()
        self.repaint()


def medians(values: "Array") -> "Array":
    """The median of each row of (layers, slices), NaN where it has no value."""
    found = np.full(len(values), np.nan)
    some = ~np.isnan(values).all(1)
    if some.any():
        found[some] = np.nanmedian(values[some], 1)
    return found
