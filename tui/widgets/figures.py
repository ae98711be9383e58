"""All figures of one matrix, as a list of names and values in two columns."""

from collections.abc import Iterator

from svdtui.engine.text import printable

from ..formats import MISSING, figure, share
from .columns import PENDING, UNKNOWN, Entry, flat_share, shape_of
from .painted import Line, Span, clipped

PAIRS = (
    ("sigma_first", "stable_rank"),
    ("sigma_last", "effective_rank"),
    ("top_ratio", "participation_ratio"),
    ("flat", "energy_rank_90"),
    ("bottom_ratio", "energy_rank_95"),
    ("first_last_ratio", "energy_rank_99"),
    ("frobenius_norm", "nuclear_norm"),
)
"""Fields of `Metrics`, as they stand beside each other; `flat` is the top ratio of a flat spectrum."""

NAMES = {
    "sigma_first": "σ₁",
    "sigma_last": "σₙ",
    "top_ratio": "top-{k}",
    "flat": "  if flat {k}/n",
    "bottom_ratio": "bottom-{k}",
    "first_last_ratio": "first/last",
    "stable_rank": "stable rank",
    "effective_rank": "effective rank",
    "participation_ratio": "participation",
    "energy_rank_90": "90 % of energy",
    "energy_rank_95": "95 % of energy",
    "energy_rank_99": "99 % of energy",
    "frobenius_norm": "Frobenius norm",
    "nuclear_norm": "nuclear norm",
}

NAME_WIDTH, VALUE_WIDTH = 16, 8

FORMULA_WIDTH = 50
"""A column this wide has room for each figure's definition."""


def figure_lines(entry: Entry, k: int, title: str, width: int) -> Iterator[Line]:
    """Title, figures, and what tensor it is."""
    yield [(f"─ {clipped(title, width - 5)} ".ljust(width, "─"), "dim")]
    if not entry.problem:  # which stands above, where the curve would be
        column = width // 2
        for left, right in PAIRS:
            yield [*_item(left, entry, k, column), *_item(right, entry, k, width - column)]
    if entry.sentence and not entry.problem:  # it names the tensor
        yield from ([(line, "bad")] for line in wrapped(printable(entry.sentence), width, 2))
    else:
        yield [(clipped(printable(entry.info.tensor), width), "dim")]


def facts(entry: Entry) -> str:
    """`128×4096 · n = 128 · bf16 · gram64`."""
    info = entry.info
    words = [shape_of(info), f"n = {info.n}", info.dtype] if info.is_known else [UNKNOWN]
    return " · ".join([*words, entry.row.solver] if entry.row and entry.row.solver else words)


def _item(name: str, entry: Entry, k: int, width: int) -> Line:
    """A name, its value, and the definition where there is room for it."""
    spans: list[Span] = [
        (f"{NAMES[name].format(k=k):<{NAME_WIDTH}}", "dim"),
        (f"{_value(name, entry, k):>{VALUE_WIDTH}}", "dim" if name == "flat" else "strong"),
    ]
    room = width - NAME_WIDTH - VALUE_WIDTH
    definition = _definition(name, k) if width >= FORMULA_WIDTH else ""
    return [*spans, (clipped(f"  {definition}", room - 1).ljust(room), "dim")]


def _value(name: str, entry: Entry, k: int) -> str:
    if name == "flat":
        return flat_share(entry.info, k)
    if entry.row is None:
        return PENDING
    if entry.row.metrics is None:
        return MISSING
    text = share if name in ("top_ratio", "bottom_ratio") else figure
    return text(getattr(entry.row.metrics, name))


def _definition(name: str, k: int) -> str:
    from svdtui.engine.metrics import METRICS

    metric = next((metric for metric in METRICS if metric.name == name), None)
    return "" if metric is None or metric.formula(k) == metric.label(k) else metric.formula(k)


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """`text` broken into at most `lines` lines of `width` cells."""
    import textwrap

    broken = textwrap.wrap(text, max(10, width), break_on_hyphens=False)
    return broken if len(broken) <= lines else [*broken[: lines - 1], clipped(broken[lines - 1] + " …", width)]
