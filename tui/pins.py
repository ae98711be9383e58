"""Spectra that stay in the chart while the user goes elsewhere.

Imported after the first frame, with the session.
"""

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError
from svdtui.engine.model import Model
from svdtui.engine.session import Session
from svdtui.engine.views import Row, view

from .widgets.columns import Entry
from .widgets.curves import Spectrum, spectrum_of

MOST = 4
"""More curves than these, beside the four of a head, could not be told apart."""

LETTERS = "abcd"
"""What marks a pinned curve beside its colour."""


class Pins:
    """Up to four pinned spectra. A pin keeps its letter and colour until it is removed."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._before: dict[int, Row] = {}
        """What was pinned when all was unpinned last."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the pinned spectra, in the order of their letters."""
        return tuple(row for _, row in sorted(self._rows.items()))

    @property
    def entries(self) -> list[Entry]:
        """The lines of the pinned spectra in a table."""
        return [Entry(row.info, row, LETTERS[slot]) for slot, row in sorted(self._rows.items())]

    def toggle(self, address: Address, session: Session, k: int) -> str:
        """Pin a matrix's spectrum, or unpin it; the answer to the user."""
        for slot, row in self._rows.items():
            if row.info.address == address:
                del self._rows[slot]
                return f"Unpinned {address}."
        if len(self._rows) == MOST:
            return f"{MOST} spectra are pinned already: p on one of them unpins it, P unpins all."
        try:
            rows = view(session.model, address, session.seen, k=k).rows
        except AddressError as error:
            return str(error)
        if not rows:
            return f"{address} is not there yet."
        if rows[0].spectrum is None:
            return f"{address} has no spectrum: {rows[0].problem}"
        slot = min(set(range(MOST)) - self._rows.keys())
        self._rows[slot] = rows[0]
        return f"Pinned {address}. p on it unpins it, P unpins all."

    def clear(self) -> str:
        """Unpin all, or bring back what was unpinned so; the answer to the user."""
        if self._rows:
            count = len(self._rows)
            self._rows, self._before = {}, self._rows
            return "Unpinned it. P again pins it." if count == 1 else f"Unpinned all {count}. P again pins them."
        if self._before:
            self._rows, self._before = self._before, {}
            return f"Pinned {', '.join(str(row.info.address) for row in self.rows)} again."
        return "Nothing is pinned."

    def spectra(self) -> list[Spectrum]:
        """The pinned spectra for the chart, labelled `a 0.3.q`."""
        return [
            spectrum_of(row, f"{LETTERS[slot]} {row.info.address}", f"pin-{LETTERS[slot]}", dotted=True)
            for slot, row in sorted(self._rows.items())
        ]


def to_pin(model: Model, here: Address, under_cursor: Address | None, hidden: frozenset[str]) -> Address | None:
    """Which matrix a user means who pins at a place; None when it must be asked.

    That is the selected matrix; of a head the one under the table's cursor, while keys go to the table, or the only
    one that is shown.
    """
    if here.matrix is not None:
        return here
    if under_cursor is not None:
        return under_cursor
    shown = [info.address for info in model.matrices(here) if info.matrix not in hidden]
    return shown[0] if len(shown) == 1 else None
