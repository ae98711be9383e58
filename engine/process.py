"""The compute process seen from the screen's event loop: start it, talk to it in JSON lines, end it."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import IO, Any, Self

from .cache_dir import default_state_dir
from .isolation import command, environment
from .private import make_private

_LINE_LIMIT = 2**26
"""Bytes of the longest line from the worker: a result that could not be stored comes in one."""

_LOG_LIMIT = 2**20
"""Bytes from which the log is begun anew."""

ENDING_SECONDS = 2
"""How long a worker that has closed its stdout may take to end."""


class WorkerProcess:
    """A process of `svdtui.engine.worker`, or another module that talks as it does; in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str = "worker", *, network: bool = False) -> Self:
        """Start a worker, which imports what it needs while it waits to be told what to open; its stderr is the log.

        `network` has it import the Hub's libraries too.

        Raises:
            OSError: there is no process, memory or file descriptor left.
        """
        with open_log() as log:
            process = await asyncio.create_subprocess_exec(
                *command(f"svdtui.engine.{module}", *(["--network"] if network else [])),
                env=environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                limit=_LINE_LIMIT,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Write one line, without waiting; to a worker that has ended it goes nowhere."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(json.dumps(message).encode() + b"\n")

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """Its lines until it closes stdout; a line that is no JSON object ends them too."""
        assert self._process.stdout
        with contextlib.suppress(ValueError):
            while line := await self._process.stdout.readline():
                event = json.loads(line)
                if not isinstance(event, dict):
                    return
                yield event

    async def ended(self) -> str:
        """Wait for its end, and say how it ended."""
        try:
            code = await asyncio.wait_for(self._process.wait(), ENDING_SECONDS)
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        return how_it_ended(code)

    def kill(self) -> None:
        """End it at once, and all in its session. Not `Process.kill()`, which takes the exit status from asyncio."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def how_it_ended(code: int) -> str:
    """What an exit status says of a process that was not told to end."""
    if code == -signal.SIGKILL:
        return "was killed (out of memory?)"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner may read, also one that others could until now."""
    descriptor = os.open(path, flags | os.O_APPEND, 0o600)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o600)
    return descriptor


def log_path() -> Path:
    """Where the worker's stderr goes."""
    return default_state_dir() / "worker.log"


@contextlib.contextmanager
def open_log() -> Iterator[int | IO[bytes]]:
    """The log, begun anew when it has grown; where none can be written, nothing."""
    path = log_path()
    try:
        make_private(path.parent, path.parent)
        is_long = path.exists() and path.stat().st_size >= _LOG_LIMIT
        log = open(path, "wb" if is_long else "ab", opener=_private)  # noqa: SIM115 - Path.open has no opener
    except OSError:
        yield asyncio.subprocess.DEVNULL
        return
    with log:
        yield log
