"""Where a checkpoint's bytes come from: a small protocol. Folders are in `local`, the Hugging Face Hub in `hub`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of bytes that have just arrived. It may raise to stop the reading."""

Watch = Callable[[str], None]
"""Called at least every 0.05 s while something is waited for over a network, with a sentence on what, or empty text.

It may raise to stop the waiting: what it raises comes out of the call that waits.
"""


def no_watch(_: str) -> None:
    """Watches nothing."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """What identifies one version of a file: its size in bytes, and its times in nanoseconds.

    Of a file on the Hub the commit says the rest, and the times are 0.
    """

    size: int
    mtime_ns: int
    blob: str = ""
    """The hash of its content, where the Hub or the local Hub cache names it."""
    ctime_ns: int = 0
    """When anything of it was changed last: other than `mtime_ns`, it cannot be set."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A range of a file, as long as the memory that it belongs into."""

    file: str
    start: int
    buffer: memoryview
    is_urgent: bool = False
    """Whether it is wanted before the others: over a network it is not asked for together with them."""

    @property
    def stop(self) -> int:
        """Where the range ends."""
        return self.start + len(self.buffer)


class Source(Protocol):
    """A flat set of files that can be read by byte ranges."""

    watch: Watch
    """Who is told what is being waited for."""

    @property
    def name(self) -> str:
        """What the model is called on screen and in exports."""

    @property
    def revision(self) -> str:
        """The commit that the files belong to, or empty when there is none."""

    @property
    def location(self) -> str:
        """What opens the same source again, in another process."""

    @property
    def place(self) -> str:
        """What it is called where something is wrong with it."""

    @property
    def notice(self) -> str:
        """A sentence that the user should know about how it was opened, or empty."""

    @property
    def is_lazy(self) -> bool:
        """Whether a shard's header costs so much that it is read only when it is needed."""

    @property
    def is_offline(self) -> bool:
        """Whether what is not on a disk of this machine cannot be had."""

    def files(self) -> Mapping[str, FileStat]:
        """The files that can be read, by name."""

    def is_here(self, name: str) -> bool:
        """Whether a file is on a disk of this machine."""

    def read(self, name: str, start: int, stop: int) -> bytes:
        """The bytes `start … stop` of a file; fewer only where the file ends before `stop`."""

    def read_pieces(self, pieces: Sequence[Piece], advance: Advance) -> Iterator[int]:
        """Fill the pieces' memory, and yield the number of each as it is complete, in any order.

        Raises:
            ReadError: a file is gone, too short, changed since it was opened, or disk or network failed.
        """

    def sample(self, name: str, start: int, stop: int, blocks: int = ...) -> str:
        """A hash of some blocks of the bytes `start … stop` of a file on this machine; empty where it is not here.

        Raises:
            ReadError: the file has changed since it was opened, or the disk failed.
        """

    def has_changed(self, name: str) -> bool:
        """Whether there is another file on this machine now than when the source was opened; not when it is gone."""

    def header_file(self, name: str, header: bytes) -> AbstractContextManager[Path]:
        """A path at which the safetensors library can judge a file's header, of which these are the bytes."""

    def kept_header(self, name: str) -> bytes | None:
        """A header that was read before, where that is kept."""

    def keep_header(self, name: str, header: bytes) -> None:
        """Keep a header that has been judged."""
