"""Opening a model over the network in a thread: the screen is there before, and can leave in the middle of it."""

import threading
import traceback
from asyncio import AbstractEventLoop, run_coroutine_threadsafe
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from svdtui.engine.errors import EngineError, WorkerError
from svdtui.engine.hand import Spare
from svdtui.engine.model import Model
from svdtui.engine.opening import reopened

Open = Callable[[Callable[[str], None]], Model]
"""Opens a model; calls what it is given again and again with what it waits for, and lets through what that raises."""


_BEAT = 0.05
"""Seconds between two looks at what a worker does."""


class _Left(BaseException):
    """Ends the wait in the thread; no `except Exception` on the way takes it for a failed request."""


class Opener:
    """One attempt to open the model called `name`.

    `doing` is what it waits for, in the opener's words; anything may stand in it.
    """

    def __init__(self, name: str, open_it: Open) -> None:
        self.name = name
        self.doing = ""
        self._open = open_it
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, done: Callable[[Model | EngineError], None]) -> None:
        """Begin. `done` is called in the thread, at the end, unless the user has left."""
        self._thread = threading.Thread(target=self._run, args=(done,), name="opening", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Nobody waits any more: the thread ends when it next looks up, which may be never."""
        self._left.set()

    @property
    def is_running(self) -> bool:
        """Whether the thread is still there."""
        return self._thread is not None and self._thread.is_alive()

    def _watch(self, doing: str) -> None:
        if self._left.is_set():
            raise _Left
        self.doing = doing

    def _run(self, done: Callable[[Model | EngineError], None]) -> None:
        found: Model | EngineError
        try:
            found = self._open(self._watch)
        except EngineError as error:
            found = error
        except _Left:
            return
        except Exception as error:
            found = _unexpected(self.name, error)
        if not self._left.is_set():
            done(found)


def by_worker(
    spare: Spare, loop: AbstractEventLoop, cache_dir: Path | None, here: Open, stack: str | None = None
) -> Open:
    """Waits for the model that a worker has been told to open, so that this process need not load what that needs.

    `loop` is that of the worker; `here` opens the model in this process, should the worker's have ended.
    """

    def open_it(watch: Callable[[str], None]) -> Model:
        answer = run_coroutine_threadsafe(spare.opened(), loop)
        while not answer.done():
            try:
                watch(spare.doing)
            except BaseException:
                answer.cancel()
                raise
            with suppress(TimeoutError, EngineError):
                answer.result(_BEAT)
        described = answer.result()
        watch(spare.doing)  # the process may have ended because the user has left
        return here(watch) if described is None else reopened(described, cache_dir, stack)

    return open_it


def _unexpected(name: str, error: Exception) -> WorkerError:
    """A sentence on a flaw in the program; the error's own words may hold a signed address, so they stay out."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return WorkerError(f"Opening {name} failed with {type(error).__name__} ({where}).", "Please report it.")
