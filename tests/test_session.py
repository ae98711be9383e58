"""The queue and the worker process, for real: what comes first, what is dropped, what survives a death."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from svdtui.engine import (
    HEADS,
    Address,
    Analysis,
    Event,
    Job,
    Model,
    Noticed,
    Session,
    State,
    StateChanged,
    open_model,
    view,
)
from svdtui.engine import session as session_module
from svdtui.engine.hand import Spare
from svdtui.engine.process import WorkerProcess

from .checkpoints import Checkpoint, write_checkpoint

Start = Callable[..., Awaitable[Session]]


@pytest.fixture
def made(tmp_path: Path) -> Checkpoint:
    return write_checkpoint(tmp_path / "m", layers=4)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def start(tmp_path: Path, made: Checkpoint, events: list[Event]) -> AsyncIterator[Start]:
    sessions: list[Session] = []

    async def begin(folder: Path | None = None, **options: object) -> Session:
        model = open_model(folder or made.folder)
        defaults: dict[str, object] = {"cache_dir": tmp_path / "cache", "device": "cpu", "on_event": events.append}
        session = Session(model, **(defaults | options))  # type: ignore[arg-type]
        sessions.append(session)
        await session.start()
        return session

    yield begin
    for session in sessions:
        await session.close()


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def workers() -> list[psutil.Process]:
    """The living compute processes of this test."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie counts as gone
            if "svdtui.engine.worker" in process.cmdline():
                found.append(process)
    return found


async def test_the_selection_comes_first_and_its_neighbours_next(start: Start, events: list[Event]) -> None:
    session = await start()
    session.want(Address(2, 1))
    await until(lambda: session.cached == 3)
    running = [e.job.layer for e in events if isinstance(e, StateChanged) and e.state is State.RUNNING]
    assert running == [2, 3, 1]
    assert session.state(Job(0, HEADS)) is State.ABSENT


async def spare_for(model: Model, address: Address, cache_dir: Path, device: str = "cpu") -> Spare:
    spare = Spare(await WorkerProcess.start())
    spare.begin(model, address, solver="gram64", device=device, cache_dir=cache_dir, offline=False)
    return spare


async def test_a_worker_can_begin_before_its_session(
    tmp_path: Path, made: Checkpoint, start: Start, events: list[Event]
) -> None:
    spare = await spare_for(open_model(made.folder), Address(2, 1), tmp_path / "cache")
    session = await start(spare=spare, prefetch=False)
    job = Job(2, HEADS)
    assert session.state(job) is State.RUNNING
    session.want(Address(2, 1))
    await until(lambda: session.state(job) is State.CACHED)
    assert [process.pid for process in workers()] == [spare.process.pid]
    assert [event.state for event in events if isinstance(event, StateChanged)] == [
        State.CACHED
    ]  # it was not asked twice
    assert len(view(session.model, Address(2, 1), session.result).rows) == 4


async def test_what_a_spare_worker_finds_done_is_shown_at_once(tmp_path: Path, made: Checkpoint, start: Start) -> None:
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.view("0.0")
    session = await start(spare=await spare_for(open_model(made.folder), Address(0, 0), tmp_path / "cache"))
    assert session.state(Job(0, HEADS)) is State.CACHED
    session.want(Address(0, 0))
    assert session.result(Job(0, HEADS)) is not None
    await until(lambda: session.state(Job(1, HEADS)) is State.CACHED)  # and it goes on


async def test_moving_on_does_not_end_a_worker_that_is_only_starting(
    tmp_path: Path, made: Checkpoint, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_PATIENCE", 0.05)
    code = "import time; from svdtui.engine import worker; time.sleep(1.5); worker.main()"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=pipe, stdout=pipe, start_new_session=True, limit=2**26
    )
    spare = Spare(WorkerProcess(process))
    options: dict[str, Any] = {"solver": "gram64", "device": "cpu", "cache_dir": tmp_path / "cache", "offline": False}
    spare.begin(open_model(made.folder), Address(0, 0), **options)
    session = await start(spare=spare, prefetch=False)
    session.want(Address(0, 0))
    session.want(Address(3, 0))
    await until(lambda: session.state(Job(3, HEADS)) is State.CACHED)
    assert process.returncode is None  # the same one
    assert session.state(Job(0, HEADS)) is State.ABSENT


async def test_a_spare_worker_that_dies_has_a_successor(
    tmp_path: Path, made: Checkpoint, start: Start, events: list[Event]
) -> None:
    spare = await spare_for(open_model(made.folder), Address(0, 0), tmp_path / "cache")
    spare.process.kill()
    session = await start(spare=spare, prefetch=False)
    session.want(Address(0, 0))
    await until(lambda: session.state(Job(0, HEADS)) is State.CACHED)
    assert [process.pid for process in workers()] != [spare.process.pid]
    assert not any(isinstance(event, Noticed) for event in events)


async def test_a_spare_worker_that_cannot_open_fails_what_it_was_told(
    tmp_path: Path, made: Checkpoint, start: Start
) -> None:
    spare = await spare_for(open_model(made.folder), Address(0, 0), tmp_path / "cache", device="cuda:7")
    session = await start(spare=spare, device="cuda:7")
    session.want(Address(0, 0))
    await until(lambda: session.state(Job(0, HEADS)) is State.FAILED)
    failure = session.failure(Job(0, HEADS))
    assert failure
    assert failure.title == "Device problem"


async def test_without_prefetch_only_the_selection_is_computed(start: Start) -> None:
    session = await start(prefetch=False)
    session.want(Address(1, 0))
    await until(lambda: session.cached == 1)
    assert session.waiting == 0


async def test_a_newer_wish_replaces_an_older_one(start: Start) -> None:
    session = await start(prefetch=False)
    session.want(Address(0))
    session.want(Address(3))
    assert session.state(Job(0, HEADS)) is State.ABSENT
    assert session.state(Job(3, HEADS)) is State.WAITING
    await until(lambda: session.cached == 1)
    assert session.state(Job(3, HEADS)) is State.CACHED


async def test_results_are_kept_for_the_next_session(start: Start) -> None:
    first = await start(prefetch=False)
    first.want(Address(1))
    await until(lambda: first.cached == 1)
    second = await start(prefetch=False)
    assert second.state(Job(1, HEADS)) is State.CACHED
    here, there = (view(s.model, Address(1), s.result) for s in (first, second))
    assert [row.metrics for row in here.rows] == [row.metrics for row in there.rows]
    assert len(there.rows) == 16


async def test_a_damaged_result_is_computed_again(start: Start) -> None:
    first = await start(prefetch=False)
    first.want(Address(1))
    await until(lambda: first.cached == 1)
    first.stop()
    path = first.store.path(Job(1, HEADS))
    path.write_bytes(path.read_bytes()[:-3])
    second = await start(prefetch=False)
    assert second.result(Job(1, HEADS)) is None
    assert second.state(Job(1, HEADS)) is State.ABSENT
    second.want(Address(1))
    await until(lambda: second.state(Job(1, HEADS)) is State.CACHED)


async def test_compute_again_starts_from_the_weights(start: Start) -> None:
    session = await start(prefetch=False)
    session.want(Address(1))
    await until(lambda: session.cached == 1)
    path = session.store.path(Job(1, HEADS))
    before = path.stat().st_mtime_ns
    session.again(Address(1))
    assert session.state(Job(1, HEADS)) in {State.WAITING, State.RUNNING}
    await until(lambda: session.state(Job(1, HEADS)) is State.CACHED)
    assert path.stat().st_mtime_ns > before


async def test_a_killed_worker_is_replaced_and_the_job_done(tmp_path: Path, start: Start, events: list[Event]) -> None:
    session = await start(slow_checkpoint(tmp_path), prefetch=False)
    await until(lambda: session.device)
    session.want(Address(0, matrix="down_proj"))
    await until(lambda: session.state(Job(0, "down_proj")) is State.RUNNING)
    (process,) = workers()
    process.send_signal(signal.SIGKILL)
    await until(lambda: session.state(Job(0, "down_proj")) is State.CACHED)
    assert any(isinstance(e, Noticed) and "killed" in e.message for e in events)
    assert session.notice == ""  # it ended well
    assert workers()[0].pid != process.pid


async def test_a_job_that_kills_its_worker_twice_stays_failed(tmp_path: Path, start: Start) -> None:
    session = await start(slow_checkpoint(tmp_path), prefetch=False)
    job = Job(0, "down_proj")
    session.want(Address(0, matrix="down_proj"))
    killed = set()
    while session.state(job) is not State.FAILED:
        for process in workers():
            if session.state(job) is State.RUNNING and process.pid not in killed:
                killed.add(process.pid)
                process.kill()
        await asyncio.sleep(0.01)
    assert len(killed) == 2
    failure = session.failure(job)
    assert failure is not None
    assert "killed" in failure.message
    session.want(Address(0, matrix="k_proj"))  # the rest goes on
    await until(lambda: session.state(Job(0, "k_proj")) is State.CACHED)
    session.again(Address(0, matrix="down_proj"))
    await until(lambda: session.state(job) is State.CACHED)


async def test_a_long_job_that_nobody_wants_is_cancelled(tmp_path: Path, start: Start, events: list[Event]) -> None:
    session = await start(slow_checkpoint(tmp_path), prefetch=False)
    session.want(Address(0, matrix="down_proj"))
    await until(lambda: session.state(Job(0, "down_proj")) is State.RUNNING)
    session.want(Address(0, matrix="k_proj"))
    assert session.state(Job(0, "down_proj")) is State.ABSENT
    await until(lambda: session.state(Job(0, "k_proj")) is State.CACHED)
    assert not any(isinstance(e, Noticed) for e in events)


async def test_stopping_leaves_no_process_at_once(tmp_path: Path, start: Start) -> None:
    session = await start(slow_checkpoint(tmp_path), prefetch=False)
    session.want(Address(0, matrix="down_proj"))
    await until(lambda: session.state(Job(0, "down_proj")) is State.RUNNING)
    (process,) = workers()
    session.stop()
    await until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 1)


async def test_the_worker_is_nice_and_leads_its_own_session(start: Start) -> None:
    session = await start()
    await until(lambda: session.device)
    (process,) = workers()
    assert process.nice() == min(19, psutil.Process().nice() + 10)
    assert os.getsid(process.pid) == process.pid
    process.send_signal(signal.SIGINT)
    session.want(Address(0))
    await until(lambda: session.state(Job(0, HEADS)) is State.CACHED)
    assert process.is_running()


async def test_a_cache_that_cannot_be_written_costs_the_cache_not_the_result(
    tmp_path: Path, start: Start, events: list[Event]
) -> None:
    (tmp_path / "file").write_text("in the way")
    session = await start(cache_dir=tmp_path / "file", prefetch=False)
    session.want(Address(1, 2))
    await until(lambda: session.state(Job(1, HEADS)) is State.CACHED)
    assert view(session.model, Address(1, 2), session.result).missing == 0
    assert any(isinstance(e, Noticed) and "cannot be kept" in e.message for e in events)


async def test_recovery_from_a_death_does_not_hide_that_nothing_is_kept(tmp_path: Path, start: Start) -> None:
    (tmp_path / "file").write_text("in the way")
    session = await start(slow_checkpoint(tmp_path), cache_dir=tmp_path / "file", prefetch=False)
    session.want(Address(0, matrix="down_proj"))
    await until(lambda: session.state(Job(0, "down_proj")) is State.RUNNING)
    workers()[0].kill()
    await until(lambda: session.state(Job(0, "down_proj")) is State.CACHED)
    assert "cannot be kept" in session.notice
    assert not session.keeps


async def test_a_vanished_shard_fails_its_layer_with_a_sentence(made: Checkpoint, start: Start) -> None:
    session = await start(prefetch=False)
    await until(lambda: session.device)
    made.files[0].unlink()
    session.want(Address(1))
    await until(lambda: session.state(Job(1, HEADS)) is State.FAILED)
    failure = session.failure(Job(1, HEADS))
    assert failure is not None
    assert "model.safetensors cannot be read" in failure.message
    assert workers()


async def test_a_device_that_is_not_there_is_a_sentence(start: Start) -> None:
    session = await start(device="cuda:99", prefetch=False)
    session.want(Address(1))
    await until(lambda: session.state(Job(1, HEADS)) is State.FAILED)
    failure = session.failure(Job(1, HEADS))
    assert failure is not None
    assert "CUDA" in failure.message or "cuda" in failure.message
    session.want(Address(3))  # said at once, not waited for in vain
    assert session.state(Job(3, HEADS)) is State.FAILED


async def test_a_process_that_cannot_be_started_is_a_sentence_said_once(
    start: Start, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    async def refuse(*_: object, **__: object) -> None:
        nonlocal attempts
        attempts += 1
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    session = await start(prefetch=False)
    session.want(Address(1))
    await until(lambda: session.state(Job(1, HEADS)) is State.FAILED)
    await asyncio.sleep(0.1)
    assert attempts == 1
    assert sum(isinstance(e, Noticed) and "cannot be started" in e.message for e in events) == 1
    monkeypatch.undo()
    session.again(Address(1))
    await until(lambda: session.state(Job(1, HEADS)) is State.CACHED)


def slow_checkpoint(folder: Path) -> Path:
    """A model with one whole matrix that takes about a second, so that there is a middle to interrupt."""
    name = "model.layers.0.mlp.down_proj.weight"
    big = torch.randn(1800, 2000, generator=torch.Generator().manual_seed(0))
    return write_checkpoint(folder / "slow", layers=1, overrides={name: big}).folder
