"""The test Hub, as a process of its own: what it does takes no time from what is measured, except for its CPU's."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import ProxyHandler, build_opener

import psutil

from svdtui.engine import HubName, Model, open_model
from svdtui.engine.hub_errors import HubAccess

from .program import is_of_the_hub

NAME = "bench/llama-3-8b-shaped"

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Asked:
    """What a Hub was asked for: requests, and bytes of what it sent, without HTTP's own headers."""

    to_hub: int
    """Requests to the Hub's host, which knows where files are and serves the small ones."""
    to_storage: int
    """Requests to the host that serves weights, at signed addresses."""
    nbytes: int
    weight_bytes: int
    """Those of safetensors files."""

    @property
    def requests(self) -> int:
        """To both hosts."""
        return self.to_hub + self.to_storage


class HubProcess:
    """`python -m tests.hub_server`, with a folder as the model `NAME`."""

    def __init__(self, folder: Path) -> None:
        argv = [sys.executable, "-m", "tests.hub_server", str(folder), NAME]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT)
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the test Hub ended with status {self._process.wait()}")
        self.endpoint: str = json.loads(line)["endpoint"]
        self._opener = build_opener(ProxyHandler({}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # the end of its stdin is its end

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs in its environment to find this Hub, and without a proxy."""
        return {"HF_ENDPOINT": self.endpoint, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}

    @contextmanager
    def home(self) -> Iterator[Path]:
        """An empty folder for what is kept. While this lasts, a worker's environment names it and this Hub."""
        before = dict(os.environ)
        with tempfile.TemporaryDirectory() as home:
            for name in filter(is_of_the_hub, before):
                del os.environ[name]
            os.environ.update(self.environ, HF_HOME=home)
            try:
                yield Path(home)
            finally:
                os.environ.clear()
                os.environ.update(before)

    def open(self, home: Path) -> Model:
        """The model, as a program opens it whose home this is."""
        access = HubAccess(endpoint=self.endpoint, cache_dir=str(home / "hub"))
        return open_model(HubName(NAME), cache_dir=home / "results", access=access)

    def limit(self, bytes_per_second: float | None) -> None:
        """Send so many bytes a second over all connections together; None: as fast as it goes."""
        self._get(f"/bandwidth?value={bytes_per_second or ''}")

    def asked(self) -> Asked:
        """What it was asked for since the last call."""
        stats = self._get("/stats?reset")
        files = {host: stats["files"][host] for host in ("hub", "storage")}
        return Asked(
            to_hub=stats["hosts"]["hub"]["requests"],
            to_storage=stats["hosts"]["storage"]["requests"],
            nbytes=sum(host["bytes"] for host in stats["hosts"].values()),
            weight_bytes=sum(
                counted["bytes"]
                for of_host in files.values()
                for file, counted in of_host.items()
                if file.endswith(".safetensors")
            ),
        )

    def cpu_seconds(self) -> float:
        """CPU time that it has taken."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _get(self, path: str) -> Mapping[str, Any]:
        with self._opener.open(self.endpoint + path, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
