"""Timing several pieces of work in turns, so that a machine's slow minutes fall on all of them."""

import time
from collections.abc import Callable, Mapping

from threadpoolctl import threadpool_limits

Work = tuple[int, Callable[[], object]]
"""How often in a round, and what."""

REST = 0.25
"""Seconds between two pieces: threads of the BLAS and of OpenMP spin for a while before they sleep."""


def in_turns(rounds: int, work: Mapping[str, Work]) -> dict[str, list[float]]:
    """Seconds of each run of each piece of work.

    A piece that runs several times in a round has one run more at the beginning, which does not count.
    """
    for count, run in work.values():
        if count > 1:
            run()
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, (count, run) in work.items():
            time.sleep(REST)
            for _ in range(count):
                begin = time.perf_counter()
                run()
                taken[name].append(time.perf_counter() - begin)
    return taken


def limited(threads: int | None, run: Callable[[], object]) -> Callable[[], object]:
    """Work with so many threads of the BLAS; None leaves them as they are."""

    def run_limited() -> object:
        with threadpool_limits(threads, "blas"):
            return run()

    return run_limited
