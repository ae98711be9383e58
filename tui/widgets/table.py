"""The table of results: a line for each matrix, figures in columns that scroll sideways beside the names."""

from collections.abc import Iterator, Sequence

from svdtui.engine.address import Address, Scope
from svdtui.engine.text import printable

from ..listing import ASCENDING, BY_NUMBER, DESCENDING, Listing
from .columns import Column, Entry, in_order, pinned, scrolled
from .figures import figure_lines, wrapped
from .headings import table_heading
from .painted import Line, Span, clipped
from .rows import HEAD_LINES, TABLE_LINES, Rows, fitting, gap_of, scrolled_words

CURVE_INKS = frozenset("qkvo")


class Table(Rows):
    """The figures of a scope. One matrix alone needs no table: its figures are listed.

    The cursor stays on its matrix while lines arrive around it.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self._k = k
        self._entries: Sequence[Entry] = ()
        self._as_given: Sequence[Entry] = ()
        self._scope: Scope = "head"
        self._title = ""
        self._remarks: Sequence[str] = ()
        self._pinned: Sequence[Column] = ()
        self._listing = Listing()
        self._places: list[tuple[int, str]] = []
        """Where the headings end, and what they sort by."""

    def show(
        self,
        scope: Scope,
        title: str,
        entries: Sequence[Entry],
        *,
        remarks: Sequence[str] = (),
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        """Show other lines; the cursor stays on its matrix, or on the same one of another layer.

        Of a head's matrices, the hidden ones have none.
        """
        at = self.address
        if scope != self._scope:
            self._top = 0
        if scope == "head":
            all_of_them = len(entries)
            entries = [entry for entry in entries if entry.pin or entry.info.matrix not in hidden]
            if out := all_of_them - len(entries):
                title += f", {out} hidden"
        self._scope, self._title = scope, title
        self._remarks = remarks
        self._pinned = pinned(entries)
        self._as_given = entries
        self._lay_out(at)

    def sort(self, by: str) -> None:
        """Sort by a column; by the same once more, in the other direction. The cursor stays on its matrix."""
        self._listing = self._listing.sorted_by(by, [column.heading for column in self._sortable])
        self._lay_out(self.address)

    @property
    def _sortable(self) -> list[Column]:
        """The columns that have an order of their own; the names stand in the model's."""
        return [*self._pinned[:-1], *scrolled(self._k, self._size[0])]

    def _lay_out(self, at: Address | None) -> None:
        """Put the lines in order, and the cursor on a place or one that is alike."""
        columns = self._sortable
        by = next((column for column in columns if column.heading == self._listing.by), None)
        descending = self._listing.descends([column.heading for column in columns])
        self._entries = entries = in_order(self._as_given, by, descending=descending)
        places = [entry.info.address for entry in entries]
        alike = (i for i, place in enumerate(places) if at and (place.head, place.matrix) == (at.head, at.matrix))
        self._cursor = places.index(at) if at in places else next(alike, 0)

    @property
    def has_cursor(self) -> bool:
        """Whether there are lines to move through."""
        return self._scope != "matrix" and bool(self._entries)

    def lines_beside_curves(self, height: int) -> int:
        """What a few matrices take, or what there are with pinned ones among them."""
        if self.is_empty or not any(entry.pin for entry in self._entries):
            return super().lines_beside_curves(height)
        return min(max(TABLE_LINES, height // 2), max(TABLE_LINES, self.count + HEAD_LINES))

    @property
    def address(self) -> Address | None:
        """The matrix under the cursor."""
        return self._entries[self._cursor].info.address if self._cursor < len(self._entries) else None

    @property
    def count(self) -> int:
        """How many matrices there are."""
        return len(self._entries)

    # drawing -------------------------------------------------------------------------------------

    def lines(self, width: int, height: int, *, focused: bool) -> Iterator[Line]:
        """Title, headings and as many entries as fit; what else is to be said below them, where there is room."""
        self._size = (width, height)
        if self._scope == "matrix":
            if self._entries:
                yield from figure_lines(self._entries[0], self._k, self._title, width)
            return
        fixed, loose, more = self._columns(width)
        room = max(0, height - HEAD_LINES)
        shown = self._in_view(room)
        yield self._heading(width, room, more)
        gap = gap_of(width)
        yield [(self._headings([*fixed, *loose], len(fixed), gap), "strong" if focused else "dim")]
        for index in shown:
            yield self._line(index, width, fixed, loose, cursor=focused and index == self._cursor)
        yield from self._below(width, room - len(shown))

    def _headings(self, columns: Sequence[Column], fixed: int, gap: str) -> str:
        """The names of the columns, with the direction beside the one that sorts."""
        line = gap.join(column.cell(column.heading) for column in columns)
        listing, start = self._listing, 0
        self._places = []
        for number, column in enumerate(columns):
            by = BY_NUMBER if number == fixed - 1 else column.heading
            end = start + column.width
            self._places.append((end + len(gap), by))
            if listing.by == by and (by != BY_NUMBER or listing.descending):
                at = start + len(column.heading) if column.left else end - len(column.heading) - 1
                line = line[:at].ljust(at) + (DESCENDING if listing.descending else ASCENDING) + line[at + 1 :]
            start = end + len(gap)
        return line

    def heading_at(self, x: int) -> str | None:
        """What the heading at `x` sorts by."""
        if self._scope == "matrix":
            return None
        return next((name for end, name in self._places if 0 <= x < end), None)

    def _below(self, width: int, room: int) -> Iterator[Line]:
        """What does not fit into the lines: whole sentences about problems, then remarks."""
        problems = [printable(entry.sentence) for entry in self._entries if entry.sentence]
        if self._scope != "head" or room < 2:
            return
        yield []
        said = [(line, "bad") for problem in problems for line in wrapped(problem, width, 2)]
        said += [(clipped(remark, width), "dim") for remark in self._remarks]
        yield from ([line] for line in said[: room - 1])

    def _heading(self, width: int, room: int, more: str) -> Line:
        """`─ layer 3 · 128 matrices ────────── 1–40 of 128 · columns 4 > ─`."""
        return table_heading([self._title], width, [self._position(room), more])

    def _line(self, index: int, width: int, fixed: list[Column], loose: list[Column], *, cursor: bool) -> Line:
        entry = self._entries[index]
        gap = gap_of(width)
        matrix = entry.info.address.matrix or ""
        curve = matrix if entry.info.address.head is not None and matrix in CURVE_INKS else ""
        if entry.pin:
            curve = f"pin-{entry.pin}"
        spans: list[Span] = []
        for column in fixed:
            text = clipped(printable(column.text(entry)), column.width)
            ink = (curve or "strong") if column is fixed[-1] else ""
            spans.append((column.cell(text) + gap, ink))
        if entry.problem:
            spans.append((clipped(printable(entry.problem), width - sum(len(text) for text, _ in spans)), "bad"))
        else:
            spans += [(column.cell(column.text(entry)) + gap, column.ink) for column in loose]
        return [("".join(text for text, _ in spans), "cursor")] if cursor else spans

    def _columns(self, width: int) -> tuple[list[Column], list[Column], str]:
        """The columns that stay, those that fit beside them, and a word about those that do not."""
        self._first = min(self._first, self._last_first())
        loose = scrolled(self._k, width)
        shown = fitting(loose[self._first :], self._room(width), len(gap_of(width)))
        before, after = self._first, len(loose) - self._first - len(shown)
        return [*self._pinned], shown, scrolled_words(before, after)

    def _room(self, width: int) -> int:
        """Cells beside the columns that stay."""
        gap = len(gap_of(width))
        return width - sum(column.width + gap for column in self._pinned)

    def _last_first(self) -> int:
        width = self._size[0]
        loose = scrolled(self._k, width)
        return len(loose) - max(1, len(fitting(loose[::-1], self._room(width), len(gap_of(width)))))
