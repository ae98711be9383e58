"""Folders of ours, which only their owner may read, and what killed programs have left in them."""

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

from .cache_dir import default_cache_dir, default_state_dir

_PRIVATE = 0o700

_STALE_SECONDS = 3600.0
"""Age from which a temporary file is nobody's: writing one takes seconds."""

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp|\.places-[a-z0-9_]{8}")
"""What `write_atomically` and `Places` call them."""


def make_private(folder: Path, root: Path) -> None:
    """Create a folder of ours with those above it, for its owner only.

    Folders that are there already are closed to others, but not a `root` that the user has chosen, nor what is above.

    Raises:
        OSError: it cannot be created.
    """
    if not folder.is_dir():
        for path in reversed((folder, *folder.parents)):
            path.mkdir(_PRIVATE, exist_ok=True)
    close_to_others(folder, root)


def close_to_others(folder: Path, root: Path) -> None:
    """Take other users' permissions from a folder of ours and from those above it, where they are there."""
    own = [path for path in (folder, *folder.parents) if path.is_relative_to(root) and path != root]
    if root in (default_cache_dir(), default_state_dir()):
        own.append(root)
    for path in own:
        with suppress(OSError):
            found = path.stat()
            if found.st_mode & 0o077 and found.st_uid == os.geteuid():
                path.chmod(stat.S_IMODE(found.st_mode) & _PRIVATE)


def sweep(folder: Path, name: str = "") -> None:
    """Remove temporary files that killed programs have left in a folder: all of them, or those of one file."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(f".{name}") or not _TEMPORARY.fullmatch(entry.name):
                continue
            if name and len(entry.name) != len(f".{name}.12345678.tmp"):
                continue
            with suppress(OSError):
                if (
                    entry.is_file(follow_symlinks=False)
                    and time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS
                ):
                    Path(entry.path).unlink()
