"""Solving on the CPU: one head's slice per thread, with the BLAS of each held to one thread.

Slices are small (128 × 4096): splitting one of them over threads costs more than it gives, while whole slices side by
side scale with the cores and keep a thread's fp64 copy in its cache. numpy's BLAS forms `A @ A.T` as a symmetric
product, at half the work. A whole matrix gets all threads of the BLAS instead. torch, whose import takes a second, is
not needed here.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import ThreadpoolController

from . import lapack
from .arriving import OnSolved, SolvedSlices
from .choices import Solver
from .memory import TensorReader, count_nonfinite, decode
from .model import SlicedTensor
from .results import MatrixResult
from .spectrum import NonFiniteError, Spectrum, singular_values
from .whole import WholeMatrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 512 * 2**20
"""Bytes of a layer's tensors up to which all of them are in memory; those of a larger one come part by part."""

_LARGE_SLICE = 2**22
"""Weights of a slice beyond which they are solved one at a time: no published model has such heads."""

Solved = tuple[Spectrum | None, int]
"""A spectrum, or None with the number of NaN and infinite weights."""


def be_silent() -> None:
    """numpy says nothing in this thread: weights are what they are, and what comes of them is checked."""
    np.seterr(all="ignore")


class Cpu:
    """The CPU backend."""

    def __init__(self, solver: Solver, threads: int | None = None) -> None:
        self._solver = solver
        if solver == "svd32":
            lapack.load()
        self._blas = ThreadpoolController()
        self._threads = threads or _blas_threads(self._blas)
        self._pool = ThreadPoolExecutor(self._threads, "svdtui", be_silent)
        self._scratch = threading.local()
        self._one_large = threading.Lock()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def errors(self) -> AbstractContextManager[None]:
        """Nothing to translate: see `Accelerator.errors`."""
        return nullcontext()

    def solve_heads(
        self, tensors: Sequence[SlicedTensor], reader: TensorReader, on_solved: OnSolved, urgent: Mapping[str, int]
    ) -> dict[str, MatrixResult]:
        """The spectra of every slice of `tensors`, which `on_solved` is told of one by one, from any thread.

        Slices are solved while others are read: those in `urgent` first (matrix → number of the slice), then small
        tensors, and those last whose slices need all of them.
        """
        futures: dict[str, dict[int, Future[Solved]]] = {tensor.matrix: {} for tensor in tensors}
        lock = threading.Lock()

        def solve(tensor: SlicedTensor, number: int, weights: "NDArray[Any]") -> Solved:
            solved = self._solve_slice(weights)
            found = SolvedSlices(tensor.matrix, number, matrix_result([solved], min(tensor.rows, tensor.cols)))
            with lock:
                on_solved(found)
            return solved

        is_read = threading.Event()
        is_large = sum(tensor.ref.nbytes for tensor in tensors) > _AT_ONCE
        with self._blas.limit(limits=1, user_api="blas"):
            try:
                if (
                    self._threads > 1 and not is_large
                ):  # a fast network takes a core: one thread leaves it to the reading
                    self._pool.submit(is_read.wait)
                ordered = sorted(tensors, key=lambda tensor: (tensor.side == "columns", tensor.ref.nbytes))
                if is_large:
                    parts = reader.read_in_parts(ordered, _AT_ONCE)
                else:
                    memory = reader.reserve([tensor.ref.nbytes for tensor in ordered])
                    parts = reader.read_slices(ordered, memory, urgent)
                for tensor, first, slices in parts:
                    begun = {
                        number: self._pool.submit(solve, tensor, number, each)
                        for number, each in enumerate(slices, first)
                    }
                    futures[tensor.matrix].update(begun)
                    if is_large:  # the next part takes the same memory
                        wait(begun.values())
                is_read.set()
                solved = {
                    tensor.matrix: [futures[tensor.matrix][number].result() for number in range(tensor.count)]
                    for tensor in tensors
                }
            finally:
                is_read.set()
                # The threads must be done with the buffer and the BLAS limit.
                for future in (future for row in futures.values() for future in row.values()):
                    if not future.cancel():
                        future.exception()
        return {
            tensor.matrix: matrix_result(solved[tensor.matrix], min(tensor.rows, tensor.cols)) for tensor in tensors
        }

    def _solve_slice(self, weights: "NDArray[Any]") -> Solved:
        """One head's slice, (rows, cols), raw; its fp64 copy is in memory kept by the thread."""
        if weights.size > _LARGE_SLICE:
            with self._one_large:
                return self._solve_in(weights, (np.empty(weights.size), np.empty(weights.size, np.uint32)))
        kept = getattr(self._scratch, "memory", None)
        if kept is None or kept[0].size < weights.size:
            kept = self._scratch.memory = np.empty(weights.size), np.empty(weights.size, np.uint32)
        return self._solve_in(weights, kept)

    def _solve_in(self, weights: "NDArray[Any]", kept: "tuple[NDArray[np.float64], NDArray[np.uint32]]") -> Solved:
        """One head's slice, in memory for its fp64 copy and for what decoding it needs."""
        matrix = kept[0][: weights.size].reshape(weights.shape)
        decode(weights, matrix, kept[1])
        try:
            return singular_values(matrix, self._solver, scale=weights.dtype == np.float64), 0
        except NonFiniteError:
            return None, count_nonfinite(weights)

    def solve_whole(self, tensor: SlicedTensor, reader: TensorReader) -> MatrixResult:
        """The spectrum of a whole tensor."""
        whole = WholeMatrix(tensor.ref, reader, self._pool, self._threads, self._blas)
        try:
            solved: Solved = (whole.solve(self._solver), 0)
        except NonFiniteError:
            solved = (None, whole.count_nonfinite())
        return matrix_result([solved], min(tensor.rows, tensor.cols))


def _blas_threads(blas: ThreadpoolController) -> int:
    """As many threads as the BLAS would use: it knows the processors this process may use, and OMP_NUM_THREADS."""
    found = [library["num_threads"] for library in blas.info() if library["user_api"] == "blas"]
    return max(found, default=os.cpu_count() or 1)


def matrix_result(solved: Sequence[Solved], n: int) -> MatrixResult:
    """The spectra of a tensor's slices as one table, with NaN where there is none."""
    return MatrixResult(
        sigma=np.stack([np.full(n, np.nan) if s is None else s.sigma for s, _ in solved]),
        solvers=tuple("" if s is None else s.solver for s, _ in solved),
        nonfinite=tuple(count for _, count in solved),
    )
