"""Whether somebody who computes is still heard of: processes that were stopped, or whose machine sleeps, say nothing.

Silence is counted in looks, a second apart, and not by the clock: whoever was stopped himself has not looked, and so
has missed nothing. It begins with the first word: until then a process is only starting.
"""

BEAT = 1.0
"""Seconds between two beats of a process, whatever it computes, and between two looks."""

MOST = 5
"""Looks in a row without a word after which somebody counts as silent."""


class Pulse:
    """When one of those who should be heard of was heard last. `most` looks without a word are silence."""

    def __init__(self, most: float = MOST) -> None:
        self._most = most
        self._looks: int | None = None

    def heard(self) -> None:
        """A word has come."""
        self._looks = 0

    def forget(self) -> None:
        """Somebody else begins."""
        self._looks = None

    def look(self) -> None:
        """A second has passed."""
        if self._looks is not None:
            self._looks += 1

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come for long."""
        return self._looks is not None and self._looks > self._most
