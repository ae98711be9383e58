"""Figures of a spectrum. Each is a pure function of singular values in descending order along the last axis.

Definitions use σ for the singular values, λ = σ², n for their number and p = σ/Σσ. A figure that is undefined (any
ratio of a zero matrix, σ₁/σₙ with σₙ = 0) or beyond fp64 is NaN in the arrays and None in `Metrics`. All are formed of
σ/σ₁, whose squares and sums neither overflow nor vanish: ratios and ranks do not depend on the scale of the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from .choices import DEFAULT_K

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one spectrum; None where undefined. The order is that of the CSV."""

    sigma_first: float | None
    sigma_last: float | None
    top_ratio: float | None
    first_last_ratio: float | None
    bottom_ratio: float | None
    stable_rank: float | None
    effective_rank: float | None
    participation_ratio: float | None
    energy_rank_90: int | None
    energy_rank_95: int | None
    energy_rank_99: int | None
    frobenius_norm: float | None
    nuclear_norm: float | None


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a metric is called and what it means; `{k}` stands for the number of values of the top and bottom ratios."""

    name: str
    """The field of `Metrics`."""
    column_format: str
    label_format: str
    formula_format: str
    meaning: str
    source: str = ""

    def column(self, k: int = DEFAULT_K) -> str:
        """Its column in a CSV, such as `top10_ratio`."""
        return self.column_format.format(k=k)

    def label(self, k: int = DEFAULT_K) -> str:
        """Its heading on screen, such as `top-10`."""
        return self.label_format.format(k=k)

    def formula(self, k: int = DEFAULT_K) -> str:
        """Its definition."""
        return self.formula_format.format(k=k)


def _info(name: str, label: str, formula: str, meaning: str, source: str = "", column: str = "") -> MetricInfo:
    return MetricInfo(name, column or name, label, formula, meaning, source)


METRICS = (
    _info("sigma_first", "σ₁", "σ₁", "The largest singular value: the spectral norm."),
    _info("sigma_last", "σₙ", "σₙ", "The smallest singular value: 0 when a direction is lost."),
    _info(
        "top_ratio",
        "top-{k}",
        "Σ of the {k} largest σ ÷ Σσ",
        "Share of the sum in the largest values: high means low rank. A flat spectrum gives {k}/n.",
        "“Unveiling the Inner Workings of LLMs: A Singular Value Perspective”, 2024",
        "top{k}_ratio",
    ),
    _info("first_last_ratio", "first/last", "σ₁/σₙ", "The condition number: high means some directions are weak."),
    _info(
        "bottom_ratio",
        "bottom-{k}",
        "Σ of the {k} smallest σ ÷ Σσ",
        "Share of the sum in the smallest values: near 0 means directions that could be removed.",
        "as top-{k}",
        "bottom{k}_ratio",
    ),
    _info("stable_rank", "stable", "Σλ/λ₁", "Stable rank, from 1 to n.", "Rudelson & Vershynin 2007"),
    _info(
        "effective_rank",
        "effective",
        "exp(−Σ p ln p), p = σ/Σσ",
        "Effective rank, from 1 to n: the entropy of the values as a number of directions.",
        "Roy & Vetterli 2007",
    ),
    _info(
        "participation_ratio",
        "particip.",
        "(Σλ)²/Σλ²",
        "Participation ratio, from 1 to n: how many directions share the energy.",
    ),
    _info("energy_rank_90", "90 %", "least k with Σ_(i≤k) λ ≥ 0.90 Σλ", "Rank that keeps 90 % of the energy."),
    _info("energy_rank_95", "95 %", "least k with Σ_(i≤k) λ ≥ 0.95 Σλ", "Rank that keeps 95 % of the energy."),
    _info("energy_rank_99", "99 %", "least k with Σ_(i≤k) λ ≥ 0.99 Σλ", "Rank that keeps 99 % of the energy."),
    _info("frobenius_norm", "‖·‖F", "√Σλ", "The Frobenius norm."),
    _info("nuclear_norm", "‖·‖*", "Σσ", "The nuclear norm."),
)


def _ratio(part: "Array", whole: "Array") -> "Array":
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio: Array = np.where(whole > 0, part / whole, np.nan)
    return ratio


def top_ratio(sigma: "Array", k: int = DEFAULT_K) -> "Array":
    """Sum of the `k` largest of (…, n) ÷ sum of all; with n < k, of all n."""
    relative = _relative(sigma)
    return _ratio(relative[..., :k].sum(-1), relative.sum(-1))


def bottom_ratio(sigma: "Array", k: int = DEFAULT_K) -> "Array":
    """Sum of the `k` smallest of (…, n) ÷ sum of all; with n < k, of all n."""
    relative = _relative(sigma)
    return _ratio(relative[..., max(0, sigma.shape[-1] - k) :].sum(-1), relative.sum(-1))


def first_last_ratio(sigma: "Array") -> "Array":
    """σ₁/σₙ of (…, n): the condition number."""
    return _representable(_ratio(sigma[..., 0], sigma[..., -1]))


def stable_rank(sigma: "Array") -> "Array":
    """Σλ/λ₁ of (…, n) (Rudelson & Vershynin 2007)."""
    rank: Array = np.square(_relative(sigma)).sum(-1)
    return rank


def effective_rank(sigma: "Array") -> "Array":
    """exp(−Σ p ln p) with p = σ/Σσ, of (…, n) (Roy & Vetterli 2007); 0 ln 0 = 0."""
    relative = _relative(sigma)
    p = _ratio(relative, relative.sum(-1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy: Array = -np.where(p == 0, 0.0, p * np.log(p)).sum(-1)
    return np.exp(entropy)


def participation_ratio(sigma: "Array") -> "Array":
    """(Σλ)²/Σλ² of (…, n)."""
    energy = np.square(_relative(sigma))
    return _ratio(np.square(energy.sum(-1)), np.square(energy).sum(-1))


def energy_rank(sigma: "Array", share: float) -> "Array":
    """Least k with Σ_{i≤k} λ ≥ share · Σλ, of (…, n)."""
    energy = np.square(_relative(sigma)).cumsum(-1)
    below = (energy < share * energy[..., -1:]).sum(-1)
    rank: Array = np.where(np.isnan(energy[..., -1]), np.nan, below + 1.0)
    return rank


def frobenius_norm(sigma: "Array") -> "Array":
    """√Σλ of (…, n)."""
    return _times_first(np.sqrt(np.square(_relative(sigma)).sum(-1)), sigma)


def nuclear_norm(sigma: "Array") -> "Array":
    """Σσ of (…, n)."""
    return _times_first(_relative(sigma).sum(-1), sigma)


def rounding_noise(sigma: "Array", rows: int, cols: int) -> int:
    """How many of (n,) values, 0 aside, lie below max(rows, cols) · ε · σ₁: rounding decides them, not the matrix.

    The bound is that of `numpy.linalg.matrix_rank`, with the ε of fp64.
    """
    relative = _relative(sigma)
    return int(((relative > 0) & (relative < max(rows, cols) * np.finfo(np.float64).eps)).sum())


def _relative(sigma: "Array") -> "Array":
    """σ/σ₁; NaN for a zero matrix."""
    return _ratio(sigma, sigma[..., :1])


def _times_first(norm: "Array", sigma: "Array") -> "Array":
    """A norm of σ/σ₁ → that of σ."""
    first = sigma[..., 0]
    with np.errstate(over="ignore"):
        return _representable(np.where(first > 0, norm * first, first))


def _representable(values: "Array") -> "Array":
    """NaN for what is beyond fp64."""
    found: Array = np.where(np.isinf(values), np.nan, values)
    return found


def metric_table(sigma: "Array", k: int = DEFAULT_K) -> "Array":
    """The figures of each row of `sigma`, (slices, n), descending: (slices, metrics), in the order of `Metrics`.

    NaN where undefined; a row of NaN gives all NaN, and so does one whose largest value is ∞.
    """
    sigma = np.where(np.isinf(sigma[:, :1]), np.nan, sigma)
    columns: dict[str, Callable[[Array], Array]] = {
        "sigma_first": lambda s: s[..., 0],
        "sigma_last": lambda s: s[..., -1],
        "top_ratio": lambda s: top_ratio(s, k),
        "first_last_ratio": first_last_ratio,
        "bottom_ratio": lambda s: bottom_ratio(s, k),
        "stable_rank": stable_rank,
        "effective_rank": effective_rank,
        "participation_ratio": participation_ratio,
        "energy_rank_90": lambda s: energy_rank(s, 0.90),
        "energy_rank_95": lambda s: energy_rank(s, 0.95),
        "energy_rank_99": lambda s: energy_rank(s, 0.99),
        "frobenius_norm": frobenius_norm,
        "nuclear_norm": nuclear_norm,
    }
    return np.stack([columns[field.name](sigma) for field in fields(Metrics)], -1)


def flat_value(metric: str, n: int, k: int = DEFAULT_K) -> float | None:
    """What a spectrum of `n` equal values gives; None for what depends on how large they are (σ₁, σₙ, the norms)."""
    if metric in {"sigma_first", "sigma_last", "frobenius_norm", "nuclear_norm"}:
        return None
    figures = metric_table(np.ones((1, n)), k)[0]
    return float(figures[[field.name for field in fields(Metrics)].index(metric)])


def compute_metrics(sigma: "Array", k: int = DEFAULT_K) -> list[Metrics]:
    """The figures of each row of `sigma`, (slices, n), descending. A row of NaN gives all None."""
    return [Metrics(*map(defined, _NAMES, row)) for row in metric_table(sigma, k).tolist()]


def defined(metric: str, value: float) -> Any:
    """A figure of a table as `Metrics` keeps it: None for NaN, an energy rank as an integer."""
    if isnan(value):
        return None
    return int(value) if metric.startswith("energy_rank") else value


_NAMES = tuple(field.name for field in fields(Metrics))
