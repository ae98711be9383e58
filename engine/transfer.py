"""What is asked for by byte ranges: divided into requests, and put together in memory as it comes in."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .source import Advance, Piece, Watch

PART = 8 * 2**20
"""Most bytes of one request."""

GAP = 64 * 2**10
"""Bytes between two ranges up to which reading them costs less than another request."""

TICK = 0.05
"""Seconds between two looks at whether the reading is still wanted."""

_FAST = 300e6
"""Bytes per second of one connection from which more of them cost more processor time than they gain."""

_JUDGED_AFTER = 0.02
"""Seconds after which the speed of a transfer is judged."""

_QUIET = 2.0
"""Seconds without a byte after which that is said."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a stretch of a part belongs: bytes `start … stop` of the part are this memory of a piece."""

    start: int
    stop: int
    piece: int
    memory: memoryview


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One request: bytes `start … stop` of a file."""

    file: str
    start: int
    stop: int
    targets: Sequence[Target]


def plan(pieces: Sequence[Piece], part: int = PART, gap: int = GAP) -> list[Part]:
    """Divide pieces into requests: ranges that are neighbours are merged, and long runs cut into equal parts.

    What is urgent is not merged with what is not. The parts are in the order of the first piece that each is for.
    """
    runs: list[list[Any]] = []  # (file, is urgent), start, stop
    for piece in sorted(pieces, key=lambda p: (p.file, p.is_urgent, p.start)):
        if not len(piece.buffer):
            continue
        kind = piece.file, piece.is_urgent
        if runs and runs[-1][0] == kind and piece.start - runs[-1][2] <= gap:
            runs[-1][2] = max(runs[-1][2], piece.stop)
        else:
            runs.append([kind, piece.start, piece.stop])
    parts = []
    for (file, is_urgent), start, stop in runs:
        count = -(-(stop - start) // part)
        size = -(-(stop - start) // count)
        for first in range(start, stop, size):
            last = min(first + size, stop)
            targets = [
                Target(low - first, high - first, number, piece.buffer[low - piece.start : high - piece.start])
                for number, piece in enumerate(pieces)
                if (piece.file, piece.is_urgent) == (file, is_urgent)
                and (low := max(first, piece.start)) < (high := min(last, piece.stop))
            ]
            if targets:
                parts.append(Part(file, first, last, targets))
    return sorted(parts, key=lambda part: min(target.piece for target in part.targets))


class StoppedError(Exception):
    """The reading is no longer wanted."""


@dataclass(eq=False)
class Transfer:
    """What the connections' threads and the reader of their results share."""

    pieces: Sequence[Piece]
    parts: "deque[Part]" = field(init=False)

    def __post_init__(self) -> None:
        self.parts = deque(plan(self.pieces))
        self._left = [len(piece.buffer) for piece in self.pieces]
        self._complete = [number for number, left in enumerate(self._left) if not left]
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._arrived = 0
        self._total = 0
        self._since = self._last_byte = time.monotonic()
        self._waiting: dict[int, str] = {}
        self._attempts: dict[int, str] = {}
        self._error: Exception | None = None

    # for the threads -----------------------------------------------------------------------------

    def next_part(self) -> Part | None:
        """A part that nobody has begun."""
        with self._news:
            self._attempts.pop(threading.get_ident(), None)
            return self.parts.popleft() if self.parts and not self._stop.is_set() else None

    def has_room(self) -> bool:
        """Whether another connection would help; waits while that is not known, or while there is no need of one."""
        while self.parts:
            seconds = time.monotonic() - self._since
            if seconds >= _JUDGED_AFTER and self._total < _FAST * seconds:
                return True
            if self._stop.wait(_JUDGED_AFTER):
                raise StoppedError
        return False

    def put(self, part: Part, done: int, chunk: bytes) -> None:
        """Copy what has come in of a part behind its first `done` bytes to where it belongs."""
        stop = done + len(chunk)
        with self._news:
            if self._stop.is_set():
                raise StoppedError
            for target in part.targets:
                low, high = max(done, target.start), min(stop, target.stop)
                if low < high:
                    target.memory[low - target.start : high - target.start] = chunk[low - done : high - done]
                    self._arrived += high - low
                    self._left[target.piece] -= high - low
                    if not self._left[target.piece]:
                        self._complete.append(target.piece)
                        self._news.notify()
            self._total += len(chunk)
            self._last_byte = time.monotonic()
            self._waiting.pop(threading.get_ident(), None)

    def wait(self, seconds: float, attempt: str, why: str) -> None:
        """Let time pass before the next try, saying which one it is and why there must be one."""
        with self._news:
            self._waiting[threading.get_ident()] = f"waiting for the network, {attempt} ({why})"
            self._attempts[threading.get_ident()] = attempt
            self._news.notify()
        if self._stop.wait(seconds):
            raise StoppedError

    def fail(self, error: Exception) -> None:
        """Give up."""
        with self._news:
            self._error = self._error or error
            self._news.notify()

    # for the reader ------------------------------------------------------------------------------

    def results(self, advance: Advance, watch: Watch) -> Iterator[int]:
        """The numbers of the pieces as they are complete."""
        pending = len(self.pieces)
        while pending:
            with self._news:
                if not self._complete and self._error is None:
                    self._news.wait(TICK)
                arrived, self._arrived = self._arrived, 0
                complete, self._complete = self._complete, []
                error, state = self._error, self._state()
            if arrived:
                advance(arrived)
            watch(state)
            if error is not None:
                raise error
            for number in complete:
                pending -= 1
                yield number

    def stop(self) -> None:
        """From now on nothing is written into the pieces' memory."""
        with self._news:
            self._stop.set()

    def _state(self) -> str:
        """What the connections wait for, in words."""
        for why in self._waiting.values():
            return why
        silent = time.monotonic() - self._last_byte
        if silent < _QUIET:
            return ""
        return ", ".join([f"no data for {silent:.0f} s", *[*self._attempts.values()][:1]])
