"""What the Hub's answers must not do: pass other bytes for the file's, crash the opening, or reach a log."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from svdtui.engine import EngineError, Job, NetworkError, ReadError, Session, State, open_model
from svdtui.engine.store import Store

from .checkpoints import Checkpoint, write_checkpoint
from .hub_faults import ALWAYS, Answer, Changed, Expired
from .hub_reader import HubReader, reading
from .hub_trials import make_impatient

WEIGHTS = "model.safetensors"


@pytest.fixture
def made(tmp_path: Path) -> Checkpoint:
    return write_checkpoint(tmp_path / "m", layers=2, hidden=256, heads=4)


@pytest.fixture
def reader(home: Path, made: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubReader]:
    make_impatient(monkeypatch)
    with reading(home) as user:
        user.hub.add("org/m", made.folder)
        yield user


def test_a_file_that_changes_behind_a_renewed_address_is_noticed(reader: HubReader) -> None:
    source = reader.open().checkpoint.source
    assert source.read(WEIGHTS, 0, 1000)
    reader.hub.faults.append(Changed(file=WEIGHTS, times=ALWAYS))
    time.sleep(1.1)  # an address's signature counts in seconds
    reader.hub.faults.insert(0, Expired(host="storage", file=WEIGHTS))
    with pytest.raises(NetworkError, match="has changed while it was read"):
        source.read(WEIGHTS, 200_000, 201_000)


def config(size: object) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["siblings"][0].update(size=size)


def weights(**fields: object) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["siblings"][1].update(fields)


def extra(name: object) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["siblings"].append({"rfilename": name, "size": 1})


@pytest.mark.parametrize(
    "spoil",
    [
        *(config(-5), weights(size=-5), weights(size=True), weights(size=10**30), weights(size=2**63)),
        *(weights(lfs=[1]), weights(lfs={"sha256": [1], "size": 1, "pointerSize": 1}), extra("\ud800"), extra(5)),
        lambda body: body.update(siblings=5),
        lambda body: body.update(sha=5),
        lambda body: body.update(createdAt="x"),
    ],
)
def test_an_odd_description_is_a_sentence_or_harmless(
    reader: HubReader, made: Checkpoint, spoil: Callable[[dict[str, Any]], None]
) -> None:
    commit = reader.open().revision
    body: dict[str, Any] = {
        "id": "org/m",
        "sha": commit,
        "siblings": [
            {"rfilename": "config.json", "size": (made.folder / "config.json").stat().st_size},
            {"rfilename": WEIGHTS, "size": made.files[0].stat().st_size},
        ],
    }
    spoil(body)
    answer = Answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode(), path="/api/*", times=ALWAYS)
    reader.hub.faults.append(answer)
    try:
        outcome = str(reader.open(revision="main").layers)
    except EngineError as error:
        outcome = str(error)
    assert outcome == "(0, 1)" or outcome.endswith(".")


def test_signed_addresses_do_not_reach_the_logs_of_others(reader: HubReader, caplog: pytest.LogCaptureFixture) -> None:
    names = ("httpx", "httpx2", "httpcore", "httpcore2")
    with caplog.at_level(logging.DEBUG):
        before = [logging.getLogger(name).level for name in names]
        reader.spectra(reader.open(), "0.0")
        until = time.monotonic() + 5
        while [logging.getLogger(name).level for name in names] != before:  # a connection's thread is still ending
            assert time.monotonic() < until
            time.sleep(0.01)
    assert reader.hub.count(host="storage") >= 2
    assert "Signature" not in caplog.text
    assert reader.hub.storage not in caplog.text


def test_results_are_the_same_by_name_and_by_snapshot(reader: HubReader) -> None:
    folder = Path(
        huggingface_hub.snapshot_download("org/m", cache_dir=reader.access.cache_dir, endpoint=reader.access.endpoint)
    )
    by_name, by_path, job = reader.open(), open_model(folder), Job(0, "heads")
    stores = [Store(model, "gram64", reader.cache_dir) for model in (by_name, by_path)]
    reader.spectra(by_name, 0)
    assert all(store.load(job) for store in stores)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).write_bytes(content)  # no longer what the Hub gave, for all that is known
    for replaced in (reader.open(), open_model(folder)):
        assert Store(replaced, "gram64", reader.cache_dir).load(job) is None


def test_a_missing_temporary_folder_is_told_as_that(reader: HubReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(reader.cache_dir / "nowhere"))
    with pytest.raises(ReadError, match="TMPDIR"):
        reader.open()
    monkeypatch.setattr("tempfile.tempdir", None)
    model = reader.open()
    monkeypatch.setattr("tempfile.tempdir", str(reader.cache_dir / "nowhere"))
    with pytest.raises(ReadError, match="TMPDIR"):
        reader.spectra(model, "0.gate_proj")


async def test_a_matrix_that_the_worker_calls_too_large_is_held(reader: HubReader) -> None:
    model = reader.open()
    session = Session(model, cache_dir=reader.cache_dir)
    job = Job(0, "gate_proj")
    session._running = job
    session._handle({"event": "too_large", "job": str(job)})
    assert session.is_held(job)
    assert session.state(job) is State.ABSENT


async def test_a_header_that_contradicts_the_index_fails_the_job(reader: HubReader, tmp_path: Path) -> None:
    sharded = write_checkpoint(tmp_path / "sharded", layers=2, shards=2)
    reader.hub.add("org/sharded", sharded.folder)
    session = Session(reader.open("org/sharded"), cache_dir=reader.cache_dir)
    job = Job(0, "heads")
    session._running = job
    session._handle({"event": "header", "file": sharded.files[0].name, "data": "e30="})  # {}
    assert session.state(job) is State.FAILED
    failure = session.failure(job)
    assert failure is not None
    assert "the index says" in failure.message
