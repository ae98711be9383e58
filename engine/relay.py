"""A scan's process, between a screen and several workers or a Dask cluster.

It speaks as `worker` does, with these differences. The first line has two fields more: `workers`, how many share the
CPU (null: one, or one for each GPU), and `dask`, the address of a cluster's scheduler (or null). The answer says how
many jobs are wanted at once:

    {"event": "ready", "device": "2 workers on cpu", "note", "capacity": 2}

As many may be given, and are answered in any order. `{"cancel": "12.heads"}` withdraws one that has not begun; another
is done all the same. A worker that dies is replaced, and what it computed is begun again, which is told:

    {"event": "notice", "message"}

Where some of those who compute are not heard of, or nobody is left, that is told, and an empty message when it is over:

    {"event": "trouble", "message"}

It ends with its parent, and its workers with it. `most_remote` is not for a Dask cluster, which reads over a network of
its own.
"""

import base64
import json
import os
import queue
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from .child import Channel, die_with_parent, unexpected
from .errors import EngineError
from .job_request import Opening
from .lanes import LocalWorkers, plan
from .model import Job, job_name
from .workers import Answer, Workers


class _Relay:
    """The jobs that are under way, and what is told of them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._under_way: dict[str, Future[Answer]] = {}
        self._told: set[str] = set()

    def hear(self, event: dict[str, Any]) -> None:
        """Pass on what a worker tells; a header once, though several workers may have read it."""
        if event["event"] == "header":
            if event["file"] in self._told:
                return
            self._told.add(event["file"])
        self._channel.send(**event)

    def serve(self, workers: Workers, request: dict[str, Any]) -> None:
        """A job, or the end of one."""
        if "cancel" in request:
            if future := self._under_way.get(request["cancel"]):
                future.cancel()
            return
        name = request["job"]
        future = self._under_way[name] = workers.submit(Job.parse(name), request.get("most_remote"))
        future.add_done_callback(lambda future: self._answer(name, future))

    def _answer(self, name: str, future: Future[Answer]) -> None:
        if self._under_way.get(name) is future:
            del self._under_way[name]
        if future.cancelled():
            self._channel.send("cancelled", job=name)
        elif isinstance(error := future.exception(), EngineError):
            self._channel.send_error(name, error)
        elif error is not None:
            self._channel.send_error(name, unexpected(f"Computing {job_name(Job.parse(name))}", error))
        elif (answer := future.result()).is_too_large:
            self._channel.send("too_large", job=name)
        elif answer.data is not None:
            data = base64.b64encode(answer.data).decode()
            self._channel.send("done", job=name, data=data, notice=answer.notice)
        else:
            self._channel.send("done", job=name)


def main() -> None:
    """Serve one parent until it closes stdin."""
    die_with_parent()
    channel = Channel()
    channel.beat()
    relay = _Relay(channel)
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    try:
        workers = _open(relay, **lines.get())
    except Exception as error:
        channel.send_error(None, error if isinstance(error, EngineError) else unexpected("Opening the model", error))
        os._exit(0)  # a client that has found no scheduler would take long to end
    channel.send("ready", device=workers.shown, note=workers.note, capacity=workers.capacity)
    while True:
        relay.serve(workers, lines.get())


def _read(lines: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """At the end of stdin the parent is gone or wants no more: end at once, and so do the workers."""
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(0)


def _open(relay: _Relay, *, workers: int | None = None, dask: str | None = None, **opening: Any) -> Workers:
    what = Opening(**opening)
    if dask is None:
        local = LocalWorkers(plan(what, workers), relay.hear)
        local.wait_until_ready()
        return local
    from .dask_cluster import DaskWorkers
    from .opening import open_model
    from .store import Store

    cache_dir = Path(what.cache_dir) if what.cache_dir else None
    model = open_model(what.location, offline=what.offline, cache_dir=cache_dir, stack=what.stack)
    return DaskWorkers(dask, what, model, Store(model, what.solver, cache_dir), relay.hear)


if __name__ == "__main__":
    main()
