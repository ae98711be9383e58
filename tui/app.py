"""The application: theme, global keys, signals and the session's life. What is on screen is in `screens`."""

import asyncio
import importlib
import os
import signal
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import RenderableType
from textual import events
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.driver import Driver as TextualDriver
from textual.geometry import Size
from textual.markup import escape
from textual.screen import Screen
from textual.types import AnimationLevel

from svdtui.engine.address import ROOT, Address
from svdtui.engine.errors import EngineError
from svdtui.engine.hand import Spare
from svdtui.engine.model import Model
from svdtui.engine.text import printable

from .colours import Depth, depth_of
from .driver import Driver
from .keys import KEYS, bindings
from .opener import Opener
from .places import Places
from .screens.asking import Asks
from .screens.explorer import Explorer
from .screens.opening import Opening
from .screens.small import TooSmall, is_too_small
from .start import first_address
from .themes import DARK, LIGHT, PLAIN, ground_of_terminal, inks
from .turns import Turns

if TYPE_CHECKING:
    from svdtui.engine.choices import Solver
    from svdtui.engine.session import Session

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""Textual leaves the terminal as it is on these; we leave the program instead."""

LEAVING_KEYS = frozenset({"ctrl+c", "ctrl+q"})


class SvdtuiApp(App[int]):
    """`svdtui` on one model: an open one, or one that is still to be opened over the network."""

    TITLE = "svdtui"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]
    ENABLE_COMMAND_PALETTE = True
    NOTIFICATION_TIMEOUT = 6

    def __init__(
        self,
        model: Model | Opener,
        at: str | Address | None = None,
        *,
        solver: "Solver" = "gram64",
        device: str = "auto",
        cache_dir: Path | None = None,
        prefetch: bool = True,
        offline: bool = False,
        workers: int | None = None,
        dask: str | None = None,
        k: int = 10,
        places: Places | None = None,
        spare: Spare | None = None,
    ) -> None:
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.animation_level: AnimationLevel = "none"
        self.session: Session | None = None
        self._spare = spare
        self.failure: EngineError | None = None
        """Why there was nothing to explore."""
        self._session_options = (solver, device, cache_dir, prefetch, offline, workers, dask)
        self._places = places or Places()
        self._at = at
        self._k = k
        self._opener = model if isinstance(model, Opener) else None
        self.explorer: Explorer | None = None
        self._opening_stack = asyncio.Lock()
        self._turns = Turns(self, self._deliver)
        self._first: Screen[None]
        if isinstance(model, Opener):
            self._first = Opening(model)
        else:
            self._first = self.explorer = self._explorer(model)
        for theme in (DARK, LIGHT, PLAIN):
            self.register_theme(theme)
        self.theme = self._first_theme()

    def get_default_screen(self) -> Screen[None]:
        """The screen at the bottom: the explorer, as soon as there is a model."""
        return self._first

    def get_driver_class(self) -> type[TextualDriver]:
        """Ours, where it runs."""
        chosen = super().get_driver_class()
        return Driver if issubclass(Driver, chosen) else chosen

    def get_css_variables(self) -> dict[str, str]:
        """Every theme gets the inks of curves and of what stands back."""
        base = super().get_css_variables()
        self.theme_variables = {**inks(self.current_theme, base), **base}
        return self.theme_variables

    def _explorer(self, model: Model) -> Explorer:
        return Explorer(model, first_address(model, self._at, self._places), self._k)

    def _first_theme(self) -> str:
        """The terminal's own colours where there are few; else the theme chosen last, or one that fits the ground."""
        if depth_of(self) is Depth.FEW:
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
        self.screen_change_signal.subscribe(self, self._screen_changed)
        self._watch_size(self.size)
        if self.explorer is not None:
            self.call_after_refresh(self._begin, self.explorer)
        else:
            self.call_after_refresh(lambda: self.run_worker(self._get_ready()))

    async def on_opening_opened(self, message: Opening.Opened) -> None:
        """The explorer takes over."""
        if self.explorer is not None:
            return
        try:
            self.explorer = self._explorer(message.model)
            if self._spare is not None:
                solver, device, cache_dir, _, offline, _, _ = self._session_options
                self._spare.begin(
                    message.model,
                    self.explorer.first,
                    solver=solver,
                    device=device,
                    cache_dir=cache_dir,
                    offline=offline,
                )
        except EngineError as error:
            self._fail(error)
            return
        await self.push_screen(self.explorer)
        self.call_after_refresh(self._begin, self.explorer)

    def on_opening_failed(self, message: Opening.Failed) -> None:
        """Leave the sentence to whoever started the app: it belongs on the terminal that is there afterwards."""
        self._fail(message.error)

    def _fail(self, error: EngineError) -> None:
        self.failure = error
        self._leave(error.exit_code)

    async def _begin(self, explorer: Explorer) -> None:
        """Start the session: this imports numpy, which the first frame does not wait for."""
        from svdtui.engine.session import Session

        solver, device, cache_dir, prefetch, offline, workers, dask = self._session_options
        self.session = Session(
            explorer.model,
            solver=solver,
            device=device,
            cache_dir=cache_dir,
            prefetch=prefetch,
            offline=offline,
            k=self._k,
            workers=workers,
            dask=dask,
            spare=self._take_spare(),
            on_event=explorer.report,
        )
        await self.session.start()
        explorer.begin(self.session)
        if explorer.model.notice:  # in full, once: the status line may have no room for it
            self.notify(printable(explorer.model.notice), severity="warning", timeout=8, markup=False)

    def open_stack(self, name: str) -> None:
        """Show other layers of the same files, as `--stack` does."""
        self.run_worker(self._open_stack(name), group="stack")

    async def _open_stack(self, name: str) -> None:
        async with self._opening_stack:  # one that has ended a session begins the next before another one ends it
            await self._change_stack(name)

    async def _change_stack(self, name: str) -> None:
        left = self.explorer
        if _shown_on(self.screen) != "explorer":
            await self.screen.dismiss(None)
        if left is None or self.screen is not left or self.session is None or name == left.model.stack:
            return
        try:
            model = Model(left.model.checkpoint, name)
        except EngineError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self._places.remember(left.model.home, str(left.address) or ROOT)
        session, self.session = self.session, None
        left.session = None
        await session.close()
        self.explorer = Explorer(model, first_address(model, None, self._places), self._k)
        is_at_bottom = left is self._first  # which no other screen can take the place of
        await (self.push_screen if is_at_bottom else self.switch_screen)(self.explorer)
        await self._begin(self.explorer)

    def _take_spare(self) -> Spare | None:
        spare, self._spare = self._spare, None
        return spare

    @property
    def is_opening(self) -> bool:
        """Whether a thread still waits for the network."""
        return self._opener is not None and self._opener.is_running

    async def _get_ready(self) -> None:
        """Import what the explorer needs while the model is opened; keys are answered in between."""
        for module in ("numpy", "svdtui.engine.session", "plotext", "svdtui.tui.scene"):
            importlib.import_module(module)
            await asyncio.sleep(0.01)

    def _leave(self, return_code: int) -> None:
        if self._opener is not None:
            self._opener.leave()
        if self.session is not None:
            self.session.stop()
        self.exit(return_code, return_code)

    async def on_unmount(self) -> None:
        """Remember the place, and see the compute process end."""
        self._turns.end()
        if self.explorer is not None:
            self._places.remember(self.explorer.model.home, str(self.explorer.address) or ROOT)
        if spare := self._take_spare():
            spare.process.kill()
            await spare.process.ended()
        if self.session is not None:
            await self.session.close()

    async def action_quit(self) -> None:
        """Leave at once, whatever is running."""
        self._leave(0)

    def action_suspend_process(self) -> None:
        """Back to the shell, until it says `fg`."""
        if isinstance(self._driver, Driver) and not self._driver.suspend():
            self.notify("No shell waits for this program.", severity="warning", markup=False)

    def panic(self, *renderables: RenderableType) -> None:
        """Whatever ends the screen like this is an error."""
        self._return_code = 1
        super().panic(*renderables)

    # keys ----------------------------------------------------------------------------------------

    async def on_event(self, event: events.Event) -> None:
        """Let keys take turns, except those that leave at once."""
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded or _leaves(event):
            await super().on_event(event)
        else:
            await self._turns.take(event)

    async def _deliver(self, event: events.Key | events.Paste) -> None:
        """Hand a key to the question that stands, or to what has the focus."""
        screen = self.screen
        if isinstance(screen, Asks) and screen.is_asking:
            screen.answer((event.character or event.key) if isinstance(event, events.Key) else "")
        else:
            await super().on_event(event)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether there is room for what a key does: below the smallest size one can only leave."""
        if isinstance(self.screen, TooSmall) and action not in {"quit", "suspend_process"}:
            return False
        return super().check_action(action, parameters)

    # screens -------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Ask for more room when there is too little, and go on when there is enough.

        Where a screen hears of the size that it has, a shell has had the terminal, or its window was smaller for a
        moment: what was drawn is lost, and Textual would draw nothing (Textualize/textual#6298).
        """
        for screen in self.screen_stack:
            if event.size == screen.size:
                screen.refresh(layout=True)
        self._watch_size(event.size)

    def _screen_changed(self, _: object) -> None:
        """What a key had begun before the terminal shrank may come up over the notice, and go when it has grown."""
        self._watch_size(self.size)

    def _watch_size(self, size: Size) -> None:
        too_small = is_too_small(*size)
        if too_small and not isinstance(self.screen, TooSmall):
            self.push_screen(TooSmall())
        elif not too_small and isinstance(self.screen, TooSmall):
            self.pop_screen()

    def action_help(self) -> None:
        """Keys, and what the figures mean."""
        from .screens.help import Help

        self.push_screen(Help(self._k, getattr(self.screen, "key_owners", ("app",))))

    def action_command_palette(self) -> None:
        """All commands by name."""
        from .screens.palette import Palette

        self.push_screen(Palette(id="--command-palette"))

    def search_themes(self) -> None:
        """All themes by name."""
        from textual.theme import ThemeProvider

        from .screens.palette import Palette

        self.push_screen(Palette(providers=[ThemeProvider], placeholder="Search for themes…"))

    def clear_notifications(self) -> None:
        """Take away all messages, and the room that they had."""
        super().clear_notifications()
        self.call_later(self._take_room_back)

    def _take_room_back(self) -> None:
        for rack in self.screen.query("#textual-toastrack"):
            rack.virtual_size = Size(0, 0)  # one that is hidden is not laid out

    def action_picture(self) -> None:
        """Save the screen as SVG, without what was said about earlier ones."""
        self.clear_notifications()
        self.call_after_refresh(self._save_picture)

    def _save_picture(self) -> None:
        from .picture import save_picture

        model = self.explorer.model.name if self.explorer else self._opener.name if self._opener else "svdtui"
        place = getattr(self.screen, "picture_name", f".{type(self.screen).__name__.lower()}")
        self.run_worker(save_picture(self, model, place), group="picture", exclusive=False)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Our commands first, then the theme."""
        over = _shown_on(screen)
        targets = {"app": self, over: self.explorer if over == "explorer" else screen}
        for key in KEYS:
            target = targets.get(key.owner)
            if key.title and target is not None:
                command = partial(target.run_action, key.action)
                yield SystemCommand(f"{key.title}  ({key.shown})", key.tooltip, command)
        if self.explorer is not None and (screen is self.explorer or over != "explorer"):
            for name in self.explorer.model.stacks.names:
                if name != self.explorer.model.stack:
                    this, that = escape(printable(name)), escape(printable(self.explorer.model.stack))
                    what = f"Show {this} instead of {that}"
                    yield SystemCommand(f"Open stack {this}", what, partial(self.open_stack, name))
        for offered in super().get_system_commands(screen):
            if offered.title == "Theme":
                yield offered

    def _theme_changed(self, _: object) -> None:
        if depth_of(self) is not Depth.FEW:
            self._places.remember_theme(self.theme)


def _shown_on(screen: Screen[Any]) -> str:
    """Which of the screens of a model this is."""
    return next((name for name in ("heat", "findings") if screen.has_class(f"-{name}")), "explorer")


def _leaves(event: events.Key | events.Paste) -> bool:
    """Whether a key waits for nothing."""
    return isinstance(event, events.Key) and event.key in LEAVING_KEYS
