"""Whether Q and K lie on one side of V and O, query head by query head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .evidence import Evidence
from .finding import Column, Finding, Part, Table, Verdict, number_text, reason, together, untested
from .text import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LOW, HIGH = ("v", "o"), ("q", "k")
"""V and O, and the two that the article finds above them (below them in ranks and in the smallest values)."""

FIRST_LAYER_SIGNS = {"sigma_first": 1, "top_ratio": 1, "first_last_ratio": 1, "bottom_ratio": -1}
"""Metric → whether Q and K are to lie above (1) or below (−1)."""

CRITERION = (
    "A query head counts when its Q and the K that it uses both lie on the stated side of both the V that it uses and "
    "its O. A part holds when more than half of the heads count, and does not when at least half do not; heads "
    "without figures count for neither."
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many query heads have Q and K on one side of V and O in one metric."""

    metric: str
    is_above: bool
    holding: int
    compared: int
    """Heads of which all four figures are defined."""
    heads: int
    pairs: tuple[int, ...]
    """Heads in which Q is on that side of V, Q of O, K of V, K of O."""

    @property
    def verdict(self) -> Verdict:
        """By the majority of all heads, so that heads without figures can leave it open."""
        if 2 * self.holding > self.heads:
            return Verdict.HOLDS
        return Verdict.FAILS if self.compared and 2 * (self.compared - self.holding) >= self.heads else Verdict.UNKNOWN


def compare(evidence: Evidence, metric: str, sign: int, layers: Sequence[int]) -> Comparison:
    """One metric over the query heads of these rows of `evidence.layers`."""
    values = {m: sign * evidence.by_query_head(m, metric)[list(layers)] for m in (*HIGH, *LOW)}  # (layers, heads)
    defined = ~np.any([np.isnan(each) for each in values.values()], axis=0)
    pairs = [values[high] > values[low] for high in HIGH for low in LOW]  # NaN is above nothing
    return Comparison(
        metric,
        sign > 0,
        int(np.logical_and.reduce(pairs)[defined].sum()),
        int(defined.sum()),
        defined.size,
        tuple(int(pair[defined].sum()) for pair in pairs),
    )


def medians(evidence: Evidence, metric: str, layers: Sequence[int]) -> dict[str, float | None]:
    """Per matrix the median over its own slices, a shared KV head counted once; None where none is defined."""
    return {m: median(evidence.figures[m].values[metric][list(layers)]) for m in (*HIGH, *LOW)}


def median(values: "Array") -> float | None:
    """Of the defined values; None where there are none."""
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if defined.size else None


def comparison_part(evidence: Evidence, found: Comparison, middle: dict[str, float | None], per_n: int = 1) -> Part:
    """The claim of one metric, with its share and medians; ranks are divided by `per_n`."""
    label = evidence.label(found.metric) + (" ÷ n" if per_n > 1 else "")
    shown = {m: number_text(None if value is None else value / per_n) for m, value in middle.items()}
    without = found.heads - found.compared
    why = (
        f"in {found.holding:,} of {found.heads:,} heads; medians Q {shown['q']}, K {shown['k']}, "
        f"V {shown['v']}, O {shown['o']}" + (f"; {plural(without, 'head')} without a figure" if without else "")
    )
    return Part(f"{label} of Q and K {'above' if found.is_above else 'below'} V and O", found.verdict, why)


def share_table(evidence: Evidence, found: Sequence[Comparison], title: str) -> Table:
    """The shares behind the parts, pair by pair."""
    pairs = [f"{high.upper()}, {low.upper()}" for high in HIGH for low in LOW]
    columns = (
        Column("figure", "text"),
        Column("side", "text"),
        Column("Q and K, V and O", "text"),
        *(Column(p, "text") for p in pairs),
    )
    rows = tuple(
        (
            evidence.label(each.metric),
            "above" if each.is_above else "below",
            *(f"{count:,} of {each.compared:,}" for count in (each.holding, *each.pairs)),
        )
        for each in found
    )
    return Table(title, columns, rows)


def first_layer_comparison(evidence: Evidence) -> Finding:
    """Analysis 1 of the article, over all heads: Q and K against V and O in the first layer."""
    layer = evidence.layers[0] if evidence.layers else 0
    labels = [evidence.label(metric) for metric in FIRST_LAYER_SIGNS]
    statement = (
        f"In layer {layer}, {labels[0]}, {labels[1]} and {labels[2]} of Q and K lie above those of V and O, "
        f"and {labels[3]} below: their information sits in few directions."
    )
    title = f"Layer {layer}: Q and K against V and O"
    caveat = (
        "σ₁ depends on the scale of the weights, which later layers of the network can undo; the ratios do not. Were "
        "the four figures of a head dealt at random, Q and K would both lie above V and O in one head of six. Heads "
        "that share K and V are not independent."
    )
    if gap := evidence.gap_in_first():
        return untested(title, statement, gap, CRITERION, caveat)
    found = [compare(evidence, metric, sign, [0]) for metric, sign in FIRST_LAYER_SIGNS.items()]
    middle = {each.metric: medians(evidence, each.metric, [0]) for each in found}
    parts = tuple(comparison_part(evidence, each, middle[each.metric]) for each in found)
    share = evidence.k / evidence.n if evidence.n else None
    flat = {"top_ratio": share and min(1.0, share), "bottom_ratio": share and min(1.0, share), "first_last_ratio": 1.0}
    table = Table(
        f"Medians of layer {layer}, a shared KV head counted once",
        (Column("figure", "text"), *(Column(m.upper()) for m in middle["sigma_first"]), Column("flat spectrum")),
        tuple((evidence.label(name), *each.values(), flat.get(name)) for name, each in middle.items()),
    )
    return Finding(
        title,
        statement,
        together(part.verdict for part in parts),
        reason(parts),
        parts,
        (),
        (share_table(evidence, found, f"Query heads of layer {layer} that agree"), table),
        CRITERION,
        caveat,
    )
