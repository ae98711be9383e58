"""svdtui in a pseudo-terminal: every chunk that it writes, with the time at which it came.

Nothing is drawn here: drawing would take time from the program that is being measured. What is on the screen is told
from the bytes themselves.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

SIZE = (160, 45)
"""Columns and rows."""

_ASKS_FOR_SYNC, _HAS_SYNC = b"\x1b[?2026$p", b"\x1b[?2026;2$y"
_FRAME_ENDS = b"\x1b[?2026l"
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[P\]_^X][^\x1b\x07]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
_NOT_INHERITED = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TMUX", "STY", "SSH_TTY", "TERM_PROGRAM"}


class ProgramError(Exception):
    """svdtui did not do what the measurement needs."""


class ProgramEnded(ProgramError):
    """svdtui is gone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came after a key: seconds to the first byte (None when nothing came), and the bytes of each frame."""

    first: float | None
    frames: tuple[int, ...]

    @property
    def bytes_written(self) -> int:
        """Bytes of all frames."""
        return sum(self.frames)


class Program:
    """`svdtui ARGUMENTS`, started now, with more in its environment; `home` is where it keeps its caches and state."""

    def __init__(self, arguments: Sequence[str | Path], home: Path, environ: Mapping[str, str] | None = None) -> None:
        self._output = bytearray()
        self._answered = 0
        self._last_chunk = 0.0
        self._fd, inner = pty.openpty()
        columns, rows = SIZE
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {
            name: value for name, value in os.environ.items() if name not in _NOT_INHERITED and not is_of_the_hub(name)
        }
        environ = inherited | dict(environ or {})
        environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "HF_HOME": str(home / "hf")}
        environ |= {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
        argv = [*command(), *map(str, arguments)]
        self.started = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                argv, stdin=inner, stdout=inner, stderr=inner, env=environ, start_new_session=True
            )
        finally:
            os.close(inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = self.processes()
        for process in running:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(running, timeout=5)
        self._process.wait()
        os.close(self._fd)

    def processes(self) -> list[psutil.Process]:
        """The program and all that it has started."""
        try:
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def worker_seconds(self) -> float:
        """CPU time that the processes started by the program have taken."""
        total = 0.0
        for process in self.processes()[1:]:
            try:
                times = process.cpu_times()
            except psutil.Error:  # gone meanwhile
                continue
            total += times.user + times.system
        return total

    # ---- what it writes --------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes written so far: a mark from which `text` and `wait_for` can look."""
        return len(self._output)

    def text(self, since: int = 0) -> str:
        """What was written since a mark, without escape sequences."""
        return _ESCAPES.sub(b"", self._output[since:]).decode("utf-8", "replace")

    def wait_for(self, seen: Callable[[str], object], since: int = 0, timeout: float = 60) -> float:
        """Seconds from the start to the chunk with which `seen` became true of the text since a mark.

        Raises:
            ProgramError: it did not in `timeout` seconds.
        """
        deadline = time.perf_counter() + timeout
        while not seen(self.text(since)):
            if self._read(deadline) is None:
                tail = " ".join(self.text(since).split())[-300:]
                raise ProgramError(f"svdtui did not show what was waited for in {timeout:g} s; last: {tail}")
        return self._last_chunk - self.started

    def wait_until(self, done: Callable[[], object], timeout: float = 120, tick: float = 0.01) -> None:
        """Wait for something outside the terminal, reading on meanwhile.

        Raises:
            ProgramError: it did not come in `timeout` seconds.
        """
        deadline = time.perf_counter() + timeout
        while not done():
            if time.perf_counter() > deadline:
                raise ProgramError(f"what was waited for did not come in {timeout:g} s")
            self._read(time.perf_counter() + tick)

    def settle(self, quiet: float = 0.3, timeout: float = 20) -> None:
        """Read on until it has written nothing for `quiet` seconds."""
        deadline = time.perf_counter() + timeout
        while time.perf_counter() < deadline:
            if self._read(time.perf_counter() + quiet) is None:
                return

    # ---- what a person does ----------------------------------------------------------------------------------

    def send(self, keys: str) -> None:
        """Type, without waiting for an answer."""
        os.write(self._fd, keys.encode())

    def press(self, key: str, quiet: float = 0.3) -> Answer:
        """Type one key and read its answer: until nothing comes for `quiet` seconds, or nothing at all in 0.6 s."""
        mark = self.size
        sent = time.perf_counter()
        self.send(key)
        first = last = self._read(sent + 0.6)
        while last is not None:
            last = self._read(time.perf_counter() + quiet)
        frames = bytes(self._output[mark:]).split(_FRAME_ENDS)
        sizes = [len(frame) + len(_FRAME_ENDS) for frame in frames[:-1]] + ([len(frames[-1])] if frames[-1] else [])
        return Answer(None if first is None else first - sent, tuple(sizes))

    def quit(self) -> None:
        """Leave by `q`, and wait until it has."""
        self.send("q")
        deadline = time.perf_counter() + 10
        with contextlib.suppress(ProgramEnded):
            while self._process.poll() is None:
                if time.perf_counter() > deadline:
                    raise ProgramError("svdtui did not end within 10 s of q")
                self._read(time.perf_counter() + 0.02)

    def _read(self, deadline: float) -> float | None:
        """The time of the next chunk, or None when none came before `deadline`."""
        wait = deadline - time.perf_counter()
        if wait <= 0 or not select.select([self._fd], [], [], wait)[0]:
            return None
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # how Linux says that the program is gone
            data = b""
        self._last_chunk = now = time.perf_counter()
        if not data:
            raise ProgramEnded(f"svdtui has ended: {' '.join(self.text().split())[-300:]}")
        self._output += data
        asked = self._output.find(_ASKS_FOR_SYNC, self._answered)
        if asked >= 0:
            self._answered = asked + len(_ASKS_FOR_SYNC)
            os.write(self._fd, _HAS_SYNC)
        return now


def is_of_the_hub(name: str) -> bool:
    """Whether a variable of the environment is for Hub tools: where the Hub is, who asks, what is kept where."""
    return name.startswith(("HF_", "HUGGING_FACE_"))


def command() -> list[str]:
    """How svdtui is started."""
    script = Path(sys.executable).with_name("svdtui")
    return [str(script)] if script.exists() else [sys.executable, "-m", "svdtui.tui.cli"]
