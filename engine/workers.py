"""Who computes several jobs side by side: what a scan asks of them, and any `Executor` as one of them.

Processes of this machine are in `lanes`, a Dask cluster in `dask_cluster`.
"""

import base64
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from .errors import EngineError, ModelChangedError, WorkerError
from .hub_errors import redacted
from .job_request import JobRequest, Opening, compute_job
from .limits import shortage
from .model import Job, Model, job_name
from .store import Store

if TYPE_CHECKING:
    from .compute import Step

Hear = Callable[[dict[str, Any]], None]
"""Told, from any thread, what the compute process tells of jobs under way: `step`, `header` (see `worker`),
`notice` with a `message` for the user, and `trouble` with one that holds until the next, which may be empty."""


def hear_nothing(_: dict[str, Any]) -> None:
    """Is not interested."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a job is in the store; or, where that cannot be written, here, with a sentence that says so."""

    data: bytes | None = None
    """The result as `Store.encode` writes it."""
    notice: str = ""
    is_too_large: bool = False
    """It was not begun, since it would have read too much over a network."""


class Workers(Protocol):
    """Computes jobs of one model side by side."""

    @property
    def shown(self) -> str:
        """What computes, in words: `2 workers on cpu`."""

    @property
    def note(self) -> str:
        """A sentence when that is not what was asked for, or empty."""

    @property
    def capacity(self) -> int:
        """How many jobs it wants at once."""

    def submit(self, job: Job, most_remote: int | None = None) -> Future[Answer]:
        """Have a job computed. `Future.cancel` withdraws one that has not begun.

        Its exception is an `EngineError`. `most_remote` is the number of bytes that may be read over a network.
        """

    def close(self) -> None:
        """End at once, whatever is computed."""


class ExecutorWorkers:
    """Any executor whose workers can open the model. Results are checked and saved here as they come.

    Args:
        model: the same that the workers are to open.
        at_once: how many jobs it is given at a time.
        function: what it is given to run.
        told: makes a sentence of an exception that only this kind of executor raises, or gives None.
    """

    def __init__(
        self,
        executor: Executor,
        opening: Opening,
        model: Model,
        store: Store,
        *,
        shown: str,
        at_once: int,
        function: Callable[[JobRequest], bytes] = compute_job,
        told: Callable[[Job, BaseException], EngineError | None] = lambda job, error: None,
        hear: Hear = hear_nothing,
    ) -> None:
        self.shown, self.note, self.capacity = shown, "", at_once
        self._executor, self._function, self._told, self._hear = executor, function, told, hear
        # A copy of the files on another machine has other times, and maybe another path.
        self._opening = replace(opening, key=None, contents=model.contents)
        self._model, self._store = model, store
        self._keeper = ThreadPoolExecutor(1, "keeper")  # reading headers and writing files must not hold up the others

    def submit(self, job: Job, most_remote: int | None = None) -> Future[Answer]:  # noqa: ARG002 - they read, not we
        """See `Workers.submit`. How much is read is the workers' affair: it is not this machine's network."""
        outcome: Future[Answer] = Future()
        try:
            running = self._executor.submit(self._function, JobRequest(self._opening, job))
        except Exception as error:  # it is broken, or has been shut down
            outcome.set_exception(self._sentence(job, error))
            return outcome
        outcome.add_done_callback(lambda outcome: running.cancel() if outcome.cancelled() else None)
        running.add_done_callback(lambda running: self._come(job, running, outcome))
        return outcome

    def close(self) -> None:
        """See `Workers.close`; the executor itself belongs to whoever made it."""
        self._keeper.shutdown(cancel_futures=True)

    def _come(self, job: Job, running: Future[bytes], outcome: Future[Answer]) -> None:
        try:
            self._keeper.submit(self._settle, job, running, outcome)
        except RuntimeError:  # closed meanwhile
            outcome.cancel()

    def _settle(self, job: Job, running: Future[bytes], outcome: Future[Answer]) -> None:
        """What came back, also when nobody waits for it any more: it has been computed, and will be wanted again."""
        is_wanted = outcome.set_running_or_notify_cancel()
        try:
            answer = self._keep(job, running.result())
        except (Exception, CancelledError) as error:
            if is_wanted:
                outcome.set_exception(self._sentence(job, error))
        else:
            if is_wanted:
                outcome.set_result(answer)

    def _keep(self, job: Job, data: bytes) -> Answer:
        for file, header in self._model.prepare([job]):
            self._hear({"event": "header", "file": file, "data": base64.b64encode(header).decode()})
        if self._store.decode(job, data) is None:
            raise ModelChangedError(
                f"What came back for {job_name(job)} was computed from other files than those that are here.",
                "Every worker must see the same files, and have the same version of svdtui.",
            )
        try:
            self._store.save(data, job)
        except OSError as error:
            return Answer(data, self._store.cannot_keep(error))
        return Answer()

    def _sentence(self, job: Job, error: BaseException) -> EngineError:
        if isinstance(error, EngineError):
            return error
        if told := self._told(job, error) or shortage(error):
            return told
        again = "What has been computed is kept: begin again to go on."
        if isinstance(error, BrokenExecutor):
            return WorkerError(
                f"A process of the executor ended while {job_name(job)} was computed or waited for.", again
            )
        if isinstance(error, CancelledError):
            return WorkerError(f"The executor gave up {job_name(job)}.", again)
        message = f"Computing {job_name(job)} failed with {type(error).__name__}: {redacted(str(error))}."
        problem = WorkerError(message, "Please report it.")
        problem.__cause__ = error
        return problem


class ThisProcess:
    """This process as the only worker: `submit` comes back when the job is done, and raises why it is not.

    Args:
        compute: computes a job and sees to its result.
        on_step: called after each step that `hear` has been told of.
    """

    shown, note, capacity = "this process", "", 1

    def __init__(
        self, compute: "Callable[[Job, Callable[[Step], None]], object]", hear: Hear, on_step: Callable[[], None]
    ) -> None:
        self._compute = compute
        self._hear = hear
        self._on_step = on_step
        self._lock = threading.Lock()

    def submit(self, job: Job, most_remote: int | None = None) -> Future[Answer]:  # noqa: ARG002 - it is asked for
        """See `Workers.submit`."""

        def told(step: "Step") -> None:
            event = {"event": "step", "job": str(job), "bytes_read": step.bytes_read, "waiting": step.waiting}
            with self._lock:
                self._hear(event)
                self._on_step()

        self._compute(job, told)
        outcome: Future[Answer] = Future()
        outcome.set_result(Answer())
        return outcome

    def close(self) -> None:
        """Whoever computes keeps what it has for the next job."""
