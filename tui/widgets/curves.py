"""What a spectrum looks like as a curve: σ, σ/σ₁ or cumulative energy, on a linear or logarithmic axis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from svdtui.engine.metrics import rounding_noise
from svdtui.engine.views import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Transform = Literal["sigma", "relative", "energy"]

TRANSFORMS: dict[Transform, str] = {"sigma": "σ", "relative": "σ/σ₁", "energy": "cumulative energy"}
"""The curves in the order in which a key steps through them, and what each is called."""


@dataclass(frozen=True)
class Curve:
    """Points to be joined by a line, which breaks where `y` is NaN; `y` is already log₁₀ on a logarithmic axis."""

    label: str
    ink: str
    x: "Array"
    y: "Array"
    joined: bool = True
    """False for points that stand alone."""
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A matrix's label and ink, and its singular values, descending, (n,).

    `noise` is how many of them only say how numbers are rounded. A pinned spectrum is `dotted`.
    """

    label: str
    ink: str
    sigma: "Array"
    noise: int = 0
    dotted: bool = False


def spectrum_of(row: Row, label: str, ink: str, *, dotted: bool = False) -> Spectrum:
    """The spectrum of a row that has one."""
    assert row.spectrum is not None
    noise = rounding_noise(row.spectrum, row.info.rows, row.info.cols)
    return Spectrum(label, ink, row.spectrum, noise, dotted)


def is_logarithmic(transform: Transform, log: bool) -> bool:
    """Whether the axis is logarithmic: cumulative energy runs from 0 to 1 and never is."""
    return log and transform != "energy"


def trace(spectra: Iterable[Spectrum], transform: Transform, log: bool) -> tuple[list[Curve], list[str]]:
    """The curves of spectra, against the index from 1, and what had to be left out, in words.

    A pinned spectrum is drawn as far as the longest of the others goes.
    """
    spectra = tuple(spectra)
    most = max((len(spectrum.sigma) for spectrum in spectra if not spectrum.dotted), default=None)
    curves, remarks = [], []
    for spectrum in spectra:
        sigma = spectrum.sigma[np.isfinite(spectrum.sigma)]
        y = _transformed(sigma, transform)
        if y is None:
            remarks.append(f"{spectrum.label} is all zeros")
            continue
        if spectrum.dotted and most is not None and len(y) > most:
            remarks.append(f"{spectrum.label} goes on to {len(y):,}")
            y = y[:most]
        x = np.arange(1, len(y) + 1, dtype=np.float64)
        x, y = x[np.isfinite(y)], y[np.isfinite(y)]  # values that are not descending may have endless energy
        if is_logarithmic(transform, log):
            shown = y > 0
            zeros = int(len(y) - shown.sum())
            if zeros:
                remarks.append(f"{spectrum.label}: {zeros:,} of {len(y):,} σ are 0, not drawn")
            if spectrum.noise:
                remarks.append(f"{spectrum.label}: the last {spectrum.noise:,} of {len(sigma):,} σ are rounding noise")
            x, y = x[shown], np.log10(y[shown])
        if len(y):
            curves.append(Curve(spectrum.label, spectrum.ink, x, y, dotted=spectrum.dotted))
    return curves, remarks


def _transformed(sigma: "Array", transform: Transform) -> "Array | None":
    """The curve's values, or None where they are undefined (σ₁ = 0, nothing finite)."""
    if not len(sigma) or sigma[0] <= 0:
        return None
    if transform == "sigma":
        return sigma
    relative: Array = sigma / sigma[0]
    if transform == "relative":
        return relative
    energy = np.square(relative).cumsum()
    return np.asarray(energy / energy[-1])


def runs(curve: Curve) -> list["NDArray[np.int_]"]:
    """The indices of the curve's points, divided where there is a gap; undivided where they are not joined."""
    (there,) = (np.isfinite(curve.x) & np.isfinite(curve.y)).nonzero()
    if not len(there) or not curve.joined:
        return [there][: len(there)]
    return np.split(there, (np.diff(there) > 1).nonzero()[0] + 1)


def decimate(x: "Array", y: "Array", columns: int) -> tuple[list[float], list[float]]:
    """At most two points for each of `columns` columns, the lowest and the highest, in order of `x`."""
    if len(x) <= 2 * columns:
        return x.tolist(), y.tolist()
    edges = np.linspace(0, len(x), columns + 1).astype(int)
    kept: list[int] = []
    for start, stop in pairwise(edges):
        part = y[start:stop]
        kept += sorted({int(start + part.argmin()), int(start + part.argmax())})
    return x[kept].tolist(), y[kept].tolist()


def dotted(x: "Array", y: "Array", columns: int) -> tuple[list[float], list[float]]:
    """A point for every second one of `columns` columns, on the line through the points: a dotted curve."""
    places = np.linspace(x[0], x[-1], max(2, columns // 2))
    return places.tolist(), np.interp(places, x, y).tolist()


def limits(curves: Sequence[Curve], log: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of x and y that hold all curves; a linear axis starts at 0. Never empty."""
    if not curves:
        return (1.0, 2.0), (0.0, 1.0)
    right = max(float(curve.x[-1]) for curve in curves)
    low = min(float(curve.y.min()) for curve in curves) if log else 0.0
    high = max(float(curve.y.max()) for curve in curves)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return (1.0, max(right, 2.0)), (low, high)
