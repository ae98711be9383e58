"""A chart as lines of text: axis labels, braille curves, and a label at the end of each curve."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from .axes import index_ticks, linear_ticks, log_ticks, round_value
from .curves import Curve, limits
from .painted import Line, Span
from .raster import Range, dot_column, dot_row, draw

APART = 8
"""Rows among which there is a label on a logarithmic axis, so that every curve can be read off."""

MIN_WIDTH, MIN_HEIGHT = 24, 4
"""The smallest chart that says something."""


def chart(curves: Sequence[Curve], width: int, height: int, *, log: bool, letters: bool) -> list[Line]:
    """`height` lines: the canvas, then the x axis with its labels on it.

    `letters` writes each curve's label on the curve as well, for screens without colour.
    """
    if width < MIN_WIDTH or height < MIN_HEIGHT or not curves:
        return []
    x, y = limits(curves, log)
    rows = height - 1
    labels = value_labels(y, rows, log=log)
    gutter = gutter_of(labels)
    names = [curve.label for curve in curves if len(curves) > 1]
    margin = max((len(name) for name in names), default=1) + 1
    columns = width - gutter - 1 - margin
    canvas = draw(curves, x, y, columns, rows)
    if letters and len(curves) > 1:
        write_letters(canvas, curves, x, y)
    ends = spread([dot_row(float(curve.y[-1]), y, rows) for curve in curves], [float(c.y[-1]) for c in curves], rows)
    end_labels: dict[int, Span] = {}
    if names:
        end_labels = {row: (" " + curve.label, curve.ink) for row, curve in zip(ends, curves, strict=True)}
    lines: list[Line] = [
        [value_axis(labels.get(row), gutter), *canvas[row], end_labels.get(row, ("", ""))] for row in range(rows)
    ]
    last = max(int(curve.x[-1]) for curve in curves)
    return [*lines, [(" " * gutter + "└" + index_axis(1, last, columns, x) + " i", "dim")]]


def value_labels(y: Range, rows: int, *, log: bool) -> dict[int, str]:
    """The y axis: what stands at which row."""
    ticks = log_ticks(*y, max(2, rows // 2)) if log else linear_ticks(*y, max(3, rows // 3))
    labels = _thinned({dot_row(at, y, rows): label for at, label in reversed(ticks)})
    return _filled(labels, y, rows) if log else labels


def gutter_of(labels: Mapping[int, str]) -> int:
    """Cells left of the y axis."""
    return max((len(label) for label in labels.values()), default=0) + 1


def value_axis(label: str | None, gutter: int) -> Span:
    """A row's piece of the y axis."""
    return f"{label or '':>{gutter - 1}} {'┤' if label else '│'}", "dim"


def _thinned(labels: dict[int, str]) -> dict[int, str]:
    """Labels of which no two are on adjacent rows."""
    kept: dict[int, str] = {}
    for row in sorted(labels):
        if row - 1 not in kept:
            kept[row] = labels[row]
    return kept


def _filled(labels: dict[int, str], y: Range, rows: int) -> dict[int, str]:
    """Labels of a logarithmic axis, with round values where there would be none on `APART` rows."""
    low, high = y
    filled = dict(labels)
    edges = sorted({-1, rows, *labels})
    while gap := next(((a, b) for a, b in pairwise(edges) if b - a > APART), None):
        first, last = gap[0] + 3, gap[1] - 3
        middle = (gap[0] + gap[1]) / 2
        found = round_value(*(high - (row + 0.5) / rows * (high - low) for row in (last, middle, first)))
        if found is None or not gap[0] + 1 < (row := dot_row(found[0], y, rows)) < gap[1] - 1:
            edges = sorted({*edges, round(middle)})  # nothing round there, in what a float holds
            continue
        filled[row] = found[1]
        edges = sorted({*edges, row})
    return filled


def spread(rows: Sequence[int], heights: Sequence[float], count: int) -> list[int]:
    """Rows for labels that want to be at `rows`, each its own, in the order of the curves' `heights`, highest first.

    Labels that collide are moved apart by as little as possible, and stay within `count` rows when there is room.
    """
    order = sorted(range(len(rows)), key=lambda i: -heights[i])
    placed: list[tuple[float, list[int]]] = []  # (centre, members) of blocks of labels that touch
    for i in order:
        centre, members = float(rows[i]), [i]
        while placed:
            above, others = placed[-1]
            if above + len(others) / 2 <= centre - len(members) / 2 + 1e-9:
                break
            placed.pop()
            together = len(others) + len(members)
            centre = (above * len(others) + centre * len(members)) / together
            members = others + members
        half = len(members) / 2
        placed.append((max(half - 0.5, min(centre, count - half - 0.5)), members))
    result = [0] * len(rows)
    below = 0
    for centre, members in placed:
        start = max(below, round(centre - (len(members) - 1) / 2 - 1e-6))
        start = min(start, max(below, count - len(members)))
        for offset, i in enumerate(members):
            result[i] = start + offset
        below = start + len(members)
    return result


def index_axis(first: int, last: int, columns: int, x: Range) -> str:
    """The x axis as a line with the indices written into it, as in ` 1 ──── 32 ──── 64 `."""
    axis = ["─"] * columns
    taken = -1
    ticks = index_ticks(first, last, max(2, columns // 12))
    for at in [ticks[0], ticks[-1], *ticks[1:-1]]:
        text = f" {at} "
        start = max(0, min(dot_column(float(at), x, columns) - len(text) // 2, columns - len(text)))
        if at != ticks[-1] and start <= taken:
            continue
        if all(cell == "─" for cell in axis[start : start + len(text)]):
            axis[start : start + len(text)] = text
    return "".join(axis)


def write_letters(canvas: list[list[Span]], curves: Sequence[Curve], x: Range, y: Range) -> None:
    """Put each curve's label on the curve at a few places, each curve at its own columns."""
    columns = sum(len(text) for text, _ in canvas[0])
    for number, curve in enumerate(curves):
        for part in range(1, 8, 2):
            at = _point_on(curve, (part + number / len(curves)) / 8)
            if at is not None:
                row, column = dot_row(at[1], y, len(canvas)), dot_column(at[0], x, columns)
                canvas[row] = _replaced(canvas[row], column, curve.label[0], curve.ink)


def _point_on(curve: Curve, share: float) -> tuple[float, float] | None:
    """The point at a share of a curve's way to the right; in a gap, the last one before it."""
    (there,) = np.isfinite(curve.y).nonzero()
    if not len(there):
        return None
    x, y = curve.x[there], curve.y[there]
    at = x[0] + share * (x[-1] - x[0])
    before = int(np.searchsorted(x, at, side="right")) - 1
    if before + 1 < len(x) and there[before + 1] == there[before] + 1:
        return float(at), float(np.interp(at, x, y))
    return float(x[before]), float(y[before])


def _replaced(line: list[Span], column: int, letter: str, ink: str) -> list[Span]:
    cells = [(char, span_ink) for text, span_ink in line for char in text]
    cells[column : column + 1] = [(letter, ink)]
    return list(cells)
