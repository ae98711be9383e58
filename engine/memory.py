"""Tensor bytes from a source, straight into the memory of arrays, and from there to fp64.

numpy has no bf16: an array of uint16 holds its bits, which are the upper half of an fp32 number's.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .atomic import write_all
from .checkpoint import TensorRef
from .errors import ReadError
from .model import SlicedTensor
from .source import Advance, Piece, Source
from .spool import Spool

if TYPE_CHECKING:
    from numpy.typing import NDArray

RAW_DTYPES: "Mapping[str, np.dtype[Any]]" = {
    "BF16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
"""safetensors' dtype → that of the arrays that hold it."""

_BF16_EXPONENT = np.uint16(0x7F80)

_BLOCK = 64 * 2**20
"""Bytes of a remote tensor that are in memory at once while it is brought to the disk."""

_ALIGN = 64
"""Tensors start at multiples of a cache line in the shared buffer."""


class TensorReader:
    """Reads tensors of one source into a buffer that is kept from job to job, so that its pages are touched once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._spool: tuple[TensorRef, IO[bytes]] | None = None
        self._buffer = np.empty(0, np.uint8)
        self.advance: Advance = lambda count: None
        """Told of the bytes that arrive."""

    def reserve(self, sizes: list[int]) -> "list[NDArray[np.uint8]]":
        """One piece of uint8 memory for each size, valid until the next call."""
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // _ALIGN) * _ALIGN)
        if self._buffer.size < starts[-1]:
            self._buffer = np.empty(0, np.uint8)  # let the old one go first
            self._buffer = np.empty(starts[-1], np.uint8)
        return [self._buffer[start : start + size] for start, size in zip(starts, sizes, strict=False)]

    def read(
        self, ref: TensorRef, into: "NDArray[np.uint8]", first_row: int = 0, rows: int | None = None
    ) -> "NDArray[Any]":
        """Rows of a tensor as (rows, cols), raw, read into `into`, uint8 of exactly their size."""
        dtype = RAW_DTYPES[ref.dtype]
        rows = ref.shape[0] - first_row if rows is None else rows
        offset = first_row * ref.shape[1] * dtype.itemsize
        if self._spool is not None and self._spool[0] == ref:
            self._read_spool(offset, into.data)
        else:
            piece = Piece(ref.file, ref.start + offset, into.data)
            for _ in self._source.read_pieces([piece], self.advance):
                pass
        return into.view(dtype).reshape(rows, ref.shape[1])

    def read_columns(self, ref: TensorRef, into: "NDArray[np.uint8]", first: int, columns: int) -> "NDArray[Any]":
        """Columns `first … first + columns` of a tensor as (rows, columns), raw, read into `into` row by row."""
        dtype = RAW_DTYPES[ref.dtype]
        rows, cols = ref.shape
        size = columns * dtype.itemsize
        offsets = [(row * cols + first) * dtype.itemsize for row in range(rows)]
        parts = [into[row * size : (row + 1) * size].data for row in range(rows)]
        if self._spool is not None and self._spool[0] == ref:
            for offset, part in zip(offsets, parts, strict=True):
                self._read_spool(offset, part)
        else:
            pieces = [Piece(ref.file, ref.start + offset, part) for offset, part in zip(offsets, parts, strict=True)]
            for _ in self._source.read_pieces(pieces, self.advance):
                pass
        return into.view(dtype).reshape(rows, columns)

    def read_all(
        self, refs: Sequence[TensorRef], into: "Sequence[NDArray[np.uint8]]"
    ) -> "Iterator[tuple[int, NDArray[Any]]]":
        """Whole tensors as (rows, cols), raw, with their numbers, each as soon as it is there."""
        pieces = [Piece(ref.file, ref.start, memory.data) for ref, memory in zip(refs, into, strict=True)]
        for number in self._source.read_pieces(pieces, self.advance):
            ref = refs[number]
            yield number, into[number].view(RAW_DTYPES[ref.dtype]).reshape(ref.shape)

    def read_slices(
        self, tensors: Sequence[SlicedTensor], into: "Sequence[NDArray[np.uint8]]", urgent: Mapping[str, int]
    ) -> "Iterator[tuple[SlicedTensor, int, list[NDArray[Any]]]]":
        """Slices of tensors, (rows, cols), raw, with the number of the first, as soon as they are there.

        From a disk a tensor comes whole; over a network a slice of rows need not wait for the rest of its tensor, and
        the slices of the matrices in `urgent` come first.
        """
        found: list[tuple[Piece, SlicedTensor, int, int]] = []
        for tensor, memory in zip(tensors, into, strict=True):
            alone = tensor.side == "rows" and not self._source.is_here(tensor.ref.file)
            step = len(memory) // tensor.count if alone else len(memory)
            for number, start in enumerate(range(0, len(memory), step)):
                is_urgent = alone and urgent.get(tensor.matrix) == number
                buffer = memory[start : start + step].data
                piece = Piece(tensor.ref.file, tensor.ref.start + start, buffer, is_urgent=is_urgent)
                found.append((piece, tensor, number, 1 if alone else tensor.count))
        found.sort(key=lambda each: not each[0].is_urgent)
        for place in self._source.read_pieces([piece for piece, _, _, _ in found], self.advance):
            piece, tensor, number, count = found[place]
            raw = np.frombuffer(piece.buffer, RAW_DTYPES[tensor.ref.dtype])
            axis = 0 if tensor.side == "rows" else 1
            yield tensor, number, np.split(raw.reshape(-1, tensor.ref.shape[1]), count, axis)

    def read_in_parts(
        self, tensors: Sequence[SlicedTensor], most: int
    ) -> "Iterator[tuple[SlicedTensor, int, list[NDArray[Any]]]]":
        """As `read_slices`, but never more than `most` bytes at once (or one slice): those that were yielded are
        overwritten by the next."""
        for tensor in tensors:
            ref, size = tensor.ref, tensor.ref.nbytes // tensor.count
            step = min(tensor.count, max(1, most // size))
            (memory,) = self.reserve([step * size])
            is_cut = tensor.side == "columns" and step < tensor.count
            with self.at_hand(ref) if is_cut else nullcontext():  # its rows are read several times
                for first in range(0, tensor.count, step):
                    count = min(step, tensor.count - first)
                    into = memory[: count * size]
                    if is_cut:
                        raw = self.read_columns(ref, into, first * tensor.cols, count * tensor.cols)
                    elif tensor.side == "columns":
                        raw = self.read(ref, into)
                    else:
                        raw = self.read(ref, into, first * tensor.rows, count * tensor.rows)
                    yield tensor, first, np.split(raw, count, 0 if tensor.side == "rows" else 1)

    @contextmanager
    def at_hand(self, ref: TensorRef) -> Iterator[None]:
        """While this lasts, a tensor can be read several times: a remote one is brought to the disk first.

        Raises:
            ReadError: it cannot be read, or the disk has no room for it, which is found out first.
        """
        if self._source.is_here(ref.file):
            yield
            return
        spool = Spool(ref)
        with spool as file:
            (memory,) = self.reserve([min(_BLOCK, ref.nbytes)])
            for start in range(ref.start, ref.end, _BLOCK):
                block = memory.data[: min(_BLOCK, ref.end - start)]
                for _ in self._source.read_pieces([Piece(ref.file, start, block)], self.advance):
                    pass
                try:
                    write_all(file, block)
                except OSError as error:
                    raise spool.no_room(error) from error
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


def decode(raw: "NDArray[Any]", into: "NDArray[np.floating[Any]]", scratch: "NDArray[np.uint32]") -> None:
    """Write raw weights into an fp32 or fp64 array of their shape; bf16 needs as many numbers of scratch memory."""
    if raw.dtype != RAW_DTYPES["BF16"]:
        np.copyto(into, raw, casting="same_kind")
        return
    if raw.strides[0] < raw.strides[1]:  # in the order of memory, which is faster
        raw, into = raw.T, into.T
    wide = scratch[: raw.size].reshape(raw.shape)
    np.copyto(wide, raw)
    np.left_shift(wide, 16, out=wide)
    np.copyto(into, wide.view(np.float32))


def count_nonfinite(raw: "NDArray[Any]") -> int:
    """How many raw weights are NaN or infinite."""
    if raw.dtype == RAW_DTYPES["BF16"]:
        return int(((raw & _BF16_EXPONENT) == _BF16_EXPONENT).sum())
    return int((~np.isfinite(raw)).sum())
