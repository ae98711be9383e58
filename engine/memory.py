"""Tensor bytes from a source, straight into torch memory, and from there to fp64."""

import torch

from .checkpoint import TensorRef
from .source import Advance, Source

TORCH_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}

_ALIGN = 64
"""Tensors start at multiples of a cache line in the shared buffer."""


class TensorReader:
    """Reads tensors of one source into a buffer that is kept from job to job, so that its pages are touched once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self.advance: Advance = lambda count: None
        """Told of the bytes that arrive."""

    def reserve(self, sizes: list[int]) -> list[torch.Tensor]:
        """One piece of uint8 memory for each size, valid until the next call."""
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // _ALIGN) * _ALIGN)
        if self._buffer.numel() < starts[-1]:
            self._buffer = torch.empty(0, dtype=torch.uint8)  # let the old one go first
            self._buffer = torch.empty(starts[-1], dtype=torch.uint8)
        return [self._buffer[start : start + size] for start, size in zip(starts, sizes, strict=False)]

    def read(self, ref: TensorRef, into: torch.Tensor, first_row: int = 0, rows: int | None = None) -> torch.Tensor:
        """Rows of a tensor as (rows, cols) in their own dtype, read into `into`, uint8 of exactly their size."""
        dtype = TORCH_DTYPES[ref.dtype]
        rows = ref.shape[0] - first_row if rows is None else rows
        start = ref.start + first_row * ref.shape[1] * dtype.itemsize
        self._source.read_into(ref.file, start, into.numpy().data, self.advance)
        return into.view(dtype).view(rows, ref.shape[1])


def count_nonfinite(weights: torch.Tensor) -> int:
    """How many values are NaN or infinite."""
    return int((~torch.isfinite(weights)).sum())
