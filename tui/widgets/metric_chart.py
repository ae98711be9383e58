"""A metric against the head index or against depth: a curve for each matrix, and the levels that it is judged by.

Imported after the first frame: it brings numpy and plotext.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from svdtui.engine.overview import HeadsOverview, LayersOverview

from .chart import MIN_HEIGHT, MIN_WIDTH, gutter_of, index_axis, spread, value_axis, value_labels, write_letters
from .columns import NARROW
from .figures import NAMES
from .headings import heading
from .metric_curves import Level, Plot, is_log, plot, sides
from .painted import Line, Span, clipped
from .raster import DOTS_ACROSS, dot_column, dot_row, draw
from .stage import REMARK_ROWS, Drawing, Look, nothing_to_draw

ASIDE = 14
"""About how many cells the axis and the labels beside the canvas take."""

MARK = "◂"
"""Stands at the height of a median."""

POINTER = "▲"
"""Stands on the x axis at the head or layer that the table's cursor is on."""

RULE = "┄"
"""The line at the height of what a flat spectrum gives."""


class MetricChart(Drawing):
    """The chosen metric of the heads of a layer, or of the layers of the model."""

    def __init__(self, seen: HeadsOverview | LayersOverview) -> None:
        self.seen = seen
        self._axis: tuple[int, int, int] | None = None
        """Line, first cell and cells of the x axis, as it was drawn."""

    def lines(self, title: str, width: int, height: int, look: Look, *, letters: bool) -> Iterator[Line]:
        """Heading, chart, and what is left out of it."""
        log = is_log(self.seen, look)
        drawn = plot(self.seen, look, log=log, dots=DOTS_ACROSS * (width - ASIDE))
        label = NAMES[look.metric].format(k=self.seen.k)
        scale = "log" if log else "linear"
        if isinstance(self.seen, HeadsOverview):
            yield heading([f"{title} · {label} by head", f"{title} · {label}"], width, [scale])
        else:
            whose = drawn.bands[0].ink.partition("-")[0].upper() if drawn and drawn.bands else ""
            words = (
                [f"median, 10–90 % of {whose}", f"10–90 % of {whose}"] if whose else ["median (v: 10–90 %)", "median"]
            )
            yield heading([f"{title} · {label}"], width, [f"{word} · {scale}" for word in words])
        remarks = list(drawn.remarks) if drawn else []
        left_out = bool(remarks)
        if hidden := [matrix.upper() for matrix in self.seen.matrices if matrix in look.hidden]:
            remarks.append(f"{' '.join(hidden)} hidden: 1 2 3 4 show them")
        rows = height - 1 - (REMARK_ROWS if remarks else 0)
        self._axis = None
        lines = self._chart(drawn, width, rows, log=log, letters=letters) if drawn else []
        yield from lines or nothing_to_draw(width, rows)
        if remarks:
            yield [(clipped(" · ".join(remarks), width), "warn" if left_out else "dim")]

    def pointing(self, lines: Sequence[Line], number: int) -> Sequence[Line]:
        """With a sign on the x axis at a head or layer."""
        if self._axis is None or self._axis[0] >= len(lines):
            return lines
        line, start, columns = self._axis
        text = "".join(text for text, _ in lines[line])
        at = start + dot_column(float(number), sides(self.seen), columns)
        pointed: Line = [(text[:at], "dim"), (POINTER, "strong"), (text[at + 1 :], "dim")]
        return [*lines[:line], pointed, *lines[line + 1 :]]

    def _chart(self, drawn: Plot, width: int, height: int, *, log: bool, letters: bool) -> list[Line]:
        if width < MIN_WIDTH or height < MIN_HEIGHT:
            return []
        rows = height - 1
        labels = value_labels(drawn.y, rows, log=log)
        gutter = gutter_of(labels)
        marked = isinstance(self.seen, HeadsOverview)
        name = "head" if marked else "layer"
        flats = [_pointed(flat, drawn) for flat in drawn.flats]
        if not marked and width < NARROW:  # the name is enough, and the canvas needs the room
            flats = [replace(flat, label=flat.label.rpartition(" ")[0]) for flat in flats]
        levels = [*drawn.levels, *flats]
        margin = max(len(name), *(len(level.label) + marked for level in levels)) + 1
        columns = width - gutter - 1 - margin
        canvas = draw([*drawn.curves, *drawn.bands], drawn.x, drawn.y, columns, rows)
        if letters:
            write_letters(canvas, drawn.curves, drawn.x, drawn.y)
        for flat in drawn.flats:
            if drawn.y[0] <= flat.at <= drawn.y[1]:
                row = dot_row(flat.at, drawn.y, rows)
                canvas[row] = _ruled(canvas[row])
        right = _margin(levels, drawn, rows, marked=marked)
        lines: list[Line] = [
            [value_axis(labels.get(row), gutter), *canvas[row], *right.get(row, ())] for row in range(rows)
        ]
        first, last = self.seen.numbers[0], self.seen.numbers[-1]
        axis = index_axis(first, last, columns, drawn.x)
        self._axis = (height, gutter + 1, columns)
        return [*lines, [(" " * gutter + "└" + axis + " " + name, "dim")]]


def _pointed(flat: Level, drawn: Plot) -> Level:
    """A level with an arrow where it lies beyond the axis."""
    low, high = drawn.y
    arrow = "↓" if flat.at < low else "↑" if flat.at > high else ""
    return replace(flat, label=arrow + flat.label)


def _margin(levels: Sequence[Level], drawn: Plot, rows: int, *, marked: bool) -> dict[int, list[Span]]:
    """What stands right of the canvas: marks at the heights of medians, and labels beside each other."""
    low, high = drawn.y
    heights = [dot_row(level.at, drawn.y, rows) for level in levels]
    marks: dict[int, Span] = {}
    for row, level in zip(heights, levels, strict=True):
        if marked and low <= level.at <= high:
            marks.setdefault(row, (MARK, level.ink))
    places = spread(heights, [level.at for level in levels], rows)
    labels = {row: (f" {level.label}", level.ink) for row, level in zip(places, levels, strict=True)}
    blank = " " if marked else ""
    return {row: [marks.get(row, (blank, "")), labels.get(row, ("", ""))] for row in {*marks, *labels}}


def _ruled(line: Sequence[Span]) -> list[Span]:
    """A row with a dashed line where there is no curve."""
    return [
        (char if char not in (" ", "\u2800") else RULE, ink if char not in (" ", "\u2800") else "dim")
        for text, ink in line
        for char in text
    ]
