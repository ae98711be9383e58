"""A scan: everything of a model that is not computed yet. What it still has to do, and how fast it goes."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from .address import Address
from .model import HEADS, Job, Model


@dataclass(frozen=True, slots=True)
class BacklogProgress:
    """How far a scan is. A job is a layer's heads, or a whole matrix."""

    done: int
    failed: int
    total: int
    heads_only: bool
    """Whether every job is a layer."""
    bytes_per_second: float
    """Bytes of weights, over the time of the scan."""
    seconds_left: float | None
    """None as long as nothing is done."""


def jobs_of_scan(model: Model, *, whole: bool) -> tuple[Job, ...]:
    """All that a scan computes: what the view of the model shows, and with `whole` every matrix as a whole too."""
    jobs = dict.fromkeys(model.jobs(Address()))
    if whole:
        for layer in (*model.layers, None):
            jobs.update(dict.fromkeys(info.job for info in model.matrices(Address(layer))))
    return tuple(jobs)


def scan_bytes(model: Model, jobs: Iterable[Job]) -> tuple[int, bool]:
    """The bytes that these jobs read over a network, and whether that is exact.

    A layer whose header has not been read is counted as the mean of those whose has.
    """
    known: dict[bool, list[int]] = {True: [], False: []}
    unknown = {True: 0, False: 0}
    for job in jobs:
        size = model.remote_bytes(job)
        if size is None:
            unknown[job.kind == HEADS] += 1
        else:
            known[job.kind == HEADS].append(size)
    total = sum(map(sum, known.values()))
    for kind, count in unknown.items():
        total += round(count * sum(known[kind]) / len(known[kind])) if known[kind] else 0
    return total, not any(unknown.values())


class Backlog:
    """The jobs of a scan: waiting, given to somebody, done or failed."""

    def __init__(self, model: Model, jobs: Iterable[Job]) -> None:
        self.waiting = dict.fromkeys(jobs)
        self._model = model
        self._open = set(self.waiting)
        self._total = len(self.waiting)
        self._heads_only = all(job.kind == HEADS for job in self.waiting)
        self._failed = 0
        self._begun = time.monotonic()
        self._bytes = 0
        self._work_done = 0.0

    @property
    def left(self) -> tuple[Job, ...]:
        """The jobs that are neither done nor failed."""
        return (*self.waiting, *(self._open - self.waiting.keys()))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return not self._open

    def __contains__(self, job: Job) -> bool:
        return job in self._open

    def take(self) -> Job | None:
        """The next job, for somebody to do."""
        job = next(iter(self.waiting), None)
        if job is not None:
            del self.waiting[job]
        return job

    def taken(self, job: Job) -> None:
        """Somebody does a job because it was asked for."""
        self.waiting.pop(job, None)

    def put_back(self, job: Job) -> None:
        """A job was given up for something that is wanted more."""
        if job in self._open:
            self.waiting = {job: None, **self.waiting}

    def finish(self, job: Job, *, failed: bool = False) -> None:
        """A job needs no more work."""
        self.waiting.pop(job, None)
        if job in self._open:
            self._open.discard(job)
            self._failed += failed
            if not failed:
                self._bytes += _nbytes(self._model, job)
            self._work_done += self._work(job)

    @property
    def progress(self) -> BacklogProgress:
        """How far it is."""
        seconds = max(time.monotonic() - self._begun, 1e-3)
        closed = self._total - len(self._open)
        left = None
        if self._work_done > 0:
            known = [job for job in self._open if self._model.is_known(job)]
            rest = sum(map(self._work, known))
            rest += (len(self._open) - len(known)) * self._work_done / closed
            left = seconds * rest / self._work_done
        return BacklogProgress(
            closed - self._failed, self._failed, self._total, self._heads_only, self._bytes / seconds, left
        )

    def _work(self, job: Job) -> float:
        """What a job costs beside others: bytes where they come over a network, else operations."""
        if self._model.remote_bytes(job):
            return float(self._model.remote_bytes(job) or 0)
        # the Gram matrix, and the reduction to tridiagonal form
        sides = ((t.count, min(t.rows, t.cols), max(t.rows, t.cols)) for t in self._model.job_tensors(job))
        return sum(count * short**2 * (long + 2.0 * short) for count, short, long in sides)


def _nbytes(model: Model, job: Job) -> int:
    return sum(tensor.ref.nbytes for tensor in model.job_tensors(job))
