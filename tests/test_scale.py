"""The scale of weights is no part of a ratio or a rank; what fp64 cannot hold is said, and is never ∞ or all zeros."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from svdtui.engine import HEADS, Analysis, Job, TensorError, open_model
from svdtui.engine.accelerator import Accelerator
from svdtui.engine.choices import SOLVERS, Solver
from svdtui.engine.compute import Computer
from svdtui.engine.cpu import Cpu
from svdtui.engine.memory import TensorReader
from svdtui.engine.metrics import METRICS, compute_metrics, rounding_noise
from svdtui.engine.spectrum import singular_values

from .checkpoints import planted, write_checkpoint
from .conftest import RunSvdtui
from .pilot import opened, shown

Array = NDArray[np.float64]

WITHOUT_SCALE = [
    *("top_ratio", "bottom_ratio", "first_last_ratio", "stable_rank", "effective_rank"),
    *("participation_ratio", "energy_rank_90", "energy_rank_95", "energy_rank_99"),
]
WITH_SCALE = ["sigma_first", "sigma_last", "frobenius_norm", "nuclear_norm"]

FIRST = np.logspace(0, -1, 16)
"""The singular values, divided by 5·10³⁰⁷, of a head whose values can be represented, and their sum cannot."""

Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The BLAS's threads wait by spinning, which costs more than these small matrices give."""
    with threadpool_limits(1):
        yield


def figures_of(sigma: Array, names: list[str]) -> list[float]:
    (found,) = compute_metrics(sigma[None])
    return [getattr(found, name) for name in names]


@given(
    exponent=st.integers(-1000, 990),
    decay=st.floats(0, 12),
    n=st.integers(1, 80),
)
def test_figures_of_a_spectrum_are_those_of_any_power_of_two_of_it(exponent: int, decay: float, n: int) -> None:
    sigma = np.logspace(0, -decay, n)
    there = np.ldexp(sigma, exponent)
    if there[-1] < np.finfo(np.float64).tiny:
        return  # subnormal numbers have fewer bits: see below
    assert figures_of(there, WITHOUT_SCALE) == figures_of(sigma, WITHOUT_SCALE)
    assert figures_of(there, WITH_SCALE) == [np.ldexp(f, exponent) for f in figures_of(sigma, WITH_SCALE)]
    assert rounding_noise(there, n, n) == rounding_noise(sigma, n, n)


def test_subnormal_values_keep_the_figures_that_their_bits_allow() -> None:
    sigma = np.linspace(40, 1, 40)
    assert figures_of(sigma * 1e-312, WITHOUT_SCALE) == pytest.approx(figures_of(sigma, WITHOUT_SCALE), rel=1e-10)
    assert figures_of(sigma * 5e-324, WITHOUT_SCALE) == figures_of(sigma, WITHOUT_SCALE)  # whole numbers of the least
    assert rounding_noise(sigma * 5e-324, 40, 40) == 0


def test_what_is_beyond_fp64_is_undefined_and_no_other_figure_with_it() -> None:
    sigma = np.logspace(0, -3, 64) * 5e307
    assert figures_of(sigma, WITHOUT_SCALE) == pytest.approx(figures_of(sigma / 5e307, WITHOUT_SCALE), rel=1e-12)
    assert figures_of(sigma, ["sigma_first", "frobenius_norm", "nuclear_norm"]) == [
        5e307,
        pytest.approx(1.0e308, rel=0.2),
        None,
    ]
    assert figures_of(np.array([1.0, 1e-310]), ["first_last_ratio", "stable_rank"]) == [None, 1.0]
    assert set(figures_of(np.array([np.inf, 1.0]), WITHOUT_SCALE + WITH_SCALE)) == {None}


@pytest.mark.parametrize("solver", SOLVERS)
@settings(max_examples=25, deadline=None)
@given(exponent=st.integers(-1000, 1015), wide=st.booleans())
def test_a_matrix_times_a_power_of_two_has_its_spectrum_times_that(solver: Solver, exponent: int, wide: bool) -> None:
    matrix = planted(torch.logspace(0, -3, 12, dtype=torch.float64), 12, 30).numpy()
    matrix = matrix if wide else matrix.T
    found = singular_values(np.ldexp(matrix, exponent), solver, scale=True).sigma
    expected = np.linalg.svd(matrix, compute_uv=False)
    rough = 1e-3 if solver == "svd32" else 1e-10
    assert np.ldexp(found, -exponent) == pytest.approx(expected, rel=rough)


SCALES = [5e-324, 1e-310, 1e-170, 1e170, 1e300]


@pytest.mark.parametrize("backend", ["cpu", "torch device"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_heads_and_whole_matrices_of_any_scale(tmp_path: Path, solver: Solver, backend: str) -> None:
    """Whole numbers times a scale: also multiples of the least subnormal number are exact."""
    whole_numbers = torch.randint(-9, 10, (64, 64), generator=torch.Generator().manual_seed(1)).double()
    rough = 1e-3 if solver == "svd32" else 1e-8
    for scale in SCALES:
        made = write_checkpoint(
            tmp_path / f"{scale}", layers=1, dtype=torch.float64, overrides={Q: whole_numbers * scale}
        )
        model = open_model(made.folder)
        reader = TensorReader(model.checkpoint.source)
        engine = Cpu(solver, threads=1) if backend == "cpu" else Accelerator(solver, "cpu")
        try:
            heads = engine.solve_heads(model.job_tensors(Job(0, HEADS)), reader, lambda slices: None, {})["q"].sigma
            (tensor,) = model.job_tensors(Job(0, "q_proj"))
            whole = engine.solve_whole(tensor, reader).sigma
        finally:
            engine.close()
        expected = np.linalg.svd(whole_numbers.numpy(), compute_uv=False)
        # a value is at least a whole number of the least one
        slack = 1.0 if scale == 5e-324 else 0.0
        assert whole[0] / scale == pytest.approx(
            expected, rel=rough, abs=slack + rough * expected[0] * (solver == "svd32")
        )
        first = np.linalg.svd(whole_numbers[:16].numpy(), compute_uv=False)
        assert heads[0] / scale == pytest.approx(first, rel=rough, abs=slack)


class TestBeyondFp64:
    """One matrix whose norms, and one whose values, are too large; screen, CSV and API say the same of them."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        first = planted(torch.from_numpy(FIRST), 16, 64) * 5e307
        weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        weight[:16] = first  # head 0
        weight[16:32] = 1.5e308  # head 1
        return write_checkpoint(tmp_path / "m", layers=1, dtype=torch.float64, overrides={Q: weight}).folder

    def test_the_command_line_says_it_and_fails(self, folder: Path, run_svdtui: RunSvdtui) -> None:
        done = run_svdtui(str(folder), "--csv", "-", "--layer", "0")
        assert done.returncode == 1
        assert f"Σσ of Q in head 0 is beyond 1.8·10³⁰⁸, where fp64 ends, and left out: {Q}." in done.stderr
        assert f"{Q}: the largest singular value of Q in head 1 is beyond 1.8·10³⁰⁸" in done.stderr
        assert "inf" not in done.stdout
        assert "nan" not in done.stdout
        rows = {row["head"]: row for row in csv.DictReader(io.StringIO(done.stdout)) if row["matrix"] == "q"}
        assert float(rows["0"]["sigma_first"]) == pytest.approx(5e307)
        assert float(rows["0"]["effective_rank"]) == pytest.approx(figures_of(FIRST, ["effective_rank"])[0])
        assert rows["0"]["nuclear_norm"] == ""
        assert {rows["1"][info.column()] for info in METRICS} == {""}

    def test_the_api_gives_what_stands(self, folder: Path) -> None:
        with Analysis(folder) as analysis:
            assert analysis.metrics("0.0.q").nuclear_norm is None
            assert analysis.metrics("0.0.q").stable_rank == pytest.approx(figures_of(FIRST, ["stable_rank"])[0])
            (row,) = analysis.view("0.0.q").rows
            assert row.problem
            assert row.spectrum is not None
            with pytest.raises(TensorError, match="the largest singular value of Q in head 1 is beyond"):
                analysis.spectrum("0.1.q")
            assert ("q", 0) not in analysis_flaws(folder)
            assert ("q", 1) in analysis_flaws(folder)

    def test_the_sentence_on_many_matrices_says_which_have_figures(self, tmp_path: Path, run_svdtui: RunSvdtui) -> None:
        """Q, K and V of one layer's four heads have no nuclear norm, and those of another have no figures."""
        head = planted(torch.ones(16, dtype=torch.float64), 16, 64) * 5e307
        weights = {
            f"model.layers.{layer}.self_attn.{name}_proj.weight": (head if layer == 0 else head * torch.nan).repeat(
                n, 1
            )
            for layer in range(2)
            for name, n in {"q": 4, "k": 2, "v": 2}.items()
        }
        made = write_checkpoint(tmp_path / "many", layers=2, dtype=torch.float64, overrides=weights)
        done = run_svdtui(str(made.folder), "--csv", "-")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert sum(not row["sigma_first"] for row in rows) == 12
        assert sum(not row["nuclear_norm"] for row in rows) == 24
        assert [line.split("; ", 1)[0] for line in done.stderr.splitlines()[10:]] == [
            "svdtui: 12 more matrices have no figures",
            "svdtui: 2 more matrices have a norm beyond fp64, which is left out",
        ]

    def test_every_norm_that_is_left_out_is_named(self, tmp_path: Path) -> None:
        weight = planted(torch.ones(64, dtype=torch.float64), 64, 64) * 5e307
        made = write_checkpoint(tmp_path / "both", layers=1, dtype=torch.float64, overrides={Q: weight})
        with Analysis(made.folder) as analysis:
            (row,) = analysis.view("0.q_proj").rows
        assert row.metrics is not None
        assert row.metrics.frobenius_norm is None
        assert row.problem
        assert row.problem.startswith("‖·‖F and Σσ are beyond 1.8·10³⁰⁸, where fp64 ends, and left out")

    async def test_the_screen_draws_what_stands(self, folder: Path) -> None:
        async with opened(folder, "0.0.q") as pilot:
            assert "Σσ of Q in head 0 is beyond 1.8·10³⁰⁸" in shown(pilot, "#results")
            assert "5e307 ┤" in shown(pilot, "#results")
        async with opened(folder, "0.1.q") as pilot:
            assert "is beyond 1.8·10³⁰⁸" in " ".join(shown(pilot, "#results").split())
            assert "all zeros" not in shown(pilot, "#results")


def analysis_flaws(folder: Path) -> frozenset[tuple[str, int]]:
    computer = Computer(open_model(folder))
    try:
        return computer.compute(Job(0, HEADS)).flawed
    finally:
        computer.close()
