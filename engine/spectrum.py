"""Singular values of matrices on the CPU, exactly enough: solvers, and what each promises.

| solver | what it does |
|---|---|
| `gram64` | eigenvalues of the fp64 Gram matrix on the short side, small ones mended (`gram.py`); else an fp64 SVD |
| `svd32` | an fp32 SVD (LAPACK's sgesdd) |
| `svd64` | an fp64 SVD, the slow truth |

bf16, fp16 and fp32 weights are exact in fp64 and their squares stay inside its range. fp64 weights are scaled by a
power of two first, so that squares of very large or small values neither overflow nor vanish; and so are all weights
for `svd32`, since the largest singular value of fp32 weights can be beyond fp32.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .choices import Solver
from .gram import is_accurate, mended, sigma_of_eigenvalues, small_end
from .lapack import fp32_singular_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class NonFiniteError(ArithmeticError):
    """A matrix holds NaN or infinite values; the caller knows which and how many."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values, descending, (n,) float64, and the solver that produced them."""

    sigma: "Array"
    solver: Solver


def singular_values(matrix: "Array", solver: Solver, *, scale: bool = False) -> Spectrum:
    """The singular values of an fp64 copy of a weight, (rows, cols); ∞ where one is beyond fp64.

    `scale` is for weights that were fp64 in the file: only they, or their squares, can leave the range computed in.

    Raises:
        NonFiniteError: the matrix holds NaN or infinite values.
        LinAlgError: an iteration did not converge.
    """
    exponent = scale_exponent(float(np.abs(matrix).max())) if scale or solver == "svd32" else 0
    found = _solve(np.ldexp(matrix, -exponent) if exponent else matrix, solver)
    return Spectrum(scaled(found.sigma, exponent), found.solver)


def _solve(matrix: "Array", solver: Solver) -> Spectrum:
    if solver == "gram64":
        sigma = _sigma_by_gram(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)
        if sigma is not None:
            return Spectrum(sigma, "gram64")
        solver = "svd64"
    if not np.isfinite(matrix).all():
        raise NonFiniteError
    if solver == "svd32":
        return Spectrum(fp32_singular_values(matrix.astype(np.float32)).astype(np.float64), solver)
    return Spectrum(np.linalg.svd(matrix, compute_uv=False).astype(np.float64, copy=False), solver)


def _sigma_by_gram(matrix: "Array") -> "Array | None":
    """The values of (n, long), n ≤ long, or None where the Gram matrix says too little of them."""
    long = matrix.shape[1]
    with np.errstate(invalid="ignore"):  # infinite weights: the diagonal tells
        gram = matrix @ matrix.T
    if not np.isfinite(gram.diagonal()).all():
        raise NonFiniteError
    sigma = sigma_of_eigenvalues(np.linalg.eigvalsh(gram).astype(np.float64, copy=False))
    if is_accurate(sigma, long):
        return sigma
    end = small_end(sigma, long)
    if end is None:
        return None
    basis = np.linalg.eigh(gram).eigenvectors[:, : end.size]  # (n, size)
    triangle = np.linalg.qr(matrix.T @ basis, mode="r")
    restricted = np.linalg.svd(triangle, compute_uv=False).astype(np.float64, copy=False)
    return mended(sigma, end, restricted, long)


def scaled(sigma: "Array", exponent: int) -> "Array":
    """σ · 2^exponent; ∞ where that is beyond fp64."""
    if not exponent:
        return sigma
    with np.errstate(over="ignore"):
        values: Array = np.ldexp(sigma, exponent)
    return values


def scale_exponent(peak: float) -> int:
    """The power of two by which to divide a matrix with this largest magnitude, mostly 0.

    Afterwards its squares fit into fp64, and itself into fp32.

    Raises:
        NonFiniteError: `peak` is NaN or infinite.
    """
    if not np.isfinite(peak):
        raise NonFiniteError
    return 0 if peak == 0 or 1e-30 < peak < 1e30 else int(np.frexp(peak)[1])
