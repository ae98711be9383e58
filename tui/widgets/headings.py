"""The titles of charts and tables: as much as fits, in shorter words before any of it is cut."""

import re
from collections.abc import Sequence

from rich.cells import cell_len

from .painted import Line, clipped

_RULES = 5
"""Cells that stand around the two parts whatever they say."""


def fitted(lefts: Sequence[str], rights: Sequence[str], width: int) -> tuple[str, str]:
    """The longest of the wordings at the left, and of those at the right, that go into a line together.

    The right gives way first. Only where the shortest are too long, the left one is cut, and ends in `…`.
    """
    for left in lefts:
        for right in rights:
            if cell_len(left) + cell_len(right) <= width:
                return left, right
    return clipped(lefts[-1], max(0, width - cell_len(rights[-1]))), rights[-1]


def heading(titles: Sequence[str], width: int, rights: Sequence[str] = ("",)) -> Line:
    """`─ layer 0 · head 0 ─────────────── σ · log ─`: wordings of both parts, the longest first."""
    rights = [f" {right} ─" if right else "" for right in rights]
    left, right = fitted(titles, rights, width - _RULES)
    rule = "─" * max(0, width - cell_len(left) - cell_len(right) - 3)
    return [("─ ", "dim"), (left, "strong"), (f" {rule}{right}", "dim")]


def table_heading(titles: Sequence[str], width: int, words: Sequence[str]) -> Line:
    """`─ layer 3 · 128 matrices ────────── 1–40 of 128 · columns 4 > ─`: the last words give way first."""
    words = [word for word in words if word]
    rights = [" · ".join(words[:count]) for count in range(len(words), -1, -1)]
    left, right = fitted(titles, [f" {right} ─" if right else "" for right in rights], width - _RULES)
    left = f"─ {left} "
    return [(left + "─" * max(0, width - cell_len(left) - cell_len(right)) + right, "dim")]


def shortened(title: str) -> list[str]:
    """A place's title, and without what is in brackets in it."""
    return list(dict.fromkeys([title, re.sub(r" \([^()]*\)", "", title)]))
