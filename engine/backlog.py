"""A scan: everything of a model that is not computed yet. What it still has to do, and how fast it goes."""

import time
from collections import OrderedDict
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
    is_unasked: bool = False
    """Whether it began by itself."""


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
    """The jobs of a scan: waiting, given to somebody, done or failed. However many they are, a step costs the same."""

    def __init__(self, model: Model, jobs: Iterable[Job], *, is_unasked: bool = False) -> None:
        self._is_unasked = is_unasked
        self.waiting = OrderedDict.fromkeys(jobs)
        self._model = model
        self._open = set(self.waiting)
        self._total = len(self.waiting)
        self._kinds = {job.kind: _Kind(job) for job in reversed(self.waiting)}
        for job in self.waiting:
            self._kinds[job.kind].left += 1
        self._failed = 0
        self._begun = time.monotonic()
        self._bytes = 0

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
        return self.waiting.popitem(last=False)[0] if self.waiting else None

    def taken(self, job: Job) -> None:
        """Somebody does a job because it was asked for."""
        self.waiting.pop(job, None)

    def put_back(self, job: Job) -> None:
        """A job was given up for something that is wanted more."""
        if job in self._open:
            self.waiting[job] = None
            self.waiting.move_to_end(job, last=False)

    def finish(self, job: Job, *, failed: bool = False) -> None:
        """A job needs no more work."""
        self.waiting.pop(job, None)
        if job in self._open:
            self._open.discard(job)
            self._failed += failed
            if not failed:
                self._bytes += _nbytes(self._model, job)
            kind = self._kinds[job.kind]
            kind.left -= 1
            kind.closed += 1
            kind.work += work_of(self._model, job)

    @property
    def progress(self) -> BacklogProgress:
        """How far it is."""
        seconds = max(time.monotonic() - self._begun, 1e-3)
        closed = self._total - len(self._open)
        work_done = sum(kind.work for kind in self._kinds.values())
        left = None
        if work_done > 0:
            rest = sum(kind.left * self._each(kind, work_done / closed) for kind in self._kinds.values() if kind.left)
            left = seconds * rest / work_done
        heads_only = not self._kinds.keys() - {HEADS}
        return BacklogProgress(
            *(closed - self._failed, self._failed, self._total, heads_only, self._bytes / seconds, left),
            is_unasked=self._is_unasked,
        )

    def _each(self, kind: "_Kind", usual: float) -> float:
        """What a job of a kind costs: the mean of those that are done, or what the first one will."""
        if not kind.closed:
            return work_of(self._model, kind.first) if self._model.is_known(kind.first) else usual
        return kind.work / kind.closed


@dataclass(slots=True)
class _Kind:
    """The jobs of a scan that compute the same of each layer."""

    first: Job
    left: int = 0
    closed: int = 0
    work: float = 0.0
    """Of those that are closed."""


def work_of(model: Model, job: Job) -> float:
    """What a job costs beside others: bytes where they come over a network, else operations."""
    if model.remote_bytes(job):
        return float(model.remote_bytes(job) or 0)
    # the Gram matrix, and the reduction to tridiagonal form
    sides = ((t.count, min(t.rows, t.cols), max(t.rows, t.cols)) for t in model.job_tensors(job))
    return sum(count * short**2 * (long + 2.0 * short) for count, short, long in sides)


def _nbytes(model: Model, job: Job) -> int:
    return sum(tensor.ref.nbytes for tensor in model.job_tensors(job))
