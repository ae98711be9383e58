"""One job as a picklable request, and the plain function that answers it in any process.

    with ProcessPoolExecutor(2) as pool:
        data = pool.submit(compute_job, JobRequest(opening, job)).result()

So a pool of processes, a Dask cluster or anything else that runs Python functions can compute spectra. Only names go
there and only spectra come back: whoever answers opens the model and reads its weights.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .choices import Solver
from .errors import REOPEN, ModelChangedError
from .model import Job, Model
from .opening import open_model
from .source import Watch, no_watch
from .target import HubName

if TYPE_CHECKING:
    from .compute import Computer
    from .store import Store


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens the same model with the same choices in another process."""

    location: str | HubName
    key: str | None
    """That of the model's files; others at the same place are refused. None takes whatever is there."""
    solver: Solver
    device: str = "auto"
    cache_dir: str | None = None
    """Where results, and the headers of Hub models, are kept; None is the user's cache folder."""
    offline: bool = False
    threads: int | None = None
    """Threads of the CPU to use; None for as many as its BLAS would."""
    contents: str | None = None
    """What is in the model's files, for a machine that may have a copy of them; other ones are refused."""
    stack: str | None = None
    """Which of several stacks of layers; None for that which is shown unless another one is asked for."""

    def open(
        self, watch: Watch = no_watch, opened: Callable[[Model], None] = lambda model: None
    ) -> "tuple[Store, Computer]":
        """Open the model, and what computes its jobs.

        Args:
            watch: called at least every 0.05 s while the network is waited for; what it raises ends the opening.
            opened: called with the model before the device is chosen.

        Raises:
            ModelChangedError: its files are not those that the key, or the contents, name.
            EngineError: it cannot be opened here.
        """
        cache_dir = Path(self.cache_dir) if self.cache_dir else None
        model = open_model(self.location, offline=self.offline, cache_dir=cache_dir, stack=self.stack, watch=watch)
        if self.key not in {None, model.key} or self.contents not in {None, model.contents}:
            raise ModelChangedError(f"{model.name} has changed since it was opened.", REOPEN)
        opened(model)
        from .compute import Computer  # torch, with an accelerator
        from .store import Store

        store = Store(model, self.solver, cache_dir)
        store.tidy()
        return store, Computer(model, self.solver, self.device, self.threads)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job of a model."""

    opening: Opening
    job: Job


def compute_job(request: JobRequest) -> bytes:
    """Read and solve a job: its result as `Store.encode` writes it. Nothing is written to this machine's store.

    The model stays open for the next request, and requests of one process are answered one after another: each uses
    all the threads that it may.

    Raises:
        EngineError: the model cannot be opened here or is another one, or the job cannot be computed.
    """
    with _one_at_a_time:
        store, computer = _open(request.opening)
        source = computer.model.checkpoint.source
        if any(source.has_changed(tensor.ref.file) for tensor in computer.model.job_tensors(request.job)):
            store, computer = _open(request.opening, anew=True)  # nobody here could open it again
        return store.encode(computer.compute(request.job))


def check_opening(opening: Opening) -> dict[str, str]:
    """Open a model for the requests that will follow; raises what `Opening.open` raises.

    Returns the sample of its files: see `Checkpoint.samples`.
    """
    with _one_at_a_time:
        _, computer = _open(opening, anew=True)
        return computer.model.checkpoint.samples()


_one_at_a_time = threading.Lock()
_opened: "dict[Opening, tuple[Store, Computer]]" = {}
"""The model that this process has open; at most one."""


def _open(opening: Opening, *, anew: bool = False) -> "tuple[Store, Computer]":
    if anew or opening not in _opened:
        for _, computer in _opened.values():
            computer.close()
        _opened.clear()
        _opened[opening] = opening.open()
    return _opened[opening]
