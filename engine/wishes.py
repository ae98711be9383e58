"""What is wanted of a model, in order: what the user looks at, then what they may want next, then what a scan has left.

Also what is not begun by itself: what the user stopped, and what would read very much over a network.
"""

from collections.abc import Callable, Collection

from .address import Address
from .backlog import Backlog
from .model import HEADS, Job, Model

LARGE = 200 * 10**6
"""Bytes from which a whole matrix is read over a network only when the user asks for it."""


class Wishes:
    """The queues. `is_to_do` says whether a job has neither a result nor failed nor is running."""

    def __init__(self, model: Model, is_to_do: Callable[[Job], bool], *, prefetch: bool) -> None:
        self.focus: tuple[Job, ...] = ()
        """What the user looks at."""
        self.head: int | None = None
        """The head that they look at, or None for all."""
        self.scan: Backlog | None = None
        self._model = model
        self._is_to_do = is_to_do
        self._prefetch = prefetch
        self._demanded: list[Job] = []
        self._guessed: list[Job] = []
        self._stopped: set[Job] = set()
        self._asked_for: set[Job] = set()
        self._too_large: set[Job] = set()

    def __len__(self) -> int:
        """How many jobs are in the queue, without those of a scan."""
        return len(self._demanded) + len(self._guessed)

    def __contains__(self, job: Job) -> bool:
        """Whether a job waits, also in a scan."""
        return job in self._demanded or job in self._guessed or (self.scan is not None and job in self.scan.waiting)

    @property
    def is_demanding(self) -> bool:
        """Whether something waits that the user looks at."""
        return bool(self._demanded)

    def look_at(self, address: Address) -> list[Job]:
        """Replace what is looked at and what is guessed. The jobs that have come or gone."""
        before = {*self._demanded, *self._guessed}
        model = self._model
        self.head = address.head
        self.focus = () if address.layer is None and address.matrix is None else model.jobs(address)
        self._demanded = [job for job in self.focus if self._is_to_do(job) and not self.is_held(job)]
        guess = self._prefetch and not any(map(self.is_held, self.focus))
        near = [n for job in self.focus for n in model.neighbours(job)] if guess else []
        self._guessed = [
            job
            for job in dict.fromkeys(near)
            if self._is_to_do(job) and job not in self._demanded and not self.is_held(job)
        ]
        return sorted(before ^ {*self._demanded, *self._guessed}, key=str)

    def next(self, *, of_scan: bool, of_user: bool) -> Job | None:
        """The next job, out of its queue."""
        job: Job | None = None
        if of_user and (queue := self._demanded or self._guessed):
            job = queue.pop(0)
            if self.scan:
                self.scan.taken(job)
        elif of_scan and self.scan:
            job = self.scan.take()
        return job

    def put_back(self, job: Job) -> None:
        """A running job was given up, and is to be done after all when there is time."""
        if job in self.focus:
            self._demanded.insert(0, job)
        elif self.scan and job in self.scan:
            self.scan.put_back(job)
        elif self._prefetch and any(job in self._model.neighbours(other) for other in self.focus):
            self._guessed.append(job)

    def insist(self, job: Job) -> None:
        """A job that nobody waits for is to be tried once more all the same."""
        if job not in self:
            self._guessed.insert(0, job)

    def drop_guesses(self) -> None:
        """Nothing is computed that nobody asked for."""
        self._guessed = []

    def drop(self) -> tuple[list[Job], Backlog | None]:
        """Forget all that waits: what was looked at or guessed, with what was looked at first; and the scan."""
        dropped = [*self._demanded, *self._guessed], self.scan
        self._demanded, self._guessed, self.scan = [], [], None
        return dropped

    def stop(self, running: Job | None) -> tuple[list[Job], Backlog | None]:
        """As `drop`; what was looked at and what runs is held from now on."""
        self._stopped.update(self._demanded)
        if running is not None:
            self._stopped.add(running)
        self._asked_for -= self._stopped
        return self.drop()

    # what is held --------------------------------------------------------------------------------

    def ask_for(self, jobs: Collection[Job]) -> None:
        """The user wants these, whatever held them."""
        self._asked_for.update(jobs)
        self._stopped.difference_update(jobs)
        self._too_large.difference_update(jobs)

    def find_large(self, job: Job) -> None:
        """A job would read more over a network than is done unasked."""
        self._too_large.add(job)

    def was_stopped(self, job: Job) -> bool:
        """Whether the user stopped a job, and has not asked for it since."""
        return job in self._stopped

    def is_held(self, job: Job) -> bool:
        """Whether a job is begun only when the user asks for it again."""
        if job in self._asked_for:
            return False
        if job in self._stopped or job in self._too_large:
            return True
        return job.kind != HEADS and self._is_to_do(job) and (self._model.remote_bytes(job) or 0) > LARGE

    def most_remote(self, job: Job) -> int | None:
        """How many bytes a job may read over a network; None for no limit."""
        return LARGE if job.kind != HEADS and job not in self._asked_for else None
