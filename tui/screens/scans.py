"""The keys that begin a scan, for every screen from which one may be wished."""

from functools import partial
from typing import TYPE_CHECKING

from .asking import Asks, Question

if TYPE_CHECKING:
    from svdtui.engine.session import Session

TO_ANSWER = 8.0
"""Seconds in which a scan can be confirmed."""


class Scans(Asks):
    """A screen with a status line that answers, and a session as soon as there is one."""

    session: "Session | None"

    def action_scan(self, whole: bool) -> None:
        """Compute all that is missing; over a network, when the key has been pressed twice."""
        self._scan(whole, confirmed=False)

    def _scan(self, whole: bool, *, confirmed: bool) -> None:
        if self.session is None:
            return
        from ..scanning import begin_scan

        answer = begin_scan(self.session, whole=whole, confirmed=confirmed)
        if answer.asks:
            begin = {"S" if whole else "s": partial(self._scan, whole, confirmed=True)}
            self.ask(Question(answer.sentence, begin, "Nothing begun.", TO_ANSWER))
        else:
            self._status.flash(answer.sentence)
        self.scan_begun()

    def scan_begun(self) -> None:
        """Show what has changed by it."""
