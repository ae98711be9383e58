"""What a chart of a metric consists of: curves over heads or layers, the levels beside them, and the ranges of both.

Everything here is in the chart's own units: log₁₀ of the metric on a logarithmic axis.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from svdtui.engine.overview import HeadsOverview, LayersOverview, Overview
from svdtui.engine.text import plural

from .columns import UNKNOWN
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
"""The least number of dots from bar to bar."""

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


def plot(seen: HeadsOverview | LayersOverview, look: "Look", *, log: bool, dots: int) -> Plot | None:
    """The curves of the chosen metric, or None when there is nothing to draw.

    Over layers, there is a band around the curve of the matrix whose metrics the table lists, or around the only one:
    several would hide each other. `dots` is about how many fit side by side.
    """
    metric = look.metric
    shown = [matrix for matrix in seen.matrices if matrix not in look.hidden]
    scale = _log10 if log else _finite
    curves = [_curve(seen, matrix, scale(seen.values(matrix, metric))) for matrix in shown]
    curves = [curve for curve in curves if np.isfinite(curve.y).any()]
    if not curves:
        return None
    curves.sort(key=lambda curve: curve.ink != look.listing.matrix)  # the first one lies on top
    bands: list[Curve] = []
    if isinstance(seen, LayersOverview) and (len(curves) == 1 or curves[0].ink == look.listing.matrix):
        bands = _band(curves[0].ink, scale(seen.band(curves[0].ink, metric)), seen, dots)
    flats = _flats(seen, metric, [curve.ink for curve in curves], log=log)
    y = _range([*curves, *bands], [flat.at for flat in flats], log=log)
    remarks = _remarks(seen, metric, shown, log=log)
    return Plot(curves, bands, _levels(seen, metric, curves, log=log), flats, sides(seen), y, remarks)


def _band(matrix: str, edges: "Array", seen: LayersOverview, dots: int) -> list[Curve]:
    """Bars from edge to edge, (2, layers); the edges alone where bars would be a solid block."""
    low, high = sides(seen)
    layers = np.array(seen.numbers, dtype=np.float64)
    if dots / (high - low) < BAR:
        return [Curve("", f"{matrix}-band", layers, edge) for edge in edges]
    parted = np.stack([*edges, np.full(len(layers), np.nan)], axis=1)  # (layers, 3)
    return [Curve("", f"{matrix}-band", np.repeat(layers, 3), parted.ravel())]


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
        told = metric_text(metric, median) if seen.solved(curve.ink).all() else UNKNOWN  # it moves until all are there
        levels.append(Level(f"{curve.label} {told}", curve.ink, float(at)))
    return levels


def _flats(seen: Overview, metric: str, matrices: Sequence[str], *, log: bool) -> list[Level]:
    """One level, or several where the sizes of the matrices differ, with their values."""
    named: dict[float, list[str]] = {}
    for matrix in matrices:
        value = seen.flat(matrix, metric)
        if value is not None:
            named.setdefault(value, []).append(matrix.upper())
    whose = {value: "" if len(named) == 1 else f" {''.join(names)}" for value, names in named.items()}
    return [
        Level(f"flat{whose[value]} {value:.3g}", "dim", float(np.log10(value)) if log else value) for value in named
    ]


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
    return min([low, *near]), max([high, *near])


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
        if endless := int(np.isinf(values).sum()):
            remarks.append(f"{matrix.upper()}: {plural(endless, 'value is', 'values are')} ∞, not drawn")
    return remarks
