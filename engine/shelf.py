"""The results of a model that are at hand: a few whole ones in memory, the figures of all, and what lies on disk."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable

from .choices import DEFAULT_K
from .model import Job
from .results import JobResult, Tables
from .store import Store

_MOST_WHOLE = 24
"""Results whose spectra stay in memory; the others are read again when they are looked at."""

_GATHER = 0.1
"""Seconds between two reports while the disk is read."""

_BREATH = 0.3
"""Seconds before the disk is read: what the user opened with is drawn first."""


class Shelf:
    """What is known of each job's result. A result that the disk does not have stays in memory until it has."""

    def __init__(self, store: Store, k: int = DEFAULT_K) -> None:
        self._store = store
        self._k = k
        self._whole: OrderedDict[Job, JobResult] = OrderedDict()
        self._tables: dict[Job, Tables] = {}
        self._on_disk: set[Job] = set()
        self._flaws: dict[Job, frozenset[tuple[str, int]]] = {}
        self._unsaved: dict[Job, tuple[JobResult, bytes]] = {}
        self._hurry = asyncio.Event()

    def look(self, is_ours: Callable[[Job], bool]) -> None:
        """Find out for which jobs there is a file."""
        self._on_disk = {job for job in self._store.present() if is_ours(job)}

    def has(self, job: Job) -> bool:
        """Whether a job's result is there, as far as is known."""
        return job in self._on_disk or job in self._whole or job in self._unsaved

    @property
    def jobs(self) -> set[Job]:
        """The jobs whose results are there."""
        return self._on_disk | self._whole.keys() | self._unsaved.keys()

    def tables(self, job: Job) -> Tables | None:
        """A job's figures, when they have been read; asks no disk."""
        return self._tables.get(job)

    def flaws(self, job: Job) -> frozenset[tuple[str, int]]:
        """The matrices of a job, as name and slice, that have no spectrum."""
        return self._flaws.get(job, frozenset())

    def result(self, job: Job) -> JobResult | None:
        """A job's result from memory or disk; a file that cannot be believed counts as absent from then on."""
        if job in self._unsaved:
            return self._unsaved[job][0]
        if job in self._whole:
            self._whole.move_to_end(job)
            return self._whole[job]
        if job not in self._on_disk:
            return None
        found = self._store.load(job)
        if found is None:
            self.drop(job)
        else:
            self.put(found)
        return found

    def put(self, result: JobResult, unsaved: bytes | None = None) -> None:
        """Keep a result; `unsaved` is its file where the disk could not take it."""
        job = result.job
        self._learn(result)
        if unsaved is not None:
            self._whole.pop(job, None)
            self._unsaved[job] = result, unsaved
            return
        self._unsaved.pop(job, None)
        self._on_disk.add(job)
        self._whole[job] = result
        self._whole.move_to_end(job)
        if len(self._whole) > _MOST_WHOLE:
            self._whole.popitem(last=False)

    def drop(self, job: Job) -> None:
        """A job has no result any more."""
        self._whole.pop(job, None)
        self._tables.pop(job, None)
        self._flaws.pop(job, None)
        self._unsaved.pop(job, None)
        self._on_disk.discard(job)

    def save_rest(self) -> bool:
        """Write what the disk could not take before. Whether all of it is there now."""
        with contextlib.suppress(OSError):
            while self._unsaved:
                result, data = next(reversed(self._unsaved.values()))
                self._store.save(data, result.job)
                self.put(result)
        return not self._unsaved

    async def read(self, is_busy: Callable[[Job], bool], report: Callable[[set[Job]], None]) -> None:
        """Read what is on disk in a thread, to know its figures, its flaws, and what cannot be believed.

        `report` is told now and then of the jobs that have been read.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), _BREATH)
        loop = asyncio.get_running_loop()
        news: set[Job] = set()
        said = loop.time()
        for job in await asyncio.to_thread(_in_order, set(self._on_disk)):
            if job in self._tables:
                continue
            found = await asyncio.to_thread(self._load, job)
            if job in self._tables or job not in self._on_disk or is_busy(job):
                continue
            news.add(job)
            if found is None:
                self.drop(job)
            else:
                self._tables[job], self._flaws[job] = found
            if loop.time() - said > _GATHER:
                report(news)
                news, said = set(), loop.time()
        if news:
            report(news)

    def hurry(self) -> None:
        """Somebody waits for what `read` finds."""
        self._hurry.set()

    def _load(self, job: Job) -> tuple[Tables, frozenset[tuple[str, int]]] | None:
        found = self._store.load(job)
        return None if found is None else (found.tables(self._k), found.flawed)

    def _learn(self, result: JobResult) -> None:
        self._tables[result.job] = result.tables(self._k)
        self._flaws[result.job] = result.flawed


def _in_order(jobs: set[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: (job.layer is None, job.layer or 0, job.kind))
