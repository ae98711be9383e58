"""Beside a heat map with room to spare: the median of each layer as a bar, on the scale of the shades."""

from collections.abc import Sequence
from math import isnan

from .painted import Span

NARROWEST, WIDEST = 12, 40
"""Cells of a bar's whole length."""


def bar_width(room: int) -> int:
    """The length of the longest bar in `room` cells; 0 where there is not enough for bars."""
    return min(WIDEST, room) if room >= NARROWEST else 0


def bar(shares: Sequence[float], width: int) -> Span:
    """The bars of the layers on a line, one or two, from 0 to 1; NaN has none."""
    if len(shares) == 1:
        halves = 0 if isnan(shares[0]) else max(1, round(shares[0] * width * 2))
        return "━" * (halves // 2) + "╸" * (halves % 2), "bar"
    upper, lower = (0 if isnan(share) else max(1, round(share * width)) for share in shares)
    both = min(upper, lower)
    return "█" * both + ("▀" if upper > lower else "▄") * (max(upper, lower) - both), "bar"
