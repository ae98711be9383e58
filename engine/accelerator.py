"""Solving on a torch device (CUDA): heads in batches, whole matrices by blocks; as exact as on the CPU.

One thing is simpler here: what is beyond the limit of `gram.py` goes to an fp64 SVD at once, in device memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .arriving import OnSolved, SolvedSlices
from .checkpoint import TensorRef
from .choices import Solver
from .errors import DeviceError
from .gram import is_accurate
from .memory import RAW_DTYPES, TensorReader
from .model import SlicedTensor
from .results import MatrixResult
from .spectrum import scale_exponent, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray

TORCH_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}

_BATCH_BYTES = 512 * 2**20
"""fp64 bytes on the device at once."""


class Accelerator:
    """The backend for one torch device that has fp64."""

    def __init__(self, solver: Solver, device: str) -> None:
        self._solver = solver
        self._device = torch.device(device)

    def close(self) -> None:
        """Nothing to end: the device's memory goes with the process."""

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns what torch raises for the device into what the compute process knows.

        Raises:
            MemoryError: the device's memory is full.
            DeviceError: anything else that its libraries raise.
        """
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        except RuntimeError as error:
            raise DeviceError(f"{self._device} failed: {error}.", "Try --device cpu.") from error

    def solve_heads(
        self,
        tensors: Sequence[SlicedTensor],
        reader: TensorReader,
        on_solved: OnSolved,
        urgent: Mapping[str, int],  # noqa: ARG002 - tensors go to the device whole
    ) -> dict[str, MatrixResult]:
        """The spectra of every slice of `tensors`, which `on_solved` is told of batch by batch."""
        pieces = reader.reserve([tensor.ref.nbytes for tensor in tensors])
        solved = {}
        for number, read in reader.read_all([tensor.ref for tensor in tensors], pieces):
            tensor = tensors[number]
            weights = _as_torch(read, tensor.ref).to(self._device)
            if tensor.side == "rows":
                slices = weights.view(tensor.count, tensor.rows, tensor.cols)
            else:
                slices = weights.view(tensor.rows, tensor.count, tensor.cols).transpose(0, 1)
            # slices: (count, rows, cols)
            batch = max(1, _BATCH_BYTES // (8 * tensor.rows * tensor.cols))
            results: list[MatrixResult] = []
            for part in slices.split(batch):
                results.append(self._solve_batch(part, tensor.ref.dtype))
                on_solved(SolvedSlices(tensor.matrix, batch * (len(results) - 1), results[-1]))
            solved[tensor.matrix] = MatrixResult(
                sigma=np.concatenate([result.sigma for result in results]),
                solvers=tuple(solver for result in results for solver in result.solvers),
                nonfinite=tuple(count for result in results for count in result.nonfinite),
            )
        return {tensor.matrix: solved[tensor.matrix] for tensor in tensors}

    def solve_whole(self, tensor: SlicedTensor, reader: TensorReader) -> MatrixResult:
        """The spectrum of a whole tensor."""
        nonfinite, exponent = 0, 0
        gram: torch.Tensor | None = None
        if self._is_scaled(tensor.ref.dtype):
            peaks = (float(raw.nan_to_num(0, 0, 0).abs().max()) for raw in _row_blocks(tensor.ref, reader))
            exponent = scale_exponent(max(peaks))
        for raw in _row_blocks(tensor.ref, reader):
            block = _divided(raw.to(self._device).double(), [exponent])
            nonfinite += _count_nonfinite(block)
            if self._solver == "gram64" and tensor.rows >= tensor.cols:
                gram = block.mT @ block if gram is None else gram.addmm_(block.mT, block)
        n = min(tensor.rows, tensor.cols)
        if nonfinite:
            return MatrixResult(np.full((1, n), np.nan), ("",), (nonfinite,))
        values, used = self._solve_finite_whole(tensor, reader, gram, exponent)
        return MatrixResult(scaled(values.cpu().numpy(), exponent)[None], (used,), (0,))

    def _is_scaled(self, dtype: str) -> bool:
        """Whether weights of this dtype, or their squares, can leave the range that is computed in."""
        return dtype == "F64" or self._solver == "svd32"

    def _solve_finite_whole(
        self, tensor: SlicedTensor, reader: TensorReader, gram: torch.Tensor | None, exponent: int
    ) -> tuple[torch.Tensor, str]:
        """The values of the matrix ÷ 2^exponent."""
        weights: torch.Tensor | None = None
        if gram is None:  # wide, or another solver: the whole matrix goes to the device
            weights = self._load(tensor.ref, reader)
        if self._solver == "gram64":
            if gram is None:
                assert weights is not None
                gram = torch.zeros(tensor.rows, tensor.rows, dtype=torch.float64, device=self._device)
                for columns in weights.split(max(1, _BATCH_BYTES // (8 * tensor.rows)), 1):
                    block = _divided(columns.double(), [exponent])
                    gram.addmm_(block, block.mT)
            sigma = _sigma_of_gram(gram)
            if is_accurate(sigma.cpu().numpy(), max(tensor.rows, tensor.cols)):
                return sigma, "gram64"
        if weights is None:
            weights = self._load(tensor.ref, reader)
        matrix = _divided(weights.double(), [exponent]) if exponent else weights
        used = "svd32" if self._solver == "svd32" else "svd64"
        return torch.linalg.svdvals(matrix.to(torch.float32 if used == "svd32" else torch.float64)).double(), used

    def _load(self, ref: TensorRef, reader: TensorReader) -> torch.Tensor:
        """The whole tensor on the device, (rows, cols) in its own dtype."""
        weights = torch.empty(ref.shape, dtype=TORCH_DTYPES[ref.dtype], device=self._device)
        first = 0
        for raw in _row_blocks(ref, reader):
            weights[first : first + len(raw)] = raw
            first += len(raw)
        return weights

    def _solve_batch(self, weights: torch.Tensor, dtype: str) -> MatrixResult:
        """The spectra of (batch, rows, cols) on the device."""
        finite = torch.isfinite(weights)
        counts = (~finite).flatten(1).sum(1).tolist()
        matrices = torch.where(finite, weights, 0).double()
        exponents = [0] * len(matrices)
        if self._is_scaled(dtype):
            exponents = [scale_exponent(peak) for peak in matrices.abs().flatten(1).amax(1).tolist()]
            matrices = _divided(matrices, exponents)
        solvers: list[str]
        if self._solver == "gram64":
            wide = matrices.shape[1] <= matrices.shape[2]
            values = _sigma_of_gram(matrices @ matrices.mT if wide else matrices.mT @ matrices)
            sigma = values.cpu().numpy()
            solvers = ["gram64" if is_accurate(each, max(matrices.shape[1:])) else "svd64" for each in sigma]
            for index, solver in enumerate(solvers):
                if solver == "svd64":
                    sigma[index] = torch.linalg.svdvals(matrices[index]).cpu().numpy()
        else:
            kind = torch.float32 if self._solver == "svd32" else torch.float64
            sigma = torch.linalg.svdvals(matrices.to(kind)).double().cpu().numpy()
            solvers = [self._solver] * len(matrices)
        sigma = np.stack([scaled(*each) for each in zip(sigma, exponents, strict=True)])
        for index, count in enumerate(counts):
            if count:
                sigma[index], solvers[index] = np.nan, ""
        return MatrixResult(sigma, tuple(solvers), tuple(counts))


def _divided(values: torch.Tensor, exponents: Sequence[int]) -> torch.Tensor:
    """fp64 matrices ÷ 2^exponent, where that itself may be out of range; one exponent, or one for each matrix."""
    if not any(exponents):
        return values
    for half in (np.array(exponents) // 2, -(-np.array(exponents) // 2)):
        factors = torch.from_numpy(np.ldexp(1.0, -half)).to(values.device)
        values = values * (factors if len(factors) == 1 else factors[:, None, None])
    return values


def _sigma_of_gram(gram: torch.Tensor) -> torch.Tensor:
    """√ of the eigenvalues of (…, s, s), descending."""
    sigma: torch.Tensor = torch.linalg.eigvalsh(gram).flip(-1).clamp_min(0).sqrt()
    return sigma


def _as_torch(raw: "NDArray[Any]", ref: TensorRef) -> torch.Tensor:
    """Raw weights as a tensor of their own dtype, in the same memory."""
    return torch.from_numpy(raw).view(TORCH_DTYPES[ref.dtype])


def _count_nonfinite(weights: torch.Tensor) -> int:
    return int((~torch.isfinite(weights)).sum())


def _row_blocks(ref: TensorRef, reader: TensorReader) -> Iterator[torch.Tensor]:
    """(block, cols) in the tensor's dtype, in memory that the next block overwrites."""
    row_bytes = ref.shape[1] * RAW_DTYPES[ref.dtype].itemsize
    if row_bytes > _BATCH_BYTES:
        raise DeviceError(
            f"{ref.name} has rows of {row_bytes:,} bytes, more than go to a device at once.", "Use --device cpu."
        )
    step = min(ref.shape[0], max(1, _BATCH_BYTES // (8 * ref.shape[1])))
    (piece,) = reader.reserve([step * row_bytes])
    for first in range(0, ref.shape[0], step):
        rows = min(step, ref.shape[0] - first)
        yield _as_torch(reader.read(ref, piece[: rows * row_bytes], first, rows), ref)
