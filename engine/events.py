"""What the session tells the screen: where each job stands, how far the running one is, and what went wrong."""

from dataclasses import dataclass
from enum import Enum

from .model import Job


class State(Enum):
    """Where a job stands."""

    ABSENT = "absent"
    WAITING = "waiting"
    RUNNING = "running"
    CACHED = "cached"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the running job is; the speed is that of reading, in bytes per second."""

    job: Job
    bytes_read: int
    bytes_total: int
    done: int
    total: int
    bytes_per_second: float
    waiting: str = ""
    """What the reading waits for, as a sentence, or empty."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, and what to do."""

    title: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A job's state has changed."""

    job: Job
    state: State


@dataclass(frozen=True, slots=True)
class StatesChanged:
    """The states of many jobs have changed at once: more than one would ask for one by one."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The running job has come further."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class SlicesSolved:
    """Some slices of a running job can be seen (see `Session.seen`)."""

    job: Job
    slices: frozenset[tuple[str, int]]
    """Their matrices and numbers."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """A sentence for the user: the worker died, the cache cannot be written, …"""

    message: str


@dataclass(frozen=True, slots=True)
class Troubled:
    """Those who should compute do not, as a sentence that holds until the next; empty when they do again."""

    message: str


@dataclass(frozen=True, slots=True)
class DeviceKnown:
    """The worker is ready and says what it computes on."""

    device: str


@dataclass(frozen=True, slots=True)
class HeaderRead:
    """The shapes of a shard's tensors have become known."""

    file: str


@dataclass(frozen=True, slots=True)
class FiguresRead:
    """The figures of results on disk have been read."""

    jobs: frozenset[Job]


@dataclass(frozen=True, slots=True)
class ScanMoved:
    """A scan has begun, or has come further."""


@dataclass(frozen=True, slots=True)
class ScanEnded:
    """A scan is over; how, as a sentence."""

    message: str


Event = (
    StateChanged
    | StatesChanged
    | Progressed
    | SlicesSolved
    | Noticed
    | Troubled
    | DeviceKnown
    | HeaderRead
    | FiguresRead
    | ScanMoved
    | ScanEnded
)
