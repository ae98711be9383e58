"""Folders as others leave them: Hub caches, hidden files, indexes of other formats, files that are something else."""

import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from svdtui.engine import EngineError, HeaderError, ModelNotFoundError, ShardIndexError, open_model
from svdtui.engine.notes import notes_on
from tests.checkpoints import write_checkpoint, write_index
from tests.conftest import RunSvdtui

COMMIT, OTHER = "1" * 40, "2" * 40


def snapshot(cache: Path, commit: str = COMMIT, seed: int = 0, **options: object) -> Path:
    folder = cache / "models--org--name" / "snapshots" / commit
    return write_checkpoint(folder, layers=1, seed=seed, **options).folder  # type: ignore[arg-type]


def refer(cache: Path, commit: str) -> None:
    (cache / "models--org--name" / "refs").mkdir(parents=True, exist_ok=True)
    (cache / "models--org--name" / "refs" / "main").write_text(commit)


# ---- Hub caches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "snapshots"])
def test_a_models_folder_in_a_hub_cache_opens_as_its_snapshot(tmp_path: Path, below: str) -> None:
    there = snapshot(tmp_path)
    snapshot(tmp_path, OTHER, seed=1)
    refer(tmp_path, COMMIT)
    os.utime(there, (1, 1))  # main is it, not the newest
    model = open_model(tmp_path / "models--org--name" / below)
    assert (model.name, model.revision, model.location) == ("org/name", COMMIT, str(there))
    assert open_model(model.location).key == model.key


def test_a_link_to_a_models_folder_in_a_hub_cache_opens_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = snapshot(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "models--org--name")
    monkeypatch.chdir(there.parent)
    for path in (tmp_path / "link", Path(".."), there / ".." / ".."):
        assert (open_model(path).name, open_model(path).location) == ("org/name", str(there))


def test_a_snapshot_whose_weights_were_not_downloaded_says_how_to_get_them(tmp_path: Path) -> None:
    there = snapshot(tmp_path)
    (there / "model.safetensors").rename(tmp_path / "0123456789abcdef")
    (there / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(ModelNotFoundError, match=r"were not downloaded: do so, or give org/name to read it"):
        open_model(tmp_path / "models--org--name")
    with pytest.raises(ModelNotFoundError, match=r"looks like a safetensors file, but its name does not end in"):
        open_model(tmp_path / "0123456789abcdef")  # as in the cache's `blobs`


@pytest.mark.parametrize("main", [None, "3" * 40, "", "\xff"])
def test_without_a_main_branch_the_newest_snapshot_opens(tmp_path: Path, main: str | None) -> None:
    os.utime(snapshot(tmp_path), (1, 1))
    there = snapshot(tmp_path, OTHER, seed=1)
    if main is not None:
        refer(tmp_path, main)
    assert open_model(tmp_path / "models--org--name").location == str(there)


def test_a_snapshot_with_weights_comes_before_one_of_a_config(tmp_path: Path) -> None:
    there = snapshot(tmp_path)
    (snapshot(tmp_path, OTHER, seed=1) / "model.safetensors").unlink()
    refer(tmp_path, OTHER)
    assert open_model(tmp_path / "models--org--name").location == str(there)


def test_a_hub_cache_without_a_snapshot_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "models--org--name" / "blobs").mkdir(parents=True)
    with pytest.raises(ModelNotFoundError, match=r"holds no snapshot of it\..*give org/name"):
        open_model(tmp_path / "models--org--name")


def test_a_hub_cache_names_its_models(tmp_path: Path) -> None:
    snapshot(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"is a Hub cache, not a model\. Give one of its models: org/name\."):
        open_model(tmp_path)


def test_a_snapshot_without_a_shard_names_what_opens_the_rest(tmp_path: Path) -> None:
    (snapshot(tmp_path, shards=2) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ShardIndexError, match=rf"org/name@{COMMIT[:7]} with --offline"):
        open_model(tmp_path / "models--org--name")


# ---- hidden files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", ["._model.safetensors", ".model.safetensors", "._model.safetensors.index.json"])
def test_hidden_files_are_not_there(tmp_path: Path, hidden: str) -> None:
    """macOS writes `._NAME` beside files on other file systems."""
    made = write_checkpoint(tmp_path / "m", layers=1)
    made.files[0].rename(made.folder / "weights.safetensors")
    (made.folder / hidden).write_bytes(b"\x00\x05\x16\x07" + bytes(200))
    assert open_model(made.folder).layers == (0,)


def test_nothing_but_hidden_files_is_nothing(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1)
    made.files[0].rename(made.folder / "._model.safetensors")
    with pytest.raises(ModelNotFoundError, match=r"holds no \.safetensors file"):
        open_model(made.folder)


# ---- names in an index --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("./model.safetensors", "write model.safetensors there, without ./ before it"),
        ("pytorch_model-00001-of-00002.bin", "an index of pickled weights"),
        ("./pytorch_model.bin", "an index of pickled weights"),
        ("consolidated.00.pth", "an index of pickled weights"),
        ("weights/model.safetensors", "in folders below are not read: move model.safetensors up"),
        ("../model.safetensors", "Do not trust this model"),
        ("./../model.safetensors", "Do not trust this model"),
        ("/etc/model.safetensors", "Do not trust this model"),
    ],
)
def test_a_name_in_an_index_gets_advice_that_fits(tmp_path: Path, shard: str, words: str) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1)
    write_index(made.folder, dict.fromkeys(made.tensors, shard) | {"lm_head.weight": "model.safetensors"})
    with pytest.raises(ShardIndexError) as caught:
        open_model(made.folder)
    assert words in str(caught.value)
    assert ("trust" in str(caught.value)) == ("trust" in words)


# ---- files that are something else --------------------------------------------------------------------------------


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02")


KINDS: dict[str, Callable[[Path], object]] = {
    "a GGUF file": lambda path: path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 5) + bytes(100)),
    "a zip archive": a_zip,
    "PyTorch's pickled weights": lambda path: torch.save({"w": torch.ones(2, 2)}, path),
    "PyTorch's older weights": lambda path: torch.save(
        {"w": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=False
    ),
    "a NumPy array": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00" + bytes(120)),
    "an HDF5 file": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "an ONNX file": lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(100)),
    "a web page": lambda path: path.write_bytes(b"\r\n<!DOCTYPE html>\n<html><body>Log in</body></html>"),
    "an XML document": lambda path: path.write_bytes(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    "JSON text": lambda path: path.write_bytes(b'{"error":"Repository not found"}'),
    "AppleDouble": lambda path: path.write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00" + bytes(100)),
    "a gzip archive": lambda path: path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(100)),
    "a Git LFS pointer": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model.safetensors", "model.dat"])
def test_a_file_is_called_what_it_is(tmp_path: Path, kind: str, name: str) -> None:
    KINDS[kind](tmp_path / name)
    with pytest.raises((HeaderError, ModelNotFoundError)) as caught:
        open_model(tmp_path / name)
    assert kind in str(caught.value)
    if name == "model.safetensors":
        with pytest.raises(HeaderError, match=r"model\.safetensors is"):
            open_model(tmp_path)


def test_a_config_that_is_a_web_page_is_called_one(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1)
    (made.folder / "config.json").write_text("<!doctype html><title>Log in</title>")
    with pytest.raises(EngineError, match=r"config\.json is not valid JSON .* It is a web page\. Download the file"):
        open_model(made.folder)


def test_no_header_is_taken_for_another_kind(tmp_path: Path) -> None:
    """A header of 0x0280 bytes begins as a pickle does, one of 0x1208 as ONNX."""
    for length in (0x0280, 0x0208, 0x1208):
        header = json.dumps({"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).encode().ljust(length)
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + header + bytes(4))
        with pytest.raises(ModelNotFoundError, match="no layer whose names"):
            open_model(tmp_path)
    shutil.rmtree(tmp_path)


# ---- several files with weights -----------------------------------------------------------------------------------


def test_a_single_file_comes_before_an_index_as_in_transformers_and_both_are_told(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    write_checkpoint(tmp_path / "m", layers=2, shards=2, seed=1)
    made = write_checkpoint(tmp_path / "m", layers=2)
    model = open_model(made.folder)
    assert {ref.file for ref in model.checkpoint.tensors.values()} == {"model.safetensors"}
    [note] = notes_on(model)
    assert "model.safetensors is shown, as transformers does" in note
    assert "names 2 other files, 2 of them here" in note
    name = "model.layers.1.self_attn.q_proj.weight"
    judge = AutoModelForCausalLM.from_pretrained(made.folder)
    assert torch.equal(judge.get_parameter(name).data, made.tensors[name].to(judge.dtype))


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"a": "model-00001-of-00009.safetensors", "b": "model-00002-of-00009.safetensors"}, "none of them here"),
        ({"a": "../secret.safetensors", "b": ["no name"]}, "names 1 other file, none of them here"),
        ({}, "which names no shard"),
        ({"a": 5}, "which names no shard"),
    ],
)
def test_a_stale_index_beside_whole_weights_is_told(tmp_path: Path, index: dict[str, str], words: str) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1)
    write_index(made.folder, index)
    model = open_model(made.folder)
    assert model.layers == (0,)
    [note] = notes_on(model)
    assert words in note


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_an_index_that_cannot_be_read_beside_whole_weights_is_told(tmp_path: Path, text: bytes) -> None:
    """`transformers` does not look at it."""
    made = write_checkpoint(tmp_path / "m", layers=1)
    (made.folder / "model.safetensors.index.json").write_bytes(text)
    model = open_model(made.folder)
    assert model.layers == (0,)
    [note] = notes_on(model)
    assert "model.safetensors.index.json is there too, which cannot be read." in note


@pytest.mark.parametrize("shards", [1, 2])
def test_tensors_that_an_index_does_not_name_are_told(tmp_path: Path, shards: int) -> None:
    made = write_checkpoint(tmp_path / "m", layers=2, shards=shards)
    kept = {name: shard for name, shard in made.weight_map.items() if "layers.1." not in name}
    write_index(made.folder, kept)
    model = open_model(made.folder)
    assert model.layers == (0,)
    assert any("The shards hold 9 tensors, such as model.layers.1." in note for note in notes_on(model))


@pytest.mark.parametrize(
    ("shards", "other"), [(1, "model-00001-of-00002.safetensors"), (2, "consolidated.safetensors")]
)
def test_files_that_are_not_shown_are_told(tmp_path: Path, shards: int, other: str) -> None:
    made = write_checkpoint(tmp_path / "m", layers=2, shards=shards)
    shutil.copy(made.files[0], made.folder / other)
    [note] = notes_on(open_model(made.folder))
    assert note == f"Also here, and not shown: {other}. Give a file's path to open it."
    assert not [note for note in notes_on(open_model(made.folder / other)) if "Also here" in note]


def test_the_command_line_says_which_file_is_shown(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=1)
    write_index(made.folder, {"a": "model-00001-of-00009.safetensors"})
    done = run_svdtui(made.folder, "--csv", tmp_path / "out.csv", "--layer", "0")
    assert done.returncode == 0
    assert "names 1 other file, none of them here." in done.stderr
