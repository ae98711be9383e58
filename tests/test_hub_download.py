"""What `--download` has fetched is what the Hub says it is, or is not kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from svdtui.engine import HubName, ReadError, download
from svdtui.engine.hub_verify import verify
from svdtui.engine.ranges import RemoteFile
from tests import hub_faults as faults
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_reader import HubReader, equal, local_spectra, reading
from tests.hub_trials import assert_sentence

INDEX = "model.safetensors.index.json"
SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("made") / "m", layers=1, shards=2)


@pytest.fixture
def reader(home: Path) -> Iterator[HubReader]:
    with reading(home) as reader:
        yield reader


def fetch(reader: HubReader) -> str:
    return download(HubName("org/m"), cache_dir=reader.cache_dir, access=reader.access)


def cached(reader: HubReader, commit: str, file: str) -> Path:
    return Path(str(reader.access.cache_dir), "models--org--m", "snapshots", commit, file)


def flip(path: Path, place: int) -> None:
    """Change a byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def assert_fetched_again(reader: HubReader, made: Checkpoint, commit: str, file: str) -> None:
    """The damaged file is gone, content and all, and the same call brings it."""
    assert not cached(reader, commit, file).exists()
    assert not cached(reader, commit, file).is_symlink()
    assert fetch(reader) == ""
    assert cached(reader, commit, file).read_bytes() == (made.folder / file).read_bytes()
    assert equal(reader.spectra(reader.open(offline=True), ""), local_spectra(made.folder, ""))


def test_a_file_that_comes_damaged_is_not_kept(reader: HubReader, made: Checkpoint) -> None:
    commit = reader.hub.add("org/m", made.folder)
    reader.hub.faults.append(faults.Changed(file=SHARD, same_etag=True))
    with pytest.raises(ReadError) as raised:
        fetch(reader)
    assert_sentence(raised.value, [f"{SHARD} of org/m is damaged", "The same command fetches it again"])
    assert_fetched_again(reader, made, commit, SHARD)


@pytest.mark.parametrize(("file", "place"), [(SHARD, -1), ("config.json", -5), ("config.json", 0), (INDEX, -5)])
def test_a_file_that_was_damaged_on_the_disk_is_found_out(
    reader: HubReader, made: Checkpoint, file: str, place: int
) -> None:
    commit = reader.hub.add("org/m", made.folder)
    assert fetch(reader) == ""
    flip(cached(reader, commit, file).resolve(), place)
    with pytest.raises(ReadError) as raised:
        fetch(reader)
    assert_sentence(raised.value, [f"{file} of org/m is damaged"])
    assert_fetched_again(reader, made, commit, file)


def test_several_damaged_files_are_told_in_one_sentence(reader: HubReader, made: Checkpoint) -> None:
    commit = reader.hub.add("org/m", made.folder)
    fetch(reader)
    for path in made.files:
        flip(cached(reader, commit, path.name).resolve(), -1)
    with pytest.raises(ReadError, match="is damaged and with it 1 other file: not what the Hub says it is"):
        fetch(reader)
    assert_fetched_again(reader, made, commit, SHARD)


def test_the_command_line_ends_with_a_sentence(reader: HubReader, made: Checkpoint, run_svdtui: RunSvdtui) -> None:
    reader.hub.add("org/m", made.folder)
    reader.hub.faults.append(faults.Changed(file=SHARD, same_etag=True))
    command = ("org/m", "--download", "--csv", "-", "--layer", "0", "--device", "cpu")
    done = run_svdtui(*command, env=reader.hub.environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"svdtui: {SHARD} of org/m is damaged")
    assert len(done.stderr.splitlines()) == 1
    again = run_svdtui(*command, env=reader.hub.environ)
    assert again.returncode == 0, again.stderr


def test_what_no_hash_is_known_of_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"abc")
    paths = {"a.safetensors": tmp_path / "a.safetensors"}
    assert verify("org/m", {"a.safetensors": RemoteFile(3)}, paths, lambda count: None) == ["a.safetensors"]
    with pytest.raises(ReadError, match="is damaged"):
        verify("org/m", {"a.safetensors": RemoteFile(4)}, paths, lambda count: None)
