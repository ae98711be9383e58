"""Who computes what, when: the queue in front of the worker, on the screen's event loop.

What the user looks at comes first, then the layers next to it, then what a scan has left. A request that is no longer
wanted leaves the queue; a running one that is long and no longer wanted is cancelled by ending the worker. When the
worker dies of itself, its job is tried once more in a new one; failing twice, it stays failed until the user asks
again. A scan with several workers, devices or machines is led by a process of its own (`relay`), beside the worker.
"""

import asyncio
import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .address import Address
from .arriving import PartialResult, SolvedSlices
from .backlog import Backlog, BacklogProgress, jobs_of_scan
from .choices import DEFAULT_K, Solver
from .errors import CheckpointError, NetworkError, OfflineError, WorkersGoneError
from .events import (
    DeviceKnown,
    Event,
    Failure,
    FiguresRead,
    HeaderRead,
    Noticed,
    Progress,
    Progressed,
    ScanEnded,
    ScanMoved,
    SlicesSolved,
    State,
    StateChanged,
    StatesChanged,
    Troubled,
)
from .hand import Hand, Spare, request_for
from .model import HEADS, Job, MatrixInfo, Model, job_name
from .process import log_path
from .pulse import BEAT
from .ready import Ready
from .results import JobResult, Tables
from .shelf import Shelf
from .speed import Speed
from .store import Store
from .text import plural
from .unasked import Unasked
from .wishes import Wishes

_PATIENCE = 1.0
"""Seconds that a running job may go on after it is no longer wanted, while a wanted one waits."""

_REMOTE_PATIENCE = 0.1
"""The same for a model whose weights come over a network."""

_GRACE = 0.3
"""Seconds that the worker may take to stop a job; one that is deep in a computation is ended."""


_MANY = 64
"""Jobs that are told of together when all of them change."""


class Session:
    """The results of one model: cached, running, waiting or absent. Belongs to one event loop.

    `on_event` is called on that loop's thread, never from inside `want` or `again` for a job's computation itself.
    `spare` is a worker that has been started already, and told nothing or what this session would tell it; from now on
    it is the session's.
    `workers` (on CPUs) and `dask` (a scheduler's address) are who does a scan; without them the worker does it, or a
    worker for each of several devices.
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
        k: int = DEFAULT_K,
        workers: int | None = None,
        dask: str | None = None,
        spare: Spare | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.model = model
        self.store = Store(model, solver, cache_dir)
        self.solver = solver
        self.device = ""
        self.progress: Progress | None = None
        self.notice = ""
        self._on_event = on_event
        self._shelf = Shelf(self.store, k)
        self._ready = Ready(model, self._shelf.has)
        self._speed = Speed()
        self._failures: dict[Job, Failure] = {}
        self._deaths: dict[Job, int] = {}
        self._parts: dict[Job, PartialResult] = {}
        self._wishes = Wishes(model, self._is_to_do, prefetch=prefetch)
        request = request_for(model, solver=solver, device=device, cache_dir=cache_dir, offline=offline)
        self._worker = Hand("worker", request, spare)
        self._relay = Hand("relay", {**request, "workers": workers, "dask": dask})
        self._uses_relay = dask is not None or (workers or 1) > 1
        self._unasked_at_all = prefetch and dask is None and not model.checkpoint.source.is_lazy
        self._unasked = Unasked(model, is_allowed=self._unasked_at_all)
        self._stopped = False
        self._broken: Failure | None = None
        self._obituary = ""
        """What a job that is done shows to be over."""
        self._unkept = ""
        self._checking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.trouble = ""
        """Why nobody, or not everybody, computes at present, as a sentence, or empty."""
        self.keeps = True
        """Whether results can be kept on disk, as far as is known."""

    # what the screen asks ------------------------------------------------------------------------

    async def start(self) -> None:
        """Look at what is on disk and warm the worker up in the background."""
        self._shelf.look(self.model.has_job)
        for job in self._shelf.jobs:
            self._ready.look(job)
        for job in filter(self._shelf.has, [*self._worker.running]):
            self._worker.stopped(job)  # it will be told that this is there
        self._spawn(self._worker)
        self._checking = asyncio.get_running_loop().create_task(self._shelf.read(self._is_running, self._read))
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        """End the worker at once, whatever it does."""
        self._stopped = True
        for hand in self._hands:
            hand.kill()
        for task in (self._checking, self._watching):
            if task:
                task.cancel()

    async def close(self) -> None:
        """`stop`, and wait until the worker is gone."""
        self.stop()
        await asyncio.gather(*(hand.task for hand in self._hands if hand.task), return_exceptions=True)
        if tasks := [task for task in (self._checking, self._watching) if task]:
            await asyncio.wait(tasks)

    def want(self, address: Address) -> None:
        """Say what the user looks at; it replaces what was said before.

        The heads of a layer or a whole matrix are queued, and the heads of the layers beside it behind them. The
        model as a whole queues nothing, and neither does what is held (see `is_held`).
        """
        self._unasked.is_looked_for = False
        for job in self._wishes.look_at(address):
            self._changed(job)
        self._pump()

    def to_scan(self, *, whole: bool = False) -> tuple[Job, ...]:
        """What a scan would compute: the heads of all layers that have no result, and with `whole` all matrices."""
        return tuple(job for job in jobs_of_scan(self.model, whole=whole) if not self._shelf.has(job))

    def scan(self, *, whole: bool = False) -> int:
        """Compute all that is missing, while the user goes on; how many jobs that is. What failed is tried again.

        What a scan that is under way has left is part of it.
        """
        left = self._wishes.scan.left if self._wishes.scan else ()
        jobs = tuple(dict.fromkeys((*self.to_scan(whole=whole), *left)))
        self._wishes.ask_for(jobs)
        self._relay.starts_failed = 0
        self._new_start()
        for job in self._failures.keys() & set(jobs):
            del self._failures[job]
        self._unasked.is_allowed = self._unasked_at_all
        return self._scan(Backlog(self.model, jobs) if jobs else None, jobs)

    def look_at_all(self) -> None:
        """The user looks at all layers: those that are missing are computed unasked where that takes seconds.

        How long it takes is known from what was computed; where that is nothing yet, one layer is, to measure it.
        """
        self._unasked.is_looked_for = True
        self._scan_unasked()

    def _scan_unasked(self) -> None:
        unasked = self._unasked
        if not (unasked.is_looked_for and unasked.is_allowed) or self._wishes.scan or self._broken or self._stopped:
            return
        if self._ready.count == len(self.model.layers) or (not unasked.is_measured and self.running):
            return  # what runs will be the measure
        jobs = [job for job in self.to_scan() if job not in self._failures and not self._wishes.is_held(job)]
        if jobs and not unasked.is_measured:
            self._wishes.insist(jobs[0])
            self._changed(jobs[0])
            self._pump()
        elif jobs and unasked.is_quick(jobs):
            self._scan(Backlog(self.model, jobs, is_unasked=True), jobs)

    def _scan(self, scan: Backlog | None, jobs: Sequence[Job]) -> int:
        self._wishes.scan = scan
        for job in (job for hand in self._hands for job in hand.running):
            if scan:
                scan.taken(job)
        self._all_changed(jobs)
        if jobs:
            self._on_event(ScanMoved())
        self._pump()
        return len(jobs)

    @property
    def scan_progress(self) -> BacklogProgress | None:
        """How far the scan is; None when there is none."""
        return self._wishes.scan.progress if self._wishes.scan else None

    def cancel(self) -> Job | None:
        """Stop what is running, and whatever waits, also a scan. The job that was stopped; None when nothing ran.

        What the user looks at and what ran is held from now on, until the user asks for it again.
        """
        job = self.running
        if self._wishes.scan or self._unasked.is_looked_for:
            self._unasked.is_allowed = False
        dropped, scan = self._wishes.stop(job)
        dropped += self._relay.running
        self._relay.kill()
        if job is not None and job in self._worker.running:
            self._drop(job)
        self._all_changed((*dict.fromkeys(dropped), *(scan.waiting if scan else ())))
        return job

    def is_held(self, job: Job) -> bool:
        """Whether a job is begun only when the user asks for it again.

        That is one that the user stopped, and a whole matrix for which more than `LARGE` bytes come over a network.
        """
        return self._wishes.is_held(job)

    def cancelled(self, job: Job) -> bool:
        """Whether the user stopped a job, and has not asked for it since."""
        return self._wishes.was_stopped(job)

    def again(self, address: Address) -> None:
        """Forget the results that a view of this place shows, and compute them once more, also what is held.

        Of a layer's whole matrices together, those that are held as too large are for the user to ask for by name.
        """
        jobs = self.model.jobs(address)
        if address.is_whole:
            jobs = tuple(job for job in jobs if self.cancelled(job) or not self.is_held(job))
        self._wishes.ask_for(jobs)
        for job in jobs:
            if not self._is_running(job):
                self._shelf.drop(job)
                self._failures.pop(job, None)
                self._deaths.pop(job, None)
                self.store.forget(job)
                self._changed(job)
        self._new_start()
        self.want(address)

    def _new_start(self) -> None:
        """The user asks for something: what went wrong before may go well now."""
        self._worker.starts_failed, self._broken, self.notice = 0, None, ""

    def state(self, job: Job) -> State:
        """Where a job stands."""
        if self._is_running(job):
            return State.RUNNING
        if self._shelf.has(job):
            return State.CACHED
        if job in self._failures:
            return State.FAILED
        return State.WAITING if job in self._wishes else State.ABSENT

    def result(self, job: Job) -> JobResult | None:
        """A job's result from memory or disk. A file that turns out to be unusable makes the job absent again."""
        if self._is_running(job):
            return None
        there = self._shelf.has(job)
        found = self._shelf.result(job)
        if there and found is None:
            self._changed(job)
        return found

    def seen(self, job: Job) -> JobResult | None:
        """A job's result; of one that runs, or that the user has stopped, what is solved (`MatrixResult.solved`)."""
        if found := self.result(job):
            return found
        part = self._parts.get(job)
        return part.result if part is not None else None

    def tables(self, job: Job) -> Tables | None:
        """A job's figures without its spectra, as far as they have been read: for views of many layers."""
        return self._shelf.tables(job)

    def hurry(self) -> None:
        """The figures of all results on disk are wanted now."""
        self._shelf.hurry()

    async def figures_read(self) -> None:
        """Wait until the figures of all results on disk have been read."""
        self.hurry()
        if self._checking:
            await asyncio.wait([self._checking])

    def is_flawed(self, info: MatrixInfo) -> bool:
        """Whether a matrix can never have a spectrum, as far as is known: its weights or its dtype forbid it."""
        return info.problem is not None or (info.matrix, info.index) in self._shelf.flaws(info.job)

    def has_flaws(self, job: Job) -> bool:
        """Whether any matrix of a job is flawed."""
        return bool(self._shelf.flaws(job)) or self.model.has_problem(job)

    def failure(self, job: Job) -> Failure | None:
        """Why a job failed."""
        return self._failures.get(job)

    @property
    def running(self) -> Job | None:
        """What is computed now; what the user looks at, when that is."""
        jobs = [job for hand in self._hands for job in hand.running]
        return next((job for job in jobs if job in self._wishes.focus), jobs[0] if jobs else None)

    @property
    def waiting(self) -> int:
        """How many jobs are in the queue, without those of a scan."""
        return len(self._wishes)

    @property
    def cached(self) -> int:
        """How many layers have everything that their view shows (see `Model.jobs`)."""
        return self._ready.count

    def _read(self, jobs: set[Job]) -> None:
        """Results on disk have been read."""
        for job in sorted(jobs, key=str):
            if not self._shelf.has(job) or self._shelf.flaws(job):
                self._changed(job)
        self._on_event(FiguresRead(frozenset(jobs)))

    # the queue -----------------------------------------------------------------------------------

    @property
    def _hands(self) -> tuple[Hand, Hand]:
        return self._worker, self._relay

    def _is_running(self, job: Job) -> bool:
        return any(job in hand.running for hand in self._hands)

    def _is_to_do(self, job: Job) -> bool:
        return self.state(job) in {State.ABSENT, State.WAITING}

    def _pump(self) -> None:
        """Give whoever computes the next jobs, or make room for what is wanted more."""
        if self._stopped:
            return
        self._end_scan()
        wishes = self._wishes
        if self._broken is not None and (len(wishes) or wishes.scan):
            self._fail(None, self._broken)
            return
        if len(wishes) or (wishes.scan and not self._uses_relay):
            self._spawn(self._worker)
        if wishes.scan and self._uses_relay:
            self._spawn(self._relay)
        elif not wishes.scan:
            self._relay.kill()  # its memory is needed no more
        for hand in self._hands:
            while hand.is_free and (job := self._next(hand)):
                self._give(hand, job)
        self._maybe_cancel()

    def _next(self, hand: Hand) -> Job | None:
        """The next job for somebody who is free."""
        is_worker = hand is self._worker
        return self._wishes.next(of_scan=not (is_worker and self._uses_relay), of_user=is_worker)

    def _give(self, hand: Hand, job: Job) -> None:
        if hand is self._worker:
            self.progress = None
        self._parts.pop(job, None)
        hand.give(job, self._wishes.most_remote(job), self._wishes.head)
        self._changed(job)

    def _maybe_cancel(self) -> None:
        """Stop something long that nobody waits for any more, when something else is waited for."""
        running = next(iter(self._worker.running), None)
        if running is None or not self._wishes.is_demanding or running in self._wishes.focus:
            return
        patience = _REMOTE_PATIENCE if self.model.remote_bytes(running) != 0 else _PATIENCE
        left = patience - self._worker.seconds(running)
        if running.kind != HEADS or left < 0:
            self._drop(running)
            self._wishes.put_back(running)
            self._changed(running)
        else:
            asyncio.get_running_loop().call_later(left + 0.01, self._pump)

    def _drop(self, running: Job) -> None:
        """Have the worker stop a job: it is asked first, and ended when it does not listen."""
        process = self._worker.process
        self.progress = None

        def end_deaf_worker() -> None:
            if self._worker.stopping == running and self._worker.process is process:
                self._worker.kill()
                self._pump()

        self._worker.drop(running, _GRACE, end_deaf_worker)
        self._changed(running)

    def _end_scan(self) -> None:
        scan = self._wishes.scan
        if scan is None or not scan.is_over:
            return
        done, self._wishes.scan = scan.progress, None
        what = ("layer",) if done.heads_only else ("layer or whole matrix", "layers and whole matrices")
        failed = f"; {done.failed} failed: ✗ marks them" if done.failed else ""
        kept = "" if self.keeps else ", but not kept on disk"
        itself = "; it began by itself" if done.is_unasked else ""
        self._on_event(ScanEnded(f"The scan has computed {plural(done.done, *what)}{kept}{failed}{itself}."))

    # the worker ----------------------------------------------------------------------------------

    def _spawn(self, hand: Hand) -> None:
        """Have a process there, unless one is, or one is just ending."""
        if hand.process is not None or (hand.task is not None and not hand.task.done()):
            return
        hand.task = asyncio.get_running_loop().create_task(self._run(hand))
        hand.task.add_done_callback(lambda task: self._has_ended(hand, task))

    async def _run(self, hand: Hand) -> None:
        """One process's life, from its start to its end."""
        try:
            process = await hand.start()
        except OSError as error:  # no process, memory or file descriptor left
            message = f"The compute process cannot be started: {error.strerror or error}."
            failure = Failure("Worker failed", message, "Close other programs, then press r.")
            if hand is self._relay:
                self._give_up_scan(failure)
            else:
                self._fail(None, failure)
            return
        if self._stopped:
            hand.kill()
        async for event in process.events():
            if hand.process is process:
                hand.pulse.heard()
                self._handle(hand, event)
        how = await process.ended()
        if hand.process is process:
            running = list(hand.running)
            was_ready = hand.is_ready
            hand.kill()
            self._died(hand, how, running, was_ready)

    async def _watch(self) -> None:
        """Once a second, see whether those who compute are heard of."""
        while True:
            await asyncio.sleep(BEAT)
            for hand in self._hands:
                hand.pulse.look()
            self._look_for_trouble()

    def _look_for_trouble(self) -> None:
        found = next(filter(None, (hand.hindrance for hand in self._hands)), "")
        if found != self.trouble:
            self.trouble = found
            self._on_event(Troubled(found))

    def _has_ended(self, hand: Hand, task: asyncio.Task[None]) -> None:
        """Nobody listens to a process any more. Where that is a flaw of ours, nothing may wait for it for ever."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            jobs = [*hand.running]
            hand.kill()
            message = f"What the compute process said was not understood ({type(error).__name__})."
            for job in jobs:
                self._fail(job, Failure("Worker failed", message, "Press r to try again, and please report it."))
        self._pump()

    def _handle(self, hand: Hand, event: dict[str, Any]) -> None:
        match event:
            case {"event": "beat"}:
                return
            case {"event": "trouble", "message": message}:
                hand.trouble = message
                self._look_for_trouble()
                return
            case {"event": "notice", "message": message}:
                self._notice(message)
            case {"event": "ready", "device": device, "note": note}:
                hand.ready()
                if hand is self._worker:
                    self.device = device
                    self._uses_relay = self._uses_relay or event.get("devices", 1) > 1
                    self._on_event(DeviceKnown(device))
                else:
                    hand.capacity = event["capacity"]
                if note:
                    self._notice(note)
            case {"event": "step", "job": name, **numbers} if (job := Job.parse(name)) in hand.running:
                self._step(hand, job, numbers)
            case {"event": "solved", "job": name, "slices": packed} if (job := Job.parse(name)) in hand.running:
                self._take_in(job, [SolvedSlices.unpacked(each) for each in packed])
            case {"event": "header", "file": file, "data": data}:
                self._learn(hand, file, base64.b64decode(data))
            case {"event": "too_large", "job": name}:
                job = Job.parse(name)
                self.model.recall(job)  # the worker may have found a header that another program has kept
                self._wishes.find_large(job)
                self._finish_in_scan(job, failed=True)
                self._given_up(hand, job)
            case {"event": "cancelled", "job": name}:
                self._given_up(hand, Job.parse(name))
            case {"event": "done", "job": name}:
                self._done(hand, Job.parse(name), event)
            case {"event": "failed", "job": str(name)} if Job.parse(name) not in hand.running:
                self._given_up(hand, Job.parse(name))  # nobody wants to know any more
            case {"event": "failed", "job": name, "title": title, "message": message, "hint": hint}:
                failure = Failure(title, message, hint)
                if name:
                    self._fail(Job.parse(name), failure, hand)
                elif hand is self._relay:
                    self._give_up_scan(failure)
                else:
                    self._fail(None, failure)
        self._pump()

    def _learn(self, hand: Hand, file: str, header: bytes) -> None:
        """Take over a header that has been read."""
        try:
            self.model.checkpoint.learn(file, header)
        except CheckpointError as error:  # another index than ours: the results would not fit
            jobs: list[Job | None] = [*hand.running]
            hand.kill()
            for job in jobs or [None]:
                self._fail(job, Failure(error.title, error.message, error.hint))
        else:
            self._on_event(HeaderRead(file))

    def _given_up(self, hand: Hand, job: Job) -> None:
        """A job was stopped, or not begun."""
        hand.stopped(job)
        if self.progress and self.progress.job == job:
            self.progress = None
        self._changed(job)

    def _step(self, hand: Hand, job: Job, numbers: dict[str, Any]) -> None:
        speed = self._speed.of(job, hand.seconds(job), numbers["bytes_read"], waits=bool(numbers["waiting"]))
        self.progress = Progress(job, **numbers, bytes_per_second=speed)
        self._on_event(Progressed(self.progress))

    def _take_in(self, job: Job, slices: list[SolvedSlices]) -> None:
        """A part of a result is there."""
        if not self.model.is_known(job):
            self.model.recall(job)  # another program has kept its header, so that the worker did not have to tell it
        if not self.model.is_known(job):
            return  # the whole comes later
        if job not in self._parts:
            self._parts[job] = PartialResult(self.model, job)
        self._parts[job].put(slices)
        self._on_event(SlicesSolved(job, frozenset().union(*(each.places for each in slices))))

    def _done(self, hand: Hand, job: Job, event: dict[str, Any]) -> None:
        hand.stopped(job)
        if self._wishes.scan and hand.is_free and (following := self._next(hand)):
            self._give(hand, following)  # it need not wait until this result has been read back
        if self.progress and self.progress.job == job:
            self.progress = None
        for of_job in (self._deaths, self._failures, self._parts):
            of_job.pop(job, None)
        if self.notice == self._obituary:  # the worker, or the network, is well again
            self.notice = ""
        if "data" in event:
            data = base64.b64decode(event["data"])
            found = self.store.decode(job, data)
            self.keeps, self._unkept = False, event["notice"]
            self._notice(self._unkept)
        else:
            data = None
            self.model.recall(job)  # the worker may have found headers and results that another program has kept
            found = self.store.load(job)
            self.keeps = self.keeps or self._shelf.save_rest()
            if self.keeps and self.notice == self._unkept:
                self.notice = ""
        if found is None:
            hint = "Another program may have removed it: press r to compute again."
            self._failures[job] = Failure("Result lost", f"The result of {job_name(job)} could not be read back.", hint)
        else:
            self._shelf.put(found, data)
        self._finish_in_scan(job, failed=found is None)
        self._changed(job)
        if "seconds" in event:
            self._unasked.took(job, event["seconds"])
            self._scan_unasked()

    def _finish_in_scan(self, job: Job, *, failed: bool) -> None:
        if self._wishes.scan and job in self._wishes.scan:
            self._wishes.scan.finish(job, failed=failed)
            self._on_event(ScanMoved())

    def _fail(self, job: Job | None, failure: Failure, hand: Hand | None = None) -> None:
        if job is not None:
            if hand is not None:
                hand.stopped(job)
            self.progress = None
            if failure.title == WorkersGoneError.title:
                self._give_up_scan(failure)  # it is no failure of this job
                self._changed(job)
                return
            of_network = failure.title in {NetworkError.title, OfflineError.title}
            if of_network and self._wishes.scan and job in self._wishes.scan:
                self._give_up_scan(failure)  # the next layers would fail too
            if of_network and job not in self._wishes.focus:
                self._wishes.drop_guesses()  # nobody asked for it: it is tried when somebody does
                self._changed(job)
                return
            self._failures[job] = failure
            self._finish_in_scan(job, failed=True)
            self._changed(job)
            return
        self._broken = failure  # the model or the device cannot be opened: another worker would fail too
        self._give_up_scan(failure)
        self._notice(f"{failure.message} {failure.hint}".strip())
        begun = [*self._worker.running]
        for each in begun:
            self._worker.stopped(each)
        dropped, scan = self._wishes.drop()
        dropped = [*begun, *dropped]
        waited = (*dropped, *(scan.waiting if scan else ()))
        for each in self._wishes.focus:
            if each in dropped or (scan and each in scan.waiting):
                self._failures[each] = failure
        self._all_changed(waited)

    def _give_up_scan(self, failure: Failure) -> None:
        """A scan cannot go on; what it has computed is kept."""
        scan, self._wishes.scan = self._wishes.scan, None
        if scan is None:
            return
        self._unasked.is_allowed = False
        left = [*scan.waiting, *self._relay.running]
        self._relay.kill()
        self._all_changed(left)
        progress = scan.progress
        self._obituary = f"{failure.message} {failure.hint}".strip()
        self._notice(self._obituary)
        self._on_event(ScanEnded(f"The scan stopped at {progress.done} of {progress.total}: {failure.message}"))

    def _died(self, hand: Hand, how: str, running: list[Job], was_ready: bool) -> None:
        """A process ended without being told to."""
        if self._stopped:
            return
        if not running or not was_ready:
            for job in running:
                self._wishes.put_back(job)
                self._changed(job)
            if not was_ready and self._broken is None:
                hand.starts_failed += 1
                if hand.starts_failed == 2:
                    hint = f"See {log_path()}, then press r."
                    failure = Failure("Worker failed", f"The compute process does not start: {how}.", hint)
                    if hand is self._relay:
                        self._give_up_scan(failure)
                    else:
                        self._fail(None, failure)
            return
        self.progress = None
        for job in running:
            self._deaths[job] = self._deaths.get(job, 0) + 1
            if self._deaths[job] < 2:
                self._obituary = f"The compute process {how} on {job_name(job)}; trying once more."
                self._wishes.put_back(job)
                self._wishes.insist(job)
            else:
                hint = "Press r to try again; with too little memory, close other programs first."
                self._failures[job] = Failure(
                    "Worker failed", f"The compute process {how} twice on {job_name(job)}.", hint
                )
                self._obituary = f"The compute process {how} twice on {job_name(job)}."
                self._finish_in_scan(job, failed=True)
            self._changed(job)
        self._notice(self._obituary)

    def _changed(self, job: Job) -> None:
        if not self._is_running(job) and not self._wishes.was_stopped(job):
            self._parts.pop(job, None)
        self._ready.look(job)
        self._on_event(StateChanged(job, self.state(job)))

    def _all_changed(self, jobs: Sequence[Job]) -> None:
        """Tell of several jobs; of very many together, since to draw what is in sight is all that can be done."""
        if len(jobs) <= _MANY:
            for job in jobs:
                self._changed(job)
            return
        for job in [job for job in self._parts if not self._is_running(job) and not self._wishes.was_stopped(job)]:
            del self._parts[job]
        self._on_event(StatesChanged())

    def _notice(self, message: str) -> None:
        if message != self.notice:
            self.notice = message
            self._on_event(Noticed(message))
