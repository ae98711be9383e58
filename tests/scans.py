"""What scans are tested with: a model that takes seconds, and the processes that compute."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import torch

from svdtui.engine import Analysis, Model, Solver
from tests.checkpoints import write_shards

SLOW: Solver = "svd64"
"""The solver with which a layer of `slow_checkpoint` takes some tenths of a second."""


def slow_checkpoint(folder: Path, layers: int, *, shards: int = 1) -> Path:
    """Attention only, and seconds of work with `SLOW`."""
    weight = torch.randn(768, 768, generator=torch.Generator().manual_seed(0)).bfloat16()
    names = [f"model.layers.{layer}.self_attn.{matrix}_proj.weight" for layer in range(layers) for matrix in "qkvo"]
    folder.mkdir()
    write_shards(folder, {name: weight.clone() for name in names}, shards=shards)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 768, "num_attention_heads": 4}))
    return folder


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The living compute processes below a process."""
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie counts as gone
            if "svdtui.engine.worker" in child.cmdline():
                found.append(child)
    return found


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def are_gone(processes: list[psutil.Process]) -> bool:
    return all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in processes)


def results(folder: Path) -> dict[str, bytes]:
    """The files of results in a cache folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.heads.safetensors"))}


def computed_here(model: Path | Model, cache: Path, solver: Solver = "gram64") -> dict[str, bytes]:
    """The results that this process computes of a model."""
    with Analysis(model, device="cpu", cache_dir=cache, solver=solver) as analysis:
        analysis.scan()
    return results(cache)


class Relay:
    """`python -m svdtui.engine.relay`, as the screen talks to it."""

    def __init__(self, model: Model, cache: Path, environ: dict[str, str] | None = None, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "svdtui.engine.relay"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ,
            start_new_session=True,
        )
        opening = {"location": model.location, "key": model.key, "solver": "gram64", "device": "cpu"}
        self.send({**opening, "cache_dir": str(cache), "offline": False, "workers": None, "dask": None, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):  # what was sent to one that had ended
            self.process.__exit__(kind, error, traceback)

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def ask(self, *jobs: str) -> None:
        for job in jobs:
            self.send({"job": job, "most_remote": None})

    def next(self) -> dict[str, Any]:
        """The next line that is neither a step nor a beat."""
        assert self.process.stdout
        while (event := json.loads(self.process.stdout.readline()))["event"] in {"step", "beat"}:
            pass
        return dict(event)

    def until_answered(self, count: int) -> Iterator[dict[str, Any]]:
        """What comes until so many jobs have been answered."""
        while count:
            event = self.next()
            count -= event["event"] in {"done", "failed", "cancelled", "too_large"}
            yield event

    @property
    def workers(self) -> list[psutil.Process]:
        return workers_of(psutil.Process(self.process.pid))
