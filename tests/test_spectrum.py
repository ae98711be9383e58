"""Singular values against the fp64 SVD, on spectra that were planted: the default solver is never worse than fp32."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from svdtui.engine import DeviceError, Job, MatrixResult, open_model
from svdtui.engine.accelerator import Accelerator
from svdtui.engine.arriving import PartialResult
from svdtui.engine.choices import SOLVERS, Solver
from svdtui.engine.cpu import Cpu, Solved
from svdtui.engine.memory import TensorReader
from svdtui.engine.model import HEADS
from svdtui.engine.spectrum import NonFiniteError, singular_values

from .checkpoints import planted, write_checkpoint

Array = NDArray[np.float64]

SPECTRA: dict[str, torch.Tensor] = {
    "flat": torch.ones(32),
    "fast decay": torch.logspace(1, -3, 32),
    **{f"condition 1e{p}": torch.logspace(0, -p, 32, dtype=torch.float64) for p in (2, 4, 6, 8, 10, 12)},
    "just inside the limit": torch.linspace(1, 1 / 4.4e3, 32, dtype=torch.float64),
    "just outside the limit": torch.linspace(1, 1 / 5e3, 32, dtype=torch.float64),
    "rank 20 of 32": torch.cat([torch.linspace(3, 1, 20), torch.zeros(12)]),
    "repeated values": torch.tensor([5.0] * 10 + [2.0] * 12 + [1.0] * 10),
    "one large value": torch.tensor([1e6] + [1.0] * 31),
}


def true_sigma(weight: torch.Tensor) -> Array:
    return np.linalg.svd(np.asarray(weight.double().numpy(), dtype=np.float64), compute_uv=False)


def errors(found: Array, truth: Array) -> tuple[float, float]:
    """Largest error relative to the value itself, where there is one, and relative to the largest value."""
    there = truth > 1e-13 * truth[0]
    difference = np.abs(found - truth)
    return float((difference[there] / truth[there]).max()), float(difference.max() / truth[0])


@pytest.mark.parametrize("shape", [(32, 300), (300, 32), (32, 32)], ids=str)
@pytest.mark.parametrize("name", SPECTRA)
def test_the_default_is_never_further_from_the_truth_than_the_fp32_svd(name: str, shape: tuple[int, int]) -> None:
    matrix = planted(SPECTRA[name].double(), *shape).float().double().numpy()
    truth = np.linalg.svd(matrix, compute_uv=False)
    ours = errors(singular_values(matrix, "gram64").sigma, truth)
    fp32 = errors(singular_values(matrix, "svd32").sigma, truth)
    assert ours[0] <= max(fp32[0], 1e-14)
    assert ours[1] <= max(fp32[1], 1e-14)
    assert ours[0] < 1e-6


@pytest.mark.parametrize("name", ["fast decay", "just inside the limit"])
def test_within_the_limit_the_default_keeps_seven_digits_of_every_value(name: str) -> None:
    matrix = planted(SPECTRA[name].double(), 32, 300).numpy()
    found = singular_values(matrix, "gram64")
    assert found.solver == "gram64"
    assert errors(found.sigma, np.linalg.svd(matrix, compute_uv=False))[0] < 1e-7


def test_beyond_the_limit_small_values_are_mended() -> None:
    matrix = planted(SPECTRA["just outside the limit"], 32, 300).numpy()
    found, truth = singular_values(matrix, "gram64"), np.linalg.svd(matrix, compute_uv=False)
    unmended = np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[::-1])
    assert found.solver == "gram64"
    assert errors(found.sigma, truth)[0] < errors(unmended, truth)[0] / 10


def test_where_the_gram_matrix_says_too_little_the_fp64_svd_decides_and_the_result_says_so() -> None:
    matrix = planted(SPECTRA["condition 1e8"], 32, 300).numpy()
    found = singular_values(matrix, "gram64")
    assert found.solver == "svd64"
    assert np.array_equal(found.sigma, np.linalg.svd(matrix, compute_uv=False))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_zero_matrix_has_zeros(solver: Solver) -> None:
    assert np.array_equal(singular_values(np.zeros((4, 9)), solver).sigma, np.zeros(4))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1)], ids=str)
def test_one_row_or_column_has_its_norm(solver: Solver, shape: tuple[int, int]) -> None:
    matrix = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    found = singular_values(matrix, solver).sigma
    assert found == pytest.approx([np.linalg.norm(matrix)], rel=1e-6)


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e160, 1e300])
def test_fp64_weights_of_any_size_keep_their_precision(factor: float) -> None:
    matrix = planted(SPECTRA["fast decay"].double(), 32, 300).numpy()
    found = singular_values(matrix * factor, "gram64", scale=True)
    assert found.solver == "gram64"
    assert found.sigma / factor == pytest.approx(np.linalg.svd(matrix, compute_uv=False), rel=1e-8)


@pytest.mark.parametrize("factor", [1e-300, 1e200, 1e300])
def test_fp64_weights_of_any_size_fit_into_the_fp32_svd(factor: float) -> None:
    matrix = planted(SPECTRA["flat"].double(), 32, 300).numpy() * factor
    found = singular_values(matrix, "svd32", scale=True)
    assert found.sigma / factor == pytest.approx(np.ones(32), rel=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(solver: Solver, poison: float) -> None:
    matrix = np.ones((3, 5))
    matrix[1, 2] = poison
    with pytest.raises(NonFiniteError):
        singular_values(matrix, solver, scale=True)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 24),
    cols=st.integers(1, 24),
    rank=st.integers(0, 24),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
)
def test_any_shape_and_rank(rows: int, cols: int, rank: int, seed: int, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(seed)
    factors = torch.randn(rows, rank, generator=random), torch.randn(rank, cols, generator=random)
    matrix = (factors[0] @ factors[1]).to(dtype).double().numpy()
    truth = np.linalg.svd(matrix, compute_uv=False)
    found = singular_values(matrix, "gram64").sigma
    assert found.shape == truth.shape
    assert (np.diff(found) <= 0).all()
    assert np.abs(found - truth).max() <= 1e-9 * truth[0]


class TestCheckpoints:
    """Whole jobs: bytes on disk → spectra, on both backends."""

    @pytest.fixture(params=["cpu", "torch device"])
    def backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def solve(self, folder: Path, job: Job, solver: Solver, backend: str) -> dict[str, MatrixResult]:
        model = open_model(folder)
        reader = TensorReader(model.checkpoint.source)
        engine: Cpu | Accelerator
        engine = Cpu(solver, threads=2) if backend == "cpu" else Accelerator(solver, "cpu")
        told = PartialResult(model, job)
        try:
            tensors = model.job_tensors(job)
            if job.kind == HEADS:
                found = engine.solve_heads(tensors, reader, lambda slices: told.put([slices]), {})
                for matrix, result in told.result.matrices.items():  # slice by slice the same
                    assert np.array_equal(result.sigma, found[matrix].sigma, equal_nan=True)
                    assert (result.solvers, result.nonfinite) == (found[matrix].solvers, found[matrix].nonfinite)
                    assert result.solved.all()
            else:
                found = {t.matrix: engine.solve_whole(t, reader) for t in tensors}
        finally:
            engine.close()
        return found

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("solver", SOLVERS)
    def test_every_head_of_every_dtype(self, tmp_path: Path, dtype: torch.dtype, solver: Solver, backend: str) -> None:
        made = write_checkpoint(tmp_path / "m", heads=6, kv_heads=2, hidden=96, layers=1, dtype=dtype)
        found = self.solve(made.folder, Job(0, HEADS), solver, backend)
        tolerance = 1e-4 if solver == "svd32" else 1e-9
        for matrix, per_kv in (("q", 1), ("k", 3), ("v", 3), ("o", 1)):
            for head in range(6):
                truth = true_sigma(made.head_slice(0, head, matrix))  # type: ignore[arg-type]
                assert found[matrix].sigma[head // per_kv] == pytest.approx(truth, rel=tolerance)

    @pytest.mark.parametrize("solver", SOLVERS)
    @pytest.mark.parametrize("name", ["q_proj", "k_proj", "down_proj", "gate_proj"])
    def test_whole_matrices(self, tmp_path: Path, solver: Solver, name: str, backend: str) -> None:
        made = write_checkpoint(tmp_path / "m", layers=1)
        found = self.solve(made.folder, Job(0, name), solver, backend)[name]
        part = "mlp" if name in {"down_proj", "gate_proj"} else "self_attn"
        truth = true_sigma(made.tensors[f"model.layers.0.{part}.{name}.weight"])
        assert found.sigma[0] == pytest.approx(truth, rel=1e-4 if solver == "svd32" else 1e-9)

    @pytest.mark.parametrize("solver", SOLVERS)
    @pytest.mark.parametrize("peak", [1e-310, 1e200, 1.2e308])
    @pytest.mark.parametrize("shape", [(64, 96), (96, 64)], ids=str)
    def test_whole_fp64_matrices_at_the_ends_of_the_range(
        self, tmp_path: Path, solver: Solver, peak: float, shape: tuple[int, int], backend: str
    ) -> None:
        weight = torch.zeros(shape, dtype=torch.float64)
        weight.fill_diagonal_(peak)
        made = write_checkpoint(tmp_path / "m", layers=1, overrides={"lm_head.weight": weight})
        found = self.solve(made.folder, Job(None, "lm_head"), solver, backend)["lm_head"]
        assert found.nonfinite == (0,)
        assert found.sigma[0] == pytest.approx(np.full(64, peak), rel=1e-6)

    def test_nan_in_one_head_leaves_the_others(self, tmp_path: Path, backend: str) -> None:
        name = "model.layers.0.self_attn.o_proj.weight"
        good = write_checkpoint(tmp_path / "good", layers=1)
        bad = good.tensors[name].clone()
        bad[3, 16] = torch.nan  # columns 16 … 31 are head 1
        bad[5, 20] = -torch.inf
        made = write_checkpoint(tmp_path / "bad", layers=1, overrides={name: bad})
        found = self.solve(made.folder, Job(0, HEADS), "gram64", backend)["o"]
        assert found.nonfinite == (0, 2, 0, 0)
        assert np.isnan(found.sigma[1]).all()
        assert found.solvers[1] == ""
        expected = self.solve(good.folder, Job(0, HEADS), "gram64", backend)["o"].sigma
        assert np.array_equal(found.sigma[[0, 2, 3]], expected[[0, 2, 3]])

    def test_nan_in_a_whole_matrix_is_counted(self, tmp_path: Path, backend: str) -> None:
        weight = torch.randn(64, 96)
        weight[3, :7] = torch.nan
        name = "model.layers.0.mlp.down_proj.weight"
        made = write_checkpoint(tmp_path / "m", layers=1, overrides={name: weight})
        assert self.solve(made.folder, Job(0, "down_proj"), "gram64", backend)["down_proj"].nonfinite == (7,)

    @pytest.fixture
    def small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("svdtui.engine.whole._BLOCK_BYTES", 8 * 64 * 10)
        monkeypatch.setattr("svdtui.engine.accelerator._BATCH_BYTES", 8 * 64 * 10)

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("shape", [(333, 64), (64, 333), (64, 64)], ids=str)
    @pytest.mark.parametrize("decay", [-1, -9], ids=["well conditioned", "needs the fp64 SVD"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_a_matrix_of_many_blocks(
        self, tmp_path: Path, shape: tuple[int, int], decay: int, dtype: torch.dtype, backend: str
    ) -> None:
        weight = planted(torch.logspace(0, decay, 64, dtype=torch.float64), *shape).to(dtype)
        if dtype == torch.float64:
            weight *= 1e200  # squares would overflow
        made = write_checkpoint(tmp_path / "m", layers=1, overrides={"lm_head.weight": weight})
        found = self.solve(made.folder, Job(None, "lm_head"), "gram64", backend)["lm_head"]
        truth = true_sigma(weight)
        assert found.solvers == ("gram64" if decay == -1 else "svd64",)
        assert np.abs(found.sigma[0] - truth).max() <= 1e-13 * truth[0]
        assert found.sigma[0] == pytest.approx(truth, rel=1e-5)

    @pytest.mark.parametrize("condition", [3e4, 1e5, 2e6])
    @pytest.mark.parametrize("shape", [(256, 256), (300, 256), (256, 300)], ids=str)
    def test_the_small_end_of_a_whole_matrix_is_refined(
        self, tmp_path: Path, shape: tuple[int, int], condition: float
    ) -> None:
        weight = planted(torch.linspace(1, 1 / condition, 256, dtype=torch.float64), *shape).float()
        made = write_checkpoint(tmp_path / "m", layers=1, overrides={"lm_head.weight": weight})
        found = self.solve(made.folder, Job(None, "lm_head"), "gram64", "cpu")["lm_head"]
        truth = true_sigma(weight)
        matrix = np.asarray(weight.double().numpy(), dtype=np.float64)
        eigenvalues = np.linalg.eigvalsh(matrix @ matrix.T if shape[0] == 256 else matrix.T @ matrix)
        unrefined = np.sqrt(np.maximum(eigenvalues[::-1], 0))
        assert found.solvers == ("gram64",)
        assert errors(found.sigma[0], truth)[0] < 1e-9
        assert errors(unrefined, truth)[0] > 1e-9  # so it was worth it

    def test_a_spectrum_with_too_many_small_values_goes_to_the_fp64_svd(self, tmp_path: Path) -> None:
        weight = planted(torch.tensor([1.0] + [1e-5] * 255, dtype=torch.float64), 256, 256).float()
        made = write_checkpoint(tmp_path / "m", layers=1, overrides={"lm_head.weight": weight})
        found = self.solve(made.folder, Job(None, "lm_head"), "gram64", "cpu")["lm_head"]
        assert found.solvers == ("svd64",)


def test_what_a_device_raises_becomes_what_the_worker_knows() -> None:
    accelerator = Accelerator("gram64", "cpu")
    with pytest.raises(MemoryError), accelerator.errors():
        raise torch.OutOfMemoryError("no room")
    with pytest.raises(DeviceError, match=r"cpu failed: CUDA error\. Try --device cpu\."), accelerator.errors():
        raise RuntimeError("CUDA error")


def test_while_slices_are_read_a_thread_is_left_to_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores a fast network and two solving threads would be three, and the reading would come last."""
    made = write_checkpoint(tmp_path / "m", heads=8, kv_heads=8, layers=1)
    active, is_read = 0, False
    most = {False: 0, True: 0}
    lock = threading.Lock()
    solve_slice = Cpu._solve_slice

    def counted(self: Cpu, weights: NDArray[Any]) -> Solved:
        nonlocal active
        with lock:
            active += 1
            most[is_read] = max(most[is_read], active)
        time.sleep(0.01)
        with lock:
            active -= 1
        return solve_slice(self, weights)

    class SlowReader(TensorReader):
        def read_slices(self, *args: Any) -> Iterator[Any]:
            nonlocal is_read
            for each in super().read_slices(*args):
                time.sleep(0.05)
                yield each
            is_read = True

    monkeypatch.setattr(Cpu, "_solve_slice", counted)
    model = open_model(made.folder)
    cpu = Cpu("gram64", threads=3)
    try:
        cpu.solve_heads(model.job_tensors(Job(0, HEADS)), SlowReader(model.checkpoint.source), lambda slices: None, {})
    finally:
        cpu.close()
    assert most == {False: 2, True: 3}
