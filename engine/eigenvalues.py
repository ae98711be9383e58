"""Eigenvalues of a large symmetric matrix, by the faster of LAPACK's two ways when numpy's BLAS has both.

`numpy.linalg.eigvalsh` reduces a matrix to tridiagonal form in one stage, half of which runs at the speed of memory.
The two-stage reduction (full to band to tridiagonal: Haidar, Ltaief & Dongarra 2011) runs at the speed of the
processor. LAPACK has had it since 3.7 as `dsyevd_2stage`; OpenBLAS, which numpy's wheels bring along, contains it, but
numpy does not call it. Where it is not found (another BLAS), numpy's own function is used.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_info

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_TWO_STAGE_FROM = 512
"""Order from which two stages are faster than one."""

_COLUMN_MAJOR = 102


def symmetric_eigenvalues(matrix: "Array") -> "Array":
    """The eigenvalues of (s, s), ascending; the matrix is left as it is."""
    two_stage = _two_stage() if len(matrix) >= _TWO_STAGE_FROM else None
    if two_stage is not None:
        found = two_stage(matrix)
        # what a broken build would show: the eigenvalues' sum is the trace
        if found is not None and abs(found.sum() - matrix.trace()) <= 1e-9 * np.abs(found).sum():
            return found
    values: Array = np.linalg.eigvalsh(matrix).astype(np.float64, copy=False)
    return values


@cache
def _two_stage() -> "Callable[[Array], Array | None] | None":
    """LAPACKE's `dsyevd_2stage` in the OpenBLAS that numpy has loaded."""
    for library in threadpool_info():
        if library["internal_api"] == "openblas":
            handle = ctypes.CDLL(library["filepath"])
            for prefix in ("scipy_", ""):
                for suffix, integer in (("64_", ctypes.c_int64), ("", ctypes.c_int32)):
                    function = getattr(handle, f"{prefix}LAPACKE_dsyevd_2stage{suffix}", None)
                    if function is not None:
                        return _wrap(function, integer)
    return None


def _wrap(function: Any, integer: Any) -> "Callable[[Array], Array | None]":
    pointer = ctypes.c_void_p
    function.argtypes = [ctypes.c_int, ctypes.c_char, ctypes.c_char, integer, pointer, integer, pointer]
    function.restype = integer

    def solve(matrix: "Array") -> "Array | None":
        size = len(matrix)
        work = np.array(matrix, dtype=np.float64, order="C")  # symmetric: its own transpose
        values = np.empty(size)
        status = function(_COLUMN_MAJOR, b"N", b"L", size, work.ctypes.data, size, values.ctypes.data)
        return values if status == 0 else None

    return solve
