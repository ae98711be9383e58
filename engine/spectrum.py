"""Singular values of matrices on the CPU, exactly enough: solvers, and what each promises.

| solver | what it does |
|---|---|
| `gram64` | eigenvalues of the fp64 Gram matrix on the short side; a slice with σ₁/σₙ > 2·10⁴ again by an fp64 SVD |
| `svd32` | the article's fp32 SVD (LAPACK gesdd) |
| `svd64` | an fp64 SVD, the slow truth |

Squaring a matrix squares its condition number: the error of `gram64` in σᵢ relative to σᵢ is about ε·(σ₁/σᵢ)² with
ε = 1.1·10⁻¹⁶, so at the limit of 2·10⁴ it is still below 10⁻⁷, which an fp32 SVD reaches only for σ₁/σᵢ < 2.
bf16, fp16 and fp32 weights are exact in fp64 and their squares stay inside its range; fp64 weights are scaled by a
power of two first, so that squares of very large or small values neither overflow nor vanish.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .choices import Solver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CONDITION_LIMIT = 2e4
"""σ₁/σₙ above which `gram64` hands a matrix to the fp64 SVD."""


class NonFiniteError(ArithmeticError):
    """A matrix holds NaN or infinite values; the caller knows which and how many."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values, descending, (n,) float64, and the solver that produced them."""

    sigma: "Array"
    solver: Solver


def singular_values(matrix: "Array", solver: Solver, *, scale: bool = False) -> Spectrum:
    """The singular values of an fp64 copy of a weight, (rows, cols).

    `scale` is for weights that were fp64 in the file: only they, or their squares, can leave the range computed in.

    Raises:
        NonFiniteError: the matrix holds NaN or infinite values.
    """
    exponent = scale_exponent(float(np.abs(matrix).max())) if scale else 0
    found = _solve(np.ldexp(matrix, -exponent) if exponent else matrix, solver)
    return Spectrum(np.ldexp(found.sigma, exponent), found.solver) if exponent else found


def _solve(matrix: "Array", solver: Solver) -> Spectrum:
    if solver == "gram64":
        short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        with np.errstate(invalid="ignore"):  # infinite weights: the diagonal tells
            gram = short @ short.T
        if not np.isfinite(gram.diagonal()).all():
            raise NonFiniteError
        sigma = sigma_of_eigenvalues(np.linalg.eigvalsh(gram).astype(np.float64, copy=False))
        if is_accurate(sigma):
            return Spectrum(sigma, "gram64")
        solver = "svd64"
    if not np.isfinite(matrix).all():
        raise NonFiniteError
    kind = np.float32 if solver == "svd32" else np.float64
    return Spectrum(np.linalg.svd(matrix.astype(kind, copy=False), compute_uv=False).astype(np.float64), solver)


def sigma_of_eigenvalues(eigenvalues: "Array") -> "Array":
    """√ of ascending eigenvalues of a Gram matrix, descending; what rounding made negative is 0."""
    sigma: Array = np.sqrt(np.maximum(eigenvalues[::-1], 0.0))
    return sigma


def is_accurate(sigma: "Array") -> bool:
    """Whether values from a Gram matrix can stand: σ₁/σₙ within the limit, or all exactly zero."""
    return bool(sigma[0] <= CONDITION_LIMIT * sigma[-1])


def scale_exponent(peak: float) -> int:
    """The power of two by which to divide a matrix with this largest magnitude, mostly 0.

    Afterwards its squares fit into fp64, and itself into fp32.

    Raises:
        NonFiniteError: `peak` is NaN or infinite.
    """
    if not np.isfinite(peak):
        raise NonFiniteError
    return 0 if peak == 0 or 1e-30 < peak < 1e30 else int(np.frexp(peak)[1])
