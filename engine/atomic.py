"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path
from typing import Protocol


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, synced, then renamed over it.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class _Raw(Protocol):
    def write(self, data: memoryview, /) -> int | None: ...


def write_all(file: _Raw, data: bytes | memoryview) -> None:
    """Write to an unbuffered file, which may take less than it is given at a time.

    Raises:
        OSError: there is no room.
    """
    left = memoryview(data)
    while left:
        left = left[file.write(left) or 0 :]
