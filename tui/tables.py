"""What an overview takes from a session. Imported after the first frame, with the session."""

import asyncio
from weakref import WeakKeyDictionary

from svdtui.engine.address import Address
from svdtui.engine.model import Job
from svdtui.engine.results import JobResult, Tables, TablesOf
from svdtui.engine.session import Session
from svdtui.engine.views import View, view

_known: WeakKeyDictionary[JobResult, dict[int, Tables]] = WeakKeyDictionary()


def tables_of(session: Session, k: int) -> TablesOf:
    """Finds the figures of a job in a session, worked out once for each result."""

    def tables(job: Job) -> Tables | None:
        result = session.result(job)
        if result is None:
            return None
        found = _known.setdefault(result, {})
        if k not in found:
            found[k] = result.tables(k)
        return found[k]

    return tables


async def rows_of(session: Session, address: Address, k: int) -> View:
    """The rows of a layer or the model: one result after the other, so that the screen goes on answering."""
    found: dict[Job, JobResult | None] = {}
    for job in session.model.jobs(address):
        found[job] = session.result(job)
        await asyncio.sleep(0)
    return await asyncio.to_thread(view, session.model, address, found.get, k=k)
