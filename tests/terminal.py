"""A real terminal for tests: a program in a pty, its screen, its keys, its bytes.

    with Terminal(["svdtui", "--demo"], size=(160, 45)) as terminal:
        terminal.wait_for("layer 0")
        terminal.press("down", "down", "enter")
        terminal.send("q")
        assert terminal.wait_exit() == 0

A thread reads all the time, as a terminal does, so a program never blocks on a test that is busy elsewhere.
The screen changes only at the end of a synchronised update (mode 2026), so a test never sees half a frame.
"""

import base64
import contextlib
import fcntl
import itertools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pyte
from pyte.screens import Char

KEYS = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "insert": "\x1b[2~",
    "delete": "\x1b[3~",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "space": " ",
    "backspace": "\x7f",
    **{f"f{number}": f"\x1bO{letter}" for number, letter in zip(range(1, 5), "PQRS", strict=True)},
    **{f"f{n}": f"\x1b[{code}~" for n, code in zip(range(5, 13), (15, 17, 18, 19, 20, 21, 23, 24), strict=True)},
}
"""What an xterm sends. `ctrl+X` is worked out, and any other single character stands for itself."""

_NOT_INHERITED = (
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "TMUX",
    "STY",
    "SSH_TTY",
    "SSH_CONNECTION",
    "TERM_PROGRAM",
)
_MARK = "SVDTUI_TEST_TERMINAL"
"""An environment variable, its value unique to a terminal, by which its processes are found, orphans too."""

_TAKE_OVER = 'tty=$1; shift; exec 0<>"$tty" 1>&0 2>&0; exec "$@"'
"""Opening a terminal makes it the controlling one of a new session, without code between fork and exec."""

_SYNCHRONISED_UPDATE_QUERY = b"\x1b[?2026$p"
_UPDATE_BEGINS, _UPDATE_ENDS = b"\x1b[?2026h", b"\x1b[?2026l"
_UNKNOWN_TO_PYTE = re.compile(rb"\x1b(?:\[[<=>][0-9;:]*[@-~]|\[\?[0-9;]*m|[P_^X][^\x1b]*\x1b\\)")
"""Sequences that pyte would print or stumble over: keyboard protocols, device strings, private colours."""

_UNFINISHED = re.compile(rb"\x1b(?:\[[<=>?]?[0-9;:]*\$?|[P_^X][^\x1b]*\x1b?)?\Z")
_FRESH_MODES = frozenset({7, 25})
"""What a new terminal has on: lines wrap, the cursor shows."""

_PRIVATE_MODE = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
_CLIPBOARD = re.compile(rb"\x1b\]52;[a-z]*;([A-Za-z0-9+/=]*)(?:\x07|\x1b\\)")


@dataclass(frozen=True, slots=True)
class Burst:
    """What a program wrote in answer to one send, until it was quiet."""

    bytes_written: int
    first: float | None
    """Seconds from the send to the first byte, None when nothing came."""
    last: float | None


class Screen(pyte.Screen):
    """A screen that can answer the program's questions (cursor position, device attributes)."""

    answer: Callable[[bytes], None]

    def write_process_input(self, data: str) -> None:
        self.answer(data.encode())


class Terminal:
    """A program in a pty of `size` (columns, rows).

    `env` is laid over this process's environment; a value of None removes a variable.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.size = size
        self.bytes_written = 0
        self._output = bytearray()
        self._unfed = b""
        self._first_byte: float | None = None
        self._last_byte: float | None = None
        self._ended = False
        self._changed = threading.Condition(threading.RLock())
        self._screen = Screen(*size)
        self._screen.answer = self._answer
        self._stream = pyte.ByteStream(self._screen)

        self._mark = uuid.uuid4().hex
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        laid_over = {"TERM": "xterm-256color", "COLORTERM": "truecolor", _MARK: self._mark, **(env or {})}
        environ = {name: value for name, value in (inherited | laid_over).items() if value is not None}

        self._fd, program_side = pty.openpty()
        try:
            self._set_size(size)
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _TAKE_OVER, "sh", os.ttyname(program_side), *map(str, argv)],
                stdin=program_side,
                stdout=program_side,
                stderr=program_side,
                env=environ,
                cwd=cwd,
                start_new_session=True,
            )
        except BaseException:
            os.close(self._fd)
            raise
        finally:
            os.close(program_side)
        self.started = time.perf_counter()
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the program and everything it started, and wait until it is gone."""
        survivors = self.processes()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for process in {*survivors, *self.processes()}:
            try:
                process.kill()
                process.wait(5)
            except psutil.NoSuchProcess:
                continue
        with self._changed:
            self._ended = True
        self._reader.join(5)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ---- what a person does --------------------------------------------------------------------------------

    def send(self, keys: str | bytes) -> None:
        """Type `keys` as they are, all in one write."""
        data = keys.encode() if isinstance(keys, str) else keys
        if self._ended:
            raise AssertionError(self._report(f"the program ended before {keys!r} was typed"))
        while data:
            data = data[os.write(self._fd, data) :]

    def press(self, *keys: str) -> None:
        """Press keys by name (`KEYS`, `ctrl+c`, or a character), each in a write of its own."""
        for key in keys:
            self.send(key_code(key))

    def resize(self, columns: int, rows: int) -> None:
        with self._changed:
            self.size = (columns, rows)
            self._screen.resize(rows, columns)
        self._set_size(self.size)  # the kernel tells the program (SIGWINCH)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to what it started."""
        os.kill(self._process.pid, number)

    def hang_up(self) -> None:
        """Close the terminal window: the kernel sends SIGHUP, and every later read or write fails."""
        with self._changed:
            self._ended = True
        self._reader.join(5)
        os.close(self._fd)
        self._fd = -1

    # ---- what a person waits for ---------------------------------------------------------------------------

    def wait_for(self, what: "str | re.Pattern[str] | Callable[[Terminal], bool]", timeout: float = 20) -> None:
        """Wait until the screen shows a text, matches a pattern, or fulfils a condition.

        Raises AssertionError with the screen in it when that takes longer, or when the program ends first.
        """

        def there() -> bool:
            if isinstance(what, str):
                return what in self.text()
            if isinstance(what, re.Pattern):
                return what.search(self.text()) is not None
            return what(self)

        named = getattr(what, "__name__", None) if callable(what) else repr(what)
        deadline = time.perf_counter() + timeout
        with self._changed:
            while not there():
                if self._ended:
                    if there():
                        return
                    raise AssertionError(self._report(f"the program ended before {named}"))
                if time.perf_counter() > deadline:
                    raise AssertionError(self._report(f"no {named} in {timeout:g} s"))
                self._changed.wait(0.05)  # a condition may look at other things than the screen

    def wait_gone(self, text: str, timeout: float = 20) -> None:
        """Wait until the screen no longer shows a text."""

        def gone(terminal: Terminal) -> bool:
            return text not in terminal.text()

        gone.__name__ = f"screen without {text!r}"
        self.wait_for(gone, timeout)

    def wait_quiet(self, quiet: float = 0.15, timeout: float = 20, patience: float = 0.6) -> None:
        """Wait until it has written nothing for `quiet` seconds, or not begun to in `patience` seconds."""
        self._settle(time.perf_counter(), quiet, timeout, patience)

    def wait_exit(self, timeout: float = 20) -> int:
        """Wait until the program has ended and its last output is read; its exit code (-N after signal N)."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._report(f"still running after {timeout:g} s")) from None
        self._reader.join(2)
        return code

    def ends_soon(self, timeout: float = 5) -> bool:
        """Whether the program ends by itself within that time."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def measure(self, *keys: str, quiet: float = 0.15, timeout: float = 20, patience: float = 0.6) -> Burst:
        """Press keys in one write and say how much the program wrote in answer, and how soon."""
        with self._changed:
            bytes_before, self._first_byte, self._last_byte = self.bytes_written, None, None
        sent = time.perf_counter()
        self.send("".join(map(key_code, keys)))
        self._settle(sent, quiet, timeout, patience)
        with self._changed:
            first, last = (at and at - sent for at in (self._first_byte, self._last_byte))
            return Burst(self.bytes_written - bytes_before, first, last)

    # ---- what a person sees --------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        with self._changed:
            return [line.rstrip() for line in self._screen.display]

    def text(self) -> str:
        """The screen down to its last line that is not blank."""
        return "\n".join(self.lines()).rstrip("\n")

    def find(self, text: str) -> tuple[int, int] | None:
        """Column and row, from 0, of the first place on the screen that shows `text`."""
        with self._changed:
            for row in range(self.size[1]):
                cells = [self._screen.buffer[row][column].data for column in range(self.size[0])]
                at = "".join(cells).find(text)
                if at >= 0:  # a character's place: a wide one has an empty cell after it, an accent none of its own
                    lengths = itertools.accumulate(map(len, cells))
                    return next(column for column, length in enumerate(lengths) if length > at), row
        return None

    def cell(self, column: int, row: int) -> Char:
        """A cell: its character (`data`), `fg`, `bg`, `bold`, `italics`, `underscore`, `reverse`."""
        with self._changed:
            return self._screen.buffer[row][column]

    def style_of(self, text: str) -> Char:
        """The cell in which `text` begins."""
        place = self.find(text)
        if place is None:
            raise AssertionError(self._report(f"no {text!r} on the screen"))
        return self.cell(*place)

    @property
    def title(self) -> str:
        return self._screen.title

    @property
    def clipboard(self) -> str | None:
        """What the program last put on the clipboard (OSC 52)."""
        copies = _CLIPBOARD.findall(self.output)
        return base64.b64decode(copies[-1]).decode() if copies else None

    # ---- what only a machine sees --------------------------------------------------------------------------

    @property
    def output(self) -> bytes:
        """Everything the program has written."""
        with self._changed:
            return bytes(self._output)

    @property
    def private_modes(self) -> frozenset[int]:
        """Modes that are on: 7 wrapping, 25 cursor, 1049 other screen, 1000 and 1003 mouse, 2004 paste, …"""
        modes = set(_FRESH_MODES)
        for numbers, switch in _PRIVATE_MODE.findall(self.output):
            for number in map(int, filter(None, numbers.split(b";"))):
                (modes.add if switch == b"h" else modes.discard)(number)
        return frozenset(modes)

    @property
    def is_restored(self) -> bool:
        """Whether a shell could go on here: cursor shown, no mode left on, line editing and echo back."""
        local_flags: int = termios.tcgetattr(self._fd)[3]
        cooked = termios.ICANON | termios.ECHO | termios.ISIG
        return self.private_modes == _FRESH_MODES and local_flags & cooked == cooked

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def pid(self) -> int:
        return self._process.pid

    def processes(self) -> list[psutil.Process]:
        """The program and all that it started, directly or not, and that still runs."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):  # gone meanwhile, or someone else's
                continue
        return found

    # ---- the pty -------------------------------------------------------------------------------------------

    def _set_size(self, size: tuple[int, int]) -> None:
        columns, rows = size
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _answer(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the program may be gone by now
            os.write(self._fd, data)

    def _read(self) -> None:
        """The terminal's own loop, in its thread."""
        while not self._ended:
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # how Linux says that no program has the terminal open any more
                data = b""
            now = time.perf_counter()
            with self._changed:
                self._ended = self._ended or not data
                if data:
                    self.bytes_written += len(data)
                    self._output += data
                    self._first_byte, self._last_byte = self._first_byte or now, now
                self._show(data)
                self._changed.notify_all()

    def _show(self, data: bytes) -> None:
        """Feed all but an unfinished sequence or update to the screen, and answer what the program asks."""
        pending = self._unfed + data
        unfinished = _UNFINISHED.search(pending)
        whole, rest = (pending[: unfinished.start()], pending[unfinished.start() :]) if unfinished else (pending, b"")
        begins = whole.rfind(_UPDATE_BEGINS)
        if begins > whole.rfind(_UPDATE_ENDS):
            whole, rest = whole[:begins], whole[begins:] + rest
        if self._ended:
            whole, rest = whole + rest, b""
        self._unfed = rest
        for _ in range(whole.count(_SYNCHRONISED_UPDATE_QUERY)):
            self._answer(b"\x1b[?2026;2$y")
        self._stream.feed(_UNKNOWN_TO_PYTE.sub(b"", whole))

    def _settle(self, since: float, quiet: float, timeout: float, patience: float) -> None:
        while not self._ended:
            now, last = time.perf_counter(), self._last_byte
            if last is not None and last >= since:
                is_quiet = now - last >= quiet
            else:
                is_quiet = now - since >= max(quiet, patience)
            if is_quiet:
                return
            if now - since > timeout:
                raise AssertionError(self._report(f"still writing after {timeout:g} s"))
            time.sleep(0.01)

    def _report(self, problem: str) -> str:
        """The problem over a picture of the screen."""
        state = "running" if self.exit_code is None else f"exit code {self.exit_code}"
        frame = "\n".join(f"│{line:<{self.size[0]}}│" for line in self.text().split("\n"))
        tail = "" if self.text().strip() else f"\nlast bytes: {self.output[-500:]!r}"
        return f"{problem} ({state})\n{frame}{tail}"


def key_code(key: str) -> str:
    """What a terminal sends for a key."""
    if key in KEYS:
        return KEYS[key]
    if key.startswith("ctrl+") and len(key) == len("ctrl+x"):
        return chr(ord(key[-1].upper()) & 0x1F)
    if len(key) == 1:
        return key
    raise ValueError(f"no such key: {key!r}")
