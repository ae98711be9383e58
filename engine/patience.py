"""Waiting for the network from a thread that must stay able to stop: calls run in a thread of their own."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .errors import NetworkError
from .hub_errors import Retry, back_off, longer_seconds
from .hub_limits import last_progress
from .ranges import TRIES
from .silence import silent_library
from .source import Watch
from .transfer import TICK

T = TypeVar("T")

_HASTE = 4
"""How many times shorter the pauses are than while a layer is read: who has just typed a name waits for an answer."""

_LONGEST_CALL = 45.0
"""Seconds after which a call to the library is given up that brings nothing as fast as it should; it goes on by itself
and its result is not used."""


def patiently(call: Callable[[], T], watch: Watch, doing: str, tries: int = TRIES) -> T:
    """The result of `call`, tried again as long as it raises `Retry`.

    `watch` is told what is waited for; when it raises, the waiting ends at once.

    Raises:
        NetworkError: it failed `tries` times, or took too long.
    """
    for attempt in range(1, tries + 1):
        said = doing if attempt == 1 else f"{doing}, try {attempt} of {tries}"
        try:
            return in_threads([call], watch, said)[0]
        except Retry as retry:
            problem = retry
        if attempt < tries:
            told = f"waiting for the network, try {attempt + 1} of {tries} ({problem})"
            until = time.monotonic() + (problem.wait if problem.wait is not None else back_off(attempt) / _HASTE)
            while time.monotonic() < until:
                watch(told)
                time.sleep(TICK)
    how_often = f", {tries} times in a row" if tries > 1 else ""
    raise NetworkError(f"{doing} failed: {problem}{how_often}.", problem.hint or "Check the network and try again.")


def in_threads(calls: Sequence[Callable[[], T]], watch: Watch, doing: str) -> list[T]:
    """The results of calls that block and cannot be stopped, made side by side.

    The threads are daemons: leaving the program does not wait for them.

    Raises:
        NetworkError: they took too long. What a call raises comes out, the first one's first.
    """
    finished = threading.Semaphore(0)
    results: dict[int, T] = {}
    errors: dict[int, BaseException] = {}

    def run(number: int, call: Callable[[], T]) -> None:
        try:
            with silent_library:
                results[number] = call()
        except BaseException as error:
            errors[number] = error
        finally:
            finished.release()

    longest = _LONGEST_CALL + longer_seconds()
    begin = time.monotonic()
    for number, call in enumerate(calls):
        threading.Thread(target=run, args=(number, call), name="hub", daemon=True).start()
    for _ in calls:
        while not finished.acquire(timeout=TICK):
            watch(doing)
            if time.monotonic() - max(begin, last_progress()) > longest:
                raise NetworkError(f"{doing} took longer than {longest:.0f} s.", "Check the network and try again.")
    if errors:
        raise errors[min(errors)]
    return [results[number] for number in range(len(calls))]
