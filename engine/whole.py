"""The spectrum of a whole matrix on the CPU, in blocks: no second full-size copy of a vocabulary-sized matrix.

Square matrices have small singular values: σ₁/σₙ grows with n, so that many of a large model's Q and O exceed the
limit of `gram.py`, and an fp64 SVD of each would cost far more than the rest. Their small end is mended as a head's is,
but the subspace comes from block inverse iteration on the Gram matrix: all eigenvectors of a large one cost too much.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from .checkpoint import TensorRef
from .choices import Solver
from .eigenvalues import symmetric_eigenvalues
from .errors import DeviceError
from .free_memory import free_memory
from .gram import is_accurate, mended, sigma_of_eigenvalues, small_end
from .lapack import fp32_singular_values
from .memory import RAW_DTYPES, TensorReader, count_nonfinite, decode
from .spectrum import NonFiniteError, Spectrum, scale_exponent, scaled, singular_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_BLOCK_BYTES = 128 * 2**20
"""fp64 bytes of the largest block that is in memory at once."""

_ALWAYS = 64 * 2**20
"""Bytes that are tried for whatever the system says of its memory."""

_RAW_BYTES = 256 * 2**20
"""Bytes of a wide matrix that are in memory at once: a longer one is read several columns at a time."""

_TILE = 512
"""Order of the Gram matrix's tiles: large enough for the BLAS, and enough of them for many threads."""

_FREE_SHARE = 0.8
"""Share of the processor's time that the Gram matrix must have got for what follows to use several threads.

The threads of a BLAS wait by spinning; where other programs use the processor, several take many times as long as one.
"""

_ITERATIONS = 8
"""Of a direction just outside the subspace 16⁻⁸ times what the random start had of it is left (at most some
thousands), and the square of that enters a value."""


class WholeMatrix:
    """A tensor, (rows, cols), seen as blocks of its long side: arrays (block, short)."""

    def __init__(
        self,
        ref: TensorRef,
        reader: TensorReader,
        pool: ThreadPoolExecutor,
        threads: int,
        blas: ThreadpoolController,
    ) -> None:
        self._ref = ref
        self._blas = blas
        self._reader = reader
        self._pool = pool
        self._threads = threads
        self._short, self._long = sorted(ref.shape)
        self._tall = ref.shape[0] == self._long
        self._exponent = 0
        self._svd_threads = threads

    def count_nonfinite(self) -> int:
        """How many weights are NaN or infinite."""
        return sum(map(count_nonfinite, self._raw_blocks()))

    def solve(self, solver: Solver) -> Spectrum:
        """The singular values.

        Raises:
            NonFiniteError: the matrix holds NaN or infinite values.
            DeviceError: they take more memory than there is.
        """
        self._check_memory(solver)
        if self._ref.dtype == "F64" or solver == "svd32":
            self._exponent = scale_exponent(max(map(_peak, self._blocks())))
        found = self._solve(solver)
        return Spectrum(scaled(found.sigma, self._exponent), found.solver)

    def _check_memory(self, solver: Solver) -> None:
        """Refuse what would only be ended by the system when its memory is full."""
        by_blocks = solver == "gram64" or (solver == "svd64" and self._long >= 2 * self._short)
        needed = 16 * self._short * (self._short if by_blocks else self._long)  # in fp64, and LAPACK's copy of it
        free = free_memory()
        if needed > max(free, _ALWAYS):
            raise DeviceError(
                f"{self._ref.name}, {self._ref.shape[0]:,} × {self._ref.shape[1]:,}, takes {needed / 1e9:,.1f} GB of "
                f"memory with the solver {solver}, and {free / 1e9:,.1f} GB are free.",
                "Close other programs, or use a machine with more memory.",
            )

    def _solve(self, solver: Solver) -> Spectrum:
        """The values of the matrix ÷ 2^exponent."""
        if solver == "gram64":
            sigma = self._sigma_by_gram()
            if sigma is not None:
                return Spectrum(sigma, "gram64")
            solver = "svd64"
        if solver == "svd64" and self._long >= 2 * self._short:
            return Spectrum(self._sigma_by_qr(), "svd64")
        matrix = np.empty((self._long, self._short), dtype=np.float32 if solver == "svd32" else np.float64)
        first = 0
        for block in self._blocks(np.float32 if solver == "svd32" and not self._exponent else np.float64):
            matrix[first : first + len(block)] = block
            first += len(block)
        if solver == "svd64":
            with self._blas.limit(limits=self._svd_threads, user_api="blas"):
                return Spectrum(singular_values(matrix, solver).sigma, solver)
        if not np.isfinite(matrix).all():
            raise NonFiniteError
        return Spectrum(fp32_singular_values(matrix).astype(np.float64), solver)

    # blocks --------------------------------------------------------------------------------------

    def _raw_blocks(self) -> "Iterator[NDArray[Any]]":
        """(block, short), raw. A tall matrix is read block by block, a wide one whole or in columns of all rows."""
        step = max(1, _BLOCK_BYTES // (8 * self._short))
        row_bytes = self._ref.shape[1] * RAW_DTYPES[self._ref.dtype].itemsize
        if self._tall:
            (piece,) = self._reader.reserve([min(step, self._long) * row_bytes])
            for first in range(0, self._long, step):
                rows = min(step, self._long - first)
                yield self._reader.read(self._ref, piece[: rows * row_bytes], first, rows)
        else:
            column_bytes = self._short * RAW_DTYPES[self._ref.dtype].itemsize
            span = min(self._long, max(1, _RAW_BYTES // (column_bytes * step)) * step)  # whole blocks: the same sums
            (piece,) = self._reader.reserve([span * column_bytes])
            for start in range(0, self._long, span):
                count = min(span, self._long - start)
                if count == self._long:
                    columns = self._reader.read(self._ref, piece).T
                else:
                    columns = self._reader.read_columns(self._ref, piece[: count * column_bytes], start, count).T
                yield from (columns[first : first + step] for first in range(0, count, step))

    def _blocks(self, dtype: "type[np.floating[Any]]" = np.float64) -> Iterator["Array"]:
        """The blocks as fp64 (or fp32) ÷ 2^exponent, in memory that the next block overwrites."""
        memory, scratch = np.empty(0, dtype), np.empty(0, np.uint32)
        for raw in self._raw_blocks():
            if not memory.size:  # the first block is the largest
                memory = np.empty(raw.size, dtype)
                scratch = np.empty(raw.size if raw.dtype == RAW_DTYPES["BF16"] else 0, np.uint32)
            flat = memory[: raw.size]
            block = flat.reshape(raw.shape) if self._tall else flat.reshape(raw.shape[::-1]).T
            step = -(-len(raw) // self._threads)
            starts = range(0, len(raw), step)
            rows = [slice(first, first + step) for first in starts]
            spare = [scratch[first * raw.shape[1] :] for first in starts]
            list(self._pool.map(decode, [raw[part] for part in rows], [block[part] for part in rows], spare))
            if self._exponent:
                np.ldexp(block, -self._exponent, out=block)
            yield block

    # gram64 --------------------------------------------------------------------------------------

    def _sigma_by_gram(self) -> "Array | None":
        """From the eigenvalues of Σ blockᵀ block, (short, short), refined where needed; None when that cannot be."""
        gram, used = self._gram()
        if not np.isfinite(gram.diagonal()).all():
            raise NonFiniteError
        threads = self._svd_threads = self._threads if used > _FREE_SHARE * self._threads else 1
        with self._blas.limit(limits=threads, user_api="blas"):
            sigma = sigma_of_eigenvalues(symmetric_eigenvalues(gram))
            return sigma if is_accurate(sigma, self._long) else self._mend(gram, sigma, threads)

    def _gram(self) -> "tuple[Array, float]":
        """Tiles of one triangle, side by side in the pool with one BLAS thread each, then mirrored; and how many
        processors the products got."""
        wall = busy = 0.0
        gram = np.zeros((self._short, self._short))
        edges = range(0, self._short, _TILE)
        tiles = [(slice(i, i + _TILE), slice(j, j + _TILE)) for i in edges for j in edges if j >= i]
        for block in self._blocks():

            def add(tile: tuple[slice, slice], block: "Array" = block) -> None:
                with np.errstate(invalid="ignore"):  # infinite weights: the diagonal tells
                    gram[tile] += block[:, tile[0]].T @ block[:, tile[1]]

            with self._blas.limit(limits=1, user_api="blas"):
                began, spent = time.perf_counter(), time.process_time()
                list(self._pool.map(add, tiles))
                wall, busy = wall + time.perf_counter() - began, busy + time.process_time() - spent
        for rows, columns in tiles:
            gram[columns, rows] = gram[rows, columns].T
        return gram, busy / wall

    def _mend(self, gram: "Array", sigma: "Array", threads: int) -> "Array | None":
        """`sigma` with its small end worked out from the matrix itself, or None when that cannot be."""
        end = small_end(sigma, self._long)
        basis = None if end is None else _small_subspace(gram, end.size, threads)
        if end is None or basis is None:
            return None
        triangle = np.empty((0, end.size))
        for block in self._blocks():
            triangle = np.asarray(np.linalg.qr(np.vstack((triangle, block @ basis)), mode="r"))
        restricted = np.linalg.svd(triangle, compute_uv=False).astype(np.float64, copy=False)
        return mended(sigma, end, restricted, self._long)

    # svd64 ---------------------------------------------------------------------------------------

    def _sigma_by_qr(self) -> "Array":
        """The values of R, where QR is worked out block by block (TSQR: Demmel et al. 2012): backward stable, and
        never more than one block and R in memory."""
        triangle = np.empty((0, self._short))
        for block in self._blocks():
            if not np.isfinite(block).all():
                raise NonFiniteError
            triangle = np.asarray(np.linalg.qr(np.vstack((triangle, block)), mode="r"))
        return singular_values(triangle, "svd64").sigma


def _peak(block: "Array") -> float:
    """The largest magnitude, without a copy; NaN where there is one."""
    return float(np.maximum(block.max(), -block.min()))


def _small_subspace(gram: "Array", size: int, threads: int) -> "Array | None":
    """An orthonormal basis, (s, size), of the eigenvectors of the smallest eigenvalues of (s, s); None when `gram` is
    not positive definite to rounding. Block inverse iteration from a fixed random start."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve  # a BLAS of its own, and only needed here

    with threadpool_limits(threads, user_api="blas"):
        try:
            factor = cho_factor(gram, lower=True, check_finite=False)
        except LinAlgError:
            return None
        basis: Array = np.linalg.qr(np.random.default_rng(0).standard_normal((len(gram), size))).Q
        for _ in range(_ITERATIONS):
            basis = np.linalg.qr(cho_solve(factor, basis, check_finite=False)).Q
    return basis
