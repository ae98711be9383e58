"""What the eigenvalues of a Gram matrix are worth as singular values, and how the small ones are mended.

The eigenvalues λ = σ² of a Gram matrix formed and solved in floating point are off by about c·ε·λ₁, whatever their size
(Weyl's inequality: forming it and reducing it are small perturbations of the matrix), so that σ is off by
c·ε·(σ₁/σ)²/2 of itself. Where that could exceed `RELATIVE_ERROR`, the values are worked out again from the matrix:

The subspace of the small values is far more exact than the small eigenvalues themselves, and the singular values of
the matrix restricted to it (Rayleigh-Ritz) replace them. An error of the subspace enters squared: with values up to
σ₁/κ and the rest of the spectrum a margin above the limit L, by (c·ε·L·κ/4)², which is 10⁻⁸ at the largest κ allowed.
What the two ways say must agree within the rounding of the first.
"""

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RELATIVE_ERROR = 1e-7
"""What no value from a Gram matrix may be off by, of itself."""

LARGEST_CONDITION = 3e6
"""σ₁/σₙ up to which small values are mended; beyond it the Gram matrix says too little to agree with."""

_MARGIN = 4.0
"""The subspace reaches this factor above the values to be replaced."""


_MOST_SMALL = 0.5
"""Share of the values up to which mending them costs less than an fp64 SVD (a quarter of it, where half are small)."""


@dataclass(frozen=True, slots=True)
class SmallEnd:
    """The `replaced` smallest values are to be worked out again, in the subspace of the `size` smallest."""

    size: int
    replaced: int


def sigma_of_eigenvalues(eigenvalues: "Array") -> "Array":
    """√ of ascending eigenvalues of a Gram matrix, descending; what rounding made negative is 0."""
    sigma: Array = np.sqrt(np.maximum(eigenvalues[::-1], 0.0))
    return sigma


def eigenvalue_error(n: int, long: int) -> float:
    """A bound on what an eigenvalue of the Gram matrix of (n, long) is off by, relative to the largest.

    The constants are more than twice what the worst of several thousand planted spectra showed (nearly all values
    equal, and one small): LAPACK's reduction and QR sweeps give n, the sums over the long side the root.
    """
    return (32 + n / 4 + sqrt(long) / 16) * float(np.finfo(np.float64).eps)


def condition_limit(n: int, long: int) -> float:
    """σ₁/σ up to which the values of the Gram matrix of (n, long) keep `RELATIVE_ERROR`: 3.6·10³ for 128 × 4096."""
    return sqrt(2 * RELATIVE_ERROR / eigenvalue_error(n, long))


def is_accurate(sigma: "Array", long: int) -> bool:
    """Whether all values from the Gram matrix of (n, long) can stand: they are within the limit, or exactly zero."""
    return bool(sigma[0] <= condition_limit(len(sigma), long) * sigma[-1])


def small_end(sigma: "Array", long: int) -> SmallEnd | None:
    """What has to be worked out again; None where that is too much, or too small for it."""
    first, limit = sigma[0], condition_limit(len(sigma), long)
    size = int((sigma < _MARGIN * first / limit).sum())
    if first > LARGEST_CONDITION * sigma[-1] or size > _MOST_SMALL * len(sigma):
        return None
    return SmallEnd(size, int((sigma < first / limit).sum()))


def mended(sigma: "Array", end: SmallEnd, restricted: "Array", long: int) -> "Array | None":
    """`sigma` with its small end taken from `restricted`, the values of the matrix on the subspace; None where the two
    differ by more than rounding can explain."""
    small, coarse = restricted[-end.replaced :], sigma[-end.replaced :]
    off = np.abs(np.square(small / sigma[0]) - np.square(coarse / sigma[0])).max()
    if off > eigenvalue_error(len(sigma), long):
        return None
    return np.concatenate((sigma[: -end.replaced], np.minimum(small, sigma[-end.replaced - 1])))
