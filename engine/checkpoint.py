"""The tensors of a checkpoint: names, shapes and places in files. Reads headers and JSON, never tensor bytes."""

import contextlib
import hashlib
import json
import os
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .errors import CheckpointError, HeaderError, ReadError
from .file_kinds import advice_on, kind_of
from .json_weight import HeavyJsonError, check_weight
from .shards import CONFIG, NOT_ORDINARY, find_weights, json_object, read_json_bytes
from .source import Source
from .text import plural

HEADER_CAP = 25 * 10**6
"""Bytes of the longest header that is read. The largest published models stay below 10 MB."""

_HEAD = struct.Struct("<Q")

_FIRST_READ = 100_000
"""Bytes of the first read of a shard: the length and, of nearly all published models, the whole header."""

_ALL_BLOCKS, _LEAST_BLOCKS, _MOST_BLOCKS = 4000, 4, 64
"""Blocks of 4 KB of a sample of all shards, and of each: 256 KB of a shard, less where there are very many."""


@dataclass(frozen=True, slots=True)
class TensorRef:
    """One tensor: its bytes are `start … end` of `file`, row-major, little-endian.

    Until its shard's header has been read only name and file are known.
    """

    name: str
    file: str
    dtype: str = ""
    """As safetensors spells it: `BF16`, `F32`, `F8_E4M3` …"""
    shape: tuple[int, ...] = ()
    start: int = 0
    end: int = 0
    is_absent: bool = False
    """Whether its shard's header, which has been read, does not have it."""

    @property
    def is_known(self) -> bool:
        """Whether its shard's header has been read."""
        return bool(self.dtype) or self.is_absent

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in the file."""
        return self.end - self.start


@dataclass(frozen=True)
class Checkpoint:
    """All tensors of a model, and its config when there is one."""

    source: Source
    tensors: dict[str, TensorRef]
    """Every tensor by its name; those of shards whose header has not been read are not known any further."""
    config: Mapping[str, Any] | None
    key: str
    """Identifies the exact files at their place on this machine: results are kept under it."""
    index: Mapping[str, str] | None = None
    """Tensor name → shard, where there is an index."""
    unread_shards: set[str] = field(default_factory=set)
    """Shards whose header has not been read."""
    contents: str = ""
    """Identifies what is in the files, as far as headers and config tell; the same for a copy elsewhere."""
    absent: set[str] = field(default_factory=set)
    """Tensors that the index names and their shards, as far as they have been read, do not have."""
    unnamed: set[str] = field(default_factory=set)
    """Tensors of the shards, as far as they have been read, that the index does not name: no part of the model."""
    dtypes: Counter[str] = field(default_factory=Counter)
    """How many matrices have which dtype, as far as is known."""

    notes: tuple[str, ...] = ()
    """Sentences on files that hold weights, too, and are not read."""

    @cached_property
    def _indexed(self) -> dict[str, list[str]]:
        """Shard → the tensors that the index says are in it."""
        found: dict[str, list[str]] = {}
        for name, shard in (self.index or {}).items():
            found.setdefault(shard, []).append(name)
        return found

    def samples(self) -> dict[str, str]:
        """A hash of some blocks of every shard that is on this machine, to compare with a copy elsewhere.

        Raises:
            ReadError: a shard cannot be read, or has changed since it was opened.
        """
        shards = sorted({ref.file for ref in self.tensors.values()})
        blocks = max(_LEAST_BLOCKS, min(_MOST_BLOCKS, _ALL_BLOCKS // len(shards)))
        stats = self.source.files()
        return {shard: self.source.sample(shard, 0, stats[shard].size, blocks) for shard in shards}

    def unread(self, names: Iterable[str]) -> list[str]:
        """The shards that must be read before these tensors are known."""
        return sorted({self.tensors[name].file for name in names} & self.unread_shards)

    def read_header(self, shard: str) -> bytes:
        """Read a shard's header and learn from it.

        Raises:
            HeaderError: it is damaged, cut short or longer than `HEADER_CAP`.
            ReadError: it cannot be read.
        """
        kept = self.source.kept_header(shard)
        if kept is not None:
            with contextlib.suppress(HeaderError):
                return self.learn(shard, _judged(self.source, shard, kept))
        header = _judged(self.source, shard, _fetch_header(self.source, shard))
        self.learn(shard, header)
        self.source.keep_header(shard, header)
        return header

    def recall(self, names: Iterable[str]) -> None:
        """Learn what another process has read meanwhile of the headers that these tensors need, and kept."""
        for shard in self.unread(names):
            kept = self.source.kept_header(shard)
            if kept is not None:
                with contextlib.suppress(CheckpointError, ReadError):  # it is read again when it is needed
                    self.learn(shard, _judged(self.source, shard, kept))

    def learn(self, shard: str, header: bytes) -> bytes:
        """Take over what a header says that the safetensors library has accepted.

        A tensor that the index expects in this shard, and that is not there, is known to be absent from then on.

        Raises:
            CheckpointError: a tensor is in two files, and there is no index to say which counts.
        """
        found = _parse_header(shard, header)
        if self.index is None:
            for ref in found:
                if ref.name in self.tensors:
                    other = self.tensors[ref.name].file
                    raise CheckpointError(
                        f"{self.source.place}: the tensor {ref.name} is both in {other} and in {shard}.",
                        "Open one of the two files alone, or remove the one that does not belong to the model.",
                    )
        else:
            names = {ref.name for ref in found}
            absent = [name for name in self._indexed.get(shard, ()) if name not in names]
            self.tensors.update((name, TensorRef(name, shard, is_absent=True)) for name in absent)
            self.absent.update(absent)
            self.unnamed.update(names - self.index.keys())
            # The index decides: a tensor that it does not name here is not part of the model.
            found = [ref for ref in found if self.index.get(ref.name) == shard]
        self.tensors.update((ref.name, ref) for ref in found)
        if shard in self.unread_shards:
            self.dtypes.update(ref.dtype for ref in found if len(ref.shape) == 2)
        self.unread_shards.discard(shard)
        return header


def read_checkpoint(source: Source) -> Checkpoint:
    """Read the config, the index and every shard's header; of a lazy source with an index only those at hand.

    Raises:
        ModelNotFoundError: there are no safetensors files.
        HeaderError: a header is damaged, cut short or longer than `HEADER_CAP`.
        ShardIndexError: the index names a file that is not there, or a path outside the folder.
        ConfigError: config.json or the index is not a JSON object.
        ReadError: a file cannot be read.
    """
    files = source.files()
    config_bytes = read_json_bytes(source, CONFIG) if CONFIG in files else None
    config = json_object(source, CONFIG, config_bytes) if config_bytes is not None else None
    weights = find_weights(source)
    index, shards = weights.index, weights.shards
    tensors = {name: TensorRef(name, shard) for name, shard in (index or {}).items()}
    checkpoint = Checkpoint(source, tensors, config, "", index, set(shards))
    contents = hashlib.blake2b(config_bytes or b"", digest_size=8)
    place = hashlib.blake2b(os.fsencode(Path(source.location).resolve()), digest_size=8)
    for shard in shards:
        if not source.is_lazy or index is None or source.is_here(shard):
            header, stat = checkpoint.read_header(shard), files[shard]
            contents.update(repr((shard, stat.size)).encode() + header)
            place.update(repr((stat.mtime_ns, stat.ctime_ns)).encode())
    checkpoint.recall(tensors)
    place.update(contents.digest())
    return replace(
        checkpoint,
        key=_key(source, place.hexdigest()),
        contents=_key(source, contents.hexdigest()),
        notes=weights.notes,
    )


def _key(source: Source, digest: str) -> str:
    """The commit names a Hub model's files, wherever they are; other ones are named by a hash."""
    label = re.sub(r"[^\w.-]", "_", source.name.replace("/", "--"), flags=re.ASCII)[:80]
    return f"{label}@{source.revision or digest}"


def _fetch_header(source: Source, file: str) -> bytes:
    """A shard's header as it stands there."""
    where = f"{source.place}: {file}"
    size = source.files()[file].size
    again = "Download or copy the file again."
    head = source.read(file, 0, min(size, _FIRST_READ))
    if len(head) < _HEAD.size:
        raise HeaderError(f"{where} is only {plural(len(head), 'byte')} long and holds no tensors.", again)
    is_plausible = len(head) > _HEAD.size and head[_HEAD.size : _HEAD.size + 1] == b"{"
    if not is_plausible and (kind := kind_of(head)):
        what = "not the weights themselves" if "LFS pointer" in kind else f"no safetensors file ({size:,} bytes)"
        raise HeaderError(f"{where} is {kind}, {what}.", advice_on(kind))
    (length,) = _HEAD.unpack_from(head)
    stop = _HEAD.size + length
    if stop > size:
        raise HeaderError(
            f"{where} is cut short or no safetensors file: its header should take {length:,} bytes, "
            f"the whole file has {size:,}.",
            again,
        )
    if length > HEADER_CAP:
        raise HeaderError(
            f"{where} has a header of {length:,} bytes, more than the {HEADER_CAP:,} that are read.",
            NOT_ORDINARY,
        )
    rest = source.read(file, len(head), stop) if stop > len(head) else b""
    header = head[_HEAD.size : stop] + rest
    try:
        check_weight(header)
    except HeavyJsonError as error:
        raise HeaderError(f"{where} has a header that cannot be read: {error}.", NOT_ORDINARY) from error
    return header


def _judged(source: Source, file: str, header: bytes) -> bytes:
    """A header that the safetensors library accepts."""
    size = source.files()[file].size
    try:
        with source.header_file(file, header) as path, safe_open(path, framework="numpy"):
            pass
    except MemoryError as error:
        raise ReadError(
            f"{source.place}: {file} cannot be opened: its {size:,} bytes do not fit into the address space that this "
            "process may use.",
            "Raise that limit (ulimit -v).",
        ) from error
    except (SafetensorError, OSError) as error:
        where = f"{source.place}: {file}"
        again = "Download or copy the file again."
        expected = _HEAD.size + len(header) + _data_length(header)
        if expected > size:
            raise HeaderError(
                f"{where} is cut short: it should have {expected:,} bytes and has {size:,}.", again
            ) from error
        raise HeaderError(f"{where} has a damaged header ({error}).", again) from error
    return header


def _data_length(header: bytes) -> int:
    """Where the data of a header that the library refuses would end, or 0 when that cannot be told."""
    try:
        entries = json.loads(header)
        return max(int(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
        return 0


def _parse_header(file: str, header: bytes) -> list[TensorRef]:
    """The tensors of a header that the library has accepted."""
    base = _HEAD.size + len(header)
    refs = []
    for name, entry in json.loads(header).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            refs.append(TensorRef(name, file, entry["dtype"], tuple(entry["shape"]), base + start, base + end))
    return refs
