"""From a model to the end of the screen. The compute process starts first: both import at the same time."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from svdtui.engine.hand import Spare
from svdtui.engine.model import Model
from svdtui.engine.opening import open_model
from svdtui.engine.process import WorkerProcess
from svdtui.engine.target import HubName

from .opener import Opener, by_worker
from .places import Places
from .start import first_address

if TYPE_CHECKING:
    from svdtui.engine.choices import Solver

    from .app import SvdtuiApp

    class _Choices(TypedDict):
        """What a worker must know as well as the screen."""

        solver: Solver
        device: str
        cache_dir: Path | None
        offline: bool


FAILED = 1
"""The exit status of a screen that nobody has left."""


def explore(
    model: Model | HubName | Opener,
    at: str | None,
    *,
    solver: "Solver" = "gram64",
    device: str = "auto",
    cache_dir: Path | None = None,
    prefetch: bool = True,
    offline: bool = False,
    stack: str | None = None,
    workers: int | None = None,
    dask: str | None = None,
    mouse: bool = True,
    k: int = 10,
) -> int:
    """Explore `model` until the user leaves; the exit status.

    `at` is where to open; None for where the user was last.

    Raises:
        EngineError: a model could not be opened, or it has no such place.
    """

    def here(watch: Callable[[str], None]) -> Model:
        assert isinstance(model, HubName)
        return open_model(model, offline=offline, cache_dir=cache_dir, stack=stack, watch=watch)

    async def run() -> "SvdtuiApp":
        choices: _Choices = {"solver": solver, "device": device, "cache_dir": cache_dir, "offline": offline}
        spare = None
        shown = Opener(str(model), here) if isinstance(model, HubName) else model
        if isinstance(model, HubName) and (spare := await _spare(network=True)):
            spare.open(model, **choices, stack=stack)
            shown = Opener(str(model), by_worker(spare, asyncio.get_running_loop(), cache_dir, here, stack))
        from .app import SvdtuiApp

        if isinstance(model, Model) and (
            spare := await _spare(network=False)
        ):  # not before: the first frame would wait
            spare.begin(model, first_address(model, at, Places()), **choices)
        app = SvdtuiApp(shown, at, **choices, prefetch=prefetch, workers=workers, dask=dask, k=k, spare=spare)
        await app.run_async(mouse=mouse)
        return app

    app = asyncio.run(run())
    if app.failure is not None:
        raise app.failure
    status = FAILED if app.return_code is None else app.return_code
    if app.is_opening:
        sys.stdout.flush()
        os._exit(status)  # the ordinary end may wait for the network: for threads of the libraries that use it
    return status


async def _spare(*, network: bool) -> Spare | None:
    with suppress(OSError):  # the session tries again, and says why it cannot
        return Spare(await WorkerProcess.start(network=network))
    return None
