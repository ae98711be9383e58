"""What is kept of a Hub model besides results: its list of files and its shards' headers, to ask nothing twice.

`ROOT/hub/v1/ORG--NAME@COMMIT/files.json` and `…/SHARD.header`. A commit never changes, so they never expire. Both carry
a checksum; what does not parse or does not match counts as absent.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import write_atomically
from .private import make_private, sweep
from .ranges import RemoteFile
from .target import HubName

_LONGEST = 30 * 10**6
"""Bytes of the longest record that is read."""

LARGEST_FILE = 2**50
"""Bytes that no file has; a smaller one's size is still one that a file here can be given."""

_BARE = re.compile(r"[^./\\:\0][^/\\:\0]*")


def is_bare(name: str) -> bool:
    """Whether a file lies at the top of a repository, and its name could be a file's here."""
    return name.isprintable() and len(name.encode()) < 200 and _BARE.fullmatch(name) is not None


class HubRecords:
    """The records of one commit. Without a cache that can be written they are just not kept."""

    def __init__(self, root: Path, repo_id: str, commit: str) -> None:
        self._root = root
        self._folder = root / "hub" / "v1" / f"{repo_id.replace('/', '--')}@{commit}"
        self._name = str(HubName(repo_id, commit))

    def files(self) -> dict[str, RemoteFile] | None:
        """The files at the top of the repository."""
        data = self._load("files.json")
        if data is None:
            return None
        try:
            body: dict[str, Any] = json.loads(data)
            found = {}
            for name, (size, sha256, *blob) in body.items():  # those of earlier versions have no blob
                blob_id = blob[0] if blob else None
                if not is_bare(name) or type(size) is not int or not 0 <= size < LARGEST_FILE:
                    return None
                if not isinstance(sha256, str | None) or not isinstance(blob_id, str | None):
                    return None
                found[name] = RemoteFile(size, sha256, blob_id=blob_id)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        return found

    def keep_files(self, files: Mapping[str, RemoteFile]) -> None:
        """Keep the list of files."""
        body = {name: [file.size, file.sha256, file.blob_id] for name, file in files.items()}
        self._save("files.json", json.dumps(body, indent=1).encode())

    def header(self, shard: str) -> bytes | None:
        """A shard's header."""
        return self._load(f"{shard}.header")

    def keep_header(self, shard: str, header: bytes) -> None:
        """Keep a shard's header."""
        self._save(f"{shard}.header", header)

    def _checksum(self, file: str, data: bytes) -> bytes:
        text = f"{self._name} {file}\n".encode()
        return hashlib.blake2b(text + data, digest_size=16).hexdigest().encode()

    def _load(self, file: str) -> bytes | None:
        try:
            with (self._folder / file).open("rb") as opened:
                stored = opened.read(min(os.fstat(opened.fileno()).st_size, _LONGEST))
        except OSError:
            return None
        checksum, _, data = stored.partition(b"\n")
        return data if checksum == self._checksum(file, data) else None

    def _save(self, file: str, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it costs a request next time
            make_private(self._folder, self._root)
            sweep(self._folder)
            write_atomically(self._folder / file, self._checksum(file, data) + b"\n" + data)
