"""The job function: reads what a job needs and returns its spectra. torch comes with an accelerator only."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .address import Address
from .arriving import OnSolved, SolvedSlices
from .choices import Solver
from .cpu import Cpu
from .device import choose_device
from .errors import DeviceError, TensorError
from .memory import TensorReader
from .model import HEADS, Job, Model, SlicedTensor, job_name
from .results import JobResult, MatrixResult

if TYPE_CHECKING:
    from .accelerator import Accelerator


@dataclass(frozen=True, slots=True)
class Step:
    """How far a job has come: bytes read and slices solved, of all; and what is waited for, if anything."""

    bytes_read: int
    bytes_total: int
    done: int
    total: int
    waiting: str = ""


OnStep = Callable[[Step], None]


class Computer:
    """Computes jobs of one model, one at a time, on one device; keeps its threads and buffers between jobs.

    `threads` are those of the CPU; None for as many as its BLAS would use.

    Raises:
        DeviceError: the device is not there.
    """

    def __init__(
        self, model: Model, solver: Solver = "gram64", device: str = "auto", threads: int | None = None
    ) -> None:
        self.model = model
        self.device = choose_device(device)
        self._source = model.checkpoint.source
        self._reader = TensorReader(self._source)
        self._backend = Cpu(solver, threads) if self.device.is_cpu else _accelerator(solver, self.device.torch_name)

    def compute(
        self,
        job: Job,
        on_step: OnStep = lambda step: None,
        on_solved: OnSolved = lambda slices: None,
        head: int | None = None,
    ) -> JobResult:
        """Read the job's tensors and solve all their slices; over a network those of `head` first, where it can be.

        `on_step` and `on_solved` are called from several threads, the first at least every 0.05 s while a network is
        waited for. What they raise ends the job.

        Raises:
            AddressError: the model has no such job.
            ReadError: bytes could not be read.
            DeviceError: the device ran out of memory.
        """
        waiting = ""
        for _ in self.read_headers(job, on_step):
            pass
        tensors = self.model.job_tensors(job)
        bytes_total = sum(tensor.ref.nbytes for tensor in tensors)
        total = sum(tensor.count for tensor in tensors)
        state = [0, 0]

        def report(count: int, which: int) -> None:
            state[which] += count
            on_step(Step(min(state[0], bytes_total), bytes_total, state[1], total, waiting))

        def watch(sentence: str) -> None:
            nonlocal waiting
            waiting = sentence
            report(0, 0)

        self._source.watch = watch
        self._reader.advance = lambda count: report(count, 0)

        def solved(slices: SolvedSlices) -> None:
            on_solved(slices)
            report(len(slices), 1)

        try:
            with self._backend.errors(), np.errstate(all="ignore"):  # as in the threads: see `be_silent`
                matrices = self._solve(job, tensors, solved, head)
        except np.linalg.LinAlgError as error:
            raise TensorError(
                f"The spectra of {job_name(job)} could not be solved: {error}.", "Try another --solver."
            ) from error
        except MemoryError as error:
            elsewhere = "" if self.device.is_cpu else " on it, or use --device cpu"
            raise DeviceError(
                f"{self.device.shown} ran out of memory for {job_name(job)}, {bytes_total:,} bytes of weights.",
                f"Close other programs{elsewhere}.",
            ) from error
        return JobResult(job, matrices)

    def _solve(
        self, job: Job, tensors: Sequence[SlicedTensor], solved: OnSolved, head: int | None
    ) -> dict[str, MatrixResult]:
        if job.kind == HEADS:
            infos = () if head is None else self.model.matrices(Address(job.layer, head))
            urgent = {info.matrix: info.index for info in infos}
            return self._backend.solve_heads(tensors, self._reader, solved, urgent)
        matrices = {}
        for tensor in tensors:
            with self._reader.at_hand(tensor.ref):
                matrices[tensor.matrix] = self._backend.solve_whole(tensor, self._reader)
            solved(SolvedSlices(tensor.matrix, 0, matrices[tensor.matrix]))
        return matrices

    def read_headers(self, job: Job, on_step: OnStep = lambda step: None) -> Iterator[tuple[str, bytes]]:
        """Read the headers that a job needs and that have not been read; yields each file with its header.

        Raises:
            EngineError: a header cannot be read, or is damaged.
        """
        self._source.watch = lambda sentence: on_step(Step(0, 0, 0, 0, sentence))
        yield from self.model.prepare([job])

    def close(self) -> None:
        """End the threads."""
        self._backend.close()


def _accelerator(solver: Solver, torch_name: str) -> "Accelerator":
    from .accelerator import Accelerator  # torch, about a second

    return Accelerator(solver, torch_name)
