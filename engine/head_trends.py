"""Trends with the head index, which the article sees in layer 0 and not in deeper layers."""

from collections.abc import Sequence

import numpy as np

from .comparisons import HIGH, LOW
from .evidence import Evidence
from .finding import Cell, Column, Finding, Part, Table, Verdict, judged, reason, rho_text, together, untested
from .text import listed
from .trend_words import COLUMNS, LEVEL, cells_of, too_few, trend_text, verdict_on
from .trends import Corrected, Direction, corrected, spearman

SIGNS: dict[str, Direction] = {"top_ratio": "rises", "bottom_ratio": "falls"}
"""Metric → how the article sees it change with the head index of layer 0, for Q and K."""

_MATRICES = (*HIGH, *LOW)
_ORDER = (
    "The order of heads in a trained model is arbitrary unless something fixed it (an initialisation that depends on "
    "the index, pruning, heads sorted on purpose). Without such a reason, a trend with the index means nothing."
)


def first_layer_trends(evidence: Evidence) -> Finding:
    """Analysis 2 of the article: top and bottom ratios against the head index in the first layer."""
    layer = evidence.layers[0] if evidence.layers else 0
    top, bottom = evidence.label("top_ratio"), evidence.label("bottom_ratio")
    title = f"Layer {layer}: trend with the head index"
    statement = (
        f"In layer {layer}, {top} of Q and K rises with the head index and {bottom} falls; V and O show no trend."
    )
    criterion = (
        f"{LEVEL} For K and V a value is a KV head. “Rises” and “falls” hold with such a trend, and do not with "
        "another or none; “no trend” holds when none is found in either direction."
    )
    if gap := evidence.gap_in_first():
        return untested(title, statement, gap, criterion, _ORDER)
    found = _first_layer_tests(evidence)
    parts = tuple(_head_part(evidence, m, metric, each) for (m, metric), each in found.items())
    rows = tuple((m.upper(), evidence.label(metric), *cells_of(each)) for (m, metric), each in found.items())
    table = Table(
        f"Layer {layer}: figures against the head index",
        (Column("matrix", "text"), Column("figure", "text"), *COLUMNS),
        rows,
    )
    verdict = together(part.verdict for part in parts)
    return Finding(title, statement, verdict, reason(parts), parts, (), (table,), criterion, _ORDER)


def _first_layer_tests(evidence: Evidence) -> dict[tuple[str, str], Corrected]:
    """Matrix and metric → its trend along the heads of the first layer; one family of tests."""
    cases = [(m, metric) for metric in SIGNS for m in _MATRICES]
    found = corrected([spearman(evidence.figures[m].values[metric][0]) for m, metric in cases])
    return dict(zip(cases, found, strict=True))


def _head_part(evidence: Evidence, matrix: str, metric: str, found: Corrected) -> Part:
    label = f"{evidence.label(metric)} of {matrix.upper()}"
    expected: Direction = SIGNS[metric] if matrix in HIGH else "none"
    claim = f"{label} shows no trend" if expected == "none" else f"{label} {expected}"
    return Part(claim, verdict_on(found, expected), trend_text(found, evidence.unit(matrix)))


def deeper_trends(evidence: Evidence) -> Finding:
    """Analysis 3 of the article: whether the head-index trend of the first layer is seen in deeper ones."""
    first = evidence.layers[0] if evidence.layers else 0
    title = "Deeper layers: trend with the head index"
    statement = f"The head-index trend of Q and K in layer {first} is not visible in deeper layers."
    criterion = (
        f"{LEVEL} Tested in every layer after layer {first}. A part holds when no layer shows a trend, in either "
        "direction, and it can be told of at least half of the layers. V and O are shown for comparison; they decide "
        "nothing."
    )
    if not any(evidence.computed):
        return untested(title, statement, evidence.gap(), criterion, _ORDER)
    rows = [int(row) for row in np.flatnonzero(evidence.computed) if row > 0]
    cases = [(m, metric) for metric in SIGNS for m in _MATRICES]
    if not rows:
        because = evidence.gap() or "There is no deeper layer."
        return untested(title, statement, because, criterion, _ORDER)
    found = corrected([spearman(evidence.figures[m].values[metric][row]) for m, metric in cases for row in rows])
    by_case = {case: found[i * len(rows) : (i + 1) * len(rows)] for i, case in enumerate(cases)}
    layers = [evidence.layers[row] for row in rows]
    parts = tuple(
        _deeper_part(evidence, m, metric, tests, layers) for (m, metric), tests in by_case.items() if m in HIGH
    )
    table = Table(
        "Layers after the first with a trend along the head index",
        (
            *(Column("matrix", "text"), Column("figure", "text"), Column("layers", "count"), Column("rises", "count")),
            *(Column("falls", "count"), Column("no trend found", "count"), Column("not enough data", "count")),
            *(Column("strongest ρ", "text"), Column("in layer", "text"), Column("its p (Holm)", "p")),
        ),
        tuple(_deeper_row(evidence, m, metric, tests, layers) for (m, metric), tests in by_case.items()),
    )
    finding = Finding(
        title,
        statement,
        together(part.verdict for part in parts),
        reason(parts),
        parts,
        _first_has_none(evidence),
        (table,),
        criterion,
        _ORDER,
    )
    return judged(finding, evidence.gap())


def _deeper_part(
    evidence: Evidence, matrix: str, metric: str, found: Sequence[Corrected], layers: Sequence[int]
) -> Part:
    label = f"{evidence.label(metric)} of {matrix.upper()} shows no trend"
    shown = [layer for layer, each in zip(layers, found, strict=True) if each.direction in {"rises", "falls"}]
    unknown = sum(each.direction == "unknown" for each in found)
    if not shown and 2 * unknown > len(found):
        example = next(each for each in found if each.direction == "unknown")
        where = "" if unknown == len(found) else f" in {unknown:,} of {len(found):,} layers"
        return Part(label, Verdict.UNKNOWN, too_few(example, evidence.unit(matrix)) + where)
    named = f" (layer{'s' if len(shown) > 1 else ''} {listed(shown)})" if shown else ""
    untold = f"; of {unknown:,} it cannot be told" if unknown else ""
    why = f"{len(shown):,} of {len(found):,} layers {'shows' if len(shown) == 1 else 'show'} one{named}{untold}"
    return Part(label, Verdict.FAILS if shown else Verdict.HOLDS, why)


def _deeper_row(
    evidence: Evidence, matrix: str, metric: str, found: Sequence[Corrected], layers: Sequence[int]
) -> tuple[Cell, ...]:
    directions = [each.direction for each in found]
    strength = [abs(each.trend.rho) if each.trend.rho is not None else -1.0 for each in found]
    strongest = int(np.argmax(strength))
    each = found[strongest]
    return (
        *(matrix.upper(), evidence.label(metric), len(found)),
        *(directions.count(direction) for direction in ("rises", "falls", "none", "unknown")),
        *(rho_text(each.trend.rho), str(layers[strongest]), each.adjusted_p),
    )


def _first_has_none(evidence: Evidence) -> tuple[str, ...]:
    """A sentence when the statement is empty because the first layer shows no trend itself."""
    if evidence.gap_in_first():
        return ()
    found = _first_layer_tests(evidence)
    if any(each.direction == SIGNS[metric] for (m, metric), each in found.items() if m in HIGH):
        return ()
    return (f"In layer {evidence.layers[0]} itself no such trend is found here, so there is none that could be lost.",)
