"""What is believed of a Hub, of other programs and of this machine: files change, answers are odd, disks fill up."""

import asyncio
import errno
import json
import logging
import os
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from huggingface_hub import constants, snapshot_download

from svdtui.engine import (
    HEADS,
    AccessError,
    Address,
    Analysis,
    EngineError,
    Job,
    NetworkError,
    ReadError,
    Session,
    State,
    open_model,
    spool,
    wishes,
)
from svdtui.engine.process import WorkerProcess
from svdtui.engine.results import JobResult
from svdtui.engine.source import Piece
from svdtui.engine.store import Store
from tests import hub_faults as faults
from tests import hub_trials
from tests.checkpoints import Checkpoint, write_checkpoint, write_index
from tests.hub_faults import ALWAYS
from tests.hub_trials import STRANGER, TOKEN, Trial, assert_equal, assert_sentence, has_secrets, heads, make_impatient
from tests.test_session import until

WEIGHTS = "model.safetensors"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
GATE = Job(0, "gate_proj")
GATE_BYTES = 2048 * 128 * 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("made") / "m", hidden=128, intermediate=2048)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Layer 0 lies in the first file, layer 3 in the second."""
    return write_checkpoint(tmp_path_factory.mktemp("made") / "m", layers=4, shards=2)


@pytest.fixture(scope="module")
def truth(made: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> JobResult:
    """What comes out of the local folder."""
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path_factory.mktemp("cache")) as analysis:
        return heads(analysis)


@pytest.fixture
def trial(home: Path, made: Checkpoint, sharded: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    make_impatient(monkeypatch)
    with hub_trials.trial(home) as trial:
        trial.hub.add("org/m", made.folder, gated=True, tokens=[TOKEN])
        trial.hub.add("org/sharded", sharded.folder)
        yield trial


# ---- addresses of files ----------------------------------------------------------------------------------------


def test_a_file_that_changes_after_its_signed_address_was_renewed_is_noticed(trial: Trial, truth: JobResult) -> None:
    with trial.open() as analysis:
        time.sleep(0.002)  # two addresses of one moment are the same
        trial.meet([faults.Expired(host="storage"), faults.Changed(host="storage", times=ALWAYS)])
        with pytest.raises(NetworkError) as raised:
            heads(analysis)
        assert_sentence(raised.value, [WEIGHTS, "has changed while it was read", "Open the model again"])
        trial.hub.faults.clear()
        assert_equal(heads(analysis), truth)
    trial.assert_nothing_leaked(raised.value)


def test_a_hub_that_does_not_say_where_a_file_is_is_asked_once_for_all_connections(trial: Trial) -> None:
    trial.open().close()  # keeps the header
    with trial.open() as analysis:
        trial.hub.forget()
        trial.meet([faults.Stall(method="HEAD", host="hub", times=ALWAYS)])
        apart = [Piece(WEIGHTS, start, memoryview(bytearray(1000))) for start in range(10_000, 1_600_000, 400_000)]
        assert len(apart) == 4
        with pytest.raises(NetworkError) as raised:
            list(analysis.model.checkpoint.source.read_pieces(apart, lambda count: None))
    assert_sentence(raised.value, [WEIGHTS, "5 times in a row"])
    assert trial.hub.count(method="HEAD") == 5
    assert trial.hub.count(host="storage") == 0


def test_storage_that_redirects_once_more_is_followed_without_a_token(trial: Trial, truth: JobResult) -> None:
    trial.meet([faults.Redirect(STRANGER, status=307, host="storage", times=ALWAYS)])
    with trial.open() as analysis:
        assert_equal(heads(analysis), truth)
    read = [request for request in trial.hub.requests if request.file == WEIGHTS]
    assert [request.status for request in read if request.host == "storage"] == [307]
    assert any(request.host == "stranger" and request.status == 206 for request in read)
    assert {request.host for request in read if request.has_token} == {"hub"}
    trial.assert_nothing_leaked()


# ---- what is said ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_a_program_that_logs_does_not_log_signed_addresses(
    trial: Trial, truth: JobResult, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    loggers = [logging.getLogger(name) for name in ("httpx", "httpx2", "httpcore", "httpcore2")]
    caplog.set_level(level)
    for logger in loggers:
        caplog.set_level(level, logger.name)
    before = [logger.level for logger in loggers]
    with trial.open() as analysis:
        assert_equal(heads(analysis), truth)
    deadline = time.monotonic() + 3
    while [logger.level for logger in loggers] != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [logger.level for logger in loggers] == before
    assert trial.hub.count(host="storage") > 1
    assert not has_secrets(caplog.text), caplog.text
    assert not any(record.name.startswith("http") for record in caplog.records)


def test_a_token_file_that_cannot_be_read_is_told_as_that(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "token"
    place.mkdir()
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(place))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    anybody = replace(trial, reader=replace(trial.reader, access=replace(trial.access, token=None)))
    with pytest.raises(AccessError) as raised:
        anybody.open("org/sharded")
    assert_sentence(raised.value, ["stored token", str(place), "cannot be read: Is a directory", "HF_TOKEN"])


# ---- what the API may answer -----------------------------------------------------------------------------------


def put(body: dict[str, Any], **fields: object) -> None:
    body["siblings"][1].update(fields)


ODD: dict[str, Callable[[dict[str, Any]], None] | bytes] = {
    **{f"size {value!r:.12}": partial(put, size=value) for value in (-5, True, 10**30, 5.0, "5")},
    **{f"name {value!r}": partial(put, rfilename=value) for value in ("\ud800.safetensors", "\x1b[2J.safetensors", 5)},
    **{f"lfs {value!r}": partial(put, lfs=value) for value in ([1], {"sha256": [1]}, {"sha256": "0" * 64, "size": 1})},
    **{f"commit {value!r}": partial(dict.update, sha=value) for value in (5, None)},
    **{f"files {value!r}": partial(dict.update, siblings=value) for value in (5, ["a"], None)},
    **{f"bytes {value!r:.9}": value for value in (b"null", b"[1]", b"5", b"[" * 100_000, b"", b"\xff")},
}


def answer(trial: Trial, made: Checkpoint, change: Callable[[dict[str, Any]], None] | bytes) -> None:
    """The API describes the model: truly but for a change, or in other words altogether."""
    config, weights = (made.folder / name for name in ("config.json", WEIGHTS))
    size = weights.stat().st_size
    lfs = {"sha256": sha256(weights.read_bytes()).hexdigest(), "size": size, "pointerSize": 1}
    files: list[dict[str, Any]] = [
        {"rfilename": config.name, "size": config.stat().st_size, "blobId": "x"},
        {"rfilename": WEIGHTS, "size": size, "blobId": "x", "lfs": lfs},
    ]
    body = {"id": "org/m", "sha": trial.hub.add("org/m", made.folder), "siblings": files}
    if not isinstance(change, bytes):
        change(body)
        change = json.dumps(body).encode()
    said = {"Content-Type": "application/json"}
    trial.meet([faults.Answer(200, said, change, path="/api/models/*", times=ALWAYS)])


def test_a_true_answer_of_the_api_is_believed(trial: Trial, made: Checkpoint, truth: JobResult) -> None:
    answer(trial, made, lambda body: None)
    with trial.open() as analysis:
        assert_equal(heads(analysis), truth)


@pytest.mark.parametrize("change", ODD.values(), ids=map(ascii, ODD))
def test_odd_values_in_an_answer_of_the_api_end_in_a_sentence(
    trial: Trial, made: Checkpoint, change: Callable[[dict[str, Any]], None] | bytes
) -> None:
    answer(trial, made, change)
    with pytest.raises(EngineError) as raised:
        trial.open()
    assert_sentence(raised.value, [])
    trial.assert_nothing_leaked(raised.value)


# ---- temporary files -------------------------------------------------------------------------------------------


@contextmanager
def files_end_at(size: int | None) -> Iterator[None]:
    """No file gets longer than that, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; it is not there yet."""
    folder = tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("left", [None, 0, 500_000], ids=["missing", "full", "full after a while"])
def test_a_header_that_finds_no_temporary_file_says_so(
    trial: Trial, truth: JobResult, temporary: Path, left: int | None
) -> None:
    if left is not None:
        temporary.mkdir()
    with pytest.raises(ReadError) as raised, files_end_at(left):
        trial.open()
    assert_sentence(raised.value, ["header", WEIGHTS, "temporary file", "TMPDIR"])
    temporary.mkdir(exist_ok=True)
    assert not list(temporary.iterdir())
    with trial.open() as analysis:
        assert_equal(heads(analysis), truth)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("left", [None, 0, 300_000, GATE_BYTES - 4096, GATE_BYTES - 1])
def test_a_whole_matrix_that_finds_no_room_says_so(trial: Trial, temporary: Path, left: int | None) -> None:
    temporary.mkdir()
    with trial.open() as analysis:
        assert analysis.model.remote_bytes(GATE) == GATE_BYTES
        if left is None:
            temporary.rmdir()
        trial.hub.forget()
        with pytest.raises(ReadError) as raised, files_end_at(left):
            analysis.metrics("0.gate_proj")
        assert_sentence(raised.value, [f"takes {GATE_BYTES:,} bytes", f"file in {temporary}, which", "TMPDIR"])
        assert trial.hub.count() == 0  # it is known before a byte is read
        temporary.mkdir(exist_ok=True)
        assert not list(temporary.iterdir())
        assert analysis.metrics("0.gate_proj")
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_room_cannot_be_taken_in_advance_it_is_looked_for(
    trial: Trial, temporary: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    temporary.mkdir()
    free = [GATE_BYTES - 1]

    def refuse(*_: int) -> None:
        raise OSError(code, "as some network file systems do")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    with trial.open() as analysis:
        trial.hub.forget()
        with pytest.raises(ReadError, match=r"takes 524,288 bytes .* No space left on device"):
            analysis.metrics("0.gate_proj")
        assert trial.hub.count() == 0
        free[0] += 1
        assert analysis.metrics("0.gate_proj")


def test_large_temporary_files_go_to_a_disk_unless_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    monkeypatch.setattr(spool, "_ON_DISK", tmp_path)
    assert spool.spool_folder() == tmp_path
    monkeypatch.setattr(spool, "_ON_DISK", tmp_path / "missing")
    assert spool.spool_folder() == Path("/tmp")
    monkeypatch.setattr(spool, "_ON_DISK", tmp_path)
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert spool.spool_folder() == Path("/tmp")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    assert spool.spool_folder() == tmp_path / "scratch"


# ---- other programs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("computed_by", ["name", "path"])
def test_results_of_a_name_on_the_hub_are_those_of_its_snapshot(
    trial: Trial, made: Checkpoint, truth: JobResult, tmp_path: Path, computed_by: str
) -> None:
    access, cache_dir = trial.access, trial.reader.cache_dir
    folder = Path(snapshot_download("org/m", cache_dir=access.cache_dir, endpoint=access.endpoint, token=access.token))
    opened = {"name": trial.reader.open, "path": lambda: open_model(folder)}
    job = Job(0, HEADS)
    with Analysis(opened[computed_by](), device="cpu", cache_dir=cache_dir) as analysis:
        assert_equal(heads(analysis), truth)
    for model in (opened["name"](), opened["path"]()):
        kept = Store(model, "gram64", cache_dir).load(job)
        assert kept is not None
        assert_equal(kept, truth)

    other = write_checkpoint(tmp_path / "other", hidden=128, intermediate=2048, seed=1).folder / WEIGHTS
    assert other.stat().st_size == (made.folder / WEIGHTS).stat().st_size
    (folder / WEIGHTS).unlink()
    shutil.copy(other, folder / WEIGHTS)
    for model in (opened["name"](), opened["path"]()):
        assert Store(model, "gram64", cache_dir).load(job) is None


@pytest.fixture
async def session(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Session]:
    """Of the model with two files; it is up to the test to start it."""
    for name, value in (trial.hub.environ | {"HF_HUB_DISABLE_TELEMETRY": "1"}).items():
        monkeypatch.setenv(name, value)  # for the worker process
    monkeypatch.setattr(wishes, "LARGE", 1000)
    model = trial.reader.open("org/sharded")
    session = Session(model, cache_dir=trial.reader.cache_dir, device="cpu", prefetch=False)
    yield session
    await session.close()


async def test_a_matrix_that_is_too_large_is_held_when_another_program_keeps_its_header(
    trial: Trial, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = trial.reader.open("org/sharded")
    assert [file for file, _ in other.prepare([GATE])] == SHARDS[:1]
    assert not session.model.is_known(GATE)
    sent: list[str] = []
    send = WorkerProcess.send

    def note(worker: WorkerProcess, message: dict[str, Any]) -> None:
        sent.extend([message["job"]] if "job" in message else [])
        send(worker, message)

    monkeypatch.setattr(WorkerProcess, "send", note)
    trial.hub.forget()
    await session.start()  # its worker finds the header where the other program has kept it
    place = Address(0, matrix="gate_proj")
    session.want(place)
    await until(lambda: sent and session.running is None)
    for _ in range(5):  # as a screen does whenever it is told of a change
        session.want(place)
        await asyncio.sleep(0.05)
    assert sent == [str(GATE)]
    assert session.is_held(GATE)
    assert session.state(GATE) is State.ABSENT
    assert session.model.remote_bytes(GATE) == 96 * 64 * 2
    assert trial.hub.bytes_of() == 0
    session.again(place)
    await until(lambda: session.state(GATE) is State.CACHED)


async def test_a_header_that_contradicts_the_index_concerns_what_it_lacks_and_nothing_else(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    folder = write_checkpoint(tmp_path / "lacking", layers=4, shards=2, drop=[name])
    write_index(folder.folder, folder.weight_map | {name: SHARDS[0]})
    trial.hub.add("org/lacking", folder.folder)
    for variable, value in (trial.hub.environ | {"HF_HUB_DISABLE_TELEMETRY": "1"}).items():
        monkeypatch.setenv(variable, value)  # for the worker process
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, problem: problems.append(problem))
    model = trial.reader.open("org/lacking")
    session = Session(model, cache_dir=trial.reader.cache_dir, device="cpu", prefetch=False)
    try:
        await session.start()
        session.want(Address(0))
        await until(lambda: session.state(Job(0, HEADS)) is State.CACHED, 20)
        assert model.info(Address(0, 0, "q")).problem == f"The index says that {name} is in {SHARDS[0]}, but it is not."
        assert model.info(Address(0, 0, "k")).problem is None
        assert session.failure(Job(0, HEADS)) is None
        assert not problems
    finally:
        await session.close()


async def test_a_failure_of_a_job_that_was_given_up_is_not_believed(made: Checkpoint, tmp_path: Path) -> None:
    session = Session(open_model(made.folder), cache_dir=tmp_path, prefetch=False)
    worker = session._worker
    worker.process = cast(WorkerProcess, SimpleNamespace(send=lambda message: None, kill=lambda: None))
    worker.is_ready = True
    job = Job(0, HEADS)
    session.want(Address(0))
    assert session.cancel() == job
    session._handle(worker, {"event": "failed", "job": str(job), "title": "Network", "message": "m", "hint": ""})
    assert session.state(job) is State.ABSENT
    assert session.failure(job) is None
    assert session.cancelled(job)
    session.stop()
