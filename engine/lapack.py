"""The fp32 SVD of LAPACK, which numpy does not call: `numpy.linalg.svd` of an fp32 array computes in fp64 and rounds.

scipy's own wrapper keeps Python's lock while LAPACK works, so that heads would be solved one after another and nobody
could stop a large matrix. What scipy offers to Cython (`scipy.linalg.cython_lapack`) is the same function without the
wrapper, and ctypes calls it with the lock released.
"""

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load() -> None:
    """Load LAPACK now, so that a `ThreadpoolController` made afterwards knows its BLAS too."""
    _function()


def fp32_singular_values(matrix: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """The singular values of (rows, cols) by LAPACK's `sgesdd`, descending; the matrix is overwritten.

    Raises:
        LinAlgError: the iteration did not converge.
    """
    matrix = np.ascontiguousarray(matrix)
    rows, cols = matrix.shape  # LAPACK sees the transpose, whose values are the same
    found = np.empty(min(rows, cols), np.float32)
    integers = np.empty(8 * len(found), np.int64)
    size = np.empty(1, np.float32)
    _sgesdd(matrix, found, size, -1, integers)  # asks for the room it needs
    work = np.empty(int(np.nextafter(size[0], np.float32(np.inf))) + 1, np.float32)  # fp32 cannot hold every size
    if info := _sgesdd(matrix, found, work, len(work), integers):
        raise np.linalg.LinAlgError(f"sgesdd did not converge ({info})")
    return found


def _sgesdd(
    matrix: "NDArray[np.float32]",
    found: "NDArray[np.float32]",
    work: "NDArray[np.float32]",
    length: int,
    integers: "NDArray[np.int64]",
) -> int:
    rows, cols = matrix.shape
    # 64 bits also where LAPACK's integers have 32: what it reads and writes are their lower half, which comes first
    sizes = np.array([cols, rows, 1, length, 0], "<i8")
    m, n, one, room, info = (sizes[index:].ctypes.data for index in range(5))
    values, spare = found.ctypes.data, work.ctypes.data
    _function()(
        b"N", m, n, matrix.ctypes.data, m, values, spare, one, spare, one, spare, room, integers.ctypes.data, info
    )
    return int(sizes[4])


@cache
def _function() -> Any:
    from scipy.linalg import cython_lapack  # a BLAS of its own, and only needed here

    capsule = cython_lapack.__pyx_capi__["sgesdd"]
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    pointer_of = prototype(("PyCapsule_GetPointer", ctypes.pythonapi))
    arguments = [ctypes.c_char_p, *[ctypes.c_void_p] * 13]
    return ctypes.CFUNCTYPE(None, *arguments)(pointer_of(capsule, name_of(capsule)))
