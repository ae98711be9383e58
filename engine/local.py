"""A folder, or a single safetensors file, on this machine."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from .errors import ModelNotFoundError
from .file_kinds import LONGEST_START, advice_on, kind_of
from .files import BLOCKS, fill, has_changed, read_file, sample, stat_of
from .source import Advance, FileStat, Piece, Watch, no_watch
from .target import shortened_name

_CACHED = re.compile(r"models--(?P<name>[^/]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SNAPSHOT = re.compile(r"models--(?P<name>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$")
"""The local Hub cache keeps a model at `models--ORG--NAME/snapshots/COMMIT`."""


class LocalSource:
    """The files directly inside `folder`; with `only`, that one weight file and the config beside it."""

    notice = ""
    is_lazy = False
    is_offline = True

    def __init__(self, folder: Path, only: str | None = None) -> None:
        self._folder = folder
        self._only = only
        self.watch: Watch = no_watch
        snapshot = _SNAPSHOT.search(folder.as_posix())
        self.revision = snapshot["commit"] if snapshot else ""
        self.name = snapshot["name"].replace("--", "/") if snapshot else only or folder.name or str(folder)
        self.location = self.place = str(folder / only if only else folder)
        self._files = self._scan()

    def _scan(self) -> dict[str, FileStat]:
        try:
            found = scan(self._folder)
        except OSError as error:
            raise ModelNotFoundError(
                f"The folder {self._folder} cannot be listed: {error.strerror}.", "Check its permissions."
            ) from error
        wanted = {self._only, "config.json"} if self._only else {name for name in found if not name.startswith(".")}
        return {name: stat for name, stat in found.items() if name in wanted}

    def files(self) -> Mapping[str, FileStat]:
        """The files found when the source was opened."""
        return self._files

    def is_here(self, name: str) -> bool:  # noqa: ARG002 - all of them are
        """Yes."""
        return True

    def header_file(self, name: str, header: bytes) -> AbstractContextManager[Path]:  # noqa: ARG002 - it is in the file
        """The file itself."""
        return nullcontext(self._folder / name)

    def kept_header(self, name: str) -> None:
        """Nothing: the files themselves are at hand."""

    def keep_header(self, name: str, header: bytes) -> None:
        """Nothing is kept."""

    def read(self, name: str, start: int, stop: int) -> bytes:
        """See `Source.read`."""
        return read_file(self._folder / name, start, stop)

    def read_pieces(self, pieces: Sequence[Piece], advance: Advance) -> Iterator[int]:
        """See `Source.read_pieces`; one after another, in the order given."""
        for number, piece in enumerate(pieces):
            fill(piece, self._folder / piece.file, self._files.get(piece.file), advance)
            yield number

    def sample(self, name: str, start: int, stop: int, blocks: int = BLOCKS) -> str:
        """See `Source.sample`."""
        return sample(self._folder / name, self._files[name], start, stop, blocks)

    def has_changed(self, name: str) -> bool:
        """See `Source.has_changed`."""
        return has_changed(self._folder / name, self._files[name])


def scan(folder: Path) -> dict[str, FileStat]:
    """The files directly inside a folder.

    Raises:
        OSError: it cannot be listed.
    """
    found: dict[str, FileStat] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_file():
                    found[entry.name] = stat_of(Path(entry.path))
            except OSError:
                continue  # a link that leads nowhere: the file counts as missing
    return found


def open_local(path: Path) -> LocalSource:
    """The source for a folder or a `.safetensors` file.

    Raises:
        ModelNotFoundError: nothing is there, or it is neither a folder nor a safetensors file; a folder in a Hub cache
            has no snapshot.
        ReadError: a file cannot be read.
    """
    shown = shortened_name(str(path))
    try:
        resolved = path.expanduser().absolute()
        if resolved.is_dir():
            led_to = resolved.resolve()  # a link to a model's folder in a Hub cache, or ..
            return LocalSource(_normal(snapshot_in(resolved) or snapshot_in(led_to) or resolved))
        if resolved.is_file():
            if resolved.suffix == ".safetensors":
                return LocalSource(_normal(resolved.parent), only=resolved.name)
            raise _no_safetensors(resolved, shown)
    except OSError as error:
        raise ModelNotFoundError(
            f"{shown} cannot be opened: {error.strerror or error}.", "Check its permissions."
        ) from error
    except (RuntimeError, ValueError) as error:  # an unknown ~user, or a null byte in the name
        raise ModelNotFoundError(f"{shown} is not a path: {error}.", "Give the path of a model folder.") from error
    if os.path.lexists(resolved):
        raise ModelNotFoundError(
            f"{shown} leads to neither a file nor a folder.", "Give the path of a model folder or a .safetensors file."
        )
    is_certain = path.is_absolute() or str(path).startswith((".", "~"))
    hub = "" if is_certain else ", or a model on the Hub as ORG/NAME or ORG/NAME@REVISION"
    raise ModelNotFoundError(f"There is no file or folder {shown}.", f"Give the path of a model folder{hub}.")


def _no_safetensors(path: Path, shown: str) -> ModelNotFoundError:
    """A file that is not called `.safetensors`: what it is, whatever it is called."""
    start = read_file(path, 0, LONGEST_START)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return ModelNotFoundError(
            f"{shown} looks like a safetensors file, but its name does not end in .safetensors.",
            "Rename it, or give the name that leads to it, such as that in a snapshot of a Hub cache.",
        )
    kind = kind_of(start)
    told = f": it is {kind}" if kind else ""
    advice = "" if kind == "JSON text" or not kind else f" {advice_on(kind)}"
    return ModelNotFoundError(
        f"{shown} is not a safetensors file{told}.",
        f"svdtui reads safetensors only, never pickled weights: give a folder or a .safetensors file.{advice}",
    )


def snapshot_in(folder: Path) -> Path | None:
    """The snapshot that a model's folder in a Hub cache stands for: that of its main branch, or the newest there is.

    One with weights comes before one without, as `config.json` alone leaves it.

    Raises:
        ModelNotFoundError: it is such a folder, and has none; or it is the cache itself.
        OSError: it cannot be listed.
    """
    if folder.name == "snapshots":
        folder = folder.parent
    found = _CACHED.fullmatch(folder.name)
    if not found or not any((folder / each).is_dir() for each in ("snapshots", "blobs", "refs")):
        _refuse_cache(folder)
        return None
    snapshots = [each for each in (folder / "snapshots").glob("*") if _COMMIT.fullmatch(each.name) and each.is_dir()]
    if not snapshots:
        name = found["name"].replace("--", "/")
        raise ModelNotFoundError(
            f"{shortened_name(str(folder))} is the folder of {name} in a Hub cache, and holds no snapshot of it.",
            f"Download it again, or give {name} to read it from the Hub.",
        )
    main = ""
    with suppress(OSError, UnicodeDecodeError):
        main = (folder / "refs" / "main").read_text("ascii").strip()
    return max(
        snapshots,
        key=lambda each: (any(each.glob("*.safetensors")), each.name == main, each.stat().st_mtime_ns, each.name),
    )


def _refuse_cache(folder: Path) -> None:
    """Name the models of a Hub cache that is given as though it were one of them."""
    names = sorted(
        each["name"].replace("--", "/") for path in folder.glob("models--*") if (each := _CACHED.fullmatch(path.name))
    )
    if names and not any(folder.glob("*.safetensors")):
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        raise ModelNotFoundError(
            f"{shortened_name(str(folder))} is a Hub cache, not a model.",
            f"Give one of its models: {', '.join(names[:3])}{more}.",
        )


def _normal(folder: Path) -> Path:
    """The folder without `..`, links kept otherwise: a Hub snapshot must keep its commit in its path."""
    return folder.resolve() if ".." in folder.parts else folder
