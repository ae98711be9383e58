"""The columns of the table of heads or layers: one metric of every matrix, or every metric of one matrix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import TYPE_CHECKING, overload

from svdtui.engine.metrics import METRICS, MetricInfo
from svdtui.engine.overview import LayersOverview, Overview

from ..formats import MISSING, figure, share
from ..listing import DESCENDING
from .columns import PENDING

if TYPE_CHECKING:
    from .stage import Look

FLAWED = "!"
"""Stands for a figure that there is none of because a matrix has no spectrum, and behind one that leaves some out."""

MIN_WIDTH = 7

_MOST_MEASURED = 1000
"""Lines with a sign behind their figure whose width is looked at."""

RANGE, RANGE_WIDTH = "10–90 %", 15
"""The heading of the bands around medians, and their cells."""


@dataclass(frozen=True, slots=True, eq=False)
class FigureColumn:
    """The figures of one metric of one matrix, a line for each head or layer."""

    name: str
    """What the column is sorted by: the matrix, or the metric."""
    heading: str
    matrix: str
    metric: str
    values: Sequence[float]
    texts: Sequence[str]
    width: int
    """Cells, with room for the sign of a sorted column."""
    ranges: Sequence[str] = ()
    """The bands around medians, for tables that have room for them."""


class Made(Sequence[str]):
    """Texts that are made when they are asked for: of very many lines, few are in sight."""

    def __init__(self, count: int, make: Callable[[int], str]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self._make(each) for each in range(self._count)[index]]
        return self._make(range(self._count)[index])


def metric_info(name: str) -> MetricInfo:
    """The metric whose field of `Metrics` has this name."""
    return next(metric for metric in METRICS if metric.name == name)


def shown_matrices(seen: Overview, look: "Look") -> list[str]:
    """The matrices that are not hidden."""
    return [matrix for matrix in seen.matrices if matrix not in look.hidden]


def column_names(seen: Overview, look: "Look") -> list[str]:
    """The names of the columns with figures, from left to right."""
    return shown_matrices(seen, look) if look.listing.matrix is None else [metric.name for metric in METRICS]


def figure_columns(seen: Overview, look: "Look") -> list[FigureColumn]:
    """The columns with figures: the chosen metric of every matrix that is shown, or what the listing asks for."""
    if look.listing.matrix is None:
        return [_column(seen, matrix, matrix.upper(), matrix, look.metric) for matrix in shown_matrices(seen, look)]
    return [_column(seen, info.name, info.label(seen.k), look.listing.matrix, info.name) for info in METRICS]


def _column(seen: Overview, name: str, heading: str, matrix: str, metric: str) -> FigureColumn:
    values = seen.values(matrix, metric).tolist()
    flaws, solved = seen.flaws(matrix), seen.solved(matrix)
    texts = Made(len(values), lambda index: _text(metric, values[index], bool(flaws[index]), bool(solved[index])))
    ranges: Sequence[str] = ()
    if isinstance(seen, LayersOverview) and name == matrix:
        low, high = seen.band(matrix, metric)
        ranges = Made(len(values), lambda index: _range_text(metric, float(low[index]), float(high[index])))
    marked = flaws.nonzero()[0].tolist()  # all others are at most as wide as a figure
    width = max(MIN_WIDTH, len(heading) + len(DESCENDING), *(len(texts[index]) for index in marked[:_MOST_MEASURED]))
    return FigureColumn(name, heading, matrix, metric, values, texts, width, ranges)


def _range_text(metric: str, low: float, high: float) -> str:
    return "" if isnan(low) or isnan(high) else f"{metric_text(metric, low)}–{metric_text(metric, high)}"


def _text(metric: str, value: float, flawed: bool, computed: bool) -> str:
    if not isnan(value):
        return metric_text(metric, value) + (FLAWED if flawed else "")
    if flawed:
        return FLAWED
    return MISSING if computed else PENDING


def metric_text(metric: str, value: float) -> str:
    """A figure, or a median of figures, as a table shows it: ranks that count directions as whole numbers."""
    if metric in {"top_ratio", "bottom_ratio"}:
        return share(value)
    if metric.startswith("energy_rank") and isfinite(value):
        return f"{value:.0f}" if value == int(value) else f"{value:.1f}"
    return figure(value)
