"""The speed that is shown while a job is read: how it is now, not how it was on the whole."""

import pytest

from svdtui.engine import Job
from svdtui.engine.speed import Speed

JOB, OTHER = Job(0, "heads"), Job(1, "heads")


def steady(speed: Speed, rate: float, begin: float, end: float, already: int = 0) -> float:
    """Twenty steps a second; the speed at the end."""
    shown = 0.0
    for step in range(1, round((end - begin) * 20) + 1):
        shown = speed.of(JOB, begin + step / 20, already + round(rate * step / 20), waits=False)
    return shown


def test_what_comes_in_steadily_has_its_speed() -> None:
    assert steady(Speed(), 1e6, 0, 5) == pytest.approx(1e6)


def test_a_connection_that_gets_faster_shows_it_within_seconds() -> None:
    speed = Speed()
    steady(speed, 1e6, 0, 10)
    assert steady(speed, 9e6, 10, 12.1, already=10_000_000) == pytest.approx(9e6, rel=0.05)


def test_silence_is_no_part_of_the_speed() -> None:
    speed = Speed()
    steady(speed, 1e6, 0, 3)
    assert speed.of(JOB, 3.5, 3_000_000, waits=True) == pytest.approx(1e6)  # it may be nothing
    assert speed.of(JOB, 10, 3_000_000, waits=True) == 0
    assert speed.of(JOB, 33, 3_000_000, waits=True) == 0
    assert steady(speed, 1e6, 33, 33.5, already=3_000_000) == pytest.approx(1e6, rel=0.01)


def test_nor_is_the_time_before_the_first_byte() -> None:
    speed = Speed()
    assert speed.of(JOB, 8, 0, waits=True) == 0
    assert steady(speed, 1e6, 8, 9) == pytest.approx(1e6, rel=0.01)


def test_while_the_processor_works_the_speed_stays() -> None:
    speed = Speed()
    steady(speed, 1e6, 0, 3)
    assert speed.of(JOB, 9, 3_000_000, waits=False) == pytest.approx(1e6)


def test_another_job_or_the_same_again_begins_anew() -> None:
    speed = Speed()
    steady(speed, 1e6, 0, 3)
    assert speed.of(OTHER, 0.5, 4_000_000, waits=False) == pytest.approx(8e6)
    assert speed.of(OTHER, 0.25, 500_000, waits=False) == pytest.approx(2e6)
