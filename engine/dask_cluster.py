"""The workers of an existing Dask cluster (`svdtui[dask]`) compute the same jobs; results come back to this machine.

Each worker opens the model itself, at the same path or on the Hub, with its own token and caches, and computes one job
at a time with as many threads as it was started with.
"""

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, InvalidStateError
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from .dask_pulse import DaskPulse
from .errors import ChoiceError, EngineError, ModelChangedError, ModelNotFoundError, WorkerError, WorkersGoneError
from .job_request import JobRequest, Opening, check_opening, compute_job
from .model import Job, Model, job_name
from .store import Store
from .text import plural
from .workers import ExecutorWorkers, Hear, hear_nothing

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer, and to name its workers."""

_CHECK_SECONDS = 20.0
"""How long the workers may take to open the model. One that is busy until then is not asked: its first job tells."""

_CLOSE_SECONDS = 2.0

_WATCH_SECONDS = 0.2
"""Between two looks at whether the scheduler is still there."""

_EACH = 2
"""Jobs for each worker at once: one that it computes, and the next."""


class DaskWorkers(ExecutorWorkers):
    """The workers of the cluster whose scheduler is at an address such as `tcp://host:8786`.

    Raises:
        ChoiceError: the extra is not installed, or the address is none.
        WorkerError: no scheduler answers there, it has no workers, or one has another svdtui.
        EngineError: a worker cannot open the model, or finds other files.
    """

    def __init__(self, address: str, opening: Opening, model: Model, store: Store, hear: Hear = hear_nothing) -> None:
        self._address = address
        self._client, note = _connect(address)
        theirs = replace(opening, cache_dir=None, key=None, contents=model.contents)
        try:
            silent = "Not all Dask workers answer: see which of them was stopped, or cannot be reached."
            workers = _within(_CONNECT_SECONDS, lambda: _workers(self._client, address), address, silent)
            _check(self._client, theirs, workers, model)
        except BaseException:
            self._close_client()
            raise
        super().__init__(
            _Connected(self._client),
            theirs,
            model,
            store,
            shown=f"dask {address} ({plural(len(workers), 'worker')})",
            at_once=_EACH * len(workers),
            function=compute_on_worker,
            told=self._told,
            hear=hear,
        )
        self.note = note
        DaskPulse(self._client, address, hear)

    def close(self) -> None:
        """See `Workers.close`. A job that a worker has begun is computed there to its end, in vain."""
        super().close()
        self._close_client()

    def _close_client(self) -> None:
        """Without waiting long for a scheduler that is gone."""
        thread = threading.Thread(target=self._client.close, args=(_CLOSE_SECONDS,), daemon=True)
        thread.start()
        thread.join(_CLOSE_SECONDS)

    def _told(self, job: Job, error: BaseException) -> EngineError | None:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return WorkerError(
                f"{plural(error.allowed_failures + 1, 'Dask worker')} in a row died while computing {job_name(job)}, "
                f"the last of them {error.last_worker.address}.",
                "Their logs say why; with too little memory, start fewer on each machine.",
            )
        if isinstance(error, ConnectionError) or self._client.status != "running":
            return WorkersGoneError(
                f"The connection to the Dask scheduler at {self._address} was lost.",
                "What has been computed is kept: begin again to go on.",
            )
        return None


class _Connected(Executor):
    """Dask's executor, as long as there is a scheduler: without one, its client may never answer."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._under_way: set[Future[Any]] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """See `Executor.submit`. A future's exception is `ConnectionError` when the scheduler is lost meanwhile.

        Raises:
            ConnectionError: it has been lost.
        """
        if self._client.status != "running":
            raise ConnectionError
        future: Future[T] = self._executor.submit(function, *args, **kwargs)
        with self._lock:
            self._under_way.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: "Future[Any]") -> None:
        with self._lock:
            self._under_way.discard(future)

    def _watch(self) -> None:
        while self._client.status != "closed":
            time.sleep(_WATCH_SECONDS)
            if self._client.status == "running":
                continue
            with self._lock:
                lost = list(self._under_way)
            for future in lost:
                with contextlib.suppress(InvalidStateError):  # it is answered after all
                    future.set_exception(ConnectionError())


def compute_on_worker(request: JobRequest) -> bytes:
    """What a worker is given to run; see `compute_job`."""
    return compute_job(replace(request, opening=_as_here(request.opening)))


def check_on_worker(opening: Opening) -> dict[str, str]:
    """Open the model on a worker; see `check_opening`."""
    return check_opening(_as_here(opening))


def _as_here(opening: Opening) -> Opening:
    from distributed import get_worker

    return replace(opening, threads=get_worker().state.nthreads)


def _connect(address: str) -> "tuple[Client, str]":
    """The client, and a sentence about it, or empty."""
    try:
        from distributed import Client, Security
        from distributed.comm.addressing import get_address_host_port
    except ImportError as error:
        raise ChoiceError(
            f"A Dask cluster needs packages that are not installed ({error}).",
            "Install them: pip install 'svdtui[dask]'.",
        ) from error
    hint = "Give the address that the scheduler's log names, such as tcp://host:8786."
    try:
        get_address_host_port(address)
    except ValueError as error:  # a client that is told so takes long to end
        raise ChoiceError(f"{address!r} is not a Dask scheduler's address: {error}.", hint) from error
    if address.startswith("tls") and Security().get_connection_args("client")["ssl_context"] is None:
        raise ChoiceError(
            f"{address} needs certificates, and Dask's configuration names none.",
            "Set distributed.comm.tls in it, or the DASK_DISTRIBUTED__COMM__TLS__… variables.",
        )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            client = _within(
                _CONNECT_SECONDS,
                lambda: Client(address, timeout=_CONNECT_SECONDS - 1, set_as_default=False, name="svdtui"),
                address,
            )
        except ImportError as error:  # the scheduler refuses our versions
            raise WorkerError(
                f"The Dask scheduler at {address} has other versions than this machine: {error}.",
                "Install the same ones of dask and distributed here and there.",
            ) from error
        except OSError as error:
            raise WorkerError(f"No Dask scheduler answers at {address}.", hint) from error
    differ = any("VersionMismatch" in warning.category.__name__ for warning in warned)
    return client, "The Dask cluster has other versions of some packages than this machine." if differ else ""


def _workers(client: "Client", address: str) -> list[str]:
    """The addresses of the workers, each of which has this svdtui."""
    workers = sorted(client.nthreads())
    if not workers:
        raise WorkerError(
            f"The Dask scheduler at {address} has no workers.", f"Start some: dask worker {address}, on any machine."
        )
    ours = version("svdtui")
    answers: Mapping[str, Any] = client.run(version, "svdtui", on_error="return")
    for worker, theirs in sorted(answers.items()):
        if theirs != ours:
            has = f"has svdtui {theirs}" if isinstance(theirs, str) else "has no svdtui"
            raise WorkerError(
                f"The Dask worker {worker} {has}, and this machine has {ours}.",
                f"Install it there: pip install svdtui=={ours}.",
            )
    return workers


def _check(client: "Client", opening: Opening, workers: list[str], model: Model) -> None:
    """Have each worker open the model, and compare what it sees with what is here."""
    asked = {worker: client.submit(check_on_worker, opening, workers=[worker], pure=False) for worker in workers}
    until = time.monotonic() + _CHECK_SECONDS
    try:
        ours: dict[str, str] = {}
        for worker, future in asked.items():
            with contextlib.suppress(TimeoutError):  # it is busy
                error = future.exception(max(until - time.monotonic(), 0.01))
                if error is not None:
                    raise _cannot_open(worker, error) from None
                theirs, ours = future.result(), ours or model.checkpoint.samples()
                if any(ours[shard] and sample and ours[shard] != sample for shard, sample in theirs.items()):
                    raise _cannot_open(worker, ModelChangedError(""))
    finally:
        client.cancel(list(asked.values()))


def _cannot_open(worker: str, error: BaseException) -> EngineError:
    """Why a worker cannot compute jobs of the model."""
    same = "Every worker must see the same files at the same path, as on a shared disk; or give a model on the Hub."
    if isinstance(error, ModelChangedError):
        return ModelChangedError(f"The Dask worker {worker} has other files there than this machine.", same)
    if isinstance(error, EngineError):
        hint = same if isinstance(error, ModelNotFoundError) else error.hint
        return type(error)(f"The Dask worker {worker} cannot open the model: {error.message}", hint)
    message = f"The Dask worker {worker} cannot run svdtui: {type(error).__name__}: {error}."
    return WorkerError(message, "Install the same svdtui there as on this machine.")


def _within(seconds: float, call: Callable[[], T], address: str, hint: str = "") -> T:
    """The result of a call that may never return.

    Raises:
        WorkerError: it takes longer.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise WorkerError(
            f"The Dask cluster at {address} does not answer."
            if hint
            else f"What listens at {address} does not answer as a Dask scheduler does.",
            hint or "Check the address and the network.",
        )
    return results[0]
