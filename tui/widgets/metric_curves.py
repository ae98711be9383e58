"""What a chart of a metric consists of: curves over heads or layers, the levels beside them, and the ranges of both.

Everything here is in the chart's own units: log₁₀ of the metric on a logarithmic axis.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from svdtui.engine.overview import HeadsOverview, LayersOverview, Overview
from svdtui.engine.text import plural

from .curves import Curve
from .overview_columns import metric_text
from .raster import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .stage import Look

    Array = NDArray[np.float64]

DECADES = 1.5
"""Decades from which on a metric's axis is logarithmic unless the user wants it otherwise."""

CLOSE = 0.5
"""How far beyond the curves, in terms of their span, the value of a flat spectrum (or zero) still widens the axis."""

FINEST = 1e-3
"""The least span of an axis, relative to its values: smaller differences are not enlarged into mountains."""

BAR = 2
"""Dots that a bar takes: a cell of its own, and so a colour of its own."""

DASH = 0.25
"""Half the length of the dash that stands for a lone point, which as one dot of braille would be overlooked."""


@dataclass(frozen=True, slots=True)
class Level:
    """A value that is marked beside the curves, with its label."""

    label: str
    ink: str
    at: float


@dataclass(frozen=True)
class Plot:
    """All that is drawn."""

    curves: Sequence[Curve]
    bands: Sequence[Curve]
    levels: Sequence[Level]
    """The medians of the curves, or where they end."""
    flats: Sequence[Level]
    """What flat spectra would give; they may lie outside of `y`."""
    x: Range
    y: Range
    remarks: Sequence[str]


def has_figures(seen: Overview) -> bool:
    """Whether there is anything to chart: some spectrum is there."""
    return any(np.isfinite(seen.values(matrix, "sigma_first")).any() for matrix in seen.matrices)


def spans_decades(seen: Overview, metric: str) -> bool:
    """Whether a metric's values are best seen on a logarithmic axis: all above 0, and far apart."""
    values = np.concatenate([seen.slices(matrix, metric).ravel() for matrix in seen.matrices])
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and np.log10(values.max()) - np.log10(values.min()) > DECADES)


def is_log(seen: Overview, look: "Look") -> bool:
    """Whether the axis of the chosen metric is logarithmic: as the user wants it, or as its values do."""
    chosen = look.scales.get(look.metric)
    return spans_decades(seen, look.metric) if chosen is None else chosen


def plot(
    seen: HeadsOverview | LayersOverview, look: "Look", *, log: bool, dots: int, one_band: bool = False
) -> Plot | None:
    """The curves of the chosen metric, or None when there is nothing to draw.

    `dots` is about how many fit side by side; bands of all matrices are drawn where they do not run into each other
    and `one_band` allows it.
    """
    metric = look.metric
    shown = [matrix for matrix in seen.matrices if matrix not in look.hidden]
    scale = _log10 if log else _finite
    curves = [_curve(seen, matrix, scale(seen.values(matrix, metric))) for matrix in shown]
    curves = [curve for curve in curves if np.isfinite(curve.y).any()]
    if not curves:
        return None
    bands: list[Curve] = []
    if isinstance(seen, LayersOverview):
        banded = banded_matrices([curve.ink for curve in curves], look.listing.matrix, seen, dots, one_band=one_band)
        edges = {matrix: scale(seen.band(matrix, metric)) for matrix in banded}
        bands = list(_bands(edges, seen, dots))
    flats = _flats(seen, metric, [curve.ink for curve in curves], log=log)
    y = _range([*curves, *bands], [flat.at for flat in flats], log=log)
    remarks = _remarks(seen, metric, shown, log=log)
    return Plot(curves, bands, _levels(seen, metric, curves, log=log), flats, sides(seen), y, remarks)


def banded_matrices(
    shown: Sequence[str], listed: str | None, seen: LayersOverview, dots: int, *, one_band: bool
) -> Sequence[str]:
    """The matrices whose bands are drawn: all where there is room, else the one that the table lists, if any."""
    if len(shown) == 1 or (not one_band and _dots_each(seen, dots) >= BAR * len(shown)):
        return shown
    return [matrix for matrix in shown if matrix == listed]


def _dots_each(seen: LayersOverview, dots: int) -> float:
    """Dots that a layer has for itself."""
    low, high = sides(seen)
    return dots / (high - low)


def _bands(edges: Mapping[str, "Array"], seen: LayersOverview, dots: int) -> Iterator[Curve]:
    """Bars from edge to edge, those of a layer beside each other; only the edges where bars would be a solid block.

    `edges` is (2, layers) for each matrix.
    """
    each = _dots_each(seen, dots)
    layers = np.array(seen.numbers, dtype=np.float64)
    for place, (matrix, (low, high)) in enumerate(edges.items()):
        ink = f"{matrix}-band"
        if each < BAR:
            yield from (Curve("", ink, layers, edge) for edge in (low, high))
            continue
        x = layers + (place - (len(edges) - 1) / 2) * BAR / each
        y = np.stack([low, high, np.full(len(x), np.nan)], axis=1)  # (layers, 3): NaN parts the bars
        yield Curve("", ink, np.repeat(x, 3), y.ravel())


def _finite(values: "Array") -> "Array":
    return np.where(np.isfinite(values), values, np.nan)


def _log10(values: "Array") -> "Array":
    """NaN where there is no logarithm."""
    logarithms: Array = np.log10(values, out=np.full(values.shape, np.nan), where=np.isfinite(values) & (values > 0))
    return logarithms


def sides(seen: Overview) -> Range:
    """Half a place beyond the first and the last head or layer."""
    return seen.numbers[0] - 0.5, seen.numbers[-1] + 0.5


def _curve(seen: Overview, matrix: str, y: "Array") -> Curve:
    """A line from place to place; steps over the query heads that share a KV head. A layer that is missing is a gap."""
    x = np.array(seen.numbers, dtype=np.float64)
    if isinstance(seen, HeadsOverview) and seen.is_shared(matrix):
        x, y = np.stack([x - 0.5, x + 0.5], 1).ravel(), np.repeat(y, 2)
        return Curve(matrix.upper(), matrix, x, y)
    whole = np.arange(seen.numbers[0], seen.numbers[-1] + 1)
    if len(whole) > len(x):
        gaps = np.setdiff1d(whole, x)
        x, y = np.concatenate([x, gaps]), np.concatenate([y, np.full(len(gaps), np.nan)])
        y, x = y[np.argsort(x)], np.sort(x)
    return _dashed(Curve(matrix.upper(), matrix, x, y))


def _dashed(curve: Curve) -> Curve:
    """With short dashes in the place of points that have no neighbour."""
    there = np.isfinite(np.concatenate([[np.nan], curve.y, [np.nan]]))
    (alone,) = (there[1:-1] & ~there[:-2] & ~there[2:]).nonzero()
    x, y = curve.x.copy(), curve.y
    x[alone] -= DASH
    x, y = np.insert(x, alone + 1, curve.x[alone] + DASH), np.insert(y, alone + 1, y[alone])
    return replace(curve, x=x, y=y)


def _levels(seen: HeadsOverview | LayersOverview, metric: str, curves: Iterable[Curve], *, log: bool) -> list[Level]:
    if isinstance(seen, LayersOverview):
        return [Level(curve.label, curve.ink, float(curve.y[np.isfinite(curve.y)][-1])) for curve in curves]
    levels = []
    for curve in curves:
        median = seen.median(curve.ink, metric)
        at = _log10(np.array([median]))[0] if log else median
        levels.append(Level(f"{curve.label} {metric_text(metric, median)}", curve.ink, float(at)))
    return levels


def _flats(seen: Overview, metric: str, matrices: Sequence[str], *, log: bool) -> list[Level]:
    """One level, or several where the sizes of the matrices differ."""
    named: dict[float, list[str]] = {}
    for matrix in matrices:
        value = seen.flat(matrix, metric)
        if value is not None:
            named.setdefault(value, []).append(matrix.upper())
    words = {value: "flat" if len(named) == 1 else f"flat {''.join(names)}" for value, names in named.items()}
    return [Level(words[value], "dim", float(np.log10(value)) if log else value) for value in named]


def _range(curves: Iterable[Curve], wishes: Iterable[float], *, log: bool) -> Range:
    """What the y axis spans: the curves, and of the wishes (and zero) those that are close enough to them."""
    low = min(float(np.nanmin(curve.y)) for curve in curves if np.isfinite(curve.y).any())
    high = max(float(np.nanmax(curve.y)) for curve in curves if np.isfinite(curve.y).any())
    least = np.log10(1 + FINEST) if log else FINEST * max(abs(low), abs(high))
    if high - low < least or high <= low:
        low, high = low - least / 2, min(high + least / 2, np.finfo(np.float64).max)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    room = CLOSE * (high - low)
    near = [wish for wish in (*wishes, *(() if log else (0.0,))) if low - room <= wish <= high + room]
    return min(low, *near, low), max(high, *near, high)


def _remarks(seen: Overview, metric: str, shown: Sequence[str], *, log: bool) -> list[str]:
    """What is left out, in words."""
    remarks = []
    for matrix in shown:
        if flaws := int(seen.flaws(matrix).sum()):
            of = "heads" if isinstance(seen, HeadsOverview) else "slices"
            remarks.append(f"{matrix.upper()}: {plural(flaws, of[:-1], of)} without a spectrum")
        values = seen.values(matrix, metric)
        if log and (zeros := int((values <= 0).sum())):
            remarks.append(f"{matrix.upper()}: {plural(zeros, 'value is', 'values are')} 0, not drawn")
    return remarks
