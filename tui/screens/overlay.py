"""What screens have in common that lie over another one and leave with an answer."""

from typing import Generic

from textual.await_complete import AwaitComplete
from textual.screen import Screen, ScreenResultType


class Overlay(Screen[ScreenResultType], Generic[ScreenResultType]):
    """Leaves once. What comes after, a second Enter say, is too late.

    Textual takes away whatever screen is on top when any screen is dismissed, so one that is asked to leave while
    another lies over it waits until it is on top itself.
    """

    _has_left = False
    _leaves_with: ScreenResultType | None = None

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Leave, with an answer to whoever opened this."""
        if not self._has_left:
            self._has_left, self._leaves_with = True, result
            return self._leave()
        return AwaitComplete()

    def on_screen_resume(self) -> None:
        """What lay above has gone."""
        if self._has_left:
            self._leave()

    def _leave(self) -> AwaitComplete:
        is_on_top = self.is_running and self.app.screen is self
        return super().dismiss(self._leaves_with) if is_on_top else AwaitComplete()
