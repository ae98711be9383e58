"""What README promises of every value, on matrices whose singular values are known exactly.

`make bench BENCH_ARGS="--only accuracy"` does the same for some hundred shapes and spectra more.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from svdtui.engine import Job, open_model
from svdtui.engine.accelerator import Accelerator
from svdtui.engine.choices import SOLVERS, Solver
from svdtui.engine.cpu import Cpu
from svdtui.engine.lapack import fp32_singular_values
from svdtui.engine.memory import TensorReader
from svdtui.engine.results import MatrixResult
from svdtui.engine.spectrum import singular_values

from .exact import absolute_error, exactly_planted, relative_error, spectra

Array = NDArray[np.float64]
Backend = Literal["cpu", "torch device"]

EPSILON = 2.0**-52

SHAPES = [(64, 512), (128, 1024), (256, 128)]
CONDITIONS = [3e3, 5e3, 1.2e4, 1.9e4, 2.1e4, 1e5, 2.9e6]
"""σ₁/σₙ, dense around the limits."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A BLAS for each thread of ours, as heads have it: its own wait by spinning, which costs others their time."""
    with threadpool_limits(1):
        yield


def whole(folder: Path, weight: NDArray[np.floating], solver: Solver, backend: Backend) -> MatrixResult:
    """The spectrum of a weight that is the only one of its model."""
    save_file({"model.layers.0.self_attn.q_proj.weight": weight}, folder / "m.safetensors")
    model = open_model(folder / "m.safetensors")
    engine = Cpu(solver, threads=2) if backend == "cpu" else Accelerator(solver, "cpu")
    (tensor,) = model.job_tensors(Job(0, "q_proj"))
    try:
        return engine.solve_whole(tensor, TensorReader(model.checkpoint.source))
    finally:
        engine.close()


@pytest.mark.parametrize("shape", [(16, 64), (128, 32)], ids=str)
def test_planted_values_are_exact(shape: tuple[int, int]) -> None:
    matrix, sigma = exactly_planted(np.geomspace(1, 1e-6, min(shape)), *shape, seed=3)
    units = matrix * 2.0**52
    assert np.array_equal(units, np.round(units))  # no bit is lost
    assert np.abs(units).max() < 2.0**53
    found = np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
    assert absolute_error(found, sigma) < 10 * EPSILON


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_value_of_a_head_is_off_by_more_than_1e_7_of_itself(shape: tuple[int, int]) -> None:
    worst = {}
    for condition in CONDITIONS:
        for name, sigma in spectra(min(shape), condition).items():
            matrix, truth = exactly_planted(sigma, *shape)
            worst[name, condition] = relative_error(singular_values(matrix, "gram64").sigma, truth)
    assert max(worst.values()) < 1e-7, max(worst, key=worst.__getitem__)


@pytest.mark.parametrize(("backend", "n"), [("cpu", 512), ("torch device", 256)])
def test_nor_is_one_of_a_whole_matrix(tmp_path: Path, backend: Backend, n: int) -> None:
    worst = {}
    for condition in (2.5e3, 1.2e4, 1.9e4, 1e5):
        for name, sigma in spectra(n, condition).items():
            if name in {"flat, one small", "flat, then a cliff", "linear", "three clusters"}:
                weight, truth = exactly_planted(sigma, n, n)
                worst[name, condition] = relative_error(whole(tmp_path, weight, "gram64", backend).sigma[0], truth)
    assert max(worst.values()) < 1e-7, max(worst, key=worst.__getitem__)


@pytest.mark.parametrize("shape", [(64, 512), (256, 128)], ids=str)
def test_where_the_fp64_svd_decided_it_is_fp64_rounding_of_the_largest_value(shape: tuple[int, int]) -> None:
    n = min(shape)
    for sigma in (np.geomspace(1, 1e-8, n), np.r_[np.linspace(1, 0.1, n - 8), np.zeros(8)]):
        matrix, truth = exactly_planted(sigma, *shape)
        found = singular_values(matrix, "gram64")
        assert found.solver == "svd64"
        assert absolute_error(found.sigma, truth) < 100 * EPSILON


@pytest.mark.parametrize("backend", ["cpu", "torch device"])
def test_svd32_computes_in_fp32(tmp_path: Path, backend: Backend) -> None:
    """numpy's SVD of an fp32 array does not: it computes in fp64 and rounds."""
    weight, truth = exactly_planted(np.geomspace(1, 1e-5, 64), 64, 128)
    weight = weight.astype(np.float32)
    found = whole(tmp_path, weight, "svd32", backend)
    assert found.solvers == ("svd32",)
    assert absolute_error(found.sigma[0], truth) < 1e-6
    assert relative_error(found.sigma[0], truth) > 1e-4
    rounded = np.linalg.svd(weight.astype(np.float64), compute_uv=False).astype(np.float32)
    assert np.array_equal(np.linalg.svd(weight, compute_uv=False), rounded)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 3), (48, 200), (200, 48), (96, 96)], ids=str)
def test_svd32_is_that_of_lapack(shape: tuple[int, int]) -> None:
    from scipy.linalg import svdvals

    matrix = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = svdvals(matrix)
    assert expected.dtype == np.float32
    assert fp32_singular_values(matrix.copy()) == pytest.approx(expected, abs=1e-6 * float(expected[0]))


def test_while_an_fp32_svd_is_computed_others_go_on() -> None:
    """A job that holds Python's lock cannot be stopped, and its heads come one after another."""
    matrix = np.random.default_rng(0).standard_normal((700, 700)).astype(np.float32)
    fp32_singular_values(matrix[:8, :8].copy())
    thread = threading.Thread(target=fp32_singular_values, args=(matrix,))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
    assert turns > 1000  # with the lock held: a few


@pytest.mark.parametrize("backend", ["cpu", "torch device"])
@pytest.mark.parametrize("shape", [(32, 64), (64, 32)], ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_near_the_end_of_fp32(tmp_path: Path, solver: Solver, shape: tuple[int, int], backend: Backend) -> None:
    """Their largest singular value is far beyond fp32."""
    weight = np.full(shape, 3e38, np.float32)
    found = whole(tmp_path, weight, solver, backend)
    assert found.sigma[0, 0] == pytest.approx(np.sqrt(32 * 64) * float(np.float32(3e38)), rel=1e-5)
    head = singular_values(weight.astype(np.float64), solver).sigma
    assert head[0] == pytest.approx(found.sigma[0, 0], rel=1e-5)
