"""Who computes what, when: the queue in front of the worker, on the screen's event loop.

What the user looks at comes first, then the layers next to it. A request that is no longer wanted leaves the queue; a
running one that is long and no longer wanted is cancelled by ending the worker. When the worker dies of itself, its
job is tried once more in a new one; failing twice, it stays failed until the user asks again.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .address import Address
from .choices import Solver
from .errors import CheckpointError, NetworkError, OfflineError
from .events import DeviceKnown, Event, Failure, HeaderRead, Noticed, Progress, Progressed, State, StateChanged
from .model import HEADS, Job, MatrixInfo, Model
from .process import WorkerProcess, log_path
from .results import JobResult
from .store import Store

_PATIENCE = 1.0
"""Seconds that a running job may go on after it is no longer wanted, while a wanted one waits."""

_REMOTE_PATIENCE = 0.1
"""The same for a model whose weights come over a network."""

_GRACE = 0.3
"""Seconds that the worker may take to stop a job; one that is deep in a computation is ended."""

LARGE = 200 * 10**6
"""Bytes from which a whole matrix is read over a network only when the user asks for it."""


class Session:
    """The results of one model: cached, running, waiting or absent. Belongs to one event loop.

    `on_event` is called on that loop's thread, never from inside `want` or `again` for a job's computation itself.
    `spare` is a worker that has been started already and not been told anything; from now on it is the session's.
    """

    def __init__(
        self,
        model: Model,
        *,
        solver: Solver = "gram64",
        device: str = "auto",
        cache_dir: Path | None = None,
        prefetch: bool = True,
        offline: bool = False,
        spare: WorkerProcess | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.model = model
        self.store = Store(model, solver, cache_dir)
        self.solver = solver
        self.device = ""
        self.progress: Progress | None = None
        self.notice = ""
        self._wanted_device = device
        self._prefetch = prefetch
        self._offline = offline
        self._on_event = on_event
        self._results: dict[Job, JobResult] = {}
        self._on_disk: set[Job] = set()
        self._flaws: dict[Job, frozenset[tuple[str, int]]] = {}
        self._failures: dict[Job, Failure] = {}
        self._deaths: dict[Job, int] = {}
        self._focus: tuple[Job, ...] = ()
        self._demanded: list[Job] = []
        self._guessed: list[Job] = []
        self._running: Job | None = None
        self._stopping: Job | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._cancelled: set[Job] = set()
        self._asked_for: set[Job] = set()
        self._too_large: set[Job] = set()
        self._since = 0.0
        self._spare = spare
        self._worker: WorkerProcess | None = None
        self._ready = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._starts_failed = 0
        self._broken: Failure | None = None
        self._obituary = ""
        self._checking: asyncio.Task[None] | None = None
        self.keeps = True
        """Whether results can be kept on disk, as far as is known."""

    # what the screen asks ------------------------------------------------------------------------

    async def start(self) -> None:
        """Look at what is on disk and warm the worker up in the background."""
        self._on_disk = {job for job in self.store.present() if self._is_ours(job)}
        self._spawn(self._run_worker())
        self._checking = asyncio.get_running_loop().create_task(self._check_disk())

    def stop(self) -> None:
        """End the worker at once, whatever it does."""
        self._stopped = True
        self._kill()
        if self._checking:
            self._checking.cancel()

    async def close(self) -> None:
        """`stop`, and wait until the worker is gone."""
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._checking:
            await asyncio.wait([self._checking])

    def want(self, address: Address) -> None:
        """Say what the user looks at; it replaces what was said before.

        The heads of a layer or a whole matrix are queued, and the heads of the layers beside it behind them. The
        model as a whole queues nothing, and neither does what is held (see `is_held`).
        """
        before = {*self._demanded, *self._guessed}
        jobs = () if address.layer is None and address.matrix is None else self.model.jobs(address)
        self._focus = jobs
        self._demanded = [job for job in jobs if self._is_to_do(job) and not self.is_held(job)]
        guess = self._prefetch and not any(map(self.is_held, jobs))
        near = [n for job in jobs for n in self.model.neighbours(job)] if guess else []
        self._guessed = [
            job
            for job in dict.fromkeys(near)
            if self._is_to_do(job) and job not in self._demanded and not self.is_held(job)
        ]
        after = {*self._demanded, *self._guessed}
        for job in sorted(before ^ after, key=str):
            self._changed(job)
        self._pump()

    def cancel(self) -> Job | None:
        """Stop what is running, and whatever waits. The job that was stopped; None when nothing ran.

        What the user looks at and what ran is held from now on, until the user asks for it again.
        """
        job = self._running
        dropped = {*self._demanded, *self._guessed}
        self._cancelled.update(self._demanded)
        self._demanded, self._guessed = [], []
        if job is not None:
            self._cancelled.add(job)
        self._asked_for -= self._cancelled
        if job is not None:
            self._drop(job)
        for each in sorted(dropped, key=str):
            self._changed(each)
        return job

    def is_held(self, job: Job) -> bool:
        """Whether a job is begun only when the user asks for it again.

        That is one that the user stopped, and a whole matrix for which more than `LARGE` bytes come over a network.
        """
        if job in self._asked_for:
            return False
        if job in self._cancelled or job in self._too_large:
            return True
        return job.kind != HEADS and self._is_to_do(job) and (self.model.remote_bytes(job) or 0) > LARGE

    def cancelled(self, job: Job) -> bool:
        """Whether the user stopped a job, and has not asked for it since."""
        return job in self._cancelled

    def again(self, address: Address) -> None:
        """Forget the results that a view of this place shows, and compute them once more, also what is held."""
        for job in self.model.jobs(address):
            self._asked_for.add(job)
            self._cancelled.discard(job)
            self._too_large.discard(job)
            if job != self._running:
                self._results.pop(job, None)
                self._flaws.pop(job, None)
                self._failures.pop(job, None)
                self._deaths.pop(job, None)
                self._on_disk.discard(job)
                self.store.forget(job)
                self._changed(job)
        self._starts_failed, self._broken, self.notice = 0, None, ""
        self.want(address)

    def state(self, job: Job) -> State:
        """Where a job stands."""
        if job == self._running:
            return State.RUNNING
        if job in self._results or job in self._on_disk:
            return State.CACHED
        if job in self._failures:
            return State.FAILED
        return State.WAITING if job in self._demanded or job in self._guessed else State.ABSENT

    def result(self, job: Job) -> JobResult | None:
        """A job's result from memory or disk. A file that turns out to be unusable makes the job absent again."""
        if job in self._results:
            return self._results[job]
        if job not in self._on_disk or job == self._running:
            return None
        found = self.store.load(job)
        if found is None:
            self._on_disk.discard(job)
            self._changed(job)
        else:
            self._keep(found)
        return found

    def is_flawed(self, info: MatrixInfo) -> bool:
        """Whether a matrix can never have a spectrum, as far as is known: its weights or its dtype forbid it."""
        return info.problem is not None or (info.matrix, info.index) in self._flaws.get(info.job, ())

    def has_flaws(self, job: Job) -> bool:
        """Whether any matrix of a job is flawed."""
        return bool(self._flaws.get(job)) or self.model.has_problem(job)

    def failure(self, job: Job) -> Failure | None:
        """Why a job failed."""
        return self._failures.get(job)

    @property
    def running(self) -> Job | None:
        """What the worker computes now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many jobs are in the queue."""
        return len(self._demanded) + len(self._guessed)

    @property
    def cached(self) -> int:
        """How many layers have everything that their view shows (see `Model.jobs`)."""
        there = self._on_disk | self._results.keys()
        return sum(there.issuperset(self.model.jobs(Address(layer))) for layer in self.model.layers)

    def _keep(self, result: JobResult) -> None:
        self._results[result.job] = result
        self._flaws[result.job] = result.flawed

    async def _check_disk(self) -> None:
        """Find out which results on disk can be believed and which have flaws, without keeping them in memory."""
        for job in sorted(self._on_disk, key=str):
            if job in self._results:
                continue
            found = await asyncio.to_thread(self.store.load, job)
            if job in self._results or job not in self._on_disk or job == self._running:
                continue
            if found is None:
                self._on_disk.discard(job)
                self._changed(job)
            elif found.flawed:
                self._flaws[job] = found.flawed
                self._changed(job)

    # the queue -----------------------------------------------------------------------------------

    def _is_ours(self, job: Job) -> bool:
        if job.kind == HEADS:
            return job.layer in self.model.layers and bool(self.model.heads)
        return any(info.job == job for info in self.model.matrices(Address(job.layer)))

    def _is_to_do(self, job: Job) -> bool:
        return self.state(job) in {State.ABSENT, State.WAITING}

    def _pump(self) -> None:
        """Give the worker its next job, or make room for what is wanted more."""
        if self._stopped:
            return
        if self._running is not None:
            self._maybe_cancel()
            return
        if not (self._demanded or self._guessed):
            return
        if self._broken is not None:
            self._fail(None, self._broken)
            return
        if self._worker is None:
            if not self._tasks:
                self._spawn(self._run_worker())
            return
        if not self._ready:
            return
        if self._stopping is not None:
            return
        queue = self._demanded or self._guessed
        job = queue.pop(0)
        self._running, self._since = job, time.monotonic()
        self.progress = None
        limited = job.kind != HEADS and job not in self._asked_for
        self._worker.send({"job": str(job), "most_remote": LARGE if limited else None})
        self._changed(job)

    def _maybe_cancel(self) -> None:
        """Stop something long that nobody waits for any more, when something else is waited for."""
        running = self._running
        if running is None or not self._demanded or running in self._focus:
            return
        patience = _REMOTE_PATIENCE if self.model.remote_bytes(running) != 0 else _PATIENCE
        if running.kind != HEADS or time.monotonic() - self._since > patience:
            self._drop(running)
            if self._prefetch and any(running in self.model.neighbours(job) for job in self._focus):
                self._guessed.append(running)
                self._changed(running)
        else:
            left = patience - (time.monotonic() - self._since)
            asyncio.get_running_loop().call_later(left + 0.01, self._pump)

    def _drop(self, running: Job) -> None:
        """Have the worker stop a job: it is asked first, and ended when it does not listen."""
        self._finish(running)
        if self._worker is not None:
            self._stopping = running
            self._worker.send({"cancel": str(running)})
            self._grace = asyncio.get_running_loop().call_later(_GRACE, self._end_deaf_worker, running, self._worker)
        self._changed(running)

    def _end_deaf_worker(self, job: Job, worker: WorkerProcess) -> None:
        if self._stopping == job and self._worker is worker:
            self._kill()
            self._pump()

    def _finish(self, job: Job) -> None:
        if self._running == job:
            self._running = None
            self.progress = None

    # the worker ----------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._pump())

    async def _run_worker(self) -> None:
        """One worker's life, from its start to its end."""
        request = {
            "location": self.model.location,
            "key": self.model.key,
            "solver": self.solver,
            "device": self._wanted_device,
            "cache_dir": str(self.store.root),
            "offline": self._offline,
        }
        spare, self._spare = self._spare, None
        try:
            worker = self._worker = spare or await WorkerProcess.start()
        except OSError as error:  # no process, memory or file descriptor left
            message = f"The compute process cannot be started: {error.strerror or error}."
            self._fail(None, Failure("Worker failed", message, "Close other programs, then press r."))
            return
        self._ready = False
        worker.send(request)
        if self._stopped:
            self._kill()
        async for event in worker.events():
            self._handle(event)
        how = await worker.ended()
        if self._worker is worker:
            self._worker, self._stopping = None, None
            self._died(how)

    def _handle(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "ready", "device": device, "note": note}:
                self._ready, self.device, self._starts_failed = True, device, 0
                self._on_event(DeviceKnown(device))
                if note:
                    self._notice(note)
            case {"event": "step", "job": name, **numbers} if str(self._running) == name:
                self._step(Job.parse(name), numbers)
            case {"event": "header", "file": file, "data": data}:
                self._learn(file, base64.b64decode(data))
            case {"event": "too_large", "job": name}:
                self.model.recall(Job.parse(name))  # the worker may have found a header that another program has kept
                self._too_large.add(Job.parse(name))
                self._given_up(Job.parse(name))
            case {"event": "cancelled", "job": name}:
                self._given_up(Job.parse(name))
            case {"event": "done", "job": name}:
                self._stopped_or_not(Job.parse(name))
                self._done(Job.parse(name), event)
            case {"event": "failed", "job": str(name)} if name == str(self._stopping) or name != str(self._running):
                self._given_up(Job.parse(name))  # nobody wants to know any more
            case {"event": "failed", "job": name, "title": title, "message": message, "hint": hint}:
                self._fail(Job.parse(name) if name else None, Failure(title, message, hint))
        self._pump()

    def _learn(self, file: str, header: bytes) -> None:
        """Take over a header that the worker has read."""
        try:
            self.model.checkpoint.learn(file, header)
        except CheckpointError as error:  # the worker has another index than we: its results would not fit
            job = self._running
            self._kill()
            self._fail(job, Failure(error.title, error.message, error.hint))
        else:
            self._on_event(HeaderRead(file))

    def _stopped_or_not(self, job: Job) -> None:
        """The worker is free for the next job."""
        if self._stopping == job:
            self._stopping = None
            if self._grace is not None:
                self._grace.cancel()

    def _given_up(self, job: Job) -> None:
        """The worker has stopped a job, or not begun it."""
        self._stopped_or_not(job)
        self._finish(job)
        self._changed(job)

    def _step(self, job: Job, numbers: dict[str, Any]) -> None:
        before = self.progress
        if before is not None and before.bytes_read == numbers["bytes_read"]:
            speed = before.bytes_per_second  # nothing arrived: the time went into computing
        else:
            speed = numbers["bytes_read"] / max(time.monotonic() - self._since, 1e-3)
        self.progress = Progress(job, **numbers, bytes_per_second=speed)
        self._on_event(Progressed(self.progress))

    def _done(self, job: Job, event: dict[str, Any]) -> None:
        self._finish(job)
        self._deaths.pop(job, None)
        if self.notice == self._obituary:  # the worker is well again
            self.notice = ""
        if "data" in event:
            self._notice(event["notice"])
            self.keeps = False
            found = self.store.decode(job, base64.b64decode(event["data"]))
        else:
            self.model.recall(job)  # the worker may have found a header that another program has kept
            found = self.store.load(job)
        if found is None:
            hint = "Another program may have removed it: press r to compute again."
            self._failures[job] = Failure("Result lost", f"The result of {job} could not be read back.", hint)
        else:
            self._keep(found)
        self._changed(job)

    def _fail(self, job: Job | None, failure: Failure) -> None:
        if job is not None:
            self._finish(job)
            if job not in self._focus and failure.title in {NetworkError.title, OfflineError.title}:
                self._guessed = []  # nobody asked for it: it is tried when somebody does
                self._changed(job)
                return
            self._failures[job] = failure
            self._changed(job)
            return
        self._broken = failure  # the model or the device cannot be opened: another worker would fail too
        self._notice(f"{failure.message} {failure.hint}".strip())
        failed, self._demanded, self._guessed = self._demanded, [], []
        for each in failed:
            self._failures[each] = failure
            self._changed(each)

    def _died(self, how: str) -> None:
        """The worker ended without being told to."""
        if self._stopped:
            return
        job, self._running = self._running, None
        if job is None:
            if not self._ready and self._broken is None:
                self._starts_failed += 1
                if self._starts_failed == 2:
                    hint = f"See {log_path()}, then press r."
                    self._fail(None, Failure("Worker failed", f"The compute process does not start: {how}.", hint))
            return
        self._deaths[job] = self._deaths.get(job, 0) + 1
        self.progress = None
        if self._deaths[job] < 2:
            self._obituary = f"The compute process {how} while computing {job}; trying once more."
            (self._demanded if job in self._focus else self._guessed).insert(0, job)
        else:
            hint = "Press r to try again; with too little memory, close other programs first."
            self._failures[job] = Failure("Worker failed", f"The compute process {how} twice on {job}.", hint)
            self._obituary = f"The compute process {how} twice on {job}."
        self._notice(self._obituary)
        self._changed(job)

    def _kill(self) -> None:
        worker, self._worker, self._ready, self._stopping = self._worker, None, False, None
        if worker is not None:
            worker.kill()

    def _changed(self, job: Job) -> None:
        self._on_event(StateChanged(job, self.state(job)))

    def _notice(self, message: str) -> None:
        if message != self.notice:
            self.notice = message
            self._on_event(Noticed(message))
