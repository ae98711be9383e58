"""How a tested trend is told: in words, as a verdict on what was stated, and as the cells of a table."""

from .finding import Cell, Column, Verdict, p_text, rho_text
from .text import plural
from .trends import ALPHA, STRONG, Corrected, Direction

_READINGS: dict[Direction, str] = {
    "rises": "rises",
    "falls": "falls",
    "none": "no trend found",
    "unknown": "not enough data",
}
LEVEL = (
    f"A trend is a Spearman's ρ whose permutation p is at most {ALPHA} after Holm's correction for all tests of the "
    "table that could reach it. p is exact up to 9 values, and beyond from 99,999 random orders, where none can be "
    f"below 2e-5. Where only |ρ| above {STRONG} would count, finding none says nothing: not enough data."
)


def trend_text(found: Corrected, each: str) -> str:
    """The numbers of one test and how it is read; `each` is what a value stands for."""
    trend = found.trend
    if trend.rho is None:
        return too_few(found, each)
    numbers = f"ρ = {rho_text(trend.rho)}, p = {p_text(trend.p)}"
    if found.direction == "unknown":
        return f"{numbers}; {too_few(found, each)}"
    return f"{numbers}, Holm {p_text(found.adjusted_p)}: {_READINGS[found.direction]}"


def too_few(found: Corrected, each: str) -> str:
    """Why a test could not find any trend."""
    trend = found.trend
    if trend.rho is None:
        values = plural(trend.n, each)
        return f"{values} with a figure" if trend.n < 2 else f"the figures of all {values} are equal"
    if found.needed_rho is not None:
        return f"of {plural(trend.n, each)} only |ρ| of {found.needed_rho:.2f} and more could be told from chance"
    corrected = "" if trend.least_p > ALPHA else ", too much for so many tests"
    return f"of {plural(trend.n, each)} even a perfect order has p = {p_text(trend.least_p)}{corrected}"


def verdict_on(found: Corrected, expected: Direction) -> Verdict:
    """Whether a trend is as stated; `none` states that there is none."""
    if found.direction == "unknown":
        return Verdict.UNKNOWN
    return Verdict.HOLDS if found.direction == expected else Verdict.FAILS


def cells_of(found: Corrected) -> tuple[Cell, ...]:
    """n, ρ, p, corrected p, least |ρ|, reading."""
    return (
        found.trend.n,
        rho_text(found.trend.rho),
        found.trend.p,
        found.adjusted_p,
        rho_text(found.needed_rho).lstrip("+"),
        _READINGS[found.direction],
    )


COLUMNS = (
    Column("values", "count"),
    Column("ρ", "text"),
    Column("p", "p"),
    Column("p (Holm)", "p"),
    Column("needs |ρ| ≥", "text"),
    Column("reading", "text"),
)
