"""Curves as braille, drawn by plotext.

plotext 6.1 keeps one figure for the whole process, so this module is the only one that uses it. A value that is not
finite aborts the process inside plotext, so none gets there: a curve goes in pieces, between its gaps. plotext's axes
and legend are not used.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotext

from .curves import Curve, decimate, dotted, runs

if TYPE_CHECKING:
    from .painted import Span

_COLOUR = re.compile(r"\x1b\[(?:38;5;)?(\d+)m")

Range = tuple[float, float]

DOTS_ACROSS, DOTS_DOWN = 2, 4
"""Dots in a braille cell."""


def draw(curves: Sequence[Curve], x: Range, y: Range, width: int, height: int) -> list[list["Span"]]:
    """Lines of `width` × `height` cells with the ranges `x` and `y` from the first dot to the last."""
    figure = plotext.figure
    plotext.terminal.limit(False, False)
    figure.clear()
    figure.plot_size(width, height)
    figure.axes(False)
    figure.canvas("default")
    figure.legend(False)
    for axis, (low, high), cells, dots in (("x", x, width, DOTS_ACROSS), ("y", y, height, DOTS_DOWN)):
        inset = (high - low) / (cells * dots - 1) * (dots - 1) / 2
        ruler = figure.ruler(axis)
        ruler.lim(low + inset, high - inset)  # plotext's limits are the centres of the outer cells
        ruler.ticks([])
    for number, curve in reversed(list(enumerate(curves, 1))):  # the first curve lies on top
        # The colour is only a number by which `_spans` finds the curve again.
        marker = plotext.marker("braille", plotext.pixel(number))
        for run in runs(curve):
            piece, values = curve.x[run], curve.y[run]
            if curve.dotted:
                share = (piece[-1] - piece[0]) / (x[1] - x[0])
                points = dotted(piece, values, round(share * width))
            else:
                points = decimate(piece, values, width)
            joined = curve.joined and not curve.dotted and len(run) > 1
            figure.draw(figure.signal(*points, marker=marker).lines(joined))
    inks = ["", *(curve.ink for curve in curves)]
    return [_spans(line, inks) for line in figure.build().string().split("\n")[:height]]


def _spans(line: str, inks: Sequence[str]) -> list["Span"]:
    """A line of plotext's output, whose colour numbers are those of `inks`."""
    pieces = _COLOUR.split(line)
    numbers = ["0", *pieces[1::2]]
    return [(text, inks[int(number)]) for number, text in zip(numbers, pieces[::2], strict=True) if text]


def dot_row(value: float, y: Range, height: int) -> int:
    """The cell row, from the top, in which `value` is drawn: the first or the last one when it lies beyond them."""
    low, high = y
    dot = round((max(low, min(value, high)) - low) / (high - low) * (height * DOTS_DOWN - 1))
    return height - 1 - max(0, min(dot, height * DOTS_DOWN - 1)) // DOTS_DOWN


def dot_column(value: float, x: Range, width: int) -> int:
    """The cell column in which `value` is drawn."""
    low, high = x
    dot = round((value - low) / (high - low) * (width * DOTS_ACROSS - 1))
    return max(0, min(dot, width * DOTS_ACROSS - 1)) // DOTS_ACROSS
