"""How soon the right side follows the tree's cursor, and shows what is new."""

from collections.abc import Callable
from time import monotonic

from textual.screen import Screen
from textual.timer import Timer

SETTLE = 0.06
"""Seconds without a key after which the right side follows the cursor; the first key of a burst does not wait."""


GATHER = 0.25
"""Seconds in which new results are gathered before a long table is made again."""


SHARE = 8
"""How many times as long as a drawing takes nothing is drawn again."""


class Pace:
    """Calls `follow` at once when the user moves after a pause, and after the last key of a burst.

    Calls `show` once for all news that is gathered within a moment.
    """

    def __init__(self, screen: Screen[None], follow: Callable[[], None], show: Callable[[], None]) -> None:
        self._screen = screen
        self._follow = follow
        self._show = show
        self._gathering = False
        self._breath = Breath()
        self._moved = 0.0
        self._settling: Timer | None = None

    @property
    def is_settling(self) -> bool:
        """Whether the last move has not been followed yet."""
        return self._settling is not None

    def moved(self) -> None:
        """The cursor has moved."""
        rested = monotonic() - self._moved > SETTLE
        self._moved = monotonic()
        self.settled()
        if rested:
            self._screen.call_after_refresh(self._follow)
        else:
            self._settling = self._screen.set_timer(SETTLE, self._follow)

    def settled(self) -> None:
        """What was to be followed has been, or need not be any more."""
        if self._settling:
            self._settling.stop()
            self._settling = None

    def gather(self) -> None:
        """There is news, and more may come at once."""
        if not self._gathering:
            self._gathering = True
            self._screen.set_timer(self._breath.seconds, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        with self._breath:
            self._show()


class Breath:
    """How long news is gathered: a moment, and several times as long as showing it takes, so that keys are heard."""

    def __init__(self) -> None:
        self.seconds = GATHER
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds = max(GATHER, SHARE * (monotonic() - self._begun))
