"""Whatever goes wrong while a layer is read: the spectra come out to the last bit, or a sentence says what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from svdtui.engine import Analysis, NetworkError
from svdtui.engine.results import JobResult
from tests import hub_faults as faults
from tests import hub_trials
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.hub_faults import ALWAYS, Fault
from tests.hub_trials import SILENCE, STRANGER, TOKEN, Trial, assert_equal, assert_sentence, heads, make_impatient

WEIGHTS = "model.safetensors"
LAYER = 2 * (256 + 128) * 256 * 2
"""Bytes of Q, K, V and O together: they lie side by side, so they are one request."""


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


# ---- while a layer is read: the storage ------------------------------------------------------------------------


@dataclass(frozen=True)
class Recovered:
    """Faults that cost no more than some requests to the storage and the Hub, and some bytes."""

    faults: Sequence[Fault]
    storage: int = 2
    hub: int = 0
    spare: int = 0
    """Bytes that were sent and could not be used."""
    said: str = ""
    """What was said while it was waited for."""


def drop(after_bytes: int | None, times: int, *, reset: bool = False) -> list[Fault]:
    return [faults.Drop(after_bytes, reset, host="storage", times=times)]


RECOVERED = {
    "no fault": Recovered([], storage=1),
    "drop before the answer": Recovered(drop(None, 1), said="try 2 of 5 (the connection was cut)"),
    "drop after the headers": Recovered(drop(0, 1), said="try 2 of 5 (the connection was cut)"),
    "drop early, once": Recovered(drop(1000, 1), said="try 2 of 5 (the connection was cut)"),
    "drop early, three times": Recovered(drop(1000, 3), storage=4, said="try 4 of 5 (the connection was cut)"),
    "drop late, once": Recovered(drop(100_000, 1)),
    "drop late, three times": Recovered(drop(100_000, 3), storage=4),
    "drop late, always": Recovered(drop(100_000, ALWAYS), storage=4),
    "drop at the last byte": Recovered(drop(LAYER - 1, 1)),
    "another range, which it admits": Recovered([faults.OtherRange()], spare=LAYER, said="another range"),
    "half a range, which it admits": Recovered([faults.OtherRange(longer=-LAYER // 2)], spare=LAYER // 2),
    "more bytes than the range it claims": Recovered([faults.OtherLength(4)], spare=LAYER + 4, said="announced"),
    "fewer bytes than the range it claims": Recovered([faults.OtherLength(-4)], spare=LAYER - 4, said="announced"),
    "429 with the Hub's headers": Recovered([faults.TooManyRequests(0, host="storage")], said="wait for 1 s"),
    "429 with Retry-After": Recovered(
        [faults.TooManyRequests(1, "retry-after", host="storage")],
        said="try 2 of 5 (localhost asks for fewer requests and to wait for 1 s)",
    ),
    "429 without a word": Recovered([faults.TooManyRequests(0, "nothing", host="storage")], said="fewer requests"),
    "500 once": Recovered([faults.ServerError(500, host="storage")], said="try 2 of 5 (localhost answers 500)"),
    "502 for a while": Recovered([faults.ServerError(502, host="storage", times=2)], 3, said="answers 502"),
    "503 for a while": Recovered([faults.ServerError(503, host="storage", times=4)], 5, said="try 5 of 5"),
    "503 with Retry-After": Recovered(
        [faults.Answer(503, {"Retry-After": "1"}, host="storage")], said="localhost answers 503"
    ),
    "silence before the answer": Recovered([faults.Stall(host="storage")], said="no data for"),
    "silence after the headers": Recovered([faults.Stall(0, host="storage")], said="no data for"),
    "silence after some bytes": Recovered([faults.Stall(1000, host="storage")], said="no data for"),
    "silence that ends in time": Recovered([faults.Stall(1000, SILENCE / 2, host="storage")], storage=1),
    "slow first byte": Recovered([faults.Slow(SILENCE / 2, host="storage")], storage=1),
    "first byte too late": Recovered([faults.Slow(SILENCE * 1.5, host="storage")], spare=LAYER, said="no data for"),
    "expired address": Recovered([faults.Expired(host="storage")], hub=1, said="refuses the signed address"),
    "expired address, and again": Recovered(
        [faults.Expired(host="storage"), faults.Expired(host="hub")], storage=3, hub=2
    ),
    "storage sends on to a stranger": Recovered([faults.Redirect(STRANGER, host="storage")], storage=1),
    "expired, and the Hub is slow to give another": Recovered(
        [faults.Expired(host="storage"), faults.Slow(SILENCE / 2, host="hub")], hub=1
    ),
    "expired, and the Hub is busy": Recovered(
        [faults.Expired(host="storage"), faults.ServerError(503, host="hub", times=2)], hub=3
    ),
    "expired, and the Hub is silent": Recovered(
        [faults.Expired(host="storage"), faults.Stall(host="hub")], hub=2, said="no data for"
    ),
    "expired, and the Hub asks to wait": Recovered(
        [faults.Expired(host="storage"), faults.TooManyRequests(0, "nothing", host="hub")],
        hub=2,
        said="127.0.0.1 asks for fewer",
    ),
}


@pytest.mark.parametrize("case", RECOVERED.values(), ids=RECOVERED)
def test_a_layer_is_read_in_spite_of(case: Recovered, trial: Trial, truth: JobResult) -> None:
    with trial.open() as analysis:
        trial.hub.forget()
        trial.meet(case.faults)
        assert_equal(trial.heads(analysis), truth)
    assert (trial.hub.count(host="storage"), trial.hub.count(host="hub")) == (case.storage, case.hub)
    assert LAYER <= trial.hub.bytes_of(WEIGHTS) <= LAYER + case.spare
    assert any(case.said in text for text in trial.said)
    trial.assert_nothing_leaked()


FOR_EVER: dict[str, tuple[Sequence[Fault], Sequence[str]]] = {
    "drop before the answer": (drop(None, ALWAYS), ["cannot be read: the connection was cut, 5 times", "network"]),
    "drop after the headers": (drop(0, ALWAYS), ["cannot be read: the connection was cut, 5 times"]),
    "drop early": (drop(1000, ALWAYS), ["cannot be read: the connection was cut, 5 times"]),
    "reset early": (drop(1000, ALWAYS, reset=True), ["cannot be read: the connection was cut, 5 times"]),
    "range ignored": ([faults.IgnoreRange()], ["localhost ignores byte ranges", "--download"]),
    "another range, which it admits": (
        [faults.OtherRange(times=ALWAYS)],
        ["localhost answered with another range", "5 times", "proxy or mirror", "--download"],
    ),
    "more bytes than the range it claims": ([faults.OtherLength(4, times=ALWAYS)], ["announced", "5 times"]),
    "fewer bytes than the range it claims": ([faults.OtherLength(-4, times=ALWAYS)], ["announced", "5 times"]),
    "web page": (
        [faults.CaptivePortal(host="storage")],
        ["localhost answered with a web page instead of", "open a browser, log in"],
    ),
    "429 for ever": (
        [faults.TooManyRequests(0, "retry-after", host="storage", times=ALWAYS)],
        ["localhost asks for fewer requests, 5 times", "Log in for a higher limit, or wait"],
    ),
    "429 for too long": ([faults.TooManyRequests(1800, host="storage")], ["asks to wait for 30 minutes", "Try later"]),
    "429 for too long, in Retry-After": (
        [faults.TooManyRequests(1800, "retry-after", host="storage")],
        ["localhost asks to wait for 30 minutes before the next request", "Try later"],
    ),
    "500": ([faults.ServerError(500, host="storage", times=ALWAYS)], ["localhost answers 500, 5 times", "Try later"]),
    "502": ([faults.ServerError(502, host="storage", times=ALWAYS)], ["localhost answers 502, 5 times", "Try later"]),
    "503": ([faults.ServerError(503, host="storage", times=ALWAYS)], ["localhost answers 503, 5 times", "Try later"]),
    "silence": ([faults.Stall(1000, host="storage", times=ALWAYS)], ["no data for", "5 times", "network"]),
    "expired addresses": (
        [faults.Expired(host="storage", times=ALWAYS)],
        ["refuses the signed address (403), 5 times"],
    ),
    "size changed": ([faults.Changed(50)], ["on localhost and", "in the repository", "has changed", "Open the model"]),
    "size claimed to have changed": (
        [faults.OtherTotal()],
        ["in the repository", "has changed", "Open the model again"],
    ),
    "content changed": ([faults.Changed()], ["has changed while it was read", "Open the model again"]),
    "cut short, before the range": ([faults.Truncated(2000)], ["is shorter on localhost than", "publisher"]),
    "cut short, in the range": ([faults.Truncated(500_000)], ["500000 bytes on localhost", "cut short", "publisher"]),
    "compressed": ([faults.Gzip()], ["localhost sends", "compressed", "proxy", "--download"]),
    "redirect loop": ([faults.RedirectLoop(host="storage")], ["the file was moved on and on, 5 times"]),
    "unknown to the storage": ([faults.Answer(404, host="storage")], ["localhost answers 404 when asked for org/m"]),
}


@pytest.mark.parametrize(("wrong", "words"), FOR_EVER.values(), ids=FOR_EVER)
def test_a_layer_cannot_be_read_for(
    wrong: Sequence[Fault], words: Sequence[str], trial: Trial, truth: JobResult
) -> None:
    """And it can as soon as the fault is gone, with the same model."""
    with trial.open() as analysis:
        trial.meet(wrong)
        with pytest.raises(NetworkError) as raised:
            trial.heads(analysis)
        assert_sentence(raised.value, [*words, "org/m" if "asks to wait" not in str(raised.value) else ""])
        assert trial.hub.count(host="storage", method="GET") <= 1 + 5
        trial.assert_nothing_leaked(raised.value)
        trial.hub.faults.clear()
        assert_equal(trial.heads(analysis), truth)


def test_several_faults_in_a_row(trial: Trial, truth: JobResult) -> None:
    with trial.open() as analysis:
        trial.hub.faults += [
            *drop(10_000, 1),
            faults.Expired(host="storage"),
            faults.ServerError(503, host="storage"),
            faults.Stall(70_000, host="storage"),
            faults.OtherRange(host="storage"),
            *drop(100_000, 1, reset=False),
        ]
        assert_equal(trial.heads(analysis), truth)
    assert all(
        any(request.fault == type(fault).__name__ for request in trial.hub.requests) for fault in trial.hub.faults
    )


# ---- refused connections ---------------------------------------------------------------------------------------


def test_refused_while_reading(trial: Trial, truth: JobResult) -> None:
    with trial.open() as analysis:
        trial.hub.refuse("storage")
        with pytest.raises(NetworkError) as raised:
            trial.heads(analysis)
        assert_sentence(raised.value, [WEIGHTS, "org/m", "connection refused, 5 times", "Check the network"])
        trial.hub.accept("storage")
        assert_equal(trial.heads(analysis), truth)
    trial.assert_nothing_leaked(raised.value)


@pytest.mark.parametrize("is_open", [True, False], ids=["while reading", "while opening"])
def test_refused_and_accepted_again(trial: Trial, truth: JobResult, is_open: bool) -> None:
    def come_back(text: str) -> None:
        if "try 3 of 5 (connection refused)" in text:
            trial.hub.accept()

    trial.on_watch = come_back
    if not is_open:
        trial.hub.refuse()
    with trial.open() as analysis:
        if is_open:
            trial.hub.refuse()
        assert_equal(trial.heads(analysis), truth)
    assert any("try 3 of 5" in text for text in trial.said)
    trial.assert_nothing_leaked()


def test_refused_while_opening(trial: Trial) -> None:
    trial.hub.refuse()
    with pytest.raises(NetworkError) as raised:
        trial.open()
    assert_sentence(raised.value, ["127.0.0.1", "org/m", "connection refused, 5 times", "Check the network"])
    trial.assert_nothing_leaked(raised.value)
