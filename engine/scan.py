"""Many jobs, several at a time: what a scan of a model does with whoever computes them."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from .errors import EngineError, NetworkError, WorkersGoneError
from .model import Job
from .workers import Answer, Workers

_TICK = 0.1
"""Seconds between two looks at how far it has come."""


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far a scan has come: jobs and bytes of weights, of all that were asked for (cached ones are done)."""

    done: int
    total: int
    bytes_read: int
    bytes_total: int
    waiting: str = ""
    """What is waited for, if anything, as a sentence."""
    trouble: str = ""
    """Why somebody, or everybody, does not compute at present, as a sentence, or empty."""


class Tally:
    """Adds up how far a scan has come.

    Args:
        sizes: the jobs, and the bytes of weights of each.
        missing: those that are to be computed.
    """

    def __init__(self, sizes: Mapping[Job, int], missing: Collection[Job]) -> None:
        self._sizes = {str(job): size for job, size in sizes.items()}
        self._total = sum(self._sizes.values())
        self._left = {str(job) for job in missing}
        self._done_bytes = self._total - sum(self._sizes[job] for job in self._left)
        self._read: dict[str, int] = {}
        self._waiting = self._trouble = ""
        self._lock = threading.Lock()

    def hear(self, event: dict[str, Any]) -> None:
        """See `workers.Hear`."""
        match event:
            case {"event": "step", "job": job, "bytes_read": count, "waiting": waiting}:
                with self._lock:
                    self._read[job], self._waiting = count, waiting
            case {"event": "trouble", "message": message}:
                with self._lock:
                    self._trouble = message

    def is_done(self, job: Job) -> None:
        """Count a job in."""
        with self._lock:
            if str(job) in self._left:
                self._left.discard(str(job))
                self._done_bytes += self._sizes[str(job)]
            self._read.pop(str(job), None)
            self._waiting = ""

    def progress(self) -> ScanProgress:
        """How far it has come by now."""
        with self._lock:
            read = self._done_bytes + sum(count for job, count in self._read.items() if job in self._left)
            done = len(self._sizes) - len(self._left)
            return ScanProgress(
                done, len(self._sizes), min(read, self._total), self._total, self._waiting, self._trouble
            )


def scan(
    jobs: Iterable[Job],
    workers: Workers,
    on_answer: Callable[[Job, Answer], None],
    on_tick: Callable[[], None] = lambda: None,
) -> Mapping[Job, EngineError]:
    """Have jobs computed, as many at once as the workers want; returns those that failed, with the reasons.

    One that fails does not end the others; but when the network fails, or nobody is left, no more are begun.
    `on_answer` is called on this thread as each is there, `on_tick` every 0.1 s; what they raise ends the scan: jobs
    that have not begun are withdrawn, and those that have are left to `Workers.close`.
    """
    pending: dict[Future[Answer], Job] = {}
    failures: dict[Job, EngineError] = {}

    def collect(most: int) -> None:
        """Take what is there until at most so many are under way."""
        while len(pending) > most:
            for future in wait(pending, _TICK, FIRST_COMPLETED).done:
                job = pending.pop(future)
                try:
                    answer = future.result()
                except EngineError as error:
                    failures[job] = error
                else:
                    on_answer(job, answer)
            on_tick()

    try:
        for job in jobs:
            if any(isinstance(error, NetworkError | WorkersGoneError) for error in failures.values()):
                break  # the others would wait for it too
            pending[workers.submit(job)] = job
            collect(workers.capacity - 1)
        collect(0)
    finally:
        for future in pending:
            future.cancel()
    return failures
