"""How the state of a result is shown: a shape, an ink and a word, so that colour is never needed.

Imported after the first frame, with the session.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from svdtui.engine.events import State
from svdtui.engine.model import Job
from svdtui.engine.session import Session

from .widgets.outline import Node


@dataclass(frozen=True, slots=True)
class Mark:
    """The sign of a state."""

    shape: str
    ink: str
    word: str


MARKS = {
    State.CACHED: Mark("●", "good", "ready"),
    State.RUNNING: Mark("◐", "busy", "being computed, or partly there"),
    State.WAITING: Mark("◔", "busy", "waiting"),
    State.ABSENT: Mark("○", "dim", "not computed"),
    State.FAILED: Mark("✗", "bad", "failed"),
}

FLAWED = Mark("!", "bad", "no spectrum here or of something inside: NaN, infinite or unsupported weights")
"""Something was computed as far as it can be, and that is not all."""


def common(states: Iterable[State]) -> State:
    """The state of a group: what is going on in it first; ready when all of it is, and running when partly there."""
    found = set(states)
    for state in (State.RUNNING, State.WAITING, State.FAILED):
        if state in found:
            return state
    if State.CACHED in found:
        return State.CACHED if found == {State.CACHED} else State.RUNNING
    return State.ABSENT


def mark_of(node: Node, session: Session) -> Mark | None:
    """The mark of a node. The root has none; a head or layer with a flawed matrix is marked as that matrix is."""
    if node.kind == "matrix" and node.job is not None:
        flawed = session.is_flawed(session.model.info(node.address))
        return FLAWED if flawed else MARKS[session.state(node.job)]
    if node.job is not None:
        state = session.state(node.job)
        return FLAWED if state is State.CACHED and _holds_flaw(node, session, node.job) else MARKS[state]
    if node.kind == "model":
        return None
    infos = session.model.matrices(node.address)
    if any(map(session.is_flawed, infos)):
        return FLAWED
    return MARKS[common(session.state(info.job) for info in infos)] if infos else None


def _holds_flaw(node: Node, session: Session, job: Job) -> bool:
    """Whether something in a head, or in a layer's heads, is flawed."""
    if node.kind == "head":
        return any(map(session.is_flawed, session.model.matrices(node.address)))
    return session.has_flaws(job)
