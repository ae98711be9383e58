"""The table: a row per target, with what was measured beside its reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `met` is None for what is told without a target."""

    what: str
    target: str
    measured: str
    detail: str
    """The reference, and how both were measured."""
    met: bool | None

    def __str__(self) -> str:
        verdict = {True: "met", False: "**MISSED**", None: "–"}[self.met]
        return f"| {self.what} | {self.target} | {self.measured} | {verdict} | {self.detail} |"


HEADER = "| what | target | measured | verdict | beside |\n|---|---|---|---|---|"


def faster(what: str, least: float, ours: Sequence[float], theirs: Sequence[float], reference: str) -> Row:
    """Ours is at least `least` times as fast as the reference (medians of seconds)."""
    ratio = median(theirs) / median(ours)
    detail = f"{seconds(median(ours))} beside {seconds(median(theirs))} for {reference}"
    return Row(what, f"≥ {least:g} × faster", f"{ratio:.1f} × faster", detail, ratio >= least)


def within(what: str, most: float, ours: float, theirs: float, reference: str) -> Row:
    """Ours takes at most `most` times the seconds of the reference."""
    ratio = ours / theirs
    detail = f"{seconds(ours)} beside {seconds(theirs)} for {reference}"
    return Row(what, f"≤ {most:g} × its time", f"{ratio:.2f} ×", detail, ratio <= most)


def seconds(value: float) -> str:
    """`3.2 s` or `31 ms`."""
    return f"{value:.2f} s" if value >= 0.9995 else f"{value * 1000:.3g} ms"


def kilobytes(value: float) -> str:
    """`1.5 KB`, of 1000 bytes."""
    return f"{value / 1000:.2f} KB"


def megabytes(value: float) -> str:
    """`412 MB`, of a million bytes."""
    return f"{value / 1e6:.0f} MB"


def spread(values: Sequence[float]) -> str:
    """Lowest and highest of some seconds, and how many there were."""
    return f"{seconds(min(values))} to {seconds(max(values))} in {len(values)}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` % of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]
