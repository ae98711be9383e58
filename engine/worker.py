"""The compute process: `python -m svdtui.engine.worker`, driven by JSON lines on stdin and stdout.

The first line opens a model: `{"location", "key", "solver", "device", "cache_dir"}`. Each further line is a job:
`{"job": "12.heads"}`. Answers, one per line:

    {"event": "ready", "device", "note"}
    {"event": "step", "job", "bytes_read", "bytes_total", "done", "total"}
    {"event": "done", "job"}                        the result is in the store
    {"event": "done", "job", "data", "notice"}      the store could not be written: the result comes along in base64
    {"event": "failed", "job" (or null), "title", "message", "hint"}

It ends with its parent: on the end of stdin at once, even in the middle of a computation, and by the parent's death
signal where the system has one.
"""

import base64
import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from .errors import EngineError, WorkerError
from .model import Job
from .opening import open_model
from .store import Store

_STEP_SECONDS = 0.05
"""Least time between two messages about progress."""

_PR_SET_PDEATHSIG = 1


class _Channel:
    """The real stdout; whatever libraries print goes to stderr instead."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, event: str, **fields: Any) -> None:
        with self._lock:
            self._out.write(json.dumps({"event": event, **fields}) + "\n")

    def send_error(self, job: str | None, error: EngineError) -> None:
        self.send("failed", job=job, title=error.title, message=error.message, hint=error.hint)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _read_lines(lines: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Hand on stdin's lines; at its end the parent is gone or wants no more: end at once."""
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(0)


def main() -> None:
    """Serve one parent until it closes stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    with contextlib.suppress(OSError):
        os.nice(10)
    channel = _Channel()
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    request = lines.get()
    try:
        model = open_model(request["location"])
        if model.key != request["key"]:
            raise WorkerError(f"{model.location} has changed since it was opened.", "Quit and open the model again.")
        cache_dir = Path(request["cache_dir"]) if request["cache_dir"] else None
        store = Store(model, request["solver"], cache_dir)
        from .compute import Computer  # torch, about a second

        computer = Computer(model, request["solver"], request["device"])
    except EngineError as error:
        channel.send_error(None, error)
        return
    channel.send("ready", device=computer.device.shown, note=computer.device.note)
    while True:
        _serve(lines.get()["job"], store, computer, channel)


def _serve(name: str, store: Store, computer: "Any", channel: _Channel) -> None:
    job = Job.parse(name)
    last = 0.0
    is_read = False

    def on_step(step: Any) -> None:
        nonlocal last, is_read
        now = time.monotonic()
        just_read = not is_read and step.bytes_read == step.bytes_total
        if just_read or now - last >= _STEP_SECONDS:
            last, is_read = now, is_read or just_read
            channel.send(
                "step",
                job=name,
                bytes_read=step.bytes_read,
                bytes_total=step.bytes_total,
                done=step.done,
                total=step.total,
            )

    try:
        if store.load(job) is not None:  # another program was faster
            channel.send("done", job=name)
            return
        data = store.encode(computer.compute(job, on_step))
    except EngineError as error:
        channel.send_error(name, error)
        return
    except Exception as error:
        traceback.print_exc()
        message = f"{job} failed with {type(error).__name__}: {error}."
        channel.send_error(name, WorkerError(message, "The log has the details; please report it."))
        return
    try:
        store.save(data, job)
    except OSError as error:
        channel.send("done", job=name, data=base64.b64encode(data).decode(), notice=store.cannot_keep(error))
    else:
        channel.send("done", job=name)


if __name__ == "__main__":
    main()
