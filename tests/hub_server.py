"""A Hugging Face Hub on loopback, for real `huggingface_hub` clients (`HF_ENDPOINT`) over real sockets.

    with HubServer() as hub:
        commit = hub.add("org/tiny", folder)
        hub.faults.append(Drop(1000, file="*.safetensors"))         # tests/hub_faults.py
        subprocess.run(["svdtui", "org/tiny"], env={**os.environ, **hub.environ})
        assert hub.count(host="storage", file="model.safetensors") == 2
        assert not hub.leaks

It has two names, as the real one has: the Hub is 127.0.0.1, and redirects for large files to the storage, localhost,
which wants a signed address and no token. A third origin, `hub.stranger`, is there for faults to redirect to.

As a program, `python -m tests.hub_server FOLDER ORG/NAME` prints its address as JSON and serves until stdin closes;
`/stats`, `/stats?reset`, `/bandwidth?value=BYTES` and `/latency?value=SECONDS` are for a benchmark that talks to it.
"""

import argparse
import contextlib
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.hub_faults import Fault
from tests.hub_messages import Host, Reply, Request
from tests.hub_site import HubFile, HubSite, Repo
from tests.hub_sockets import NAMES, Listener

_SENDFILE_BYTES = 1 << 20


class HubServer:
    """The Hub, its storage and a stranger, each a listening socket of its own; closing ends every connection."""

    faults: list[Fault]
    """Given every request in order; the first that concerns it changes the answer."""
    requests: list[Request]
    """Everything that was asked, in order of arrival; `forget` empties it."""
    leaks: list[str]
    """Requests to other hosts than the Hub that carried an Authorization header."""
    bandwidth: float | None
    """Bytes per second over all connections together; None: as fast as it goes."""
    latency: float
    """Seconds before each answer's first byte."""

    def __init__(self, *, bandwidth: float | None = None, latency: float = 0) -> None:
        self.faults, self.requests, self.leaks = [], [], []
        self.bandwidth, self.latency = bandwidth, latency
        self.problems: list[BaseException] = []
        """What went wrong in the server itself; the end of the `with` block raises the first."""
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._used: dict[int, tuple[Fault, int]] = {}
        self._free_at = 0.0
        self._listeners: dict[Host, Listener] = {host: Listener(self, host) for host in NAMES}
        self.endpoint, self.storage, self.stranger = (listener.origin for listener in self._listeners.values())
        self.site = HubSite(self.endpoint, self.storage)
        self.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self.problems:
            raise self.problems[0]

    def close(self) -> None:
        self.closing.set()
        for listener in self._listeners.values():
            listener.refuse(hold_port=False)
        deadline = time.monotonic() + 2
        for listener in self._listeners.values():
            for thread in listener.threads():
                thread.join(max(deadline - time.monotonic(), 0))

    # ---- what it serves ------------------------------------------------------------------------------------

    def add(
        self,
        repo_id: str,
        folder: Path,
        *,
        commit: str | None = None,
        branches: Mapping[str, str] | None = None,
        gated: bool = False,
        private: bool = False,
        tokens: Collection[str] = (),
    ) -> str:
        """Serve a folder's files as a commit of a model, which `main` points to from now on, and return its hash.

        Called again with another folder, the model has another commit; who may read it is as in the last call.

        - `branches`: names (of tags as well), each for a commit or another name, `main` among them.
        - `tokens`: known to the Hub from now on; those that may read the model where it is gated or private.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = [HubFile(path.relative_to(folder).as_posix(), path, path.stat().st_size) for path in paths]
        if commit is None:
            listing = "".join(f"{file.blob_id} {file.name}\n" for file in files)
            commit = hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()
        elif not re.fullmatch("[0-9a-f]{40}", commit):
            raise ValueError(f"a commit is 40 hexadecimal digits, not {commit!r}")
        repo = self.site.repos.setdefault(repo_id, Repo(repo_id))
        repo.commits[commit] = {file.name: file for file in files}
        repo.branches["main"] = commit
        for name, revision in (branches or {}).items():
            pointed_at = repo.commit_of(revision)
            if pointed_at is None:
                raise ValueError(f"{repo_id} has no revision {revision}")
            repo.branches[name] = pointed_at
        repo.gated, repo.private, repo.tokens = gated, private, frozenset(tokens)
        self.known_tokens.update(repo.tokens)
        self.site.store(repo)
        return commit

    def rename(self, repo_id: str, new_id: str) -> None:
        """Move a model; its old name redirects from now on."""
        repo = self.site.repos.pop(repo_id)
        repo.repo_id = new_id
        self.site.repos[new_id] = repo
        self.site.renamed[repo_id] = new_id

    @property
    def known_tokens(self) -> set[str]:
        """Whoever comes with another one is refused whatever is asked."""
        return self.site.known_tokens

    @property
    def signed_seconds(self) -> float:
        """How long a signed address is good for."""
        return self.site.signed_seconds

    @signed_seconds.setter
    def signed_seconds(self, seconds: float) -> None:
        self.site.signed_seconds = seconds

    @property
    def environ(self) -> dict[str, str]:
        """What a program's environment needs to find this Hub and no other, and never a proxy."""
        return {"HF_ENDPOINT": self.endpoint, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}

    # ---- what happened -------------------------------------------------------------------------------------

    def count(
        self, host: Host | None = None, file: str | None = None, method: str | None = None, repo: str | None = None
    ) -> int:
        """How many requests there were; the API's have the file ""."""
        return len(self._matching(host, file, method, repo))

    def bytes_of(self, file: str | None = None, repo: str | None = None) -> int:
        """How many bytes of a file (of all files) were sent: what redirects and refusals say is not counted."""
        return sum(request.content_bytes for request in self._matching(None, file, None, repo) if request.file)

    def forget(self) -> None:
        """Begin counting anew."""
        with self._lock:
            self.requests.clear()
            self.leaks.clear()

    def _matching(self, host: Host | None, file: str | None, method: str | None, repo: str | None) -> list[Request]:
        with self._lock:
            return [
                request
                for request in self.requests
                if host in (None, request.host)
                and file in (None, request.file)
                and method in (None, request.method)
                and repo in (None, request.repo)
            ]

    def stats(self) -> dict[str, Any]:
        """Counts of requests and bytes of content, by host and by file; the API's are under ""."""
        hosts: dict[str, dict[str, int]] = {host: {"requests": 0, "bytes": 0} for host in NAMES}
        files: dict[str, dict[str, dict[str, int]]] = {host: {} for host in NAMES}
        for request in self._matching(None, None, None, None):
            of_file = files[request.host].setdefault(request.file, {"requests": 0, "bytes": 0})
            for counted in (hosts[request.host], of_file):
                counted["requests"] += 1
                counted["bytes"] += request.content_bytes
        return {"hosts": hosts, "files": files, "leaks": self.leaks}

    # ---- whether it can be reached -------------------------------------------------------------------------

    def refuse(self, *hosts: Host) -> None:
        """Refuse connections to these hosts (to all), and end those there are. The ports stay taken."""
        for host in hosts or NAMES:
            self._listeners[host].refuse()

    def accept(self, *hosts: Host) -> None:
        """Accept connections again."""
        for host in hosts or NAMES:
            self._listeners[host].accept()

    # ---- for the handlers ----------------------------------------------------------------------------------

    def answer(self, request: Request) -> tuple[Request, Reply]:
        """The answer to a request, with the fault that concerns it, and the request as it was noted."""
        if request.host != "hub" and request.has_token:
            self.leaks.append(f"{request.method} {request.host} {request.path}")
        request, reply = self.site.answer(request)
        with self._lock:
            fault = next((fault for fault in self.faults if self._strikes(fault, request, reply)), None)
        if fault is not None:
            reply = fault.apply(request, reply)
            request = replace(request, status=reply.status, fault=type(fault).__name__)
        if reply.cut and reply.cut.after_bytes is None:
            request = replace(request, status=0)
        with self._lock:
            self.requests.append(request)
        return request, replace(reply, delay=reply.delay + self.latency)

    def _strikes(self, fault: Fault, request: Request, reply: Reply) -> bool:
        if not fault.concerns(request, reply):
            return False
        _, used = self._used.get(id(fault), (fault, 0))  # kept with the fault, so that its id stays its own
        self._used[id(fault)] = fault, used + 1
        return fault.skip <= used < fault.skip + fault.times

    def note(self, before: Request, **changes: Any) -> Request:
        """Replace a request in the log by what is known about it now."""
        after = replace(before, **changes)
        with self._lock, contextlib.suppress(IndexError):  # a test may have emptied the list without `forget`
            for place in range(len(self.requests) - 1, -1, -1):
                if self.requests[place] is before:
                    self.requests[place] = after
                    break
        return after

    def pace(self, left: int) -> int:
        """Wait for the bandwidth, and say how many of the bytes that are left may be sent at once now."""
        if (bandwidth := self.bandwidth) is None:
            return min(left, _SENDFILE_BYTES)
        count = min(left, max(int(bandwidth * 0.005), 512), 1 << 20)
        with self._lock:  # a sleep that was too long is made up for, but silence is not saved up
            self._free_at = max(self._free_at, time.monotonic() - 0.02) + count / bandwidth
            due = self._free_at
        self.closing.wait(max(due - time.monotonic(), 0))
        return count


def main() -> None:
    """Serve one model until stdin closes."""
    parser = argparse.ArgumentParser(description="A Hugging Face Hub on loopback that serves one model.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("repo_id", metavar="ORG/NAME")
    parser.add_argument("--bandwidth", type=float, metavar="BYTES", help="per second, over all connections together")
    parser.add_argument("--latency", type=float, default=0, metavar="SECONDS", help="before each answer")
    options = parser.parse_args()
    with HubServer(bandwidth=options.bandwidth, latency=options.latency) as hub:
        commit = hub.add(options.repo_id, options.folder)
        sys.stdout.write(json.dumps({"endpoint": hub.endpoint, "storage": hub.storage, "commit": commit}) + "\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
