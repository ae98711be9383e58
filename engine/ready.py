"""How many layers have everything that their view shows: counted as results come and go, not by asking all of them."""

from collections.abc import Callable

from .address import Address
from .model import Job, Model


class Ready:
    """Counts the layers of a model all of whose jobs (see `Model.jobs`) `has` says are there."""

    def __init__(self, model: Model, has: Callable[[Job], bool]) -> None:
        self._model = model
        self._has = has
        self._empty = len(set(model.layers) - {job.layer for job in model.jobs(Address())})
        """Layers that show nothing, and so lack nothing."""
        self._layers: set[int] = set()

    def look(self, job: Job) -> None:
        """A job's result has come, or has gone."""
        if job.layer is None:
            return
        jobs = self._model.jobs(Address(job.layer))
        if jobs and all(map(self._has, jobs)):
            self._layers.add(job.layer)
        else:
            self._layers.discard(job.layer)

    @property
    def count(self) -> int:
        """How many layers are whole."""
        return len(self._layers) + self._empty
