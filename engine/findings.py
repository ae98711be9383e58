"""The article's conclusions tested on a model: five findings, each with its numbers, a verdict and a caveat.

    evidence = gather(model, tables, k=10)      # quick, in any process that has the results
    findings = find(evidence)                   # a second or two, for instance in a `ProcessPoolExecutor`

Both sides are plain data, and the same figures always give the same findings.
"""

from dataclasses import dataclass

from .candidates import Candidate, candidates, least_rank
from .comparisons import first_layer_comparison
from .depth_trends import depth_trends
from .evidence import Evidence
from .finding import Finding
from .head_trends import deeper_trends, first_layer_trends


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings of a model."""

    model: str
    revision: str
    k: int
    layers: int
    """Layers that have attention heads."""
    computed: int
    """Of these, the layers whose figures the findings are drawn from."""
    notes: tuple[str, ...]
    """Sentences on what was missing, and on what these files hold less than a whole model."""
    findings: tuple[Finding, ...]
    """In the article's order: first layer, head index, depth, deeper layers, candidates."""
    candidates: tuple[Candidate, ...]
    """All of them, the least effective rank ÷ n first."""


def find(evidence: Evidence) -> Findings:
    """Test all statements on the figures that are there."""
    found = candidates(evidence)
    return Findings(
        model=evidence.model,
        revision=evidence.revision,
        k=evidence.k,
        layers=len(evidence.layers),
        computed=len(evidence.layers) - evidence.missing,
        notes=evidence.notes,
        findings=(
            first_layer_comparison(evidence),
            first_layer_trends(evidence),
            depth_trends(evidence),
            deeper_trends(evidence),
            least_rank(evidence, found),
        ),
        candidates=found,
    )
