"""The compute process, `svdtui.engine.worker [--network]`, driven by JSON lines on stdin and stdout.

While it waits for the first line it imports what it needs first: what computes, or the Hub's libraries (`--network`).
The first line opens a model: the fields of `Opening`; a name on the Hub comes as its fields, and without a key what is
found there is told. Each further line is a job: `{"job": "12.heads", "most_remote": 200000000, "head": 5}` (one that
would read more than that over a network is not begun; null for no limit), or the end of one:
`{"cancel": "12.heads"}`. With `head`, which may be null, slices are told of before the job is done, where that takes
long, and those of this head come first. Answers, one per line:

    {"event": "beat"}                               once a second: it runs, whatever it does
    {"event": "opening", "doing"}                   what it waits for, as a sentence, where it was given no key
    {"event": "opened", "source"}                   what another process makes the same model of: see `reopened`
    {"event": "ready", "device", "note", "devices"}    and how many devices a scan could use
    {"event": "header", "file", "data"}             a shard's header has been read, in base64
    {"event": "step", "job", "bytes_read", "bytes_total", "done", "total", "waiting"}
    {"event": "solved", "job", "slices"}            some of its slices: see `arriving`
    {"event": "done", "job", "seconds"}             the result is in the store; what it took, where it was computed
    {"event": "done", …, "data", "notice"}          the store could not be written: the result comes along in base64
    {"event": "cancelled", "job"}                   as was wished
    {"event": "too_large", "job"}                   it would read more than `most_remote`
    {"event": "failed", "job" (or null), "kind", "title", "message", "hint"}    `kind` is the name of the error's class

It ends with its parent: on the end of stdin at once, even in the middle of a computation, and by the parent's death
signal where the system has one.
"""

import base64
import contextlib
import json
import os
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .child import Channel, die_with_parent, unexpected
from .device import choose_devices
from .errors import EngineError
from .hub import HubSource
from .job_request import Opening
from .limits import fit_to_limits
from .model import Job, Model, job_name
from .target import HubName

if TYPE_CHECKING:
    from .arriving import SolvedSlices
    from .compute import Computer, Step
    from .store import Store

_STEP_SECONDS = 0.05
"""Least time between two messages about progress."""

_SOON = 0.5
"""Seconds within which a job is done before anybody would look at a part of it."""


class _CancelledError(Exception):
    """The job is no longer wanted."""


class _Requests:
    """Stdin's lines, read by a thread: jobs in order, and which job is no longer wanted."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: str | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """At the end of stdin the parent is gone or wants no more: end at once."""
        for line in sys.stdin:
            request = json.loads(line)
            if "cancel" in request:
                self._cancelled = request["cancel"]
            else:
                if request.get("job") == self._cancelled:
                    self._cancelled = None  # wanted again
                self._lines.put(request)
        os._exit(0)

    def next(self) -> dict[str, Any]:
        """The next line that is no cancellation."""
        return self._lines.get()

    def check(self, job: str) -> None:
        """Raise where a job is no longer wanted."""
        if self._cancelled == job:
            raise _CancelledError


def main() -> None:
    """Serve one parent until it closes stdin."""
    die_with_parent()
    with contextlib.suppress(OSError):
        os.nice(10)
    channel = Channel()
    channel.beat()
    requests = _Requests()
    try:
        fit_to_limits()
        _import_early(network="--network" in sys.argv[1:])
        opening = _opening(**requests.next())
        store, computer = _open(opening, channel)
    except EngineError as error:
        channel.send_error(None, error)
        return
    except Exception as error:
        channel.send_error(None, unexpected("Opening the model", error))
        return
    device = computer.device
    devices = 1 if device.is_cpu else len(choose_devices(opening.device))
    channel.send("ready", device=device.shown, note=device.note, devices=devices)
    while True:
        request = requests.next()
        name = request["job"]
        try:
            _serve(request, store, computer, channel, requests)
        except _CancelledError:
            channel.send("cancelled", job=name)
        except EngineError as error:
            channel.send_error(name, error)
        except Exception as error:
            channel.send_error(name, unexpected(f"Computing {job_name(Job.parse(name))}", error))


def _import_early(*, network: bool) -> None:
    if not network:
        from . import compute, store  # noqa: F401

        return
    from .hub_environment import check_connection, check_environment

    check_environment()
    from huggingface_hub import HfApi

    from . import hub_opening  # noqa: F401
    from .hub_limits import guarded_session

    HfApi()
    with contextlib.suppress(EngineError):  # told when it is used
        check_connection()
        guarded_session()


def _opening(*, location: str | dict[str, Any], **choices: Any) -> Opening:
    return Opening(location=location if isinstance(location, str) else HubName(**location), **choices)


def _open(opening: Opening, channel: Channel) -> "tuple[Store, Computer]":
    if opening.threads:
        from threadpoolctl import threadpool_limits

        threadpool_limits(opening.threads, "blas")  # others of this machine's cores have workers of their own
    if opening.key is not None:
        return opening.open()
    said = ""

    def watch(doing: str) -> None:
        nonlocal said
        if doing != said:
            said = doing
            channel.send("opening", doing=doing)

    def opened(model: Model) -> None:
        source = model.checkpoint.source
        assert isinstance(source, HubSource)
        channel.send("opened", source=source.described())

    return opening.open(watch, opened)


class _Account:
    """What the parent is told of a job while it is computed, from any thread."""

    def __init__(self, job: str, channel: Channel, *, with_slices: bool) -> None:
        self._job = job
        self._channel = channel
        self._with_slices = with_slices
        self._lock = threading.Lock()
        self._begin = time.monotonic()
        self._last = 0.0
        self._is_read = False
        self._slices: list[SolvedSlices] = []

    def step(self, step: "Step") -> None:
        """It has come further; not every step is told of."""
        with self._lock:
            now = time.monotonic()
            just_read = not self._is_read and 0 < step.bytes_total == step.bytes_read
            if not just_read and now - self._last < _STEP_SECONDS:
                return
            self._last, self._is_read = now, self._is_read or just_read
            self._channel.send(
                "step",
                job=self._job,
                bytes_read=step.bytes_read,
                bytes_total=step.bytes_total,
                done=step.done,
                total=step.total,
                waiting=step.waiting,
            )
            if self._slices and (now - self._begin) * step.total > _SOON * step.done:  # at this pace it takes longer
                slices, self._slices = self._slices, []
                self._channel.send("solved", job=self._job, slices=[each.packed() for each in slices])

    def solved(self, slices: "SolvedSlices") -> None:
        """Some slices are solved; they are told of with the next step."""
        if self._with_slices:
            with self._lock:
                self._slices.append(slices)


def _serve(
    request: dict[str, Any], store: "Store", computer: "Computer", channel: Channel, requests: _Requests
) -> None:
    name, most_remote = request["job"], request["most_remote"]
    job = Job.parse(name)
    account = _Account(name, channel, with_slices="head" in request)

    def on_step(step: "Step") -> None:
        requests.check(name)
        account.step(step)

    model = computer.model
    for file, header in computer.read_headers(job, on_step):
        channel.send("header", file=file, data=base64.b64encode(header).decode())
    if store.load(job) is not None:  # another program was faster, or its header was not known
        channel.send("done", job=name)
        return
    if most_remote is not None and (model.remote_bytes(job) or 0) > most_remote:
        channel.send("too_large", job=name)
        return
    begun = time.monotonic()
    data = store.encode(computer.compute(job, on_step, account.solved, request.get("head")))
    seconds = time.monotonic() - begun
    try:
        store.save(data, job)
    except OSError as error:
        channel.send(
            "done", job=name, seconds=seconds, data=base64.b64encode(data).decode(), notice=store.cannot_keep(error)
        )
    else:
        channel.send("done", job=name, seconds=seconds)


if __name__ == "__main__":
    main()
