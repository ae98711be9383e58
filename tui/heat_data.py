"""What the heat map shows of a session: figures layer by layer, and where one stands among all of them.

Imported after the first frame: it brings numpy.
"""

from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from svdtui.engine.address import Address
from svdtui.engine.events import State
from svdtui.engine.grid import Grid, grid
from svdtui.engine.model import HEADS, Job, Model
from svdtui.engine.results import JobResult, Tables
from svdtui.engine.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 1e-6
"""Values this close, relatively, share their place: solvers differ by as much."""


class HeatData:
    """The tables of a session's layers, fetched as many at a time as there is time for."""

    def __init__(self, session: Session, k: int) -> None:
        self._session = session
        self._k = k
        self._found: dict[Job, tuple[JobResult, Tables]] = {}
        self._to_fetch: list[Job] = []

    def refresh(self) -> None:
        """Look at every layer once more."""
        self._to_fetch = [Job(layer, HEADS) for layer in self._session.model.layers]

    def changed(self, job: Job) -> None:
        """Something has happened to a job: its figures are fetched anew."""
        if job not in self._to_fetch and job.kind == HEADS:
            self._to_fetch.append(job)

    @property
    def is_complete(self) -> bool:
        """Whether all has been looked at."""
        return not self._to_fetch

    def fetch(self, seconds: float) -> None:
        """Fetch what is there, for so long."""
        until = monotonic() + seconds
        while self._to_fetch and monotonic() < until:
            self._read(self._to_fetch.pop(0))

    def _read(self, job: Job) -> None:
        """Take a layer's figures, when it is computed."""
        result = self._session.result(job) if self._session.state(job) is State.CACHED else None
        if result is None:
            self._found.pop(job, None)
        elif job not in self._found or self._found[job][0] is not result:
            self._found[job] = result, result.tables(self._k)

    def _tables(self, job: Job) -> Tables | None:
        return self._found[job][1] if job in self._found else None

    def grid(self, matrix: str, metric: str) -> Grid:
        """One metric of one head matrix, as far as it was fetched."""
        return grid(self._session.model, matrix, metric, self._tables)


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
    return Address(model.layers[layer], column * _sharing(model, matrix), matrix)


def column_of(model: Model, matrix: str, head: int) -> int:
    """The column in which a query head's matrix is."""
    return head // _sharing(model, matrix)


def names_of(model: Model, matrix: str, layer: int, column: int) -> list[str]:
    """A cell in words, from longer to shorter: `layer 4 · KV head 1 (heads 3–5)`, `KV head 1 (heads 3–5)`, …"""
    sharing = _sharing(model, matrix)
    if sharing == 1:
        return [f"layer {model.layers[layer]} · head {column}", f"head {column}"]
    head = f"KV head {column}"
    shared = f"{head} (heads {column * sharing}–{(column + 1) * sharing - 1})"
    return [f"layer {model.layers[layer]} · {shared}", shared, head]


def _sharing(model: Model, matrix: str) -> int:
    """How many query heads share a slice."""
    return model.heads // model.slices(matrix)
