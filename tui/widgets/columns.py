"""The columns of the table of results: what each says, how wide it is, and in which order they stand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

from rich.cells import cell_len

from svdtui.engine.model import MatrixInfo
from svdtui.engine.text import printable

from ..formats import MISSING, figure, shape, share
from ..listing import order

if TYPE_CHECKING:
    from svdtui.engine.views import Row

NARROW = 100
"""Below this many cells the shape moves behind the three ratios, which matter more."""

UNKNOWN = "…"
"""Stands for what is in a file's header that has not been read yet: shape, dtype, number of values."""

MAX_NAME = 24
"""Cells that a matrix's name may take."""

PENDING = "·"
"""Stands for a figure that is not computed yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table: a matrix, and its result once there is one."""

    info: MatrixInfo
    row: "Row | None" = None
    pin: str = ""
    """The letter of a pinned spectrum, which may be of any place."""

    @property
    def label(self) -> str:
        """What it is called: a pinned one by its address, as in the chart."""
        return f"{self.pin} {self.info.address}" if self.pin else self.info.label

    @property
    def sentence(self) -> str | None:
        """Why it has no spectrum, or not all figures."""
        return self.info.problem or (self.row.problem if self.row else None)

    @property
    def problem(self) -> str | None:
        """Why it has no spectrum, as a sentence."""
        return self.sentence if self.row is None or self.row.spectrum is None else None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: heading, cells of width, what a line says in it, and its ink."""

    heading: str
    width: int
    text: Callable[[Entry], str]
    ink: str = ""
    left: bool = False
    """Whether it is aligned to the left, as names are."""
    value: "Callable[[Entry], float | str | None] | None" = None
    """What it is sorted by, where that is not the text; None where there is no such thing."""

    def cell(self, text: str) -> str:
        """`text` in the column's width."""
        return f"{text:<{self.width}}" if self.left else f"{text:>{self.width}}"


def pinned(entries: Sequence[Entry]) -> list[Column]:
    """The columns that stay while the others scroll: layer and head where entries differ in them, and the label."""
    columns = []
    own = [entry for entry in entries if not entry.pin]
    if len({entry.info.address.layer for entry in own}) > 1:
        columns.append(
            Column(
                "layer",
                5,
                lambda entry: _number(entry.info.address.layer),
                value=lambda entry: entry.info.address.layer,
            )
        )
    if len({entry.info.address.head for entry in own}) > 1:
        columns.append(
            Column(
                "head", 4, lambda entry: _number(entry.info.address.head), value=lambda entry: entry.info.address.head
            )
        )
    names = min(MAX_NAME, max((cell_len(printable(entry.label)) for entry in entries), default=0))
    return [*columns, Column("matrix", max(6, names), lambda entry: entry.label, left=True)]


def scrolled(k: int, width: int) -> list[Column]:
    """The columns with figures, the most important first for `width` cells."""
    size = Column(
        "shape", 11, lambda entry: shape_of(entry.info), "dim", value=lambda entry: entry.info.rows * entry.info.cols
    )
    flat = Column(
        f"{k}/n",
        max(5, len(f"{k}/n")),
        lambda entry: flat_share(entry.info, k),
        "dim",
        value=lambda entry: -entry.info.n,
    )
    first = [_metric("σ₁", 7, "sigma_first", figure), _metric("σₙ", 7, "sigma_last", figure)]
    ratios = [
        _metric(f"top-{k}", 6, "top_ratio", share),
        flat,
        _metric("first/last", 10, "first_last_ratio", figure),
        _metric(f"bottom-{k}", 9, "bottom_ratio", share),
    ]
    rest = [
        _metric("stable", 7, "stable_rank", figure),
        _metric("effective", 9, "effective_rank", figure),
        _metric("particip.", 9, "participation_ratio", figure),
        _metric("90 %", 5, "energy_rank_90", figure),
        _metric("95 %", 5, "energy_rank_95", figure),
        _metric("99 %", 5, "energy_rank_99", figure),
        _metric("‖·‖F", 7, "frobenius_norm", figure),
        _metric("‖·‖*", 7, "nuclear_norm", figure),
        Column("dtype", 5, lambda entry: entry.info.dtype or UNKNOWN, "dim"),
        Column("solver", 6, lambda entry: entry.row.solver if entry.row else PENDING, "dim"),
    ]
    return [*first, *ratios, size, *rest] if width < NARROW else [size, *first, *ratios, *rest]


def in_order(entries: Sequence[Entry], column: Column | None, *, descending: bool) -> list[Entry]:
    """Lines sorted by a column, those that have nothing there last; None is the model's own order."""
    if column is None:
        return [entries[i] for i in order(None, len(entries), descending=descending)]
    values = [column.value(entry) if column.value else column.text(entry) for entry in entries]
    ranks = {value: rank for rank, value in enumerate(sorted({value for value in values if value is not None}))}
    places = [nan if value is None else float(ranks[value]) for value in values]
    return [entries[i] for i in order(places, len(entries), descending=descending)]


def shape_of(info: MatrixInfo) -> str:
    """`128×4096`, once it is known."""
    return shape(info.rows, info.cols) if info.is_known else UNKNOWN


def flat_share(info: MatrixInfo, k: int) -> str:
    """What the top-k ratio would be if all n values were equal."""
    if not info.is_known:
        return UNKNOWN
    return f"{min(k, info.n) / info.n:.3f}" if info.n else MISSING


def _metric(heading: str, width: int, name: str, text: Callable[[float | None], str]) -> Column:
    def cell(entry: Entry) -> str:
        if entry.row is None:
            return PENDING
        return text(getattr(entry.row.metrics, name)) if entry.row.metrics else MISSING

    def value(entry: Entry) -> float | None:
        found: float | None = getattr(entry.row.metrics, name) if entry.row and entry.row.metrics else None
        return found

    return Column(heading, max(width, len(heading)), cell, value=value)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
