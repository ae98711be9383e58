"""Scans by several processes or any executor: the same results, whatever dies or fails meanwhile."""

import os
import pickle
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from svdtui.engine import (
    HEADS,
    Address,
    Analysis,
    ChoiceError,
    EngineError,
    Job,
    JobRequest,
    ModelChangedError,
    NetworkError,
    Opening,
    ReadError,
    ScanProgress,
    WorkerError,
    compute_job,
    lanes,
    open_model,
)
from svdtui.engine.device import Device
from svdtui.engine.lanes import LocalWorkers, plan
from svdtui.engine.limits import usable_cores
from svdtui.engine.scan import scan
from svdtui.engine.store import Store
from svdtui.engine.workers import Answer, hear_nothing
from tests.checkpoints import write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_server import HubServer
from tests.scans import SLOW, are_gone, computed_here, results, slow_checkpoint, wait_for, workers_of
from tests.terminal import Terminal
from tests.test_imports import has_loaded_torch


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_checkpoint(tmp_path_factory.mktemp("models") / "slow", layers=8)


@pytest.fixture(scope="module")
def slow_results(slow: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return computed_here(slow, tmp_path_factory.mktemp("here"), SLOW)


def opening_of(folder: Path, cache: Path, **options: Any) -> Opening:
    model = open_model(folder)
    return Opening(**({"location": model.location, "key": model.key, "solver": "gram64", "device": "cpu"} | options),
                   cache_dir=str(cache))  # fmt: skip


def children() -> list[psutil.Process]:
    return workers_of(psutil.Process())


def files_of(layers: int) -> set[str]:
    return {f"layer-{layer:05d}.heads.safetensors" for layer in range(layers)}


# ---- who computes ----------------------------------------------------------------------------------------------


def test_two_workers_leave_what_one_process_leaves(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=6).folder
    outputs = []
    for name, options in (("one", ()), ("two", ("--workers", "2"))):
        done = run_svdtui(folder, "--csv", "-", "--device", "cpu", "--cache-dir", tmp_path / name, *options)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 1 + 6 * 4 * 4
    assert results(tmp_path / "one") == results(tmp_path / "two")


def spawned() -> Executor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


@pytest.mark.parametrize("executor", [spawned, lambda: ThreadPoolExecutor(2)], ids=["processes", "threads"])
def test_any_executor_serves(executor: Any, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=3).folder
    seen: list[ScanProgress] = []
    with executor() as pool, Analysis(folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.scan(executor=pool, on_progress=seen.append)
    assert results(tmp_path / "cache") == computed_here(folder, tmp_path / "here")
    assert (seen[0].done, seen[0].bytes_read) == (0, 0)
    assert (seen[-1].done, seen[-1].total, seen[-1].bytes_read) == (3, 3, seen[-1].bytes_total)


def test_an_executor_that_breaks_loses_only_what_it_had(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=3).folder
    pool = spawned()
    with pool, Analysis(folder, device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.scan(1, executor=pool)
        pool.submit(os._exit, 1)
        with pytest.raises(WorkerError, match="process of the executor ended"):
            analysis.scan(executor=pool)
        analysis.scan()
    assert results(tmp_path / "cache").keys() == files_of(3)


def test_a_request_is_for_the_files_that_it_names(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m")
    opening = opening_of(made.folder, tmp_path / "cache")
    data = compute_job(JobRequest(opening, Job(0, HEADS)))
    assert Store(open_model(made.folder), "gram64").decode(Job(0, HEADS), data)
    compute_job(JobRequest(opening_of(write_checkpoint(tmp_path / "n").folder, tmp_path), Job(0, HEADS)))
    os.utime(made.files[0], ns=(0, 0))
    with pytest.raises(ModelChangedError, match="has changed since it was opened"):
        compute_job(JobRequest(opening, Job(0, HEADS)))


def kinds(kind: type[EngineError]) -> Iterator[type[EngineError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from kinds(each)


@pytest.mark.parametrize("kind", list(kinds(EngineError)), ids=lambda kind: kind.__name__)
def test_an_error_reaches_another_process_whole(kind: type[EngineError]) -> None:
    error = kind("\x1b[31m" + "what and where. " * 100, "What to do.")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is kind
    assert (there.message, there.hint, str(there)) == (error.message, error.hint, str(error))


def test_the_cores_are_shared_and_every_gpu_has_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = opening_of(write_checkpoint(tmp_path / "m").folder, tmp_path)
    assert plan(opening) == (opening,)
    two = plan(opening, 2)
    assert [each.threads for each in two] == [max(1, usable_cores() // 2)] * 2
    assert plan(opening, 10**3)[0].threads == 1
    with pytest.raises(ChoiceError, match="0 workers"):
        plan(opening, 0)
    # No machine with several GPUs was at hand.
    monkeypatch.setattr(
        lanes, "choose_devices", lambda _: [Device(f"cuda:{n}", f"cuda:{n} (stand-in)") for n in range(3)]
    )
    assert [each.device for each in plan(opening)] == ["cuda:0", "cuda:1", "cuda:2"]
    with pytest.raises(ChoiceError, match="each GPU has one"):
        plan(opening, 2)


def test_devices_side_by_side_share_the_jobs(slow: Path, tmp_path: Path) -> None:
    workers = LocalWorkers([opening_of(slow, tmp_path, device="cpu", solver=SLOW, threads=1) for _ in range(3)])
    try:
        workers.wait_until_ready()
        wait_for(lambda: len(children()) == 3)
        computing = {process.pid: process.cpu_times().user for process in children()}
        assert not scan([Job(layer, HEADS) for layer in range(8)], workers, lambda job, answer: None)
        busy = [process for process in children() if process.cpu_times().user - computing[process.pid] > 0.05]
        assert len(busy) == 3
        assert not any(map(has_loaded_torch, children()))
    finally:
        workers.close()
    assert not children()
    assert results(tmp_path).keys() == files_of(8)


# ---- the queue -------------------------------------------------------------------------------------------------


class Slots:
    """Workers that note how much they are given, and fail where they are told to."""

    shown, note, capacity = "slots", "", 3

    def __init__(self, failing: dict[int, EngineError] | None = None) -> None:
        self.most = self.given = 0
        self._under_way = 0
        self._failing = failing or {}

    def submit(self, job: Job, most_remote: int | None = None) -> Future[Answer]:
        assert most_remote is None
        outcome: Future[Answer] = Future()
        self.given += 1
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        threading.Timer(0.001, self._finish, (job, outcome)).start()
        return outcome

    def _finish(self, job: Job, outcome: Future[Answer]) -> None:
        self._under_way -= 1
        if error := self._failing.get(job.layer or 0):
            outcome.set_exception(error)
        else:
            outcome.set_result(Answer())

    def close(self) -> None: ...


def test_no_more_is_under_way_than_is_wanted() -> None:
    slots, done = Slots(), []
    assert not scan((Job(layer, HEADS) for layer in range(50)), slots, lambda job, _: done.append(job))
    assert (slots.most, len(done)) == (3, 50)


def test_a_job_that_fails_does_not_end_the_others() -> None:
    done: list[Job] = []
    failures = scan(
        [Job(layer, HEADS) for layer in range(9)], Slots({2: ReadError("gone.")}), lambda job, _: done.append(job)
    )
    assert {str(job): str(error) for job, error in failures.items()} == {"2.heads": "gone."}
    assert len(done) == 8


def test_where_the_network_fails_nothing_more_is_begun() -> None:
    slots = Slots({0: NetworkError("no network.")})
    failures = scan([Job(layer, HEADS) for layer in range(50)], slots, lambda job, answer: None)
    assert [str(job) for job in failures] == ["0.heads"]
    assert slots.given < 50


# ---- what goes wrong -------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_its_job_done(
    slow: Path, slow_results: dict[str, bytes], tmp_path: Path
) -> None:
    told: list[str] = []

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == "notice":
            told.append(event["message"])
        elif event["event"] == "step" and not told and (processes := children()):
            processes[0].kill()

    workers = LocalWorkers([opening_of(slow, tmp_path, solver=SLOW)] * 2, hear)
    try:
        assert not scan([Job(layer, HEADS) for layer in range(8)], workers, lambda job, answer: None)
    finally:
        workers.close()
    assert any(re.search(r"was killed .* while computing layer \d; trying once more", each) for each in told)
    assert results(tmp_path) == slow_results


def test_a_job_that_ends_its_process_twice_has_failed_and_the_others_are_done(slow: Path, tmp_path: Path) -> None:
    def hear(event: dict[str, Any]) -> None:
        if event.get("job") == "1.heads" and event["event"] == "step":
            for process in children():
                process.kill()

    workers = LocalWorkers([opening_of(slow, tmp_path, solver=SLOW)], hear)
    try:
        failures = scan([Job(layer, HEADS) for layer in range(3)], workers, lambda job, answer: None)
    finally:
        workers.close()
    [(job, error)] = failures.items()
    assert (str(job), type(error)) == ("1.heads", WorkerError)
    assert "was killed (out of memory?) twice on layer 1." in str(error)
    assert "fewer workers" in error.hint
    assert results(tmp_path).keys() == files_of(3) - {"layer-00001.heads.safetensors"}


def test_a_worker_that_died_idle_is_not_held_against_the_next_job(slow: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    workers = LocalWorkers([opening_of(slow, tmp_path)], told.append)
    try:
        workers.submit(Job(0, HEADS)).result(60)
        [process] = children()
        process.kill()
        process.wait(5)
        workers.submit(Job(1, HEADS)).result(60)
    finally:
        workers.close()
    assert not [event for event in told if event["event"] == "notice"]


def test_closing_ends_what_runs_and_answers_what_waits(slow: Path, tmp_path: Path) -> None:
    workers = LocalWorkers([opening_of(slow, tmp_path, solver=SLOW)], hear_nothing)
    workers.wait_until_ready()
    futures = [workers.submit(Job(layer, HEADS)) for layer in range(8)]
    processes = children()
    workers.close()
    assert all(future.done() for future in futures)
    assert are_gone(processes)
    assert isinstance(workers.submit(Job(0, HEADS)).exception(1), WorkerError)


def test_a_shard_that_is_gone_fails_its_layers_only(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m", layers=6, shards=3)
    model = open_model(made.folder)
    needed = {job: {t.ref.file for t in model.job_tensors(job)} for job in model.jobs(Address())}
    with Analysis(model, device="cpu", cache_dir=tmp_path / "cache") as analysis, ThreadPoolExecutor(1) as pool:
        analysis.scan(0, executor=pool)  # it is open there from now on
        made.files[1].rename(tmp_path / "elsewhere")
        with pytest.raises(ReadError, match=r"model-00002-of-00003\.safetensors"):
            analysis.scan(executor=pool)
    left = {job for job, files in needed.items() if made.files[1].name not in files}
    assert 0 < len(left) < 6
    assert results(tmp_path / "cache").keys() == {f"layer-{job.layer:05d}.heads.safetensors" for job in left}


def test_what_is_stopped_goes_on_where_it_was(slow: Path, tmp_path: Path) -> None:
    class Stop(Exception): ...

    def stop(progress: ScanProgress) -> None:
        if progress.done >= 2:
            raise Stop

    with Analysis(slow, device="cpu", cache_dir=tmp_path, solver=SLOW) as analysis:
        with pytest.raises(Stop):
            analysis.scan(workers=2, on_progress=stop)
        assert not children()
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
        assert 2 <= len(kept) < 8
        seen: list[ScanProgress] = []
        analysis.scan(workers=2, on_progress=seen.append)
    assert seen[0].done == len(kept)
    assert seen[0].bytes_read == seen[0].bytes_total * len(kept) // 8
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert results(tmp_path).keys() == files_of(8)


def test_those_who_compute_exclude_each_other(slow: Path, tmp_path: Path) -> None:
    with Analysis(slow, cache_dir=tmp_path) as analysis, pytest.raises(ChoiceError, match="exclude each other"):
        analysis.scan(workers=2, dask="tcp://127.0.0.1:1")


# ---- the command line ------------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_cache_and_not_the_csv(svdtui: list[str], run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=4).folder
    expected = run_svdtui(folder, "--csv", "-", "--cache-dir", tmp_path / "good").stdout
    small = ["bash", "-c", 'ulimit -f 1; exec "$0" "$@"', *svdtui]  # no file may have more than 1024 bytes
    options: list[str | Path] = ["--csv", "-", "--workers", "2", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run([*small, folder, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, expected)
    assert done.stderr.count("Results cannot be kept in") == 1
    assert not results(tmp_path / "cache")


def test_what_cannot_be_kept_is_not_computed_again(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "m")
    (tmp_path / "file").write_text("in the way")
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path / "file") as analysis:
        analysis.scan(workers=2)
        made.files[0].unlink()
        assert analysis.view().missing == 0
        assert "Results cannot be kept in" in analysis.notice


@pytest.mark.parametrize("how", ["ctrl+c", "SIGKILL"])
def test_a_scan_that_is_ended_keeps_what_was_done(
    how: str, svdtui: list[str], slow: Path, slow_results: dict[str, bytes], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    command: list[str | Path] = [
        *svdtui,
        slow,
        "--solver",
        SLOW,
        "--cache-dir",
        cache,
        "--workers",
        "2",
        "--csv",
        tmp_path / "out.csv",
    ]
    with Terminal(command, size=(120, 10)) as terminal:
        terminal.wait_for(lambda _: len(results(cache)) > 1, timeout=60)
        processes = terminal.processes()
        assert len(processes) == 3
        if how == "ctrl+c":
            assert re.search(r"slow: +\d+%\|.* \d/8 layers\]", terminal.text())
            terminal.press("ctrl+c")
            assert terminal.wait_exit() == 130
            assert "svdtui: Stopped; no file was written. What was computed is kept" in terminal.text()
            assert "Traceback" not in terminal.text()
        else:
            os.kill(processes[0].pid, signal.SIGKILL)
        wait_for(lambda: are_gone(processes), 5)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    assert 2 <= len(kept) < 8
    assert not (tmp_path / "out.csv").exists()
    assert subprocess.run(command, check=True, stdin=subprocess.DEVNULL).returncode == 0
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert results(cache) == slow_results
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 8 * 4 * 4


def test_two_workers_stream_from_the_hub(run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=4, shards=2).folder
    with HubServer() as hub:
        hub.add("org/m", folder)
        done = run_svdtui("org/m", "--csv", "-", "--workers", "2", env=hub.environ)
    here = run_svdtui(folder, "--csv", "-", "--cache-dir", tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert "will be read from the Hub" in done.stderr
    figures = [[line.split(",")[10:] for line in each.stdout.splitlines()] for each in (done, here)]
    assert figures[0] == figures[1]
