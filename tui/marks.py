"""How the state of a result is shown: a shape, an ink and a word, so that colour is never needed.

Imported after the first frame, with the session.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from svdtui.engine.address import Address
from svdtui.engine.session import Session, State

from .widgets.outline import Node


@dataclass(frozen=True, slots=True)
class Mark:
    """The sign of a state."""

    shape: str
    ink: str
    word: str


MARKS = {
    State.CACHED: Mark("●", "good", "ready"),
    State.RUNNING: Mark("◐", "busy", "being computed"),
    State.WAITING: Mark("◔", "busy", "waiting"),
    State.ABSENT: Mark("○", "dim", "not computed"),
    State.FAILED: Mark("✗", "bad", "failed"),
}

FLAWED = Mark("!", "bad", "has NaN or infinite weights")
"""A matrix that was computed, but has no spectrum."""


def common(states: Iterable[State]) -> State:
    """The state of a group: what is going on in it first, ready only when all of it is."""
    found = set(states)
    for state in (State.RUNNING, State.WAITING, State.FAILED):
        if state in found:
            return state
    return State.CACHED if found == {State.CACHED} else State.ABSENT


def mark_of(node: Node, session: Session, flawed: Collection[Address]) -> Mark | None:
    """The mark of a node; `flawed` are the matrices that turned out to have no spectrum. The root has none."""
    if node.kind == "matrix" and node.address in flawed:
        return FLAWED
    if node.job is not None:
        return MARKS[session.state(node.job)]
    if node.kind == "model":
        return None
    jobs = {info.job for info in session.model.matrices(node.address)}
    return MARKS[common(map(session.state, jobs))] if jobs else None
