"""The app without a terminal: opened on a model, keys pressed, and what is on screen as text."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from svdtui.engine import Address, open_model
from svdtui.tui.app import SvdtuiApp
from svdtui.tui.places import Places
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
    **options: Any,
) -> AsyncIterator[Screen]:
    """The app on a model, once what it opened with is computed; ended with its compute process."""
    app = SvdtuiApp(
        open_model(folder),
        None if at is None else Address.parse(at),
        cache_dir=folder.parent / "cache",
        places=Places(places),
        **options,
    )
    async with app.run_test(size=size) as pilot:
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


def shown(pilot: Screen, selector: str) -> str:
    """The text of one part of the screen."""
    widget = explorer(pilot).query_one(selector, Painted)
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
    return "\n".join(f"{each.title}: {each.message}" for each in pilot.app._notifications)


def curve_labels(pilot: Screen) -> set[str]:
    """The labels at the right ends of the curves."""
    upper = shown(pilot, "#results").splitlines()[1:-9]
    return {line[-1] for line in upper if line and line[-1] in "QKVO"}
