"""Whether somebody who computes is still heard of: processes that were stopped, or whose machine sleeps, say nothing.

Silence is counted in looks, a second apart, and not by the clock: whoever was stopped himself has not looked, and so
has missed nothing. Before its first word a process is only starting, which may take longer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

BEAT = 1.0
"""Seconds between two beats of a process, whatever it computes, and between two looks."""

MOST = 5
"""Looks in a row without a word after which somebody counts as silent."""

_START = 25
"""How many more somebody has who is starting."""


class Pulse:
    """When one of those who should be heard of was heard last. `most` looks without a word are silence."""

    def __init__(self, most: float = MOST) -> None:
        self._most = most
        self._looks = -_START

    def heard(self) -> None:
        """A word has come."""
        self._looks = 0

    def forget(self) -> None:
        """Somebody else begins."""
        self._looks = -_START

    def look(self) -> None:
        """A second has passed."""
        self._looks += 1

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come for long."""
        return self._looks > self._most


@asynccontextmanager
async def watched(pulse: Pulse, tell: Callable[[bool], None]) -> AsyncIterator[None]:
    """Meanwhile look once a second, and tell each time whether there is silence."""

    async def look() -> None:
        while True:
            await asyncio.sleep(BEAT)
            pulse.look()
            tell(pulse.is_silent)

    looking = asyncio.get_running_loop().create_task(look())
    try:
        yield
    finally:
        looking.cancel()
