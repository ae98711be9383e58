"""Errors that cross from one process to another keep their class, with it title and exit status, and their words."""

import json
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from svdtui.engine import (
    AddressError,
    Analysis,
    EngineError,
    Job,
    ModelNotFoundError,
    Opening,
    ReadError,
    WorkerError,
    errors,
    open_model,
)
from svdtui.engine.errors import error_of
from svdtui.engine.findings_process import find_aside
from svdtui.engine.lanes import LocalWorkers
from tests.checkpoints import write_checkpoint
from tests.scans import Relay
from tests.test_cli import here


def classes(kind: type[EngineError] = EngineError) -> Iterator[type[EngineError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from classes(each)


ALL = sorted({kind for kind in classes() if kind.__module__ == errors.__name__}, key=lambda kind: kind.__name__)


class LateError(ReadError):
    """One that is defined elsewhere, with words of its own."""

    title = "Too late"
    exit_code = 3


@pytest.mark.parametrize("kind", [*ALL, LateError])
def test_an_error_is_the_same_on_the_other_side(kind: type[EngineError]) -> None:
    error = kind("What \x1b[31m it says" + "." * 3000, "What to do.")
    told = json.loads(json.dumps(error.told))
    for other in (pickle.loads(pickle.dumps(error)), error_of(told["kind"], told["message"], told["hint"])):
        assert type(other) is kind
        assert (other.message, other.hint, str(other)) == (error.message, error.hint, str(error))
        assert (other.title, other.exit_code) == (kind.title, kind.exit_code)


def test_an_error_that_is_not_known_here_keeps_its_words() -> None:
    assert type(error_of("OfLaterVersionsError", "no", "wait")) is WorkerError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "m", layers=2).folder


def test_what_goes_wrong_in_a_scan_process_is_what_is_told(folder: Path, tmp_path: Path) -> None:
    opening = Opening(str(folder), open_model(folder).key, "gram64", "cpu", str(tmp_path / "cache"))
    workers = LocalWorkers([opening])
    try:
        workers.wait_until_ready()
        absent = workers.submit(Job(0, "no_such")).exception()
        assert type(absent) is AddressError
        (folder / "model.safetensors").touch()
        changed = workers.submit(Job(0, "heads")).exception()
        assert type(changed) is ReadError
        assert changed.message.endswith("model.safetensors has changed since the model was opened.")
    finally:
        workers.close()


def test_what_nobody_has_foreseen_is_no_changed_model(folder: Path, tmp_path: Path) -> None:
    key = open_model(folder).key
    workers = LocalWorkers([Opening(str(folder), key, "gram64", "cpu", str(tmp_path / "cache"), threads=-1)])
    try:
        with pytest.raises(WorkerError, match="Opening the model failed with ValueError") as caught:
            workers.wait_until_ready()
        assert type(caught.value) is WorkerError
    finally:
        workers.close()


def test_what_goes_wrong_behind_the_relay_is_what_is_told(folder: Path, tmp_path: Path) -> None:
    with Relay(open_model(folder), tmp_path / "cache", workers=2) as relay:
        assert relay.next()["event"] == "ready"
        (folder / "model.safetensors").touch()
        relay.ask("0.heads")
        (answer,) = (event for event in relay.until_answered(1) if event["event"] == "failed")
        assert (answer["kind"], answer["title"]) == ("ReadError", "Cannot read")


class Asks:
    """Becomes, on the other side, what a call gives or raises there."""

    def __init__(self, function: object, *args: object) -> None:
        self._asked = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._asked


async def test_what_goes_wrong_with_findings_is_what_is_told() -> None:
    with pytest.raises(ModelNotFoundError, match="There is no file or folder /nowhere/at/all"):
        await find_aside(Asks(Analysis, "/nowhere/at/all"))  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match="Working out the findings failed with ValueError"):
        await find_aside(Asks(int, "x"))  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match="The process that works out the findings ended with status 7"):
        await find_aside(Asks(exit, 7))  # type: ignore[arg-type]


def test_what_goes_wrong_in_a_pool_is_what_is_told(folder: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        error = pool.submit(open_model, folder / "nowhere").exception()
    assert type(error) is ModelNotFoundError
    assert error.exit_code == 1


def test_the_exit_status_is_the_errors(folder: Path) -> None:
    done = here(folder, "--csv", "-", "--workers", "2", "--layer", "7")
    assert done.exit_code == 2
