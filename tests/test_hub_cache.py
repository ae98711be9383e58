"""What is kept of Hub models on this machine, by svdtui and by other tools: used where it is whole, and offline."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download, try_to_load_from_cache

from svdtui.engine import (
    HEADS,
    AccessError,
    Address,
    Analysis,
    ChoiceError,
    EngineError,
    HubName,
    Job,
    Model,
    ModelNotFoundError,
    NetworkError,
    OfflineError,
    ReadError,
    Session,
    ShardIndexError,
    State,
    download,
    metrics_csv,
    open_model,
)
from svdtui.engine.hub_records import HubRecords
from svdtui.engine.store import Store
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_faults import ALWAYS, Answer, CaptivePortal, Drop, Fault, ServerError
from tests.hub_reader import HubReader, equal, local_spectra, reading
from tests.hub_trials import make_impatient
from tests.terminal import Terminal
from tests.test_session import until

SHARDS = [f"model-0000{number}-of-00005.safetensors" for number in range(1, 6)]
"""Layer 0 lies in the first one, layer 1 in the second (Q) and the third, layer 2 in the fourth."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    made = write_checkpoint(tmp_path_factory.mktemp("made") / "m", layers=3, hidden=128, shards=5)
    names = [f"model.layers.{layer}.self_attn.{matrix}_proj.weight" for layer in range(3) for matrix in "qk"]
    assert [SHARDS.index(made.weight_map[name]) for name in names] == [0, 0, 1, 2, 3, 3]
    return made


@pytest.fixture
def reader(home: Path) -> Iterator[HubReader]:
    with reading(home) as reader:
        yield reader


def fetched(reader: HubReader, file: str, repo_id: str = "org/m") -> Path:
    """A file that another tool has downloaded."""
    endpoint, cache_dir = reader.access.endpoint, reader.access.cache_dir
    return Path(hf_hub_download(repo_id, file, cache_dir=cache_dir, endpoint=endpoint))


# ---- what other tools have downloaded ----------------------------------------------------------------------------


def test_shards_in_the_local_hub_cache_are_read_from_there(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    for shard in (SHARDS[0], SHARDS[2]):
        fetched(reader, shard)
    reader.hub.forget()
    model = reader.open()
    assert model.is_remote
    assert model.remote_bytes(Job(0, HEADS)) == 0
    assert model.remote_bytes(Job(1, HEADS)) is None
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
    assert reader.hub.count(host="storage") == 0
    assert equal(reader.spectra(model, 1), local_spectra(made.folder, 1))
    assert model.remote_bytes(Job(1, HEADS)) == 128 * 128 * 2
    assert {request.file for request in reader.hub.requests if request.host == "storage"} == {SHARDS[1]}
    assert equal(reader.spectra(model, ""), local_spectra(made.folder, ""))


@pytest.mark.parametrize("change", ["cut short", "longer", "gone", "empty"])
def test_a_file_in_the_local_hub_cache_that_is_not_whole_is_not_believed(
    reader: HubReader, made: Checkpoint, change: str
) -> None:
    reader.hub.add("org/m", made.folder)
    for file in (SHARDS[0], "config.json"):
        path = fetched(reader, file).resolve()
        match change:
            case "cut short":
                os.truncate(path, path.stat().st_size - 1)
            case "longer":
                os.truncate(path, path.stat().st_size + 1)
            case "gone":
                path.unlink()
            case "empty":
                os.truncate(path, 0)
    model = reader.open()
    assert model.remote_bytes(Job(0, HEADS)) != 0
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
    assert model.heads == 4


def test_offline_a_snapshot_of_another_tool_is_enough(reader: HubReader, made: Checkpoint) -> None:
    commit = reader.hub.add("org/m", made.folder)
    snapshot_download("org/m", cache_dir=reader.access.cache_dir, endpoint=reader.access.endpoint)
    reader.hub.forget()
    for name in ("org/m", "org/m@main", f"org/m@{commit}"):
        model = reader.open(name, offline=True)
        assert model.revision == commit
        assert not model.is_remote
        assert equal(reader.spectra(model, ""), local_spectra(made.folder, ""))
    assert reader.hub.count() == 0


def test_offline_a_config_that_another_tool_has_read_is_not_enough(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    fetched(reader, "config.json")
    with pytest.raises(OfflineError, match="org/m is not in the local Hub cache, and svdtui is offline"):
        reader.open(offline=True)
    fetched(reader, "model.safetensors.index.json")
    with pytest.raises(OfflineError, match="org/m is not in the local Hub cache, and svdtui is offline"):
        reader.open(offline=True)
    assert reader.open().layers == (0, 1, 2)


@pytest.fixture
def partly(reader: HubReader, made: Checkpoint) -> HubReader:
    """Another tool has downloaded config, index and the shard of layer 0; svdtui has never seen the model."""
    reader.hub.add("org/m", made.folder)
    for file in ("config.json", "model.safetensors.index.json", SHARDS[0]):
        fetched(reader, file)
    reader.hub.forget()
    return reader


def test_offline_some_shards_of_another_tool_are_enough_for_their_layers(partly: HubReader, made: Checkpoint) -> None:
    model = partly.open(offline=True)
    assert model.layers == (0, 1, 2)
    assert not model.is_remote  # nothing will be read from the Hub
    assert equal(partly.spectra(model, 0), local_spectra(made.folder, 0))
    for layer, shard in ((1, SHARDS[1]), (2, SHARDS[3])):
        with pytest.raises(OfflineError, match=f"{shard} of org/m is not in the local Hub cache"):
            partly.spectra(model, layer)
        assert not model.is_known(Job(layer, HEADS))
    assert partly.hub.count() == 0
    assert HubRecords(partly.cache_dir, "org/m", model.revision).files() is None  # nobody has told their sizes
    online = partly.open()
    assert equal(partly.spectra(online, 1), local_spectra(made.folder, 1))
    assert equal(partly.spectra(partly.open(offline=True), 1), local_spectra(made.folder, 1))


async def test_offline_the_worker_opens_some_shards_as_the_screen_does(
    partly: HubReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in partly.hub.environ.items():
        monkeypatch.setenv(name, value)
    model = partly.open(offline=True)
    session = Session(model, cache_dir=partly.cache_dir, device="cpu", prefetch=False, offline=True)
    try:
        await session.start()
        session.want(Address(0))
        await until(lambda: session.state(Job(0, HEADS)) is State.CACHED)
        session.want(Address(2))
        await until(lambda: session.state(Job(2, HEADS)) is State.FAILED)
        failure = session.failure(Job(2, HEADS))
        assert failure is not None
        assert failure.title == OfflineError.title
    finally:
        await session.close()
    assert partly.hub.count() == 0


def test_when_the_hub_is_down_some_shards_of_another_tool_are_for_offline(
    partly: HubReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_impatient(monkeypatch)
    partly.hub.refuse()
    with pytest.raises(NetworkError, match="--offline opens what is on this machine"):
        partly.open()
    assert partly.open(offline=True).layers == (0, 1, 2)


@pytest.mark.parametrize("index", ["[", "[]", "{}", '{"weight_map": 5}', '{"weight_map": {"a": ["b"]}}'])
def test_offline_an_index_that_is_none_ends_in_a_sentence(partly: HubReader, index: str) -> None:
    path = fetched(partly, "model.safetensors.index.json").resolve()
    path.write_text(index)
    with pytest.raises(EngineError, match=r"model\.safetensors\.index\.json"):
        partly.open(offline=True)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/x.safetensors", "config.json", "sub/x.safetensors"])
def test_offline_an_index_that_leads_elsewhere_is_refused(partly: HubReader, made: Checkpoint, shard: str) -> None:
    path = fetched(partly, "model.safetensors.index.json").resolve()
    path.write_text(json.dumps({"weight_map": made.weight_map | {"model.norm.weight": shard}}))
    with pytest.raises(ShardIndexError, match="not the name of a"):
        partly.open(offline=True)


# ---- without the network -----------------------------------------------------------------------------------------


def test_two_models_one_after_the_other_offline(reader: HubReader, made: Checkpoint, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", seed=1)
    reader.hub.add("org/m", made.folder)
    reader.hub.add("org/other", other.folder)
    for name, layer in (("org/m", 0), ("org/other", 1)):
        reader.spectra(reader.open(name), layer)
    reader.hub.forget()
    for _ in range(2):
        model = reader.open(offline=True)
        assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
        with pytest.raises(OfflineError, match=f"{SHARDS[1]} of org/m is not in the local Hub cache"):
            reader.spectra(model, 1)
        assert model.is_known(Job(0, HEADS))
        assert not model.is_known(Job(1, HEADS))
        model = reader.open("org/other", offline=True)
        assert equal(reader.spectra(model, 1), local_spectra(other.folder, 1))
        with pytest.raises(OfflineError, match=r"model\.safetensors of org/other is not in the local Hub cache"):
            reader.spectra(model, 0)
    assert reader.hub.count() == 0


def csv_of(reader: HubReader, model: Model, layer: int) -> str:
    with Analysis(model, device="cpu", cache_dir=reader.cache_dir) as analysis:
        return metrics_csv(analysis.view(layer))


@pytest.mark.parametrize("is_up", [False, True])
def test_the_command_line_offline(
    reader: HubReader, made: Checkpoint, run_svdtui: RunSvdtui, tmp_path: Path, is_up: bool
) -> None:
    other = write_checkpoint(tmp_path / "other", seed=1)
    reader.hub.add("org/m", made.folder)
    reader.hub.add("org/other", other.folder)
    truth = {name: csv_of(reader, reader.open(name), 0) for name in ("org/m", "org/other")}
    reader.hub.forget()
    if not is_up:
        reader.hub.refuse()
    csv = ("--csv", "-", "--layer", 0, "--device", "cpu")
    one = run_svdtui("org/m", *map(str, csv), "--offline", env=reader.hub.environ)
    assert (one.returncode, one.stdout, one.stderr) == (0, truth["org/m"], "")
    two = run_svdtui("org/other", *map(str, csv), env=reader.hub.environ | {"HF_HUB_OFFLINE": "1"})
    assert (two.returncode, two.stdout, two.stderr) == (0, truth["org/other"], "")
    assert reader.hub.count() == 0


@pytest.mark.parametrize("environ", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_the_command_line_announces_no_bytes_that_it_will_not_read(
    reader: HubReader, made: Checkpoint, run_svdtui: RunSvdtui, environ: dict[str, str]
) -> None:
    reader.hub.add("org/m", made.folder)
    model = reader.open()
    assert list(model.prepare([Job(0, HEADS)]))  # so that its size is known
    options = () if environ else ("--offline",)
    done = run_svdtui("org/m", "--csv", "-", "--layer", "0", *options, env=reader.hub.environ | environ)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"{SHARDS[0]} of org/m is not in the local Hub cache" in line


def test_the_command_line_does_not_promise_to_read_from_a_hub_that_is_down(
    reader: HubReader, made: Checkpoint, run_svdtui: RunSvdtui
) -> None:
    reader.hub.add("org/m", made.folder)
    assert list(reader.open().prepare([Job(0, HEADS)]))
    reader.hub.faults += [Answer(418, path="/api/models/*"), Answer(404, host="storage")]
    done = run_svdtui("org/m", "--csv", "-", "--layer", "0", env=reader.hub.environ)
    assert done.returncode == 1
    assert "will be read from the Hub" not in done.stderr
    assert " kB are not on this machine." in done.stderr


def test_offline_without_a_cached_copy(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    reader.open()
    reader.hub.forget()
    for name in ("org/none", "org/m@v1", f"org/m@{'0' * 40}"):
        with pytest.raises(OfflineError, match=f"{name} is not in the local Hub cache, and svdtui is offline"):
            reader.open(name, offline=True)
    assert reader.hub.count() == 0


@pytest.mark.parametrize(
    "fault", [ServerError(503, times=ALWAYS), CaptivePortal(times=ALWAYS), Drop(times=ALWAYS), None]
)
def test_a_hub_that_cannot_be_reached_costs_one_try_where_a_commit_is_known(
    reader: HubReader, made: Checkpoint, fault: Fault | None
) -> None:
    commit = reader.hub.add("org/m", made.folder)
    reader.spectra(reader.open(), 0)
    reader.hub.forget()
    if fault is None:
        reader.hub.refuse()
    else:
        reader.hub.faults.append(fault)
    model = reader.open()
    assert reader.hub.count() == (0 if fault is None else 1)
    assert "127.0.0.1" in model.notice
    assert f"Shown is commit {commit[:7]}, as far as it is on this machine." in model.notice
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
    reader.hub.faults.clear()
    reader.hub.accept()
    assert equal(reader.spectra(model, 1), local_spectra(made.folder, 1))  # what is not there is read once it can be


def test_a_model_that_may_not_be_read_any_more_is_not_shown_from_the_cache(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    reader.open()
    reader.hub.add("org/m", made.folder, private=True)
    with pytest.raises(ModelNotFoundError, match="no model org/m on 127"):
        reader.open()


# ---- --download --------------------------------------------------------------------------------------------------


def test_a_download_is_used_by_everything_after_it(reader: HubReader, made: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "unused.safetensors").write_bytes(b"not in the index")
    commit = reader.hub.add("org/m", folder)
    reader.hub.add("org/m", write_checkpoint(tmp_path / "newer", seed=1).folder, branches={"v1": commit})
    model = reader.open("org/m@v1")
    reader.spectra(model, 0)
    before = Store(model, "gram64", reader.cache_dir).path(Job(0, HEADS)).stat().st_mtime_ns

    download(HubName("org/m", "v1"), cache_dir=reader.cache_dir, access=reader.access)
    reader.hub.forget()
    for name in ("org/m@v1", f"org/m@{commit}"):
        model = reader.open(name, offline=True)
        assert not model.is_remote
        assert equal(reader.spectra(model, ""), local_spectra(made.folder, ""))
    assert reader.hub.count() == 0
    assert (
        Store(model, "gram64", reader.cache_dir).path(Job(0, HEADS)).stat().st_mtime_ns == before
    )  # used, not made anew
    here = Path(str(reader.access.cache_dir), "models--org--m", "snapshots", commit)
    assert {path.name for path in here.iterdir()} == {*SHARDS, "config.json", "model.safetensors.index.json"}


def test_results_of_a_download_are_used_when_it_has_been_removed(reader: HubReader, made: Checkpoint) -> None:
    reader.hub.add("org/m", made.folder)
    download(HubName("org/m"), cache_dir=reader.cache_dir, access=reader.access)
    reader.spectra(reader.open(), 0)
    for file in Path(str(reader.access.cache_dir)).rglob("*.safetensors"):
        file.resolve().unlink()
        file.unlink()
    reader.hub.forget()
    model = reader.open()
    assert model.is_remote
    assert equal(reader.spectra(model, 0), local_spectra(made.folder, 0))
    assert reader.hub.count(host="storage") == 0


def test_a_download_that_fails_says_why(reader: HubReader, made: Checkpoint, tmp_path: Path) -> None:
    reader.hub.add("org/gated", made.folder, gated=True)
    with pytest.raises(AccessError, match="org/gated is gated"):
        download(HubName("org/gated"), cache_dir=reader.cache_dir, access=reader.access)
    reader.hub.add("org/m", made.folder)
    (tmp_path / "file").write_text("in the way")
    nowhere = replace(reader.access, cache_dir=str(tmp_path / "file"))
    with pytest.raises(ReadError, match="The local Hub cache cannot be written"):
        download(HubName("org/m"), cache_dir=reader.cache_dir, access=nowhere)


def test_nothing_is_downloaded_offline(
    reader: HubReader, made: Checkpoint, run_svdtui: RunSvdtui, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.hub.add("org/m", made.folder)
    reader.open()
    reader.hub.forget()
    done = run_svdtui(
        "org/m", "--download", "--csv", "-", "--layer", "0", env=reader.hub.environ | {"HF_HUB_OFFLINE": "1"}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("svdtui: A download needs the network, and HF_HUB_OFFLINE is set. Unset it")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ChoiceError, match="HF_HUB_OFFLINE is set"):
        download(HubName("org/m"), cache_dir=reader.cache_dir, access=reader.access)
    assert reader.hub.count() == 0


def test_a_download_that_is_cut_off_says_that_the_same_command_goes_on(
    reader: HubReader, made: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_impatient(monkeypatch)
    reader.hub.add("org/m", made.folder)
    reader.hub.faults.append(ServerError(503, host="storage", file=SHARDS[4], times=ALWAYS))
    with pytest.raises(NetworkError, match=r"503.*the same command goes on there") as raised:
        download(HubName("org/m"), cache_dir=reader.cache_dir, access=reader.access)
    assert "--offline" not in str(raised.value)
    reader.hub.faults.clear()
    for shard in SHARDS[:4]:
        assert isinstance(try_to_load_from_cache("org/m", shard, cache_dir=reader.access.cache_dir), str)
    reader.hub.forget()
    download(HubName("org/m"), cache_dir=reader.cache_dir, access=reader.access)
    assert {request.file for request in reader.hub.requests if request.host == "storage"} == {SHARDS[4]}


def test_a_disk_that_is_full_is_told_by_one_sentence(
    reader: HubReader, made: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.hub.add("org/m", made.folder)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(free=1)
    )  # the library warns; here that fails
    download(HubName("org/m"), cache_dir=reader.cache_dir, access=reader.access)
    assert not reader.open(offline=True).is_remote


def test_the_progress_bars_of_a_download_that_fails_are_taken_away(
    reader: HubReader, made: Checkpoint, svdtui: list[str]
) -> None:
    reader.hub.add("org/m", made.folder)
    reader.hub.bandwidth = 1e6
    reader.hub.faults.append(Answer(403, file=SHARDS[4], host="storage", method="GET", times=ALWAYS))
    environ = {**os.environ, **reader.hub.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
    with Terminal([*svdtui, "org/m", "--download", "--csv", "-"], size=(100, 20), env=environ) as terminal:
        terminal.wait_for("Fetching")
        assert terminal.wait_exit() == 1
        assert terminal.text().strip().startswith("svdtui: localhost refuses to let you read org/m (403)")
        assert "Fetching" not in terminal.text()
        assert "it/s" not in terminal.text()


def test_the_command_line_downloads_first(reader: HubReader, made: Checkpoint, run_svdtui: RunSvdtui) -> None:
    reader.hub.add("org/m", made.folder)
    done = run_svdtui("org/m", "--download", "--csv", "-", "--layer", "0", "--device", "cpu", env=reader.hub.environ)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    model = reader.open(offline=True)
    assert not model.is_remote
    assert done.stdout == csv_of(reader, model, 0)


# ---- caches that do not work -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["hub", "svdtui", "both"])
def test_without_a_cache_that_can_be_written_everything_works_but_nothing_is_kept(
    reader: HubReader, made: Checkpoint, tmp_path: Path, which: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    access, cache_dir = reader.access, reader.cache_dir
    if which in {"hub", "both"}:
        access = replace(access, cache_dir=str(tmp_path / "file" / "hub"))
    if which in {"svdtui", "both"}:
        cache_dir = tmp_path / "file" / "svdtui"
    commit = reader.hub.add("org/m", made.folder)
    for revision in ("main", commit):
        model = open_model(f"org/m@{revision}", access=access, cache_dir=cache_dir)
        with Analysis(model, device="cpu", cache_dir=cache_dir) as analysis:
            rows = analysis.view(1).rows
            assert ("Results cannot be kept" in analysis.notice) == (which != "hub")
        found = {str(row.info.address): row.spectrum for row in rows if row.spectrum is not None}
        assert equal(found, local_spectra(made.folder, 1))
    if which == "hub":  # the results are there
        with pytest.raises(OfflineError):
            open_model("org/m", offline=True, access=access, cache_dir=cache_dir)
