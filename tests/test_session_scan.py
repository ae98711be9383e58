"""A scan behind the screen: what it computes, in which order, and what survives whatever ends it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import torch

from svdtui.engine import (
    HEADS,
    Address,
    Analysis,
    Event,
    Job,
    Noticed,
    ScanEnded,
    ScanMoved,
    Session,
    State,
    StateChanged,
    open_model,
)
from svdtui.engine.backlog import Backlog, BacklogProgress
from svdtui.engine.shelf import Shelf
from svdtui.engine.store import Store
from svdtui.tui.scanning import scan_words, stopped_words

from .checkpoints import write_checkpoint
from .terminal import Terminal
from .test_session import until, workers

LAYERS = 24

Start = Callable[..., Awaitable[Session]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "m", layers=LAYERS, hidden=128, heads=8, kv_heads=2).folder


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def start(tmp_path: Path, folder: Path, events: list[Event]) -> AsyncIterator[Start]:
    sessions: list[Session] = []

    async def begin(**options: object) -> Session:
        usual: dict[str, object] = {"cache_dir": tmp_path / "cache", "device": "cpu", "prefetch": False}
        usual["on_event"] = events.append
        session = Session(open_model(folder), **(usual | options))  # type: ignore[arg-type]
        sessions.append(session)
        await session.start()
        return session

    yield begin
    for session in sessions:
        await session.close()


def begun(events: list[Event]) -> list[Job]:
    """The jobs in the order in which they were begun."""
    return [e.job for e in events if isinstance(e, StateChanged) and e.state is State.RUNNING]


async def test_a_scan_computes_every_layer_and_says_so(start: Start, events: list[Event]) -> None:
    session = await start()
    assert session.scan() == LAYERS
    assert session.state(Job(LAYERS - 1, HEADS)) is State.WAITING
    await until(lambda: session.cached == LAYERS)
    assert session.scan_progress is None
    assert [e.message for e in events if isinstance(e, ScanEnded)] == [f"The scan has computed {LAYERS} layers."]
    assert begun(events) == [Job(layer, HEADS) for layer in range(LAYERS)]
    assert session.scan() == 0  # nothing is missing


async def test_whole_matrices_are_computed_when_asked_for(start: Start, events: list[Event]) -> None:
    session = await start()
    count = session.scan(whole=True)
    assert count == LAYERS * (1 + 7) + 2  # heads, seven matrices, and embed_tokens and lm_head
    await until(lambda: session.scan_progress is None)
    said = f"The scan has computed {count} layers and whole matrices."
    assert [e.message for e in events if isinstance(e, ScanEnded)] == [said]
    assert session.state(Job(3, "gate_proj")) is State.CACHED
    assert session.state(Job(None, "lm_head")) is State.CACHED


async def test_a_smaller_scan_does_not_end_a_larger_one(start: Start, events: list[Event]) -> None:
    session = await start()
    everything = session.scan(whole=True)
    await until(lambda: session.cached >= 1)
    session.scan()
    await until(lambda: session.scan_progress is None)
    assert session.state(Job(LAYERS - 1, "down_proj")) is State.CACHED
    assert session.to_scan(whole=True) == ()
    assert len(set(begun(events))) == everything


async def test_what_is_selected_jumps_the_queue(start: Start, events: list[Event]) -> None:
    session = await start()
    session.scan()
    await until(lambda: session.cached >= 1)
    session.want(Address(LAYERS - 1))
    await until(lambda: session.cached == LAYERS)
    order = [job.layer or 0 for job in begun(events)]
    assert sorted(order) == list(range(LAYERS))  # each once
    assert order.index(LAYERS - 1) < LAYERS - 2


async def test_progress_counts_layers_and_bytes_and_knows_what_is_left(start: Start, events: list[Event]) -> None:
    session = await start()
    session.scan()
    await until(lambda: session.cached >= 2)
    progress = session.scan_progress
    assert progress
    assert (progress.total, progress.failed, progress.heads_only) == (LAYERS, 0, True)
    assert 2 <= progress.done < LAYERS
    assert progress.bytes_per_second > 0
    assert progress.seconds_left
    assert any(isinstance(e, ScanMoved) for e in events)


async def test_a_stopped_scan_goes_on_with_what_is_missing(start: Start, events: list[Event]) -> None:
    session = await start()
    session.scan()
    await until(lambda: session.cached >= 3)
    session.cancel()
    assert session.scan_progress is None
    stopped = session.cached
    await asyncio.sleep(0.3)
    done = session.cached
    assert stopped <= done <= stopped + 1 < LAYERS  # one was as good as done
    assert session.state(Job(LAYERS - 1, HEADS)) is State.ABSENT
    events.clear()
    assert session.scan() == LAYERS - done
    await until(lambda: session.cached == LAYERS)
    assert len(begun(events)) == LAYERS - done


async def test_a_killed_worker_costs_a_scan_nothing(start: Start, events: list[Event]) -> None:
    session = await start()
    session.scan()
    await until(lambda: session.running is not None and session.cached >= 2)
    (process,) = workers()
    process.kill()
    await until(lambda: session.scan_progress is None)
    assert session.cached == LAYERS
    assert [e.message for e in events if isinstance(e, ScanEnded)] == [f"The scan has computed {LAYERS} layers."]


def relays() -> list[psutil.Process]:
    """The living processes that lead several workers."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "svdtui.engine.relay" in process.cmdline():
                found.append(process)
    return found


async def test_several_workers_share_a_scan_while_the_worker_answers(start: Start, events: list[Event]) -> None:
    session = await start(workers=2)
    session.scan()
    await until(lambda: session.cached >= 1)
    (relay,) = relays()
    assert len([child for child in relay.children(recursive=True) if "svdtui.engine.worker" in child.cmdline()]) == 2
    session.want(Address(0, matrix="gate_proj"))  # not of the scan: the worker's own
    await until(lambda: session.state(Job(0, "gate_proj")) is State.CACHED)
    await until(lambda: session.scan_progress is None)
    assert session.cached == LAYERS
    await until(lambda: not relays())  # nobody needs it any more
    assert sum(isinstance(e, ScanEnded) for e in events) == 1


async def test_a_killed_relay_costs_a_scan_nothing(start: Start) -> None:
    session = await start(workers=2)
    session.scan()
    await until(lambda: session.cached >= 1)
    for relay in relays():
        relay.kill()
    await until(lambda: session.scan_progress is None)
    assert session.cached == LAYERS


async def test_a_scan_by_a_cluster_that_is_not_there_ends_with_a_sentence(start: Start, events: list[Event]) -> None:
    session = await start(dask="tcp://127.0.0.1:9")
    session.scan()
    await until(lambda: session.scan_progress is None)
    assert any(isinstance(e, Noticed) and "127.0.0.1:9" in e.message for e in events)
    assert session.state(Job(1, HEADS)) is State.ABSENT
    session.want(Address(1))  # the worker goes on
    await until(lambda: session.state(Job(1, HEADS)) is State.CACHED)


async def test_what_a_full_disk_could_not_take_is_written_when_it_can(
    tmp_path: Path, start: Start, events: list[Event]
) -> None:
    cache = tmp_path / "cache"
    cache.write_text("in the way")
    session = await start()
    session.scan()
    await until(lambda: session.scan_progress is None)
    assert session.cached == LAYERS
    assert not session.keeps
    assert sum(isinstance(e, Noticed) for e in events) == 1
    assert "not kept on disk" in next(e.message for e in events if isinstance(e, ScanEnded))
    cache.unlink()
    session.again(Address(0))
    await until(lambda: session.state(Job(0, HEADS)) is State.CACHED)
    assert session.keeps
    later = await start()
    assert later.cached == LAYERS


async def test_a_layer_that_fails_does_not_end_a_scan(tmp_path: Path, events: list[Event]) -> None:
    folder = write_checkpoint(tmp_path / "two", layers=6, shards=6).folder
    model = open_model(folder)
    session = Session(model, cache_dir=tmp_path / "c", device="cpu", prefetch=False, on_event=events.append)
    await session.start()
    await until(lambda: session.device)
    shard = folder / next(t.ref.file for t in model.head_tensors(2))
    failing = {layer for layer in model.layers for t in model.head_tensors(layer) if t.ref.file == shard.name}
    shard.unlink()
    session.scan()
    await until(lambda: session.scan_progress is None)
    failed = {layer for layer in model.layers if session.state(Job(layer, HEADS)) is State.FAILED}
    assert failed == failing
    assert session.cached == 6 - len(failing)
    assert f"{len(failing)} failed" in next(e.message for e in events if isinstance(e, ScanEnded))
    await session.close()


def test_a_killed_program_loses_nothing_that_was_done(svdtui: list[str], folder: Path, tmp_path: Path) -> None:
    argv = [*svdtui, str(folder), "--at", "0.0", "--no-prefetch", "--device", "cpu", "--cache-dir", str(tmp_path / "c")]
    with Terminal(argv, size=(100, 30)) as terminal:
        terminal.wait_for(f"cached 1/{LAYERS}")
        terminal.press("s")
        terminal.wait_for(lambda t: len(list((tmp_path / "c").rglob("*.heads.safetensors"))) >= 4)
        processes = terminal.processes()
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.wait_exit()
        psutil.wait_procs(processes, timeout=5)
    model = open_model(folder)
    store = Store(model, "gram64", tmp_path / "c")
    done = store.present()
    assert len(done) >= 4
    assert all(store.load(job) for job in done)
    with Terminal(argv, size=(100, 30)) as terminal:
        terminal.wait_for(f"cached {len(done)}/{LAYERS}")
        terminal.press("s")
        terminal.wait_for(f"cached {LAYERS}/{LAYERS}")
        terminal.press("s")
        terminal.wait_for("All layers are computed already.")


def test_a_scan_is_told_in_a_line() -> None:
    progress = BacklogProgress(11, 1, 32, heads_only=True, bytes_per_second=812e6, seconds_left=41.7)
    assert scan_words(progress) == "▰▰▰▰▱▱▱▱▱▱▱▱ 12/32 layers · 1 failed · 812 MB/s · 0:42 left"
    assert stopped_words(progress) == "Stopped the scan at 12 of 32 layers; s goes on."


def test_a_scan_on_screen_begins_and_stops(svdtui: list[str], tmp_path: Path) -> None:
    big = torch.randn(1800, 2000, generator=torch.Generator().manual_seed(0))  # a second or so each
    names = [f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(4)]
    folder = write_checkpoint(tmp_path / "slow", layers=4, overrides={name: big.clone() for name in names}).folder
    argv = [*svdtui, str(folder), "--at", "0.0", "--device", "cpu", "--cache-dir", str(tmp_path / "c")]
    with Terminal(argv, size=(100, 30)) as terminal:
        terminal.wait_for("cached")
        terminal.press("S")
        terminal.wait_for("layers and whole matrices; esc stops")
        terminal.press("escape")
        terminal.wait_for("S goes on")


def test_a_scan_knows_what_is_left_of_unequal_work(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m", layers=2).folder)
    jobs = [Job(0, HEADS), Job(0, "gate_proj"), Job(1, HEADS)]
    scan = Backlog(model, jobs)
    assert scan.progress.seconds_left is None
    assert scan.take() == jobs[0]
    scan.put_back(jobs[0])
    assert scan.take() == jobs[0]
    scan.finish(jobs[0])
    scan.finish(jobs[0])  # once only
    scan.taken(jobs[2])
    assert scan.take() == jobs[1]
    assert scan.take() is None
    assert not scan.is_over
    scan.finish(jobs[1], failed=True)
    scan.finish(jobs[2])
    assert scan.is_over
    assert (scan.progress.done, scan.progress.failed) == (2, 1)
    assert scan.progress.seconds_left == 0


def test_the_shelf_keeps_the_figures_of_all_and_the_spectra_of_few(tmp_path: Path, folder: Path) -> None:
    with Analysis(folder, cache_dir=tmp_path / "c") as analysis:
        results = [analysis.result(Job(layer, HEADS)) for layer in range(LAYERS)]
        store = Store(analysis.model, "gram64", tmp_path / "c")
    shelf = Shelf(store)
    shelf.look(lambda job: True)
    for number, result in enumerate(results * 2):
        other = Job(number, HEADS)
        shelf.put(type(result)(other, result.matrices))
    assert len(shelf._whole) < 2 * LAYERS
    assert all(shelf.tables(Job(layer, HEADS)) for layer in range(2 * LAYERS))
    first = shelf.result(Job(0, HEADS))  # read again
    assert first
    assert first.tables().keys() == results[0].tables().keys()
