"""What a session has reported since a screen last looked, with what has been overtaken left out.

A session with tiny layers reports more often than a screen can draw. One message stands for all that has come since
the last one was handled, so that keys never wait behind more than one drawing. Imported after the first frame.
"""

from collections.abc import Iterable

from svdtui.engine.events import Event, FiguresRead, Progressed, ScanMoved, StateChanged, StatesChanged

MANY = 16
"""Changes of single states that are shown as one of many."""


def condensed(events: Iterable[Event]) -> list[Event]:
    """The same news in fewer events: of each job the last state, and of progress the last."""
    kept: dict[object, Event] = {}
    for event in events:
        match event:
            case StateChanged(job, _):
                key: object = job
            case FiguresRead(jobs):
                key, before = FiguresRead, kept.get(FiguresRead)
                event = FiguresRead(jobs | before.jobs) if isinstance(before, FiguresRead) else event  # noqa: PLW2901
            case Progressed() | ScanMoved() | StatesChanged():
                key = type(event)
            case _:
                key = object()
        kept.pop(key, None)
        kept[key] = event
    found = [*kept.values()]
    if sum(isinstance(event, StateChanged) for event in found) > MANY:
        found = [event for event in found if not isinstance(event, StateChanged | StatesChanged)]
        found.append(StatesChanged())
    return found
