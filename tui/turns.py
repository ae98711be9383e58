"""Keys one after the other: each finds what the one before it has made.

Textual hands a key to whatever has the focus when it arrives. Of keys that arrive together, over a slow line or from a
script, all would go to the screen that the first of them is about to cover.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from textual.app import App
from textual.events import Key, Paste
from textual.message_pump import MessagePump
from textual.widgets import Input

ROUNDS = 50
"""Times that all parts of the screen are asked whether they are done, before the next key goes on without them."""

PATIENCE = 1.0
"""Seconds that are waited for an answer: a part of the screen that has gone gives none."""

Typed = Key | Paste


class Turns:
    """Keeps what is typed until the app has done with what was typed before it."""

    def __init__(self, app: App[int], deliver: Callable[[Typed], Awaitable[None]]) -> None:
        self._app = app
        self._deliver = deliver
        self._waiting: deque[Typed] = deque()
        self._work: asyncio.Task[None] | None = None
        self._is_settled = True

    async def take(self, event: Typed) -> None:
        """Deliver a key now, or when its turn has come. To be called by the app for every key, in their order."""
        is_letter = self._is_letter(event)
        if self._work is None and (self._is_settled or is_letter):
            self._is_settled = False
            await self._deliver(event)
            if is_letter:
                return
        else:
            self._waiting.append(event)
        if self._work is None:
            self._work = asyncio.create_task(self._take_turns())

    def _is_letter(self, event: Typed) -> bool:
        """Whether a key goes into a text field: it leads nowhere else, and the next letter need not wait."""
        return isinstance(self._app.focused, Input) and isinstance(event, Key) and event.is_printable

    def end(self) -> None:
        """Forget what has not had its turn."""
        self._waiting.clear()
        if self._work is not None:
            self._work.cancel()

    async def _take_turns(self) -> None:
        try:
            await settled(self._app)
            while self._waiting:
                event = self._waiting.popleft()
                self._app.call_later(self._deliver, event)
                while self._waiting and self._is_letter(event) and self._is_letter(self._waiting[0]):
                    self._app.call_later(self._deliver, self._waiting.popleft())
                await settled(self._app)
        finally:
            self._is_settled, self._work = True, None


async def settled(app: App[int]) -> None:
    """Return when the app and its screen have nothing to do, as far as that can be waited for."""
    for _ in range(ROUNDS):
        if not app.screen_stack:  # it is leaving
            return
        screen = app.screen
        parts = [app, *screen.walk_children(with_self=True)]
        await _have_answered(parts)
        if screen in app.screen_stack[-1:] and screen.is_mounted and not any(part.message_queue_size for part in parts):
            if not getattr(screen, "is_at_work", False):
                return
            await asyncio.sleep(0.01)


async def _have_answered(parts: Sequence[MessagePump]) -> None:
    """Wait until each part has done what was in its queue."""
    answers = [asyncio.Event() for _ in parts]
    asked = [answer for part, answer in zip(parts, answers, strict=True) if part.call_later(answer.set)]
    for answer in asked:
        try:
            await asyncio.wait_for(answer.wait(), PATIENCE)
        except TimeoutError:
            return
