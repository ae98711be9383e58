"""What may be written where: never over a model, over what svdtui keeps, or over a file of another kind.

A file that exists is replaced only when it is of the kind that is written. Inside the model's folder that must be one
which svdtui has written, since models come with CSV and JSON files of their own.
"""

import json
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .cache_dir import default_cache_dir, default_state_dir
from .errors import OutputError

_SAMPLE = 2**16
"""Bytes of a file from which its kind is told."""

_LARGEST_PLAN = 2**24
"""Bytes of the longest plan: a hundred thousand modules."""

_OF_A_MODEL = re.compile(r"config\.json|.*\.safetensors|.*\.index\.json")
"""Names by which a model's files are found."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that svdtui writes."""

    name: str
    is_ours: Callable[[bytes], bool]
    """Whether svdtui has written a file, from its beginning."""
    endings: tuple[str, ...] = ()
    """What other programs' files of the kind are called; without any, only our own are replaced."""

    def accepts(self, path: Path, data: bytes, *, only_ours: bool) -> bool:
        """Whether a file that begins with `data` may be replaced."""
        if self.is_ours(data):
            return True
        if only_ours:
            return False
        return not data or (path.suffix.lower() in self.endings and _is_table(data))


def _is_table(data: bytes) -> bool:
    """Whether this may begin a CSV file: text, and no JSON."""
    try:
        text = data.decode() if len(data) < _SAMPLE else data[: data.rindex(b"\n") + 1].decode()
    except ValueError:
        return False
    return not _UNPRINTABLE.search(text) and not text.lstrip("\ufeff \t\r\n").startswith(("{", "["))


def _is_plan(data: bytes) -> bool:
    with suppress(ValueError, RecursionError):
        return set(json.loads(data)) == {"r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern"}
    return False


def _is_our_table(data: bytes) -> bool:
    return re.match(rb"model,revision,|layer,0[,\n]", data) is not None


CSV = Kind("CSV file", _is_our_table, (".csv", ".tsv"))
PAGE = Kind("page of findings", lambda data: data.startswith(b"# Findings: "))
PLAN = Kind("LoRA plan", _is_plan)
PICTURE = Kind("picture", lambda data: b"<svg " in data[:200])


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a program that shows or computes a model may write."""

    model: Path | None = None
    """Its folder or file, when it is on this machine."""
    cache_dir: Path | None = None
    """Where its results are kept, when that is not the user's cache folder."""

    def check(self, path: Path, kind: Kind) -> None:
        """Refuse a file that must not be written.

        Raises:
            OutputError: says why.
        """
        self.check_place(path)
        target = Path(os.path.realpath(path))  # through links
        try:
            mode = target.stat().st_mode
        except OSError:  # there is none yet, or nobody may look
            if self._is_of_model(target, directly=True) and _OF_A_MODEL.fullmatch(target.name.lower()):
                raise OutputError(f"{path} would become a file of the model.", "Give it another name.") from None
            return
        if stat.S_ISBLK(mode):
            raise OutputError(f"{path} is a disk.", "Give a file.")
        if stat.S_ISREG(mode):
            self._check_existing(path, target, kind)

    def check_place(self, path: Path) -> None:
        """Refuse a file or a folder where svdtui keeps its own.

        Raises:
            OutputError: says why.
        """
        target = Path(os.path.realpath(path))
        for folder in (self.cache_dir, default_cache_dir(), default_state_dir()):
            if folder is not None and target.is_relative_to(os.path.realpath(folder)):
                raise OutputError(f"{path} lies in {folder}, where svdtui keeps its own files.", "Give another folder.")

    def _check_existing(self, path: Path, target: Path, kind: Kind) -> None:
        is_of_model = self._is_of_model(target)
        try:
            with target.open("rb") as file:
                data = file.read(_LARGEST_PLAN if kind is PLAN else _SAMPLE)
        except OSError as error:
            raise OutputError(
                f"{path} exists and cannot be read, so that it may be something else than a {kind.name}: "
                f"{error.strerror or error}.",
                "Give another name.",
            ) from error
        if kind.accepts(target, data, only_ours=is_of_model):
            return
        if is_of_model:
            raise OutputError(f"{path} is a file of the model.", "Give another name, best in another folder.")
        raise OutputError(
            f"{path} exists and is no {kind.name}: it is not overwritten.", "Give another name, or move it away first."
        )

    def _is_of_model(self, target: Path, *, directly: bool = False) -> bool:
        """Whether a file lies in the model's folder; of a model that is one file, right beside it."""
        if self.model is None:
            return False
        model = Path(os.path.realpath(self.model))
        if target == model:
            return True
        if model.is_dir() and not directly:
            return target.is_relative_to(model)
        return target.parent == (model if model.is_dir() else Path(os.path.realpath(self.model.parent)))
