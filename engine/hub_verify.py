"""Whether the files of a download are what the Hub says they are: by SHA-256, or by what Git calls a small one."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import ReadError
from .files import blob_of
from .ranges import RemoteFile
from .target import shortened_name
from .text import plural

_BLOCK = 2**22

Advance = Callable[[int], None]


def verify(repo_id: str, files: Mapping[str, RemoteFile], paths: Mapping[str, Path], advance: Advance) -> list[str]:
    """Compare files in the local Hub cache with what is known of them; which of them nothing is known of but a size.

    Args:
        repo_id: what the repository is called.
        files: what the Hub says of each.
        paths: where each lies.
        advance: told of the bytes that have been looked at.

    Raises:
        ReadError: a file is not what it should be. Those that are not have been taken out of the cache.
    """
    unknown, damaged = [], []
    for name, path in paths.items():
        try:
            expected = _expected(files[name], path)
            if _differs(files[name], path, expected, advance):
                damaged.append(name)
                _remove(path)
            elif not expected:
                unknown.append(name)
        except OSError as error:
            raise ReadError(
                f"{path} cannot be compared with what the Hub says of it: {error.strerror or error}.",
                "Check that you may read and write the local Hub cache, and try again.",
            ) from error
    if damaged:
        others = f" and with it {plural(len(damaged) - 1, 'other file')}" if len(damaged) > 1 else ""
        raise ReadError(
            f"{damaged[0]} of {shortened_name(repo_id)} is damaged{others}: not what the Hub says it is. It was taken "
            "out of the local Hub cache.",
            "The same command fetches it again; if it stays so, a mirror, a proxy on the way or the disk is broken.",
        )
    return unknown


def is_damaged(known: RemoteFile, path: Path) -> bool:
    """Whether a file has another length or hash than the Hub lists, as far as it does.

    Raises:
        OSError: it cannot be read.
    """
    return _differs(known, path, _listed(known), lambda count: None)


def _listed(known: RemoteFile) -> str:
    """A SHA-256, or a small file's name in Git; empty where neither is listed."""
    return known.sha256 or known.blob_id or ""


def _expected(known: RemoteFile, path: Path) -> str:
    """As it is listed, else as the library has named the content by its tag."""
    blob = blob_of(path)
    return _listed(known) or (blob if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob) else "")


def _differs(known: RemoteFile, path: Path, expected: str, advance: Advance) -> bool:
    return path.stat().st_size != known.size or (expected != "" and _hash(path, expected, advance) != expected)


def _hash(path: Path, like: str, advance: Advance) -> str:
    """A file's hash, of the kind of another one."""
    digest = hashlib.sha256()
    if len(like) == 40:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _remove(path: Path) -> None:
    """Take a file out of the local Hub cache: the name in the snapshot, and the content that it leads to."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)
