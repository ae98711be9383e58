"""Heads and whole matrices of the least rank, and what a low-rank factorisation of each would need."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan

import numpy as np

from .address import Address
from .comparisons import HIGH, LOW, compare, comparison_part, medians, share_table
from .depth_trends import depth_part, depth_tables, depths
from .evidence import Evidence
from .finding import Cell, Column, Finding, Table, judged, reason, together, untested
from .text import plural
from .trend_words import LEVEL

SHOWN = 10
"""Candidates in a table; the CSV has all."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A slice of a head or a whole matrix, with the figures that rank it."""

    layer: int | None
    head: int | None
    """The query head; None for K, V and whole matrices."""
    kv_head: int | None
    matrix: str
    rows: int
    cols: int
    effective_rank: float
    energy_rank_95: int
    energy_rank_99: int

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole matrix, not a head's slice of one."""
        return self.head is None and self.kv_head is None

    @property
    def place(self) -> str:
        """`12.5.q`, `12.kv1.k` for a KV head's, `12.q_proj`, `lm_head`."""
        if self.kv_head is not None:
            return f"{self.layer}.kv{self.kv_head}.{self.matrix}"
        return str(Address(self.layer, self.head, self.matrix))

    @property
    def n(self) -> int:
        """Singular values, and so the largest rank."""
        return min(self.rows, self.cols)

    @property
    def parameters(self) -> int:
        """Of the matrix as it is: mn."""
        return self.rows * self.cols

    def factorised(self, rank: int) -> int:
        """Parameters of two factors of this rank: r(m + n)."""
        return rank * (self.rows + self.cols)

    def pays(self, rank: int) -> bool:
        """Whether the two factors are smaller than the matrix: r(m + n) < mn."""
        return self.factorised(rank) < self.parameters


Measure = Callable[[Candidate], float]


def by_effective_rank(candidate: Candidate) -> float:
    """Effective rank ÷ n, from 1/n to 1."""
    return candidate.effective_rank / candidate.n


def by_energy_rank(candidate: Candidate) -> float:
    """Rank that keeps 95 % of the energy ÷ n."""
    return candidate.energy_rank_95 / candidate.n


def candidates(evidence: Evidence) -> tuple[Candidate, ...]:
    """All slices and whole matrices with a rank, the least effective rank ÷ n first. A shared KV head comes once."""
    found = (*_slices(evidence), *_wholes(evidence))
    return tuple(sorted(found, key=lambda c: (by_effective_rank(c), by_energy_rank(c))))


def _slices(evidence: Evidence) -> Iterator[Candidate]:
    for matrix, figures in evidence.figures.items():
        if not figures.n:
            continue
        ranks = np.stack([figures.values[m] for m in ("effective_rank", "energy_rank_95", "energy_rank_99")], -1)
        for row, layer in enumerate(evidence.layers):
            for index, (effective, rank_95, rank_99) in enumerate(ranks[row].tolist()):
                if not isnan(effective):
                    head, kv_head = (None, index) if figures.is_shared else (index, None)
                    place = (layer, head, kv_head, matrix, figures.rows, figures.cols)
                    yield Candidate(*place, effective, int(rank_95), int(rank_99))


def _wholes(evidence: Evidence) -> Iterator[Candidate]:
    for whole in evidence.wholes:
        if whole.effective_rank is not None and whole.energy_rank_95 is not None and whole.energy_rank_99 is not None:
            place = (whole.address.layer, None, None, whole.address.matrix or "", whole.rows, whole.cols)
            yield Candidate(*place, whole.effective_rank, whole.energy_rank_95, whole.energy_rank_99)


def least_rank(evidence: Evidence, found: Sequence[Candidate]) -> Finding:
    """Analysis 4 of the article: Q and K, and shallow layers, are of lower rank; what to factorise first."""
    title = "Candidates: what could be compressed first"
    statement = (
        "Q and K are of lower rank than V and O, and shallow layers of lower rank than deep ones: they are the first "
        "to prune, to compress or to fine-tune."
    )
    criterion = (
        "Of ranks: a query head counts when its Q and K are both below both its V and O, over the heads of all layers; "
        f"a part holds when more than half of them count. Of depth: {LEVEL} A value is the median over the heads of a "
        "layer, and the first and the last third of the layers must agree."
    )
    caveat = (
        "These are hypotheses to test, not results: small singular values can matter more than their size suggests "
        "(Staats et al., arXiv 2410.17770), and an energy kept is not an accuracy kept. Compress a copy, and measure "
        "it on your task."
    )
    if not any(evidence.computed):
        told = untested(title, statement, evidence.gap(), criterion, caveat)
        return replace(told, paragraphs=_counts(evidence), tables=tuple(_lists(found)))
    rows = range(len(evidence.layers))
    n = evidence.n or 1
    comparisons = [compare(evidence, metric, -1, rows) for metric in ("effective_rank", "energy_rank_95")]
    levels = depths(evidence, [(m, "effective_rank") for m in (*HIGH, *LOW)])
    parts = (
        *(comparison_part(evidence, c, medians(evidence, c.metric, rows), n) for c in comparisons),
        *(depth_part(evidence, depth, "rises", n) for depth in levels if depth.matrix in HIGH),
    )
    finding = Finding(
        title,
        statement,
        together(part.verdict for part in parts),
        reason(parts),
        parts,
        _counts(evidence),
        (
            share_table(evidence, comparisons, "Query heads of all layers that agree"),
            *depth_tables(evidence, levels, n),
            *_lists(found),
        ),
        criterion,
        caveat,
    )
    return judged(finding, evidence.gap())


def _counts(evidence: Evidence) -> tuple[str, ...]:
    """What is not among the candidates, in sentences."""
    said = []
    first = [figures.values["sigma_first"] for figures in evidence.figures.values()]
    zero = sum(int((each == 0).sum()) for each in first)
    if zero:
        said.append(f"Head slices that are all zeros, have no rank and could be left out as they are: {zero:,}.")
    total = len(evidence.wholes) + evidence.whole_missing
    if evidence.whole_missing:
        said.append(
            f"Of {plural(total, 'whole matrix', 'whole matrices')}, {len(evidence.wholes):,} have been computed and "
            "can be among the candidates."
        )
    if evidence.figures:
        said.append(
            "A place is layer.head.matrix: 0.3.q is Q of query head 3 in layer 0, and 0.kv2.k is K of KV head 2, which "
            "several query heads may share."
        )
    said.append(
        "A low-rank factorisation turns m × n into m × r and r × n: r(m + n) parameters in place of mn, which pays "
        "only while r(m + n) < mn. The last columns give them for the ranks that keep 95 % and 99 % of the energy Σσ²."
    )
    return tuple(said)


def _lists(found: Sequence[Candidate]) -> Iterator[Table]:
    measures: tuple[tuple[str, Measure], ...] = (
        ("effective rank ÷ n", by_effective_rank),
        ("rank at 95 % energy ÷ n", by_energy_rank),
    )
    for name, wanted in (("Head slices", False), ("Whole matrices", True)):
        those = [candidate for candidate in found if candidate.is_whole is wanted]
        for label, measure in measures if those else ():
            least = sorted(those, key=measure)[:SHOWN]
            yield Table(
                f"{name} with the least {label}, of {len(those):,}", _COLUMNS, tuple(_row(each) for each in least)
            )


_COLUMNS = (
    *(Column("place", "text"), Column("shape", "text"), Column("effective"), Column("÷ n")),
    *(Column("95 %", "count"), Column("÷ n"), Column("99 %", "count")),
    *(Column("parameters", "count"), Column("at 95 %", "text"), Column("at 99 %", "text")),
)


def _row(candidate: Candidate) -> tuple[Cell, ...]:
    return (
        candidate.place,
        f"{candidate.rows}×{candidate.cols}",
        candidate.effective_rank,
        by_effective_rank(candidate),
        candidate.energy_rank_95,
        by_energy_rank(candidate),
        candidate.energy_rank_99,
        candidate.parameters,
        _cost(candidate, candidate.energy_rank_95),
        _cost(candidate, candidate.energy_rank_99),
    )


def _cost(candidate: Candidate, rank: int) -> str:
    count = candidate.factorised(rank)
    if not candidate.pays(rank):
        return f"{count:,}: does not pay"
    return f"{count:,} ({100 * count / candidate.parameters:.3g} %)"
