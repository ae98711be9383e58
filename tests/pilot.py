"""The app without a terminal: opened on a model, keys pressed, and what is on screen as text."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from textual import constants
from textual.pilot import Pilot

from svdtui.engine import Address, open_model
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.places import Places
from svdtui.tui.typed import Typed
from svdtui.tui.widgets.painted import Painted

Screen = Pilot[int]


@asynccontextmanager
async def opened(
    folder: Path,
    at: str | None = None,
    *,
    size: tuple[int, int] = (100, 30),
    places: Path | None = None,
    ready: bool = True,
    messages: bool = False,
    **options: Any,
) -> AsyncIterator[Screen]:
    """The app on a model, once what it opened with is computed; ended with its compute process.

    With `messages`, what the app says of files and troubles is drawn too.
    """
    app = SvdtuiApp(
        open_model(folder),
        None if at is None else Address.parse(at),
        cache_dir=folder.parent / "cache",
        places=Places(places),
        **options,
    )
    async with app.run_test(size=size, notifications=messages) as pilot:
        await until(pilot, lambda: app.session is not None)
        if ready:
            await until(pilot, lambda: not waiting(pilot))
        yield pilot


def waiting(pilot: Screen) -> bool:
    """Whether anything that was asked for is still to come."""
    app = pilot.app
    assert isinstance(app, SvdtuiApp)
    assert app.session
    return bool(app.session.waiting or app.session.running)


async def until(pilot: Screen, condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition, as long as a loaded machine may need."""
    for _ in range(int(seconds / 0.02)):
        await pilot.pause()
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not in {seconds:g} s:\n" + shown(pilot, "#tree") + "\n" + shown(pilot, "#results"))


async def press(pilot: Screen, *keys: str) -> None:
    """Press keys, and wait until the right side has followed."""
    await pilot.press(*keys)
    await asyncio.sleep(0.1)
    await pilot.pause()


async def burst(pilot: Screen, data: str | bytes) -> None:
    """What a terminal sends in one piece, as bytes, and wait until all of it has been acted on."""
    driver, typed = pilot.app._driver, Typed()
    assert driver is not None
    sent = data.encode() if isinstance(data, str) else data
    read = typed.events(sent)
    if sent.endswith(b"\x1b"):
        await asyncio.sleep(constants.ESCAPE_DELAY)
        read += typed.waited()
    for event in read:
        driver.process_message(event)
    await rested(pilot)


async def rested(pilot: Screen) -> None:
    """Wait until every key that was sent has had its turn."""
    app = pilot.app
    assert isinstance(app, SvdtuiApp)
    came = asyncio.Event()

    async def ask() -> None:
        if not app.call_later(came.set):
            came.set()

    asyncio.run_coroutine_threadsafe(ask(), asyncio.get_running_loop())  # as the driver sends keys
    while not app._exit and not came.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(came.wait(), 0.1)
    while app.is_running and (work := app._turns._work) is not None:
        await asyncio.wait([work])
    await pilot.pause()


def screens(pilot: Screen) -> list[str]:
    """What lies on what, from the bottom."""
    return [type(screen).__name__ for screen in pilot.app.screen_stack]


def shown(pilot: Screen, selector: str) -> str:
    """The text of one part of the screen."""
    return shown_on(explorer(pilot), selector)


def shown_on(screen: Any, selector: str) -> str:
    """The text of one part of any screen."""
    widget = screen.query_one(selector, Painted)
    return "\n".join(widget.render_line(y).text.rstrip() for y in range(widget.size.height))


def explorer(pilot: Screen) -> Any:
    app = pilot.app
    assert isinstance(app, SvdtuiApp)
    return app.explorer


def at(pilot: Screen) -> str:
    return str(explorer(pilot).address)


def title(pilot: Screen) -> str:
    return shown(pilot, "#results").splitlines()[0]


def toasts(pilot: Screen) -> str:
    return "\n".join(
        f"{each.title}: {each.message}" if each.title else each.message for each in pilot.app._notifications
    )


def curve_labels(pilot: Screen) -> set[str]:
    """The labels at the right ends of the curves."""
    upper = shown(pilot, "#results").splitlines()[1:-9]
    return {line[-1] for line in upper if line and line[-1] in "QKVO"}
