"""How the state of a result is shown: a shape, an ink and a word, so that colour is never needed.

Imported after the first frame, with the session.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from svdtui.engine.session import State


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
