"""A session whose worker is warm: it is asked for places, and they are waited for."""

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from svdtui.engine import Address, DeviceKnown, Event, Model, Noticed, ScanEnded, Session, State, StateChanged


class WarmSession:
    """A `Session` that computes only what it is asked for; entered, its worker has loaded everything."""

    def __init__(self, model: Model, cache_dir: Path) -> None:
        self._model = model
        self._news: asyncio.Queue[Event] = asyncio.Queue()
        self._session = Session(model, cache_dir=cache_dir, prefetch=False, on_event=self._news.put_nowait)
        self._worker: psutil.Process | None = None

    async def __aenter__(self) -> Self:
        others = set(psutil.Process().children())
        await self._session.start()
        await self._until_ready()
        (self._worker,) = set(psutil.Process().children()) - others
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def show(self, address: Address) -> float:
        """Seconds until everything that a view of this place shows is there; what is there already costs nothing."""
        begin = time.perf_counter()
        self._session.want(address)
        await self._wait_for(address)
        return time.perf_counter() - begin

    async def again(self, address: Address) -> float:
        """Seconds until everything that a view of this place shows has been read and computed anew."""
        begin = time.perf_counter()
        self._session.again(address)
        await self._wait_for(address)
        return time.perf_counter() - begin

    async def scan(self) -> float:
        """Seconds until all layers that are missing have been scanned."""
        begin = time.perf_counter()
        self._session.scan()
        while True:
            match await self._next():
                case ScanEnded():
                    return time.perf_counter() - begin
                case StateChanged(job, State.FAILED):
                    raise RuntimeError(f"{job} failed: {self._session.failure(job)}")

    def worker_seconds(self) -> float:
        """CPU time that the worker has taken."""
        assert self._worker
        times = self._worker.cpu_times()
        return float(times.user + times.system)

    async def _until_ready(self) -> None:
        while True:
            match await self._next():
                case DeviceKnown():
                    return
                case Noticed(message):
                    raise RuntimeError(f"the worker says: {message}")

    async def _wait_for(self, address: Address) -> None:
        jobs = self._model.jobs(address)
        while any(self._session.state(job) is not State.CACHED for job in jobs):
            match await self._next():
                case StateChanged(job, State.FAILED):
                    raise RuntimeError(f"{job} failed: {self._session.failure(job)}")

    async def _next(self) -> Event:
        return await asyncio.wait_for(self._news.get(), 120)
