"""Whatever goes wrong while a model is opened: it opens all the same, or a sentence says what to do."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from svdtui.engine import Analysis, NetworkError, hub_errors, patience
from svdtui.engine.results import JobResult
from tests import hub_faults as faults
from tests import hub_trials
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.hub_faults import ALWAYS, Fault
from tests.hub_trials import (
    SILENCE,
    STRANGER,
    TOKEN,
    Trial,
    Unwanted,
    assert_equal,
    assert_sentence,
    heads,
    make_impatient,
    raiser,
)

API = "/api/models/*"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("made") / "m", layers=1, hidden=256, heads=4, kv_heads=2)


@pytest.fixture(scope="module")
def truth(made: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> JobResult:
    """What comes out of the local folder."""
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path_factory.mktemp("cache")) as analysis:
        return heads(analysis)


@pytest.fixture
def trial(made: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """The model is gated, so that every request for a file needs the token."""
    make_impatient(monkeypatch)
    with hub_trials.trial(tmp_path) as trial:
        trial.hub.add("org/m", made.folder, gated=True, tokens=[TOKEN])
        yield trial


OPENED: dict[str, Sequence[Fault]] = {
    "API: drop before the answer": [faults.Drop(path=API)],
    "API: drop in the middle": [faults.Drop(100, path=API, times=3)],
    "API: 429 with the Hub's headers": [faults.TooManyRequests(0, path=API)],
    "API: 429 with Retry-After": [faults.TooManyRequests(0, "retry-after", path=API)],
    "API: 500 once": [faults.ServerError(500, path=API)],
    "API: 503 for a while": [faults.ServerError(503, path=API, times=3)],
    "API: silence": [faults.Stall(100, path=API)],
    "API: slow first byte": [faults.Slow(SILENCE / 2, path=API)],
    "config: drop before the answer": [faults.Drop(file=CONFIG)],
    "config: drop in the middle": [faults.Drop(10, file=CONFIG)],
    "config: 429": [faults.TooManyRequests(0, file=CONFIG)],
    "config: 503 for a while": [faults.ServerError(503, file=CONFIG, times=3)],
    "config: 503 in the middle": [faults.ServerError(503, file=CONFIG, method="GET")],
    "config: silence": [faults.Stall(10, file=CONFIG)],
    "config: compressed": [faults.Gzip(file=CONFIG)],
    "config: cut short once": [faults.Truncated(20, file=CONFIG)],
    "where it is: drop": [faults.Drop(host="hub", file=WEIGHTS, times=2)],
    "where it is: silence": [faults.Stall(host="hub", file=WEIGHTS)],
    "where it is: 500 once": [faults.ServerError(500, host="hub", file=WEIGHTS)],
    "where it is: expired already": [faults.Expired(host="hub", file=WEIGHTS)],
    "where it is: a stranger": [faults.Redirect(STRANGER, host="hub", file=WEIGHTS, times=ALWAYS)],
    "header: drop": [faults.Drop(1000, host="storage", times=3)],
    "header: silence": [faults.Stall(1000, host="storage")],
    "header: another range": [faults.OtherRange(host="storage")],
    "header: 503 once": [faults.ServerError(503, host="storage")],
}


@pytest.mark.parametrize("wrong", OPENED.values(), ids=OPENED)
def test_a_model_is_opened_in_spite_of(wrong: Sequence[Fault], trial: Trial, truth: JobResult) -> None:
    trial.meet(wrong)
    with trial.open() as analysis:
        trial.hub.faults.clear()
        assert_equal(trial.heads(analysis), truth)
    assert any(request.fault for request in trial.hub.requests)
    trial.assert_nothing_leaked()


PORTAL = ["something else than the Hub would", "open a browser, log in", "HF_ENDPOINT"]


def moved(location: str = "http://storage.invalid/a?X-Amz-Signature=1", **headers: str) -> list[Fault]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [faults.Answer(302, {"Location": location, **named}, host="hub", file=WEIGHTS, times=ALWAYS)]


NOT_OPENED: dict[str, tuple[Sequence[Fault], Sequence[str]]] = {
    "everywhere: web page": ([faults.CaptivePortal(times=ALWAYS)], ["127.0.0.1 answered with", *PORTAL]),
    "API: web page": ([faults.CaptivePortal(path=API)], ["127.0.0.1 answered with", *PORTAL]),
    "API: a list": ([faults.Answer(200, {}, b"[]", path=API)], ["127.0.0.1 answered with", *PORTAL]),
    "API: no commit": (
        [faults.Answer(200, {}, b'{"id": "a"}', path=API)],
        ["names no commit of org/m", "HF_ENDPOINT"],
    ),
    "API: drop": ([faults.Drop(100, path=API, times=ALWAYS)], ["127.0.0.1", "org/m", "connection was cut, 5 times"]),
    "API: 429 for ever": (
        [faults.TooManyRequests(0, "retry-after", path=API, times=ALWAYS)],
        ["127.0.0.1 asks for fewer requests, 5 times", "Log in for a higher limit, or wait"],
    ),
    "API: 429 for too long": (
        [faults.TooManyRequests(1800, path=API)],
        ["127.0.0.1 asks to wait for 30 minutes", "later"],
    ),
    "API: 500": ([faults.ServerError(500, path=API, times=ALWAYS)], ["127.0.0.1 answers 500, 5 times", "Try later"]),
    "API: 404": ([faults.Answer(404, path=API)], ["127.0.0.1 answers 404 when asked for org/m", "later"]),
    "API: silence": ([faults.Stall(path=API, times=ALWAYS)], ["org/m failed: no data for", "5 times", "network"]),
    "API: redirect loop": ([faults.RedirectLoop(path=API)], ["redirects in a circle"]),
    "API: a stranger": ([faults.Redirect(STRANGER, path=API, times=ALWAYS)], ["org/m", "404"]),
    "config: web page": ([faults.CaptivePortal(file=CONFIG)], ["127.0.0.1 answered with", *PORTAL]),
    "config: web page in the middle": (
        [faults.CaptivePortal(file=CONFIG, method="GET", times=ALWAYS)],
        ["config.json failed: the file came with another size", "3 times", "network"],
    ),
    "config: cut short": ([faults.Truncated(20, file=CONFIG, times=ALWAYS)], ["config.json failed", "another size"]),
    "config: 503": ([faults.ServerError(503, file=CONFIG, times=ALWAYS)], ["127.0.0.1 answers 503", "Try later"]),
    "config: drop": ([faults.Drop(file=CONFIG, times=ALWAYS)], ["config.json", "connection was cut", "network"]),
    "config: redirect loop": ([faults.RedirectLoop(file=CONFIG)], ["config.json", "redirects in a circle"]),
    "config: gone": (
        [faults.Answer(404, {"X-Error-Code": "EntryNotFound"}, file=CONFIG)],
        ["127.0.0.1 no longer has a file of org/m", "Open the model again"],
    ),
    "where it is: web page": (
        [faults.CaptivePortal(host="hub", file=WEIGHTS, times=ALWAYS)],
        ["127.0.0.1 answered with a web page instead of", WEIGHTS, "open a browser, log in"],
    ),
    "where it is: redirect loop": (
        [faults.RedirectLoop(host="hub", file=WEIGHTS)],
        ["127.0.0.1 sends readers of", WEIGHTS, "in a circle", "HF_ENDPOINT"],
    ),
    "where it is: 500": ([faults.ServerError(500, host="hub", file=WEIGHTS, times=ALWAYS)], ["127.0.0.1 answers 500"]),
    "where it is: gone": (
        [faults.Answer(404, {"X-Error-Code": "EntryNotFound"}, host="hub", file=WEIGHTS)],
        ["127.0.0.1 no longer has a file of org/m", "Open the model again"],
    ),
    "where it is: no address": (moved("http://[::1/a?X-Amz-Signature=1"), [WEIGHTS, "org/m"]),
    "where it is: a file": (moved("file:///etc/passwd"), [WEIGHTS, "no http address", "HF_ENDPOINT"]),
    "where it is: another commit": (moved(X_Repo_Commit="a" * 40), ["gives another", WEIGHTS, "Open the model again"]),
    "where it is: another size": (moved(X_Linked_Size="12"), ["gives another", WEIGHTS, "Open the model again"]),
    "where it is: another content": (moved(X_Linked_ETag='"12"'), ["gives another", WEIGHTS, "Open the model again"]),
    "header: web page": ([faults.CaptivePortal(host="storage")], ["localhost answered with a web page", WEIGHTS]),
    "header: range ignored": ([faults.IgnoreRange(host="storage")], ["localhost ignores byte ranges", "--download"]),
    "header: cut short": (
        [faults.Truncated(2000, host="storage")],
        ["2000 bytes on localhost", "cut short", "publisher"],
    ),
    "header: compressed": ([faults.Gzip(host="storage")], ["localhost sends", WEIGHTS, "compressed", "--download"]),
    "header: drop": (
        [faults.Drop(1000, host="storage", times=ALWAYS)],
        [WEIGHTS, "connection was cut, 5 times"],
    ),
}


@pytest.mark.parametrize(("wrong", "words"), NOT_OPENED.values(), ids=NOT_OPENED)
def test_a_model_cannot_be_opened_for(
    wrong: Sequence[Fault], words: Sequence[str], trial: Trial, truth: JobResult
) -> None:
    """And it can as soon as the fault is gone."""
    trial.meet(wrong)
    with pytest.raises(NetworkError) as raised:
        trial.open()
    assert_sentence(raised.value, words)
    assert trial.hub.count(host="hub", file=WEIGHTS) <= 5
    trial.assert_nothing_leaked(raised.value)
    trial.hub.faults.clear()
    with trial.open() as analysis:
        assert_equal(trial.heads(analysis), truth)


# ---- when it is no longer wanted -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        faults.Stall(path=API),
        faults.TooManyRequests(100, path=API),
        faults.Stall(file=CONFIG),
        faults.Stall(host="hub", file=WEIGHTS),
        faults.Stall(1000, host="storage"),
    ],
    ids=["API silent", "told to wait", "config silent", "no word where it is", "some bytes of the header"],
)
def test_opening_ends_at_once_whatever_the_server_does(fault: Fault, trial: Trial) -> None:
    took = []
    for _ in range(3):  # a machine that is busy may be late once
        trial.meet([replace(fault)])
        wished_at = time.monotonic() + 0.15
        trial.on_watch = raiser(at=0.15)
        with pytest.raises(Unwanted):
            trial.open()
        took.append(time.monotonic() - wished_at)
    assert any(request.fault for request in trial.hub.requests)
    assert min(took) < 0.1


def test_a_library_that_does_not_come_back_is_given_up(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONGEST_CALL", 0.2)
    monkeypatch.setattr(hub_errors, "_SILENCE", 5.0)
    trial.meet([faults.Stall(file=CONFIG, times=ALWAYS)])
    with pytest.raises(NetworkError) as raised:
        trial.open()
    assert_sentence(raised.value, ["Reading config.json took longer than", "Check the network"])
