"""The precision that README promises, on matrices whose singular values are known exactly (`tests/exact.py`).

Heads are solved as slices, whole matrices as files, each by the default solver. What is told is the worst of all, for
each of the ways by which values come about.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from svdtui.engine import Job, open_model
from svdtui.engine.compute import Computer
from svdtui.engine.gram import RELATIVE_ERROR, condition_limit
from svdtui.engine.spectrum import Spectrum, singular_values
from tests.exact import Array, absolute_error, exactly_planted, relative_error, spectra

from .report import Row

HEADS = ((64, 512), (64, 2048), (1024, 128), (128, 4096), (256, 512), (256, 4096))
WHOLES = ((512, 512), (512, 2048), (1024, 1024), (2048, 2048))

NEAR = (0.5, 0.99, 1.01, 1.5, 5)
"""σ₁/σₙ beside the limit of each shape, which is some thousands; 5 is about 2·10⁴ for a head."""

FAR = (1e3, 1e5, 1e6, 2.9e6, 1e8)
"""σ₁/σₙ."""

_LARGE = 1024
"""Order from which a matrix takes so long that three conditions are enough."""

_CLUSTERS = {"two clusters", "one large", "rank-deficient"}
"""Spectra that go to the fp64 SVD, which takes a minute for the largest matrices; smaller ones have them too."""

ROUNDING = 100
"""Multiples of ε·σ₁ that count as fp64 rounding of the largest value."""


@dataclass
class _Worst:
    """Of one kind of matrix, for each way: how many there were, and the largest error with its spectrum."""

    found: dict[str, tuple[float, str]] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def add(self, found: Spectrum, truth: Array, told: str, limit: float) -> None:
        """Take a result into account."""
        if found.solver == "svd64":
            way, error = "decided by the fp64 SVD", absolute_error(found.sigma, truth) / float(np.finfo(float).eps)
        else:
            way = "from the Gram matrix alone" if truth[0] <= limit * truth[-1] else "with small values mended"
            error = relative_error(found.sigma, truth)
        self.count[way] = self.count.get(way, 0) + 1
        self.found[way] = max(self.found.get(way, (0.0, "")), (error, told))

    def rows(self, what: str) -> Iterator[Row]:
        """A row for each way."""
        for way, (error, told) in sorted(self.found.items(), reverse=True):
            detail = f"worst of {self.count[way]} planted spectra: {told}"
            if way.startswith("decided"):
                target, said, is_met = f"≤ {ROUNDING} ε·σ₁", f"{error:.0f} ε·σ₁", error <= ROUNDING
            else:
                target, said, is_met = "< 10⁻⁷ of the value", f"{error:.1e}", error < RELATIVE_ERROR
            yield Row(f"{what}, {way}", target, said, detail, is_met)


def accuracy_rows() -> Iterator[Row]:
    """The worst errors of heads and of whole matrices."""
    heads, wholes = _Worst(), _Worst()
    with threadpool_limits(1, "blas"):  # as heads are solved
        for matrix, truth, told, limit in _planted(HEADS):
            heads.add(singular_values(matrix, "gram64"), truth, told, limit)
    yield from heads.rows("heads of 64 … 256 × 512 … 4096")
    with tempfile.TemporaryDirectory() as scratch:
        for matrix, truth, told, limit in _planted(WHOLES):
            wholes.add(_whole(Path(scratch) / "model.safetensors", matrix), truth, told, limit)
    yield from wholes.rows("whole matrices up to 2048 × 2048")


def _planted(shapes: tuple[tuple[int, int], ...]) -> Iterator[tuple[Array, Array, str, float]]:
    """Matrices, their values, what they are in words, and up to which σ₁/σₙ the Gram matrix is enough."""
    seed = 0
    for shape in shapes:
        n, long = sorted(shape)
        limit = condition_limit(n, long)
        conditions = [*(limit * factor for factor in NEAR), *FAR]
        for condition in conditions if n < _LARGE else conditions[1:8:3]:
            for name, sigma in spectra(n, condition).items():
                seed += 1
                if n > _LARGE and name in _CLUSTERS:
                    continue
                matrix, truth = exactly_planted(sigma, *shape, seed)
                yield matrix, truth, f"{name}, {shape[0]} × {shape[1]}, σ₁/σₙ = {condition:.2g}", limit


def _whole(file: Path, weight: Array) -> Spectrum:
    save_file({"model.layers.0.self_attn.q_proj.weight": weight}, file)
    computer = Computer(open_model(file))
    result = computer.compute(Job(0, "q_proj")).matrices["q_proj"]
    computer.close()
    return Spectrum(result.sigma[0], "svd64" if result.solvers[0] == "svd64" else "gram64")
