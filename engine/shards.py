"""Which files of a source hold the weights: the index and the shards that it names, or a single file."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .errors import ConfigError, ModelNotFoundError, ShardIndexError
from .file_kinds import advice_on, kind_of
from .json_weight import HeavyJsonError, parsed
from .source import Source
from .text import plural, printable

JSON_CAP = 50 * 10**6
"""Bytes of the longest config or index that is read. The largest published index has 24 MB."""

CONFIG = "config.json"
INDEX_SUFFIX = ".safetensors.index.json"
_WEIGHTS = "model.safetensors"

NOT_ORDINARY = "This is no ordinary model file; get the model from its publisher."

_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt"})

_OTHER_FORMATS = (*sorted(_PICKLED), ".gguf", ".h5", ".msgpack", ".onnx")


@dataclass(frozen=True, slots=True)
class Weights:
    """The files that hold a checkpoint's weights."""

    shards: tuple[str, ...]
    index: Mapping[str, str] | None = None
    """Tensor name → shard, where an index says so."""
    notes: tuple[str, ...] = ()
    """Sentences on files that hold weights, too, and are not read."""


def find_weights(source: Source) -> Weights:
    """`model.safetensors`, as `transformers` does; else what an index names; else all there are.

    An index that names `model.safetensors` itself is believed. Another one beside it has nothing to say.

    Raises:
        ModelNotFoundError: there are none.
        ShardIndexError: the index names a file that is not there, or a path outside the folder.
        ConfigError: the index is no JSON object.
    """
    files = source.files()
    found = sorted(name for name in files if name.endswith(".safetensors"))
    indexes = sorted(name for name in files if name.endswith(INDEX_SUFFIX))
    name = _WEIGHTS + ".index.json" if _WEIGHTS + ".index.json" in indexes else next(iter(indexes), "")
    if _WEIGHTS in files:
        index, note = _beside_single(source) if name == _WEIGHTS + ".index.json" else (None, "")
        if index is None:
            named = [note] if note else []
            return Weights((_WEIGHTS,), None, (*named, *_not_shown(source, {_WEIGHTS}, known=bool(note))))
        return _by_index(source, name, index)
    if name:
        return _by_index(source, name, _weight_map(source, name))
    if not found:
        others = {suffix for suffix in _OTHER_FORMATS for name in files if name.endswith(suffix)}
        seen = f" It holds {', '.join(sorted(others))} files, which are not read." if others else ""
        hint = _instead(others)
        if source.revision and not source.is_lazy and not others:  # a snapshot in the local Hub cache
            hint = f"Its weights were not downloaded: do so, or give {source.name} to read it from the Hub."
        raise ModelNotFoundError(f"{source.place} holds no .safetensors file.{seen}", hint)
    return Weights(tuple(found))


def _beside_single(source: Source) -> tuple[dict[str, Any] | None, str]:
    """The index beside `model.safetensors` where it speaks of that file; else what is to be said of it."""
    name = _WEIGHTS + ".index.json"
    shown = f"{_WEIGHTS} is shown, as transformers does, though {name}"
    try:
        index = _weight_map(source, name)
    except ShardIndexError:
        return None, f"{shown} is there too, which names no shard."
    except ConfigError:
        return None, f"{shown} is there too, which cannot be read."
    shards = {shard for shard in index.values() if isinstance(shard, str)}
    if _WEIGHTS in shards:
        return index, ""
    if not shards:
        return None, f"{shown} is there too, which names no shard."
    here = sum(shard in source.files() for shard in shards)
    there = f"{here:,} of them here" if here else "none of them here"
    return None, f"{shown} names {plural(len(shards), 'other file')}, {there}."


def _not_shown(source: Source, shown: Collection[str], *, known: bool = False) -> Iterator[str]:
    """A sentence on weight files that are not read; `known` when another one has named shards."""
    others = sorted(name for name in source.files() if name.endswith(".safetensors") and name not in shown)
    if others and not known:
        more = f" and {len(others) - 2:,} more" if len(others) > 2 else ""
        hint = "" if source.is_lazy else " Give a file's path to open it."
        yield f"Also here, and not shown: {', '.join(map(printable, others[:2]))}{more}.{hint}"


def _weight_map(source: Source, name: str) -> dict[str, Any]:
    weight_map = json_object(source, name, read_json_bytes(source, name)).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ShardIndexError(f"{source.place}: {name} has no weight_map.", "Download the index again.")
    return weight_map


def _by_index(source: Source, name: str, weight_map: dict[str, Any]) -> Weights:
    files = source.files()
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_bare(shard):
            raise ShardIndexError(
                f"{source.place}: {name} places the tensor {tensor} in {str(shard)[:200]!r}, "
                "which is not the name of a .safetensors file in this folder.",
                _about_shard(shard),
            )
    shards = sorted(set(weight_map.values()))
    if missing := [shard for shard in shards if shard not in files]:
        raise ShardIndexError(
            f"{source.place}: the shard {missing[0]} is missing ({len(shards) - len(missing)} of "
            f"{plural(len(shards), 'shard')} are there).",
            f"Finish the download, or open {_what_is_there(source)}.",
        )
    return Weights(tuple(shards), weight_map, tuple(_not_shown(source, shards)))


def _instead(others: set[str]) -> str:
    """What to do about a model in other formats."""
    wish = "Give a model with safetensors weights"
    if others & _PICKLED:
        return f"{wish}; pickled formats can run code and are never opened."
    if ".gguf" in others:
        return f"{wish}: GGUF files are made from one, mostly in fewer bits, and its page often names it."
    return f"{wish}."


def _what_is_there(source: Source) -> str:
    """What opens a part of a model."""
    if source.revision and not source.is_lazy:  # a snapshot in the local Hub cache
        return f"{source.name}@{source.revision[:7]} with --offline, which shows the layers that are there"
    return "one of the .safetensors files alone"


def _about_shard(shard: object) -> str:
    """What to do about the name of a shard that is not that of a weight file here."""
    if not isinstance(shard, str):
        return "Do not trust this model; get it from its publisher."
    if PurePosixPath(shard).suffix in _PICKLED:
        return (
            "It is an index of pickled weights, which can run code and are never opened: "
            "give a model with safetensors weights, and their index."
        )
    if shard.startswith("./") and _is_bare(bare := shard.removeprefix("./")):
        return f"Names in an index are bare: write {bare} there, without ./ before it."
    parts = PurePosixPath(shard).parts
    if len(parts) > 1 and ".." not in parts and not shard.startswith("/") and _is_bare(parts[-1]):
        return f"Files in folders below are not read: move {parts[-1]} up, and write its bare name there."
    return "Do not trust this model; get it from its publisher."


def _is_bare(shard: str) -> bool:
    """Whether a shard's name stays inside the folder: no separators, no `..`, the right ending."""
    return shard.endswith(".safetensors") and not set(shard) & set("/\\\0:") and not shard.startswith(".")


def read_json_bytes(source: Source, name: str) -> bytes:
    """A config or an index as it stands there.

    Raises:
        ConfigError: it is longer than `JSON_CAP`.
        ReadError: it cannot be read.
    """
    size = source.files()[name].size
    if size > JSON_CAP:
        raise ConfigError(
            f"{source.place}: {name} is {size:,} bytes long, more than the {JSON_CAP:,} that are read.",
            NOT_ORDINARY,
        )
    return source.read(name, 0, size)


def json_object(source: Source, name: str, data: bytes) -> dict[str, Any]:
    """What a config or an index says.

    Raises:
        ConfigError: it is no JSON object.
    """
    try:
        found = parsed(data)
    except HeavyJsonError as error:
        raise ConfigError(f"{source.place}: {name} cannot be read: {error}.", NOT_ORDINARY) from error
    except (ValueError, RecursionError) as error:
        kind = kind_of(data)
        hint = "Download the file again."
        if kind and kind != "JSON text":
            hint = f"It is {kind}. {advice_on(kind) if 'LFS' in kind else hint}"
        raise ConfigError(f"{source.place}: {name} is not valid JSON ({error}).", hint) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{source.place}: {name} is not a JSON object.", "Download the file again.")
    return found
