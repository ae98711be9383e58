"""Several compute processes of this machine side by side: one for each GPU, or several that share the CPU.

Each is a process of `worker`, with a thread here that gives it one job after another. When one dies, only its own job
is affected: the process is started again and the job done again; a job that ends its process twice has failed.
"""

import base64
import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any

from .device import choose_devices
from .errors import ChoiceError, EngineError, WorkerError, error_of
from .isolation import command, environment
from .job_request import Opening
from .limits import usable_cores
from .model import Job, job_name
from .process import ENDING_SECONDS, how_it_ended, log_path, open_log
from .pulse import BEAT, Pulse
from .text import plural
from .workers import Answer, Hear, hear_nothing

_TICK = 0.1
"""Seconds between two looks at whether a process is ready."""

_MOST_DEATHS = 2
"""How many processes a job may end before it has failed, and how often one may end before it is ready."""


def plan(opening: Opening, workers: int | None = None) -> tuple[Opening, ...]:
    """What each process is to open: one for each GPU that `device` means, or `workers` that share the cores.

    Raises:
        DeviceError: the device is not there.
        ChoiceError: there is no such number of workers.
    """
    if workers is not None and workers < 1:
        raise ChoiceError(f"{workers} workers are not enough.", "Use 1 or more.")
    devices = choose_devices(opening.device)
    if devices[0].is_cpu:
        count = workers or 1
        threads = None if count == 1 else max(1, usable_cores() // count)
        return (replace(opening, threads=threads),) * count
    if workers is not None:
        raise ChoiceError(
            "The number of workers can be chosen on the CPU only: with CUDA, each GPU has one.",
            "Leave it out, or use --device cpu.",
        )
    return tuple(replace(opening, device=device.torch_name) for device in devices)


class LocalWorkers:
    """Processes of this machine, each with what it is to open (see `plan`). They save their results themselves."""

    def __init__(self, openings: Sequence[Opening], hear: Hear = hear_nothing) -> None:
        names = [opening.device for opening in openings]
        self.shown = " and ".join(names)
        if len(names) > 1 and len(set(names)) == 1:
            self.shown = f"{plural(len(names), 'worker')} on {'cpu' if names[0] in {'auto', 'mps'} else names[0]}"
        self.capacity = len(openings)
        self.note = ""
        self.hear = hear
        self.closed = False
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._state = threading.Condition()
        self._is_ready = False
        self._broken: EngineError | None = None
        self._losses: list[EngineError] = []
        self._lanes = [_Lane(self, opening) for opening in openings]
        self._alive = set(self._lanes)
        for lane in self._lanes:
            lane.start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def wait_until_ready(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Wait for the first process that has opened the model; `on_tick` is called meanwhile.

        Raises:
            EngineError: none can.
        """
        with self._state:
            while not self._state.wait_for(lambda: self._is_ready or not self._alive, _TICK):
                on_tick()
            if not self._alive:
                raise self._why_broken()

    def _watch(self) -> None:
        """Say when processes that should compute are not heard of, and when they are again."""
        said = ""
        while not self.closed:
            time.sleep(BEAT)
            silent = [lane.pid for lane in self._lanes if lane.is_silent()]
            if (told := _trouble(silent, len(self._alive))) != said and not self.closed:
                said = told
                self.hear({"event": "trouble", "message": told})

    def submit(self, job: Job, most_remote: int | None = None) -> Future[Answer]:
        """See `Workers.submit`."""
        task = _Task(job, most_remote, Future())
        with self._state:
            if self._alive:
                self._tasks.put(task)
            else:
                task.outcome.set_exception(self._why_broken())
        return task.outcome

    def close(self) -> None:
        """See `Workers.close`."""
        self.closed = True
        for lane in self._lanes:
            lane.kill()
            self._tasks.put(None)
        for lane in self._lanes:
            lane.join()

    # for the lanes -------------------------------------------------------------------------------

    def next_task(self) -> "_Task | None":
        """The next job that is still wanted; None when the workers are closed."""
        while (task := self._tasks.get()) is not None and not self.closed:
            if task.is_wanted():
                return task
        if task is not None:
            self._tasks.put(task)
        return None

    def is_ready(self, note: str) -> None:
        """A process has opened the model."""
        with self._state:
            self._is_ready, self.note = True, note
            self._tell_losses()
            self._state.notify_all()

    def has_ended(self, lane: "_Lane", task: "_Task | None", why: EngineError | None) -> None:
        """A lane takes no more jobs. Its own goes to another; where there is none, all that wait have failed."""
        with self._state:
            self._alive.discard(lane)
            self._broken = self._broken or why
            if task is not None:
                self._tasks.put(task)
            if why is not None:
                self._losses.append(why)
            self._tell_losses()
            while not self._alive and not self._tasks.empty():
                waiting = self._tasks.get()
                if waiting is not None and waiting.is_wanted():
                    waiting.outcome.set_exception(self._why_broken())
            self._state.notify_all()

    def _tell_losses(self) -> None:
        """Say which workers are missing, once there is one: where there is none, that is why all jobs fail."""
        while self._is_ready and self._alive and self._losses:
            left = plural(len(self._alive), "worker")
            self.hear({"event": "notice", "message": f"{self._losses.pop(0).message} The scan goes on with {left}."})

    def _why_broken(self) -> EngineError:
        return self._broken or WorkerError("The compute processes have been ended.")


@dataclass(eq=False)
class _Task:
    """A job that is wanted, and how many processes it has ended."""

    job: Job
    most_remote: int | None
    outcome: Future[Answer]
    deaths: int = 0

    def is_wanted(self) -> bool:
        """Whether it has not been withdrawn; from now on it cannot be."""
        return self.outcome.running() or self.outcome.set_running_or_notify_cancel()


class _Lane(threading.Thread):
    """Has one job after another computed by a process, which it starts again when it dies.

    The process belongs to this thread: the system ends it with the thread that started it.
    """

    def __init__(self, workers: LocalWorkers, opening: Opening) -> None:
        super().__init__(name="lane", daemon=True)
        self._workers = workers
        self._opening = opening
        self._process: subprocess.Popen[bytes] | None = None
        self._task: _Task | None = None
        self._is_begun = False
        self._failed_starts = 0
        self._pulse = Pulse()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid if self._process is not None else 0

    def is_silent(self) -> bool:
        """Whether the process says nothing although it has something to do. To be asked once a second."""
        self._pulse.look()
        return self._pulse.is_silent and self._task is not None and self.is_alive()

    def kill(self) -> None:
        """End the process, from any thread."""
        if self._process is not None:
            self._process.kill()

    def run(self) -> None:
        """Process after process, until the workers are closed or another one would fail too."""
        why: EngineError | None = None
        try:
            while why is None and not self._workers.closed:
                why = self._live()
        except OSError as error:
            hint = "Close other programs, then begin again."
            why = WorkerError(f"The compute process cannot be started: {error.strerror or error}.", hint)
        finally:
            self._workers.has_ended(self, self._task, why)

    def _live(self) -> EngineError | None:
        """One process, from its start to its end; why there should be no other one, or None."""
        with open_log() as log:
            process = self._process = subprocess.Popen(
                command("svdtui.engine.worker"),
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        is_ready = self._is_begun = False
        self._pulse.forget()
        with process:
            try:
                _send(process, asdict(self._opening))
                for event in _events(process):
                    self._pulse.heard()
                    match event:
                        case {"event": "beat"}:
                            continue
                        case {"event": "failed", "job": None}:
                            return error_of(event["kind"], event["message"], event["hint"])
                        case {"event": "ready", "note": note}:
                            is_ready, self._failed_starts = True, 0
                            self._workers.is_ready(note)
                        case {"event": "step" | "header"}:
                            self._workers.hear(event)
                            continue
                        case _:
                            self._settle(event)
                    if self._workers.closed or not self._begin(process):
                        return None
                return self._died(_end(process), is_ready)
            finally:
                process.kill()

    def _begin(self, process: "subprocess.Popen[bytes]") -> bool:
        """Give the process its next job: False when there is none, or no process."""
        self._task = self._task or self._workers.next_task()
        if self._task is None or process.poll() is not None:  # it may have died while it had nothing to do
            return False
        self._is_begun = True
        _send(process, {"job": str(self._task.job), "most_remote": self._task.most_remote})
        return True

    def _settle(self, event: dict[str, Any]) -> None:
        task, self._task, self._is_begun = self._task, None, False
        assert task is not None
        match event:
            case {"event": "done", "data": data, "notice": notice}:
                task.outcome.set_result(Answer(base64.b64decode(data), notice))
            case {"event": "done"}:
                task.outcome.set_result(Answer())
            case {"event": "too_large"}:
                task.outcome.set_result(Answer(is_too_large=True))
            case _:
                task.outcome.set_exception(error_of(event["kind"], event["message"], event["hint"]))

    def _died(self, how: str, was_ready: bool) -> EngineError | None:
        """The process ended without being told to; why there should be no other one, or None."""
        if self._workers.closed:
            return None
        if not was_ready:
            self._failed_starts += 1
            if self._failed_starts == _MOST_DEATHS:
                return WorkerError(f"The compute process does not start: {how}.", f"See {log_path()}.")
        if self._task is not None and self._is_begun:
            self._task.deaths += 1
            message = f"The compute process {how} while computing {job_name(self._task.job)}; trying once more."
            if self._task.deaths == _MOST_DEATHS:
                message = f"The compute process {how} twice on {job_name(self._task.job)}."
                hint = "With too little memory, close other programs or use fewer workers."
                self._task.outcome.set_exception(WorkerError(message, hint))
                self._task = None
            self._workers.hear({"event": "notice", "message": message})
        return None


def _trouble(silent: Sequence[int], count: int) -> str:
    """A sentence on the processes that are not heard of, of so many; empty where all are. What to do comes first."""
    if not silent:
        return ""
    wakes = f"kill -CONT {' '.join(map(str, silent))} lets {'it' if len(silent) == 1 else 'them'} go on"
    if len(silent) < count:
        return (
            f"{len(silent)} of {count} workers {'does' if len(silent) == 1 else 'do'} not answer: if stopped, {wakes}."
        )
    who = "The compute process does not answer" if count == 1 else f"None of the {count} workers answers"
    return f"Nobody computes: {wakes}. {who}; {'it' if count == 1 else 'they'} may have been stopped."


def _send(process: "subprocess.Popen[bytes]", message: dict[str, Any]) -> None:
    """Write a line, to a process that may have ended."""
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        os.write(process.stdin.fileno(), json.dumps(message).encode() + b"\n")


def _events(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    """Its lines until it closes stdout; a line that is no JSON ends them too."""
    assert process.stdout
    with contextlib.suppress(ValueError):
        for line in process.stdout:
            yield json.loads(line)


def _end(process: "subprocess.Popen[bytes]") -> str:
    """How a process that has closed its stdout ended."""
    try:
        code = process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return how_it_ended(code)
