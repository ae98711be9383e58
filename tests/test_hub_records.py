"""What svdtui itself keeps of Hub models: a damaged record counts as none, and costs a request."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svdtui.engine import HEADS, Job, OfflineError
from svdtui.engine.hub_records import HubRecords
from svdtui.engine.ranges import RemoteFile
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.hub_reader import HubReader, equal, local_spectra, reading

FILES = {"config.json": RemoteFile(123), "model.safetensors": RemoteFile(456_789, "a" * 64)}
HEADER = b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_a_record_that_is_damaged_anywhere_is_ignored(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        records = HubRecords(Path(name), "org/m", "0" * 40)
        records.keep_files(FILES)
        records.keep_header("model.safetensors", HEADER)
        assert (records.files(), records.header("model.safetensors")) == (FILES, HEADER)
        path = data.draw(st.sampled_from(sorted(path for path in Path(name).rglob("*") if path.is_file())))
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = data.draw(
            st.sampled_from(
                [
                    whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :],
                    whole[:at],
                    whole[at + 1 :],
                    whole[:at] + whole[at + 1 :],
                    whole + whole[at:],
                    bytes(len(whole)),
                ]
            )
        )
        path.write_bytes(damaged)
        is_list = path.name == "files.json"
        assert records.files() == (None if is_list else FILES)
        assert records.header("model.safetensors") == (HEADER if is_list else None)


def test_a_record_of_another_model_commit_or_file_is_ignored(tmp_path: Path) -> None:
    records = HubRecords(tmp_path, "org/m", "0" * 40)
    records.keep_files(FILES)
    records.keep_header("model.safetensors", HEADER)
    (folder,) = (tmp_path / "hub" / "v1").iterdir()
    for repo_id, commit in (("org/n", "0" * 40), ("org/m", "1" * 40)):
        other = HubRecords(tmp_path, repo_id, commit)
        other.keep_files({})
        for path in folder.iterdir():
            shutil.copy(path, tmp_path / "hub" / "v1" / f"{repo_id.replace('/', '--')}@{commit}")
        assert other.files() is None
        assert other.header("model.safetensors") is None
    shutil.copy(folder / "model.safetensors.header", folder / "other.safetensors.header")
    assert records.header("other.safetensors") is None


@pytest.mark.parametrize(
    "files",
    [
        {"../x": [1, None]},
        {"a/b": [1, None]},
        {"x": [-1, None]},
        {"x": [True, None]},
        {"x": ["1", None]},
        {"x": [1]},
        [],
        3,
    ],
)
def test_a_list_of_files_that_says_nonsense_is_ignored(tmp_path: Path, files: object) -> None:
    records = HubRecords(tmp_path, "org/m", "0" * 40)
    records._save("files.json", json.dumps(files).encode())
    assert records.files() is None


SHARD = "model-00001-of-00002.safetensors"
"""Layer 0 is in it."""


@pytest.fixture
def made(tmp_path: Path) -> Checkpoint:
    return write_checkpoint(tmp_path / "m", shards=2)


@pytest.fixture
def reader(home: Path) -> Iterator[HubReader]:
    with reading(home) as reader:
        yield reader


def test_a_kept_header_that_is_no_header_is_read_again(reader: HubReader, made: Checkpoint) -> None:
    commit = reader.hub.add("org/m", made.folder)
    records = HubRecords(reader.cache_dir, "org/m", commit)
    records.keep_header(SHARD, b"no header")
    model = reader.open()
    assert not model.is_known(Job(0, HEADS))
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
    header = records.header(SHARD)
    assert header is not None
    assert header.startswith(b'{"')


def test_without_records_the_hub_is_asked_again(reader: HubReader, made: Checkpoint) -> None:
    commit = reader.hub.add("org/m", made.folder)
    reader.spectra(reader.open(), 0)
    for path in (reader.cache_dir / "hub").rglob("*.*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    reader.hub.forget()
    with pytest.raises(OfflineError):
        reader.open(offline=True)
    model = reader.open(f"org/m@{commit}")
    assert reader.hub.count() == 1
    assert not model.is_known(Job(0, HEADS))
