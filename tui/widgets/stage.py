"""The upper right of the screen: the spectra of the selection, or a card that says why there are none."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..listing import Listing
from .card import Card, card_lines
from .headings import heading, shortened
from .painted import Line, clipped

if TYPE_CHECKING:
    from .curves import Spectrum, Transform

REMARK_ROWS = 1
"""Lines below the chart for what it leaves out."""


@dataclass(frozen=True, slots=True)
class Look:
    """How curves are drawn: what is plotted, on which axis, which matrices are hidden, and which metric is shown."""

    transform: "Transform" = "sigma"
    log: bool = True
    hidden: frozenset[str] = frozenset()
    metric: str = "top_ratio"
    """The field of `Metrics` that charts over heads and layers show."""
    scales: Mapping[str, bool] = field(default_factory=dict)
    """Metrics whose axis the user chose: whether it is logarithmic. The others' fits what is drawn."""
    listing: Listing = field(default_factory=Listing)
    """What the table of heads or layers shows, and in which order."""

    def measured(self, step: int) -> "Look":
        """With the metric that is `step` further, round and round."""
        from svdtui.engine.metrics import METRICS

        names = [metric.name for metric in METRICS]
        return replace(self, metric=names[(names.index(self.metric) + step) % len(names)])

    def scaled(self, log: bool) -> "Look":
        """With the axis of the metric that is shown logarithmic or linear."""
        return replace(self, scales={**self.scales, self.metric: log})

    def toggled(self, matrix: str) -> "Look":
        """With one matrix hidden that was shown, or the other way round. What is hidden is listed no more."""
        hidden = self.hidden ^ {matrix}
        listing = replace(self.listing, matrix=None) if self.listing.matrix in hidden else self.listing
        return replace(self, hidden=hidden, listing=listing)

    def transformed(self) -> "Look":
        """With the next of σ, σ/σ₁, cumulative energy."""
        from .curves import TRANSFORMS

        names = list(TRANSFORMS)
        return replace(self, transform=names[(names.index(self.transform) + 1) % len(names)])


class Drawing(ABC):
    """What draws itself in the place of spectra."""

    @abstractmethod
    def lines(self, title: str, width: int, height: int, look: Look, *, letters: bool) -> Iterator[Line]:
        """A heading, and what is drawn below it."""

    def pointing(self, lines: Sequence[Line], number: int) -> Sequence[Line]:  # noqa: ARG002 - not all can
        """What `lines` gave, with a sign at the head or layer that the table's cursor is on."""
        return lines


class Stage:
    """Draws curves with plotext once there are any, a card until then."""

    def __init__(self) -> None:
        self._title = ""
        self._look = Look()
        self._letters = False
        self._content: Card | Drawing | Sequence[Spectrum] = Card("", "", [])
        self._drawn: tuple[tuple[int, int], list[Line]] | None = None

    def show(self, title: str, content: "Card | Drawing | Sequence[Spectrum]", look: Look, *, letters: bool) -> None:
        """Show spectra or a card. `letters` writes labels on the curves, for a screen without colour."""
        self._title, self._content, self._look, self._letters = title, content, look, letters
        self._drawn = None

    def lines(self, width: int, height: int, number: int | None = None) -> Sequence[Line]:
        """A title line, then the chart or the card, drawn once for each size; `number` is what the cursor is on."""
        if self._drawn is None or self._drawn[0] != (width, height):
            self._drawn = (width, height), list(self._lines(width, height))
        lines = self._drawn[1]
        if number is not None and isinstance(self._content, Drawing):
            return self._content.pointing(lines, number)
        return lines

    def _lines(self, width: int, height: int) -> Iterator[Line]:
        if isinstance(self._content, Card):
            yield heading(shortened(self._title), width)
            yield from card_lines(self._content, width, height - 1)
        elif isinstance(self._content, Drawing):
            yield from self._content.lines(self._title, width, height, self._look, letters=self._letters)
        else:
            yield from self._chart(self._content, width, height)

    def _chart(self, spectra: "Sequence[Spectrum]", width: int, height: int) -> Iterator[Line]:
        from .chart import chart
        from .curves import TRANSFORMS, is_logarithmic, trace

        look = self._look
        log = is_logarithmic(look.transform, look.log)
        own = [spectrum for spectrum in spectra if not spectrum.dotted]
        out = look.hidden if len(own) > 1 else frozenset()
        shown = [spectrum for spectrum in spectra if spectrum.ink not in out]
        curves, remarks = trace(shown, look.transform, look.log)
        left_out = bool(remarks)
        hidden = [spectrum.label for spectrum in spectra if spectrum.ink in out]
        if hidden:
            remarks.append(f"{' '.join(hidden)} hidden: 1 2 3 4 show them")
        rows = height - 1 - (REMARK_ROWS if remarks else 0)
        letters = self._letters or look.transform == "energy"
        lines = chart(curves, width, rows, log=log, letters=letters)
        scale = "log" if log else "linear"
        name = TRANSFORMS[look.transform]
        rights = [f"{name} · {scale}", f"{name.rpartition(' ')[2]} · {scale}"]
        yield heading(shortened(self._title), width, rights)
        if lines:
            yield from lines
        else:
            yield from nothing_to_draw(width, rows)
        if remarks:
            yield [(clipped(" · ".join(remarks), width), "warn" if left_out else "dim")]


def nothing_to_draw(width: int, rows: int) -> Iterator[Line]:
    """What stands in `rows` lines where there are no curves."""
    yield from card_lines(Card("Nothing to draw", "dim", []), width, rows)
    yield from [[] for _ in range(max(0, rows - 2 - (rows - 2) // 3))]
