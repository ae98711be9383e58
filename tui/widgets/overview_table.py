"""The table of a layer's heads, or of the model's layers: a line each, sorted by a column.

Imported after the first frame: it brings numpy.
"""

from collections.abc import Iterator, Sequence
from math import isnan
from typing import TYPE_CHECKING

from svdtui.engine.address import Address

from ..formats import MISSING
from ..listing import ASCENDING, BY_NUMBER, DESCENDING, Listing, order
from .columns import PENDING
from .headings import table_heading
from .overview_columns import (
    FLAWED,
    RANGE,
    RANGE_WIDTH,
    FigureColumn,
    column_names,
    figure_columns,
    metric_info,
)
from .painted import Line, Span
from .rows import HEAD_LINES, TABLE_LINES, Rows, fitting, gap_of, scrolled_words

if TYPE_CHECKING:
    from svdtui.engine.overview import Overview

    from .stage import Look


class OverviewTable(Rows):
    """The figures of heads or layers. The cursor stays on its head while lines are sorted and figures arrive."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: Overview | None = None
        self._title = ""
        self._columns: Sequence[FigureColumn] = ()
        self._listing = Listing()
        self._metric = ""
        self._descends = False
        self._order: Sequence[int] = ()
        self._was_on: dict[str, int] = {}
        self._must_show: str | None = None
        self._places: list[tuple[int, str]] = []
        """Where the headings end, and what they sort by."""

    def show(self, seen: "Overview", title: str, look: "Look") -> None:
        """Show other figures, or the same in another order."""
        if self._seen is not None and self._order:
            self._was_on[self._seen.address.scope] = self._seen.numbers[self._order[self._cursor]]
        names = column_names(seen, look)
        if (look.listing, look.metric) != (self._listing, self._metric):
            wished = look.listing.by if look.metric == self._metric else look.metric
            self._must_show = wished if wished in names else None
        self._seen, self._title = seen, title
        self._listing, self._metric = look.listing, look.metric
        self._columns = figure_columns(seen, look)
        by = next((column.values for column in self._columns if column.name == look.listing.by), None)
        self._descends = look.listing.descends(names)
        self._order = order(by, len(seen.numbers), descending=self._descends)
        number = self._was_on.get(seen.address.scope, seen.numbers[0])
        at = seen.numbers.index(number) if number in seen.numbers else 0
        self._cursor = list(self._order).index(at)

    @property
    def count(self) -> int:
        """How many heads or layers there are."""
        return len(self._order)

    @property
    def number(self) -> int | None:
        """The head or layer under the cursor."""
        return None if self._seen is None else self._seen.numbers[self._order[self._cursor]]

    @property
    def address(self) -> Address | None:
        """The head or layer under the cursor."""
        return None if self._seen is None or self.number is None else self._seen.place(self.number)

    def lines_beside_curves(self, height: int) -> int:
        """Half of the room, or what the lines need."""
        return min(max(TABLE_LINES, height // 2), self.count + HEAD_LINES)

    # drawing -------------------------------------------------------------------------------------

    def lines(self, width: int, height: int, *, focused: bool) -> Iterator[Line]:
        """Title, headings and as many lines as fit."""
        self._size = (width, height)
        if self._seen is None:
            return
        room = max(0, height - HEAD_LINES)
        in_view = self._in_view(room)
        gap = gap_of(width)
        self._reveal(width)
        self._first = min(self._first, self._last_first())
        columns = fitting(self._columns[self._first :], self._room(width), len(gap))
        after = len(self._columns) - self._first - len(columns)
        yield self._heading(width, [self._position(room), scrolled_words(self._first, after)])
        yield self._headings(columns, gap, focused=focused)
        for index in in_view:
            yield self._line(self._order[index], columns, gap, cursor=focused and index == self._cursor)

    def _heading(self, width: int, words: Sequence[str]) -> Line:
        """`─ 9 heads · top-10 ───────── 1–7 of 9 ─`."""
        assert self._seen
        listed = self._listing.matrix
        what = listed.upper() if listed else metric_info(self._metric).label(self._seen.k)
        return table_heading([f"{self._title} · {what}"], width, words)

    def _headings(self, columns: Sequence[FigureColumn], gap: str, *, focused: bool) -> Line:
        """Names, with the direction at the column that sorts; the chosen metric, or each matrix, stands out."""
        plain = "strong" if focused else "dim"
        by = self._listing.by if self._listing.by in [column.name for column in self._columns] else BY_NUMBER
        sign = DESCENDING if self._descends else ASCENDING
        spans: list[Span] = []
        self._places = []
        end = 0
        for heading, width in self._lead:
            text = sign + heading if by == BY_NUMBER and not spans else heading
            spans.append((f"{text:>{width}}{gap}", plain))
            end += width + len(gap)
        self._places.append((end, BY_NUMBER))
        for column in columns:
            end += column.width + len(gap) + (RANGE_WIDTH + len(gap)) * self._has_ranges
            self._places.append((end, column.name))
            text = sign + column.heading if column.name == by else column.heading
            spans.append((f"{text:>{column.width}}{gap}", self._ink(column) or plain))
            if self._has_ranges:
                spans.append((f"{RANGE:<{RANGE_WIDTH}}{gap}", "dim"))
        return spans

    def heading_at(self, x: int) -> str | None:
        """What the heading at `x` sorts by."""
        return next((name for end, name in self._places if 0 <= x < end), None)

    def _ink(self, column: FigureColumn) -> str:
        """The ink of a column's heading: its curve's, or that of the one that is charted."""
        if self._listing.matrix is None:
            return column.matrix
        return column.matrix if column.metric == self._metric else ""

    def _line(self, index: int, columns: Sequence[FigureColumn], gap: str, *, cursor: bool) -> Line:
        assert self._seen
        numbers = [self._seen.numbers[index], *self._seen.beside(index)]
        lead = "".join(f"{number:>{width}}{gap}" for (_, width), number in zip(self._lead, numbers, strict=True))
        spans: list[Span] = [(lead, "")]
        for column in columns:
            text = column.texts[index]
            ink = "bad" if text == FLAWED else "dim" if text in (MISSING, PENDING) else ""
            spans.append((f"{text:>{column.width}}{gap}", ink))
            if self._has_ranges:
                spans.append((f"{column.ranges[index]:<{RANGE_WIDTH}}{gap}", ""))
        return [("".join(text for text, _ in spans), "cursor")] if cursor else spans

    @property
    def _has_ranges(self) -> bool:
        """Whether there is room for the bands beside the medians."""
        gap = len(gap_of(self._size[0]))
        wanted = sum(column.width + RANGE_WIDTH + 2 * gap for column in self._columns)
        return all(column.ranges for column in self._columns) and wanted <= self._room(self._size[0])

    @property
    def _lead(self) -> list[tuple[str, int]]:
        """The columns that stay: headings and cells."""
        if self._seen is None or self._seen.address.layer is None:
            return [("layer", 6)]
        return [("head", 5), ("kv", 3)] if self._seen.beside(0) else [("head", 5)]

    def _room(self, width: int) -> int:
        """Cells beside the columns that stay."""
        gap = len(gap_of(width))
        return width - sum(cells + gap for _, cells in self._lead)

    def _last_first(self) -> int:
        """The furthest that columns scroll: until the last one is in view."""
        width = self._size[0]
        return len(self._columns) - max(1, len(fitting(self._columns[::-1], self._room(width), len(gap_of(width)))))

    def _reveal(self, width: int) -> None:
        """Scroll to the column that the user has just sorted by or charted."""
        name, self._must_show = self._must_show, None
        at = next((i for i, column in enumerate(self._columns) if column.name == name), None)
        if at is not None:
            gap = len(gap_of(width))
            self._first = min(self._first, at)
            while self._first < at and at >= self._first + len(
                fitting(self._columns[self._first :], self._room(width), gap)
            ):
                self._first += 1

    def csv(self) -> str:
        """The medians and bands of the columns, as CSV."""
        from svdtui.engine.overview_csv import overview_csv

        if self._seen is None:
            return ""
        return overview_csv(self._seen, [(column.matrix, column.metric) for column in self._columns])

    def text(self) -> str:
        """The lines in their order as tab-separated text with headings, figures at full precision."""
        if self._seen is None:
            return ""
        of = "_median" if self._seen.address.layer is None else ""
        heads = [name if name != "kv" else "kv_head" for name, _ in self._lead]
        names = [f"{each.matrix}_{metric_info(each.metric).column(self._seen.k)}{of}" for each in self._columns]
        lines = [[*heads, *names]]
        for index in self._order:
            figures = ["" if isnan(value) else repr(value) for value in (each.values[index] for each in self._columns)]
            lines.append([str(self._seen.numbers[index]), *map(str, self._seen.beside(index)), *figures])
        return "".join("\t".join(line) + "\n" for line in lines)
