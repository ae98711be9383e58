"""What an overview takes from a session. Imported after the first frame, with the session."""

import asyncio

from svdtui.engine.address import Address
from svdtui.engine.model import HEADS, Job
from svdtui.engine.results import JobResult, TablesOf
from svdtui.engine.session import Session
from svdtui.engine.views import View, view


def tables_of(session: Session, address: Address) -> TablesOf:
    """Finds the figures of jobs in a session. A layer's own are read now; of all layers, those that have been read."""
    if address.layer is None:
        session.hurry()
    else:
        session.result(Job(address.layer, HEADS))
    return session.tables


async def rows_of(session: Session, address: Address, k: int) -> View:
    """The rows of a layer or the model: one result after the other, so that the screen goes on answering."""
    found: dict[Job, JobResult | None] = {}
    for job in session.model.jobs(address):
        found[job] = session.result(job)
        await asyncio.sleep(0)
    return await asyncio.to_thread(view, session.model, address, found.get, k=k)
