"""The numbers along a heat map: of the layers before its lines, of the heads above its columns."""

from .painted import Span

BEFORE_CURSOR = "▸"


def layer_label(number: int, width: int, *, cursor: bool) -> Span:
    """A layer's number before its line; at the cursor, with a mark before it."""
    text = f"{BEFORE_CURSOR if cursor else ' '}{number:>{width - 2}} "
    return text, "strong" if cursor else "dim"


def column_numbers(first: int, count: int, cell: int, cursor: int | None) -> list[Span]:
    """The numbers of `count` columns from `first` on, each over its cells of width `cell`, as many as have room.

    That of the column `cursor`, counted from 0, is always there, and stands out.
    """
    width = count * cell
    line = [" "] * width
    digits = len(str(first + count - 1))
    step = next(
        step
        for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, count)
        if step * cell > digits or step == count
    )
    chosen = range(0)
    if cursor is not None:
        chosen = _place(first + cursor, cursor, cell, width)
        line[chosen.start : chosen.stop] = str(first + cursor)
    for column in range(-first % step, count, step):
        place = _place(first + column, column, cell, width)
        if not place or (chosen and place.start <= chosen.stop and place.stop >= chosen.start):
            continue
        line[place.start : place.stop] = str(first + column)
    text = "".join(line)
    parts = [(text[: chosen.start], "dim"), (text[chosen.start : chosen.stop], "cursor"), (text[chosen.stop :], "dim")]
    return [part for part in parts if part[0]]


def _place(number: int, column: int, cell: int, width: int) -> range:
    """Where a number goes: in the middle of its cell, moved in from the right edge; nowhere if it is too long."""
    size = len(str(number))
    if size > width:
        return range(0)
    start = min(column * cell + max(0, (cell - size) // 2), width - size)
    return range(start, start + size)
