"""Trends with depth: the median over heads of each layer, from the first layer to the last."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .comparisons import HIGH, LOW, median
from .evidence import Evidence
from .finding import Column, Finding, Part, Table, Verdict, judged, number_text, reason, together, untested
from .text import plural
from .trend_words import COLUMNS, LEVEL, cells_of, trend_text, verdict_on
from .trends import Corrected, Direction, corrected, spearman

SIGNS: dict[str, Direction] = {
    "sigma_first": "falls",
    "top_ratio": "falls",
    "first_last_ratio": "falls",
    "bottom_ratio": "rises",
}
"""Metric → how the article sees it change with depth, for Q and K."""

_MATRICES = (*HIGH, *LOW)


@dataclass(frozen=True, slots=True)
class Depth:
    """A figure against depth: the median over heads of each layer, tested, and its level at some depths."""

    matrix: str
    metric: str
    corrected: Corrected
    first: float | None
    first_third: float | None
    last_third: float | None
    last: float | None

    def verdict(self, expected: Direction) -> Verdict:
        """Whether the trend is as stated and the last third of the layers lies to the first as it says."""
        verdict = verdict_on(self.corrected, expected)
        return Verdict.FAILS if verdict is Verdict.HOLDS and self.thirds != expected else verdict

    @property
    def thirds(self) -> Direction:
        """How the last third of the layers lies to the first."""
        return _direction(self.first_third, self.last_third)

    @property
    def ends(self) -> Direction:
        """How the last layer lies to the first."""
        return _direction(self.first, self.last)


def _direction(before: float | None, after: float | None) -> Direction:
    if before is None or after is None:
        return "unknown"
    return "none" if before == after else "rises" if after > before else "falls"


def depths(evidence: Evidence, cases: Sequence[tuple[str, str]]) -> tuple[Depth, ...]:
    """Figures, as matrix and metric, against depth over the layers that are computed; one family of tests."""
    rows = np.flatnonzero(evidence.computed)
    curves = []
    for matrix, metric in cases:
        middle = [median(evidence.figures[matrix].values[metric][row]) for row in rows]
        curves.append(np.array([np.nan if value is None else value for value in middle]))
    third = len(rows) // 3
    return tuple(
        Depth(
            matrix,
            metric,
            each,
            median(curve[:1]),
            median(curve[:third]),
            median(curve[len(curve) - third :]) if third else None,
            median(curve[-1:]),
        )
        for (matrix, metric), curve, each in zip(cases, curves, corrected([spearman(c) for c in curves]), strict=True)
    )


def depth_part(evidence: Evidence, depth: Depth, expected: Direction, per_n: int = 1) -> Part:
    """The claim that a figure changes with depth in one direction; ranks are divided by `per_n`."""
    before, after = (
        number_text(None if value is None else value / per_n) for value in (depth.first_third, depth.last_third)
    )
    verdict = depth.verdict(expected)
    contrary = verdict is Verdict.FAILS and depth.corrected.direction == expected
    why = f"{trend_text(depth.corrected, 'layer')}; first and last third {before} → {after}"
    label = evidence.label(depth.metric) + (" ÷ n" if per_n > 1 else "")
    return Part(
        f"{label} of {depth.matrix.upper()} {expected} with depth",
        verdict,
        why + (", the other way" if contrary else ""),
    )


def depth_tables(evidence: Evidence, found: Sequence[Depth], per_n: int = 1) -> tuple[Table, Table]:
    """The tests, and the levels at both ends."""
    layers = [layer for layer, is_there in zip(evidence.layers, evidence.computed, strict=True) if is_there]
    names = (Column("matrix", "text"), Column("figure", "text"))
    ends = (f"layer {layers[0]}", "first third", "last third", f"layer {layers[-1]}") if layers else ("",) * 4
    suffix = " ÷ n" if per_n > 1 else ""
    heads = [(each.matrix.upper(), evidence.label(each.metric) + suffix) for each in found]
    levels = [
        [None if value is None else value / per_n for value in (d.first, d.first_third, d.last_third, d.last)]
        for d in found
    ]
    return (
        Table(
            "Median over heads against depth",
            (*names, *COLUMNS),
            tuple((*head, *cells_of(each.corrected)) for head, each in zip(heads, found, strict=True)),
        ),
        Table(
            f"Its level, thirds being {plural(len(layers) // 3, 'layer')} each",
            (*names, *map(Column, ends)),
            tuple((*head, *level) for head, level in zip(heads, levels, strict=True)),
        ),
    )


def depth_trends(evidence: Evidence) -> Finding:
    """Analysis 3 of the article: figures of Q and K against depth; V and O for comparison."""
    labels = [evidence.label(metric) for metric in SIGNS]
    title = "Across layers: trend with depth"
    statement = f"{labels[0]}, {labels[1]} and {labels[2]} of Q and K fall as layers get deeper, and {labels[3]} rises."
    criterion = (
        f"{LEVEL} A value is the median over the heads (K and V: over KV heads) of a layer. A part holds when the "
        "trend has the stated direction and the medians of the first and the last third of the layers agree with it, "
        "and does not when there is another trend or none is found. V and O are shown for comparison; they decide "
        "nothing."
    )
    caveat = (
        "Neighbouring layers resemble each other, so that they are fewer independent values than their number, and p "
        "is too small rather than too large. ρ sees any steady change, however slight: the thirds say how large it is. "
        "That deeper layers were better trained is one reading among others."
    )
    if not any(evidence.computed):
        return untested(title, statement, evidence.gap(), criterion, caveat)
    found = depths(evidence, [(m, metric) for m in _MATRICES for metric in SIGNS])
    parts = tuple(depth_part(evidence, each, SIGNS[each.metric]) for each in found if each.matrix in HIGH)
    finding = Finding(
        title,
        statement,
        together(part.verdict for part in parts),
        reason(parts),
        parts,
        _ends_alone(evidence, found),
        depth_tables(evidence, found),
        criterion,
        caveat,
    )
    return judged(finding, evidence.gap())


def _ends_alone(evidence: Evidence, found: Sequence[Depth]) -> tuple[str, ...]:
    """A sentence on figures that change as stated between the outermost layers, but not along the layers."""
    alone = [
        f"{evidence.label(d.metric)} of {d.matrix.upper()} ({number_text(d.first)} → {number_text(d.last)})"
        for d in found
        if d.matrix in HIGH and d.ends == SIGNS[d.metric] and d.verdict(SIGNS[d.metric]) is Verdict.FAILS
    ]
    if not alone:
        return ()
    sentence = (
        f"From the first layer to the last alone, these would seem to change as stated: {', '.join(alone)}. Along the "
        "layers between no such trend is found: an outermost layer that stands apart is none."
    )
    return (sentence,)
