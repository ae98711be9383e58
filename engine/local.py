"""A folder, or a single safetensors file, on this machine."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from .errors import ModelNotFoundError, ReadError
from .source import Advance, FileStat

_PART = 8 * 2**20
"""Bytes per read: large enough for the disk, small enough for a smooth progress display."""

_SNAPSHOT = re.compile(r"models--(?P<name>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")
"""The local Hub cache keeps a model at `models--ORG--NAME/snapshots/COMMIT`."""


class LocalSource:
    """The files directly inside `folder`; with `only`, that one weight file and the config beside it."""

    def __init__(self, folder: Path, only: str | None = None) -> None:
        self._folder = folder
        self._only = only
        snapshot = _SNAPSHOT.search(folder.as_posix())
        self.revision = snapshot["commit"] if snapshot else ""
        self.name = snapshot["name"].replace("--", "/") if snapshot else only or folder.name or str(folder)
        self.location = str(folder / only if only else folder)
        self._files = self._scan()

    def _scan(self) -> dict[str, FileStat]:
        found: dict[str, FileStat] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if self._only and entry.name not in {self._only, "config.json"}:
                        continue
                    try:
                        if entry.is_file():
                            stat = entry.stat()
                            found[entry.name] = FileStat(stat.st_size, stat.st_mtime_ns)
                    except OSError:
                        continue  # a link that leads nowhere: the file counts as missing
        except OSError as error:
            raise ModelNotFoundError(
                f"The folder {self._folder} cannot be listed: {error.strerror}.", "Check its permissions."
            ) from error
        return found

    def files(self) -> Mapping[str, FileStat]:
        """The files found when the source was opened."""
        return self._files

    def header_path(self, name: str) -> Path:
        """The file itself."""
        return self._folder / name

    def read(self, name: str, start: int, stop: int) -> bytes:
        """See `Source.read`."""
        try:
            with (self._folder / name).open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        except OSError as error:
            raise self._unreadable(name, error) from error

    def read_into(self, name: str, start: int, buffer: memoryview, advance: Advance) -> None:
        """See `Source.read_into`."""
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise self._unreadable(name, error) from error
        try:
            stat = os.fstat(descriptor)
            if FileStat(stat.st_size, stat.st_mtime_ns) != self._files.get(name):
                raise ReadError(
                    f"{self._folder / name} has changed since the model was opened.",
                    "Quit and open the model again.",
                )
            done = 0
            while done < len(buffer):
                count = os.preadv(descriptor, [buffer[done : done + _PART]], start + done)
                if not count:
                    raise ReadError(
                        f"{self._folder / name} ends {len(buffer) - done:,} bytes before tensor data does.",
                        "Download or copy the file again.",
                    )
                done += count
                advance(count)
        except OSError as error:
            raise self._unreadable(name, error) from error
        finally:
            os.close(descriptor)

    def _unreadable(self, name: str, error: OSError) -> ReadError:
        return ReadError(
            f"{self._folder / name} cannot be read: {error.strerror or error}.",
            "Check that the file is still there and that you may read it.",
        )


def open_local(path: Path) -> LocalSource:
    """The source for a folder or a `.safetensors` file.

    Raises:
        ModelNotFoundError: nothing is there, or it is neither a folder nor a safetensors file.
    """
    try:
        resolved = path.expanduser().absolute()
        if resolved.is_dir():
            return LocalSource(_normal(resolved))
        if resolved.is_file():
            if resolved.suffix == ".safetensors":
                return LocalSource(_normal(resolved.parent), only=resolved.name)
            raise ModelNotFoundError(
                f"{path} is not a safetensors file.",
                "svdtui reads safetensors only, never pickled weights: give a folder or a .safetensors file.",
            )
    except OSError as error:
        raise ModelNotFoundError(
            f"{path} cannot be opened: {error.strerror or error}.", "Check its permissions."
        ) from error
    except (RuntimeError, ValueError) as error:  # an unknown ~user, or a null byte in the name
        raise ModelNotFoundError(f"{path} is not a path: {error}.", "Give the path of a model folder.") from error
    if os.path.lexists(resolved):
        raise ModelNotFoundError(
            f"{path} leads to neither a file nor a folder.", "Give the path of a model folder or a .safetensors file."
        )
    raise ModelNotFoundError(f"There is no file or folder {path}.", "Give the path of a model folder.")


def _normal(folder: Path) -> Path:
    """The folder without `..`, links kept otherwise: a Hub snapshot must keep its commit in its path."""
    return folder.resolve() if ".." in folder.parts else folder
