"""Tensor bytes from a source, straight into torch memory, and from there to fp64."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

import torch

from .atomic import write_all
from .checkpoint import TensorRef
from .errors import ReadError
from .source import Advance, Piece, Source

TORCH_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}

_BLOCK = 64 * 2**20
"""Bytes of a remote tensor that are in memory at once while it is brought to the disk."""

_ALIGN = 64
"""Tensors start at multiples of a cache line in the shared buffer."""


class TensorReader:
    """Reads tensors of one source into a buffer that is kept from job to job, so that its pages are touched once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._spool: tuple[TensorRef, IO[bytes]] | None = None
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
        offset = first_row * ref.shape[1] * dtype.itemsize
        if self._spool is not None and self._spool[0] == ref:
            self._read_spool(offset, into.numpy().data)
        else:
            piece = Piece(ref.file, ref.start + offset, into.numpy().data)
            for _ in self._source.read_pieces([piece], self.advance):
                pass
        return into.view(dtype).view(rows, ref.shape[1])

    def read_all(self, refs: Sequence[TensorRef], into: Sequence[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
        """Whole tensors as (rows, cols) with their numbers, each as soon as it is there."""
        pieces = [Piece(ref.file, ref.start, memory.numpy().data) for ref, memory in zip(refs, into, strict=True)]
        for number in self._source.read_pieces(pieces, self.advance):
            ref = refs[number]
            yield number, into[number].view(TORCH_DTYPES[ref.dtype]).view(ref.shape)

    @contextmanager
    def at_hand(self, ref: TensorRef) -> Iterator[None]:
        """While this lasts, a tensor can be read several times: a remote one is brought to the disk first.

        Raises:
            ReadError: it cannot be read, or the disk has no room for it.
        """
        if self._source.is_here(ref.file):
            yield
            return
        with ExitStack() as stack:
            try:
                file = stack.enter_context(tempfile.TemporaryFile(prefix="svdtui-", buffering=0))
            except OSError as error:
                raise _no_room(ref, error) from error
            (memory,) = self.reserve([min(_BLOCK, ref.nbytes)])
            for start in range(ref.start, ref.end, _BLOCK):
                block = memory.numpy().data[: min(_BLOCK, ref.end - start)]
                for _ in self._source.read_pieces([Piece(ref.file, start, block)], self.advance):
                    pass
                try:
                    write_all(file, block)
                except OSError as error:
                    raise _no_room(ref, error) from error
            self._spool = ref, file
            try:
                yield
            finally:
                self._spool = None

    def _read_spool(self, offset: int, into: memoryview) -> None:
        assert self._spool is not None
        done = 0
        while done < len(into):
            count = os.preadv(self._spool[1].fileno(), [into[done:]], offset + done)
            if not count:
                raise ReadError(f"The temporary copy of {self._spool[0].name} was cut short.", "Press r to try again.")
            done += count


def _no_room(ref: TensorRef, error: OSError) -> ReadError:
    return ReadError(
        f"{ref.name} takes {ref.nbytes:,} bytes for a while in a temporary file, which cannot be written: "
        f"{error.strerror or error}.",
        "Make room, or set TMPDIR to another disk.",
    )


def count_nonfinite(weights: torch.Tensor) -> int:
    """How many values are NaN or infinite."""
    return int((~torch.isfinite(weights)).sum())
