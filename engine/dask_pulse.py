"""Whether a Dask cluster still computes: its scheduler answers, has workers, and has heard of them lately.

Dask itself waits: for a scheduler whose machine sleeps, for the first worker that might be started, and five minutes
for one that says nothing.
"""

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .pulse import BEAT, MOST, Pulse
from .text import plural
from .workers import Hear

if TYPE_CHECKING:
    from distributed import Client

_SELDOM = 400
"""Workers from which they tell their scheduler of themselves so seldom that silence must last longer."""


class DaskPulse:
    """Tells `hear` of a cluster's trouble, and of its end, from two threads, until the client is closed."""

    def __init__(self, client: "Client", address: str, hear: Hear) -> None:
        self._client = client
        self._address = address
        self._hear = hear
        self._scheduler = Pulse()
        self._scheduler.heard()  # it has just been spoken with
        self._has_answered = False
        self._seen: dict[str, float] = {}
        self._workers: dict[str, Pulse] = {}
        self._lock = threading.Lock()
        for each in (self._ask, self._watch):
            threading.Thread(target=each, name="dask pulse", daemon=True).start()

    @property
    def _is_open(self) -> bool:
        return bool(self._client.status == "running")

    def _ask(self) -> None:
        """Ask the scheduler again and again; when it does not answer, this waits."""
        scheduler: Any = self._client.scheduler
        while self._is_open:
            with contextlib.suppress(Exception):  # what ends the connection is told by whoever needs it
                found = self._client.sync(scheduler.identity)
                self._take({address: float(each["last_seen"]) for address, each in found["workers"].items()})
            time.sleep(BEAT)

    def _take(self, seen: Mapping[str, float]) -> None:
        """When each worker was last heard of, by the scheduler's clock."""
        most = MOST * max(1.0, len(seen) / _SELDOM)
        with self._lock:
            self._scheduler.heard()
            self._has_answered = True
            self._workers = {address: self._workers.get(address) or Pulse(most) for address in seen}
            for address, pulse in self._workers.items():
                if seen[address] != self._seen.get(address):
                    pulse.heard()
            self._seen = dict(seen)

    def _watch(self) -> None:
        said = ""
        while self._is_open:
            time.sleep(BEAT)
            with self._lock:
                self._scheduler.look()
                for pulse in self._workers.values():
                    pulse.look()
                told = self._trouble()
            if told != said and self._is_open:
                said = told
                self._hear({"event": "trouble", "message": told})

    def _trouble(self) -> str:
        """What is wrong, as a sentence, or empty. What to do comes first: a status line may end before the rest."""
        if self._scheduler.is_silent:
            return (
                f"Nobody computes: let the Dask scheduler at {self._address} go on. It does not answer: it was "
                "stopped, or its machine cannot be reached."
            )
        count = len(self._workers)
        silent = sorted(address for address, pulse in self._workers.items() if pulse.is_silent)
        if not count and self._has_answered:
            return f"Nobody computes: start a worker (dask worker {self._address}). The Dask cluster has none any more."
        if not silent:
            return ""
        who = f"{len(silent)} of {plural(count, 'Dask worker')} {'does' if len(silent) == 1 else 'do'} not answer"
        advice = f"let {'it' if len(silent) == 1 else 'them'} go on, or start another"
        where = ", ".join(silent)
        if len(silent) == count:
            return f"Nobody computes: {advice} (dask worker {self._address}). {who}: {where}."
        return f"{who}: {advice} ({where})."
