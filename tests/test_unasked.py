"""A scan that takes seconds begins by itself where all layers are looked at; a longer or unwanted one does not."""

import asyncio
from pathlib import Path

import pytest

from svdtui.engine import open_model
from svdtui.engine.model import HEADS, Job
from svdtui.engine.session import Session
from svdtui.engine.unasked import QUICK, Unasked
from tests.checkpoints import write_checkpoint
from tests.hub_reader import reading
from tests.pilot import Screen, explorer, opened, press, shown, until

LAYERS = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny", layers=LAYERS).folder


def session_of(pilot: Screen) -> Session:
    session = pilot.app.session  # type: ignore[attr-defined]
    assert isinstance(session, Session)
    return session


@pytest.mark.parametrize("keys", [("home",), ("H",), ("f",)])
async def test_looking_at_all_layers_computes_them(folder: Path, keys: tuple[str, ...]) -> None:
    async with opened(folder, "2.0") as pilot:
        session = session_of(pilot)
        told: list[str] = []
        report = session._on_event

        def listen(event: object) -> None:
            if session.scan_progress is not None and session.scan_progress.is_unasked:
                told.append(str(event))
            report(event)  # type: ignore[arg-type]

        session._on_event = listen
        await press(pilot, *keys)
        await until(pilot, lambda: session.cached == LAYERS)
        assert told


async def test_nothing_computed_yet_is_measured_first(folder: Path) -> None:
    async with opened(folder, "", ready=False) as pilot:
        await until(pilot, lambda: session_of(pilot).cached == LAYERS)
        await until(pilot, lambda: f"{LAYERS}/{LAYERS} layers computed" in shown(pilot, "#results"))


async def test_the_status_line_says_so(folder: Path) -> None:
    from svdtui.engine.backlog import Backlog
    from svdtui.tui.activity import activity

    async with opened(folder, "2.0", prefetch=False) as pilot:
        session = session_of(pilot)
        session._wishes.scan = Backlog(session.model, session.to_scan(), is_unasked=True)
        assert "began by itself" in activity(session)[0]
        session._wishes.scan = None


@pytest.mark.parametrize("keys", [("home",), ("H",), ("f",)])
async def test_not_without_prefetch(folder: Path, keys: tuple[str, ...]) -> None:
    async with opened(folder, "2.0", prefetch=False) as pilot:
        await press(pilot, *keys)
        await asyncio.sleep(0.3)
        assert session_of(pilot).cached == 1
        assert session_of(pilot).scan_progress is None


async def test_not_after_esc_has_stopped_one_until_it_is_asked_for(folder: Path) -> None:
    async with opened(folder, "2.0", prefetch=False) as pilot:
        session = session_of(pilot)
        session._unasked_at_all = session._unasked.is_allowed = True
        session.scan()
        await press(pilot, "escape")
        done = session.cached
        await press(pilot, "home", "H", "escape", "f", "escape")
        assert session.scan_progress is None
        assert not session.waiting
        await until(pilot, lambda: not session.running)
        assert session.cached <= done + 1
        await press(pilot, "s")
        await until(pilot, lambda: session.cached == LAYERS)


async def test_not_for_a_model_whose_layers_take_long(folder: Path) -> None:
    async with opened(folder, "2.0", prefetch=False) as pilot:
        session = session_of(pilot)
        session._unasked_at_all = session._unasked.is_allowed = True
        session._unasked.took(Job(2, HEADS), 2 * QUICK / (LAYERS - 1))
        await press(pilot, "home")
        await asyncio.sleep(0.3)
        assert session.scan_progress is None
        assert session.cached == 1
        assert explorer(pilot).scene.overview is not None


def test_it_is_the_work_that_is_left_that_counts(folder: Path) -> None:
    model = open_model(folder)
    jobs = [Job(layer, HEADS) for layer in range(LAYERS)]
    measured = Unasked(model, is_allowed=True)
    assert not measured.is_quick(jobs)  # nothing is known yet
    measured.took(jobs[0], QUICK / LAYERS * 1.01)
    assert not measured.is_quick(jobs)
    assert measured.is_quick(jobs[1:])
    assert measured.seconds(jobs) == pytest.approx(QUICK * 1.01)
    measured.took(jobs[1], 0.0)  # the next one was faster
    assert measured.is_quick(jobs)


async def test_only_for_a_model_in_a_folder_and_not_on_a_cluster(folder: Path, home: Path) -> None:
    with reading(home) as reader:
        reader.hub.add("org/tiny", folder)
        assert not Session(reader.open("org/tiny"), cache_dir=reader.cache_dir)._unasked.is_allowed
    model = open_model(folder)
    assert Session(model, cache_dir=home)._unasked.is_allowed
    assert not Session(model, cache_dir=home, dask="tcp://host:8786")._unasked.is_allowed
    assert not Session(model, cache_dir=home, prefetch=False)._unasked.is_allowed
