"""A model on the Hugging Face Hub, read by byte ranges; nothing is downloaded whole.

The library does what every Hub tool does through it: it resolves the revision (once; everything is read at that
commit), keeps config and index in the local Hub cache, and knows the token. Weights in that cache are read from there.
"""

import base64
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .atomic import write_all
from .errors import EngineError, NetworkError, OfflineError, ReadError
from .files import BLOCKS, fill, has_changed, read_file, sample, stat_of
from .hub_errors import HubAccess, answer_seconds, told
from .hub_limits import expect, guarded_session
from .hub_records import HubRecords
from .hub_verify import is_damaged
from .patience import in_threads, patiently
from .ranges import RangeReader, RemoteFile
from .source import Advance, FileStat, Piece, Watch, no_watch
from .target import HubName

_WEIGHTS = ".safetensors"

_HEADER_LENGTH = 8

_TRIES = 3
"""Tries of a small file: each is several of the library's own."""


class HubSource:
    """The files at the top of a repository, at one commit."""

    is_lazy = True

    def __init__(
        self,
        name: HubName,
        commit: str,
        files: Mapping[str, RemoteFile],
        records: HubRecords,
        access: HubAccess,
        *,
        offline: bool = False,
        notice: str = "",
        watch: Watch = no_watch,
        paths: Mapping[str, Path] | None = None,
    ) -> None:
        self.name = name.repo_id
        self.revision = commit
        self.location = HubName(name.repo_id, commit).url
        self.place = f"{name.repo_id} (commit {commit[:7]})"
        self.notice = notice
        self.watch = watch
        self._access = access
        self._records = records
        self.is_offline = offline
        self._stats = {file: FileStat(known.size, 0, known.sha256 or "") for file, known in files.items()}
        self._files = files
        self._paths = dict(self._cached_files() if paths is None else paths)
        for file, path in self._paths.items():
            self._stats[file] = replace(stat_of(path), size=self._stats[file].size)
        self._spare: dict[str, bytes] = {}
        self._headers: dict[str, bytes] = {}
        """Those that could not be kept on disk."""
        self._ranges = RangeReader(access, name.repo_id, commit, files)

    def described(self) -> dict[str, Any]:
        """What `restored` makes the same source of, in JSON: what was asked of the Hub need not be asked again."""
        return {
            "repo_id": self.name,
            "commit": self.revision,
            "files": {
                file: [known.size, known.sha256, known.is_listed, known.blob_id] for file, known in self._files.items()
            },
            "paths": {file: str(path) for file, path in self._paths.items()},
            "spare": {file: base64.b64encode(data).decode() for file, data in self._spare.items()},
            "headers": {file: base64.b64encode(header).decode() for file, header in self._headers.items()},
            "offline": self.is_offline,
            "notice": self.notice,
        }

    @classmethod
    def restored(cls, described: Mapping[str, Any], root: Path) -> "HubSource":
        """The inverse of `described`; records are under `root`. It neither asks the Hub nor loads its libraries.

        Raises:
            ReadError: what was in the local Hub cache is gone.
        """
        name, commit = HubName(described["repo_id"]), described["commit"]
        try:
            source = cls(
                name,
                commit,
                {file: RemoteFile(*known) for file, known in described["files"].items()},
                HubRecords(root, name.repo_id, commit),
                HubAccess(),
                offline=described["offline"],
                notice=described["notice"],
                paths={file: Path(path) for file, path in described["paths"].items()},
            )
        except OSError as error:
            raise ReadError(
                f"Files of {name} have gone from the local Hub cache while it was opened: {error.strerror or error}.",
                "Open the model again.",
            ) from error
        for kept, sent in ((source._spare, "spare"), (source._headers, "headers")):
            kept.update({file: base64.b64decode(data) for file, data in described[sent].items()})
        return source

    def _cached_files(self) -> dict[str, Path]:
        """What the local Hub cache has of this commit, whole."""
        from huggingface_hub import try_to_load_from_cache

        found = {}
        for file, stat in self._stats.items():
            if not file.endswith((_WEIGHTS, ".json")):
                continue
            path = try_to_load_from_cache(self.name, file, cache_dir=self._access.cache_dir, revision=self.revision)
            if not isinstance(path, str) or Path(path).stat().st_size != stat.size:
                continue
            if file.endswith(_WEIGHTS) or not is_damaged(self._files[file], Path(path)):  # weights would take long
                found[file] = Path(path)
        return found

    def files(self) -> Mapping[str, FileStat]:
        """The files that the repository lists."""
        return self._stats

    @property
    def known(self) -> Mapping[str, RemoteFile]:
        """What the Hub says of the files that it lists."""
        return self._files

    def is_here(self, name: str) -> bool:
        """Whether the local Hub cache has the file."""
        return name in self._paths

    def read(self, name: str, start: int, stop: int) -> bytes:
        """See `Source.read`. A small file is brought into the local Hub cache first."""
        if name not in self._paths:
            self._check_online(name)
            if name.endswith(_WEIGHTS):
                watch: Watch = lambda waiting: self.watch(waiting or f"Reading the header of {name}")  # noqa: E731
                return self._ranges.read(name, start, stop, watch)
            self.fetch([name])
        if name in self._spare:
            return self._spare[name][start:stop]
        return read_file(self._paths[name], start, stop)

    def read_pieces(self, pieces: Sequence[Piece], advance: Advance) -> Iterator[int]:
        """See `Source.read_pieces`: first what is on this disk, then the rest over the network."""
        remote = []
        for number, piece in enumerate(pieces):
            if piece.file in self._paths:
                fill(piece, self._paths[piece.file], self._stats[piece.file], advance)
                yield number
            else:
                self._check_online(piece.file)
                remote.append(number)
        for place in self._ranges.read_pieces([pieces[number] for number in remote], advance, self.watch):
            yield remote[place]

    def sample(self, name: str, start: int, stop: int, blocks: int = BLOCKS) -> str:
        """See `Source.sample`."""
        path = self._paths.get(name)
        return sample(path, self._stats[name], start, stop, blocks) if path else ""

    def has_changed(self, name: str) -> bool:
        """See `Source.has_changed`."""
        return name in self._paths and has_changed(self._paths[name], self._stats[name])

    def _check_online(self, file: str) -> None:
        if self.is_offline:
            raise OfflineError(
                f"{file} of {self.name} is not in the local Hub cache, and svdtui is offline.",
                "Open the model without --offline (and HF_HUB_OFFLINE).",
            )

    def fetch(self, names: Sequence[str]) -> None:
        """Bring small files into the local Hub cache; where it cannot be written, into memory.

        Raises:
            EngineError: they cannot be had.
        """
        missing = [name for name in names if name not in self._paths and name not in self._spare]
        for name in missing:
            self._check_online(name)
        if missing:
            calls = [partial(self._download, name) for name in missing]
            doing = f"Reading {' and '.join(missing)}"
            paths = patiently(partial(in_threads, calls, no_watch, doing), self.watch, doing, _TRIES)
            self._paths.update((name, Path(path)) for name, path in zip(missing, paths, strict=True) if path)

    def _download(self, name: str) -> str | None:
        """The file's path; None where the local Hub cache cannot take it, and it is in memory instead."""
        from huggingface_hub import hf_hub_download

        guarded_session()
        expect(self.name, self.revision, name, self._stats[name].size)
        try:
            path = hf_hub_download(
                self.name,
                name,
                revision=self.revision,
                cache_dir=self._access.cache_dir,
                endpoint=self._access.endpoint,
                token=self._access.token,
                library_name="svdtui",
                etag_timeout=answer_seconds(),
                tqdm_class=no_bar(),
            )
            if not is_damaged(self._files[name], Path(path)):
                return path
            # Somebody has changed what is in the cache, and the library believes it.
        except EngineError:
            raise
        except Exception as error:
            problem = told(error, self._access, HubName(self.name, self.revision), again=True)
            if isinstance(problem, NetworkError) or not isinstance(problem, ReadError):
                raise problem from None
        self._spare[name] = self._ranges.read(name, 0, self._stats[name].size, no_watch)
        return None

    @contextmanager
    def header_file(self, name: str, header: bytes) -> Iterator[Path]:
        """A file as long as the shard, with nothing but its header in it: it takes no more room than that."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="svdtui-", suffix=_WEIGHTS, buffering=0))
                write_all(file, len(header).to_bytes(_HEADER_LENGTH, "little") + header)
                file.truncate(self._stats[name].size)
            except OSError as error:
                raise ReadError(
                    f"The header of {name} cannot be checked, since no temporary file can be written: "
                    f"{error.strerror or error}.",
                    "Make room there, or set TMPDIR to another disk.",
                ) from error
            yield Path(file.name)

    def kept_header(self, name: str) -> bytes | None:
        """The header, when it was read before."""
        return self._headers.get(name) or self._records.header(name)

    def keep_header(self, name: str, header: bytes) -> None:
        """Keep a header beside the results."""
        self._records.keep_header(name, header)
        if self._records.header(name) is None:
            self._headers[name] = header


def no_bar() -> Any:
    """A progress bar that shows nothing: the library's own would be written over the screen."""
    from tqdm import tqdm

    class NoBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs["disable"] = True
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs)

    return NoBar
