"""A real Dask cluster on loopback: a scheduler and two worker processes, which open the models themselves."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from svdtui.engine import (
    HEADS,
    Analysis,
    ChoiceError,
    Job,
    ModelChangedError,
    ModelNotFoundError,
    WorkerError,
    __version__,
    dask_cluster,
    open_model,
)
from tests.checkpoints import write_checkpoint
from tests.conftest import RunSvdtui
from tests.hub_server import HubServer
from tests.poisoned import poison
from tests.scans import SLOW, Relay, computed_here, results, slow_checkpoint, wait_for
from tests.terminal import Terminal

pytest.importorskip("distributed")


class Cluster:
    """`dask scheduler` and two times `dask worker`, without nannies: a worker that is killed stays away."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self._file = folder / "scheduler.json"
        self._environ = {**os.environ, **environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
        self.scheduler = self._start("scheduler", "--scheduler-file", str(self._file), "--port", "0")
        wait_for(lambda: self._file.exists() and self._file.read_text().endswith("}"))
        self.address: str = json.loads(self._file.read_text())["address"]
        self.workers = [self.start_worker(), self.start_worker()]

    def _start(self, *args: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dask", *args, "--host", "127.0.0.1", "--no-dashboard"]
        with (self.folder / f"{args[0]}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self._environ, stdout=log, stderr=log)

    def start_worker(self, *args: str) -> "subprocess.Popen[bytes]":
        return self._start("worker", "--scheduler-file", str(self._file), "--nthreads", "2", "--no-nanny", *args)

    def wait_for_workers(self, count: int) -> None:
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=10) as client:
            wait_for(lambda: len(client.nthreads()) == count)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def cluster(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    environ = {"HF_HOME": str(folder / "huggingface"), "XDG_CACHE_HOME": str(folder / "cache"), **hub.environ}
    cluster = Cluster(folder, environ)
    cluster.wait_for_workers(2)
    yield cluster
    cluster.close()


def test_a_cluster_leaves_what_one_process_leaves(cluster: Cluster, run_svdtui: RunSvdtui, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=7).folder
    done = run_svdtui(folder, "--csv", "-", "--dask", cluster.address, "--cache-dir", tmp_path / "dask")
    here = run_svdtui(folder, "--csv", "-", "--device", "cpu", "--cache-dir", tmp_path / "here")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == here.stdout
    assert len(results(tmp_path / "dask")) == 7
    assert results(tmp_path / "dask") == results(tmp_path / "here")


def test_a_screen_with_a_cluster_runs_nothing_of_the_current_folder(
    cluster: Cluster, svdtui: list[str], tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "m").folder
    poison(folder, tmp_path / "marks")
    with Terminal([*svdtui, ".", "--dask", cluster.address, "--at", "0", "--no-prefetch"], cwd=folder) as terminal:
        terminal.wait_for("cached 1/2")
        terminal.press("s")
        terminal.wait_for("cached 2/2")
        terminal.press("q")
        assert terminal.wait_exit() == 0
    assert not (tmp_path / "marks").exists()


def test_a_killed_worker_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    model = open_model(slow_checkpoint(tmp_path / "m", layers=7))
    with Relay(model, tmp_path / "cache", solver=SLOW, dask=cluster.address) as relay:
        ready = relay.next()
        assert ready["device"] == f"dask {cluster.address} (2 workers)"
        assert ready["capacity"] == 4
        relay.ask(*(f"{layer}.heads" for layer in range(7)))
        next(relay.until_answered(1))
        cluster.workers[0].kill()
        answers = Counter(event["event"] for event in relay.until_answered(6))
    assert answers == {"done": 6}
    assert results(tmp_path / "cache") == computed_here(model, tmp_path / "here", SLOW)
    cluster.workers[0].wait()
    cluster.workers[0] = cluster.start_worker()
    cluster.wait_for_workers(2)


def test_a_hub_model_is_streamed_by_the_workers_and_its_headers_are_told(
    cluster: Cluster, hub: HubServer, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=4, shards=2).folder
    commit = hub.add("org/m", folder)
    remote = {"location": f"hf://org/m@{commit}", "key": f"org--m@{commit}", "dask": cluster.address}
    with Relay(open_model(folder), tmp_path / "cache", {**os.environ, **hub.environ}, **remote) as relay:
        assert relay.next()["event"] == "ready"
        relay.ask(*(f"{layer}.heads" for layer in range(4)))
        told = Counter(event.get("file", event["event"]) for event in relay.until_answered(4))
    assert told == {"done": 4, "model-00001-of-00002.safetensors": 1, "model-00002-of-00002.safetensors": 1}
    assert len(results(tmp_path / "cache")) == 4


def test_a_model_that_a_worker_does_not_see(cluster: Cluster, tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m").folder)
    (tmp_path / "m").rename(tmp_path / "elsewhere")
    with (
        Analysis(model, device="cpu", cache_dir=tmp_path) as analysis,
        pytest.raises(
            ModelNotFoundError, match=r"^The Dask worker tcp://.* cannot open the model: There is no"
        ) as raised,
    ):
        analysis.scan(dask=cluster.address)
    assert "at the same path" in raised.value.hint


HERE = Path("/proc/self/cwd")
"""A path that is the same for every process, and leads each somewhere else: what a disk of its own is to a machine."""


@pytest.fixture
def two_disks(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The same model here and where the workers are, whose files have times of their own."""
    if not HERE.exists():
        pytest.skip("this system has no such path")
    ours, theirs = tmp_path / "here" / "m", cluster.folder / "m"
    shutil.rmtree(theirs, ignore_errors=True)
    write_checkpoint(ours, layers=3, hidden=256)
    shutil.copytree(ours, theirs, copy_function=shutil.copy)
    os.utime(ours / "model.safetensors", (0, 0))
    monkeypatch.chdir(ours.parent)
    return ours, theirs


@pytest.mark.usefixtures("two_disks")
def test_a_copy_of_the_files_with_other_times_serves(cluster: Cluster, tmp_path: Path) -> None:
    with Analysis(HERE / "m", device="cpu", cache_dir=tmp_path / "cache") as analysis:
        analysis.scan(dask=cluster.address)
        assert len(results(tmp_path / "cache")) == 3
        assert analysis.known(Job(2, HEADS)) is not None


def test_other_weights_at_the_same_path_are_refused(
    two_disks: tuple[Path, Path], cluster: Cluster, tmp_path: Path
) -> None:
    write_checkpoint(two_disks[1], layers=3, hidden=256, seed=1)
    os.utime(two_disks[1] / "model.safetensors", (0, 0))
    with (
        Analysis(HERE / "m", device="cpu", cache_dir=tmp_path) as analysis,
        pytest.raises(ModelChangedError, match=r"^The Dask worker tcp://.* has other files there than this") as raised,
    ):
        analysis.scan(dask=cluster.address)
    assert "the same files at the same path" in raised.value.hint
    assert results(tmp_path) == {}


def test_a_single_tensor_that_differs_is_refused_when_it_comes_back(
    two_disks: tuple[Path, Path], cluster: Cluster, tmp_path: Path
) -> None:
    def stranger() -> dict[str, str]:
        return open_model(two_disks[1]).checkpoint.samples()

    ref = open_model(two_disks[0]).checkpoint.tensors["model.layers.1.self_attn.q_proj.weight"]
    before = stranger()
    with (two_disks[1] / "model.safetensors").open("r+b") as file:
        file.seek(ref.start)
        file.write(bytes(8))
    assert stranger() == before, "what the workers are asked first does not tell"
    with (
        Analysis(HERE / "m", device="cpu", cache_dir=tmp_path) as analysis,
        pytest.raises(ModelChangedError, match=r"^What came back for layer 1 was computed from other files"),
    ):
        analysis.scan(dask=cluster.address)
    assert sorted(results(tmp_path)) == ["layer-00000.heads.safetensors", "layer-00002.heads.safetensors"]


@pytest.mark.parametrize(("theirs", "words"), [("0.0.1", "has svdtui 0.0.1"), (None, "has no svdtui")])
def test_a_worker_with_another_svdtui(theirs: str | None, words: str, cluster: Cluster, tmp_path: Path) -> None:
    preload = tmp_path / "preload.py"
    preload.write_text(
        "import importlib.metadata as metadata\n"
        "class Distribution(metadata.Distribution):\n"
        "    metadata = {'Version': '0.0.1'}\n"
        "    def read_text(self, name): ...\n"
        "    def locate_file(self, path): ...\n"
        "true = metadata.Distribution.from_name.__func__\n"
        "def from_name(cls, name):\n"
        "    if name != 'svdtui':\n"
        "        return true(cls, name)\n"
        + ("    return Distribution()\n" if theirs else "    raise metadata.PackageNotFoundError(name)\n")
        + "metadata.Distribution.from_name = classmethod(from_name)\n"
    )
    folder = write_checkpoint(tmp_path / "m").folder
    worker = cluster.start_worker("--preload", str(preload))
    try:
        cluster.wait_for_workers(3)
        with (
            Analysis(folder, device="cpu", cache_dir=tmp_path) as analysis,
            pytest.raises(WorkerError, match=rf"{words}, and this machine has {__version__}"),
        ):
            analysis.scan(dask=cluster.address)
    finally:
        worker.kill()
        worker.wait()
        cluster.wait_for_workers(2)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense", "'nonsense' is not a Dask scheduler's address"),
        ("", "'' is not a Dask scheduler's address"),
        ("http://127.0.0.1:80", "is not a Dask scheduler's address"),
        ("tls://127.0.0.1:1", "needs certificates"),
    ],
)
def test_what_is_no_address(address: str, words: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m").folder
    with (
        Analysis(folder, device="cpu", cache_dir=tmp_path) as analysis,
        pytest.raises(ChoiceError, match=words),
    ):
        analysis.scan(dask=address)


@pytest.mark.parametrize("what", ["nothing", "something else"])
def test_no_scheduler_at_the_address(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dask_cluster._CONNECT_SECONDS <= 10
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 1.5)
    folder = write_checkpoint(tmp_path / "m").folder
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        if what != "nothing":
            listener.listen()  # accepts, and says nothing
        analysis = stack.enter_context(Analysis(folder, device="cpu", cache_dir=tmp_path))
        words = "No Dask scheduler answers at" if what == "nothing" else "does not answer as a Dask scheduler does"
        with pytest.raises(WorkerError, match=words):
            analysis.scan(dask=address)


def test_the_extra_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    folder = write_checkpoint(tmp_path / "m").folder
    with Analysis(folder, device="cpu", cache_dir=tmp_path) as analysis:
        with pytest.raises(ChoiceError, match=r"pip install 'svdtui\[dask\]'"):
            analysis.scan(dask="tcp://127.0.0.1:8786")
        analysis.scan()
    assert len(results(tmp_path)) == 2


def test_a_scheduler_without_workers(cluster: Cluster, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m").folder
    for process in cluster.workers:
        process.kill()
        process.wait()
    cluster.wait_for_workers(0)
    with (
        Analysis(folder, device="cpu", cache_dir=tmp_path) as analysis,
        pytest.raises(WorkerError, match=r"has no workers\. Start some: dask worker"),
    ):
        analysis.scan(dask=cluster.address)
    cluster.workers = [cluster.start_worker()]
    cluster.wait_for_workers(1)


def test_a_scheduler_that_is_lost_ends_the_scan_at_once(cluster: Cluster, svdtui: list[str], tmp_path: Path) -> None:
    """The last test of this cluster: it does not outlive it."""
    folder = slow_checkpoint(tmp_path / "m", layers=20)
    options = ["--solver", SLOW, "--dask", cluster.address, "--csv", "-", "--cache-dir", tmp_path / "cache"]
    command = [*map(str, [*svdtui, folder, *options])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: results(tmp_path / "cache"))
        cluster.scheduler.kill()
        output, told = process.communicate(timeout=8)
    assert (process.returncode, output) == (1, "")
    assert told.startswith(f"svdtui: The connection to the Dask scheduler at {cluster.address} was lost.")
    assert len(told.splitlines()) == 1
    assert 0 < len(results(tmp_path / "cache")) < 20
