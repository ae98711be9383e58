"""The application: theme, global keys, signals and the session's life. What is on screen is in `screens`."""

import asyncio
import os
import signal
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.geometry import Size
from textual.screen import Screen
from textual.types import AnimationLevel

from svdtui.engine.address import Address
from svdtui.engine.errors import AddressError
from svdtui.engine.model import Model

from .keys import KEYS, bindings
from .places import Places
from .screens.explorer import Explorer
from .screens.small import TooSmall, is_too_small
from .themes import DARK, LIGHT, PLAIN, curve_colours, ground_of_terminal

if TYPE_CHECKING:
    from svdtui.engine.choices import Solver
    from svdtui.engine.events import Event
    from svdtui.engine.session import Session

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""Textual leaves the terminal as it is on these; we leave the program instead."""


class SvdtuiApp(App[int]):
    """`svdtui` on one model."""

    TITLE = "svdtui"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]
    ENABLE_COMMAND_PALETTE = True
    NOTIFICATION_TIMEOUT = 6

    def __init__(
        self,
        model: Model,
        at: Address | None = None,
        *,
        solver: "Solver" = "gram64",
        device: str = "auto",
        cache_dir: Path | None = None,
        prefetch: bool = True,
        k: int = 10,
        places: Places | None = None,
    ) -> None:
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.animation_level: AnimationLevel = "none"
        self.model = model
        self.session: Session | None = None
        self._session_options = (solver, device, cache_dir, prefetch)
        self._places = places or Places()
        self._k = k
        self.explorer = Explorer(model, self._first_address(at), k)
        for theme in (DARK, LIGHT, PLAIN):
            self.register_theme(theme)
        self.theme = self._first_theme()

    def get_default_screen(self) -> Screen[None]:
        """The explorer is the screen at the bottom."""
        return self.explorer

    def get_css_variables(self) -> dict[str, str]:
        """Every theme gets the colours of the curves."""
        self.theme_variables = {**curve_colours(self.current_theme), **super().get_css_variables()}
        return self.theme_variables

    def _first_address(self, at: Address | None) -> Address:
        """Where to open: as asked, where the user was, or the first head there is."""
        if at is not None:
            return at
        for place in (self._places.address(self.model.location), ""):
            if place:
                try:
                    address = Address.parse(place)
                    self.model.check(address)
                except AddressError:
                    continue
                return address
        layer = next((layer for layer in self.model.layers if self.model.has_heads(layer)), None)
        return Address() if layer is None else Address(layer, 0)

    def _first_theme(self) -> str:
        """The terminal's own colours where there are few; else the theme chosen last, or one that fits the ground."""
        if self.no_color or self.console.color_system in (None, "standard"):
            return PLAIN.name
        remembered = self._places.theme()
        return remembered if remembered in self.available_themes else ground_of_terminal(os.environ)

    # life ----------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Leave the terminal clean on signals; begin to compute once the first frame is out."""
        loop = asyncio.get_running_loop()
        for number in ENDING_SIGNALS:
            loop.add_signal_handler(number, self._leave, 128 + number)
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        self._watch_size(self.size)
        self.call_after_refresh(self._begin)

    async def _begin(self) -> None:
        """Start the session: this imports numpy, which the first frame does not wait for."""
        from svdtui.engine.session import Session

        solver, device, cache_dir, prefetch = self._session_options
        self.session = Session(
            self.model,
            solver=solver,
            device=device,
            cache_dir=cache_dir,
            prefetch=prefetch,
            on_event=self._report,
        )
        await self.session.start()
        self.explorer.begin(self.session)

    def _report(self, event: "Event") -> None:
        self.explorer.post_message(Explorer.Reported(event))

    def _leave(self, return_code: int) -> None:
        if self.session is not None:
            self.session.stop()
        self.exit(return_code, return_code)

    async def on_unmount(self) -> None:
        """Remember the place, and see the compute process end."""
        self._places.remember(self.model.location, str(self.explorer.address))
        if self.session is not None:
            await self.session.close()

    async def action_quit(self) -> None:
        """Leave at once, whatever is running."""
        self._leave(0)

    # screens -------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Ask for more room when there is too little, and go on when there is enough."""
        self._watch_size(event.size)

    def _watch_size(self, size: Size) -> None:
        too_small = is_too_small(*size)
        if too_small and not isinstance(self.screen, TooSmall):
            self.push_screen(TooSmall())
        elif not too_small and isinstance(self.screen, TooSmall):
            self.pop_screen()

    def action_help(self) -> None:
        """Keys, and what the figures mean."""
        from .screens.help import Help

        self.push_screen(Help(self._k))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Our commands first, then the theme and a picture of the screen."""
        explorer = self.explorer
        for key in KEYS:
            if key.title:
                target = self if key.owner == "app" else explorer
                command = partial(target.run_action, key.action)
                yield SystemCommand(f"{key.title}  ({key.shown})", key.tooltip, command)
        for offered in super().get_system_commands(screen):
            if offered.title in ("Theme", "Screenshot"):
                yield offered

    def _theme_changed(self, _: object) -> None:
        if not self.no_color and self.console.color_system not in (None, "standard"):
            self._places.remember_theme(self.theme)


def run(
    model: Model,
    at: Address | None,
    *,
    solver: "Solver" = "gram64",
    device: str = "auto",
    cache_dir: Path | None = None,
    prefetch: bool = True,
    mouse: bool = True,
    k: int = 10,
) -> int:
    """Explore `model` until the user leaves; the exit status.

    `at` is where to open; None for where the user was last.
    """
    app = SvdtuiApp(model, at, solver=solver, device=device, cache_dir=cache_dir, prefetch=prefetch, k=k)
    app.run(mouse=mouse)
    return app.return_code or 0
