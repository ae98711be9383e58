"""Where a checkpoint's bytes come from. Local folders are in `local`; other sources keep the same small protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of bytes that have just arrived. It may raise to stop the reading."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """What identifies one version of a file: its size in bytes and its modification time in nanoseconds."""

    size: int
    mtime_ns: int


class Source(Protocol):
    """A flat set of files that can be read by byte ranges."""

    @property
    def name(self) -> str:
        """What the model is called on screen and in exports."""

    @property
    def revision(self) -> str:
        """The commit that the files belong to, or empty when there is none."""

    @property
    def location(self) -> str:
        """What opens the same source again, in another process."""

    def files(self) -> Mapping[str, FileStat]:
        """The files that can be read, by name."""

    def read(self, name: str, start: int, stop: int) -> bytes:
        """The bytes `start … stop` of a file; fewer only where the file ends before `stop`."""

    def read_into(self, name: str, start: int, buffer: memoryview, advance: Advance) -> None:
        """Fill `buffer` with a file's bytes from `start` on, telling `advance` as they arrive.

        Raises:
            ReadError: the file is gone, too short, changed since it was opened, or the disk failed.
        """

    def header_path(self, name: str) -> Path:
        """A path at which the safetensors library can open the file to judge its header."""
