"""Slices of a job that are solved before the whole of it is: on their way from the worker, and put together again."""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .model import Job, Model
from .results import JobResult, MatrixResult, expected_shapes


@dataclass(frozen=True, slots=True, eq=False)
class SolvedSlices:
    """Some slices of a matrix, from number `first` on."""

    matrix: str
    first: int
    result: MatrixResult

    def __len__(self) -> int:
        """How many."""
        return len(self.result.solvers)

    @property
    def places(self) -> frozenset[tuple[str, int]]:
        """Matrix and number of each."""
        return frozenset((self.matrix, self.first + index) for index in range(len(self)))

    def packed(self) -> dict[str, Any]:
        """As a part of a JSON line."""
        return {
            "matrix": self.matrix,
            "first": self.first,
            "sigma": base64.b64encode(np.ascontiguousarray(self.result.sigma).tobytes()).decode(),
            "solvers": self.result.solvers,
            "nonfinite": self.result.nonfinite,
        }

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> "SolvedSlices":
        """The inverse of `packed`."""
        solvers, nonfinite = tuple(packed["solvers"]), tuple(packed["nonfinite"])
        sigma = np.frombuffer(base64.b64decode(packed["sigma"])).reshape(len(solvers), -1)
        return cls(packed["matrix"], packed["first"], MatrixResult(sigma, solvers, nonfinite))


OnSolved = Callable[[SolvedSlices], None]
"""Told of slices as they are solved."""


class PartialResult:
    """What is there of a job that is being computed."""

    def __init__(self, model: Model, job: Job) -> None:
        self._job = job
        self._matrices = {
            name: MatrixResult(np.full((count, n), np.nan), ("",) * count, (0,) * count)
            for name, (count, n) in expected_shapes(model, job).items()
        }

    def put(self, slices: Iterable[SolvedSlices]) -> None:
        """Add what has been solved. Results that were taken out before stay as they are."""
        for each in slices:
            self._matrices[each.matrix] = self._matrices[each.matrix].replaced(each.first, each.result)

    @property
    def result(self) -> JobResult:
        """As far as it is there: see `MatrixResult.solved`."""
        return JobResult(self._job, dict(self._matrices))
