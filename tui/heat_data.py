"""What the heat map says of a cell: its address, its name, and where its figure stands among all of them.

Imported after the first frame: it brings numpy.
"""

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from svdtui.engine.address import Address
from svdtui.engine.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 1e-6
"""Values this close, relatively, share their place: solvers differ by as much."""


def standing(values: "NDArray[np.float64]", value: float) -> str:
    """The place of one of the values among all that are defined, from the nearer end: `3rd highest of 270`."""
    defined = values[~np.isnan(values)]
    above = int((defined > value * (1 + LEVEL)).sum())
    below = int((defined < value * (1 - LEVEL)).sum())
    shared = len(defined) - above - below
    if shared == len(defined):
        return f"the same in all {len(defined):,}" if shared > 1 else "the only one"
    place, word = (above, "highest") if above <= below else (below, "lowest")
    joint = "joint " if shared > 1 else ""
    return f"{joint}{ordinal(place + 1)}{word} of {len(defined):,}"


def ordinal(number: int) -> str:
    """`` for the first, then `2nd `, `3rd `, `4th `, with the blank that follows."""
    if number == 1:
        return ""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending} "


def address_of(model: Model, matrix: str, layer: int, column: int) -> Address:
    """The matrix of a cell, `layer` counted from 0; for K and V that of the first query head that shares it."""
    return Address(model.depth_layers[layer], column * _sharing(model, matrix), matrix)


def row_of(model: Model, layer: int) -> int:
    """The row in which a layer is, or for one that the map does not show the last."""
    return min(bisect_left(model.depth_layers, layer), len(model.depth_layers) - 1)


def column_of(model: Model, matrix: str, head: int) -> int:
    """The column in which a query head's matrix is."""
    return head // _sharing(model, matrix)


def names_of(model: Model, matrix: str, layer: int, column: int) -> list[str]:
    """A cell in words, from longer to shorter: `layer 4 · KV head 1 (heads 3–5)`, `KV head 1 (heads 3–5)`, …"""
    sharing = _sharing(model, matrix)
    if sharing == 1:
        return [f"layer {model.depth_layers[layer]} · head {column}", f"head {column}"]
    head = f"KV head {column}"
    shared = f"{head} (heads {column * sharing}–{(column + 1) * sharing - 1})"
    return [f"layer {model.depth_layers[layer]} · {shared}", shared, head]


def _sharing(model: Model, matrix: str) -> int:
    """How many query heads share a slice."""
    return model.heads // model.slices(matrix)
