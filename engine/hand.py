"""A process that computes for a session, and what it has been given."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .address import Address
from .cache_dir import default_cache_dir
from .choices import Solver
from .errors import error_of
from .model import HEADS, Job, Model
from .process import WorkerProcess
from .pulse import Pulse, watched
from .target import HubName


class Spare:
    """A worker that is started before its session, and can begin before that."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.request: dict[str, Any] | None = None
        """What it has been told to open."""
        self.doing = ""
        """What it waits for while it opens a model, as a sentence; or that it does not answer."""
        self.job: Job | None = None
        """What it has been told to compute."""
        self.since = 0.0

    def open(
        self,
        name: HubName,
        *,
        solver: Solver,
        device: str,
        cache_dir: Path | None,
        offline: bool,
        stack: str | None = None,
    ) -> None:
        """Have it open a model on the Hub; `opened` waits for that."""
        self.request = _request(asdict(name), None, stack, solver, device, cache_dir, offline=offline)
        self.process.send(self.request)

    async def opened(self) -> dict[str, Any] | None:
        """What `reopened` makes the same model of; None when the process has ended without a word.

        Raises:
            EngineError: the model cannot be opened.
        """
        pulse, waits_for = Pulse(), ""

        def tell(is_silent: bool) -> None:
            wakes = f"kill -CONT {self.process.pid} lets it go on"
            silence = f"The process that opens the model does not answer; it may have been stopped: {wakes}."
            self.doing = silence if is_silent else waits_for

        async with aclosing(self.process.events()) as events, watched(pulse, tell):
            async for event in events:
                pulse.heard()
                match event:
                    case {"event": "opening", "doing": doing}:
                        self.doing = waits_for = doing
                    case {"event": "opened", "source": source}:
                        return dict(source)
                    case {"event": "failed", "kind": kind, "message": message, "hint": hint}:
                        raise error_of(kind, message, hint)
        return None

    def begin(
        self, model: Model, address: Address, *, solver: Solver, device: str, cache_dir: Path | None, offline: bool
    ) -> None:
        """Tell it what to open, and to compute the heads that a user who opens the model at a place looks at."""
        if self.request is None:
            self.request = request_for(model, solver=solver, device=device, cache_dir=cache_dir, offline=offline)
            self.process.send(self.request)
        jobs = model.jobs(address) if address.layer is not None else ()
        self.job = next((job for job in jobs if job.kind == HEADS), None)
        if self.job is not None:
            self.since = time.monotonic()
            _send_job(self.process, self.job, None, address.head)


def request_for(model: Model, *, solver: Solver, device: str, cache_dir: Path | None, offline: bool) -> dict[str, Any]:
    """What tells a worker to open a model: the fields of `job_request.Opening`."""
    return _request(model.location, model.key, model.asked_stack, solver, device, cache_dir, offline=offline)


def _request(
    location: str | dict[str, Any],
    key: str | None,
    stack: str | None,
    solver: Solver,
    device: str,
    cache_dir: Path | None,
    *,
    offline: bool,
) -> dict[str, Any]:
    return {
        "location": location,
        "key": key,
        "stack": stack,
        "solver": solver,
        "device": device,
        "cache_dir": str(cache_dir or default_cache_dir()),
        "offline": offline,
    }


def _send_job(process: WorkerProcess, job: Job, most_remote: int | None, head: int | None) -> None:
    process.send({"job": str(job), "most_remote": most_remote, "head": head})


class Hand:
    """The worker, or the process that leads many of them. It is started when there is work, and again after its end."""

    def __init__(self, module: str, request: Mapping[str, Any], spare: Spare | None = None) -> None:
        self.process: WorkerProcess | None = None
        self.task: asyncio.Task[None] | None = None
        """One process's life, from its start to its end."""
        self.running: dict[Job, float] = {}
        """What it computes, and since when."""
        self.stopping: Job | None = None
        """A job that it has been asked to stop, and has not answered for."""
        self.is_ready = False
        self.trouble = ""
        """Why it does not compute although it should, as a sentence, or empty."""
        self.pulse = Pulse()
        self.capacity = 1
        """How many jobs it takes at once."""
        self.starts_failed = 0
        self._module = module
        self._request = dict(request)
        self._spare = spare
        if spare is not None and spare.job is not None:
            self.running[spare.job] = spare.since
        self._grace: asyncio.TimerHandle | None = None
        self._is_deaf: tuple[float, Callable[[], None]] | None = None
        """What is to be done, and after how long, when one that is still starting does not listen then either."""

    async def start(self) -> WorkerProcess:
        """Start the process and tell it what to open.

        Raises:
            OSError: there is no process, memory or file descriptor left.
        """
        self.is_ready = False
        self.pulse.forget()
        spare, self._spare = self._spare, None
        self.process = spare.process if spare else await WorkerProcess.start(self._module)
        if spare is None or spare.request is None:
            self.process.send(self._request)
        return self.process

    @property
    def hindrance(self) -> str:
        """Why it does not compute, as a sentence, or empty: what it has told itself, or that it is not heard of."""
        if self.process is None or not self.pulse.is_silent or not (self.running or not self.is_ready):
            return self.trouble
        wakes = f"Nobody computes: kill -CONT {self.process.pid}, or esc to end it."
        return f"{wakes} The compute process does not answer; it may have been stopped."

    @property
    def is_free(self) -> bool:
        """Whether it takes another job."""
        return self.is_ready and self.stopping is None and len(self.running) < self.capacity

    def give(self, job: Job, most_remote: int | None, head: int | None = None) -> None:
        """Have it compute a job, unless more than so many bytes come over a network; of its slices `head`'s first."""
        assert self.process
        self.running[job] = time.monotonic()
        _send_job(self.process, job, most_remote, head)

    def ready(self) -> None:
        """It has opened the model, and listens from now on."""
        self.is_ready, self.starts_failed = True, 0
        if self._is_deaf is not None:
            self._be_patient(*self._is_deaf)

    def drop(self, job: Job, grace: float, deaf: Callable[[], None]) -> None:
        """Ask it to stop a job; where it does not listen within `grace` seconds, `deaf` is called.

        One that is still starting is given the time that takes.
        """
        self.running.pop(job, None)
        if self.process is not None:
            self.stopping = job
            self.process.send({"cancel": str(job)})
            if self.is_ready:
                self._be_patient(grace, deaf)
            else:
                self._is_deaf = grace, deaf

    def _be_patient(self, grace: float, deaf: Callable[[], None]) -> None:
        self._is_deaf = None
        self._grace = asyncio.get_running_loop().call_later(grace, deaf)

    def stopped(self, job: Job) -> None:
        """It has answered for a job."""
        self.running.pop(job, None)
        if self.stopping == job:
            self.stopping = self._is_deaf = None
            if self._grace is not None:
                self._grace.cancel()

    def seconds(self, job: Job) -> float:
        """How long a job has been running."""
        return time.monotonic() - self.running[job]

    def kill(self) -> None:
        """End the process at once, and all that it has started."""
        process, self.process, self.is_ready, self.stopping = self.process, None, False, None
        self._is_deaf = None
        self.trouble = ""
        self.running.clear()
        if process is not None:
            process.kill()
