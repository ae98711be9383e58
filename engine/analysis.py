"""The Python API: spectra and metrics of a model from a notebook or a script, computed in this process."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .address import Address
from .choices import DEFAULT_K, SOLVERS, Solver
from .errors import AddressError, ChoiceError, TensorError
from .metrics import Metrics
from .model import Job, MatrixInfo, Model
from .naming import find as find_place
from .opening import open_model
from .results import JobResult, Tables
from .source import Watch, no_watch
from .store import Store
from .text import shortened
from .views import Row, View, joint_view

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .compute import Computer, Step
    from .findings import Findings
    from .scan import ScanProgress
    from .workers import Answer, Hear, Workers

_AT_ONCE = 64
"""Jobs that an executor of the caller's has at once: enough for a large one, and results of a few megabytes."""

_log = logging.getLogger(__name__)

Places = str | int | Address | Sequence[str | int | Address]
"""A place such as `12.5`, or several."""


class Analysis:
    """A model and its results; what is not in the cache is computed when it is asked for.

    Args:
        model: a folder, a `.safetensors` file, `ORG/NAME` on the Hugging Face Hub, or a `Model` that is already open.
        revision: of a model on the Hub, a branch, tag or commit.
        offline: ask nothing of the network.
        solver: `gram64` (exact and fast), `svd32` (an SVD in fp32) or `svd64`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        cache_dir: where results are kept, instead of the user's cache folder.
        stack: which of several stacks of layers, by its name; None for the language model's.
        k: how many values the top and bottom ratios add up.

    Raises:
        EngineError: the model cannot be opened, or there is no such solver or k.
    """

    def __init__(
        self,
        model: str | Path | Model,
        *,
        revision: str | None = None,
        offline: bool = False,
        solver: Solver = "gram64",
        device: str = "auto",
        cache_dir: str | Path | None = None,
        stack: str | None = None,
        k: int = DEFAULT_K,
    ) -> None:
        if solver not in SOLVERS:
            raise ChoiceError(f"There is no solver {solver!r}.", f"Use {', '.join(SOLVERS)}.")
        if not isinstance(cache_dir, str | os.PathLike | None):
            raise ChoiceError(
                f"cache_dir is {shortened(repr(cache_dir))}, which names no folder.", "Give its path, or leave it out."
            )
        if cache_dir == "":
            raise ChoiceError("cache_dir is empty.", "Name a folder, or leave it out for the user's cache folder.")
        if not _is_whole_number(k):
            raise ChoiceError(f"k is {shortened(repr(k))}, which is no whole number.", "Use k=1 or more.")
        if k < 1:
            raise ChoiceError(f"k is {k}: at least one value must be added up.", "Use k=1 or more.")
        folder = Path(cache_dir) if cache_dir else None
        if isinstance(model, Model):
            self.model = model
        else:
            self.model = open_model(model, revision=revision, offline=offline, cache_dir=folder, stack=stack)
        self.k = int(k)
        self._solver: Solver = solver
        self._device = device
        self._offline = offline
        self._cache_dir = folder
        self._store = Store(self.model, solver, folder)
        self._store.tidy()
        self._results: dict[Job, JobResult] = {}
        self._computer: Computer | None = None
        self.notice = ""
        """A sentence when results could not be kept on disk."""
        self.cache_option = "cache_dir"
        """What that sentence calls the way to name another folder."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the compute threads."""
        if self._computer is not None:
            self._computer.close()
            self._computer = None

    def matrices(self, address: str | int | Address = "") -> tuple[MatrixInfo, ...]:
        """The matrices directly below a place: a head's Q K V O, a layer's whole ones, the model's own.

        Of a remote model, the headers that know their shapes are read first.
        """
        place = self._address(address)
        for _ in self.model.prepare({info.job for info in self.model.matrices(place)}):
            pass
        return self.model.matrices(place)

    def spectrum(self, address: str | int | Address) -> "NDArray[np.float64]":
        """The singular values of one matrix such as `12.5.q` or `12.q_proj`: (n,) float64, descending.

        Raises:
            AddressError: there is no such matrix.
            TensorError: it holds NaN or infinite values, or has a dtype that is not supported.
            ReadError: its bytes cannot be read.
        """
        row = self._row(address)
        assert row.spectrum is not None
        return row.spectrum.copy()

    def metrics(self, address: str | int | Address) -> Metrics:
        """The figures of one matrix; raises what `spectrum` raises."""
        row = self._row(address)
        assert row.metrics is not None
        return row.metrics

    def view(self, address: Places = "") -> View:
        """All rows of a place, computing what is missing: a head, a layer, or all heads of the model.

        Of several places, their rows one after another.
        """
        places = self._addresses(address)
        for _ in self.model.prepare(self.jobs(places)):
            pass  # the rows' shapes are in the headers
        return joint_view(self.model, places, self.result, k=self.k)

    def result(self, job: Job, on_step: "Callable[[Step], None]" = lambda step: None) -> JobResult:
        """A job's result from memory, from the cache, or computed now and kept."""
        found = self.known(job)
        if found is None:
            found = self._results[job] = self._compute(job, on_step)
        return found

    def known(self, job: Job) -> JobResult | None:
        """A job's result from memory or from the cache, or None: nothing is computed."""
        if job not in self._results and (found := self._store.load(job)) is not None:
            self._results[job] = found
        return self._results.get(job)

    def findings(self) -> "Findings":
        """The article's conclusions tested on this model, after computing the heads that are missing."""
        from .evidence import gather
        from .findings import find

        self.prepare()
        for job in self.jobs():
            self.result(job)
        return find(gather(self.model, self.tables, k=self.k))

    def tables(self, job: Job) -> "Tables | None":
        """The figures of a job that has been computed, or None."""
        found = self.known(job)
        return None if found is None else found.tables(self.k)

    def jobs(self, address: Places = "") -> tuple[Job, ...]:
        """The work that a view of a place, or of several, needs."""
        return tuple(dict.fromkeys(job for place in self._addresses(address) for job in self.model.jobs(place)))

    def prepare(self, address: Places = "", watch: Watch = no_watch) -> None:
        """Of a remote model, read the headers that a place needs, so that its shapes and its size are known.

        Raises:
            EngineError: one cannot be read.
        """
        self.model.checkpoint.source.watch = watch
        for _ in self.model.prepare(self.jobs(address)):
            pass

    def remote_bytes(self, address: Places = "") -> int:
        """The bytes that a place would still read over a network; those of headers that are unread not counted."""
        return sum(
            count
            for job in self.jobs(address)
            if job not in self._results and (count := self.model.remote_bytes(job)) and self._store.load(job) is None
        )

    def scan(
        self,
        address: Places = "",
        *,
        workers: int | None = None,
        dask: str | None = None,
        executor: Executor | None = None,
        on_progress: "Callable[[ScanProgress], None]" = lambda progress: None,
    ) -> None:
        """Compute what a place still needs and keep it on disk: an interrupted scan is gone on with.

        Without an argument that says who computes, it is this process, or a process for each of several CUDA devices.

        Args:
            workers: so many processes of this machine, which share its cores.
            dask: a Dask cluster, by its scheduler's address, such as `tcp://host:8786`; needs `svdtui[dask]`.
            executor: anything that runs `compute_job`, in processes that can open the model.
            on_progress: told, from any thread, as it goes on; what it raises ends the scan.

        Raises:
            EngineError: a job failed (when all others are done), or those who should compute cannot be had.
        """
        from .scan import Tally, scan

        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise ChoiceError(
                f"executor is {shortened(repr(executor))}, which runs nothing: it has no submit.",
                "Give an executor, such as one of concurrent.futures, or workers=N for N processes.",
            )
        if workers is not None and not _is_whole_number(workers):
            raise ChoiceError(f"workers is {shortened(repr(workers))}, which is no whole number.", "Use 1 or more.")
        if not isinstance(dask, str | None):
            raise ChoiceError(
                f"dask is {shortened(repr(dask))}, which is no address.", "Give a scheduler's, such as tcp://host:8786."
            )
        if sum(each is not None for each in (workers, dask, executor)) > 1:
            raise ChoiceError("Workers, a Dask cluster and an executor exclude each other.", "Give one of them.")
        jobs = self.jobs(address)
        self.prepare(address)
        missing = [job for job in jobs if job not in self._results and self._store.load(job) is None]
        sizes = {job: sum(tensor.ref.nbytes for tensor in self.model.job_tensors(job)) for job in jobs}
        tally = Tally(sizes, missing)

        def take(job: Job, answer: "Answer") -> None:
            if answer.data is not None and (found := self._store.decode(job, answer.data)):
                self._results[job] = found
                self._warn(answer.notice)
            tally.is_done(job)

        on_progress(tally.progress())
        if not missing:
            return
        count = workers if workers is None or workers < 1 else min(workers, len(missing))
        team = self._workers(count, dask, executor, tally.hear, lambda: on_progress(tally.progress()))
        try:
            if team.note:
                self._warn(team.note)
            failures = scan(missing, team, take, lambda: on_progress(tally.progress()))
        finally:
            team.close()
        for error in failures.values():
            raise error

    def _workers(
        self,
        count: int | None,
        dask: str | None,
        executor: Executor | None,
        hear: "Hear",
        on_step: Callable[[], None],
    ) -> "Workers":
        """Who computes a scan."""
        from .job_request import Opening

        cache_dir = str(self._cache_dir.absolute()) if self._cache_dir else None
        opening = Opening(
            *(self.model.location, self.model.key, self._solver, self._device, cache_dir, self._offline),
            stack=self.model.asked_stack,
        )
        if executor is not None:
            from .workers import ExecutorWorkers

            return ExecutorWorkers(
                executor, opening, self.model, self._store, shown="an executor", at_once=_AT_ONCE, hear=hear
            )
        if dask is not None:
            from .dask_cluster import DaskWorkers

            return DaskWorkers(dask, opening, self.model, self._store, hear)
        from .lanes import LocalWorkers, plan
        from .workers import ThisProcess

        openings = plan(opening, count)
        if len(openings) == 1:
            return ThisProcess(self._compute, hear, on_step)
        local = LocalWorkers(openings, hear)
        try:
            local.wait_until_ready(on_step)
        except BaseException:
            local.close()
            raise
        return local

    def _compute(self, job: Job, on_step: "Callable[[Step], None]") -> JobResult:
        if self._computer is None:
            from .compute import Computer  # torch, with an accelerator

            self._computer = Computer(self.model, self._solver, self._device)
            self.notice = self._computer.device.note
        result = self._computer.compute(job, on_step)
        try:
            self._store.save(self._store.encode(result), job)
        except OSError as error:
            self._results[job] = result
            self._warn(self._store.cannot_keep(error, self.cache_option))
        return result

    def _warn(self, notice: str) -> None:
        if notice != self.notice:
            self.notice = notice
            _log.warning(notice)

    def _row(self, address: str | int | Address) -> Row:
        place = self._address(address)
        if place.scope != "matrix":
            raise AddressError(
                f"{str(place) or 'The model'} is not one matrix.", "Name one, such as 0.0.q or 0.q_proj."
            )
        (row,) = self.view(place).rows
        if row.problem and row.metrics is None:
            raise TensorError(row.problem)
        return row

    def _addresses(self, places: Places) -> tuple[Address, ...]:
        is_several = isinstance(places, Iterable) and not isinstance(places, str | bytes | bytearray | Address)
        return tuple(map(self._address, places if is_several else (places,)))  # type: ignore[arg-type]

    def _address(self, address: str | int | Address) -> Address:
        if not (isinstance(address, str | Address) or _is_whole_number(address)):
            raise AddressError(
                f"{shortened(repr(address))} is no place.",
                'Give an address such as "0.0.q", a layer\'s number, or several.',
            )
        if not isinstance(address, Address):
            return find_place(self.model, str(address))
        self.model.check(address)
        return address


def _is_whole_number(value: object) -> bool:
    """Whether it is an int, or one of NumPy's: True is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
