"""Whether a scan is so short that it may begin unasked, by how fast what was computed so far went."""

from collections.abc import Iterable, Sequence

from .backlog import work_of
from .model import Job, Model

QUICK = 10.0
"""Seconds that a scan which begins by itself may take."""


class Unasked:
    """Keeps what the jobs of a model took, and says what others would take."""

    def __init__(self, model: Model, *, is_allowed: bool) -> None:
        self.is_allowed = is_allowed
        """Whether a scan may begin by itself at all. A user who stops one has said no."""
        self.is_looked_for = False
        """Whether the user looks at something that shows all layers."""
        self._model = model
        self._work = 0.0
        self._seconds = 0.0
        self._jobs = 0

    def took(self, job: Job, seconds: float) -> None:
        """A job has been computed."""
        self._jobs += 1
        self._work += work_of(self._model, job)
        self._seconds += seconds

    @property
    def is_measured(self) -> bool:
        """Whether anything has been."""
        return self._jobs > 0

    def is_quick(self, jobs: Sequence[Job]) -> bool:
        """Whether these would be done in less than `QUICK` seconds, as far as is known."""
        if not self.is_measured or self._seconds / self._jobs * len(jobs) > 100 * QUICK:  # very many: not looked at
            return False
        return self.seconds(jobs) < QUICK

    def seconds(self, jobs: Iterable[Job]) -> float:
        """What these would take, at the speed of those that were done."""
        return self._seconds * sum(work_of(self._model, job) for job in jobs) / max(self._work, 1.0)
