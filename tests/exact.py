"""Matrices whose singular values are known exactly, to every bit: the truth that precision is measured against.

Rotations are products of Hadamard matrices, a permutation and signs. Times their size they hold integers, so that
everything here is a sum of whole numbers below 2⁵³ and a division by a power of two: nothing is rounded.
"""

from math import log2

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def exactly_planted(sigma: Array, rows: int, cols: int, seed: int = 0) -> tuple[Array, Array]:
    """A (rows, cols) matrix and its singular values: those given, descending from 1, rounded to some 30 binary places.

    Raises:
        ValueError: a side is not a power of two, or the values are not as many as its short side is long.
    """
    short, long = sorted((rows, cols))
    if any(side & (side - 1) for side in (short, long)) or sigma.shape != (short,):
        raise ValueError(f"{rows} × {cols} with {len(sigma)} values")
    random = np.random.default_rng(seed)
    unit = 2.0 ** (52 - log2(short) - log2(long))
    sigma = np.round(sigma * unit) / unit
    matrix = np.zeros((short, long))
    np.fill_diagonal(matrix, sigma)
    matrix = _turned(np.ascontiguousarray(_turned(matrix, random).T), random)  # (long, short)
    return (matrix if rows > cols else np.ascontiguousarray(matrix.T)), sigma


def _turned(matrix: Array, random: np.random.Generator) -> Array:
    """The columns of (size, count), rotated."""
    size = len(matrix)
    matrix = _hadamard(matrix)[random.permutation(size)] * random.choice([-1.0, 1.0], (size, 1))
    return _hadamard(matrix) / size


def _hadamard(matrix: Array) -> Array:
    """The Walsh-Hadamard transform of each column of (size, count), not normalised."""
    size, count = matrix.shape
    half = 1
    while half < size:
        pairs = matrix.reshape(-1, 2, half, count)
        matrix = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), 1).reshape(size, count)
        half *= 2
    return matrix


def spectra(n: int, condition: float) -> dict[str, Array]:
    """Spectra of `n` values from 1 to 1/`condition`, of every kind that solvers find hard."""
    small = 1 / condition
    few = max(1, n // 16)
    return {
        "flat, one small": np.r_[np.ones(n - 1), small],
        "flat, a few small": np.r_[np.ones(n - few), np.full(few, small)],
        "flat, then a cliff": np.r_[np.linspace(1, 0.5, n - few), np.linspace(2 * small, small, few)],
        "linear": np.linspace(1, small, n),
        "geometric": np.geomspace(1, small, n),
        "two clusters": np.r_[np.ones(n - n // 2), np.full(n // 2, small)],
        "three clusters": np.r_[1, np.full(n - 1 - n // 4, min(1.0, 4.1 * small)), np.full(n // 4, small)],
        "rank-deficient": np.r_[np.geomspace(1, small, n - few), np.zeros(few)],
        "one large": np.r_[1, np.full(n - 1, small)],
    }


def relative_error(found: Array, truth: Array) -> float:
    """Largest error of a value relative to itself, of those that are not zero."""
    there = truth > 0
    return float((np.abs(found - truth)[there] / truth[there]).max())


def absolute_error(found: Array, truth: Array) -> float:
    """Largest error of a value relative to the largest value."""
    return float(np.abs(found - truth).max() / truth[0])
