"""Bodies of answers that may not become longer than they should, compressed or not."""

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .hub_errors import Retry

_CHUNK = 2**20
"""Bytes that are decompressed at once."""


@dataclass(frozen=True)
class Most:
    """Bytes that a body may have; what exceeds them is left, or an error."""

    size: int
    excess: Exception | None


def bounded(chunks: Iterator[bytes], most: Most | None, *, is_gzip: bool) -> Iterator[bytes]:
    """The body, decompressed if need be, as far as it may go.

    Raises:
        Retry, NetworkError: it goes further; it is not what it says.
    """
    left = most.size if most else sys.maxsize
    for chunk in _decompressed(chunks, 2 * left + _CHUNK) if is_gzip else chunks:
        left -= len(chunk)
        if left < 0 and most and most.excess:
            raise most.excess
        yield chunk if left >= 0 else chunk[:left]
        if left < 0:
            return


def _decompressed(chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    """What compressed bytes say, at most 1 MiB at once; no more than `most` of them are looked at."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for chunk in chunks:
        most -= len(chunk)
        if most < 0:
            return
        try:
            while piece := decoder.decompress(chunk, _CHUNK):
                yield piece
                chunk = decoder.unconsumed_tail  # noqa: PLW2901
        except zlib.error:
            raise Retry("the answer could not be decoded") from None
