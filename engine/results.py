"""What a job produces: the spectra of a layer's heads, or of one whole matrix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .choices import DEFAULT_K
from .metrics import Metrics, compute_metrics, metric_table
from .model import Job, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MatrixResult:
    """The spectra of every slice of one tensor."""

    sigma: "NDArray[np.float64]"
    """(slices, n), descending along n; a row of NaN where the slice holds NaN or infinite weights, or is not solved.

    A row that begins with ∞ has values beyond fp64.
    """
    solvers: tuple[str, ...]
    """Per slice, the solver that produced its values; empty text where there are none."""
    nonfinite: tuple[int, ...]
    """Per slice, how many of its weights are NaN or infinite."""
    _metrics: dict[int, list[Metrics]] = field(default_factory=dict, repr=False, compare=False)

    def metrics(self, k: int = DEFAULT_K) -> list[Metrics]:
        """The figures of every slice, worked out once for each `k`."""
        if k not in self._metrics:
            self._metrics[k] = compute_metrics(self.sigma, k)
        return self._metrics[k]

    @property
    def solved(self) -> "NDArray[np.bool_]":
        """(slices,): which are there. All of them are, unless the job is still being computed."""
        return np.array([self.is_solved(index) for index in range(len(self.solvers))], dtype=bool)

    def is_solved(self, index: int) -> bool:
        """Whether a slice is there, if only as one that can have no spectrum."""
        return bool(self.solvers[index] or self.nonfinite[index])

    def has_spectrum(self, index: int) -> bool:
        """Whether a slice is solved, and all its values can be represented."""
        return bool(np.isfinite(self.sigma[index, 0]))

    def replaced(self, first: int, slices: "MatrixResult") -> "MatrixResult":
        """The same with other slices from number `first` on."""
        stop = first + len(slices.solvers)
        sigma = self.sigma.copy()
        sigma[first:stop] = slices.sigma
        solvers = (*self.solvers[:first], *slices.solvers, *self.solvers[stop:])
        return MatrixResult(sigma, solvers, (*self.nonfinite[:first], *slices.nonfinite, *self.nonfinite[stop:]))


@dataclass(frozen=True, eq=False)
class JobResult:
    """All that a job computed: matrix name (`q` … or the whole matrix's) → its spectra."""

    job: Job
    matrices: Mapping[str, MatrixResult]

    def tables(self, k: int = DEFAULT_K) -> "Tables":
        """The figures of every slice of every matrix, without the spectra."""
        return {name: metric_table(matrix.sigma, k) for name, matrix in self.matrices.items()}

    @property
    def flawed(self) -> frozenset[tuple[str, int]]:
        """The matrices, as name and slice, that are solved and have no spectrum: NaN, infinite or too large weights."""
        return frozenset(
            (name, index)
            for name, matrix in self.matrices.items()
            for index in (~np.isfinite(matrix.sigma[:, 0])).nonzero()[0].tolist()
            if matrix.is_solved(index)
        )


Tables = Mapping[str, "NDArray[np.float64]"]
"""Matrix name → figures of its slices, (slices, metrics) in the order of `Metrics`, NaN where undefined."""

TablesOf = Callable[[Job], Tables | None]
"""Finds the figures of a job, or None when it has not been computed."""

Lookup = Callable[[Job], JobResult | None]
"""Finds a job's result, or None when it has not been computed."""


def expected_shapes(model: Model, job: Job) -> dict[str, tuple[int, int]]:
    """(slices, n) of every matrix that a job of this model computes."""
    return {tensor.matrix: (tensor.count, min(tensor.rows, tensor.cols)) for tensor in model.job_tensors(job)}
