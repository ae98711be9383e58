"""What is shown while the terminal is too small."""

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.screen import Screen

from ..widgets.figures import wrapped
from ..widgets.painted import Line, Painted

MIN_COLUMNS, MIN_ROWS = 80, 24


def is_too_small(columns: int, rows: int) -> bool:
    """Whether the explorer does not fit."""
    return columns < MIN_COLUMNS or rows < MIN_ROWS


class Sentence(Painted):
    """Asks for more room, in whatever room there is."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"ink--strong"}

    def paint(self, width: int, height: int) -> Iterator[Line]:
        """The sentence, in the middle."""
        columns, rows = self.app.size
        text = (
            f"svdtui needs {MIN_COLUMNS}×{MIN_ROWS} cells. This terminal has {columns}×{rows}: "
            "please make it larger, or press q to quit."
        )
        lines = wrapped(text, max(1, width - 2), max(1, height))
        for _ in range((height - len(lines)) // 2):
            yield []
        for line in lines:
            yield [(" " * max(0, (width - len(line)) // 2), ""), (line, "strong")]


class TooSmall(Screen[None]):
    """Lies over everything else until there is room again."""

    def compose(self) -> ComposeResult:
        """One sentence."""
        yield Sentence()

    def on_resize(self) -> None:
        """The sentence names the size."""
        self.query_one(Sentence).repaint()
