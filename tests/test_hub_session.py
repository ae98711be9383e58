"""A model on the Hub on screen: the real worker process streams it, and lets go of what nobody wants any more."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download

from svdtui.engine import (
    HEADS,
    Address,
    Event,
    HeaderRead,
    Job,
    Model,
    Noticed,
    Progressed,
    Session,
    SlicesSolved,
    State,
    StateChanged,
    View,
    open_model,
    view,
    wishes,
)
from svdtui.engine import session as session_module
from svdtui.engine.hand import Spare, request_for
from svdtui.engine.process import WorkerProcess
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.hub_faults import ALWAYS, Drop, IgnoreRange, Stall
from tests.hub_messages import Request
from tests.hub_reader import FIRST_READ, HubReader, Spectra, equal, local_spectra, reading
from tests.test_session import until, workers

HEADS_BYTES = 4 * 512 * 512 * 2
GATE_BYTES = 80 * 512 * 2
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
"""Layers 0 and 1 lie in the first shard, 2 and 3 in the second."""

SLOW = 500_000
"""Bytes per second: a layer takes four seconds."""

Start = Callable[..., Awaitable[Session]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("made") / "m"
    made = write_checkpoint(folder, layers=4, hidden=512, kv_heads=4, intermediate=80, vocab=64, shards=2, tied=True)
    names = [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in range(4)]
    assert [made.weight_map[name] for name in names] == [ONE, ONE, TWO, TWO]
    return made


@pytest.fixture
def reader(home: Path, made: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubReader]:
    with reading(home) as reader:
        for name, value in (reader.hub.environ | {"HF_HUB_DISABLE_TELEMETRY": "1"}).items():
            monkeypatch.setenv(name, value)  # for the worker process
        # So long a processor that others use too may keep the worker from answering.
        monkeypatch.setattr(session_module, "_GRACE", 1.0)
        reader.hub.add("org/m", made.folder)
        yield reader


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def start(reader: HubReader, events: list[Event]) -> AsyncIterator[Start]:
    sessions: list[Session] = []

    async def begin(model: Model | None = None, *, is_ready: bool = True, **options: Any) -> Session:
        usual = {"cache_dir": reader.cache_dir, "device": "cpu", "on_event": events.append, "prefetch": False}
        every: dict[str, Any] = usual | options
        session = Session(model or reader.open(), **every)
        sessions.append(session)
        await session.start()
        if is_ready:
            await until(lambda: session.device)
        reader.hub.forget()
        return session

    yield begin
    for session in sessions:
        await session.close()


def spectra(session: Session, place: int | Address) -> Spectra:
    address = place if isinstance(place, Address) else Address(place)
    rows = view(session.model, address, session.result).rows
    return {str(row.info.address): row.spectrum for row in rows if row.spectrum is not None}


def streams(reader: HubReader) -> list[Request]:
    """What the storage is sending."""
    return [request for request in reader.hub.requests if request.host == "storage" and not request.is_done]


async def cached(session: Session, layer: int) -> None:
    """Wait for a layer's heads."""
    await until(lambda: session.state(Job(layer, HEADS)) in {State.CACHED, State.FAILED})
    assert session.failure(Job(layer, HEADS)) is None


async def reading_layer(session: Session, layer: int) -> None:
    """Select a layer, and wait until it is being read."""
    session.want(Address(layer))
    await until(lambda: session.progress is not None and session.progress.bytes_read > 0)
    assert session.running == Job(layer, HEADS)


async def impatient_worker() -> Spare:
    """One that waits a twentieth as long between two tries."""
    code = "from svdtui.engine import hub_errors, worker; hub_errors._BACK_OFF /= 20; worker.main()"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=pipe, stdout=pipe, start_new_session=True, limit=2**26
    )
    return Spare(WorkerProcess(process))


async def test_shapes_come_first_and_results_are_those_of_the_folder(
    reader: HubReader, start: Start, made: Checkpoint, events: list[Event]
) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    job = Job(1, HEADS)
    assert not session.model.info(Address(1, 0, "q")).is_known
    await reading_layer(session, 1)
    assert events.index(StateChanged(job, State.RUNNING)) < events.index(HeaderRead(ONE))
    assert session.model.info(Address(1, 0, "q")).rows == 128
    assert session.model.info(Address(0, matrix="gate_proj")).is_known  # it is in the same shard
    assert not session.model.is_known(Job(2, HEADS))
    assert session.progress is not None
    assert session.progress.bytes_total == HEADS_BYTES == session.model.remote_bytes(job)
    reader.hub.bandwidth = None
    await cached(session, 1)
    assert equal(spectra(session, 1), local_spectra(made.folder, 1))
    assert reader.hub.bytes_of() == FIRST_READ + HEADS_BYTES


async def test_the_head_that_is_looked_at_comes_first_and_is_seen_at_once(
    reader: HubReader, start: Start, made: Checkpoint, events: list[Event]
) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    job = Job(1, HEADS)
    session.want(Address(1, 2))

    def seen() -> View:
        return view(session.model, Address(1, 2), session.seen)

    await until(lambda: len(seen().rows) == 3)
    assert [row.info.matrix for row in seen().rows] == ["q", "k", "v"]  # O's columns lie in all of its rows
    assert seen().missing == 1
    assert reader.hub.bytes_of() < FIRST_READ + HEADS_BYTES / 2
    assert session.state(job) is State.RUNNING
    assert session.result(job) is None
    truth = local_spectra(made.folder, 1)
    assert equal(
        {str(row.info.address): row.spectrum for row in seen().rows if row.spectrum is not None},
        {f"1.2.{matrix}": truth[f"1.2.{matrix}"] for matrix in "qkv"},
    )
    told = frozenset[tuple[str, int]]().union(*(event.slices for event in events if isinstance(event, SlicesSolved)))
    assert {("q", 2), ("k", 2), ("v", 2)} <= told
    assert len(told) < 8
    reader.hub.bandwidth = None
    await cached(session, 1)
    assert session.seen(job) is session.result(job)
    assert equal(spectra(session, 1), truth)
    assert reader.hub.bytes_of() == FIRST_READ + HEADS_BYTES


async def test_what_was_seen_of_a_layer_stays_when_it_is_stopped(reader: HubReader, start: Start) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    job = Job(0, HEADS)
    session.want(Address(0, 1))
    await until(lambda: session.seen(job) is not None)
    assert session.cancel() == job
    stopped = session.seen(job)
    assert stopped
    session.want(Address(2, 1))
    session.want(Address(0, 1))
    assert session.seen(job) is not None
    assert session.result(job) is None
    session.again(Address(0, 1))
    assert session.seen(job) is None  # it begins anew
    await until(lambda: session.seen(job) is not None)
    session.want(Address(2, 1))  # who moves on does not keep it
    await until(lambda: session.state(job) is State.ABSENT)
    assert session.seen(job) is None


async def test_a_part_is_seen_though_another_program_has_kept_the_header(reader: HubReader, start: Start) -> None:
    model, job = reader.open(), Job(1, HEADS)
    for _ in reader.open().prepare([job]):
        pass  # what another program does; our worker finds it, and need not tell
    assert not model.is_known(job)
    reader.hub.bandwidth = SLOW
    session = await start(model)
    session.want(Address(1, 0))
    await until(lambda: session.seen(job) is not None)
    assert session.state(job) is State.RUNNING
    reader.hub.bandwidth = None
    await cached(session, 1)


async def test_what_is_not_understood_fails_and_does_not_run_for_ever(
    reader: HubReader, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    job = Job(0, HEADS)

    def flawed(*_: Any) -> None:
        raise RuntimeError("a flaw")

    with monkeypatch.context() as patch:
        patch.setattr(session, "_take_in", flawed)
        session.want(Address(0, 0))
        await until(lambda: session.state(job) is State.FAILED)
    failure = session.failure(job)
    assert failure
    assert failure.message == "What the compute process said was not understood (RuntimeError)."
    reader.hub.bandwidth = None
    session.again(Address(0, 0))
    await until(lambda: session.state(job) is State.CACHED)
    assert session.failure(job) is None


async def test_slices_are_told_of_to_those_who_ask(reader: HubReader) -> None:
    """Who scans has no use for them, and would have to read them."""
    reader.hub.bandwidth = 4 * SLOW
    told: dict[bool, list[str]] = {}
    for asks in (True, False):
        process = await WorkerProcess.start()
        options: dict[str, Any] = {"solver": "gram64", "device": "cpu", "cache_dir": reader.cache_dir / str(asks)}
        process.send(request_for(reader.open(), **options, offline=False))
        process.send({"job": "0.heads", "most_remote": None, **({"head": None} if asks else {})})
        told[asks] = []
        async for event in process.events():
            told[asks].append(event["event"])
            if event["event"] == "done":
                break
        process.kill()
        await process.ended()
    assert "solved" in told[True]
    assert set(told[False]) - {"beat"} == {"ready", "header", "step", "done"}


async def test_going_elsewhere_drops_a_stream_but_not_the_worker(
    reader: HubReader, start: Start, made: Checkpoint, events: list[Event]
) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    (worker,) = workers()
    await reading_layer(session, 0)
    session.want(Address(3))
    await until(lambda: session.state(Job(0, HEADS)) is State.ABSENT, 1)
    await until(lambda: all(request.file == TWO for request in streams(reader)), 1)
    assert reader.hub.bytes_of(ONE) < FIRST_READ + HEADS_BYTES
    reader.hub.bandwidth = None
    await cached(session, 3)
    assert equal(spectra(session, 3), local_spectra(made.folder, 3))
    assert [process.pid for process in workers()] == [worker.pid]
    assert not session.is_held(Job(0, HEADS))
    assert not any(isinstance(event, Noticed) for event in events)


async def test_what_is_stopped_stays_stopped_until_it_is_asked_for(
    reader: HubReader, start: Start, made: Checkpoint
) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    (worker,) = workers()
    job = Job(0, HEADS)
    await reading_layer(session, 0)
    assert session.cancel() == job
    assert session.state(job) is State.ABSENT
    assert session.running is None
    assert session.progress is None
    assert session.is_held(job)
    assert session.cancelled(job)
    await until(lambda: not streams(reader), 1)
    assert reader.hub.bytes_of() < FIRST_READ + HEADS_BYTES
    reader.hub.forget()
    session.want(Address(0, 3))
    await asyncio.sleep(0.5)
    assert session.state(job) is State.ABSENT
    assert reader.hub.count() == 0
    reader.hub.bandwidth = None
    session.again(Address(0))
    assert not session.cancelled(job)
    await until(lambda: session.state(job) is State.CACHED)
    assert equal(spectra(session, 0), local_spectra(made.folder, 0))
    assert [process.pid for process in workers()] == [worker.pid]


async def test_stopping_empties_the_queue(reader: HubReader, start: Start) -> None:
    reader.hub.bandwidth = SLOW
    session = await start(prefetch=True)
    await reading_layer(session, 1)
    assert session.waiting == 2
    assert session.cancel() == Job(1, HEADS)
    assert session.waiting == 0
    await asyncio.sleep(0.3)
    assert session.running is None
    reader.hub.bandwidth = None
    session.want(Address(2))
    await cached(session, 2)
    assert session.state(Job(1, HEADS)) is State.ABSENT  # not fetched by the way, as a neighbour


async def test_what_waits_for_the_worker_can_be_stopped_too(reader: HubReader, start: Start) -> None:
    session = await start(is_ready=False)
    session.want(Address(1))
    assert session.waiting == 1
    assert session.cancel() is None
    assert session.is_held(Job(1, HEADS))
    await until(lambda: session.device)
    await asyncio.sleep(0.2)
    assert session.running is None
    assert reader.hub.count(host="storage") == 0


async def test_stopping_twice_in_a_row_does_not_end_the_worker(reader: HubReader, start: Start) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    (worker,) = workers()
    await reading_layer(session, 0)
    for pause in (0.95, 0.97, 0.98):
        session.cancel()
        begin = asyncio.get_running_loop().time()
        session.again(Address(0))
        await until(lambda: session.running == Job(0, HEADS))
        await asyncio.sleep(begin + pause - asyncio.get_running_loop().time())
    await asyncio.sleep(1.1)
    assert [process.pid for process in workers()] == [worker.pid]


async def test_a_stream_that_has_stalled_can_be_stopped_at_once(
    reader: HubReader, start: Start, made: Checkpoint
) -> None:
    session = await start()
    (worker,) = workers()
    reader.hub.faults.append(Stall(200_000, file=ONE))
    await reading_layer(session, 0)
    assert session.cancel() == Job(0, HEADS)
    session.want(Address(3))
    await until(lambda: session.state(Job(3, HEADS)) is State.CACHED, 5)
    assert [process.pid for process in workers()] == [worker.pid]
    session.again(Address(0))
    await until(lambda: session.state(Job(0, HEADS)) is State.CACHED, 5)
    assert equal(spectra(session, 0), local_spectra(made.folder, 0))


async def test_browsing_fast_ends_where_it_ends(reader: HubReader, start: Start, made: Checkpoint) -> None:
    reader.hub.bandwidth = 4 * SLOW
    session = await start(prefetch=True)
    (worker,) = workers()
    for step, pause in enumerate([0.0, 0.02, 0.12, 0.3, 0.0, 0.15, 0.06] * 3):
        session.want(Address(step % 4))
        await asyncio.sleep(pause)
    session.want(Address(2))
    reader.hub.bandwidth = None
    for layer in (1, 2, 3):
        await cached(session, layer)
        assert equal(spectra(session, layer), local_spectra(made.folder, layer))
    assert [process.pid for process in workers()] == [worker.pid]


async def test_a_large_whole_matrix_is_read_when_it_is_asked_for(
    reader: HubReader, start: Start, made: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "LARGE", GATE_BYTES - 1)
    session = await start()
    job, place = Job(0, "gate_proj"), Address(0, matrix="gate_proj")
    assert not session.is_held(job)  # nobody knows how large it is
    session.want(place)
    await until(lambda: session.is_held(job))
    await until(lambda: session.state(job) is State.ABSENT)
    assert session.model.remote_bytes(job) == GATE_BYTES
    assert not session.cancelled(job)
    assert session.failure(job) is None
    session.want(place)
    await asyncio.sleep(0.2)
    assert reader.hub.bytes_of() == FIRST_READ
    session.want(Address(0))
    await cached(session, 0)  # heads are never too large
    session.again(place)
    await until(lambda: session.state(job) is State.CACHED)
    assert equal(spectra(session, place), local_spectra(made.folder, "0.gate_proj"))
    assert reader.hub.bytes_of() == FIRST_READ + HEADS_BYTES + GATE_BYTES


async def test_a_large_whole_matrix_that_is_on_this_disk_is_not_held(
    reader: HubReader, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "LARGE", GATE_BYTES - 1)
    hf_hub_download("org/m", ONE, cache_dir=reader.access.cache_dir, endpoint=reader.access.endpoint)
    session = await start()
    session.want(Address(0, matrix="gate_proj"))
    await until(lambda: session.state(Job(0, "gate_proj")) is State.CACHED)
    assert reader.hub.bytes_of() == 0


async def test_what_is_waited_for_is_said_and_a_failure_can_be_tried_again(
    reader: HubReader, start: Start, made: Checkpoint, events: list[Event]
) -> None:
    session = await start(spare=await impatient_worker())
    job = Job(0, HEADS)
    reader.hub.refuse("storage")
    session.want(Address(0))
    await until(lambda: session.state(job) is State.FAILED)
    said = [event.progress.waiting for event in events if isinstance(event, Progressed)]
    for attempt in (2, 3, 4, 5):
        assert f"waiting for the network, try {attempt} of 5 (connection refused)" in said
    failure = session.failure(job)
    assert failure is not None
    assert failure.title == "Network"
    assert failure.message == f"{ONE} of org/m cannot be read: connection refused, 5 times in a row."
    assert "try again" in failure.hint
    assert not session.is_held(job)
    reader.hub.accept()
    session.again(Address(0))
    await until(lambda: session.state(job) is State.CACHED)
    assert equal(spectra(session, 0), local_spectra(made.folder, 0))


async def test_a_speed_leaves_out_the_silence(reader: HubReader, start: Start, events: list[Event]) -> None:
    reader.hub.bandwidth = 1e6
    session = await start()
    reader.hub.faults.append(Stall(1_000_000, 3, file=ONE, where=lambda request: request.range != (0, FIRST_READ)))
    session.want(Address(0))
    await cached(session, 0)
    seen = [event.progress for event in events if isinstance(event, Progressed)]
    silent = [b for a, b in pairwise(seen) if "no data for" in b.waiting and a.bytes_read == b.bytes_read]
    assert silent
    assert {step.bytes_per_second for step in silent} == {0}
    after = [step.bytes_per_second for step in seen if step.bytes_read > silent[-1].bytes_read]
    assert 0.7e6 < min(after) <= max(after) < 1.5e6


async def test_a_cut_connection_is_said_beside_the_bytes_and_goes_on(
    reader: HubReader, start: Start, made: Checkpoint, events: list[Event]
) -> None:
    session = await start()
    reader.hub.faults.append(Drop(0, file=ONE, where=lambda request: request.range != (0, FIRST_READ)))
    session.want(Address(0))
    await cached(session, 0)
    said = {event.progress.waiting: event.progress for event in events if isinstance(event, Progressed)}
    (waiting,) = [sentence for sentence in said if "try 2 of 5" in sentence]
    assert waiting == "waiting for the network, try 2 of 5 (the connection was cut)"
    assert said[waiting].bytes_total == HEADS_BYTES
    assert equal(spectra(session, 0), local_spectra(made.folder, 0))


async def test_a_guess_that_fails_leaves_no_mark_and_is_tried_when_it_is_wanted(
    reader: HubReader, start: Start, made: Checkpoint, events: list[Event]
) -> None:
    session = await start(prefetch=True)
    reader.hub.faults.append(IgnoreRange(file=TWO, times=ALWAYS))
    session.want(Address(1))
    guess = Job(2, HEADS)
    await until(lambda: StateChanged(guess, State.RUNNING) in events and session.running is None)
    assert session.state(Job(1, HEADS)) is State.CACHED
    assert session.state(guess) is State.ABSENT
    assert session.failure(guess) is None
    assert not any(isinstance(event, Noticed) for event in events)
    session.want(Address(2))
    await until(lambda: session.state(guess) is State.FAILED)
    failure = session.failure(guess)
    assert failure is not None
    assert "ignores byte ranges" in failure.message
    reader.hub.faults.clear()
    session.again(Address(2))
    await until(lambda: session.state(guess) is State.CACHED)
    assert equal(spectra(session, 2), local_spectra(made.folder, 2))


async def test_a_worker_that_is_killed_in_mid_stream_is_replaced(
    reader: HubReader, start: Start, made: Checkpoint, events: list[Event]
) -> None:
    reader.hub.bandwidth = SLOW
    session = await start()
    await reading_layer(session, 0)
    (worker,) = workers()
    worker.send_signal(signal.SIGKILL)
    reader.hub.bandwidth = None
    await cached(session, 0)
    assert any(isinstance(event, Noticed) and "killed" in event.message for event in events)
    assert equal(spectra(session, 0), local_spectra(made.folder, 0))
    assert reader.hub.count(file="") == 0  # the new worker knows the commit
    assert (0, FIRST_READ) not in reader.ranges()[1:]  # and the header


async def test_without_caches_header_and_result_come_through_the_pipe(
    reader: HubReader,
    start: Start,
    made: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    events: list[Event],
) -> None:
    (tmp_path / "file").write_text("in the way")
    nowhere = tmp_path / "file" / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(nowhere))
    access = replace(reader.access, cache_dir=str(nowhere))
    session = await start(open_model("org/m", access=access, cache_dir=nowhere), cache_dir=nowhere)
    session.want(Address(1))
    await cached(session, 1)
    assert HeaderRead(ONE) in events
    assert equal(spectra(session, 1), local_spectra(made.folder, 1))
    assert any(isinstance(event, Noticed) and "Results cannot be kept" in event.message for event in events)
    assert not session.keeps


async def test_offline_what_is_not_there_fails_with_a_sentence(reader: HubReader, start: Start) -> None:
    reader.spectra(reader.open(), 0)
    session = await start(reader.open(offline=True), offline=True)
    assert session.state(Job(0, HEADS)) is State.CACHED
    assert len(spectra(session, 0)) == 16
    session.want(Address(2))
    await until(lambda: session.state(Job(2, HEADS)) is State.FAILED)
    failure = session.failure(Job(2, HEADS))
    assert failure is not None
    assert failure.title == "Offline"
    assert f"{TWO} of org/m is not in the local Hub cache" in failure.message
    assert reader.hub.count() == 0
