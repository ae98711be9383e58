"""What a server may make us wait for, and take: it is given up in a sentence, and an honest one that is slow is not."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from svdtui.engine import Analysis, HubName, NetworkError, download
from svdtui.engine.results import JobResult
from tests import hub_faults as faults
from tests import hub_trials
from tests.checkpoints import Checkpoint, write_checkpoint
from tests.hub_faults import ALWAYS, Fault
from tests.hub_trials import TOKEN, Trial, assert_equal, assert_sentence, heads, make_impatient
from tests.peak_memory import LIMIT, peak_of

API = "/api/models/*"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_checkpoint(tmp_path_factory.mktemp("made") / "m", layers=1)


@pytest.fixture(scope="module")
def truth(made: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> JobResult:
    """What comes out of the local folder."""
    with Analysis(made.folder, device="cpu", cache_dir=tmp_path_factory.mktemp("cache")) as analysis:
        return heads(analysis)


@pytest.fixture
def trial(made: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    make_impatient(monkeypatch)
    with hub_trials.trial(tmp_path) as trial:
        trial.hub.add("org/m", made.folder, gated=True, tokens=[TOKEN])
        yield trial


# ---- a least speed ---------------------------------------------------------------------------------------------


SLOW, LATE = "sends less than 1,000 bytes per second", "to answer"
TRICKLES: dict[str, tuple[Fault, str]] = {
    "API": (faults.Trickle(50, path=API, times=ALWAYS), SLOW),
    "API, headers": (faults.Trickle(50, of_headers=True, path=API, times=ALWAYS), LATE),
    "config": (faults.Trickle(50, file=CONFIG, method="GET", times=ALWAYS), SLOW),
    "where it is, headers": (faults.Trickle(50, of_headers=True, host="hub", file=WEIGHTS, times=ALWAYS), LATE),
    "header of a shard": (faults.Trickle(50, host="storage", times=ALWAYS), SLOW),
}


@pytest.mark.parametrize(("fault", "words"), TRICKLES.values(), ids=TRICKLES)
def test_what_comes_in_drops_is_given_up(trial: Trial, truth: JobResult, fault: Fault, words: str) -> None:
    trial.meet([fault])
    with pytest.raises(NetworkError) as raised:
        trial.open()
    assert_sentence(raised.value, [words, "times in a row"])
    trial.assert_nothing_leaked(raised.value)
    trial.hub.faults.clear()
    with trial.open() as analysis:
        assert_equal(trial.heads(analysis), truth)


def test_a_download_that_comes_in_drops_is_given_up(trial: Trial) -> None:
    trial.reader.open()
    trial.meet([faults.Trickle(50, host="storage", times=ALWAYS)])
    with pytest.raises(NetworkError) as raised:
        download(HubName("org/m"), cache_dir=trial.reader.cache_dir, access=trial.access)
    assert_sentence(raised.value, [SLOW, "the same command goes on there"])
    trial.assert_nothing_leaked(raised.value)


def test_a_network_that_is_slow_but_honest_is_not_given_up(trial: Trial, truth: JobResult) -> None:
    trial.hub.bandwidth = 20e3
    with trial.open() as analysis:
        assert_equal(trial.heads(analysis), truth)
    assert not any("try 2" in text for text in trial.said)


# ---- a most of bytes -------------------------------------------------------------------------------------------


def bomb(megabytes: int, begin: bytes = b"") -> bytes:
    """Some kilobytes of gzip that become so many megabytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(begin) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(b" " * 10**6) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + one * megabytes


PACKED = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
BOMBS: dict[str, tuple[Fault, str]] = {
    "API": (faults.Answer(200, PACKED, bomb(3000, b"["), path=API), "more than 50,000,000 bytes"),
    "API, not compressed": (faults.Answer(200, {}, b" " * 60 * 10**6, path=API), "more than 50,000,000 bytes"),
    "API, many values": (
        faults.Answer(200, {}, b'{"siblings":[' + b"{}," * (8 * 10**6) + b"{}]}", path=API),
        "something else than the Hub would",
    ),
    "API, a refusal": (faults.Answer(404, PACKED, bomb(3000), path=API), "answers 404"),
    "config": (
        faults.Answer(200, PACKED, bomb(3000, b"{"), file=CONFIG, method="GET", times=ALWAYS),
        "sends more of config.json than its",
    ),
    "config, a refusal": (faults.Answer(418, PACKED, bomb(3000), file=CONFIG, method="GET", times=ALWAYS), "418"),
    "header of a shard, a refusal": (faults.Answer(418, PACKED, bomb(3000), host="storage", times=ALWAYS), "418"),
}

OPEN = """
import sys
from pathlib import Path
from svdtui.engine import EngineError, open_model
try:
    open_model("org/m", cache_dir=Path(sys.argv[1]))
except EngineError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(("fault", "words"), BOMBS.values(), ids=BOMBS)
def test_an_answer_without_end_takes_no_memory(made: Checkpoint, trial: Trial, fault: Fault, words: str) -> None:
    trial.hub.add("org/m", made.folder)
    trial.meet([fault])
    env = {**trial.hub.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
    peak, printed = peak_of(OPEN, trial.reader.cache_dir, env=env)
    assert words in printed
    assert printed.startswith("NetworkError")
    assert peak < LIMIT / 2


def test_a_download_takes_no_more_of_a_file_than_it_has(trial: Trial) -> None:
    trial.reader.open()
    trial.meet([faults.Answer(200, PACKED, bomb(3000), host="storage", times=ALWAYS)])
    with pytest.raises(NetworkError) as raised:
        download(HubName("org/m"), cache_dir=trial.reader.cache_dir, access=trial.access)
    assert_sentence(raised.value, [f"localhost sends more of {WEIGHTS} than its"])
    kept = sum(path.stat().st_size for path in Path(str(trial.access.cache_dir)).rglob("*") if path.is_file())
    assert kept < 10**6


def test_a_listing_without_end_is_not_listed(trial: Trial) -> None:
    """The library follows `next` for as long as there is one, and keeps what it has read."""
    trial.reader.open()
    entry = {"type": "file", "oid": "0" * 40, "size": 1, "path": "a" * 200}
    page = json.dumps([entry] * 8000).encode()
    again = {"Link": f'<{trial.hub.endpoint}/api/models/org/m/tree/main?cursor=1>; rel="next"'}
    trial.meet([faults.Answer(200, again, page, path="/api/models/*/tree/*", times=ALWAYS)])
    with pytest.raises(NetworkError) as raised:
        download(HubName("org/m"), cache_dir=trial.reader.cache_dir, access=trial.access)
    assert_sentence(raised.value, ["answers with more than 25,000,000 bytes", "HF_ENDPOINT"])
    assert trial.hub.count(file="", method="GET") < 30


# ---- those who are not held to anything ------------------------------------------------------------------------


def test_the_session_of_other_programs_is_left_as_it_is(trial: Trial) -> None:
    """A user's own client, with its hooks and headers, is the one that asks; and for others nothing is bounded."""
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import _http as library

    asked: list[str] = []
    before = library._GLOBAL_CLIENT_FACTORY

    def own() -> object:
        client = library.default_client_factory()
        client.event_hooks = {"request": [*client.event_hooks["request"], lambda request: asked.append(request.method)]}
        client.headers["x-mine"] = "1"
        return client

    try:
        set_client_factory(own)  # type: ignore[arg-type]
        trial.open()
        assert "HEAD" in asked
        trial.meet([faults.Answer(200, PACKED, zlib.compress(b"", 9, 31), path="/mine")])
        trial.meet([faults.Answer(200, {}, b" " * 2 * 10**6, path="/api/mine")])
        assert get_session().get(f"{trial.hub.endpoint}/mine", timeout=5).headers["content-encoding"] == "gzip"
        assert len(get_session().get(f"{trial.hub.endpoint}/api/mine", timeout=5).content) == 2 * 10**6
        assert trial.hub.requests[-1].headers["x-mine"] == "1"
    finally:
        set_client_factory(before)
