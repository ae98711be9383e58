"""Many jobs, several at a time: what a scan of a model does with whoever computes them."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from .errors import EngineError
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


def scan(
    jobs: Iterable[Job],
    workers: Workers,
    on_answer: Callable[[Job, Answer], None],
    on_tick: Callable[[], None] = lambda: None,
) -> Mapping[Job, EngineError]:
    """Have jobs computed, as many at once as the workers want; returns those that failed, with the reasons.

    One that fails does not end the others. `on_answer` is called on this thread as each is there, `on_tick` every
    0.1 s; what they raise ends the scan: jobs that have not begun are withdrawn, and those that have are left to
    `Workers.close`.
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
            pending[workers.submit(job)] = job
            collect(workers.capacity - 1)
        collect(0)
    finally:
        for future in pending:
            future.cancel()
    return failures
