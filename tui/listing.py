"""How the table of heads or layers is laid out: whose figures stand in it, and in which order its lines are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan

ASCENDING, DESCENDING = "▲", "▼"
"""How the column that sorts is marked."""

BY_NUMBER = ""
"""The name of the first column: the number of the head or layer."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One metric of every matrix, or every metric of one matrix; sorted by a column."""

    matrix: str | None = None
    """The matrix whose metrics are all shown; None for the chosen metric of every matrix."""
    by: str = BY_NUMBER
    """The name of the column that sorts: a matrix or a metric. A name that there is no column of sorts nothing."""
    descending: bool = False

    def stepped(self, matrices: Sequence[str]) -> "Listing":
        """With all metrics of the next matrix; after the last one, with one metric of all."""
        steps = [None, *matrices]
        here = steps.index(self.matrix) if self.matrix in steps else 0
        return replace(self, matrix=steps[(here + 1) % len(steps)])

    def sorted_further(self, names: Sequence[str]) -> "Listing":
        """Sorted by the next of the columns `names`, the largest figure first, the smallest number first."""
        columns = [BY_NUMBER, *names]
        here = columns.index(self.by) if self.by in columns else 0
        by = columns[(here + 1) % len(columns)]
        return replace(self, by=by, descending=by != BY_NUMBER)

    def sorted_by(self, name: str, names: Sequence[str]) -> "Listing":
        """Sorted by a column, the largest figure first; one that sorts already, the other way round."""
        by = self.by if self.by in names else BY_NUMBER
        return self.reversed(names) if by == name else replace(self, by=name, descending=name != BY_NUMBER)

    def reversed(self, names: Sequence[str]) -> "Listing":
        """In the other direction."""
        return replace(self, by=self.by if self.by in names else BY_NUMBER, descending=not self.descends(names))

    def descends(self, names: Sequence[str]) -> bool:
        """Whether the largest comes first. A direction that was chosen for a column that is not there has no say."""
        return self.descending and (self.by in names or self.by == BY_NUMBER)


def order(values: Sequence[float] | None, count: int, *, descending: bool) -> list[int]:
    """The order of `count` lines by their `values`, or by their number without any.

    Lines that have no value (NaN) come last whatever the direction, and equal ones in the order of their numbers.
    """
    if values is None:
        return list(range(count))[:: -1 if descending else 1]
    with_value = [i for i in range(count) if not isnan(values[i])]
    without = [i for i in range(count) if isnan(values[i])]
    return sorted(with_value, key=lambda i: values[i], reverse=descending) + without
