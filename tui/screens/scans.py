"""The keys that begin a scan, for every screen from which one may be wished."""

from typing import TYPE_CHECKING, Any

from textual.screen import Screen

if TYPE_CHECKING:
    from svdtui.engine.session import Session

    from ..widgets.lines import StatusLine


class Scans(Screen[Any]):
    """A screen with a status line that answers, and a session as soon as there is one."""

    session: "Session | None"
    _status: "StatusLine"
    _asked_to_scan: str | None = None
    """Which scan waits for its key to be pressed once more."""

    def action_scan(self, whole: bool) -> None:
        """Compute all that is missing; over a network, when the key has been pressed twice."""
        if self.session is None:
            return
        from ..scanning import begin_scan

        key = "S" if whole else "s"
        answer = begin_scan(self.session, whole=whole, confirmed=self._asked_to_scan == key)
        self._status.flash(answer.sentence, until=self._forget_scan if answer.asks else None)
        self._asked_to_scan = key if answer.asks else None
        self.scan_begun()

    def _forget_scan(self) -> None:
        self._asked_to_scan = None

    def scan_begun(self) -> None:
        """Show what has changed by it."""
