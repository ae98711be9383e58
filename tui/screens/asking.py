"""Questions in the status line: the next key is the answer, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.screen import Screen
from textual.timer import Timer

if TYPE_CHECKING:
    from ..widgets.lines import StatusLine


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what each key does. Any other key closes the question, and `otherwise` is said."""

    text: str
    answers: Mapping[str, Callable[[], None]]
    otherwise: str
    seconds: float | None = None
    """How long it stands; None until it is answered."""


class Asks(Screen[Any]):
    """A screen with a status line that may ask. The app brings it the next key, whatever that is bound to."""

    _status: "StatusLine"
    _question: Question | None = None
    _deadline: Timer | None = None

    @property
    def is_asking(self) -> bool:
        """Whether a question stands."""
        return self._question is not None

    def ask(self, question: Question) -> None:
        """Show a question until it is answered."""
        self.withdraw()
        self._question = question
        self._status.ask(question.text)
        if question.seconds is not None:
            self._deadline = self.set_timer(question.seconds, self.withdraw)

    def answer(self, key: str) -> None:
        """A key, while a question stands."""
        question = self._question
        self.withdraw()
        if question is None:
            return
        if key in question.answers:
            question.answers[key]()
        else:
            self._status.flash(question.otherwise)

    def withdraw(self) -> None:
        """Ask no more."""
        if self._deadline is not None:
            self._deadline.stop()
        if self._question is not None:
            self._question = self._deadline = None
            self._status.ask("")
