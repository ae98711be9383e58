"""Whether a series rises or falls with its index: Spearman's ρ, its permutation test, and many tests at once.

scipy is imported by the first call and not before: it takes a second, and no screen waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial, isfinite, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.05
"""The level of every test, after the correction for how many there are."""

EXACT_UP_TO = 9
"""Up to this many values all orders are gone through (9! = 362,880); beyond, `RESAMPLES` random ones."""

RESAMPLES = 99_999
RESAMPLES_OF_LONG = 9_999
"""Of series of more than 256 values, where an order costs as much as there are values."""

STRONG = 0.9
"""A test that can only tell larger |ρ| than this from chance is too weak to say that there is no trend."""

SEED = 20_240_917
"""Of the random orders, so that the same figures always give the same p."""

Direction = Literal["rises", "falls", "none", "unknown"]


@dataclass(frozen=True, slots=True)
class Trend:
    """Spearman's ρ of one series with its index, tested alone."""

    n: int
    """Values that the series has, those left out that are undefined."""
    rho: float | None
    """None where there is no order: fewer than two values, or all are equal."""
    p: float | None
    """Two-sided, by permutation: the share of orders in which |ρ| is at least as large."""
    least_p: float
    """What a perfect order of these values would have: no p can be smaller. 1 where ρ is undefined."""
    ties: tuple[int, ...] = ()
    """Twice the values' ranks, ascending: all that the distribution of ρ under permutation depends on."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A trend as one of several tests of the same statement."""

    trend: Trend
    adjusted_p: float | None
    """After Holm's correction; None where ρ is undefined or no order of so few values could be significant."""
    needed_rho: float | None
    """The least |ρ| that would count as a trend if this were the strongest of the tests; None where none would."""

    @property
    def direction(self) -> Direction:
        """`none` is no trend found; `unknown` that the values are too few for this test to say so."""
        if self.adjusted_p is None or self.trend.rho is None:
            return "unknown"
        if self.adjusted_p <= ALPHA:
            return "rises" if self.trend.rho > 0 else "falls"
        return "none" if self.needed_rho is not None and self.needed_rho <= STRONG else "unknown"


def spearman(series: "NDArray[np.float64]") -> Trend:
    """The trend of a series of (n,) along its index; NaN is left out and the rest closes up, infinite values count.

    The test is that of `scipy.stats.permutation_test`: exact up to 9 values, else over 99,999 random orders, where p
    counts the order that was found too (Phipson & Smyth 2010). Values that are equal share their rank. The
    distribution depends on the ranks alone, so that series of the same length share one.
    """
    values = series[~np.isnan(series)]
    if len(values) < 2 or (values == values[0]).all():
        return Trend(len(values), None, None, 1.0)
    from scipy import stats

    doubled = np.rint(2 * stats.rankdata(values)).astype(np.int64)  # ranks of ties end in ½
    rho = float(stats.spearmanr(np.arange(len(values)), doubled).statistic)
    ties = tuple(sorted(doubled.tolist()))
    null = _null(ties)
    ordered = null.p(int(np.arange(len(ties)) @ np.asarray(ties)))
    return Trend(len(values), rho, null.p(int(np.arange(len(values)) @ doubled)), ordered, ties)


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the given order.

    The i-th smallest of m is multiplied by m − i + 1, is never less than the one before it and at most 1: the chance
    of any false alarm among them stays below the level (Holm, A simple sequentially rejective multiple test
    procedure, Scandinavian Journal of Statistics 6, 1979).
    """
    adjusted = [0.0] * len(p)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted


def corrected(trends: Sequence[Trend]) -> tuple[Corrected, ...]:
    """The trends as the tests of one statement: their p-values corrected for how many could be significant."""
    able = [i for i, trend in enumerate(trends) if trend.p is not None and trend.least_p <= ALPHA]
    adjusted = dict(zip(able, holm([trends[i].p or 0.0 for i in able]), strict=True))
    return tuple(
        Corrected(trend, adjusted.get(i), _needed_rho(trend, ALPHA / len(able)) if i in adjusted else None)
        for i, trend in enumerate(trends)
    )


def _needed_rho(trend: Trend, level: float) -> float | None:
    if trend.least_p > level:
        return None
    null = _null(trend.ties)
    first, last = 0, len(null.values) - 1  # p falls along the upper half
    while first < last:
        middle = (first + last) // 2
        if null.values[middle] > null.centre and null.p(int(null.values[middle])) <= level:
            last = middle
        else:
            first = middle + 1
    return min(1.0, float((null.values[first] - null.centre) / null.scale))


@dataclass(frozen=True, slots=True, eq=False)
class _Null:
    """The distribution of Σ index · doubled rank over the orders of some ranks; it is ρ but for centre and scale."""

    values: "NDArray[np.float64]"
    """Ascending."""
    is_exact: bool
    centre: float
    scale: float

    def p(self, found: int) -> float:
        """Twice the smaller tail, at most 1, as scipy has it."""
        extra = 0 if self.is_exact else 1
        at_most = int(np.searchsorted(self.values, found, "right"))
        at_least = len(self.values) - int(np.searchsorted(self.values, found, "left"))
        return min(1.0, 2 * (min(at_most, at_least) + extra) / (len(self.values) + extra))


@lru_cache(maxsize=32)
def _null(doubled: tuple[int, ...]) -> _Null:
    from scipy import stats

    n = len(doubled)
    index = np.arange(n, dtype=np.float64)
    ranks = np.array(doubled, dtype=np.float64)

    def statistic(order: "NDArray[np.float64]", axis: int) -> "NDArray[np.float64]":
        return np.asarray(np.moveaxis(order, axis, -1) @ index)  # whole numbers: exact, so that ties stay ties

    exact = n <= EXACT_UP_TO
    result = stats.permutation_test(
        (ranks,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=factorial(n) if exact else RESAMPLES if n <= 256 else RESAMPLES_OF_LONG,
        batch=10_000,
        rng=np.random.default_rng(SEED),
    )
    scale = sqrt(float(np.square(ranks - ranks.mean()).sum() * np.square(index - index.mean()).sum()))
    assert isfinite(scale)
    return _Null(np.sort(result.null_distribution), exact, float(ranks.sum() * index.mean()), scale)
