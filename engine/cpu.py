"""Solving on the CPU: one head's slice per thread, with the BLAS of each held to one thread.

Slices are small (128 × 4096): splitting one of them over threads costs more than it gives, while whole slices side by
side scale with the cores and keep a thread's fp64 copy in its cache. numpy's BLAS is used rather than torch's: it
forms `A @ A.T` as a symmetric product, at half the work. A whole matrix gets all threads of the BLAS instead.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from .checkpoint import TensorRef
from .memory import TORCH_DTYPES, TensorReader, count_nonfinite
from .model import SlicedTensor
from .results import MatrixResult
from .spectrum import NonFiniteError, Solver, Spectrum, is_accurate, scale_exponent, sigma_of_gram, singular_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_BLOCK_BYTES = 128 * 2**20
"""fp64 bytes of the largest block of a whole matrix that is in memory at once."""

Done = Callable[[int], None]
Solved = tuple[Spectrum | None, int]
"""A spectrum, or None with the number of NaN and infinite weights."""


class Cpu:
    """The CPU backend."""

    def __init__(self, solver: Solver, threads: int | None = None) -> None:
        self._solver = solver
        self._threads = threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, "svdtui", torch.set_num_threads, (1,))
        self._blas = ThreadpoolController()
        self._scratch = threading.local()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def solve_heads(self, tensors: Sequence[SlicedTensor], reader: TensorReader, done: Done) -> dict[str, MatrixResult]:
        """The spectra of every slice of `tensors`, which `done` counts one by one, from any thread.

        The slices of one tensor are solved while the next is read.
        """
        pieces = reader.reserve([tensor.ref.nbytes for tensor in tensors])
        futures: list[list[Future[Solved]]] = []
        lock = threading.Lock()

        def solve(weights: torch.Tensor) -> Solved:
            solved = self._solve_slice(weights)
            with lock:
                done(1)
            return solved

        with self._blas.limit(limits=1, user_api="blas"):
            try:
                for tensor, piece in zip(tensors, pieces, strict=True):
                    weights = reader.read(tensor.ref, piece)
                    slices = weights.chunk(tensor.count, 0 if tensor.side == "rows" else 1)
                    futures.append([self._pool.submit(solve, each) for each in slices])
                solved = [[future.result() for future in row] for row in futures]
            finally:  # the threads must be done with the buffer and the BLAS limit
                for future in (future for row in futures for future in row):
                    if not future.cancel():
                        future.exception()
        return {
            tensor.matrix: matrix_result(row, min(tensor.rows, tensor.cols))
            for tensor, row in zip(tensors, solved, strict=True)
        }

    def _solve_slice(self, weights: torch.Tensor) -> Solved:
        """One head's slice, (rows, cols) in its own dtype; its fp64 copy is in memory kept by the thread."""
        scratch: torch.Tensor | None = getattr(self._scratch, "memory", None)
        if scratch is None or scratch.numel() < weights.numel():
            scratch = self._scratch.memory = torch.empty(weights.numel(), dtype=torch.float64)
        matrix = scratch[: weights.numel()].view(weights.shape)
        matrix.copy_(weights)
        try:
            return singular_values(matrix.numpy(), self._solver, scale=weights.dtype == torch.float64), 0
        except NonFiniteError:
            return None, count_nonfinite(weights)

    def solve_whole(self, tensor: SlicedTensor, reader: TensorReader, done: Done) -> MatrixResult:
        """The spectrum of a whole tensor."""
        whole = _Whole(tensor.ref, reader, self._pool)
        try:
            solved: Solved = (whole.solve(self._solver), 0)
        except NonFiniteError:
            solved = (None, whole.count_nonfinite())
        done(1)
        return matrix_result([solved], min(tensor.rows, tensor.cols))


class _Whole:
    """A whole matrix, seen as blocks of its long side: fp64 arrays (block, short), never all of it at once."""

    def __init__(self, ref: TensorRef, reader: TensorReader, pool: ThreadPoolExecutor) -> None:
        self._ref = ref
        self._reader = reader
        self._pool = pool
        self._short, self._long = sorted(ref.shape)
        self._tall = ref.shape[0] == self._long

    def _raw_blocks(self) -> Iterator[torch.Tensor]:
        """(block, short) in the tensor's dtype. A tall matrix is read block by block, a wide one whole."""
        step = max(1, _BLOCK_BYTES // (8 * self._short))
        row_bytes = self._ref.shape[1] * TORCH_DTYPES[self._ref.dtype].itemsize
        if self._tall:
            (piece,) = self._reader.reserve([min(step, self._long) * row_bytes])
            for first in range(0, self._long, step):
                rows = min(step, self._long - first)
                yield self._reader.read(self._ref, piece[: rows * row_bytes], first, rows)
        else:
            (piece,) = self._reader.reserve([self._ref.nbytes])
            weights = self._reader.read(self._ref, piece)
            yield from weights.T.split(step)

    def _blocks(self, dtype: torch.dtype = torch.float64) -> Iterator["Array"]:
        """The blocks as fp64 (or fp32), in memory that the next block overwrites."""
        memory: torch.Tensor | None = None
        for raw in self._raw_blocks():
            if memory is None:
                memory = torch.empty(raw.numel(), dtype=dtype)
            block = memory[: raw.numel()].view(raw.shape) if self._tall else memory[: raw.numel()].view(raw.T.shape).T
            # the pool's threads decode: torch's own threads would spin and slow the BLAS down afterwards
            parts = range(0, len(raw), max(1, -(-len(raw) // self._pool._max_workers)))
            step = parts.step
            list(self._pool.map(lambda a, b=block, r=raw, s=step: b[a : a + s].copy_(r[a : a + s]), parts))
            yield block.numpy()

    def count_nonfinite(self) -> int:
        return sum(map(count_nonfinite, self._raw_blocks()))

    def solve(self, solver: Solver) -> Spectrum:
        exponent = 0
        if self._ref.dtype == "F64":
            exponent = scale_exponent(max(float(raw.abs().max()) for raw in self._raw_blocks()))
        if solver == "gram64":
            sigma = sigma_of_gram(self._gram(exponent))
            if is_accurate(sigma):
                return Spectrum(np.ldexp(sigma, exponent), "gram64")
            solver = "svd64"
        if solver == "svd64" and self._long >= 2 * self._short:
            return Spectrum(self._sigma_by_qr(), "svd64")
        kind = torch.float32 if solver == "svd32" else torch.float64
        matrix = np.empty((self._long, self._short), dtype=np.float32 if solver == "svd32" else np.float64)
        first = 0
        for block in self._blocks(kind):
            matrix[first : first + len(block)] = block
            first += len(block)
        return Spectrum(singular_values(matrix, solver).sigma, solver)

    def _gram(self, exponent: int) -> "Array":
        """Σ blockᵀ block, (short, short), of the matrix ÷ 2^exponent."""
        gram: Array | None = None
        product: Array | None = None
        for block in self._blocks():
            if exponent:
                np.ldexp(block, -exponent, out=block)
            if gram is None:
                gram = block.T @ block
            else:
                product = np.matmul(block.T, block, out=product)
                gram += product
        assert gram is not None
        return gram

    def _sigma_by_qr(self) -> "Array":
        """The values of R, where QR is worked out block by block (TSQR: Demmel et al. 2012): backward stable, and
        never more than one block and R in memory."""
        triangle = np.empty((0, self._short))
        for block in self._blocks():
            if not np.isfinite(block).all():
                raise NonFiniteError
            triangle = np.asarray(np.linalg.qr(np.vstack((triangle, block)), mode="r"))
        return singular_values(triangle, "svd64").sigma


def matrix_result(solved: Sequence[Solved], n: int) -> MatrixResult:
    """The spectra of a tensor's slices as one table, with NaN where there is none."""
    return MatrixResult(
        sigma=np.stack([np.full(n, np.nan) if s is None else s.sigma for s, _ in solved]),
        solvers=tuple("" if s is None else s.solver for s, _ in solved),
        nonfinite=tuple(count for _, count in solved),
    )
