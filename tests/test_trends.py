"""Trends and their tests, against scipy's own and against what can be worked out by hand."""

import itertools
from math import factorial

import numpy as np
import pytest
from scipy import stats

from svdtui.engine.trends import ALPHA, RESAMPLES, Corrected, corrected, holm, spearman


def scipys_p(series: list[float]) -> float:
    """The exact p of scipy's permutation test with scipy's own ρ."""
    index = np.arange(len(series))

    def rho(values: np.ndarray) -> float:
        return float(stats.spearmanr(index, values).statistic)

    result = stats.permutation_test((series,), rho, permutation_type="pairings", n_resamples=factorial(len(series)))
    return float(result.pvalue)


@pytest.mark.parametrize(
    "series",
    [
        [3.0, 1.0, 4.0, 1.5, 9.0, 2.6],
        [1.0, 2.0, 3.0, 5.0, 4.0],
        [1.0, 1.0, 2.0, 2.0, 3.0],  # ties
        [0.0, 0.0, 0.0, 7.0, 0.0],
        [5.0, 4.0, 3.0],
    ],
)
def test_few_values_have_the_exact_p_of_scipys_test(series: list[float]) -> None:
    found = spearman(np.array(series))
    assert found.rho == pytest.approx(stats.spearmanr(range(len(series)), series).statistic, abs=1e-12)
    assert found.p == pytest.approx(scipys_p(series), abs=1e-12)


def test_no_order_of_few_values_can_be_significant() -> None:
    for n in (2, 3, 4, 5, 6, 8):
        found = spearman(np.arange(float(n)))
        assert found.rho == pytest.approx(1)
        assert found.p == found.least_p == 2 / factorial(n)


def test_many_values_have_the_p_that_they_are_known_to_have() -> None:
    random = np.random.default_rng(1)
    for n, noise in ((10, 10.0), (30, 40.0), (128, 200.0)):
        series = np.arange(n) + random.normal(0, noise, n)
        found = spearman(series)
        assert found.p is not None
        theory = stats.spearmanr(np.arange(n), series).pvalue  # a t distribution; close where p is not small
        assert 0.01 < theory < 0.9
        assert found.p == pytest.approx(theory, rel=0.1, abs=0.003)
    assert spearman(np.arange(30.0)).p == 2 / (RESAMPLES + 1)


def test_the_same_series_has_the_same_p_in_every_process() -> None:
    from svdtui.engine.trends import _null

    series = np.random.default_rng(0).random(20)
    first = spearman(series)
    _null.cache_clear()
    assert spearman(series) == first


def test_undefined_values_are_left_out_and_infinite_ones_are_the_largest() -> None:
    nan, inf = np.nan, np.inf
    assert spearman(np.array([1, nan, 2, 3, nan, 4.0])) == spearman(np.array([1, 2, 3, 4.0]))
    assert spearman(np.array([1, 2, 3, inf])) == spearman(np.array([1, 2, 3, 4.0]))


@pytest.mark.parametrize("series", [[], [1.0], [np.nan, np.nan], [np.nan, 2.0], [3.0, 3.0, 3.0], [np.inf, np.inf]])
def test_without_an_order_there_is_no_trend_to_speak_of(series: list[float]) -> None:
    found = spearman(np.array(series, dtype=float))
    assert (found.rho, found.p, found.least_p) == (None, None, 1.0)
    assert corrected([found])[0].direction == "unknown"


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def directions(found: tuple[Corrected, ...]) -> list[str]:
    return [each.direction for each in found]


def test_a_trend_must_survive_the_number_of_tests() -> None:
    perfect, none = np.arange(8.0), np.array([5, 2, 7, 1, 8, 4, 3, 6.0])
    assert directions(corrected([spearman(perfect), spearman(-perfect), spearman(none)])) == ["rises", "falls", "none"]
    perfect, none = np.arange(6.0), np.array([3, 1, 6, 2, 5, 4.0])
    crowd = [spearman(each) for each in [perfect] + 17 * [none]]
    assert 18 * 2 / factorial(6) == ALPHA  # the most tests that six values can stand
    assert directions(corrected(crowd))[0] == "rises"
    assert set(directions(corrected([*crowd, crowd[1]]))) == {"unknown"}


def test_a_test_that_sees_only_nearly_perfect_orders_does_not_say_that_there_is_none() -> None:
    weak = spearman(np.array([3, 1, 6, 2, 5, 4.0]))
    [alone] = corrected([weak])
    assert alone.direction == "none"
    assert alone.needed_rho == pytest.approx(0.886, abs=1e-3)  # the tables' value for n = 6
    among = corrected([weak] * 4)[0]
    assert among.direction == "unknown"
    assert among.needed_rho == pytest.approx(1)
    assert corrected([spearman(np.arange(6.0)), weak, weak, weak])[0].direction == "rises"


def test_tests_that_can_find_nothing_do_not_weaken_the_others() -> None:
    few = [spearman(np.array([1, 2, 3.0]))] * 50
    assert directions(corrected([spearman(np.arange(6.0)), *few])) == ["rises", *50 * ["unknown"]]


def test_the_least_rho_that_counts_is_the_least_that_counts() -> None:
    orders = [np.array(order, dtype=float) for order in itertools.permutations(range(6))]
    rest = [spearman(np.array([3, 1, 6, 2, 5, 4.0]))]
    found = [corrected([spearman(order), *rest])[0] for order in orders]
    counting = [abs(each.trend.rho or 0) for each in found if each.direction in {"rises", "falls"}]
    assert found[0].needed_rho == pytest.approx(min(counting))
    assert all((abs(each.trend.rho or 0) >= min(counting)) == (each.direction in {"rises", "falls"}) for each in found)


def test_noise_is_seldom_taken_for_a_trend() -> None:
    """Of statements of eight tests each, at most 5 % raise any false alarm; 400 of them may show 8 %."""
    random = np.random.default_rng(3)
    alarms = sum(
        any(d in {"rises", "falls"} for d in directions(corrected([spearman(random.random(8)) for _ in range(8)])))
        for _ in range(400)
    )
    assert 0 < alarms <= 32
