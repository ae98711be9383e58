"""What the compute process and the relay have in common: they serve one parent in JSON lines, and end with it."""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from .errors import EngineError, WorkerError
from .hub_errors import redacted
from .limits import shortage
from .pulse import BEAT

_PR_SET_PDEATHSIG = 1


class Channel:
    """The real stdout; whatever libraries print goes to stderr instead."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def beat(self) -> None:
        """Say from now on, in a thread, that this process runs: a computation may take minutes without a word."""
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def _beat(self) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more, and this process ends
            while True:
                self.send("beat")
                time.sleep(BEAT)

    def send(self, event: str, **fields: Any) -> None:
        """Write one line, from any thread."""
        with self._lock:
            self._out.write(json.dumps({"event": event, **fields}) + "\n")

    def send_error(self, job: str | None, error: EngineError) -> None:
        """Say that a job failed, or (None) that no job can be computed."""
        self.send("failed", job=job, **error.told)


def die_with_parent() -> None:
    """End when the thread that started this process ends, and ignore the Ctrl-C that is meant for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def unexpected(doing: str, error: BaseException) -> EngineError:
    """No memory or thread is left; or what should not happen: the log has the details, without what is secret."""
    if told := shortage(error):
        return told
    sys.stderr.write(redacted("".join(traceback.format_exception(error))))
    sys.stderr.flush()
    message = f"{doing} failed with {type(error).__name__}: {redacted(str(error))}."
    return WorkerError(message, "The log has the details; please report it.")
