"""A tensor that comes over a network and is read several times lies in a temporary file meanwhile."""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from .checkpoint import TensorRef
from .errors import ReadError

_ON_DISK = Path("/var/tmp")
"""Where large temporary files go, says file-hierarchy(7): `/tmp` is often kept in memory, which they would fill."""

_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What a file system answers that cannot take room in advance."""


class Spool:
    """The temporary file, with all the room that the tensor takes."""

    def __init__(self, ref: TensorRef) -> None:
        self._ref = ref
        self._folder = spool_folder()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        """The file, empty and unbuffered; its room is taken before anything is read.

        Raises:
            ReadError: there is no room.
        """
        try:
            self._file = tempfile.TemporaryFile(prefix="svdtui-", buffering=0, dir=self._folder)
            _reserve(self._file, self._folder, self._ref.nbytes)
        except OSError as error:
            self.__exit__()
            raise self.no_room(error) from error
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def no_room(self, error: OSError) -> ReadError:
        """A sentence for a file that cannot be made or written."""
        return ReadError(
            f"{self._ref.name} takes {self._ref.nbytes:,} bytes for a while in a temporary file in {self._folder}, "
            f"which cannot be written: {error.strerror or error}.",
            "Make room there, or set TMPDIR to a folder on another disk.",
        )


def spool_folder() -> Path:
    """Where large temporary files go: to `TMPDIR`; without one to `/var/tmp`, where that is usual."""
    try:
        usual = Path(tempfile.gettempdir())
    except FileNotFoundError:  # none of the usual folders can be written
        return _ON_DISK
    is_chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")) or usual != Path("/tmp")
    return usual if is_chosen or not os.access(_ON_DISK, os.W_OK | os.X_OK) else _ON_DISK


def _reserve(file: IO[bytes], folder: Path, size: int) -> None:
    """Take the room of a file.

    Raises:
        OSError: the disk has not so much, or does not let us have it.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
