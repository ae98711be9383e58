"""From a model to the end of the screen. The compute process starts first: both import at the same time."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from svdtui.engine.address import Address
from svdtui.engine.hand import Spare
from svdtui.engine.model import Model
from svdtui.engine.process import WorkerProcess

from .opener import Opener
from .places import Places
from .start import first_address

if TYPE_CHECKING:
    from svdtui.engine.choices import Solver

    from .app import SvdtuiApp


async def _spare(*, network: bool) -> Spare | None:
    with suppress(OSError):  # the session tries again, and says why it cannot
        return Spare(await WorkerProcess.start(network=network))
    return None


def explore(
    model: Model | Opener,
    at: Address | None,
    *,
    solver: "Solver" = "gram64",
    device: str = "auto",
    cache_dir: Path | None = None,
    prefetch: bool = True,
    offline: bool = False,
    workers: int | None = None,
    dask: str | None = None,
    mouse: bool = True,
    k: int = 10,
) -> int:
    """Explore `model` until the user leaves; the exit status.

    `at` is where to open; None for where the user was last.

    Raises:
        EngineError: an `Opener` could not open its model, or the model has no such place.
    """

    async def run() -> "SvdtuiApp":
        spare = await _spare(network=True) if isinstance(model, Opener) else None
        from .app import SvdtuiApp

        if isinstance(model, Model) and (
            spare := await _spare(network=False)
        ):  # not before: the first frame would wait
            first = first_address(model, at, Places())
            spare.begin(model, first, solver=solver, device=device, cache_dir=cache_dir, offline=offline)
        app = SvdtuiApp(
            model,
            at,
            solver=solver,
            device=device,
            cache_dir=cache_dir,
            prefetch=prefetch,
            offline=offline,
            workers=workers,
            dask=dask,
            k=k,
            spare=spare,
        )
        await app.run_async(mouse=mouse)
        return app

    app = asyncio.run(run())
    if app.failure is not None:
        raise app.failure
    status = app.return_code or 0
    if isinstance(model, Opener) and model.is_running:
        sys.stdout.flush()
        os._exit(status)  # the ordinary end may wait for the network: for threads of the libraries that use it
    return status
