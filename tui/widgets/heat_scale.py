"""From the figures of a heat map to its shades: the ends of the scale, and what has no place on it.

Imported after the first frame: it brings numpy.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.int64]

MISSING, UNDEFINED, ZERO = -1, -2, -3
"""Instead of a shade: not computed; computed, but without a value; zero, for which a logarithmic scale has no place."""

DECADE = 10.0
"""From this ratio of the largest to the smallest value on, the scale is logarithmic unless the user says otherwise."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The values at both ends."""

    low: float
    high: float
    log: bool

    @property
    def middle(self) -> float:
        """The value half-way: the mean of the ends, on a logarithmic scale their geometric mean."""
        if self.log:
            return float(np.sqrt(self.low) * np.sqrt(self.high))
        return self.low + (self.high - self.low) / 2

    def positions(self, values: "Array") -> "Array":
        """From 0 at the low end to 1 at the high one; 0.5 where both are the same. NaN stays NaN."""
        if not self.low < self.high:
            return np.where(np.isnan(values), np.nan, 0.5)
        low, high = (np.log10(self.low), np.log10(self.high)) if self.log else (self.low, self.high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = np.log10(values) if self.log else values
            share: Array = found / (high - low) - low / (high - low)
        return np.clip(share, 0.0, 1.0)


def scale_of(values: "Array", log: bool | None) -> Scale | None:
    """The scale that holds all finite values, or None when there are none; `log` None decides by their span.

    A scale on which no value is above zero is never logarithmic.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    positive = finite[finite > 0]
    if not positive.size:
        return Scale(float(finite.min()), float(finite.max()), log=False)
    if log is None:
        log = bool(positive.max() / DECADE >= positive.min())
    low = positive.min() if log else finite.min()
    return Scale(float(low), float(finite.max()), log)


def codes(values: "Array", computed: "NDArray[np.bool_]", scale: Scale | None, count: int) -> "Codes":
    """Which of `count` shades each value has, or `MISSING`, `UNDEFINED` or `ZERO`.

    `values` is (layers, slices), `computed` says of which layers there are results, (layers,).
    """
    found = np.full(values.shape, UNDEFINED, dtype=np.int64)
    if scale is not None:
        defined = ~np.isnan(values)
        shade = np.minimum(scale.positions(values[defined]) * count, count - 1).astype(np.int64)
        found[defined] = np.where(scale.log & (values[defined] <= 0), ZERO, shade)
    found[~computed] = MISSING
    return found
