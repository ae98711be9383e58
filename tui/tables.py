"""What an overview takes from a session. Imported after the first frame, with the session."""

import asyncio

from svdtui.engine.address import Address
from svdtui.engine.model import HEADS, Job
from svdtui.engine.overview import HeadsOverview, LayersOverview, overview
from svdtui.engine.results import JobResult
from svdtui.engine.session import Session
from svdtui.engine.views import View, view


def overview_of(session: Session, address: Address, k: int) -> HeadsOverview | LayersOverview:
    """The heads of a layer, as far as they are solved, or the layers whose figures have been read."""
    if address.layer is None:
        session.hurry()
    else:
        job = Job(address.layer, HEADS)
        seen = session.seen(job)
        if seen is not None and session.tables(job) is None:
            tables = seen.tables(k)
            so_far = {name: matrix.solved for name, matrix in seen.matrices.items()}
            return overview(session.model, address, lambda _: tables, k, so_far)
    return overview(session.model, address, session.tables, k)


async def rows_of(session: Session, address: Address, k: int) -> View:
    """The rows of a layer, as far as they are solved, or of the layers of the model that are computed.

    One result is read after the other, so that the screen goes on answering.
    """
    find = session.result if address.layer is None else session.seen
    found: dict[Job, JobResult | None] = {}
    for job in session.model.jobs(address):
        found[job] = find(job)
        await asyncio.sleep(0)
    return await asyncio.to_thread(view, session.model, address, found.get, k=k)
