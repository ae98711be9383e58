"""Each figure on spectra whose figures are known by hand, and on everything that could break a division."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svdtui.engine import METRICS, Metrics
from svdtui.engine.metrics import compute_metrics, rounding_noise


def of(*sigma: float, k: int = 10) -> Metrics:
    return compute_metrics(np.array([sigma], dtype=np.float64), k)[0]


def test_a_flat_spectrum() -> None:
    found = of(*[2.0] * 40)
    assert found.top_ratio == pytest.approx(10 / 40)
    assert found.bottom_ratio == pytest.approx(10 / 40)
    assert found.first_last_ratio == 1
    assert found.stable_rank == pytest.approx(40)
    assert found.effective_rank == pytest.approx(40)
    assert found.participation_ratio == pytest.approx(40)
    assert (found.energy_rank_90, found.energy_rank_95, found.energy_rank_99) == (36, 38, 40)
    assert found.frobenius_norm == pytest.approx(2 * math.sqrt(40))
    assert found.nuclear_norm == 80


def test_a_spectrum_worked_out_by_hand() -> None:
    found = of(4.0, 2.0, 2.0, 0.0, k=2)
    assert (found.sigma_first, found.sigma_last) == (4, 0)
    assert found.top_ratio == 6 / 8
    assert found.bottom_ratio == 2 / 8
    assert found.first_last_ratio is None
    assert found.stable_rank == 24 / 16
    assert found.effective_rank == pytest.approx(math.exp(0.5 * math.log(2) + 2 * 0.25 * math.log(4)))
    assert found.participation_ratio == pytest.approx(24**2 / (16**2 + 4**2 + 4**2))
    assert (found.energy_rank_90, found.energy_rank_95, found.energy_rank_99) == (3, 3, 3)  # 16, 20, 24 of 24


def test_energy_ranks_are_reached_at_equality() -> None:
    assert of(3.0, 1.0).energy_rank_90 == 1  # 9 of 10 is 90 %


def test_with_fewer_values_than_k_all_are_added() -> None:
    found = of(3.0, 1.0)
    assert (found.top_ratio, found.bottom_ratio) == (1, 1)


def test_a_zero_matrix_has_norms_and_no_ratios() -> None:
    found = asdict(of(0.0, 0.0, 0.0))
    norms = {"sigma_first", "sigma_last", "frobenius_norm", "nuclear_norm"}
    assert {name for name, value in found.items() if value is not None} == norms
    assert all(found[name] == 0 for name in norms)


def test_a_faulty_slice_has_no_figures() -> None:
    assert set(asdict(of(math.nan, math.nan)).values()) == {None}


def test_every_metric_is_described_and_k_stands_in_its_column() -> None:
    assert [info.name for info in METRICS] == list(asdict(of(1.0)))
    assert [info.column(5) for info in METRICS if "5" in info.column(5)] == [
        "top5_ratio",
        "bottom5_ratio",
        "energy_rank_95",
    ]
    assert all(info.meaning and info.formula() and info.label() for info in METRICS)


spectra = st.lists(st.floats(0, 1e6), min_size=1, max_size=40).map(lambda s: sorted(s, reverse=True))


@given(spectra)
def test_ranges_hold_for_any_spectrum(sigma: list[float]) -> None:
    found, n = of(*sigma), len(sigma)
    for ratio in (found.top_ratio, found.bottom_ratio):
        assert ratio is None or 0 <= ratio <= 1 + 1e-12
    for rank in (found.stable_rank, found.effective_rank, found.participation_ratio):
        assert rank is None or 1 - 1e-9 <= rank <= n * (1 + 1e-9)
    ranks = (found.energy_rank_90, found.energy_rank_95, found.energy_rank_99)
    assert ranks == (None,) * 3 or 1 <= ranks[0] <= ranks[1] <= ranks[2] <= n  # type: ignore[operator]


@given(spectra, st.sampled_from([1e-140, 1e-3, 1e3, 1e140]))
def test_ratios_do_not_depend_on_scale(sigma: list[float], factor: float) -> None:
    if not sigma[-1] > 1e-3:
        return
    here, there = of(*sigma), of(*(s * factor for s in sigma))
    for name in ("top_ratio", "first_last_ratio", "bottom_ratio", "stable_rank", "effective_rank"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-9)


@given(spectra)
def test_one_spectrum_and_a_table_of_them_give_the_same_bits(sigma: list[float]) -> None:
    table = np.array([sigma] * 5)
    table[3] *= 0.5
    assert compute_metrics(table)[1] == of(*sigma)


def test_rounding_noise_is_what_numpy_counts_out_of_the_rank() -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((40, 5)) @ random.standard_normal((5, 60))
    sigma = np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
    assert rounding_noise(sigma, 40, 60) == (sigma > 0).sum() - np.linalg.matrix_rank(matrix) > 0
    assert rounding_noise(np.array([1.0, 0.5, 0.0]), 3, 3) == 0
