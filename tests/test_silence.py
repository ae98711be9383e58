"""Those who compute are stopped, or die: it is said that nobody computes, and gone on with when they go on."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from svdtui.engine import findings_process, open_model
from svdtui.engine.findings_process import find_aside
from svdtui.engine.lanes import _trouble
from svdtui.engine.pulse import MOST, Pulse
from tests.checkpoints import write_checkpoint
from tests.hub_faults import Stall
from tests.hub_server import HubServer
from tests.scans import SLOW, Relay, results, slow_checkpoint, wait_for, workers_of
from tests.terminal import Terminal
from tests.test_dask import Cluster
from tests.test_errors import Asks

LAYERS = 12


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return slow_checkpoint(tmp_path / "m", LAYERS)


def test_silence_is_counted_in_looks_and_who_starts_has_more_of_them() -> None:
    pulse = Pulse()
    for _ in range(3 * MOST):
        pulse.look()
    assert not pulse.is_silent
    for _ in range(4 * MOST):
        pulse.look()
    assert pulse.is_silent
    pulse.heard()
    for _ in range(MOST):
        pulse.look()
    assert not pulse.is_silent
    pulse.look()
    assert pulse.is_silent
    pulse.heard()
    assert not pulse.is_silent


def test_who_is_silent_is_told_with_what_to_do() -> None:
    assert _trouble([], 2) == ""
    assert _trouble([7], 1) == (
        "Nobody computes: kill -CONT 7 lets it go on. The compute process does not answer; it may have been stopped."
    )
    assert _trouble([7], 2) == "1 of 2 workers does not answer: if stopped, kill -CONT 7 lets it go on."
    assert _trouble([7, 8], 2) == (
        "Nobody computes: kill -CONT 7 8 lets them go on. None of the 2 workers answers; they may have been stopped."
    )


def test_a_stopped_compute_process_is_told_on_the_screen(svdtui: list[str], slow: Path) -> None:
    with Terminal([*svdtui, str(slow), "--solver", SLOW, "--no-prefetch", "--at", "0"]) as terminal:
        terminal.wait_for("cached 1/12 layers")
        terminal.press("s")
        [worker] = workers_of(psutil.Process(terminal.pid))
        worker.send_signal(signal.SIGSTOP)
        terminal.wait_for(f"! Nobody computes: kill -CONT {worker.pid}, or esc to end it.")
        worker.send_signal(signal.SIGCONT)
        terminal.wait_gone("! Nobody computes")
        terminal.wait_for("cached 12/12 layers", timeout=60)
        terminal.press("q")
        assert terminal.wait_exit() == 0


def test_a_stopped_process_that_opens_a_model_is_told_on_the_screen(svdtui: list[str], tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add("org/tiny", write_checkpoint(tmp_path / "tiny", layers=1).folder)
        hub.faults.append(Stall(path="/api/models/*", seconds=3))
        with Terminal([*svdtui, "org/tiny"], env=hub.environ, size=(120, 30)) as terminal:
            terminal.wait_for("Asking 127.0.0.1")
            [worker] = workers_of(psutil.Process(terminal.pid))
            worker.send_signal(signal.SIGSTOP)
            terminal.wait_for("The process that opens the model does not answer")
            assert f"kill -CONT {worker.pid} lets it go on" in terminal.text()
            worker.send_signal(signal.SIGCONT)
            terminal.wait_for("cached 1/1 layers")
            terminal.press("q")
            assert terminal.wait_exit() == 0


async def test_a_stopped_process_that_works_out_findings_is_told() -> None:
    told: list[str] = []

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.1)

    task = asyncio.create_task(find_aside(Asks(time.sleep, 600), told.append))  # type: ignore[arg-type]
    await until(lambda: told)
    [process] = (each for each in psutil.Process().children() if findings_process.__name__ in each.cmdline())
    await until(lambda: process.num_threads() > 1)  # it has begun to beat
    await until(lambda: len(told) > 2)
    process.send_signal(signal.SIGSTOP)
    await until(lambda: told[-1])
    assert told[-1].startswith(f"Nobody tests the statements: kill -CONT {process.pid}, or esc and f to begin again.")
    process.send_signal(signal.SIGCONT)
    await until(lambda: not told[-1])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not process.is_running()


def test_stopped_workers_are_told_on_the_command_line(svdtui: list[str], slow: Path, tmp_path: Path) -> None:
    command = [*svdtui, slow, "--solver", SLOW, "--workers", "2", "--csv", "-", "--cache-dir", tmp_path / "cache"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        wait_for(lambda: results(tmp_path / "cache"))
        stopped = workers_of(psutil.Process(process.pid))
        for worker in stopped:
            worker.send_signal(signal.SIGSTOP)
        told = process.stderr.readline()
        for worker in stopped:
            worker.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=100)
    assert told.startswith("svdtui: Nobody computes: kill -CONT ")
    assert "None of the 2 workers answers" in told
    assert process.returncode == 0
    assert output.count("\n") == 1 + 4 * 4 * LAYERS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder, {"XDG_CACHE_HOME": str(folder / "cache")})
    cluster.wait_for_workers(2)
    yield cluster
    for process in [*cluster.workers, cluster.scheduler]:
        process.send_signal(signal.SIGCONT)
    cluster.close()


def next_trouble(relay: Relay) -> str:
    while (event := relay.next())["event"] != "trouble":
        pass
    return str(event["message"])


@pytest.mark.parametrize("who", ["workers", "scheduler"])
def test_a_cluster_that_is_stopped_is_told_and_goes_on(who: str, cluster: Cluster, slow: Path, tmp_path: Path) -> None:
    with Relay(open_model(slow), tmp_path / "cache", solver=SLOW, dask=cluster.address) as relay:
        assert relay.next()["event"] == "ready"
        relay.ask(*(f"{layer}.heads" for layer in range(LAYERS)))
        next(relay.until_answered(1))
        stopped = cluster.workers if who == "workers" else [cluster.scheduler]
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        told = next_trouble(relay)
        while told.startswith("1 of 2"):  # the first of the two may be found out before the other
            told = next_trouble(relay)
        for process in stopped:
            process.send_signal(signal.SIGCONT)
        while next_trouble(relay):
            pass
    advice = "let them go on, or start another" if who == "workers" else f"let the Dask scheduler at {cluster.address}"
    assert told.startswith(f"Nobody computes: {advice}")


def test_a_cluster_whose_last_worker_dies_is_told_on_the_command_line(
    cluster: Cluster, svdtui: list[str], slow: Path, tmp_path: Path
) -> None:
    command = [*svdtui, slow, "--solver", SLOW, "--dask", cluster.address, "--csv", "-"]
    command += ["--cache-dir", str(tmp_path / "cache")]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        wait_for(lambda: results(tmp_path / "cache"))
        for worker in cluster.workers:
            worker.kill()
            worker.wait()
        told = process.stderr.readline()
        cluster.workers = [cluster.start_worker()]
        output, _ = process.communicate(timeout=100)
    assert told.startswith(f"svdtui: Nobody computes: start a worker (dask worker {cluster.address}).")
    assert process.returncode == 0
    assert output.count("\n") == 1 + 4 * 4 * LAYERS


def test_a_scheduler_that_is_lost_is_told_on_the_screen_and_no_failure_of_the_layers(
    cluster: Cluster, svdtui: list[str], slow: Path
) -> None:
    """The last test of this cluster: it does not outlive it."""
    command = [*svdtui, slow, "--solver", SLOW, "--dask", cluster.address, "--no-prefetch", "--at", "0"]
    with Terminal([*map(str, command)], size=(120, 30)) as terminal:
        terminal.wait_for("cached 1/12 layers", timeout=60)
        terminal.press("s")
        terminal.wait_for("cached 2/12 layers", timeout=60)
        cluster.scheduler.kill()
        cluster.scheduler.wait()
        terminal.wait_for(f"! The connection to the Dask scheduler at {cluster.address} was lost.")
        assert "✗" not in terminal.text()
        terminal.press("q")
        assert terminal.wait_exit() == 0
