"""The command palette: Textual's, which ends the program when a key comes too early or twice."""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress

from textual import on, work
from textual.command import CommandList, CommandPalette
from textual.css.query import NoMatches
from textual.widgets import Input, OptionList

from .overlay import Overlay


class Palette(CommandPalette, Overlay[None]):
    """Runs one command, once."""

    @property
    def is_at_work(self) -> bool:
        """Whether commands are still being gathered or laid out: keys that choose among them wait for them."""
        is_laid_out = not self._list_visible or all(commands.size.height for commands in self.query(CommandList))
        return not is_laid_out or any(worker.node is self and not worker.is_finished for worker in self.workers)

    @work(exclusive=True, group=CommandPalette._GATHER_COMMANDS_GROUP)
    async def _gather_commands(self, search_value: str) -> None:
        """Find the commands; nobody waits for them when the palette has gone before its list was looked for."""
        gather: Callable[[CommandPalette, str], Awaitable[None]] = inspect.unwrap(CommandPalette._gather_commands)
        with suppress(NoMatches):
            await gather(self, search_value)

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _chosen(self, event: Input.Submitted | OptionList.OptionSelected) -> None:
        """The first choice is the choice."""
        if self._has_left:
            event.stop()
            event.prevent_default()

    def _action_command_list(self, action: str) -> None:
        """Move in the list, if there is something in it; one that is still to be drawn has no pages."""
        if self._list_visible and any(not option.disabled for option in self.query_one(CommandList).options):
            with suppress(KeyError):
                super()._action_command_list(action)

    def _action_cursor_down(self) -> None:
        """Move down, if there is something to move to."""
        if any(not option.disabled for option in self.query_one(CommandList).options):
            super()._action_cursor_down()

    def _action_escape(self) -> None:
        """Close, without a command."""
        if not self._has_left:
            super()._action_escape()
