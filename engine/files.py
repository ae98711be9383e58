"""Files of this machine: which version of one is there, its bytes, and a sample of them.

A file counts as another one as soon as its size or one of its times differs: that of modification can be set by
anybody (an image that is built reproducibly has the same everywhere), that of change cannot.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import REOPEN, ReadError
from .source import Advance, FileStat, Piece

_PART = 8 * 2**20
"""Bytes per read: large enough for the disk, small enough for a smooth progress display."""

_BLOCK = 4096
"""Bytes of a block of a sample: a page, which is what a disk reads at least."""

BLOCKS = 8
"""Blocks of a sample, from the first to the last: 32 KB of a tensor."""


def stat_of(path: Path) -> FileStat:
    """The version of a file that is there.

    Raises:
        OSError: there is none.
    """
    return _as_stat(path.stat(), blob_of(path))


def _as_stat(stat: os.stat_result, blob: str) -> FileStat:
    return FileStat(stat.st_size, stat.st_mtime_ns, blob, stat.st_ctime_ns)


def has_changed(path: Path, expected: FileStat) -> bool:
    """Whether there is another file now than was expected. One that is gone is no other: who reads it is told."""
    try:
        return stat_of(path) != expected
    except OSError:
        return False


def blob_of(path: Path) -> str:
    """The hash of a file's content, where it is a link into the local Hub cache's store of contents; else empty."""
    try:
        target = path.readlink()
    except OSError:
        return ""
    return target.name if target.parent.as_posix() == "../../blobs" else ""


def read_file(path: Path, start: int, stop: int) -> bytes:
    """The bytes `start … stop` of a file.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)
    except OSError as error:
        raise _unreadable(path, error) from error


def fill(piece: Piece, path: Path, expected: FileStat | None, advance: Advance) -> None:
    """Read a piece from the file at `path`, which must still be what `expected` says, also when it has been read.

    Raises:
        ReadError: the file is gone, too short, changed since it was opened, or the disk failed.
    """
    with _unchanged(path, expected) as descriptor:
        done = 0
        while done < len(piece.buffer):
            count = os.preadv(descriptor, [piece.buffer[done : done + _PART]], piece.start + done)
            if not count:
                raise ReadError(
                    f"{path} ends {len(piece.buffer) - done:,} bytes before tensor data does.",
                    "Download or copy the file again.",
                )
            done += count
            advance(count)


def sample(path: Path, expected: FileStat, start: int, stop: int, blocks: int = BLOCKS) -> str:
    """A hash of some blocks of the bytes `start … stop` of a file, spread evenly over them, with both ends.

    Empty when the file is gone.

    Raises:
        ReadError: the file has changed since it was opened, or the disk failed.
    """
    if not path.exists():
        return ""
    digest = hashlib.blake2b(digest_size=16)
    last = max(stop - start - _BLOCK, 0)
    with _unchanged(path, expected) as descriptor:
        for place in dict.fromkeys(last * number // max(blocks - 1, 1) for number in range(blocks)):
            digest.update(os.pread(descriptor, min(_BLOCK, stop - start - place), start + place))
    return digest.hexdigest()


@contextlib.contextmanager
def _unchanged(path: Path, expected: FileStat | None) -> Iterator[int]:
    """A descriptor of a file that is what it was when it was opened, before and after it is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        _check(path, descriptor, expected)
        yield descriptor
        _check(path, descriptor, expected)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _check(path: Path, descriptor: int, expected: FileStat | None) -> None:
    if expected is None or _as_stat(os.fstat(descriptor), expected.blob) != expected:
        raise ReadError(f"{path} has changed since the model was opened.", REOPEN)


def _unreadable(path: Path, error: OSError) -> ReadError:
    return ReadError(
        f"{path} cannot be read: {error.strerror or error}.",
        "Check that the file is still there and that you may read it.",
    )
